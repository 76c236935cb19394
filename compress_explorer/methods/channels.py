"""What the methods that drop whole output channels share."""

import torch
from torch import Tensor

from compress_explorer.methods.sparsity import keep_largest, zeros_for


def keep_channels(scores: Tensor, kept: Tensor, sparsity: float) -> Tensor:
    """The mask that drops the k = round(sparsity * channels) rows of lowest score, bool [channels, n].

    Rows of which nothing is left are dropped first and count among the k. Among equal scores the first are dropped.

    Args:
        scores: float [channels], 0 or more.
        kept: bool [channels, n], False where an earlier step pruned. Those stay pruned.
        sparsity: the fraction of zero channels afterwards, 0 to 1.
    """
    scores = torch.where(kept.any(dim=1), scores, -1.0)
    return keep_largest(scores, zeros_for(sparsity, scores.numel()))[:, None] & kept
