"""Block pruning against a loop over the blocks, torch.nn.utils.prune, and by hand."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from compress_explorer.methods import magnitude
from compress_explorer.methods.block import apply
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal

SPARSITIES = [0.0, 0.1, 0.5, 0.77, 1.0]
BLOCKS = [(4, 4), (1, 4), (4, 1), (2, 3), (64, 64)]

every_block = pytest.mark.parametrize(("rows", "columns"), BLOCKS, ids=[f"{r}x{c}" for r, c in BLOCKS])
every_sparsity = pytest.mark.parametrize("sparsity", SPARSITIES)


def blocks_of(matrix: Tensor, rows: int, columns: int) -> list[Tensor]:
    """The parts of a matrix, row by row, those at the edges as they are."""
    return [part for band in matrix.split(rows) for part in band.split(columns, dim=1)]


def dropped_by_loop(weight: Tensor, sparsity: float, rows: int, columns: int) -> list[int]:
    """Which blocks go: by mean square in float64, then by place."""
    parts = blocks_of(weight.double(), rows, columns)
    ranks = [(float(part.flatten() @ part.flatten()) / part.numel(), place) for place, part in enumerate(parts)]
    return sorted(place for _, place in sorted(ranks)[: round(sparsity * len(parts))])


@every_sparsity
@every_block
@pytest.mark.parametrize("shape", [(16, 24), (5, 37), (1, 1), (3, 2)], ids=str)
def test_drops_the_same_blocks_as_a_loop(shape, rows, columns, sparsity):
    weight = normal(*shape)
    mask = apply(weight, all_kept(weight), sparsity=sparsity, rows=rows, columns=columns)
    parts = blocks_of(mask, rows, columns)
    assert all(part.all() or not part.any() for part in parts)
    dropped = [place for place, part in enumerate(parts) if not part.any()]
    assert dropped == dropped_by_loop(weight, sparsity, rows, columns)


@every_sparsity
def test_whole_rows_as_blocks_are_torchs_structured_pruning(sparsity):
    weight = normal(10, 24)
    layer = nn.Linear(24, 10, bias=False)
    layer.weight = nn.Parameter(weight.clone())
    prune.ln_structured(layer, "weight", amount=sparsity, n=2, dim=0)
    mask = apply(weight, all_kept(weight), sparsity=sparsity, rows=1, columns=24)
    assert torch.equal(mask, layer.get_buffer("weight_mask").bool())


@given(weight=matrices(), sparsity=st.floats(0, 1))
def test_single_weights_as_blocks_are_magnitude_pruning(weight, sparsity):
    mask = apply(weight, all_kept(weight), sparsity=sparsity, rows=1, columns=1)
    assert torch.equal(mask, magnitude.apply(weight, all_kept(weight), sparsity=sparsity))


@every_block
def test_the_count_of_blocks_is_exact(rows, columns):
    for name, weight in WEIGHTS.items():
        with case(name):
            for sparsity in SPARSITIES:
                parts = blocks_of(
                    apply(weight, all_kept(weight), sparsity=sparsity, rows=rows, columns=columns), rows, columns
                )
                assert sum(not part.any() for part in parts) == round(sparsity * len(parts))
                assert sum(bool(part.all()) for part in parts) == len(parts) - round(sparsity * len(parts))


def test_by_hand():
    weight = torch.tensor([[1.0, 1.0, 0.0, 3.0], [1.0, 1.0, 0.0, 0.0], [2.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    lost = {}  # sums of squares 4, 9, 4, 2
    for count in range(5):
        mask = apply(weight, all_kept(weight), sparsity=count / 4, rows=2, columns=2)
        lost[count] = [not part.any() for part in blocks_of(mask, 2, 2)]
    assert lost[1] == [False, False, False, True]
    assert lost[2] == [True, False, False, True]  # of two equal ones the first
    assert lost[3] == [True, False, True, True]


def test_a_small_block_at_the_edge_is_ranked_by_its_mean_square():
    weight = torch.tensor([[1.0, 1.0, 1.0, 1.2]])  # sums of squares 3 and 1.44, means 1 and 1.44
    mask = apply(weight, all_kept(weight), sparsity=0.5, rows=1, columns=3)
    assert mask.tolist() == [[False, False, False, True]]


@every_sparsity
def test_pruned_weights_stay_pruned_and_whole_blocks_of_them_count(sparsity):
    weight, kept = half_kept(normal(8, 12))
    kept[:4, :4] = kept[4:, 8:] = False
    weight = torch.where(kept, weight, 0.0)
    mask = apply(weight, kept, sparsity=sparsity)
    assert not (mask & ~kept).any()
    gone = [not part.any() for part in blocks_of(mask, 4, 4)]
    assert gone[0]
    assert gone[5]
    assert sum(gone) == max(round(sparsity * 6), 2)
    for after, before in zip(blocks_of(mask, 4, 4), blocks_of(kept, 4, 4), strict=True):
        assert not after.any() or torch.equal(after, before)


def test_a_block_pruned_before_is_dropped_before_one_of_zeros():
    weight = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0, 1.0]])
    kept = torch.tensor([[True, True, False, False, True, True]])
    assert torch.equal(apply(weight, kept, sparsity=1 / 3, rows=1, columns=2), kept)
    assert apply(weight, kept, sparsity=2 / 3, rows=1, columns=2).int().tolist() == [[0, 0, 0, 0, 1, 1]]


@given(weight=matrices(), low=st.floats(0, 1), high=st.floats(0, 1), rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_what_is_dropped_stays_dropped_at_higher_sparsity(weight, low, high, rows, columns):
    masks = [
        apply(weight, all_kept(weight), sparsity=sparsity, rows=rows, columns=columns)
        for sparsity in sorted((low, high))
    ]
    for fewer, more in itertools.pairwise(masks):
        assert not (more & ~fewer).any()
