"""Uniform quantization that clips where theory says: analytic clipping for Laplace or normal weights (ACIQ)."""

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.granularity import columns_per_scale, granularity_parameter, to_blocks
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.uniform import (
    bits_parameter,
    group_size_parameter,
    round_to_grid,
    uniform_grid,
    uniform_map,
)
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter

LAPLACE_BELOW = math.sqrt(math.pi / (2 * math.e))
"""Mean magnitude over root mean square, below which a Laplace distribution is likelier than a normal one.

A Laplace distribution's own ratio is .707, a normal one's .798. With each fitted by maximum likelihood the
log-likelihoods of a weight are -ln(2b) - 1 and -ln(2πσ²)/2 - 1/2; they are equal at b/σ = √(π/2e) = .760.
"""


def apply(
    weight: Tensor,
    kept: Tensor,
    *,
    bits: int = 4,
    distribution: str = "likelier",
    granularity: str = "tensor",
    group_size: int = 128,
) -> Code:
    """Rounds to symmetric levels that end at ±α, where theory puts the least mean squared error.

    α = x_L·mean|w| for Laplace weights, x_N·√mean(w²) for normal ones (see `laplace_ratio`, `normal_ratio`), both
    taken to be centred at zero, as the levels are; never more than max|w|. s = α / (2^(b-1) - 1). The theory counts
    2^b intervals from -α to α, where this grid has 2^b - 1 levels.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n], False where an earlier step pruned: left out of the means.
        bits: width of one code, 2 to 8.
        distribution: "laplace", "normal", or "likelier": of the two, for each scale, that under which its weights
            are likelier.
        granularity: "tensor", "channel" or "group".
        group_size: neighbouring columns that share a scale; only for "group".

    Returns:
        The code with grid "integer".
    """
    columns = columns_per_scale(weight, granularity, group_size)
    blocks = to_blocks(weight, granularity, columns)
    counts = to_blocks(kept, granularity, columns).sum(dim=2).clamp(min=1)
    magnitudes = blocks.abs()
    largest = magnitudes.amax(dim=2)
    mean = magnitudes.sum(dim=2, dtype=torch.float64) / counts
    root_mean_square = blocks.double().square().sum(dim=2).div_(counts).sqrt_()
    laplace, normal = laplace_ratio(bits) * mean, normal_ratio(bits) * root_mean_square
    if distribution == "likelier":
        clip = torch.where(mean < LAPLACE_BELOW * root_mean_square, laplace, normal)
    else:
        clip = laplace if distribution == "laplace" else normal
    clip = clip.minimum(largest.double()).float()
    return round_to_grid(blocks, uniform_grid(-clip, clip, bits, "symmetric"), bits, weight.shape)


@cache
def laplace_ratio(bits: int) -> float:
    """The best α/b for Laplace weights of mean magnitude b, where 2b²·e^(-α/b) + α²/(3·4^bits) is least.

    x·e^x = 3·4^bits: 2.83, 3.89, 5.03 for 2, 3, 4 bits.
    """
    return _root(lambda x: x * math.exp(x) - 3 * 4.0**bits)


@cache
def normal_ratio(bits: int) -> float:
    """The best α/σ for normal weights of standard deviation σ, where clipping and rounding noise add up to least.

    (1 + x²)·erfc(x/√2) - x·√(2/π)·e^(-x²/2) + x²/(3·4^bits) has its minimum at 1.71, 2.15, 2.56 for 2, 3, 4 bits.
    """

    def slope(x: float) -> float:
        """Half the derivative."""
        clipped = x * math.erfc(x / math.sqrt(2)) - math.sqrt(2 / math.pi) * math.exp(-x * x / 2)
        return clipped + x / (3 * 4.0**bits)

    return _root(slope)


def _root(increasing: Callable[[float], float]) -> float:
    """Where a function changes from negative to positive between 0 and 20, by bisection, to the last bit."""
    low, high = 0.0, 20.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if increasing(middle) < 0 else (low, middle)
    return high


def preview(
    indices: Sequence[WeightIndex],
    *,
    bits: int = 4,
    distribution: str = "likelier",
    granularity: str = "tensor",
    group_size: int = 128,  # noqa: ARG001 one declaration for both functions
) -> list[ScalarMap] | None:
    """The level grid of every layer for the granularity "tensor", else None; the levels are exact."""
    if granularity != "tensor":
        return None
    return [_level_map(index, bits, distribution) for index in indices]


def _level_map(index: WeightIndex, bits: int, distribution: str) -> ScalarMap:
    root_mean_square = math.sqrt(index.sum_of_squares / max(index.count, 1))
    if distribution == "likelier":
        distribution = "laplace" if index.mean_abs < LAPLACE_BELOW * root_mean_square else "normal"
    laplace = distribution == "laplace"
    clip = laplace_ratio(bits) * index.mean_abs if laplace else normal_ratio(bits) * root_mean_square
    clip = float(np.float32(min(clip, index.amax)))
    return uniform_map(-clip, clip, bits, "symmetric")


METHOD = Method(
    name="aciq",
    label="Integer, clipped by theory (ACIQ)",
    family="Uniform quantization",
    summary="Fits a Laplace or normal distribution and clips where its expected squared error is least.",
    formula="ŵ = s·clamp(⌊w/s⌉, −q, q),  s = α/q,  q = 2^(b−1) − 1;  "
    "Laplace: α = x·mean|w|, x·eˣ = 3·4ᵇ;  normal: α = x·√mean(w²), "
    "x·erfc(x/√2) + x/(3·4ᵇ) = √(2/π)·e^(−x²/2)",
    source="Banner, Nahshan, Hoffer & Soudry 2018, ACIQ (arXiv 1810.05723)",
    parameters=(
        bits_parameter(default=4, minimum=2),
        Parameter(
            name="distribution",
            label="Distribution",
            kind="choice",
            default="likelier",
            choices=("likelier", "laplace", "normal"),
            help="Which distribution the weights are taken to have; by default the likelier one for each scale.",
        ),
        granularity_parameter("tensor", "channel", "group", default="tensor"),
        group_size_parameter(),
    ),
    scope="tensor",
    result="code",
    apply=apply,
    preview=preview,
)
