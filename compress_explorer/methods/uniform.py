"""What the uniform quantizers share: evenly spaced levels between two ends, and rounding to them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.granularity import from_blocks
from compress_explorer.methods.scalar_map import ScalarMap, nearest_level_map
from compress_explorer.spec.parameter import Parameter


@dataclass(frozen=True, eq=False)
class UniformGrid:
    """weight = scale * (number - zero_point) for whole numbers from lowest to highest.

    Attributes:
        scale: float32 of any shape.
        zero_point: float32 whole numbers shaped like `scale`, or None for 0.
        lowest: the smallest number.
        highest: the largest number.
    """

    scale: Tensor
    zero_point: Tensor | None
    lowest: int
    highest: int


def uniform_grid(low: Tensor, high: Tensor, bits: int, scheme: str) -> UniformGrid:
    """The grid for weights from `low` to `high`.

    Symmetric: s = max(|low|, |high|) / (2^(b-1) - 1) and numbers -(2^(b-1) - 1)..2^(b-1) - 1; at 1 bit, where
    that is 0..0, the two's complement range -1..0. Affine: 2^b - 1 steps from min(low, 0) to max(high, 0), with
    a whole zero point.

    A scale is 1 where both ends are zero, and at least 2^-126, the smallest normal float32.

    Args:
        low: the smallest weight that is not clipped, float32 of any shape.
        high: the largest weight that is not clipped, of the same shape.
        bits: width of one code, 1 to 8.
        scheme: "symmetric" or "affine".
    """
    if scheme == "symmetric":
        highest = 2 ** (bits - 1) - 1
        largest = torch.maximum(-low, high).double()
        return UniformGrid(usable_scale(largest / max(highest, 1)), None, min(-highest, -1), highest)
    highest = 2**bits - 1
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = usable_scale((high.double() - low.double()) / highest)
    return UniformGrid(scale, (-low / scale).round().clamp(0, highest), 0, highest)


def usable_scale(scale: Tensor) -> Tensor:
    """The scale as float32, never zero: 1 for a group of zeros, else at least the smallest normal number."""
    floor = torch.finfo(torch.float32).smallest_normal
    return torch.where(scale > 0, scale.clamp(min=floor), 1.0).float()


def round_to_grid(blocks: Tensor, grid: UniformGrid, bits: int, shape: torch.Size) -> Code:
    """The code of the nearest level of every weight, halves to the even number; clipped to the grid's ends.

    Args:
        blocks: float32 [rows, groups, size], see `granularity.to_blocks`.
        grid: with scales [rows, groups].
        bits: width of one code.
        shape: of the matrix, [channels, n].
    """
    return code_of_numbers((blocks / grid.scale[:, :, None]).round_(), grid, bits, shape)


def code_of_numbers(numbers: Tensor, grid: UniformGrid, bits: int, shape: torch.Size) -> Code:
    """The code of rounded weights, clipped to the grid's ends.

    Args:
        numbers: w / s rounded to whole numbers, before the zero point is added, float32 [rows, groups, size];
            overwritten.
        grid: with scales [rows, groups].
        bits: width of one code.
        shape: of the matrix, [channels, n].
    """
    if grid.zero_point is not None:
        numbers += grid.zero_point[:, :, None]
    codes = numbers.clamp_(grid.lowest, grid.highest).sub_(grid.lowest).to(torch.uint8)
    return Code(
        codes=from_blocks(codes, shape),
        bits=bits,
        grid="integer",
        offset=grid.lowest,
        scale=grid.scale,
        zero_point=None if grid.zero_point is None else grid.zero_point.to(torch.uint8),
        group_size=min(numbers.shape[2], shape[1]),
    )


def uniform_map(low: float, high: float, bits: int, scheme: str) -> ScalarMap:
    """What rounding to the grid from `low` to `high` does to a weight by its value."""
    grid = uniform_grid(torch.tensor(low), torch.tensor(high), bits, scheme)
    numbers = torch.arange(grid.lowest, grid.highest + 1, dtype=torch.float32)
    zero = 0 if grid.zero_point is None else grid.zero_point
    table_bytes = 4 if grid.zero_point is None else 5
    return nearest_level_map((numbers - zero) * grid.scale, bits=bits, table_bytes=table_bytes)


def bits_parameter(*, default: int, minimum: int = 1) -> Parameter:
    """The declaration of a uniform quantizer's bit width."""
    return Parameter(
        name="bits",
        label="Bit width",
        kind="integer",
        default=default,
        minimum=minimum,
        maximum=8,
        unit="bits",
        help="Bits of one stored weight: at most 2^bits levels.",
    )


def scheme_parameter() -> Parameter:
    """The declaration of the choice between symmetric and affine levels."""
    return Parameter(
        name="scheme",
        label="Scheme",
        kind="choice",
        default="symmetric",
        choices=("symmetric", "affine"),
        help="Symmetric: levels mirrored about zero. Affine: from the smallest to the largest weight.",
    )


def group_size_parameter(*, default: int = 128) -> Parameter:
    """The declaration of the size of a group, for the granularity "group"."""
    return Parameter(
        name="group_size",
        label="Group size",
        kind="integer",
        default=default,
        minimum=1,
        soft_minimum=32,
        soft_maximum=256,
        scale="log2",
        unit="weights",
        when=("granularity", ("group",)),
        help="How many neighbouring weights of a channel share a scale.",
    )
