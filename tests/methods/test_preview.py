"""Previews against the methods themselves: the same levels, and the same counts but for the width of a bin."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from compress_explorer.methods import (
    aciq,
    apot,
    binary,
    fp8,
    integer,
    magnitude,
    magnitude_global,
    power_of_two,
    round_literal,
)
from compress_explorer.methods.catalogue import METHODS
from compress_explorer.methods.scalar_map import ScalarMap, nearest_level_map
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.method import Method
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, normal

WIDTH = 2.0**-7
SPARSITIES = [0.0, 0.05, 0.3, 0.5, 0.77, 0.9, 0.99, 1.0]
LAYERS = [normal(30, 41), 0.1 * normal(50, 20, seed=1), 0.5 * normal(10, 3, seed=2)]

TENSOR_SETTINGS: list[tuple[Method, dict[str, Any]]] = [
    *[(integer.METHOD, {"bits": bits, "scheme": s}) for bits in range(1, 9) for s in ("symmetric", "affine")],
    *[(power_of_two.METHOD, {"bits": bits}) for bits in range(2, 9)],
    (binary.METHOD, {"bits": 1, "granularity": "tensor"}),
    *[(apot.METHOD, {"bits": bits}) for bits in range(3, 8)],
    *[(fp8.METHOD, {"exponent_bits": bits}) for bits in (3, 4, 5)],
    *[(aciq.METHOD, {"bits": bits}) for bits in (2, 4, 8)],
    *[(round_literal.METHOD, {"bits": bits}) for bits in (2, 8)],
]
"""Settings whose previews have exactly the method's levels; those of other methods are tested beside these."""
quantizers = pytest.mark.parametrize(
    ("method", "values"),
    TENSOR_SETTINGS,
    ids=[f"{method.name}-{'-'.join(map(str, values.values()))}" for method, values in TENSOR_SETTINGS],
)


def preview_of(method: Method, weight: Tensor, values: dict[str, Any]) -> tuple[WeightIndex, ScalarMap]:
    index = WeightIndex.build(weight)
    assert method.preview is not None
    (entry,) = method.preview([index], **values)
    return index, entry


@quantizers
def test_levels_are_those_of_the_method(method, values):
    for name, weight in WEIGHTS.items():
        with case(name):
            code = method.apply(weight, all_kept(weight), **values)
            decoded = code.decode().unique().double().numpy()
            _, entry = preview_of(method, weight, values)
            assert len(entry.levels) == len(entry.cuts) + 1
            assert (np.diff(entry.levels) >= 0).all()
            assert entry.bits == code.bits
            # The last bit of a mean depends on the order of summation.
            distance = np.abs(decoded[:, None] - entry.levels).min(axis=1)
            assert (distance <= 1e-6 * np.abs(decoded)).all()


@quantizers
def test_each_region_goes_to_the_level_of_the_method(method, values):
    """Sends every weight through the map by hand; only weights that lie on a cut may differ."""
    for name, weight in WEIGHTS.items():
        with case(name):
            decoded = method.apply(weight, all_kept(weight), **values).decode().double().numpy().ravel()
            _, entry = preview_of(method, weight, values)
            flat = weight.double().numpy().ravel()
            mapped = entry.levels[np.searchsorted(entry.cuts, flat, side="right")]
            off_cut = (np.abs(flat[:, None] - entry.cuts) > 1e-6 * np.abs(entry.cuts)).all(axis=1) | (flat == 0)
            np.testing.assert_allclose(mapped[off_cut], decoded[off_cut], rtol=1e-6)


@quantizers
def test_counts_of_levels_are_off_by_the_weights_near_a_cut_at_most(method, values):
    weight = normal(100, 300)
    decoded = method.apply(weight, all_kept(weight), **values).decode().double().numpy().ravel()
    index, entry = preview_of(method, weight, values)
    counts = np.diff(index.count_below(entry.cuts), prepend=0, append=index.count)
    distance = np.abs(decoded[:, None] - entry.levels)
    actual = np.bincount(distance.argmin(axis=1), minlength=len(entry.levels))
    flat = weight.double().numpy().ravel()
    near = (np.abs(flat[:, None] - entry.cuts) <= WIDTH * np.abs(entry.cuts)).sum(axis=0)
    assert (np.abs(counts - actual) <= np.append(near, 0) + np.append(0, near) + 1e-6).all()
    assert counts.sum() == pytest.approx(weight.numel())
    if method in (power_of_two.METHOD, binary.METHOD):  # their cuts fall between bins, those of the others inside
        np.testing.assert_array_equal(counts, actual)


@quantizers
def test_squared_error_from_the_index_is_that_of_the_method(method, values):
    """Sum over levels of S2 - 2 c S1 + c^2 n: within 0.01 dB, up to 8 bits."""
    weight = normal(100, 300)
    error = (weight - method.apply(weight, all_kept(weight), **values).decode()).double().square().sum().item()
    index, entry = preview_of(method, weight, values)
    count, total, squares = np.diff(index.below(np.concatenate([[-np.inf], entry.cuts, [np.inf]])), axis=1)
    estimate = (squares - 2 * entry.levels * total + entry.levels**2 * count).sum()
    assert 10 * abs(np.log10(estimate / error)) < 0.01


# Pruning.


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_magnitude_zeros_are_exact(sparsity):
    indices = [WeightIndex.build(weight) for weight in LAYERS]
    for index, entry, weight in zip(indices, magnitude.preview(indices, sparsity=sparsity), LAYERS, strict=True):
        mask = magnitude.apply(weight, all_kept(weight), sparsity=sparsity)
        assert zeros_of(index, entry) == int((~mask).sum())
        assert within_a_bin(entry, weight[~mask])


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_global_magnitude_zeros_are_exact_in_total(sparsity):
    indices = [WeightIndex.build(weight) for weight in LAYERS]
    masks = magnitude_global.apply(LAYERS, [all_kept(weight) for weight in LAYERS], sparsity=sparsity)
    maps = magnitude_global.preview(indices, sparsity=sparsity)
    total = sum(count_of(index, entry) for index, entry in zip(indices, maps, strict=True))
    assert total == pytest.approx(sum(int((~mask).sum()) for mask in masks), abs=1e-6)
    dropped = torch.cat([weight[~mask] for weight, mask in zip(LAYERS, masks, strict=True)])
    assert all(within_a_bin(entry, dropped) for entry in maps)


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_weights_pruned_before_count_as_zeros(sparsity):
    weight, kept = half_kept(LAYERS[0])
    index = WeightIndex.build(weight, kept)
    (entry,) = magnitude.preview([index], sparsity=sparsity)
    mask = magnitude.apply(weight, kept, sparsity=sparsity)
    assert zeros_of(index, entry) + index.pruned == int((~mask).sum())


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_weights_of_any_layer_pruned_before_count_as_zeros(sparsity):
    pairs = [half_kept(weight) for weight in LAYERS]
    indices = [WeightIndex.build(weight, kept) for weight, kept in pairs]
    masks = magnitude_global.apply([w for w, _ in pairs], [kept for _, kept in pairs], sparsity=sparsity)
    maps = magnitude_global.preview(indices, sparsity=sparsity)
    lost = sum(count_of(index, entry) + index.pruned for index, entry in zip(indices, maps, strict=True))
    assert lost == pytest.approx(sum(int((~mask).sum()) for mask in masks), abs=1e-6)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 1.0])
def test_edge_cases_keep_the_count(sparsity):
    for name, weight in WEIGHTS.items():
        with case(name):
            index = WeightIndex.build(weight)
            (entry,) = magnitude.preview([index], sparsity=sparsity)
            mask = magnitude.apply(weight, all_kept(weight), sparsity=sparsity)
            after = torch.where(mask, weight, 0.0)
            expected = int((after.abs() < 2.0**-133).sum())
            assert max(zeros_of(index, entry), index.zeros) == expected


def count_of(index: WeightIndex, entry: ScalarMap) -> float:
    """How many weights the map sends to zero."""
    if len(entry.cuts) == 0:
        return 0.0
    low, high = index.count_below(entry.cuts)
    return float(high - low)


def zeros_of(index: WeightIndex, entry: ScalarMap) -> int:
    return round(count_of(index, entry))


def within_a_bin(entry: ScalarMap, dropped: Tensor) -> bool:
    """Whether the map's threshold is that of the dropped weights, but for the width of a bin."""
    if dropped.numel() == 0:
        return len(entry.cuts) == 0
    largest = float(dropped.abs().max())
    return bool(largest / (1 + WIDTH) <= entry.cuts[-1] <= largest * (1 + WIDTH))


# Where the map is not one of values alone.


WITHOUT_PREVIEW = {
    "random",
    "n-m",
    "block",
    "filter-norm",
    "fpgm",
    "random-literal",
    "diagonal-literal",
    "nf4",
    "fp4",
    "mx",
    "nvfp4",
    "activations-dynamic",
    "stochastic",
    "hqq",
    "integer-percentile",
    "integer-mse",
    "ternary",
    "k-means",
    "product-quantization",
    "power-of-two-literal",
    *(method.name for method in METHODS if method.needs != "nothing"),
}


def test_methods_that_look_at_more_than_the_value_have_no_preview():
    index = WeightIndex.build(LAYERS[0])
    other = {method.name for method in METHODS if method.result in ("factors", "channels", "coding", "trained")}
    assert {method.name for method in METHODS if method.preview is None} == WITHOUT_PREVIEW | other
    for granularity in ("channel", "group"):
        assert integer.preview([index], granularity=granularity) is None
    assert power_of_two.preview([index], granularity="channel") is None
    assert binary.preview([index], granularity="channel") is None
    assert aciq.preview([index], granularity="channel") is None
    assert binary.preview([index], granularity="tensor", bits=2) is None
    assert fp8.preview([index], granularity="channel") is None
    assert apot.preview([index], granularity="channel") is None
    assert apot.preview([index], clipping="least-squares") is None


def test_nearest_level_map_cuts_halfway():
    entry = nearest_level_map(torch.tensor([-1.0, 0.0, 4.0]), bits=2, table_bytes=4)
    assert (entry.cuts.tolist(), entry.levels.tolist()) == ([-0.5, 2.0], [-1.0, 0.0, 4.0])
    assert (entry.bits, entry.table_bytes) == (2, 4)


@pytest.mark.parametrize(
    ("method", "values", "table_bytes"),
    [
        (integer.METHOD, {"scheme": "symmetric"}, 4),
        (integer.METHOD, {"scheme": "affine"}, 5),
        (power_of_two.METHOD, {}, 4),
        (binary.METHOD, {"granularity": "tensor"}, 8),
        (apot.METHOD, {}, 4),
        (fp8.METHOD, {}, 4),
    ],
    ids=["symmetric", "affine", "power-of-two", "binary", "apot", "fp8"],
)
def test_table_bytes_are_those_of_the_code(method, values, table_bytes):
    weight = LAYERS[0]
    code = method.apply(weight, all_kept(weight), **values)
    tables = [table for table in (code.scale, code.zero_point, code.codebook) if table is not None]
    assert sum(table.numel() * table.element_size() for table in tables) == table_bytes
    _, entry = preview_of(method, weight, values)
    assert entry.table_bytes == table_bytes
