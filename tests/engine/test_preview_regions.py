"""What maps do to one layer's weights, counted by hand: powers of two, so that no cut falls into a bin."""

import numpy as np
import pytest
import torch

from compress_explorer.engine.preview_regions import Regions
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.weight_index import WeightIndex

INDEX = WeightIndex.build(torch.tensor([[-4.0, -2.0, -1.0, 0.0], [0.0, 1.0, 2.0, 4.0]]))
NAN = float("nan")
KEPT = ScalarMap(cuts=np.empty(0), levels=np.array([NAN]))
PRUNED = ScalarMap(cuts=np.array([-1.5, 1.5]), levels=np.array([NAN, 0.0, NAN]))
ROUNDED = ScalarMap(cuts=np.array([-1.5, 1.5]), levels=np.array([-3.0, 0.0, 3.0]), bits=2)
WITHOUT_ZERO = ScalarMap(cuts=np.array([0.0]), levels=np.array([-2.5, 2.5]), bits=1)
REGIONS = Regions.of(INDEX, [KEPT, PRUNED, ROUNDED, WITHOUT_ZERO, PRUNED])


def test_the_regions_of_all_positions_stand_in_a_row():
    assert REGIONS.position.tolist() == [0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4]
    assert REGIONS.starts.tolist() == [0, 1, 4, 7, 9]
    assert REGIONS.counts.tolist() == [8, 2, 4, 2, 2, 4, 2, 3, 5, 2, 4, 2]
    assert REGIONS.bounds[:, 1:4].tolist() == [[-np.inf, -1.5, 1.5], [-1.5, 1.5, np.inf]]


def test_zeros():
    assert REGIONS.zeros().tolist() == [2, 4, 4, 0, 4]


def test_the_squared_error():
    # Rounded: 4 and 2 to 3, 1 to 0. Without zero: 4, 2, 1 and both zeros to 2.5, the negative ones as far.
    expected = [0, 2, 4 + 2, 2 * (1.5**2 + 0.5**2 + 1.5**2) + 2 * 2.5**2, 2]
    assert REGIONS.noise().tolist() == pytest.approx(expected, rel=1e-12)


def test_the_largest_error_is_that_at_the_end_of_a_region_that_holds_weights():
    assert REGIONS.largest_error().tolist() == [0, 1.5, 1.5, 2.5, 1.5]
    far = ScalarMap(cuts=np.array([8.0]), levels=np.array([0.0, 100.0]), bits=1)
    assert Regions.of(INDEX, [far]).largest_error().tolist() == [4]


def test_the_histogram_counts_what_is_not_zero():
    edges = np.array([-4.5, -2.7, -0.9, 0.9, 2.7, 4.5])
    expected = [[1, 2, 0, 2, 1], [1, 1, 0, 1, 1], [2, 0, 0, 0, 2], [0, 3, 0, 5, 0], [1, 1, 0, 1, 1]]
    assert REGIONS.histogram(edges).tolist() == expected


def test_weights_and_levels_beyond_the_ends_go_to_the_end_bins():
    edges = np.array([-2.4, -1.4, -0.4, 0.4, 1.4, 2.4])
    expected = [[2, 1, 0, 1, 2], [2, 0, 0, 0, 2], [2, 0, 0, 0, 2], [3, 0, 0, 0, 5], [2, 0, 0, 0, 2]]
    assert REGIONS.histogram(edges).tolist() == expected


def test_of_no_weights_all_is_zero():
    empty = Regions.of(WeightIndex.build(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool)), [KEPT, PRUNED])
    assert [empty.zeros().tolist(), empty.noise().tolist(), empty.largest_error().tolist()] == [[0, 0]] * 3
    assert empty.histogram(np.array([-1.0, -0.5, 0.5, 1.0])).tolist() == [[0, 0, 0]] * 2
