"""Low rank by a singular value decomposition that weighs errors by what the layer is fed."""

import torch
from torch import Tensor

from compress_explorer.methods.evidence import InputStatistics, samples_parameter
from compress_explorer.methods.factors import Factors
from compress_explorer.methods.low_rank import BY, ENERGY, RANK, balanced, truncated
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros; the product has others in their place
    statistics: InputStatistics,
    *,
    by: str = "energy",
    energy: float = 0.9,
    rank: float = 0.25,
    damping: float = 0.01,
) -> Factors:
    """Two factors whose product gives outputs as near to W x as rank r allows, on the calibration samples.

    With the second moment of the inputs C = E[x xᵀ] = L Lᵀ the mean squared error of the outputs is
    ‖(W − Ŵ) L‖²: its minimum of rank r is Ŵ = [W L]_r L⁻¹, with the error Σ_{i>r} σ_i(W L)². SVD-LLM takes the sum
    of x xᵀ, which gives the same factors, without damping; it then trains the factors, which is not done here.

    Args:
        weight: float32 [out, in] or [out, in, *kernel].
        kept: bool of the same shape; has no effect.
        statistics: of the layer's inputs, of one group.
        by: "energy": the lowest r that keeps `energy`; "rank": r is a fraction of the largest, min(out, in·kernel).
        energy: the fraction of the outputs' energy Σ σ(W L)² to keep, 0 to 1.
        rank: that fraction, 0 to 1; the rank is 1 at least.
        damping: what is added to C's diagonal, in multiples of its mean, so that L has an inverse.

    Returns:
        The factors, float32 [out, r] and [r, in·kernel].
    """
    matrix, moment = weight.flatten(1).double(), statistics.moment[0].double()
    ridge = damping * moment.diagonal().mean()
    # Inputs that are always zero tell nothing: the plain decomposition then.
    ridge = torch.where(ridge > 0, ridge, torch.ones_like(ridge))
    root = torch.linalg.cholesky(moment + ridge * torch.eye(len(moment), dtype=moment.dtype, device=moment.device))
    left, singular, right = truncated(matrix @ root, by, rank, energy)
    # right L⁻¹: the solution of X L = right.
    return _even(balanced(left, singular, torch.linalg.solve_triangular(root, right, upper=False, left=False)))


def _even(factors: Factors) -> Factors:
    """The same product with each pair of column and row of equal norm."""
    ratio = (factors.right.norm(dim=1) / factors.left.norm(dim=0).clamp_min(1e-30)).sqrt()
    ratio = torch.where(ratio > 0, ratio, torch.ones_like(ratio))
    return Factors(left=factors.left * ratio, right=factors.right / ratio[:, None])


METHOD = Method(
    name="activation-svd",
    label="Activation-aware SVD",
    family="Low rank",
    summary="Replaces a layer by two smaller ones that change its outputs least on the calibration samples.",
    formula="Ŵ = [W·L]_r·L⁻¹,  C = E[x xᵀ] + δI = L·Lᵀ,  E‖W x − Ŵ x‖² = Σ_{i>r} σ_i(W·L)²",
    source="Wang et al. 2024, SVD-LLM (arXiv 2403.07378) §3.1, truncation-aware data whitening",
    parameters=(
        BY,
        ENERGY,
        RANK,
        Parameter(
            name="damping",
            label="Damping",
            kind="float",
            default=0.01,
            minimum=0.0001,
            maximum=1.0,
            soft_minimum=0.01,
            soft_maximum=0.1,
            step=0.01,
            help="Added to the diagonal of the inputs' second moment, in multiples of its mean.",
        ),
        samples_parameter(),
    ),
    scope="tensor",
    result="factors",
    needs="inputs",
    apply=apply,
)
