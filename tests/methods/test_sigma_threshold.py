"""The threshold in standard deviations against numpy, scipy's normal distribution, and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from torch import Tensor

from compress_explorer.methods.sigma_threshold import apply, preview
from compress_explorer.methods.weight_index import WeightIndex
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal

QUALITIES = [0.0, 0.05, 0.5, 1.0, 1.7, 3.0, 100.0]
WIDTH = 2.0**-7


def by_numpy(weight: Tensor, kept: Tensor, quality: float) -> tuple[np.ndarray, np.ndarray]:
    """The mask, and where rounding may decide: magnitudes that are the threshold but for the last digits."""
    values, left = weight.double().numpy(), kept.numpy()
    threshold = quality * (np.std(values[left]) if left.any() else 0.0)
    rounding = 1e-12 * np.abs(values).max()
    unclear = np.abs(np.abs(values) - threshold) <= rounding if threshold > rounding else np.zeros_like(left)
    return left & (np.abs(values) > threshold), unclear


@pytest.mark.parametrize("quality", QUALITIES)
def test_agrees_with_numpy(quality):
    for name in WEIGHTS:
        with case(name):
            for weight, kept in ((WEIGHTS[name], all_kept(WEIGHTS[name])), half_kept(WEIGHTS[name])):
                expected, unclear = by_numpy(weight, kept, quality)
                mask = apply(weight, kept, quality=quality).numpy()
                assert (mask == expected)[~unclear].all()
                assert not (mask & ~kept.numpy()).any()


@given(weight=matrices(), quality=st.floats(0, 4))
def test_agrees_with_numpy_on_any_matrix(weight, quality):
    expected, unclear = by_numpy(weight, all_kept(weight), quality)
    assert (apply(weight, all_kept(weight), quality=quality).numpy() == expected)[~unclear].all()


def test_by_hand():
    weight = torch.tensor([[-3.0, -1.0], [1.0, 3.0]])  # σ is the root of 5, about 2.24
    assert apply(weight, all_kept(weight), quality=1.0).tolist() == [[True, False], [False, True]]
    assert not apply(weight, all_kept(weight), quality=1.4).any()


def test_a_weight_at_the_threshold_is_dropped():
    weight = torch.tensor([[-1.0, 1.0, -1.0, 1.0]])
    assert not apply(weight, all_kept(weight), quality=1.0).any()
    assert apply(weight, all_kept(weight), quality=0.999).all()


def test_weights_pruned_before_are_left_out_of_the_deviation():
    weight = torch.tensor([[-3.0, 3.0, 0.0, 0.0, 2.9, -2.9]])
    kept = weight != 0
    assert not apply(weight, kept, quality=1.02).any()  # σ = 2.95
    assert apply(weight, all_kept(weight), quality=1.02)[kept].all()  # σ = 2.41


def test_at_zero_only_zeros_are_dropped():
    weight = torch.tensor([[0.0, -0.0, 1e-40, -5.0]])
    assert apply(weight, all_kept(weight), quality=0.0).tolist() == [[False, False, True, True]]


def test_equal_weights_far_from_zero_are_all_kept():
    weight = torch.full((30, 40), 0.1)
    assert apply(weight, all_kept(weight), quality=3.0).all()


@pytest.mark.parametrize("quality", [0.25, 1.0, 2.0])
def test_normal_weights_lose_the_share_of_the_normal_distribution(quality):
    weight = 0.05 * normal(1000, 300)
    share = 1 - float(apply(weight, all_kept(weight), quality=quality).float().mean())
    assert share == pytest.approx(norm.cdf(quality) - norm.cdf(-quality), abs=0.003)


@given(weight=matrices(), low=st.floats(0, 3), high=st.floats(0, 3))
def test_what_is_dropped_stays_dropped_at_higher_thresholds(weight, low, high):
    low, high = sorted((low, high))
    fewer, more = (apply(weight, all_kept(weight), quality=quality) for quality in (low, high))
    assert not (more & ~fewer).any()


# Preview.


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_threshold_of_the_preview_separates_what_is_dropped(quality):
    """But for the last digits: of nearly equal weights far from zero the variance is a small difference."""
    for name in WEIGHTS:
        with case(name):
            for weight, kept in ((WEIGHTS[name], all_kept(WEIGHTS[name])), half_kept(WEIGHTS[name])):
                (entry,) = preview([WeightIndex.build(weight, kept)], quality=quality)
                left = weight[kept].abs().double()
                rounding = 1e-7 * float(left.max()) * quality if left.numel() else 0.0
                threshold = float(entry.cuts[-1]) if len(entry.cuts) else 0.0
                mask = apply(weight, kept, quality=quality)[kept]
                assert mask[left > threshold + rounding].all()
                assert not mask[left < threshold - rounding].any()


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_preview_counts_all_but_the_weights_of_a_bin(quality):
    layers = [normal(30, 41), 0.1 * normal(50, 20, seed=1)]
    indices = [WeightIndex.build(weight) for weight in layers]
    for weight, index, entry in zip(layers, indices, preview(indices, quality=quality), strict=True):
        counted = np.diff(index.count_below(entry.cuts))[0] if len(entry.cuts) else 0.0
        dropped = int((~apply(weight, all_kept(weight), quality=quality)).sum())
        threshold = quality * np.std(weight.double().numpy())
        near = np.abs(weight.double().abs().numpy() - threshold) <= WIDTH * threshold
        assert abs(counted - dropped) <= near.sum() + 1e-6
