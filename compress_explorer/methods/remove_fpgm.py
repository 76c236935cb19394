"""Removal of the channels whose filters the others can replace: those near the geometric median."""

import torch
from torch import Tensor

from compress_explorer.methods.channel_removal import ROUND_TO, SPARSITY, keep_best, staying
from compress_explorer.spec.method import Method


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros
    *,
    sparsity: float = 0.3,
    round_to: int = 1,
) -> Tensor:
    """The channels to keep: all but the round(sparsity * channels) of smallest distance to all others, summed.

    The filter that minimises that sum is the one nearest the geometric median: the others tell most of what it does.
    Among equal sums the channels that come first are removed.

    Args:
        weight: float32 [channels, n], all weights that compute a channel in its row.
        kept: bool of the same shape; has no effect.
        sparsity: the fraction of channels to remove, 0 to 1; one stays.
        round_to: how many stay is rounded up to a multiple of this.

    Returns:
        bool [channels], True where a channel is kept.
    """
    # By differences: the quicker way through products loses the small distances.
    filters = weight.double()
    distances = torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist")
    return keep_best(distances.sum(dim=1), staying(len(weight), sparsity, round_to))


METHOD = Method(
    name="remove-fpgm",
    label="Remove filters near the median",
    family="Structured pruning",
    summary="Removes the channels whose filters are nearest to all others: those that others can replace.",
    formula="remove the channels c of smallest Σ_j ‖W_c − W_j‖₂",
    source="He et al. 2019, FPGM (arXiv 1811.00250)",
    parameters=(SPARSITY, ROUND_TO),
    scope="tensor",
    result="channels",
    apply=apply,
)
