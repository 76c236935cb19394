"""LAMP against torch-pruning's scores, and against pruning the lowest scores one by one."""

import numpy as np
import pytest
import torch
import torch_pruning
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.methods import magnitude
from compress_explorer.methods.lamp import apply, preview
from compress_explorer.methods.weight_index import WeightIndex
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal

SPARSITIES = [0.0, 0.01, 0.3, 0.5, 0.77, 0.9, 0.99, 1.0]
LAYERS = [normal(8, 31), 0.1 * normal(20, 5, seed=1), 3 * normal(1, 9, seed=2) ** 3]


def masks_of(weights: list[Tensor], sparsity: float) -> list[Tensor]:
    return apply(weights, [all_kept(weight) for weight in weights], sparsity=sparsity)


def zeros(masks: list[Tensor]) -> int:
    return sum(int((~mask).sum()) for mask in masks)


def brute_scores(weight: Tensor) -> np.ndarray:
    """By the definition, one weight after the other: w² over all that stand at its place or later in the order."""
    squares = [float(value) ** 2 for value in weight.double().flatten()]
    order = sorted(range(len(squares)), key=lambda place: (squares[place], place))
    scores = np.zeros(len(squares))
    for rank, place in enumerate(order):
        surviving = sum(squares[other] for other in order[rank:])
        scores[place] = squares[place] / surviving if surviving else 0.0
    return scores


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_drops_the_lowest_scores_of_torch_pruning(sparsity):
    oracle = torch_pruning.importance.LAMPImportance()
    scores = torch.cat([oracle._lamp(weight.flatten().square()) for weight in LAYERS])
    masks = masks_of(LAYERS, sparsity)
    keep = torch.cat([mask.flatten() for mask in masks])
    count = round(sparsity * scores.numel())
    assert zeros(masks) == count
    expected = torch.ones_like(keep).scatter(0, scores.argsort()[:count], False)
    # All the largest of a layer score 1.
    tied = scores == 1
    assert torch.equal(keep[~tied], expected[~tied])


@pytest.mark.parametrize("sparsity", [0.3, 0.77])
def test_agrees_with_the_definition(sparsity):
    for name in WEIGHTS:
        with case(name):
            weights = [WEIGHTS[name], normal(4, 6, seed=3)]
            scores = np.concatenate([brute_scores(weight) for weight in weights])
            keep = torch.cat([mask.flatten() for mask in masks_of(weights, sparsity)]).numpy()
            count = round(sparsity * scores.size)
            assert (~keep).sum() == count
            if 0 < count < scores.size:
                cut = np.sort(scores)[count - 1]
                assert not keep[scores < cut * (1 - 1e-12)].any()
                assert keep[scores > cut * (1 + 1e-12)].all()


@given(weights=st.lists(matrices(max_side=6), min_size=1, max_size=3), sparsity=st.floats(0, 1))
def test_no_dropped_weight_scores_higher_than_a_kept_one(weights, sparsity):
    scores = np.concatenate([brute_scores(weight) for weight in weights])
    keep = torch.cat([mask.flatten() for mask in masks_of(weights, sparsity)]).numpy()
    assert (~keep).sum() == round(sparsity * keep.size)
    if keep.any() and not keep.all():
        assert scores[~keep].max() <= scores[keep].min() * (1 + 1e-9)


def test_by_hand():
    # Squares 1, 4, 4, 16: scores 1/25, 4/24, 4/20, 1. Squares 1, 9: scores 1/10 and 1.
    weights = [torch.tensor([[4.0, -2.0], [1.0, 2.0]]), torch.tensor([[1.0, 3.0]])]
    lost = [[mask.tolist() for mask in masks_of(weights, count / 6)] for count in range(7)]
    assert lost[1] == [[[True, True], [False, True]], [[True, True]]]
    assert lost[2] == [[[True, True], [False, True]], [[False, True]]]
    assert lost[3] == [[[True, False], [False, True]], [[False, True]]]  # of two equal ones the first
    assert lost[4] == [[[True, False], [False, False]], [[False, True]]]
    assert lost[5] == [[[False, False], [False, False]], [[False, True]]]  # both 1: the earlier layer's
    assert not any(np.any(mask) for mask in lost[6])


def test_a_layer_of_equal_weights_is_pruned_from_the_first():
    (mask,) = masks_of([torch.full((2, 3), -0.5)], 0.5)
    assert mask.tolist() == [[False, False, False], [True, True, True]]


@given(
    weights=st.lists(matrices(max_side=8).filter(lambda weight: bool(weight.any())), min_size=1, max_size=4),
    share=st.floats(0, 1),
)
def test_every_layer_keeps_a_weight_while_there_is_one_for_each(weights, share):
    total = sum(weight.numel() for weight in weights)
    masks = masks_of(weights, share * (total - len(weights)) / total)
    assert all(mask.any() for mask in masks)


@pytest.mark.parametrize("factor", [1e-30, 1e-5, 1e4, 1e20])
def test_the_scale_of_a_layer_does_not_matter(factor):
    """Magnitude pruning under one global threshold would empty the smaller layer."""
    small = [LAYERS[0], LAYERS[1] * factor]
    for mask, expected in zip(masks_of(small, 0.8), masks_of(LAYERS[:2], 0.8), strict=True):
        assert torch.equal(mask, expected)


def test_of_a_single_layer_it_is_magnitude_pruning():
    for sparsity in SPARSITIES:
        (mask,) = masks_of([LAYERS[0]], sparsity)
        assert torch.equal(mask, magnitude.apply(LAYERS[0], all_kept(LAYERS[0]), sparsity=sparsity))


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_pruned_weights_stay_pruned_and_count(sparsity):
    pairs = [half_kept(normal(9, 21)), half_kept(normal(4, 4, seed=5))]
    weights, kept = [weight for weight, _ in pairs], [mask for _, mask in pairs]
    masks = apply(weights, kept, sparsity=sparsity)
    assert all(not (mask & ~before).any() for mask, before in zip(masks, kept, strict=True))
    assert zeros(masks) == max(round(sparsity * (9 * 21 + 16)), zeros(kept))


def test_weights_pruned_before_are_dropped_before_kept_zeros():
    weights = [torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 2.0]])]
    kept = [torch.tensor([[True, True]]), torch.tensor([[False, True]])]
    for count, expected in ((1, [[[True, True]], [[False, True]]]), (2, [[[False, True]], [[False, True]]])):
        assert [mask.tolist() for mask in apply(weights, kept, sparsity=count / 4)] == expected


# Preview.


def lost(index: WeightIndex, entry) -> float:
    """How many weights the map sends to zero."""
    return float(np.diff(index.count_below(entry.cuts))[0]) if len(entry.cuts) else 0.0


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_zeros_of_the_preview_are_exact_in_total_and_near_in_each_layer(sparsity):
    layers = [normal(30, 41), 0.1 * normal(50, 20, seed=1), 0.5 * normal(10, 3, seed=2)]
    for pairs in ([(weight, all_kept(weight)) for weight in layers], [half_kept(weight) for weight in layers]):
        weights, kept = [weight for weight, _ in pairs], [mask for _, mask in pairs]
        indices = [WeightIndex.build(weight, mask) for weight, mask in pairs]
        counts = [lost(*entry) for entry in zip(indices, preview(indices, sparsity=sparsity), strict=True)]
        exact = [
            int((before & ~after).sum())
            for before, after in zip(kept, apply(weights, kept, sparsity=sparsity), strict=True)
        ]
        assert sum(counts) == pytest.approx(sum(exact), abs=1e-6)
        assert counts == pytest.approx(exact, abs=3)


@pytest.mark.parametrize("sparsity", [0.5, 0.6, 0.8, 1.0])
def test_a_layer_of_zeros_is_dropped_first_in_the_preview_too(sparsity):
    layers = [torch.zeros(10, 10), normal(4, 25, seed=4)]
    indices = [WeightIndex.build(weight) for weight in layers]
    counts = [lost(*entry) for entry in zip(indices, preview(indices, sparsity=sparsity), strict=True)]
    assert counts == pytest.approx([100, round(200 * sparsity) - 100], abs=1e-6)
    masks = apply(layers, [all_kept(weight) for weight in layers], sparsity=sparsity)
    assert counts == pytest.approx([zeros([mask]) for mask in masks], abs=1e-6)


@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_a_preview_remembers_nothing_of_other_layers(sparsity):
    first, second = ([WeightIndex.build(weight * scale) for weight in LAYERS[:2]] for scale in (1.0, 3.0))
    expected = [[entry.cuts.tolist() for entry in preview(layers, sparsity=sparsity)] for layers in (first, second)]
    again = [[entry.cuts.tolist() for entry in preview(layers, sparsity=sparsity)] for layers in (first, second)]
    assert again == expected
    for small, large in zip(*expected, strict=True):
        assert large == pytest.approx([3 * cut for cut in small], rel=2**-6)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8, 1.0])
def test_zeros_of_the_preview_are_exact_in_total_in_every_case(sparsity):
    for name in WEIGHTS:
        with case(name):
            layers = [WEIGHTS[name], normal(4, 25, seed=4)]
            indices = [WeightIndex.build(weight) for weight in layers]
            counts = [lost(*entry) for entry in zip(indices, preview(indices, sparsity=sparsity), strict=True)]
            already = sum(index.zeros for index in indices)
            wanted = round(sparsity * sum(weight.numel() for weight in layers))
            assert sum(counts) == pytest.approx(0 if wanted == 0 else max(wanted, already), abs=1e-6)


@given(weights=st.lists(matrices(), min_size=1, max_size=4), sparsity=st.floats(0, 1))
def test_zeros_of_the_preview_are_exact_in_total_whatever_the_layers(weights, sparsity):
    indices = [WeightIndex.build(weight) for weight in weights]
    counts = [lost(*entry) for entry in zip(indices, preview(indices, sparsity=sparsity), strict=True)]
    already = sum(index.zeros for index in indices)
    wanted = round(sparsity * sum(weight.numel() for weight in weights))
    assert sum(counts) == pytest.approx(0 if wanted == 0 else max(wanted, already), abs=1e-6)
