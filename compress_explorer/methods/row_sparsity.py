"""What the pruning methods share that choose within each row: a sparsity of every row, or N kept of M neighbours."""

from dataclasses import replace

import torch
from torch import Tensor

from compress_explorer.methods.sparsity import sparsity_parameter
from compress_explorer.spec.parameter import Parameter

STRUCTURES = {"2:4": (2, 4), "4:8": (4, 8)}
"""By its name, how many of how many neighbours in a row are kept."""


def structure_parameters() -> tuple[Parameter, Parameter]:
    """The declarations of a sparsity, and of the structures that fix it."""
    structure = Parameter(
        name="structure",
        label="Structure",
        kind="choice",
        default="unstructured",
        choices=("unstructured", *STRUCTURES),
        help="Unstructured: any weights. N:M: of M neighbours in a row, N are kept.",
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


def keep_of_neighbours(scores: Tensor, structure: str) -> Tensor:
    """The mask that keeps the N largest scores of every M neighbours in a row.

    Of a last group shorter than M, up to N are kept.

    Args:
        scores: numbers [..., n], free of NaN; negative where a weight was pruned before.
        structure: "2:4" or "4:8".
    """
    keep, size = STRUCTURES[structure]
    # Padding counts as pruned before, and comes first among the pruned.
    padded = torch.nn.functional.pad(scores, (0, -scores.shape[-1] % size), value=-2.0)
    mask = keep_largest_of_rows(padded.reshape(*scores.shape[:-1], -1, size), size - keep)
    return mask.flatten(-2)[..., : scores.shape[-1]]
