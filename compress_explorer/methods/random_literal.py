"""Random pruning as the article writes it, rand > 0.5: kept to show what it lacks."""

import torch
from torch import Tensor

from compress_explorer.methods.seed import seed_parameter
from compress_explorer.spec.method import Method


def apply(weight: Tensor, kept: Tensor, *, seed: int = 0) -> Tensor:
    """A mask that keeps each weight where a random number from [0, 1) is above one half.

    Each weight is decided by itself, so how many are kept is random too: n/2, give or take √n/2. No sparsity but
    one half can be asked for. The method "random" drops an exact count at any sparsity.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n], False where an earlier step pruned. Those stay pruned.
        seed: of the private random generator.

    Returns:
        bool [channels, n], True where a weight is kept.
    """
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(weight.shape, generator=generator)
    return kept & (numbers > 0.5).to(kept.device)


METHOD = Method(
    name="random-literal",
    label="rand > 0.5, as written",
    family="As written (article)",
    summary="Keeps each weight on the toss of a coin. Wrong: there is no rate to set, and even the number of zeros is "
    "random. Use “random” (Random pruning), which removes an exact count at any sparsity.",
    formula="M = 1[rand > 0.5],  W_del = (1 − M) ⊙ W,  W′ = W − W_del",
    source="The article's formula for random pruning, as written",
    parameters=(
        seed_parameter("Which of the random masks: the only setting there is, and it changes the number of zeros too."),
    ),
    scope="tensor",
    result="mask",
    apply=apply,
)
