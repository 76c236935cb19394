"""N:M sparsity: of every M neighbouring input channels the N largest weights, as sparse tensor cores compute."""

import torch
from torch import Tensor

from compress_explorer.methods.row_sparsity import keep_of_neighbours
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(weight: Tensor, kept: Tensor, window: int = 1, *, keep: int = 2, block: int = 4) -> Tensor:
    """A mask that keeps, of every `block` neighbouring input channels of a row, the `keep` largest magnitudes.

    Hardware sums over blocks of input channels; so a block of a convolution has the weights of neighbouring input
    channels at one place of the kernel. Blocks begin at the first input channel. What the channels leave over for
    the last block keeps up to `keep` weights too, so that padding it with zeros gives a block of the same pattern.
    Where a block has no more than `keep` weights, nothing is dropped: in every block if keep >= block, and in a
    convolution with so few input channels (in its group: a depthwise one has a single channel there). Among equal
    magnitudes the first are dropped. The papers train the network with or after the pruning.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n], False where an earlier step pruned. Those stay pruned and count among the dropped.
        window: how many neighbouring columns see one input channel: the places of a kernel, 1 for a linear layer.
        keep: N, 1 or more.
        block: M, 2 or more.

    Returns:
        bool [channels, n], True where a weight is kept.
    """
    return keep_of_neighbours(torch.where(kept, weight.abs(), -1.0), keep, block, window)


METHOD = Method(
    name="n-m",
    label="N:M sparsity",
    family="Structured pruning",
    summary="Keeps the N largest weights of every M neighbouring input channels; 2:4 is the pattern that sparse tensor "
    "cores take.",
    formula="W′ = M ⊙ W,  M = 1 for the N largest |w| of every M neighbouring input channels of a row, at each place "
    "of the kernel",
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
            help="How many weights of every block are kept; a block of no more loses none (N ≥ M, depthwise layers).",
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
            unit="channels",
            help="How many neighbouring input channels make a block; of a layer with fewer, all it has.",
        ),
    ),
    scope="tensor",
    result="mask",
    needs="window",
    apply=apply,
)
