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
    # numpy works on a million flags in 0.1 ms, torch in 1.
    flags = kept.cpu().numpy()
    alive = torch.from_numpy(flags.any(axis=1)).to(scores.device)
    stays = keep_largest(torch.where(alive, scores, -1.0), zeros_for(sparsity, scores.numel()))
    return torch.from_numpy(flags & stays.cpu().numpy()[:, None]).to(kept.device)
