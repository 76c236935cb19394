"""Magnitude pruning, each layer by itself."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.sparsity import keep_largest, pruning_scores, sparsity_parameter, zeros_for
from compress_explorer.methods.weight_index import WeightIndex, magnitude_quantile
from compress_explorer.spec.method import Method


def apply(weight: Tensor, kept: Tensor, *, sparsity: float = 0.5) -> Tensor:
    """A mask that drops the weights of smallest magnitude: exactly k = round(sparsity * n) of them.

    Among equal magnitudes at the threshold, those that come first in row-major order are dropped.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n], False where an earlier step pruned. Those stay pruned and count among the k.
        sparsity: the fraction of zeros afterwards, 0 to 1.

    Returns:
        bool [channels, n], True where a weight is kept.
    """
    zeros = zeros_for(sparsity, weight.numel())
    return keep_largest(pruning_scores(weight, kept), zeros).view_as(kept)


def preview(indices: Sequence[WeightIndex], *, sparsity: float = 0.5) -> list[ScalarMap]:
    """The threshold of every layer, one map an index: zeros are exact, the threshold within 2^-7."""
    return [
        threshold_map(magnitude_quantile([index], zeros_for(sparsity, index.count + index.pruned) - index.pruned))
        for index in indices
    ]


def threshold_map(threshold: float) -> ScalarMap:
    """The map that sends magnitudes up to `threshold` to zero and keeps the others."""
    if threshold <= 0:
        return ScalarMap(cuts=np.empty(0), levels=np.array([np.nan]))
    return ScalarMap(cuts=np.array([-threshold, threshold]), levels=np.array([np.nan, 0.0, np.nan]))


METHOD = Method(
    name="magnitude",
    label="Magnitude pruning, per layer",
    family="Pruning",
    summary="Removes the weights of smallest magnitude, the same fraction in every layer.",
    formula="W′ = M ⊙ W,  M = 1[|w| > τ],  τ the k-th smallest |w| of the layer, k = round(p·n)",
    source="Han, Pool, Tran & Dally 2015 (arXiv 1506.02626) §3, the threshold set by the wanted sparsity",
    parameters=(sparsity_parameter(default=0.5),),
    scope="tensor",
    result="mask",
    apply=apply,
    preview=preview,
)
