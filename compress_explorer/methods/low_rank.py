"""What the low-rank methods share: how a rank is chosen, and the truncated singular value decomposition."""

import torch
from torch import Tensor

from compress_explorer.methods.factors import Factors
from compress_explorer.spec.parameter import Parameter

BY = Parameter(
    name="by",
    label="Rank by",
    kind="choice",
    default="energy",
    choices=("energy", "rank"),
    help="Whether the rank is as low as keeps a fraction of the energy, or a fraction of the largest one.",
)

ENERGY = Parameter(
    name="energy",
    label="Energy kept",
    kind="float",
    default=0.9,
    minimum=0.0,
    maximum=1.0,
    soft_minimum=0.3,
    step=0.01,
    unit="%",
    when=("by", ("energy",)),
    help="The fraction of the sum of squares that the factors keep.",
)


def rank_parameter(default: float, when: tuple[str, tuple[str, ...]] | None = None) -> Parameter:
    """The declaration of a rank as a fraction of the largest."""
    return Parameter(
        name="rank",
        label="Rank",
        kind="float",
        default=default,
        minimum=0.0,
        maximum=1.0,
        soft_minimum=0.01,
        soft_maximum=0.75,
        step=0.01,
        unit="%",
        when=when,
        help="The rank as a fraction of the largest one, at least 1. A layer that would not become smaller stays.",
    )


RANK = rank_parameter(default=0.25, when=("by", ("rank",)))


def rank_for(fraction: float, largest: int) -> int:
    """The rank that a fraction of the largest means: the nearest whole number, halves to the even one, 1 at least."""
    return max(1, round(fraction * largest))


def rank_of_energy(singular: Tensor, energy: float) -> int:
    """The lowest rank, 1 at least, that keeps this fraction of the energy.

    Args:
        singular: the singular values, descending, float64 [k].
        energy: the wanted Σ_{i≤r} σ_i² / Σ σ_i², 0 to 1.
    """
    kept = (singular / singular[0].clamp_min(1e-300)).square().cumsum(0)
    # The last sum is the total: at energy 1 all that is not zero is kept, whatever the rounding.
    return min(int((kept < energy * kept[-1]).sum()) + 1, len(singular))


def truncated(matrix: Tensor, by: str, rank: float, energy: float) -> tuple[Tensor, Tensor, Tensor]:
    """The best approximation of a matrix by rank in the least-squares sense (Eckart & Young 1936): U, σ and Vᵀ.

    Args:
        matrix: float64 [m, n].
        by: "rank" or "energy".
        rank: the fraction of min(m, n) that is kept, by "rank".
        energy: the fraction of Σ σ² that is kept, by "energy".

    Returns:
        float64 [m, r], [r] and [r, n].
    """
    left, singular, right = torch.linalg.svd(matrix, full_matrices=False)
    kept = rank_of_energy(singular, energy) if by == "energy" else rank_for(rank, len(singular))
    return left[:, :kept], singular[:kept], right[:kept]


def balanced(left: Tensor, singular: Tensor, right: Tensor) -> Factors:
    """U Σ Vᵀ as two factors, each with √Σ: of like magnitude, so that both quantize alike."""
    root = singular.sqrt()
    return Factors(left=(left * root).float(), right=(root[:, None] * right).float())
