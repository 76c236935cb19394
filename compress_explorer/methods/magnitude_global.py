"""Magnitude pruning with one threshold over all layers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compress_explorer.methods.magnitude import threshold_map
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.sparsity import keep_largest, pruning_scores, sparsity_parameter, zeros_for
from compress_explorer.methods.weight_index import WeightIndex, magnitude_quantile
from compress_explorer.spec.method import Method


def apply(weights: Sequence[Tensor], kept: Sequence[Tensor], *, sparsity: float = 0.9) -> list[Tensor]:
    """Masks that drop the smallest magnitudes of all layers together: exactly k = round(sparsity * n).

    Among equal magnitudes at the threshold, those of earlier layers, and in a layer those that come first in
    row-major order, are dropped. A layer of small weights may lose all of them.

    Args:
        weights: float32 [channels, n], one a layer.
        kept: bool masks of the same shapes, False where an earlier step pruned. Those stay pruned and count
            among the k.
        sparsity: the fraction of zeros of all these layers together afterwards, 0 to 1.

    Returns:
        One bool [channels, n] a layer, True where a weight is kept.
    """
    scores = torch.cat([pruning_scores(weight, mask) for weight, mask in zip(weights, kept, strict=True)])
    keep = keep_largest(scores, zeros_for(sparsity, scores.numel()))
    parts = torch.split(keep, [mask.numel() for mask in kept])
    return [part.view_as(mask) for part, mask in zip(parts, kept, strict=True)]


def preview(indices: Sequence[WeightIndex], *, sparsity: float = 0.9) -> list[ScalarMap]:
    """The one threshold, as one map an index; the number of zeros is exact, the threshold within 2^-7."""
    pruned = sum(index.pruned for index in indices)
    total = sum(index.count for index in indices) + pruned
    threshold = magnitude_quantile(indices, zeros_for(sparsity, total) - pruned)
    return [threshold_map(threshold) for _ in indices]


METHOD = Method(
    name="magnitude-global",
    label="Magnitude pruning, global",
    family="Pruning",
    summary="Removes the weights of smallest magnitude under one threshold for all layers.",
    formula="W′ = M ⊙ W,  M = 1[|w| > τ],  τ the k-th smallest |w| of all layers, k = round(p·n)",
    source="Blalock et al. 2020 (arXiv 2003.03033), global magnitude pruning; "
    "criterion: Han, Pool, Tran & Dally 2015 (arXiv 1506.02626) §3",
    parameters=(sparsity_parameter(default=0.9),),
    scope="model",
    result="mask",
    apply=apply,
    preview=preview,
)
