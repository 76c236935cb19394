"""Microscaling formats: small floats in blocks of 32 that share a power of two."""

import torch
from torch import Tensor

from compress_explorer.methods.blockwise import block_size_parameter, encode
from compress_explorer.methods.code import Code
from compress_explorer.methods.coded_scale import CodedScale
from compress_explorer.methods.formats import FORMATS, WeightFormat
from compress_explorer.methods.granularity import columns_per_scale, to_blocks
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter

ELEMENTS: dict[str, WeightFormat] = {
    "mxfp4": "fp4-e2m1",
    "mxfp6-e2m3": "fp6-e2m3",
    "mxfp6-e3m2": "fp6-e3m2",
    "mxfp8-e4m3": "fp8-e4m3",
    "mxfp8-e5m2": "fp8-e5m2",
}


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros, which have a code of their own
    *,
    format: str = "mxfp4",
    rounding: str = "floor",
    block_size: int = 32,
) -> Code:
    """Divides each block by a power of two, stored as 8 bits of exponent, and rounds to nearest, ties to even.

    The power X, with m the block's largest magnitude, M the format's largest number and 2^e its largest power:

    floor: 2^(⌊log2 m⌋ - e), as the specification has it; what then lies beyond M becomes M.
    ceil: 2^(⌈log2 m⌉ - e).
    rceil: 2^⌈log2(m / M)⌉, the smallest power for which nothing lies beyond M.
    even: like floor, of m rounded to the format's bits of mantissa first.

    The exponent of X is kept in -126..127; it is 0 for a block of zeros.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n]; has no effect, for pruned weights are zeros.
        format: one of `ELEMENTS`.
        rounding: "floor", "ceil", "rceil" or "even".
        block_size: neighbouring columns that share a scale, 32 in all formats of the specification; the last block
            of a channel may be shorter.

    Returns:
        The code with the grid of the element format, and scales of format "e8m0".
    """
    grid = ELEMENTS[format]
    columns = columns_per_scale(weight, "group", block_size)
    largest = to_blocks(weight.abs(), "group", columns).amax(dim=2)
    exponent = _exponent(largest, grid, rounding).clamp(-126, 127).masked_fill(largest == 0, 0)
    scale = CodedScale(codes=(exponent + 127).to(torch.uint8), format="e8m0", constants=torch.empty(0))
    return encode(weight, grid, "group", columns, divisor=scale.decode(), scale=scale)


def _exponent(largest: Tensor, grid: WeightFormat, rounding: str) -> Tensor:
    """log2 of X, int32, shaped like `largest`."""
    # frexp gives x = mantissa * 2^exponent, 0.5 <= mantissa < 1, exactly: ⌊log2 x⌋ is exponent - 1.
    if rounding == "rceil":
        mantissa, exponent = torch.frexp(largest / FORMATS[grid].largest)
        return exponent - 1 + (mantissa > 0.5)
    mantissa, exponent = torch.frexp(largest)
    lowest_to_round_up = {
        "floor": 1.0,
        "ceil": 0.5 + torch.finfo(torch.float32).eps / 2,
        "even": 1 - 0.25 * 2.0 ** -int(grid[-1]),  # halfway between the largest mantissa and the next power
    }
    top = torch.frexp(torch.tensor(FORMATS[grid].largest)).exponent - 1
    return exponent - 1 + (mantissa >= lowest_to_round_up[rounding]) - top


METHOD = Method(
    name="mx",
    label="Microscaling (MXFP4, MXFP6, MXFP8)",
    family="Formats and codebooks",
    summary="Floats of 4, 6 or 8 bits, and for each block of 32 a power of two stored in one byte.",
    formula="ŵ = X·cast(w/X),  X = 2^(⌊log₂ max|w|⌋ − e_max) of each block of 32",
    source="OCP Microscaling Formats (MX) Specification v1.0 §6.3; "
    "Rouhani et al. 2023, Microscaling Data Formats for Deep Learning (arXiv 2310.10537)",
    parameters=(
        Parameter(
            name="format",
            label="Format",
            kind="choice",
            default="mxfp4",
            choices=tuple(ELEMENTS),
            help="The bits of one weight, and how they are divided: E2M3 has 2 bits of exponent and 3 of mantissa.",
        ),
        Parameter(
            name="rounding",
            label="Rounding of scales",
            kind="choice",
            default="floor",
            choices=("floor", "rceil", "ceil", "even"),
            help="Floor may cut off a block's largest weights; ceil and rceil never do, but have coarser steps.",
        ),
        block_size_parameter(32),
    ),
    scope="tensor",
    result="code",
    apply=apply,
)
