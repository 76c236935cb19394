"""Additive powers of two: each level is a sum of a few, so that a product is a few shifts."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from compress_explorer.methods.blockwise import encode
from compress_explorer.methods.code import Code
from compress_explorer.methods.formats import FORMATS, WeightFormat
from compress_explorer.methods.granularity import columns_per_scale, granularity_parameter, to_blocks
from compress_explorer.methods.scalar_map import ScalarMap, nearest_level_map
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter

CANDIDATES = 256
FARTHEST = 2.0
"""The clipping points of least squares reach so many times the largest weight: the level that it goes to may be the
second largest, of 3 bits half of γ."""


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros, which have a code of their own
    *,
    bits: int = 4,
    clipping: str = "max",
    granularity: str = "tensor",
) -> Code:
    """Sends each weight to the nearest of γ times the sums of powers of two that `formats.APOT_EXPONENTS` lists.

    The paper learns γ while it trains the network; here the weights alone decide.

    γ is the largest level. With the clipping "least-squares", each of 256 values, evenly spaced up to 2 max|w|, sends
    the weights to their levels, and γ is the factor of least squared error for the best of these assignments.

    Args:
        weight: float32 [channels, n], finite.
        kept: bool [channels, n]; has no effect, for pruned weights are zeros.
        bits: width of one code, 3 to 7: a sign, and 2^(bits - 1) magnitudes.
        clipping: "max": γ = max|w|; "least-squares".
        granularity: "tensor" or "channel": what shares γ.

    Returns:
        The code with grid "apot-BITS" and scale γ (1 where all weights are zero).
    """
    grid = _grid(bits)
    columns = columns_per_scale(weight, granularity, weight.shape[1])
    magnitudes = to_blocks(weight.abs(), granularity, columns)
    largest = magnitudes.amax(dim=2)
    gamma = largest if clipping == "max" else _least_squares(magnitudes[:, 0], largest, grid)
    gamma = torch.where(gamma > 0, gamma, 1.0)
    return encode(weight, grid, granularity, columns, divisor=gamma, scale=gamma)


def _grid(bits: int) -> WeightFormat:
    return cast(WeightFormat, f"apot-{bits}")


def _least_squares(magnitudes: Tensor, largest: Tensor, grid: WeightFormat) -> Tensor:
    """γ of each row, float32 [rows, 1].

    Weights Σw of one level, summed from sorted weights, give for each assignment γ = Σ w l / Σ l², whose squared
    error is Σ w² - (Σ w l)² / Σ l².

    Args:
        magnitudes: float32 [rows, n].
        largest: float32 [rows, 1], the largest of each row.
        grid: the format.
    """
    ascending = (magnitudes / torch.where(largest > 0, largest, 1.0)).double().sort(dim=1).values
    sums = torch.nn.functional.pad(ascending.cumsum(dim=1), (1, 0))
    levels = FORMATS[grid].levels[: 2 ** (FORMATS[grid].bits - 1)].double().to(magnitudes.device)
    clips = torch.arange(1, CANDIDATES + 1, dtype=torch.float64, device=magnitudes.device)
    clips *= FARTHEST / CANDIDATES
    cuts = (clips[:, None] * (levels[:-1] + levels[1:]) / 2).flatten().expand(len(ascending), -1).contiguous()
    below = torch.searchsorted(ascending, cuts).view(len(ascending), CANDIDATES, -1)
    ends = torch.nn.functional.pad(below, (0, 1), value=ascending.shape[1])
    counts = ends.diff(dim=2, prepend=torch.zeros_like(ends[:, :, :1]))
    sums_below = sums.gather(1, ends.flatten(1)).view(ends.shape)
    totals = sums_below.diff(dim=2, prepend=torch.zeros_like(sums_below[:, :, :1]))
    cross, square = (totals * levels).sum(dim=2), (counts * levels.square()).sum(dim=2)
    gained = torch.where(square > 0, cross.square() / square, 0.0)
    best = gained.argmax(dim=1, keepdim=True)
    gamma = cross.gather(1, best) / square.gather(1, best).clamp(min=1e-300)
    return (gamma * largest).float()


def preview(
    indices: Sequence[WeightIndex], *, bits: int = 4, clipping: str = "max", granularity: str = "tensor"
) -> list[ScalarMap] | None:
    """The levels of every layer for the granularity "tensor" and the clipping "max", else None; they are exact."""
    if granularity != "tensor" or clipping != "max":
        return None
    return [_level_map(index, bits) for index in indices]


def _level_map(index: WeightIndex, bits: int) -> ScalarMap:
    number_format = FORMATS[_grid(bits)]
    levels = number_format.decode(number_format.used) * torch.tensor(index.amax or 1.0)
    return nearest_level_map(levels, bits=bits, table_bytes=4)


METHOD = Method(
    name="apot",
    label="Additive powers of two (APoT)",
    family="Formats and codebooks",
    summary="Sends each weight to the nearest sum of a few powers of two: finer near the largest weights than powers "
    "alone, and products are still shifts.",
    formula="ŵ = ±γ·Σᵢ pᵢ,  pᵢ ∈ {0, 2^−i, 2^−(i+n), 2^−(i+2n)}, i = 0..n−1, n = (b−1)/2",
    source="Li, Dong & Wang 2020 (arXiv 1909.13144), k = 2 bits a term; even b as in the authors' code",
    parameters=(
        Parameter(
            name="bits",
            label="Bit width",
            kind="integer",
            default=4,
            minimum=3,
            maximum=7,
            unit="bits",
            help="Bits of one stored weight: a sign, and two for each power of two that is added.",
        ),
        Parameter(
            name="clipping",
            label="Clipping",
            kind="choice",
            default="max",
            choices=("max", "least-squares"),
            help="What the largest level is: the largest weight, or what makes the squared error small.",
        ),
        granularity_parameter("tensor", "channel", default="tensor"),
    ),
    scope="tensor",
    result="code",
    apply=apply,
    preview=preview,
)
