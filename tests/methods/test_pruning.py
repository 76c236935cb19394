"""Random and magnitude pruning against torch.nn.utils.prune, and by hand."""

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from compress_explorer.methods import magnitude, magnitude_global, random
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal

SPARSITIES = [0.0, 0.01, 0.1, 0.25, 0.5, 0.77, 0.9, 0.99, 1.0]
SHAPES = [(1, 1), (1, 10), (10, 1), (7, 13), (32, 50)]


def linear(weight: Tensor) -> nn.Linear:
    """A layer with a copy of these weights, for torch's pruning functions work on modules."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight.clone())
    return layer


def zeros(mask: Tensor) -> int:
    return int((~mask).sum())


# Exact number of zeros, the same as torch's.


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_random_drops_as_many_as_torch(shape, sparsity):
    weight = normal(*shape)
    oracle = prune.random_unstructured(linear(weight), "weight", amount=sparsity)
    mask = random.apply(weight, all_kept(weight), sparsity=sparsity, seed=3)
    assert zeros(mask) == int((oracle.weight_mask == 0).sum()) == round(sparsity * weight.numel())


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_magnitude_drops_the_same_weights_as_torch(shape, sparsity):
    weight = normal(*shape)
    oracle = prune.l1_unstructured(linear(weight), "weight", amount=sparsity)
    mask = magnitude.apply(weight, all_kept(weight), sparsity=sparsity)
    assert torch.equal(mask, oracle.weight_mask.bool())


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_global_magnitude_drops_the_same_weights_as_torch(sparsity):
    weights = [normal(8, 31), 0.1 * normal(20, 5, seed=1), 3 * normal(1, 9, seed=2)]
    layers = [linear(weight) for weight in weights]
    prune.global_unstructured(
        [(layer, "weight") for layer in layers], pruning_method=prune.L1Unstructured, amount=sparsity
    )
    masks = magnitude_global.apply(weights, [all_kept(weight) for weight in weights], sparsity=sparsity)
    for mask, layer in zip(masks, layers, strict=True):
        assert torch.equal(mask, layer.get_buffer("weight_mask").bool())


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_magnitude_keeps_as_much_as_torch_where_magnitudes_tie(sparsity):
    for name, weight in WEIGHTS.items():
        with case(name):
            oracle = prune.l1_unstructured(linear(weight), "weight", amount=sparsity)
            mask = magnitude.apply(weight, all_kept(weight), sparsity=sparsity)
            assert zeros(mask) == int((oracle.weight_mask == 0).sum())
            kept, expected = weight[mask].abs(), weight[oracle.weight_mask.bool()].abs()
            assert torch.equal(kept.sort().values, expected.sort().values)


@pytest.mark.parametrize(
    ("sparsity", "count"), [(0.25, 2), (0.3125, 2), (0.4375, 4)], ids=["exact", "half-to-even", "half-to-even-up"]
)
def test_half_a_weight_rounds_to_the_even_count(sparsity, count):
    weight = normal(1, 8)  # 0.3125 * 8 = 2.5 and 0.4375 * 8 = 3.5
    assert zeros(magnitude.apply(weight, all_kept(weight), sparsity=sparsity)) == count


# By hand.


def test_magnitude_by_hand():
    weight = torch.tensor([[0.3, -0.1, 2.0], [-0.2, 0.0, -5.0]])
    mask = magnitude.apply(weight, all_kept(weight), sparsity=0.5)
    assert mask.tolist() == [[True, False, True], [False, False, True]]


def test_among_ties_the_first_are_dropped():
    weight = torch.tensor([[2.0, 1.0, -1.0, 1.0], [-1.0, 0.5, 1.0, 3.0]])
    mask = magnitude.apply(weight, all_kept(weight), sparsity=0.5)
    assert mask.tolist() == [[True, False, False, False], [True, False, True, True]]


def test_among_ties_of_several_layers_those_of_the_first_layer_are_dropped():
    ones = [torch.ones(1, 3), torch.ones(2, 2)]
    masks = magnitude_global.apply(ones, [all_kept(weight) for weight in ones], sparsity=4 / 7)
    assert [mask.tolist() for mask in masks] == [[[False, False, False]], [[False, True], [True, True]]]


def test_global_magnitude_may_empty_a_layer():
    weights = [torch.full((2, 5), 0.001), torch.full((2, 5), 1.0)]
    masks = magnitude_global.apply(weights, [all_kept(weight) for weight in weights], sparsity=0.5)
    assert [zeros(mask) for mask in masks] == [10, 0]


# Earlier steps.


@pytest.mark.parametrize("apply", [random.apply, magnitude.apply], ids=["random", "magnitude"])
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_pruned_weights_stay_pruned_and_count(apply, sparsity):
    weight, kept = half_kept(normal(9, 21))
    mask = apply(weight, kept, sparsity=sparsity)
    assert not (mask & ~kept).any()
    assert zeros(mask) == max(round(sparsity * weight.numel()), zeros(kept))


def test_a_kept_zero_is_dropped_after_the_pruned_ones_and_before_the_others():
    weight = torch.tensor([[0.0, 1.0, 0.0, 2.0]])
    kept = torch.tensor([[True, True, False, True]])
    assert magnitude.apply(weight, kept, sparsity=0.25).tolist() == [[True, True, False, True]]
    assert magnitude.apply(weight, kept, sparsity=0.5).tolist() == [[False, True, False, True]]


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_global_pruned_weights_stay_pruned_and_count(sparsity):
    pairs = [half_kept(normal(9, 21)), half_kept(normal(4, 4, seed=5))]
    weights, kept = [weight for weight, _ in pairs], [mask for _, mask in pairs]
    masks = magnitude_global.apply(weights, kept, sparsity=sparsity)
    assert all(not (mask & ~before).any() for mask, before in zip(masks, kept, strict=True))
    expected = max(round(sparsity * (9 * 21 + 16)), sum(map(zeros, kept)))
    assert sum(map(zeros, masks)) == expected


# Properties.


@given(weight=matrices(), sparsity=st.floats(0, 1))
def test_magnitude_keeps_no_weight_smaller_than_a_dropped_one(weight, sparsity):
    mask = magnitude.apply(weight, all_kept(weight), sparsity=sparsity)
    assert zeros(mask) == round(sparsity * weight.numel())
    if mask.any() and not mask.all():
        assert weight[mask].abs().min() >= weight[~mask].abs().max()


@pytest.mark.parametrize("apply", [random.apply, magnitude.apply], ids=["random", "magnitude"])
@given(weight=matrices(), low=st.floats(0, 1), high=st.floats(0, 1))
def test_what_is_dropped_stays_dropped_at_higher_sparsity(apply, weight, low, high):
    low, high = sorted((low, high))
    fewer, more = (apply(weight, all_kept(weight), sparsity=sparsity) for sparsity in (low, high))
    assert not (more & ~fewer).any()


@given(weights=st.lists(matrices(), min_size=1, max_size=4), sparsity=st.floats(0, 1))
def test_global_magnitude_is_magnitude_of_all_weights_in_a_row(weights, sparsity):
    masks = magnitude_global.apply(weights, [all_kept(weight) for weight in weights], sparsity=sparsity)
    row = torch.cat([weight.flatten() for weight in weights])[None]
    expected = magnitude.apply(row, all_kept(row), sparsity=sparsity)
    assert torch.equal(torch.cat([mask.flatten() for mask in masks]), expected[0])


# What a random mask depends on.


def test_random_mask_depends_on_seed_and_shape_but_not_on_the_weights():
    one, other = normal(20, 30), normal(20, 30, seed=9)
    mask = random.apply(one, all_kept(one), sparsity=0.5, seed=7)
    assert torch.equal(mask, random.apply(other, all_kept(other), sparsity=0.5, seed=7))
    masks = {tuple(random.apply(one, all_kept(one), sparsity=0.5, seed=seed).flatten().tolist()) for seed in range(21)}
    assert len(masks) == 21


def test_random_mask_is_drawn_uniformly():
    """All 6 masks with 2 zeros of 4 turn up equally often: 6,000 seeds, 4 standard deviations of a binomial."""
    weight = torch.ones(2, 2)
    masks = [random.apply(weight, all_kept(weight), sparsity=0.5, seed=seed) for seed in range(6000)]
    counts = Counter(tuple(mask.flatten().tolist()) for mask in masks)
    expected = {tuple(i not in pair for i in range(4)) for pair in itertools.combinations(range(4), 2)}
    assert set(counts) == expected
    assert all(abs(count - 1000) < 4 * (6000 / 6 * 5 / 6) ** 0.5 for count in counts.values())
