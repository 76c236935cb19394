"""Uniform quantization to whole numbers, symmetric or affine."""

from collections.abc import Sequence

from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.granularity import columns_per_scale, granularity_parameter, to_blocks
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.uniform import (
    bits_parameter,
    group_size_parameter,
    round_to_grid,
    scheme_parameter,
    uniform_grid,
    uniform_map,
)
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.method import Method


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
    others 0. Nagel et al. also use -2^(b-1); levels mirrored about zero are Krishnamoorthi's restricted range.

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
    grid = uniform_grid(blocks.amin(dim=2), blocks.amax(dim=2), bits, scheme)
    return round_to_grid(blocks, grid, bits, weight.shape)


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
    return [uniform_map(index.minimum, index.maximum, bits, scheme) for index in indices]


METHOD = Method(
    name="integer",
    label="Integer quantization",
    family="Uniform quantization",
    summary="Rounds weights to evenly spaced levels, stored as small whole numbers with a scale.",
    formula="q = clamp(⌊w/s⌉ + z, q_min, q_max),  ŵ = s·(q − z);  "
    "symmetric: z = 0, s = max|w| / (2^(b−1) − 1);  "
    "affine: s = (max − min) / (2^b − 1), z = ⌊−min/s⌉",
    source="Nagel et al. 2021 (arXiv 2106.08295) §2.2, Eq. 4–7; Krishnamoorthi 2018 (arXiv 1806.08342) §2.2",
    parameters=(
        bits_parameter(default=8),
        scheme_parameter(),
        granularity_parameter("tensor", "channel", "group", default="tensor"),
        group_size_parameter(),
    ),
    scope="tensor",
    result="code",
    apply=apply,
    preview=preview,
)
