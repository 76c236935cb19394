"""Floats of 8 bits: E4M3, E5M2 and E3M4."""

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


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros, which have a code of their own
    *,
    exponent_bits: int = 4,
    granularity: str = "tensor",
) -> Code:
    """Scales the largest magnitude to the largest number of the format, then rounds to nearest, ties to even.

    E4M3 has 4 bits of exponent and 3 of mantissa and reaches 448; E5M2 reaches 57344, E3M4 15.5. Subnormal numbers
    are used, infinities and NaN are not. A scale is at least 2^-126, and 1 where all weights are zero.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n]; has no effect, for pruned weights are zeros.
        exponent_bits: 3, 4 or 5; the mantissa has 7 less these.
        granularity: "tensor" or "channel": what shares a scale.

    Returns:
        The code with grid "fp8-e3m4", "fp8-e4m3" or "fp8-e5m2".
    """
    grid = _grid(exponent_bits)
    columns = columns_per_scale(weight, granularity, weight.shape[1])
    scale = _scale(to_blocks(weight.abs(), granularity, columns).amax(dim=2), grid)
    return encode(weight, grid, granularity, columns, divisor=scale, scale=scale)


def _grid(exponent_bits: int) -> WeightFormat:
    return cast(WeightFormat, f"fp8-e{exponent_bits}m{7 - exponent_bits}")


def _scale(largest: Tensor, grid: WeightFormat) -> Tensor:
    floor = torch.finfo(torch.float32).smallest_normal
    scale = largest.double() / FORMATS[grid].largest
    return torch.where(scale > 0, scale.clamp(min=floor), 1.0).float()


def preview(
    indices: Sequence[WeightIndex], *, exponent_bits: int = 4, granularity: str = "tensor"
) -> list[ScalarMap] | None:
    """The levels of every layer for the granularity "tensor", else None; the levels are exact."""
    if granularity != "tensor":
        return None
    return [_level_map(index, _grid(exponent_bits)) for index in indices]


def _level_map(index: WeightIndex, grid: WeightFormat) -> ScalarMap:
    levels = FORMATS[grid].decode(FORMATS[grid].used)
    return nearest_level_map(levels * _scale(torch.tensor(index.amax), grid), bits=8, table_bytes=4)


METHOD = Method(
    name="fp8",
    label="8-bit float (FP8)",
    family="Formats and codebooks",
    summary="Rounds weights to floating-point numbers of 8 bits, after scaling the largest to the format's end.",
    formula="ŵ = s·cast(w/s),  s = max|w| / 448 (E4M3), / 57344 (E5M2) or / 15.5 (E3M4)",
    source="Micikevicius et al. 2022, FP8 Formats for Deep Learning (arXiv 2209.05433); "
    "E3M4: as IEEE 754 formats are made",
    parameters=(
        Parameter(
            name="exponent_bits",
            label="Bits of exponent",
            kind="integer",
            default=4,
            minimum=3,
            maximum=5,
            unit="bits",
            help="Of 8 bits, one is the sign and the rest are mantissa. More exponent: wider range, coarser steps.",
        ),
        granularity_parameter("tensor", "channel", default="tensor"),
    ),
    scope="tensor",
    result="code",
    apply=apply,
    preview=preview,
)
