"""Removal of the channels that their batch normalization scales down most, under one threshold for all layers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compress_explorer.methods.channel_removal import ROUND_TO, SPARSITY, keep_best, rounded_up
from compress_explorer.spec.method import Method


def apply(
    weights: Sequence[Tensor],  # noqa: ARG001 the scales alone decide
    kept: Sequence[Tensor],  # noqa: ARG001
    scales: Sequence[Tensor],
    *,
    sparsity: float = 0.3,
    round_to: int = 1,
) -> list[Tensor]:
    """The channels to keep: all but the round(sparsity * channels) of smallest |γ| in all layers together.

    Among equal scales the channels of earlier layers, and of a layer those that come first, are removed. In a layer
    all of whose channels lie below the threshold the one of largest scale stays.

    Args:
        weights: float32 [channels, n], one a layer, or a group of layers that share channels; has no effect.
        kept: bool masks of the same shapes; has no effect.
        scales: float32 [channels, k] of each, γ of the k batch normalizations that its channels pass; their mean
            |γ| counts.
        sparsity: the fraction of all channels to remove, 0 to 1; one of each layer stays.
        round_to: how many stay in a layer is rounded up to a multiple of this.

    Returns:
        One bool [channels] a layer, True where a channel is kept.
    """
    scores = [entry.double().abs().mean(dim=1) for entry in scales]
    together = torch.cat(scores)
    keep = keep_best(together, len(together) - round(sparsity * len(together)))
    counts = [int(part.sum()) for part in torch.split(keep, [len(entry) for entry in scores])]
    return [
        keep_best(entry, rounded_up(count, len(entry), round_to)) for entry, count in zip(scores, counts, strict=True)
    ]


METHOD = Method(
    name="slimming",
    label="Network slimming",
    family="Structured pruning",
    summary="Removes the channels whose batch-normalization scale is smallest, under one threshold for all layers.",
    formula="keep the channels c with |γ_c| > τ, τ the k-th smallest |γ| of all layers",
    source="Liu et al. 2017 (arXiv 1708.06519), its pruning step; the network is not retrained with an L1 penalty on γ",
    parameters=(SPARSITY, ROUND_TO),
    scope="model",
    result="channels",
    needs="scales",
    apply=apply,
)
