"""Filter pruning by norm against torch.nn.utils.prune and scipy, and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from compress_explorer.methods.filter_norm import apply
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal

SPARSITIES = [0.0, 0.1, 0.3, 0.5, 0.77, 1.0]

norms = pytest.mark.parametrize("norm", ["L1", "L2"])
every_sparsity = pytest.mark.parametrize("sparsity", SPARSITIES)


@norms
@every_sparsity
@pytest.mark.parametrize("shape", [(1, 1), (10, 1), (7, 13), (32, 50)], ids=str)
def test_drops_the_same_channels_of_a_matrix_as_torch(shape, sparsity, norm):
    weight = normal(*shape)
    layer = nn.Linear(shape[1], shape[0], bias=False)
    layer.weight = nn.Parameter(weight.clone())
    prune.ln_structured(layer, "weight", amount=sparsity, n=int(norm[1]), dim=0)
    mask = apply(weight, all_kept(weight), sparsity=sparsity, norm=norm)
    assert torch.equal(mask, layer.get_buffer("weight_mask").bool())


@norms
def test_drops_an_exact_count_of_the_smallest_channels(norm):
    for name in WEIGHTS:
        with case(name):
            weight, order = WEIGHTS[name], int(norm[1])
            sizes = np.linalg.norm(weight.double().numpy(), ord=order, axis=1)
            for sparsity in SPARSITIES:
                mask = apply(weight, all_kept(weight), sparsity=sparsity, norm=norm)
                stays = mask.any(dim=1).numpy()
                assert torch.equal(mask.all(dim=1), mask.any(dim=1))
                assert (~stays).sum() == round(sparsity * len(stays))
                if stays.any() and not stays.all():
                    assert sizes[~stays].max() <= sizes[stays].min() * (1 + 1e-12)


def test_the_norms_differ():
    weight = torch.tensor([[3.0, 3.0, 0.0], [0.0, 0.0, 5.0], [4.0, 4.0, 4.0]])  # L1 6, 5, 12; L2 4.2, 5, 6.9
    assert apply(weight, all_kept(weight), norm="L1").any(dim=1).tolist() == [True, False, True]
    assert apply(weight, all_kept(weight), norm="L2").any(dim=1).tolist() == [False, True, True]


def test_of_equal_channels_the_first_are_dropped():
    weight = torch.tensor([[2.0], [1.0], [-1.0], [1.0]])
    assert apply(weight, all_kept(weight), sparsity=0.5).flatten().tolist() == [True, False, False, True]


@norms
@every_sparsity
def test_pruned_weights_stay_pruned_and_whole_channels_of_them_count(sparsity, norm):
    weight, kept = half_kept(normal(10, 21))
    kept[[2, 7]] = False
    weight = torch.where(kept, weight, 0.0)
    mask = apply(weight, kept, sparsity=sparsity, norm=norm)
    stays = mask.any(dim=1)
    assert torch.equal(mask, stays[:, None] & kept)
    assert not stays[[2, 7]].any()
    assert int((~stays).sum()) == max(round(sparsity * 10), 2)


def test_a_channel_of_zeros_is_dropped_after_those_pruned_before():
    weight = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    kept = torch.tensor([[True, True], [False, False], [True, True]])
    assert apply(weight, kept, sparsity=1 / 3).any(dim=1).tolist() == [True, False, True]


@norms
@given(weight=matrices(), low=st.floats(0, 1), high=st.floats(0, 1))
def test_what_is_dropped_stays_dropped_at_higher_sparsity(norm, weight, low, high):
    fewer, more = (apply(weight, all_kept(weight), sparsity=sparsity, norm=norm) for sparsity in sorted((low, high)))
    assert not (more & ~fewer).any()
