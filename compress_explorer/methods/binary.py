"""Binary weights: a sign and one shared magnitude, or a few such terms added up."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.granularity import (
    columns_per_scale,
    from_blocks,
    granularity_parameter,
    to_blocks,
)
from compress_explorer.methods.scalar_map import ScalarMap, nearest_level_map
from compress_explorer.methods.sparsity import none_pruned
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(weight: Tensor, kept: Tensor, *, bits: int = 1, granularity: str = "channel") -> Code:
    """Replaces each weight by α·sign(w), and with more bits what is left over by the same rule again.

    α is the mean magnitude of the kept weights, which minimises the squared error; sign(0) = +1. With more
    bits r_1 = w, α_i = mean|r_i|, r_(i+1) = r_i - α_i sign(r_i), and the weight becomes the sum of
    α_i sign(r_i): the greedy choice, not the best one for these bits together.

    Args:
        weight: float32 [channels, n], finite.
        kept: bool [channels, n], False where an earlier step pruned: left out of the means.
        bits: terms, and width of one code, 1 to 8.
        granularity: "tensor" or "channel": what the means are taken over.

    Returns:
        The code with grid "codebook": bit bits - i of a code is set where r_i >= 0.
    """
    columns = columns_per_scale(weight, granularity, weight.shape[1])
    residual = to_blocks(weight, granularity, columns) + 0.0  # a copy in which -0.0 is +0.0, as sign(0) = +1 asks
    counted = None if none_pruned(kept) else to_blocks(kept, granularity, columns)
    codes = torch.zeros_like(residual, dtype=torch.uint8)
    levels = residual.new_zeros(residual.shape[0], 1)
    for term in range(bits):
        alpha = _mean_magnitude(residual, counted)
        codes.mul_(2).add_(residual >= 0)
        if term < bits - 1:
            residual -= torch.copysign(alpha, residual)
        alpha = alpha[:, :, 0]
        levels = torch.stack([levels - alpha, levels + alpha], dim=2).flatten(1)
    return Code(
        codes=from_blocks(codes, weight.shape),
        bits=bits,
        grid="codebook",
        codebook=levels,
        group_size=weight.shape[1],
    )


def _mean_magnitude(residual: Tensor, counted: Tensor | None) -> Tensor:
    """The mean magnitude along the last axis, float32 [rows, groups, 1], of what is counted (None: of all)."""
    if counted is None:
        return residual.abs().mean(dim=2, keepdim=True, dtype=torch.float64).float()
    total = residual.abs().mul_(counted).sum(dim=2, keepdim=True, dtype=torch.float64)
    return (total / counted.count_nonzero(dim=2)[:, :, None].clamp(min=1)).float()


def preview(indices: Sequence[WeightIndex], *, bits: int = 1, granularity: str = "channel") -> list[ScalarMap] | None:
    """The two levels of every layer for 1 bit and the granularity "tensor", else None."""
    if bits != 1 or granularity != "tensor":
        return None
    return [_level_map(index) for index in indices]


def _level_map(index: WeightIndex) -> ScalarMap:
    alpha = torch.tensor(index.mean_abs, dtype=torch.float32)
    return nearest_level_map(torch.stack([-alpha, alpha]), bits=1, table_bytes=8)


METHOD = Method(
    name="binary",
    label="Binary weights (BWN)",
    family="Formats and codebooks",
    summary="Keeps the sign of each weight and one shared magnitude; more bits do the same to what is left.",
    formula="ŵ = α·sign(w),  α = mean|w|;  "
    "more bits: ŵ = Σᵢ αᵢ·sign(rᵢ),  r₁ = w,  rᵢ₊₁ = rᵢ − αᵢ·sign(rᵢ),  αᵢ = mean|rᵢ|",
    source="Rastegari et al. 2016, XNOR-Net (arXiv 1603.05279) §3.1; "
    "more bits, greedily: Guo et al. 2017, Network Sketching (arXiv 1706.02021)",
    parameters=(
        Parameter(
            name="bits",
            label="Bit width",
            kind="integer",
            default=1,
            minimum=1,
            maximum=8,
            soft_maximum=3,
            unit="bits",
            help="Bits of one stored weight: a sign, then a sign of what is left over, and so on.",
        ),
        granularity_parameter("tensor", "channel", default="channel"),
    ),
    scope="tensor",
    result="code",
    apply=apply,
    preview=preview,
)
