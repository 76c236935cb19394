"""N:M sparsity: of every M neighbouring weights the N largest, the pattern that sparse tensor cores compute."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from compress_explorer.methods.sparsity import pruning_scores
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(weight: Tensor, kept: Tensor, *, keep: int = 2, block: int = 4) -> Tensor:
    """A mask that keeps the `keep` largest magnitudes of every `block` neighbouring weights of a row.

    Blocks begin at the first column. What a row leaves over for its last block keeps up to `keep` weights too, so
    that padding it with zeros gives a block of the same pattern. Where a block has no more than `keep` weights, as
    in every block if keep >= block, nothing is dropped. Among equal magnitudes the first are dropped.

    Neighbours are those of the row: of a convolution the positions of one kernel, then the next input channel's. The
    papers train the network with or after the pruning.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n], False where an earlier step pruned. Those stay pruned and count among the dropped.
        keep: N, 1 or more.
        block: M, 2 or more.

    Returns:
        bool [channels, n], True where a weight is kept.
    """
    channels, columns = weight.shape
    scores = pruning_scores(weight, kept).view_as(weight)
    # Below the -1 of weights pruned before, so that the padding is dropped first.
    padded = torch.nn.functional.pad(scores, (0, -columns % block), value=-2.0)
    largest = torch.from_numpy(_largest(padded.reshape(-1, block).cpu().numpy(), keep))
    return largest.to(kept.device).reshape(channels, -1)[:, :columns] & kept


def _largest(blocks: npt.NDArray[np.float32], keep: int) -> npt.NDArray[np.bool_]:
    """Where the `keep` largest of every row of `blocks` are; of equal ones the last."""
    drop = blocks.shape[1] - keep
    if drop <= 0:
        return np.ones(blocks.shape, dtype=bool)
    largest = blocks > np.partition(blocks, drop - 1, axis=1)[:, drop - 1 : drop]
    if np.count_nonzero(largest) < keep * len(blocks):
        tied = np.flatnonzero(np.count_nonzero(largest, axis=1) < keep)
        order = np.argsort(blocks[tied], axis=1, kind="stable")
        largest[tied[:, None], order[:, drop:]] = True
    return largest


METHOD = Method(
    name="n-m",
    label="N:M sparsity",
    family="Structured pruning",
    summary="Keeps the N largest of every M neighbouring weights; 2:4 is the pattern that sparse tensor cores take.",
    formula="W′ = M ⊙ W,  M = 1 for the N largest |w| of every M neighbours of a row",
    source="Zhou et al. 2021 (arXiv 2102.04010); 2:4: Mishra et al. 2021 (arXiv 2104.08378)",
    parameters=(
        Parameter(
            name="keep",
            label="Kept of a block (N)",
            kind="integer",
            default=2,
            minimum=1,
            maximum=1024,
            soft_maximum=8,
            unit="weights",
            help="How many weights of every block are kept; as many as a block has, or more: nothing is removed.",
        ),
        Parameter(
            name="block",
            label="Block size (M)",
            kind="integer",
            default=4,
            minimum=2,
            maximum=1024,
            soft_maximum=32,
            scale="log2",
            unit="weights",
            help="How many neighbouring weights of a channel make a block.",
        ),
    ),
    scope="tensor",
    result="mask",
    apply=apply,
)
