"""N:M sparsity against torchao's mask creator, a plain loop, and by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchao.sparsity.utils import mask_creator

from compress_explorer.methods.n_m import apply
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal

PATTERNS = [(1, 2), (1, 4), (2, 4), (3, 4), (4, 8), (2, 5), (5, 9), (1, 16), (5, 32)]

every_pattern = pytest.mark.parametrize(("keep", "block"), PATTERNS, ids=[f"{n}-{m}" for n, m in PATTERNS])


def by_loop(row: list[float], keep: int, block: int) -> list[bool]:
    """Block after block: sorted by magnitude, then place, the last `keep` stay."""
    mask = []
    for start in range(0, len(row), block):
        part = row[start : start + block]
        order = sorted(range(len(part)), key=lambda place: (abs(part[place]), place))
        stay = set(order[max(len(part) - keep, 0) :])
        mask += [place in stay for place in range(len(part))]
    return mask


@every_pattern
@pytest.mark.parametrize("rows", [1, 7])
def test_keeps_the_same_weights_as_torchao(rows, keep, block):
    """The oracle's N counts what is kept; it has no blocks but whole ones."""
    weight = normal(rows, 6 * block)
    assert torch.equal(apply(weight, all_kept(weight), keep=keep, block=block), mask_creator(weight, keep, block) == 1)


@every_pattern
def test_agrees_with_a_loop_over_the_blocks(keep, block):
    for name, weight in WEIGHTS.items():
        with case(name):
            mask = apply(weight, all_kept(weight), keep=keep, block=block)
            assert mask.tolist() == [by_loop(row, keep, block) for row in weight.tolist()]


@given(weight=matrices(), keep=st.integers(1, 9), block=st.integers(2, 9))
def test_no_block_keeps_more_than_it_should(weight, keep, block):
    mask = apply(weight, all_kept(weight), keep=keep, block=block)
    assert mask.tolist() == [by_loop(row, keep, block) for row in weight.tolist()]
    for part, values in zip(mask.split(block, dim=1), weight.abs().split(block, dim=1), strict=True):
        assert (part.sum(dim=1) == min(keep, part.shape[1])).all()
        for row, magnitudes in zip(part, values, strict=True):
            if not row.all():
                assert magnitudes[row].min() >= magnitudes[~row].max()


@pytest.mark.parametrize("kernel", [(3,), (3, 3), (2, 3), (1, 1)], ids=str)
@every_pattern
def test_of_a_convolution_blocks_are_of_input_channels_as_by_torchao_on_the_permuted_weight(keep, block, kernel):
    """The oracle's blocks are the last axis of what it is given; here [outputs, *kernel, inputs]."""
    weight = normal(5, 2 * block, *kernel)
    matrix = weight.flatten(1)
    mask = apply(matrix, all_kept(matrix), math.prod(kernel), keep=keep, block=block)
    expected = mask_creator(weight.movedim(1, -1).contiguous(), keep, block).movedim(-1, 1)
    assert torch.equal(mask, expected.flatten(1) == 1)


@given(weight=matrices(), window=st.integers(2, 9), keep=st.integers(1, 9), block=st.integers(2, 9))
def test_each_place_of_a_kernel_has_blocks_of_its_own(weight, window, keep, block):
    """Channels that are no multiple of the block leave a shorter block at every place."""
    wide = torch.stack([weight, *(weight.roll(place, 1) * (-1) ** place for place in range(1, window))], dim=2)
    mask = apply(wide.flatten(1), all_kept(wide.flatten(1)), window, keep=keep, block=block).view(wide.shape)
    for place in range(window):
        rows = wide[:, :, place].tolist()
        assert mask[:, :, place].tolist() == [by_loop(row, keep, block) for row in rows]


def test_a_depthwise_convolution_has_one_channel_for_a_block_and_loses_nothing():
    weight = normal(6, 9)
    assert apply(weight, all_kept(weight), 9, keep=1, block=4).all()


@pytest.mark.parametrize("block", [4, 8, 16])
def test_very_many_weights_are_those_of_torchao(block):
    """More than are treated at a time."""
    weight = normal(700, 640)
    mask = apply(weight, all_kept(weight), keep=block // 2, block=block)
    assert torch.equal(mask, mask_creator(weight, block // 2, block) == 1)


def test_by_hand():
    weight = torch.tensor([[0.1, -3.0, 2.0, 0.5, 1.0, 1.0, -1.0, 1.0], [0.0, 0.0, 0.0, 9.0, 4.0, 3.0, 2.0, 1.0]])
    assert apply(weight, all_kept(weight)).int().tolist() == [[0, 1, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1, 0, 0]]


def test_a_short_last_block_keeps_as_many_as_the_others():
    weight = torch.tensor([[4.0, 3.0, 2.0, 1.0, 1.0, 2.0, 3.0], [4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 5.0]])
    assert apply(weight, all_kept(weight)).int().tolist() == [[1, 1, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 1, 1]]
    alone = torch.tensor([[1.0]])
    assert apply(alone, all_kept(alone), keep=1, block=4).all()


@pytest.mark.parametrize(("keep", "block"), [(4, 4), (8, 4), (1024, 2)])
def test_blocks_of_no_more_weights_than_are_kept_lose_nothing(keep, block):
    weight = normal(3, 11)
    assert apply(weight, all_kept(weight), keep=keep, block=block).all()


@every_pattern
def test_pruned_weights_stay_pruned_and_count_among_the_dropped(keep, block):
    weight, kept = half_kept(normal(9, 45))
    mask = apply(weight, kept, keep=keep, block=block)
    assert not (mask & ~kept).any()
    for after, before in zip(mask.split(block, dim=1), kept.split(block, dim=1), strict=True):
        assert torch.equal(after.sum(dim=1), before.sum(dim=1).clamp(max=keep))


@given(weight=matrices(), pattern=st.sampled_from(PATTERNS))
def test_applied_again_it_changes_nothing(weight, pattern):
    keep, block = pattern
    mask = apply(weight, all_kept(weight), keep=keep, block=block)
    pruned: Tensor = torch.where(mask, weight, 0.0)
    assert torch.equal(apply(pruned, mask, keep=keep, block=block), mask)
