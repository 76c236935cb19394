"""Recipes of several steps: what one step leaves to the next."""

import pytest
import torch
from torch import Tensor, nn

from compress_explorer.engine.compress import CompressedModel, compress
from compress_explorer.methods.catalogue import method
from compress_explorer.methods.sparsity import zeros_for
from compress_explorer.spec.recipe import Recipe, Step
from tests.case import case
from tests.engine.recipes import PRUNERS, QUANTIZER_STEPS, QUANTIZERS, few_steps_of, step_id


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 6, 3, groups=2), nn.Linear(10, 7))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05)  # so that zero is no middle of an affine range
    return model


NAMES = ("0.weight", "1.weight", "2.weight")


def weights(compressed: CompressedModel) -> dict[str, Tensor]:
    return {name: compressed.model.get_parameter(name).data for name in NAMES}


def run(*steps: Step, seed: int = 0) -> CompressedModel:
    return compress(network(seed), Recipe(steps))


every_pruner = pytest.mark.parametrize("pruner", [method.name for method in PRUNERS])


@every_pruner
def test_zeros_survive_quantization(pruner):
    pruned = weights(run(Step(pruner, sparsity=0.6)))
    for quantizer in QUANTIZER_STEPS:
        with case(step_id(quantizer)):
            check_zeros(pruned, run(Step(pruner, sparsity=0.6), quantizer), quantizer)


def check_zeros(pruned: dict[str, Tensor], both: CompressedModel, quantizer: Step) -> None:
    for entry in both.stored:
        if entry.name in NAMES:
            assert entry.kept is not None
            assert entry.code is not None
            assert torch.equal(entry.layout.from_matrix(entry.kept), pruned[entry.name] != 0)
    after = weights(both)
    for name in NAMES:
        assert not after[name][pruned[name] == 0].any()
    if quantizer.method == "binary":
        assert all(bool((after[name][pruned[name] != 0] != 0).all()) for name in NAMES)


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=lambda quantizer: quantizer.name)
def test_what_is_left_keeps_its_codes_when_pruned_after(quantizer):
    for step in few_steps_of(quantizer):
        quantized = run(step)
        for pruner in PRUNERS:
            with case(step_id(step), pruner.name):
                check_codes(quantized, run(step, Step(pruner.name, sparsity=0.5)))


def check_codes(quantized: CompressedModel, both: CompressedModel) -> None:
    for first, second in zip(quantized.stored, both.stored, strict=True):
        if first.name not in NAMES:
            continue
        assert first.code is not None
        assert second.code is not None
        assert torch.equal(first.code.codes, second.code.codes)
        assert second.kept is not None
        kept = second.layout.from_matrix(second.kept)
        assert torch.equal(second.values, torch.where(kept, first.values, 0.0))


@every_pruner
def test_binary_levels_are_means_of_the_weights_that_were_kept(pruner):
    pruned = weights(run(Step(pruner, sparsity=0.5)))["2.weight"]
    both = weights(run(Step(pruner, sparsity=0.5), Step("binary", granularity="tensor")))["2.weight"]
    kept = pruned[pruned != 0]
    assert torch.unique(both.abs()).tolist() == pytest.approx([0.0, float(kept.abs().double().mean())])


@pytest.mark.parametrize("second", [method.name for method in PRUNERS])
@every_pruner
def test_what_was_pruned_stays_pruned_and_counts(pruner, second):
    first = weights(run(Step(pruner, sparsity=0.4)))
    both = weights(run(Step(pruner, sparsity=0.4), Step(second, sparsity=0.7)))
    for name in NAMES:
        assert not both[name][first[name] == 0].any()
        assert torch.equal(both[name][both[name] != 0], first[name][both[name] != 0])
    if method(second).scope == "model":
        total = sum(weight.numel() for weight in both.values())
        assert sum(int((weight == 0).sum()) for weight in both.values()) == zeros_for(0.7, total)
    elif method(pruner).scope == "tensor":
        assert all(int((weight == 0).sum()) == zeros_for(0.7, weight.numel()) for weight in both.values())


@every_pruner
def test_a_lower_sparsity_after_a_higher_one_changes_nothing(pruner):
    once = weights(run(Step(pruner, sparsity=0.8)))
    again = weights(run(Step(pruner, sparsity=0.8), Step(pruner, sparsity=0.3)))
    assert all(torch.equal(once[name], again[name]) for name in NAMES)


def test_the_order_of_the_steps_matters():
    prune, quantize = Step("magnitude", sparsity=0.9), Step("integer", bits=3)
    first, second = weights(run(prune, quantize)), weights(run(quantize, prune))
    assert any(not torch.equal(first[name], second[name]) for name in NAMES)


def test_the_last_quantizer_decides():
    both = run(Step("integer", bits=8), Step("integer", bits=2))
    for entry in both.stored:
        if entry.name in NAMES:
            assert entry.code is not None
            assert entry.code.bits == 2
            assert len(entry.values.unique()) <= 3


def test_a_second_quantizer_sees_what_the_first_left():
    after_binary = weights(run(Step("binary", granularity="tensor"), Step("integer", bits=8)))["2.weight"]
    alone = weights(run(Step("binary", granularity="tensor")))["2.weight"]
    torch.testing.assert_close(after_binary, alone, rtol=1e-6, atol=0)


# Layers.


@pytest.mark.parametrize("step", ["magnitude", "magnitude-global", "random", "integer", "power-of-two", "binary"])
def test_a_step_on_one_layer_leaves_the_others_alone(step):
    compressed = run(Step(step, layers="1.*"))
    before, after = network().state_dict(), compressed.model.state_dict()
    assert not torch.equal(before["1.weight"], after["1.weight"])
    for name in before.keys() - {"1.weight"}:
        assert torch.equal(before[name], after[name])
    reasons = {entry.name: entry.reason for entry in compressed.skipped}
    assert {name for name, reason in reasons.items() if reason == "no step of the recipe names this layer"} == {
        "0.weight",
        "2.weight",
    }


def test_a_global_threshold_is_taken_over_the_named_layers_alone():
    compressed = weights(run(Step("magnitude-global", layers=("0", "2"), sparsity=0.5)))
    zeros = sum(int((compressed[name] == 0).sum()) for name in ("0.weight", "2.weight"))
    assert zeros == zeros_for(0.5, compressed["0.weight"].numel() + compressed["2.weight"].numel())
    assert bool((compressed["1.weight"] != 0).all())


def test_each_layer_may_have_a_recipe_of_its_own():
    compressed = run(
        Step("magnitude", layers="0", sparsity=0.5),
        Step("integer", layers=("0", "1"), bits=4),
        Step("binary", layers="2.weight"),
    )
    stored = {entry.name: entry for entry in compressed.stored}
    assert stored["0.weight"].kept is not None
    assert [stored[name].kept for name in ("1.weight", "2.weight")] == [None, None]
    codes = [stored[name].code for name in NAMES]
    assert [code.grid for code in codes if code is not None] == ["integer", "integer", "codebook"]


def test_overlapping_patterns_treat_a_layer_once():
    once, twice = (
        run(Step("integer", layers=("0.*",), bits=2)),
        run(Step("integer", layers=("0.*", "0", "*.weight"), bits=2)),
    )
    assert torch.equal(weights(once)["0.weight"], weights(twice)["0.weight"])
    assert not torch.equal(weights(once)["2.weight"], weights(twice)["2.weight"])


def test_everything_pruned_is_quantized_to_nothing():
    for quantizer in QUANTIZER_STEPS:
        with case(step_id(quantizer)):
            compressed = run(Step("magnitude", sparsity=1.0), quantizer)
            assert all(not weight.any() for weight in weights(compressed).values())
            assert bool(torch.isfinite(compressed.model[2](torch.ones(1, 10))).all())  # type: ignore[index]
            compressed.size()
