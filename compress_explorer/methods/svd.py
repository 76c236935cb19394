"""Low rank by the truncated singular value decomposition."""

from torch import Tensor

from compress_explorer.methods.factors import Factors
from compress_explorer.methods.low_rank import BY, ENERGY, RANK, balanced, truncated
from compress_explorer.spec.method import Method


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros; the product has others in their place
    *,
    by: str = "energy",
    energy: float = 0.9,
    rank: float = 0.25,
) -> Factors:
    """Two factors U_r √Σ_r and √Σ_r V_rᵀ whose product is the nearest matrix of rank r: its error is Σ_{i>r} σ_i².

    A convolution's weight [out, in, *kernel] counts as the matrix [out, in·kernel]: its factors are a convolution
    with the kernel to r channels, and one of 1x1 from there.

    Args:
        weight: float32 [out, in] or [out, in, *kernel].
        kept: bool of the same shape; has no effect.
        by: "energy": the lowest r that keeps `energy`; "rank": r is a fraction of the largest, min(out, in·kernel).
        energy: the fraction of Σ σ² to keep, 0 to 1.
        rank: that fraction, 0 to 1; the rank is 1 at least.

    Returns:
        The factors, float32 [out, r] and [r, in·kernel].
    """
    return balanced(*truncated(weight.flatten(1).double(), by, rank, energy))


METHOD = Method(
    name="svd",
    label="Truncated SVD",
    family="Low rank",
    summary="Replaces a layer by two smaller ones, whose product is the nearest matrix of low rank.",
    formula="W ≈ (U_r √Σ_r)(√Σ_r V_rᵀ),  ‖W − W_r‖² = Σ_{i>r} σ_i²,  r(m + n) instead of m·n weights",
    source="Denton et al. 2014 (arXiv 1404.0736); convolutions so: Zhang, Zou, He & Sun 2016 (arXiv 1505.06798); "
    "best approximation: Eckart & Young 1936",
    parameters=(BY, ENERGY, RANK),
    scope="tensor",
    result="factors",
    apply=apply,
)
