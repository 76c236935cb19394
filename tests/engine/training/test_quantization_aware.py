"""Quantization-aware training: a loop written out by hand, and the gradients of the papers' formulas."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compress_explorer.engine.context import Context
from compress_explorer.engine.file import load_into
from compress_explorer.engine.matrix import as_float32_matrix
from compress_explorer.engine.steps import apply_step
from compress_explorer.engine.training.hold import hold
from compress_explorer.engine.training.plan import Plan
from compress_explorer.engine.training.requantized import LearnedStep, Requantized, highest_level
from compress_explorer.engine.weights import Quantizer, Weights
from compress_explorer.engine.workpiece import open_model
from compress_explorer.methods import catalogue
from compress_explorer.methods.catalogue import complete
from compress_explorer.methods.code import Code
from compress_explorer.methods.training import Training
from compress_explorer.spec.recipe import Step
from tests.case import case
from tests.engine.tasks import network
from tests.engine.training.test_fine_tune import SPLIT, TASK, plain, run
from tests.methods.cases import half_kept, normal, present

AWARE = Step("quantization-aware", epochs=2, batch_size=50, learning_rate=0.01)
GRIDS: list[dict[str, Any]] = [
    {"bits": bits, "scheme": scheme, "granularity": granularity, "group_size": 4}
    for bits in (1, 2, 4)
    for scheme in ("symmetric", "affine")
    for granularity in ("tensor", "channel", "group")
]


def quantized(weight: Tensor, kept: Tensor | None, method: str = "integer", **values: object) -> Weights:
    """A weight matrix as a step of a recipe leaves it."""
    found = catalogue.method(method)
    entry = Weights(weight) if kept is None else Weights(weight).pruned(kept)
    settings = found.complete(values)
    code: Code = found.apply(entry.matrix, entry.mask, **settings)
    return replace(entry.quantized(code), quantizer=Quantizer(found, settings))


def test_the_straight_through_estimator_is_that_of_a_loop_written_by_hand():
    quantize = Step("integer", bits=3)
    found = run(plain(), Step("magnitude", sparsity=0.5), quantize, AWARE.replace(optimiser="sgd"))
    pruned = run(plain(), Step("magnitude", sparsity=0.5)).model
    latent = {name: parameter.detach().clone() for name, parameter in pruned.named_parameters()}
    masks = {name: weight != 0 for name, weight in latent.items() if weight.ndim > 1}
    plan = Plan(epochs=2, batch_size=50, learning_rate=0.01)
    speeds = {name: torch.zeros_like(weight) for name, weight in latent.items()}
    model = plain().train()
    for step in range(12):
        chosen = plan.order(step // 6, 300)[50 * (step % 6) :][:50]
        rounded = {name: by_rule(weight) if name in masks else weight for name, weight in latent.items()}
        shown = {name: weight.clone().requires_grad_() for name, weight in rounded.items()}
        outputs = torch.func.functional_call(model, shown, SPLIT.inputs[chosen])
        nn.functional.cross_entropy(outputs, SPLIT.targets[chosen]).backward()
        for name, weight in latent.items():
            slope = present(shown[name].grad) * masks.get(name, torch.tensor(1.0))
            speeds[name] = 0.9 * speeds[name] + slope
            weight -= plan.rate(step, 12) * (slope + 0.9 * speeds[name])
    for name, weight in latent.items():
        expected = by_rule(weight) if name in masks else weight
        torch.testing.assert_close(found.model.get_parameter(name).detach(), expected, rtol=1e-4, atol=1e-6)
        if name in masks:
            assert not found.model.get_parameter(name)[~masks[name]].any()


def by_rule(weight: Tensor) -> Tensor:
    """Symmetric rounding to 3 bits."""
    scale = weight.abs().max() / 3
    return (weight / scale).round().clamp(-3, 3) * scale


def test_at_the_beginning_every_quantizer_gives_what_its_step_gave():
    weight = normal(6, 12)
    for entry in catalogue.METHODS:
        if entry.result != "code" or entry.needs != "nothing":
            continue
        for kept in (None, half_kept(weight)[1]):
            with case(entry.name, "whole" if kept is None else "pruned"):
                before = quantized(weight, kept, entry.name)
                held = Requantized(before, weight)
                assert torch.equal(held(), before.matrix)
                held().backward(torch.ones_like(weight))
                assert torch.equal(present(held.latent.grad), before.mask.float())
                assert torch.equal(held.finished().matrix, before.matrix)


def test_a_learned_step_has_the_gradients_of_the_paper():
    upstream = normal(6, 10, seed=4)
    for values in GRIDS:
        for kept in (None, half_kept(normal(6, 10))[1]):
            with case(values, "whole" if kept is None else "pruned"):
                weight = 1.5 * normal(6, 10)  # some beyond the grid of half as large weights
                entry = quantized(weight / 3, kept, **values)
                held = LearnedStep(entry, weight)
                held().backward(upstream)
                to_weight, to_scale = by_formula(entry, weight, upstream)
                torch.testing.assert_close(present(held.latent.grad), to_weight)
                code = entry.code
                assert code is not None
                # The gradient of the factor, in units of the scale: a plain step moves the scale by its own gradient.
                found = present(held.scale.factor.grad) * present(code.scale)
                torch.testing.assert_close(found.double(), to_scale, rtol=1e-4, atol=1e-5)


def by_formula(entry: Weights, weight: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients and the gradient scale of Esser et al., weight by weight; a zero point shifts the levels."""
    code = entry.code
    assert code is not None
    scale, kept = present(code.scale), entry.mask
    to_weight, to_scale = torch.zeros_like(weight), torch.zeros(scale.shape, dtype=torch.float64)
    counts = torch.zeros(scale.shape, dtype=torch.float64)
    largest = torch.zeros(scale.shape, dtype=torch.float64)
    highest = code.offset + 2**code.bits - 1 if code.zero_point is not None else {1: 0, 2: 1, 4: 7}[code.bits]
    for row in range(weight.shape[0]):
        for column in range(weight.shape[1]):
            place = (row if len(scale) > 1 else 0, column // code.group_size)
            zero = 0 if code.zero_point is None else int(code.zero_point[place])
            below, above = zero - code.offset, highest - zero  # Q_N and Q_P
            largest[place] = max(above, 1)
            if not kept[row, column]:
                continue
            counts[place] += 1
            ratio = float(weight[row, column].double() / scale[place].double())
            inside = -below < ratio < above
            slope = round(ratio) - ratio if inside else -below if ratio <= -below else above
            to_scale[place] += slope * float(upstream[row, column])
            to_weight[row, column] = upstream[row, column] if inside else 0.0
    return to_weight, to_scale / (counts.clamp(min=1) * largest).sqrt()


def test_a_learned_step_moves_the_quantized_weights_as_differences_say():
    # With the rounding's own slope taken as 1, ŵ as a function of s is q - w/s steeper than the difference quotient of
    # the rounded values, in which q stays: there it is q, so that the two differ by w/s where nothing is clipped.
    weight = normal(4, 6)
    entry = quantized(weight, None, bits=4)
    held = LearnedStep(entry, weight)
    with torch.no_grad():
        held.scale.factor.fill_(0.9)  # the largest weights lie beyond the last level, none upon it
    first = float(present(held.scale.first))
    scale = 0.9 * first
    held().sum().backward()
    step = 1e-5
    with torch.no_grad():
        held.scale.factor.add_(step)
        more = held().double().sum()
        held.scale.factor.sub_(2 * step)
        less = held().double().sum()
    quotient = float(more - less) / (2 * step * first)
    inside = weight.abs() < 7 * scale
    passed = float((weight.double() / scale)[inside].sum())
    found = float(present(held.scale.factor.grad)) * first / (24 * 7) ** -0.5
    assert found == pytest.approx(quotient - passed, rel=1e-2, abs=0.05)


def test_a_learned_step_gives_codes_that_decode_to_what_the_network_computed_with():
    for values in GRIDS:
        with case(values):
            weight = normal(6, 10)
            held = LearnedStep(quantized(weight, None, **values), weight)
            with torch.no_grad():
                held.latent.add_(0.1 * normal(6, 10, seed=7))
                held.scale.factor.mul_(1.1)
            done = held.finished()
            assert torch.equal(done.matrix, held())
            assert done.code is not None
            assert int(done.code.codes.max()) + done.code.offset <= highest_level(done.code)
    ternary = quantized(normal(4, 8), None, "ternary")
    assert ternary.code is not None
    assert highest_level(ternary.code) == 1


def test_it_learns_what_rounding_lost_and_the_file_gives_it_back(tmp_path):
    recipes = {
        "integer": (Step("magnitude", sparsity=0.3), Step("integer", bits=2)),
        "binary": (Step("binary"),),
        "k-means": (Step("k-means", clusters=2), Step("huffman")),
        "learned": (Step("integer", bits=2, granularity="channel"),),
        "learned in groups": (Step("integer", bits=2, scheme="affine", granularity="group", group_size=4),),
    }
    for name, steps in recipes.items():
        with case(name):
            aware = AWARE.replace(epochs=10, scale="learned" if "learned" in name else "recomputed")
            before, after = run(network(), *steps), run(network(), *steps, aware)
            losses = [
                nn.functional.cross_entropy(found.model(SPLIT.inputs), SPLIT.targets).item()
                for found in (before, after)
            ]
            assert losses[1] < losses[0]
            for one, other in zip(before.stored, after.stored, strict=True):
                if one.code is not None and one.kept is not None:
                    assert not other.values[~one.layout.from_matrix(one.kept)].any()
                if one.code is not None and other.code is not None:
                    assert other.code.bits == one.code.bits
                    assert not torch.equal(one.code.codes, other.code.codes)
            path = after.save(tmp_path / name.replace(" ", "-"))
            assert path.stat().st_size == after.size().file
            for key, tensor in load_into(path, network()).state_dict().items():
                assert torch.equal(tensor, after.model.state_dict()[key])


def test_weights_begin_where_they_were_before_or_where_a_quantizer_that_looked_at_data_left_them():
    training = Training(epochs=1, batch_size=1, optimiser="sgd", learning_rate=1.0, seed=0, quantized="learned")
    for method in ("integer", "gptq", "adaround"):
        with case(method):
            work = apply_step(open_model(network()), complete(Step(method, bits=2)), Context(task=TASK))
            for site in work.inventory.sites:
                held = hold(work, site, training)
                assert isinstance(held, LearnedStep)
                before = as_float32_matrix(network().get_parameter(site.name), site.layout)
                expected = before if method == "integer" else work.weights[site.name].matrix
                assert torch.equal(held.latent, expected)
                torch.testing.assert_close(held(), work.weights[site.name].matrix)


def test_what_cannot_be_quantized_anew_is_left_alone_with_the_remedy():
    cases = {
        "looks at data.*scale='learned'": (Step("gptq", bits=4, samples=64), AWARE),
        "evenly spaced levels.*scale='recomputed'": (Step("k-means"), AWARE.replace(scale="learned")),
    }
    for words, steps in cases.items():
        found = run(network(), *steps)
        assert {entry.name for entry in found.steps[-1].left_alone} == {"0.weight", "4.weight"}
        for entry in found.steps[-1].left_alone:
            with case(words, entry.reason):
                assert all(part in entry.reason for part in words.split(".*"))
        assert "4.bias" in found.steps[-1].beside
