"""FPGM against scipy's distances and torch-pruning, and by hand."""

import numpy as np
import pytest
import torch
import torch_pruning
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from compress_explorer.methods.fpgm import apply
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal

SPARSITIES = [0.0, 0.1, 0.3, 0.5, 0.77, 1.0]

every_sparsity = pytest.mark.parametrize("sparsity", SPARSITIES)


def lowest(sums: np.ndarray, sparsity: float) -> list[int]:
    return sorted(np.argsort(sums, kind="stable")[: round(sparsity * len(sums))].tolist())


def dropped(mask: Tensor) -> list[int]:
    assert torch.equal(mask.all(dim=1), mask.any(dim=1))
    return (~mask.any(dim=1)).nonzero().flatten().tolist()


@every_sparsity
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (24, 9), (60, 75)], ids=str)
def test_drops_the_channels_of_smallest_summed_distance(shape, sparsity):
    weight = normal(*shape)
    sums = cdist(weight.double(), weight.double()).sum(axis=1)
    assert dropped(apply(weight, all_kept(weight), sparsity=sparsity)) == lowest(sums, sparsity)


@every_sparsity
def test_drops_the_same_channels_as_torch_pruning(sparsity):
    """Of a convolution of positive weights: the oracle takes distances of magnitudes to the power p."""
    layer = nn.Conv2d(3, 30, 3, bias=False)
    weight = normal(30, 27).abs()
    layer.weight = nn.Parameter(weight.reshape(30, 3, 3, 3))
    graph = torch_pruning.DependencyGraph().build_dependency(layer, example_inputs=torch.zeros(1, 3, 5, 5))
    group = graph.get_pruning_group(layer, torch_pruning.prune_conv_out_channels, idxs=list(range(30)))
    scores = torch_pruning.importance.FPGMImportance(p=1, normalizer=None)(group)
    mask = apply(weight, all_kept(weight), sparsity=sparsity)
    assert dropped(mask) == lowest(scores.numpy(), sparsity)


def test_drops_an_exact_count_in_every_case():
    for name, weight in WEIGHTS.items():
        with case(name):
            sums = cdist(weight.double(), weight.double()).sum(axis=1)
            for sparsity in SPARSITIES:
                gone = dropped(apply(weight, all_kept(weight), sparsity=sparsity))
                assert len(gone) == round(sparsity * weight.shape[0])
                stays = np.delete(sums, gone)
                if gone and stays.size:
                    assert sums[gone].max() <= stays.min() * (1 + 1e-9)


def test_the_redundant_go_and_not_the_small():
    # On a line: sums of distances 15, 12, 12, 25 from 0, 1, 2 and 12. The smallest stays.
    weight = torch.tensor([[0.0], [1.0], [2.0], [12.0]])
    assert dropped(apply(weight, all_kept(weight), sparsity=0.25)) == [1]
    assert dropped(apply(weight, all_kept(weight), sparsity=0.5)) == [1, 2]
    assert dropped(apply(weight, all_kept(weight), sparsity=0.75)) == [0, 1, 2]


def test_where_the_layer_lies_does_not_matter():
    weight = normal(40, 30)
    far = (weight.double() + 64).float()
    sums = cdist(far.double(), far.double()).sum(axis=1)
    for sparsity in SPARSITIES:
        assert dropped(apply(far, all_kept(far), sparsity=sparsity)) == lowest(sums, sparsity)


@every_sparsity
def test_channels_that_are_gone_are_no_neighbours(sparsity):
    weight, kept = half_kept(normal(12, 21) + 1)
    kept[[2, 7, 8]] = False
    weight = torch.where(kept, weight, 0.0)
    alive = [0, 1, 3, 4, 5, 6, 9, 10, 11]
    sums = cdist(weight[alive].double(), weight[alive].double()).sum(axis=1)
    more = max(round(sparsity * 12) - 3, 0)
    gone = {2, 7, 8} | {alive[place] for place in np.argsort(sums)[:more]}
    mask = apply(weight, kept, sparsity=sparsity)
    stays = torch.tensor([channel not in gone for channel in range(12)])
    assert torch.equal(mask, stays[:, None] & kept)


def test_nothing_left_stays_nothing():
    weight = torch.zeros(3, 4)
    assert not apply(weight, weight.bool(), sparsity=0.5).any()


@given(weight=matrices(), low=st.floats(0, 1), high=st.floats(0, 1))
def test_what_is_dropped_stays_dropped_at_higher_sparsity(weight, low, high):
    fewer, more = (apply(weight, all_kept(weight), sparsity=sparsity) for sparsity in sorted((low, high)))
    assert not (more & ~fewer).any()
