"""Previews against exact frames, over methods, positions and distributions of the weights.

What a preview promises: its counts sum to all weights; zeros of pruning to a sparsity are exact (of the kinds with one
cut for all layers to a weight a layer, in total); SQNR is within 0.01 dB (0.03 where a layer's threshold does not come
of its count of zeros) and every count within half a percent of the weights, where these spread over many bins of the
index (2^-7 of their size). Where they do not, e.g. bfloat16 numbers, a bin is taken for evenly filled.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress_explorer.engine.bench import WHOLE_MODEL, Bench
from compress_explorer.engine.preview import largest_level, preview_frames, preview_maps
from compress_explorer.engine.preview_size import preview_header
from compress_explorer.methods.catalogue import METHODS
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.weight_index import Floats, WeightIndex
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.sweep import Frame
from tests.case import case

WEIGHTS = 12_000 + 800
GENERATOR = torch.Generator().manual_seed(0)
RNG = np.random.default_rng(0)
NORMAL = torch.randn(WEIGHTS, generator=GENERATOR)

SPREAD: dict[str, Tensor] = {
    "normal": NORMAL,
    "laplace": torch.from_numpy(RNG.laplace(size=WEIGHTS)),
    "heavy-tailed": torch.from_numpy(RNG.standard_t(2, size=WEIGHTS)),
    "tiny": NORMAL * 1e-30,
    "half-zero": torch.where(torch.rand(WEIGHTS, generator=GENERATOR) < 0.5, NORMAL, 0.0),
    "float16": NORMAL.half(),
}
GATHERED: dict[str, Tensor] = {
    "ties": torch.randint(-20, 21, (WEIGHTS,), generator=GENERATOR) / 20,
    "constant": torch.full((WEIGHTS,), 0.3),
    "zero": torch.zeros(WEIGHTS),
    "bfloat16": NORMAL.bfloat16(),
    "far-from-zero": 5 + 0.01 * NORMAL,
}


BY_SCORE = ("sigma-threshold", "lamp")
"""Methods by whose rule each layer gets a threshold that may cut a bin of the index anywhere."""


def network(weights: Tensor) -> nn.Sequential:
    """Two layers of these weights, the second half as large."""
    model = nn.Sequential(nn.Linear(120, 100), nn.Linear(100, 8))
    for layer, values in zip(model, (weights[:12_000], weights[12_000:] / 2), strict=True):
        parameter = layer.get_parameter("weight")
        parameter.data = values.reshape(parameter.shape).float()
    return model


BENCHES = {name: Bench(network(weights)) for name, weights in (SPREAD | GATHERED).items()}


FEW: dict[str, tuple[Value, ...]] = {
    "sparsity": (0.0, 0.01, 0.3, 0.5, 0.9, 0.99, 1.0),
    "quality": (0.0, 0.1, 0.7, 1.0, 2.0, 3.0),
}
VARIED = ("sparsity", "quality", "bits", "exponent_bits")
FIXED: dict[str, dict[str, Value]] = {"binary": {"granularity": "tensor"}}


def settings() -> Iterator[tuple[Method, dict[str, Value]]]:
    """Every method that has a preview, at many positions of its parameters."""
    for entry in METHODS:
        for choices in ({"scheme": "symmetric"}, {"scheme": "affine"}) if entry.name == "integer" else ({},):
            values = {**choices, **FIXED.get(entry.name, {})}
            for parameter in entry.parameters:
                if entry.preview is not None and parameter.name in VARIED:
                    for position in FEW.get(parameter.name, parameter.positions()):
                        yield entry, {**values, parameter.name: position}


SETTINGS = [Step(entry.name, ("*",), None, **values) for entry, values in settings()]
every_method = pytest.mark.parametrize("method", sorted({step.method for step in SETTINGS}))
BY_SPARSITY = sorted({step.method for step in SETTINGS if "sparsity" in dict(step.values)})


@functools.cache
def frames(name: str, step: Step, layer: str = WHOLE_MODEL) -> tuple[Frame, Frame] | None:
    """Preview and exact frame; None where there is no preview."""
    bench = BENCHES[name]
    recipe = bench.check(Recipe(step))
    maps = preview_maps(bench, recipe)
    if maps is None:
        return None
    view = bench.view(layer, largest_level([maps]))
    (preview,) = preview_frames(bench, [0], [maps], view, preview_header(bench.original, recipe, maps))
    return preview, bench.frame(recipe, 0, view)


def pairs(names: dict[str, Tensor], method: str) -> Iterator[tuple[tuple[str, Step], Frame, Frame]]:
    """The distribution and the step of each case, the preview, and the exact frame."""
    for step, name in product(SETTINGS, names):
        found = frames(name, step) if step.method == method else None
        if found is not None:
            yield (name, step), *found


def furthest(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """The largest difference of two histograms' cumulated counts."""
    return int(np.abs(np.cumsum(first) - np.cumsum(second)).max())


def test_every_such_method_is_looked_at():
    seen = {step.method for step in SETTINGS if frames("normal", step) is not None}
    assert seen == {entry.name for entry in METHODS if entry.preview is not None}


@every_method
def test_counts_sum_to_all_weights(method):
    for key, preview, exact in pairs(SPREAD | GATHERED, method):
        for frame in (preview, exact):
            assert sum(frame.histogram.after) + frame.histogram.zeros_after == WEIGHTS, key
            assert sum(frame.histogram.before) == WEIGHTS, key
            assert min(frame.histogram.after) >= 0, key
            assert sum(number for _, number in frame.breakdown) == frame.file, key
        assert [part for part, _ in preview.breakdown] == [part for part, _ in exact.breakdown]
        assert preview.histogram.edges == exact.histogram.edges
        assert preview.histogram.before == exact.histogram.before
        assert preview.histogram.zeros_before == exact.histogram.zeros_before, key
        assert (preview.exact, exact.exact) == (False, True)


@pytest.mark.parametrize("method", BY_SPARSITY)
def test_zeros_of_pruning_to_a_sparsity_are_exact(method):
    for key, preview, exact in pairs(SPREAD | GATHERED, method):
        if method == "magnitude":
            assert preview.histogram.zeros_after == exact.histogram.zeros_after, key
            assert preview.layer_zeros == exact.layer_zeros, key
            assert preview.zeros == exact.zeros, key
        else:
            assert abs(preview.histogram.zeros_after - exact.histogram.zeros_after) <= 2, key


@every_method
def test_where_weights_are_spread_counts_and_errors_are_close(method):
    decibel, relative = (0.03, 0.05) if method in BY_SCORE else (0.01, 0.02)
    for key, preview, exact in pairs(SPREAD, method):
        assert furthest(preview.histogram.after, exact.histogram.after) <= 0.005 * WEIGHTS, key
        assert abs(preview.histogram.zeros_after - exact.histogram.zeros_after) <= 0.005 * WEIGHTS, key
        assert preview.sqnr == exact.sqnr or abs(preview.sqnr - exact.sqnr) < decibel, key
        for first, second in zip(preview.errors, exact.errors, strict=True):
            assert (first.name, first.weights) == (second.name, second.weights)
            assert first.signal == pytest.approx(second.signal, rel=1e-9), key
            assert first.noise == pytest.approx(second.noise, rel=relative, abs=1e-9 * second.signal), key
            assert first.largest >= second.largest * (1 - 2**-6), key


@every_method
def test_where_weights_are_gathered_the_error_is_that_of_a_bin(method):
    """No weight is misplaced by more than a bin's width, 2^-7 of its size."""
    for key, preview, exact in pairs(GATHERED, method):
        signal = sum(error.signal for error in exact.errors)
        for first, second in zip(preview.errors, exact.errors, strict=True):
            slack = 2**-7 * math.sqrt(signal)
            assert abs(math.sqrt(first.noise) - math.sqrt(second.noise)) <= slack, key


@every_method
def test_sizes_are_close(method):
    for key, preview, exact in pairs(SPREAD, method):
        # Where next to nothing is left the true positions of a few weights decide.
        assert abs(preview.file - exact.file) <= max(0.01 * exact.file, 120), key
        assert [entry for entry, _ in preview.layer_bytes] == [entry for entry, _ in exact.layer_bytes]


@every_method
def test_levels_and_thresholds_are_those_of_the_exact_frame(method):
    for key, preview, exact in pairs(SPREAD | GATHERED, method):
        if key[0] != "tiny":  # the smallest of its powers of two are no float32
            assert preview.histogram.levels == pytest.approx(exact.histogram.levels, rel=1e-6), key
        first, second = preview.histogram.threshold, exact.histogram.threshold
        if key[0] in SPREAD and method == "magnitude-global":
            assert (first is None) == (second is None), key
        if first is not None and second is not None:
            assert first == pytest.approx(second, rel=2**-7 + 1e-9), key


@pytest.mark.parametrize("layer", ["0.weight", "1.weight"])
@pytest.mark.parametrize("step", [Step("integer", bits=5), Step("magnitude", sparsity=0.7)], ids=str)
def test_a_single_layer_shows_its_own_counts(layer, step):
    found = frames("normal", step, layer)
    assert found is not None
    preview, exact = found
    count = 12_000 if layer == "0.weight" else 800
    assert sum(preview.histogram.after) + preview.histogram.zeros_after == count
    assert furthest(preview.histogram.after, exact.histogram.after) <= 0.005 * count
    if step.method == "magnitude":
        assert preview.histogram.threshold == pytest.approx(exact.histogram.threshold, rel=2**-7)


def test_a_step_on_one_layer_leaves_the_other_as_it_is():
    for step in (Step("integer", layers="0.*", bits=3), Step("magnitude", layers="0.*", sparsity=0.5)):
        found = frames("half-zero", step)
        assert found is not None
        preview, exact = found
        assert preview.errors[1].noise == exact.errors[1].noise == 0
        assert preview.errors[1].signal == pytest.approx(exact.errors[1].signal, rel=1e-12)
        assert preview.layer_bytes[1] == exact.layer_bytes[1] == ("1.weight", 3200)
        assert dict(preview.layer_zeros)["1.weight"] == dict(exact.layer_zeros)["1.weight"]
        assert dict(preview.breakdown)["left alone"] == dict(exact.breakdown)["left alone"]
        assert sum(preview.histogram.after) + preview.histogram.zeros_after == WEIGHTS
        assert abs(preview.zeros - exact.zeros) < 0.005


def test_recipes_of_several_steps_and_other_granularities_have_none():
    bench = BENCHES["normal"]
    for steps in (
        [Step("magnitude"), Step("integer")],
        [Step("random")],
        [Step("integer", granularity="channel")],
        [Step("binary")],
        [],
    ):
        assert preview_maps(bench, bench.check(Recipe(steps))) is None
    assert largest_level([None]) == 0
    assert preview_frames(bench, [], [], bench.view(WHOLE_MODEL), 0) == []


def all_maps(bench: Bench) -> dict[Step, dict[str, ScalarMap]]:
    """The maps of every setting that has a preview."""
    found = {step: preview_maps(bench, bench.check(Recipe(step))) for step in SETTINGS}
    return {step: maps for step, maps in found.items() if maps is not None}


@pytest.mark.parametrize("layer", [WHOLE_MODEL, "0.weight", "1.weight"])
def test_many_positions_at_once_are_each_by_itself(layer):
    """Even of different methods, in any order."""
    for name, bench in BENCHES.items():
        maps = all_maps(bench)
        view = bench.view(layer, largest_level(maps.values()))
        steps = list(maps)
        together = preview_frames(bench, range(len(steps)), list(maps.values()), view, 100)
        for value, (step, frame) in enumerate(zip(steps, together, strict=True)):
            with case(name, step):
                (alone,) = preview_frames(bench, [value], [maps[step]], view, 100)
                assert replace(frame, errors=()) == replace(alone, errors=())
                for first, second in zip(frame.errors, alone.errors, strict=True):
                    assert replace(first, noise=0.0) == replace(second, noise=0.0)
                    assert first.noise == pytest.approx(second.noise, rel=1e-12)


def test_the_index_is_asked_no_more_often_for_more_positions(monkeypatch):
    bench = BENCHES["normal"]
    maps = list(all_maps(bench).values())
    view = bench.view(WHOLE_MODEL)
    asked: list[int] = []
    below = WeightIndex.below

    def counting(index: WeightIndex, cuts: Floats | float) -> Floats:
        asked.append(np.size(cuts))
        return below(index, cuts)

    monkeypatch.setattr(WeightIndex, "below", counting)

    def questions(positions: list[dict[str, ScalarMap]]) -> int:
        asked.clear()
        preview_frames(bench, range(len(positions)), positions, view, 100)
        return len(asked)

    assert questions(maps[:2]) == questions(maps) == questions(10 * maps) > 0
