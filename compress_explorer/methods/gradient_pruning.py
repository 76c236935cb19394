"""What the pruning methods by gradients share: one ranking of all layers, or one of each."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compress_explorer.methods.sparsity import keep_largest, zeros_for
from compress_explorer.spec.parameter import Parameter


def ranking_parameter() -> Parameter:
    """The declaration of what the weights of a layer are ranked against."""
    return Parameter(
        name="ranking",
        label="Ranking",
        kind="choice",
        default="global",
        choices=("global", "layer"),
        help="Global: the weights of all layers against each other. Layer: the same fraction in every layer.",
    )


def keep_by_saliency(
    saliencies: Sequence[Tensor], kept: Sequence[Tensor], sparsity: float, ranking: str
) -> list[Tensor]:
    """Masks that drop the weights of smallest saliency, exactly round(sparsity * n) of all layers or of each.

    Among equal saliencies at the threshold, those of earlier layers, and in a layer those that come first in
    row-major order, are dropped.

    Args:
        saliencies: 0 or more, [channels, n], one a layer.
        kept: bool of the same shapes, False where an earlier step pruned. Those stay pruned and count.
        sparsity: the fraction of zeros afterwards, 0 to 1.
        ranking: "global" or "layer".
    """
    scores = [torch.where(mask, entry, -1.0).flatten() for entry, mask in zip(saliencies, kept, strict=True)]
    if ranking == "layer":
        parts = [keep_largest(entry, zeros_for(sparsity, entry.numel())) for entry in scores]
    else:
        together = torch.cat(scores)
        keep = keep_largest(together, zeros_for(sparsity, together.numel()))
        parts = list(torch.split(keep, [entry.numel() for entry in scores]))
    return [part.view_as(mask) for part, mask in zip(parts, kept, strict=True)]
