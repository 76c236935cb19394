"""Random pruning: the floor that every other criterion has to beat."""

import torch
from torch import Tensor

from compress_explorer.methods.seed import seed_parameter
from compress_explorer.methods.sparsity import keep_largest, sparsity_parameter, zeros_for
from compress_explorer.spec.method import Method


def apply(weight: Tensor, kept: Tensor, *, sparsity: float = 0.5, seed: int = 0) -> Tensor:
    """A mask drawn uniformly from all masks with exactly k = round(sparsity * n) zeros.

    The mask depends on the seed, the shape and `kept` alone, never on the weights or the global random state.
    Two tensors of the same shape therefore get the same mask from the same seed. With one seed the masks of
    growing sparsity are nested: a weight that is gone at 50 % is gone at 60 % too.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n], False where an earlier step pruned. Those stay pruned and count among the k.
        sparsity: the fraction of zeros afterwards, 0 to 1.
        seed: of the private random generator.

    Returns:
        bool [channels, n], True where a weight is kept.
    """
    generator = torch.Generator().manual_seed(seed)
    # 63 random bits a weight: two of a million weights get the same lot once in ten million masks.
    lots = torch.empty(weight.numel(), dtype=torch.int64).random_(generator=generator).to(kept.device)
    scores = torch.where(kept.flatten(), lots, -1)
    return keep_largest(scores, zeros_for(sparsity, weight.numel())).view_as(kept)


METHOD = Method(
    name="random",
    label="Random pruning",
    family="Pruning",
    summary="Removes weights by lot, whatever their value: the baseline for every other pruning criterion.",
    formula="W′ = M ⊙ W,  M uniform over the masks with exactly k = round(p·n) zeros",
    source="Random pruning, a baseline of Blalock et al. 2020 (arXiv 2003.03033)",
    parameters=(
        sparsity_parameter(default=0.5),
        seed_parameter("Which of the random masks: the same seed always draws the same one."),
    ),
    scope="tensor",
    result="mask",
    apply=apply,
)
