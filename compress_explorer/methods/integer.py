"""Uniform quantization to whole numbers, symmetric or affine."""

from collections.abc import Sequence
from dataclasses import dataclass

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
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros, which widen neither range
    *,
    bits: int = 8,
    scheme: str = "symmetric",
    granularity: str = "tensor",
    group_size: int = 128,
) -> Code:
    """Rounds each weight to the nearest multiple of a scale, halves to the even one.

    Symmetric: s = max|w| / (2^(b-1) - 1) and q in -(2^(b-1) - 1)..2^(b-1) - 1. At 1 bit, where that is 0..0,
    the two's complement range -1..0 with s = max|w|: negative weights beyond half of it become -max|w|, all
    others 0.

    Affine: the range from min(w, 0) to max(w, 0) in 2^b - 1 steps, with a whole zero point, so that 0 is
    exact. Rounding the zero point moves the range by up to half a step, and a weight at its end by as much.

    A group of zeros has the scale 1. A scale is at least 2^-126, the smallest normal float32.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n]; has no effect, for pruned weights are zeros.
        bits: width of one code, 1 to 8.
        scheme: "symmetric" or "affine".
        granularity: "tensor", "channel" or "group".
        group_size: neighbouring columns that share a scale; only for "group". The last group of a channel may
            be shorter; a group longer than a channel is the channel.

    Returns:
        The code with grid "integer".
    """
    columns = columns_per_scale(weight, granularity, group_size)
    blocks = to_blocks(weight, granularity, columns)
    low, high = blocks.amin(dim=2), blocks.amax(dim=2)
    grid = _grid(low, high, bits, scheme)
    numbers = (blocks / grid.scale[:, :, None]).round_()
    if grid.zero_point is not None:
        numbers += grid.zero_point[:, :, None]
    codes = numbers.clamp_(grid.lowest, grid.highest).sub_(grid.lowest).to(torch.uint8)
    return Code(
        codes=from_blocks(codes, weight.shape),
        bits=bits,
        grid="integer",
        offset=grid.lowest,
        scale=grid.scale,
        zero_point=None if grid.zero_point is None else grid.zero_point.to(torch.uint8),
        group_size=columns,
    )


@dataclass(frozen=True, eq=False)
class _Grid:
    """weight = scale * (number - zero_point) for whole numbers from lowest to highest."""

    scale: Tensor
    zero_point: Tensor | None
    lowest: int
    highest: int


def _grid(low: Tensor, high: Tensor, bits: int, scheme: str) -> _Grid:
    """The grid for weights from `low` to `high`, float32 of any shape, which scale and zero point share."""
    if scheme == "symmetric":
        highest = 2 ** (bits - 1) - 1
        largest = torch.maximum(-low, high).double()
        return _Grid(_usable(largest / max(highest, 1)), None, min(-highest, -1), highest)
    highest = 2**bits - 1
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = _usable((high.double() - low.double()) / highest)
    return _Grid(scale, (-low / scale).round().clamp(0, highest), 0, highest)


def _usable(scale: Tensor) -> Tensor:
    """The scale as float32, never zero: 1 for a group of zeros, else at least the smallest normal number."""
    floor = torch.finfo(torch.float32).smallest_normal
    return torch.where(scale > 0, scale.clamp(min=floor), 1.0).float()


def preview(
    indices: Sequence[WeightIndex],
    *,
    bits: int = 8,
    scheme: str = "symmetric",
    granularity: str = "tensor",
    group_size: int = 128,  # noqa: ARG001 one declaration for both functions
) -> list[ScalarMap] | None:
    """The level grid of every layer for the granularity "tensor", else None; the levels are exact."""
    if granularity != "tensor":
        return None
    return [_level_map(index, bits, scheme) for index in indices]


def _level_map(index: WeightIndex, bits: int, scheme: str) -> ScalarMap:
    grid = _grid(torch.tensor(index.minimum), torch.tensor(index.maximum), bits, scheme)
    numbers = torch.arange(grid.lowest, grid.highest + 1, dtype=torch.float32)
    zero = 0 if grid.zero_point is None else grid.zero_point
    table_bytes = 4 if grid.zero_point is None else 5
    return nearest_level_map((numbers - zero) * grid.scale, bits=bits, table_bytes=table_bytes)


METHOD = Method(
    name="integer",
    label="Integer quantization",
    family="Uniform quantization",
    summary="Rounds weights to evenly spaced levels, stored as small whole numbers with a scale.",
    formula="q = clamp(⌊w/s⌉ + z, q_min, q_max),  ŵ = s·(q − z);  "
    "symmetric: z = 0, s = max|w| / (2^(b−1) − 1);  "
    "affine: s = (max − min) / (2^b − 1), z = ⌊−min/s⌉",
    source="Nagel et al. 2021 (arXiv 2106.08295) §2.2, Eq. 4–7; Krishnamoorthi 2018 (arXiv 1806.08342) §2",
    parameters=(
        Parameter(
            name="bits",
            label="Bit width",
            kind="integer",
            default=8,
            minimum=1,
            maximum=8,
            unit="bits",
            help="Bits of one stored weight: at most 2^bits levels.",
        ),
        Parameter(
            name="scheme",
            label="Scheme",
            kind="choice",
            default="symmetric",
            choices=("symmetric", "affine"),
            help="Symmetric: levels mirrored about zero. Affine: from the smallest to the largest weight.",
        ),
        granularity_parameter("tensor", "channel", "group", default="tensor"),
        Parameter(
            name="group_size",
            label="Group size",
            kind="integer",
            default=128,
            minimum=1,
            soft_minimum=32,
            soft_maximum=256,
            scale="log2",
            unit="weights",
            when=("granularity", ("group",)),
            help="How many neighbouring weights of a channel share a scale.",
        ),
    ),
    scope="tensor",
    result="code",
    apply=apply,
    preview=preview,
)
