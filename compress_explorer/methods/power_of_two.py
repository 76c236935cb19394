"""Quantization to signed powers of two: multiplying by a weight becomes a shift."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compress_explorer.methods.code import Code, power_of_two_levels
from compress_explorer.methods.granularity import (
    columns_per_scale,
    from_blocks,
    granularity_parameter,
    to_blocks,
)
from compress_explorer.methods.scalar_map import ScalarMap, nearest_level_map
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros, which have a code of their own
    *,
    bits: int = 4,
    granularity: str = "tensor",
) -> Code:
    """Sends each weight to the nearest of 0 and ±2^e, e_min <= e <= e_max; halfway to the larger magnitude.

    e_max is the exponent nearest to the largest magnitude, ⌊log2(4 max|w| / 3)⌋, and
    e_min = e_max - 2^(b-1) + 2: b bits hold a sign, 2^(b-1) - 1 exponents and zero. Magnitudes below
    2^e_min / 2 become zero. INQ has the same e_max and the same cuts, but only 2^(b-2) exponents, as it gives
    zero a bit of its own.

    Args:
        weight: float32 [channels, n], finite.
        kept: bool [channels, n]; has no effect, for pruned weights are zeros.
        bits: width of one code, 2 to 8.
        granularity: "tensor" or "channel": what e_max is taken over.

    Returns:
        The code with grid "power-of-two" and scale 2^e_max (1 where all weights are zero).
    """
    columns = columns_per_scale(weight, granularity, weight.shape[1])
    blocks = to_blocks(weight, granularity, columns)
    exponents = 2 ** (bits - 1) - 1
    # frexp gives |w| = mantissa * 2^exponent, 0.5 <= mantissa < 1, exactly; a logarithm errs near the cuts.
    mantissa, exponent = torch.frexp(blocks.abs())
    top = _largest_exponent(blocks)[:, :, None]
    steps_down = (top - _nearest_exponent(mantissa, exponent)).clamp_(0, exponents - 1)
    # |w| >= 2^e_min / 2 is exponent >= e_min.
    nonzero = (exponent > top - exponents).logical_and_(mantissa > 0)
    negative = (blocks < 0).to(torch.uint8)
    codes = steps_down.to(torch.uint8).add_(1).add_(negative, alpha=exponents).mul_(nonzero)
    return Code(
        codes=from_blocks(codes, weight.shape),
        bits=bits,
        grid="power-of-two",
        scale=_power_of_two(top[:, :, 0]),
        group_size=columns,
    )


def _nearest_exponent(mantissa: Tensor, exponent: Tensor) -> Tensor:
    """The e for which 2^e is nearest to x = mantissa * 2^exponent, ⌊log2(4x/3)⌋: the cut is 1.5 * 2^e."""
    return (exponent - 1).add_(mantissa >= 0.75)


def _largest_exponent(blocks: Tensor) -> Tensor:
    """e_max of each group, int32 [rows, groups]; 0 for a group of zeros."""
    largest = blocks.abs().amax(dim=2)
    exponent = _nearest_exponent(*torch.frexp(largest)).clamp(max=127)  # 2^128 is no float32
    return exponent.masked_fill(largest == 0, 0)


def _power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent as float32, from the bits of a float64: exact, where exp2 and pow may be off by a unit."""
    return ((exponent.long() + 1023) << 52).view(torch.float64).float()


def preview(indices: Sequence[WeightIndex], *, bits: int = 4, granularity: str = "tensor") -> list[ScalarMap] | None:
    """The levels of every layer for the granularity "tensor", else None; levels and cuts are exact."""
    if granularity != "tensor":
        return None
    return [_level_map(index, bits) for index in indices]


def _level_map(index: WeightIndex, bits: int) -> ScalarMap:
    top = _largest_exponent(torch.tensor([[[index.amax]]]))[0, 0]
    levels = power_of_two_levels(bits).double() * _power_of_two(top).double()
    return nearest_level_map(levels.sort().values, bits=bits, table_bytes=4)


METHOD = Method(
    name="power-of-two",
    label="Power-of-two (“binary”)",
    family="Formats and codebooks",
    summary="Sends each weight to the nearest signed power of two or zero, so that products become shifts; "
    "some texts call this “binary quantization”.",
    formula="ŵ = sign(w)·2^clip(⌊log₂(4|w|/3)⌋, e_min, e_max),  0 for |w| < 2^e_min / 2;  "
    "e_max = ⌊log₂(4 max|w| / 3)⌋, e_min = e_max − 2^(b−1) + 2",
    source="Zhou et al. 2017, INQ (arXiv 1702.03044), here with 2^b − 1 codes in use; "
    "Miyashita, Lee & Murmann 2016 (arXiv 1603.01025)",
    parameters=(
        Parameter(
            name="bits",
            label="Bit width",
            kind="integer",
            default=4,
            minimum=2,
            maximum=8,
            unit="bits",
            help="Bits of one stored weight: a sign and 2^(bits − 1) − 1 exponents, and zero.",
        ),
        granularity_parameter("tensor", "channel", default="tensor"),
    ),
    scope="tensor",
    result="code",
    apply=apply,
    preview=preview,
)
