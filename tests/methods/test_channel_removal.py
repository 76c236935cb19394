"""Which channels stay: against torch-pruning's importances, sorting by hand, and small cases."""

import numpy as np
import pytest
import torch
import torch_pruning
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compress_explorer.methods import remove_filters, remove_fpgm, slimming
from tests.methods.cases import all_kept, matrices, normal


def kept(mask: torch.Tensor) -> list[int]:
    return mask.nonzero()[:, 0].tolist()


@pytest.mark.parametrize("norm", ["L1", "L2"])
@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_filters_of_largest_norm_stay(norm, sparsity):
    weight = normal(13, 20)
    sizes = np.linalg.norm(weight.numpy(), ord=int(norm[1]), axis=1)
    count = max(1, 13 - round(sparsity * 13))
    mask = remove_filters.apply(weight, all_kept(weight), norm=norm, sparsity=sparsity)
    assert kept(mask) == sorted(np.argsort(sizes)[13 - count :].tolist())


def test_fpgm_by_hand():
    """The filters at 0 and 10 lie outside, those at 4 and 5 amid the others: 5 has the least sum, then 4."""
    weight = torch.tensor([[0.0], [4.0], [10.0], [5.0], [7.0]])
    sums = [4 + 10 + 5 + 7, 4 + 6 + 1 + 3, 10 + 6 + 5 + 3, 5 + 1 + 5 + 2, 7 + 3 + 3 + 2]
    assert sums == [26, 14, 24, 13, 15]
    assert kept(remove_fpgm.apply(weight, all_kept(weight), sparsity=0.2)) == [0, 1, 2, 4]
    assert kept(remove_fpgm.apply(weight, all_kept(weight), sparsity=0.4)) == [0, 2, 4]


def group_of(model: nn.Sequential, inputs: torch.Tensor) -> torch_pruning.dependency.Group:
    graph = torch_pruning.DependencyGraph().build_dependency(model, inputs)
    first = model[0]
    return graph.get_pruning_group(first, graph.get_pruner_of_module(first).prune_out_channels, list(range(12)))


@pytest.mark.parametrize("seed", range(3))
def test_torch_pruning_ranks_alike(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 4, 3)).eval()
    scales = nn.init.normal_(model[1].get_parameter("weight")).detach()
    group = group_of(model, torch.randn(1, 3, 9, 9))
    weight = model[0].get_parameter("weight").detach().flatten(1)
    first = {"group_reduction": "first", "normalizer": None}
    for keep, importance in [
        (
            remove_filters.apply(weight, all_kept(weight), sparsity=0.5, norm="L1"),
            torch_pruning.importance.MagnitudeImportance(p=1, **first),
        ),
        (
            remove_filters.apply(weight, all_kept(weight), sparsity=0.5, norm="L2"),
            torch_pruning.importance.MagnitudeImportance(p=2, **first),
        ),
        (
            slimming.apply([weight], [all_kept(weight)], [scales[:, None]], sparsity=0.5)[0],
            torch_pruning.importance.BNScaleImportance(),
        ),
    ]:
        assert kept(keep) == sorted(importance(group).argsort()[6:].tolist())


def test_slimming_has_one_threshold_and_leaves_a_channel_in_every_layer():
    scales = [torch.tensor([[0.1], [-0.2], [0.15]]), torch.tensor([[1.0], [-3.0], [0.05], [2.0]])]
    weights = [normal(3, 2), normal(4, 2)]
    masks = [all_kept(weight) for weight in weights]
    assert [kept(mask) for mask in slimming.apply(weights, masks, scales, sparsity=3 / 7)] == [[1], [0, 1, 3]]
    assert [kept(mask) for mask in slimming.apply(weights, masks, scales, sparsity=5 / 7)] == [[1], [1, 3]]
    assert [kept(mask) for mask in slimming.apply(weights, masks, scales, sparsity=1.0)] == [[1], [1]]
    assert [kept(mask) for mask in slimming.apply(weights, masks, scales, sparsity=5 / 7, round_to=2)] == [
        [1, 2],
        [1, 3],
    ]


@given(weight=matrices(), sparsity=st.floats(0, 1), round_to=st.integers(1, 9))
def test_as_many_stay_as_asked_rounded_up(weight, sparsity, round_to):
    channels = len(weight)
    wanted = max(1, channels - round(sparsity * channels))
    for method in (remove_filters, remove_fpgm):
        count = int(method.apply(weight, all_kept(weight), sparsity=sparsity, round_to=round_to).sum())
        assert wanted <= count <= channels
        assert count == channels or (count % round_to == 0 and count - wanted < round_to)


def test_of_equal_channels_the_first_are_removed():
    weight = torch.ones(4, 3)
    for method in (remove_filters, remove_fpgm):
        assert kept(method.apply(weight, all_kept(weight), sparsity=0.5)) == [2, 3]
