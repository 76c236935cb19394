"""Uniform quantization that clips where the squared error is smallest."""

import functools
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.granularity import columns_per_scale, granularity_parameter, to_blocks
from compress_explorer.methods.uniform import (
    UniformGrid,
    bits_parameter,
    group_size_parameter,
    round_to_grid,
    scheme_parameter,
    uniform_grid,
    usable_scale,
)
from compress_explorer.methods.weight_index import Floats, Integers
from compress_explorer.spec.method import Method

CANDIDATES = 200
FRACTIONS: Floats = np.arange(CANDIDATES, 0, -1) / CANDIDATES
"""What part of the full range is kept, the whole range first: of equal errors the widest range wins."""

_CHUNK = 2**17
"""Numbers that are worked on at once: they stay in the processor's cache."""


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros, which have a level in every candidate
    *,
    bits: int = 4,
    scheme: str = "symmetric",
    granularity: str = "tensor",
    group_size: int = 128,
) -> Code:
    """Rounds to the levels of `integer`, their scale times the f = i/200, i = 1..200, of least squared error.

    Both ends of an affine range shrink by the same factor and its zero point stays, where Nagel et al. look for the
    best pair of ends. Each scale is searched for alone. Of equal errors the widest range wins.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n]; has no effect, for pruned weights are zeros.
        bits: width of one code, 1 to 8.
        scheme: "symmetric" or "affine".
        granularity: "tensor", "channel" or "group".
        group_size: neighbouring columns that share a scale; only for "group".

    Returns:
        The code with grid "integer".
    """
    columns = columns_per_scale(weight, granularity, group_size)
    blocks = to_blocks(weight, granularity, columns)
    full = uniform_grid(blocks.amin(dim=2), blocks.amax(dim=2), bits, scheme)
    fraction = torch.from_numpy(FRACTIONS[_best(blocks, full)]).to(weight.device)
    grid = replace(full, scale=usable_scale(full.scale * fraction))
    return round_to_grid(blocks, grid, bits, weight.shape)


def _best(blocks: Tensor, full: UniformGrid) -> Integers:
    """The place in `FRACTIONS` of the fraction of least squared error, int64 [rows, groups]."""
    zero = torch.zeros_like(full.scale) if full.zero_point is None else full.zero_point
    lowest, highest = ((end - zero)[:, :, None] for end in (full.lowest, full.highest))
    rows = max(1, _CHUNK // blocks[0].numel())
    found = []
    for first in range(0, len(blocks), rows):
        part = slice(first, first + rows)
        # In units of the full scale numbers lie in -255..255 whatever the weights: no square overflows.
        steps = blocks[part] / full.scale[part, :, None]
        pieces = (_piece_errors(piece, lowest[part], highest[part]) for piece in torch.split(steps, _CHUNK, dim=2))
        found.append(functools.reduce(torch.add, pieces).cpu().numpy().argmin(axis=0))
    return np.concatenate(found)


def _piece_errors(steps: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """Squared error at every fraction for weights in units of the full scale, float64 [fractions, rows, groups]."""
    together = max(1, _CHUNK // steps.numel())
    found = []
    for fractions in torch.split(torch.from_numpy(FRACTIONS).float().to(steps.device), together):
        scale = fractions[:, None, None, None]
        numbers = (steps / scale).round_()
        # Ten times as fast as clamp_ with tensors.
        torch.minimum(torch.maximum(numbers, lowest, out=numbers), highest, out=numbers)
        found.append(numbers.mul_(scale).sub_(steps).square_().sum(dim=3).double())
    return torch.cat(found)


METHOD = Method(
    name="integer-mse",
    label="Integer, clipped for least squared error",
    family="Uniform quantization",
    summary="Tries 200 clipping ranges for each scale and takes the one with the least squared error.",
    formula="ŵ = s·(clamp(⌊w/s⌉ + z, q_min, q_max) − z),  s = f·s_full,  "
    "f = argmin over i/200, i = 1…200, of Σ(w − ŵ)²",
    source="Nagel et al. 2021 (arXiv 2106.08295) §3.1, MSE range setting",
    parameters=(
        bits_parameter(default=4),
        scheme_parameter(),
        granularity_parameter("tensor", "channel", "group", default="tensor"),
        group_size_parameter(),
    ),
    scope="tensor",
    result="code",
    apply=apply,
)
