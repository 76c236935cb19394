"""Half-quadratic quantization: uniform levels whose offset suits the many small errors, not the few large ones."""

import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.granularity import columns_per_scale, from_blocks, granularity_parameter, to_blocks
from compress_explorer.methods.uniform import bits_parameter, group_size_parameter, usable_scale
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter

GROWTH = 1.01
"""The factor by which β grows at every step: κ."""


def apply(
    weight: Tensor,
    kept: Tensor,
    *,
    bits: int = 4,
    granularity: str = "group",
    group_size: int = 64,
    norm: float = 0.7,
    beta: float = 10.0,
    iterations: int = 20,
) -> Code:
    """Rounds to 2^b levels from the smallest to the largest weight, then shifts them to lower Σ|w - ŵ|^p, p < 1.

    The scale is (max - min) / (2^b - 1) and stays. The zero point z, which need not be whole, begins at -min/s; each
    iteration takes from the errors e = w - ŵ the large ones, sign(e)·max(|e| - |e|^(p-1)/β, 0), which are let be,
    and sets z to the mean of q - (w - e)/s. β then grows by 1 %. The iterations end when the mean of |w - ŵ| over
    all of the tensor's weights does not fall, and the last z before that counts. Zero is no level in general. The
    defaults are those of the authors' code.

    The result is not the same for weights in other units: what a large error is depends on β.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n], False where an earlier step pruned: left out of the range and of all means.
        bits: width of one code, 1 to 8.
        granularity: "tensor", "channel" or "group".
        group_size: neighbouring columns that share a scale and a zero point; only for "group".
        norm: p, 0.1 to 1.
        beta: β at the first iteration, above 0.
        iterations: the most there are, 0 or more; with 0 the levels stay between the smallest and largest weight.

    Returns:
        The code with grid "integer" and a float32 zero point.
    """
    columns = columns_per_scale(weight, granularity, group_size)
    blocks = to_blocks(weight, granularity, columns)
    counted = to_blocks(kept, granularity, columns)
    scale, zero = _range(blocks, counted, 2**bits - 1)
    counts = counted.sum(dim=2, keepdim=True).clamp(min=1)
    best_zero, numbers, error = zero, *_round(blocks, counted, scale, zero, bits)
    best = _mean_magnitude(error)
    for _ in range(iterations):
        target = (blocks - _shrink(error, beta, norm)).div_(scale)
        zero = torch.where(counted, numbers - target, 0.0).sum(dim=2, keepdim=True).div_(counts)
        numbers, error = _round(blocks, counted, scale, zero, bits)
        mean = _mean_magnitude(error)
        if not mean < best:
            break
        best, best_zero, beta = mean, zero, beta * GROWTH
    codes, _ = _round(blocks, counted, scale, best_zero, bits)
    return Code(
        codes=from_blocks(codes.to(torch.uint8), weight.shape),
        bits=bits,
        grid="integer",
        scale=scale[:, :, 0],
        zero_point=best_zero[:, :, 0],
        group_size=min(columns, weight.shape[1]),
    )


def _range(blocks: Tensor, counted: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Scale and zero point for the range of the counted weights, float32 [rows, groups, 1]; 1 and 0 without any."""
    low = torch.where(counted, blocks, torch.inf).amin(dim=2, keepdim=True)
    high = torch.where(counted, blocks, -torch.inf).amax(dim=2, keepdim=True)
    low, high = (torch.where(low <= high, end, 0.0).double() for end in (low, high))
    scale = usable_scale((high - low) / steps)
    return scale, (-low / scale).float()


def _round(blocks: Tensor, counted: Tensor, scale: Tensor, zero: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The number of the nearest level, and the error w - ŵ; 0 where no weight counts."""
    numbers = (blocks / scale).add_(zero).round_().clamp_(0, 2**bits - 1)
    return numbers, torch.where(counted, blocks - (numbers - zero) * scale, 0.0)


def _shrink(error: Tensor, beta: float, norm: float) -> Tensor:
    """What is left of each error beyond |e|^(p-1)/β, its sign kept."""
    magnitude = error.abs()
    return (magnitude - magnitude.pow(norm - 1).div_(beta)).clamp_(min=0).mul_(error.sign())


def _mean_magnitude(error: Tensor) -> float:
    return float(error.abs().mean(dtype=torch.float64))


METHOD = Method(
    name="hqq",
    label="Half-quadratic (HQQ)",
    family="Uniform quantization",
    summary="Shifts each group's levels so that most weights fit closely and a few outliers may not; needs no data.",
    formula="min over z of ‖W − s·(q − z)‖ₚᵖ,  q = clamp(⌊w/s + z⌉, 0, 2ᵇ − 1);  "
    "e ← sign(w − ŵ)·max(|w − ŵ| − |w − ŵ|ᵖ⁻¹/β, 0),  z ← mean(q − (w − e)/s),  β ← 1.01·β",
    source="Badri & Shaji 2023, Half-Quadratic Quantization of Large Machine Learning Models "
    "(mobiusml.github.io/hqq_blog)",
    parameters=(
        bits_parameter(default=4),
        granularity_parameter("tensor", "channel", "group", default="group"),
        group_size_parameter(default=64),
        Parameter(
            name="norm",
            label="Norm p",
            kind="float",
            default=0.7,
            minimum=0.1,
            maximum=1.0,
            step=0.05,
            help="The exponent of the error that is made small: below 1, large errors weigh less.",
        ),
        Parameter(
            name="beta",
            label="Sharpness β",
            kind="float",
            default=10.0,
            minimum=1e-6,
            maximum=1e6,
            soft_minimum=1.0,
            soft_maximum=100.0,
            help="How soon an error counts as large and is let be; the larger, the sooner.",
        ),
        Parameter(
            name="iterations",
            label="Iterations",
            kind="integer",
            default=20,
            minimum=0,
            maximum=1000,
            soft_maximum=40,
            help="The most steps of the optimization; it ends by itself when the error does not fall.",
        ),
    ),
    scope="tensor",
    result="code",
    apply=apply,
)
