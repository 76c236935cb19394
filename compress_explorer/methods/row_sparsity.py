"""What the pruning methods share that choose within each row: a sparsity of every row, or N kept of M neighbours."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from compress_explorer.methods.sparsity import sparsity_parameter
from compress_explorer.spec.parameter import Parameter

STRUCTURES = {"2:4": (2, 4), "4:8": (4, 8)}
"""By its name, how many of how many neighbouring input channels are kept."""

COMPARED = 8
"""Blocks up to this size are ranked by comparing every pair; larger ones by selecting their order statistic."""

CHUNK = 2**17
"""Weights at a time: so many stay in the cache from one comparison to the next."""

Scores = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]


def structure_parameters() -> tuple[Parameter, Parameter]:
    """The declarations of a sparsity, and of the structures that fix it."""
    structure = Parameter(
        name="structure",
        label="Structure",
        kind="choice",
        default="unstructured",
        choices=("unstructured", *STRUCTURES),
        help="Unstructured: any weights. N:M: of M neighbouring input channels, N are kept.",
    )
    return replace(sparsity_parameter(default=0.5), when=("structure", ("unstructured",))), structure


def keep_largest_of_rows(scores: Tensor, zeros: int) -> Tensor:
    """The mask that drops the lowest `zeros` scores of each row, or all negative ones if those are more.

    Among equal scores those that come first are dropped.

    Args:
        scores: numbers [..., n], free of NaN; negative where a weight was pruned before.
        zeros: how many of each row to drop, 0 to n.
    """
    drop = (scores < 0).sum(dim=-1, keepdim=True).clamp(min=zeros)
    order = scores.argsort(dim=-1, stable=True)
    places = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    return torch.empty_like(order, dtype=torch.bool).scatter_(-1, order, places >= drop)


def keep_of_neighbours(scores: Tensor, keep: int, size: int, window: int = 1) -> Tensor:
    """The mask that keeps the `keep` largest scores of every `size` neighbouring input channels of a row.

    Blocks begin at the first input channel; with a window, each place of the kernel has its own. Of a last block
    shorter than `size`, up to `keep` are kept, as if it were padded with zeros. Among equal scores those that come
    first are dropped.

    Args:
        scores: float [..., n], free of NaN; negative where a weight was pruned before: never kept.
        keep: N, 1 or more. Blocks of no more lose nothing.
        size: M.
        window: how many neighbouring columns see one input channel, a divisor of n.
    """
    rows = scores.reshape(-1, scores.shape[-1]).cpu().numpy()
    mask = np.empty(rows.shape, dtype=bool)
    step = max(CHUNK // rows.shape[1], 1)
    for start in range(0, len(rows), step):
        mask[start : start + step] = _keep_of_rows(rows[start : start + step], keep, size, window)
    return torch.from_numpy(mask).to(scores.device).reshape(scores.shape)


def _keep_of_rows(scores: Scores, keep: int, size: int, window: int) -> Mask:
    by_channel = scores.reshape(len(scores), -1, window).swapaxes(1, 2)
    channels = by_channel.shape[2]
    # Padding counts as pruned before, and comes first among the pruned.
    padded = np.pad(by_channel, ((0, 0), (0, 0), (0, -channels % size)), constant_values=-2.0)
    largest = _largest(padded.reshape(-1, size), keep).reshape(padded.shape)[:, :, :channels]
    kept: Mask = largest.swapaxes(1, 2).reshape(scores.shape) & (scores >= 0)
    return kept


def _largest(blocks: Scores, keep: int) -> Mask:
    """Where the `keep` largest of every row of `blocks` are; of equal ones the last."""
    if keep >= blocks.shape[1]:
        return np.ones(blocks.shape, dtype=bool)
    return _largest_by_pairs(blocks, keep) if blocks.shape[1] <= COMPARED else _largest_by_selection(blocks, keep)


def _largest_by_pairs(blocks: Scores, keep: int) -> Mask:
    """Those that fewer than `keep` others of their row beat."""
    columns = np.ascontiguousarray(blocks.T)
    # Each begins as if all before it had beaten it.
    beaten = np.repeat(np.arange(len(columns), dtype=np.int8)[:, None], len(blocks), axis=1)
    for later in range(1, len(columns)):
        for earlier in range(later):
            beats = (columns[later] >= columns[earlier]).view(np.int8)
            beaten[earlier] += beats
            beaten[later] -= beats
    return (beaten < keep).T


def _largest_by_selection(blocks: Scores, keep: int) -> Mask:
    """Those above the largest that is dropped; where several equal it, the last of them in order."""
    drop = blocks.shape[1] - keep
    largest = blocks > np.partition(blocks, drop - 1, axis=1)[:, drop - 1 : drop]
    tied = np.flatnonzero(np.count_nonzero(largest, axis=1) < keep)
    order = np.argsort(blocks[tied], axis=1, kind="stable")
    largest[tied[:, None], order[:, drop:]] = True
    return largest
