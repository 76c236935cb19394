"""The weight index against counting the weights themselves."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from compress_explorer.methods.weight_index import WeightIndex, magnitude_quantile
from tests.methods.cases import WEIGHTS, half_kept, matrices, normal

WIDTH = 2.0**-7
"""The relative width of a bin: how far a cut may be misplaced."""

every_case = pytest.mark.parametrize("name", WEIGHTS)


def values_of(name: str) -> np.ndarray:
    return WEIGHTS[name].numpy().ravel().astype(np.float64)


@every_case
def test_totals_are_exact(name):
    index, values = WeightIndex.build(WEIGHTS[name]), values_of(name)
    assert (index.count, index.pruned) == (values.size, 0)
    assert index.zeros == int((np.abs(values) < 2.0**-133).sum())
    assert index.minimum == values.min()
    assert index.maximum == values.max()
    assert index.amax == np.abs(values).max()
    assert index.mean_abs == pytest.approx(np.abs(values).mean(), rel=1e-12)
    assert index.sum == pytest.approx(values.sum(), rel=1e-9, abs=1e-12 * np.abs(values).max())
    assert index.sum_of_squares == pytest.approx(np.square(values).sum(), rel=1e-12)
    assert index.count_below(np.inf) == values.size
    assert index.count_below(-np.inf) == 0


@every_case
def test_statistics_below_the_edge_of_a_bin_are_exact(name):
    index, values = WeightIndex.build(WEIGHTS[name]), values_of(name)
    # A bin of negative numbers holds its upper edge: there "below" is "not above".
    edges = np.concatenate([index.lower, index.upper])
    edges = edges[np.abs(edges) > 2.0**-133]
    below = [values[values < edge] if edge > 0 else values[values <= edge] for edge in edges]
    scale = np.abs(values).max()
    counts, sums, squares = index.below(edges)
    np.testing.assert_array_equal(counts, [part.size for part in below])
    np.testing.assert_array_equal(counts, index.count_below(edges))
    np.testing.assert_allclose(sums, [part.sum() for part in below], rtol=1e-9, atol=1e-12 * scale)
    np.testing.assert_allclose(squares, [np.square(part).sum() for part in below], rtol=1e-9)


@given(weight=matrices(), cut=st.floats(-3, 3))
def test_a_cut_is_misplaced_by_less_than_the_width_of_a_bin(weight, cut):
    assume(abs(cut) > 1e-30)
    index, values = WeightIndex.build(weight), weight.numpy().ravel().astype(np.float64)
    low, high = sorted((cut * (1 + WIDTH), cut / (1 + WIDTH)))
    assert (values < low).sum() <= index.count_below(cut) <= (values <= high).sum()


@given(weight=matrices())
def test_counts_rise_with_the_cut(weight):
    index = WeightIndex.build(weight)
    assert (np.diff(index.count_below(np.linspace(-3, 3, 301))) >= 0).all()


@given(weight=matrices(largest=100), bounds=st.tuples(st.floats(-100, 100), st.floats(-100, 100)))
def test_counts_below_a_cut_within_bounds_are_those_of_the_cut_within_those_of_the_bounds(weight, bounds):
    """To the last bit, which the histograms of previews rely on."""
    index, (low, high) = WeightIndex.build(weight), sorted(bounds)
    cuts = np.concatenate([np.linspace(-100, 100, 50), *(np.nextafter(bounds, end) for end in (-np.inf, np.inf))])
    expected = index.count_below(np.clip(cuts, low, high))
    np.testing.assert_array_equal(np.clip(index.count_below(cuts), *index.count_below(np.array([low, high]))), expected)


@pytest.mark.parametrize("cut", [-1.3, -0.6, 0.001, 0.7071, 1.9])
def test_evenly_spread_weights_are_cut_in_the_right_proportion(cut):
    """Inside a bin too: 200,001 weights from -2 to 2 have thousands in the larger bins."""
    values = np.linspace(-2, 2, 200_001, dtype=np.float32).astype(np.float64)
    index = WeightIndex.build(torch.from_numpy(values))
    below = values[values < cut]
    count, total, squares = index.below(cut)
    assert count == index.count_below(cut) == pytest.approx(below.size, abs=2)
    assert total == pytest.approx(below.sum(), abs=4)
    assert squares == pytest.approx(np.square(below).sum(), abs=8)


def test_below_zero_are_the_negative_weights_alone():
    weight = torch.tensor([[-1.0, -0.0, 0.0, 0.0, 2.0, -1e-20, 1e-20]])
    index = WeightIndex.build(weight)
    assert index.count_below(0.0) == 2
    assert index.zeros == 3


def test_pruned_weights_are_left_out():
    weight, kept = half_kept(normal(20, 30))
    index, alone = WeightIndex.build(weight, kept), WeightIndex.build(weight[kept])
    assert index.pruned == int((~kept).sum())
    assert (index.count, index.mean_abs, index.zeros) == (alone.count, alone.mean_abs, 0)
    np.testing.assert_array_equal(index.before, alone.before)


def test_an_index_of_no_weights_is_empty():
    weight = torch.zeros(2, 3)
    index = WeightIndex.build(weight, torch.zeros(2, 3, dtype=torch.bool))
    assert (index.count, index.pruned, index.amax, index.mean_abs) == (0, 6, 0.0, 0.0)
    assert index.count_below(1.0) == 0
    assert magnitude_quantile([index], 0) == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_float_types_are_indexed_by_their_float32_value(dtype):
    weight = normal(10, 20).to(dtype)
    index, expected = WeightIndex.build(weight), WeightIndex.build(weight.float())
    np.testing.assert_array_equal(index.before, expected.before)
    np.testing.assert_array_equal(index.lower, expected.lower)


def test_non_contiguous_weights_are_indexed_like_their_copy():
    weight = normal(10, 20)
    index, expected = WeightIndex.build(weight.t()[::2]), WeightIndex.build(weight.t()[::2].contiguous())
    np.testing.assert_array_equal(index.before, expected.before)


def test_the_largest_float_has_a_finite_bin():
    largest = float(np.finfo(np.float32).max)
    index = WeightIndex.build(torch.tensor([[largest, -largest]]))
    assert np.isfinite([index.lower, index.upper]).all()
    assert index.count_below(np.array([-np.inf, 0.0, np.inf])).tolist() == [0, 1, 2]


@every_case
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_exactly_so_many_magnitudes_lie_within_the_quantile(name, share):
    index = WeightIndex.build(WEIGHTS[name])
    wanted = round(share * index.count)
    threshold = index.magnitude_quantile(wanted)
    within = index.count_below(threshold) - index.count_below(-threshold)
    assert within == pytest.approx(wanted if wanted == 0 else max(wanted, index.zeros), abs=1e-6)


@every_case
def test_magnitudes_up_to_are_those_of_the_float_patterns(name):
    index, values = WeightIndex.build(WEIGHTS[name]), np.abs(WEIGHTS[name].numpy().ravel())
    bins = np.sort(values.view(np.uint32) >> 16)
    expected = np.searchsorted(bins, np.arange(0x7F80), side="right")
    np.testing.assert_array_equal(index.magnitudes_up_to, expected)


@given(weight=matrices(), share=st.floats(0.01, 1))
def test_the_quantile_is_near_the_sorted_magnitude(weight, share):
    index = WeightIndex.build(weight)
    wanted = max(1, round(share * index.count))
    exact = float(weight.abs().flatten().sort().values[wanted - 1])
    assume(exact == 0 or exact > 1e-30)
    threshold = index.magnitude_quantile(wanted)
    assert exact / (1 + WIDTH) <= threshold <= max(exact * (1 + WIDTH), 2.0**-133)


@given(weights=st.lists(matrices(), min_size=1, max_size=4), share=st.floats(0, 1))
def test_the_quantile_of_several_layers_counts_over_all_of_them(weights, share):
    indices = [WeightIndex.build(weight) for weight in weights]
    wanted = round(share * sum(index.count for index in indices))
    threshold = magnitude_quantile(indices, wanted)
    within = sum(float(index.count_below(threshold) - index.count_below(-threshold)) for index in indices)
    zeros = sum(index.zeros for index in indices)
    assert within == pytest.approx(wanted if wanted == 0 else max(wanted, zeros), abs=1e-6)
