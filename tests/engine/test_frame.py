"""Exact frames against counting by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from compress_explorer.engine import pieces
from compress_explorer.engine.bench import WHOLE_MODEL, Bench
from compress_explorer.engine.compress import compress
from compress_explorer.engine.frame import BINS, Axis, axis_for, layer_error, threshold
from compress_explorer.engine.weights import Weights
from compress_explorer.spec.errors import UnknownNameError
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.sweep import Frame
from tests.case import case
from tests.engine.modules import numbers
from tests.engine.recipes import FREE, step_id, steps_of


def network() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(30, 20), nn.ConvTranspose2d(4, 6, 3, groups=2))
    model[0].weight.data = numbers(20, 30)
    model[1].weight.data = numbers(4, 3, 3, 3, seed=1) / 3
    return model


MODEL = network()
BENCH = Bench(MODEL)


def frame(*steps: Step, layer: str = WHOLE_MODEL) -> Frame:
    return BENCH.frame(BENCH.check(Recipe(steps)), 0, BENCH.view(layer))


@pytest.mark.parametrize(
    "values", [numbers(1000), torch.tensor([-1.0, 0.0, 1.0]), torch.zeros(3)], ids=["many", "ends", "zeros"]
)
def test_counts_on_the_axis_are_those_of_numpy(values):
    axis = Axis(max(float(values.abs().max()) * 1.02, 1.0))
    expected, edges = np.histogram(values.double().numpy(), bins=BINS, range=(-axis.limit, axis.limit))
    np.testing.assert_array_equal(axis.counts(values), expected)
    np.testing.assert_allclose(axis.edges, edges, atol=1e-12)
    assert axis.edges[BINS // 2] < 0 < axis.edges[BINS // 2 + 1]


def test_values_beyond_the_ends_are_counted_in_the_end_bins():
    counts = Axis(1.0).counts(torch.tensor([-5.0, 5.0, 5.0]))
    assert (counts[0], counts[-1], counts.sum()) == (1, 2, 3)


def test_the_axis_holds_all_weights_and_levels():
    weights = {"a": Weights(torch.tensor([[0.5, -2.0]])), "b": Weights(torch.tensor([[3.0]]))}
    assert axis_for(weights, ["a"]).limit == pytest.approx(2.04)
    assert axis_for(weights, ["a", "b"]).limit == pytest.approx(3.06)
    assert axis_for(weights, ["a"], largest=2.5).limit == pytest.approx(2.55)
    assert axis_for({"z": Weights(torch.zeros(1, 1))}, ["z"]).limit == 1.0


@pytest.mark.parametrize("method", FREE, ids=lambda method: method.name)
def test_every_figure_of_a_frame_is_that_of_the_compressed_model(method):
    for step in steps_of(method):
        with case(step_id(step)):
            check_figures(step)


def check_figures(step: Step) -> None:
    shown = frame(step)
    compressed = compress(MODEL, step)
    names = ("0.weight", "1.weight")
    before = [MODEL.get_parameter(name).data.double() for name in names]
    after = [compressed.model.get_parameter(name).data.double() for name in names]
    together = torch.cat([values.flatten() for values in after])
    edges = np.array(shown.histogram.edges)
    nonzero = together[together != 0].numpy().clip(edges[0], edges[-1])
    # A level may fall on an edge, up to rounding.
    assert np.abs(np.cumsum(shown.histogram.after) - np.cumsum(np.histogram(nonzero, edges)[0])).max() <= 20
    assert sum(shown.histogram.after) == len(nonzero)
    assert shown.histogram.zeros_after == int((together == 0).sum())
    assert shown.histogram.zeros_before == 0
    assert sum(shown.histogram.before) == 708
    size = compressed.size()
    assert (shown.file, shown.zeros) == (size.file, size.sparsity)
    assert shown.zeros == int((together == 0).sum()) / 708
    assert dict(shown.breakdown) == size.breakdown()
    assert sum(number for _, number in shown.breakdown) == shown.file
    assert dict(shown.layer_bytes) == {t.name: t.bytes() for t in size.tensors if t.name in names}
    assert dict(shown.layer_zeros) == {
        name: int((values == 0).sum()) / values.numel() for name, values in zip(names, after, strict=True)
    }
    for error, first, second in zip(shown.errors, before, after, strict=True):
        assert error.signal == pytest.approx(float(first.square().sum()), rel=1e-9)
        assert error.noise == pytest.approx(float((first - second).square().sum()), rel=1e-6)
        assert error.largest == pytest.approx(float((first - second).abs().max()), rel=1e-6)
        assert error.weights == first.numel()
    signal, noise = (
        sum(map(float, parts))
        for parts in (
            [values.square().sum() for values in before],
            [(first - second).square().sum() for first, second in zip(before, after, strict=True)],
        )
    )
    assert shown.sqnr == (math.inf if noise == 0 else pytest.approx(10 * math.log10(signal / noise), abs=1e-4))


# Levels.


def test_levels_are_the_whole_grid():
    magnitudes = MODEL.get_parameter("0.weight").data.abs()
    amax, mean = float(magnitudes.max()), float(magnitudes.double().mean())
    symmetric = frame(Step("integer", bits=3), layer="0.weight").histogram.levels
    assert symmetric == pytest.approx([amax / 3 * number for number in range(-3, 4)], rel=1e-6)
    assert len(frame(Step("integer", bits=1), layer="0.weight").histogram.levels) == 2
    affine = frame(Step("integer", bits=2, scheme="affine"), layer="0.weight").histogram.levels
    assert len(affine) == 4
    assert 0.0 in affine
    powers = frame(Step("power-of-two", bits=3), layer="0.weight").histogram.levels
    top = 2.0 ** math.floor(math.log2(4 * amax / 3))
    assert powers == (-top, -top / 2, -top / 4, 0.0, top / 4, top / 2, top)
    assert frame(Step("binary", granularity="tensor"), layer="0.weight").histogram.levels == pytest.approx(
        (-mean, mean)
    )


def test_levels_of_number_formats_are_all_of_their_numbers():
    weight = MODEL.get_parameter("0.weight").data
    amax = float(weight.abs().max())
    shown = frame(Step("fp8"), layer="0.weight").histogram.levels
    numbers_of = torch.arange(256).to(torch.uint8).view(torch.float8_e4m3fn).float()
    expected = numbers_of[numbers_of.isfinite()].unique()  # -0 and 0 are one
    assert shown == pytest.approx((expected * (amax / 448)).tolist(), rel=1e-6)
    magnitudes = sorted(a + b for a in (0, 8, 4, 1) for b in (0, 2))
    expected_apot = [-m / 10 for m in magnitudes[:0:-1]] + [m / 10 for m in magnitudes]
    shown = frame(Step("apot"), layer="0.weight").histogram.levels
    assert shown == pytest.approx([level * amax for level in expected_apot], rel=1e-6)
    assert frame(Step("mx"), layer="0.weight").histogram.levels == ()


def test_levels_of_several_layers_are_all_shown_unless_there_are_too_many():
    assert len(frame(Step("integer", bits=3)).histogram.levels) == 13  # 7 of each, one zero
    assert frame(Step("integer", bits=8)).histogram.levels == ()
    assert len(frame(Step("integer", bits=8), layer="0.weight").histogram.levels) == 255


def test_levels_that_differ_by_channel_or_are_none_are_not_shown():
    for step in (
        Step("integer", bits=3, granularity="channel"),
        Step("binary", granularity="channel"),
        Step("power-of-two", granularity="channel"),
        Step("integer", bits=3, layers="1.*"),
        Step("magnitude"),
    ):
        assert frame(step, layer="0.weight").histogram.levels == ()


def test_zero_is_a_level_of_pruned_binary_weights():
    steps = [Step("magnitude", sparsity=0.5), Step("binary", granularity="tensor")]
    levels = frame(*steps, layer="0.weight").histogram.levels
    assert len(levels) == 3
    assert levels[1] == 0.0


def test_every_weight_takes_one_of_the_levels():
    for step in (Step("integer", bits=4), Step("integer", bits=4, scheme="affine"), Step("power-of-two", bits=4)):
        levels = torch.tensor(frame(step, layer="0.weight").histogram.levels)
        values = compress(MODEL, step).model.get_parameter("0.weight").data
        assert bool(torch.isin(values, levels).all())


# Thresholds.


def test_the_threshold_is_the_largest_magnitude_that_was_pruned():
    weight = MODEL.get_parameter("0.weight").data.abs().flatten().sort().values
    assert frame(Step("magnitude", sparsity=0.5), layer="0.weight").histogram.threshold == float(weight[299])
    assert frame(Step("magnitude", sparsity=0.0), layer="0.weight").histogram.threshold is None
    assert frame(Step("magnitude", sparsity=1.0), layer="0.weight").histogram.threshold == float(weight[-1])


def test_a_global_threshold_holds_for_all_layers_together_and_that_of_each_layer_does_not():
    together = torch.cat([MODEL.get_parameter(name).data.abs().flatten() for name in ("0.weight", "1.weight")])
    expected = float(together.sort().values[353])
    assert frame(Step("magnitude-global", sparsity=0.5)).histogram.threshold == expected
    assert frame(Step("magnitude", sparsity=0.5)).histogram.threshold is None


def test_random_pruning_has_no_threshold():
    assert frame(Step("random", sparsity=0.5)).histogram.threshold is None


def test_weights_that_were_zero_make_no_threshold():
    weights = Weights(torch.tensor([[0.0, 0.0, 1.0]]))
    pruned = weights.pruned(torch.tensor([[False, True, True]]))
    assert threshold({"a": weights}, {"a": pruned}, ["a"]) is None


# Errors.


def test_the_error_of_a_layer_by_hand():
    error = layer_error("a", torch.tensor([[1.0, -2.0]]), torch.tensor([[1.5, -2.0]]))
    assert (error.name, error.signal, error.noise, error.largest, error.weights) == ("a", 5.0, 0.25, 0.5, 2)


def test_sqnr_of_nothing():
    assert frame().sqnr == math.inf
    zeros = nn.Linear(3, 2)
    nn.init.zeros_(zeros.weight)
    bench = Bench(zeros)
    assert bench.frame(bench.check(Recipe(Step("integer"))), 0, bench.view(WHOLE_MODEL)).sqnr == math.inf


def test_an_unknown_layer_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"layer '0\.wieght'.*Did you mean '0\.weight'"):
        BENCH.view("0.wieght")


# The bench.


def test_the_bench_gives_what_compress_gives_whatever_it_was_asked_before():
    recipes = [Recipe([Step("magnitude", sparsity=0.5), Step("integer", bits=bits)]) for bits in (3, 4)] + [
        Recipe(Step("magnitude", sparsity=0.5)),
        Recipe(),
        Recipe([Step("integer", bits=3), Step("magnitude", sparsity=0.5)]),
    ]
    bench = Bench(MODEL)
    for recipe in [*recipes, *reversed(recipes)]:
        complete = bench.check(recipe)
        direct = compress(MODEL, recipe)
        state = bench.compressed(complete).model.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in direct.model.state_dict().items())
        assert bench.size(complete) == direct.size()


def test_the_bench_applies_shared_steps_once():
    bench = Bench(MODEL)
    first = bench.apply(bench.check(Recipe([Step("magnitude"), Step("integer", bits=3)])))
    prefix = bench.apply(bench.check(Recipe([Step("magnitude")])))
    second = bench.apply(bench.check(Recipe([Step("magnitude"), Step("integer", bits=3, layers="0.*")])))
    assert first.weights["0.weight"].kept is prefix.weights["0.weight"].kept
    assert second.weights["1.weight"] is prefix.weights["1.weight"]


def test_the_bench_works_on_a_copy():
    model = network()
    bench = Bench(model)
    assert bench.model is not model
    before = bench.size(Recipe())
    with torch.no_grad():
        model[0].weight.add_(1)  # type: ignore[operator]
    assert bench.size(Recipe()) == before
    recipe = bench.check(Recipe(Step("magnitude", sparsity=0.5)))
    values = bench.compressed(recipe).model.get_parameter("0.weight").data
    original = MODEL.get_parameter("0.weight").data
    assert torch.equal(values[values != 0], original[values != 0])


@pytest.mark.parametrize("piece", [1, 7, 64])
def test_a_frame_is_the_same_counted_in_whatever_pieces(piece, monkeypatch):
    for step in (Step("magnitude", sparsity=0.4), Step("random", sparsity=0.4), Step("integer", bits=3)):
        with case(step):
            whole = frame(step)
            monkeypatch.setattr(pieces, "PIECE", piece)
            again = Bench(MODEL)
            recipe = again.check(Recipe(step))
            parts = again.frame(recipe, 0, again.view(WHOLE_MODEL))
            reports = again.reports(recipe)
            monkeypatch.undo()
            assert replace(parts, errors=()) == replace(whole, errors=())
            for first, second in zip(parts.errors, whole.errors, strict=True):
                assert replace(first, signal=0.0, noise=0.0) == replace(second, signal=0.0, noise=0.0)
                assert (first.signal, first.noise) == pytest.approx((second.signal, second.noise), rel=1e-12)
            assert reports == BENCH.reports(recipe)
