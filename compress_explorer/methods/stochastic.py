"""Uniform quantization that rounds up or down by lot, so that every weight is right on average."""

import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.granularity import columns_per_scale, granularity_parameter, to_blocks
from compress_explorer.methods.seed import seed_parameter
from compress_explorer.methods.uniform import (
    bits_parameter,
    code_of_numbers,
    group_size_parameter,
    scheme_parameter,
    uniform_grid,
)
from compress_explorer.spec.method import Method


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros, which stay zeros
    *,
    bits: int = 8,
    scheme: str = "symmetric",
    granularity: str = "tensor",
    group_size: int = 128,
    seed: int = 0,
) -> Code:
    """Rounds each weight to one of the two neighbouring levels of `integer`, the nearer one more often.

    With x = w/s the result is ⌊x + u⌋, u uniform in [0, 1): ⌊x⌋ + 1 with the probability x - ⌊x⌋, so that the
    expected result is x. Weights on a level, zeros among them, stay there. The draw depends on the seed, the
    shape and the granularity alone. A weight beyond the last level goes to it: with the affine scheme, whose
    rounded zero point can move the range by half a step, and at 1 bit.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n]; has no effect, for pruned weights are zeros.
        bits: width of one code, 1 to 8.
        scheme: "symmetric" or "affine".
        granularity: "tensor", "channel" or "group".
        group_size: neighbouring columns that share a scale; only for "group".
        seed: of the private random generator.

    Returns:
        The code with grid "integer".
    """
    columns = columns_per_scale(weight, granularity, group_size)
    blocks = to_blocks(weight, granularity, columns)
    grid = uniform_grid(blocks.amin(dim=2), blocks.amax(dim=2), bits, scheme)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(blocks.shape, generator=generator).to(weight.device)
    steps = blocks / grid.scale[:, :, None]
    lower = steps.floor()
    # x - ⌊x⌋ is exact in float32, where x + u would round: 7 + u to 8 for the largest u.
    return code_of_numbers(lower + (draws < steps - lower), grid, bits, weight.shape)


METHOD = Method(
    name="stochastic",
    label="Integer, rounded by lot (stochastic)",
    family="Uniform quantization",
    summary="Rounds up or down at random, so that the expected weight is the true one; the noise is larger.",
    formula="q = clamp(⌊w/s + u⌋ + z, q_min, q_max),  u uniform in [0, 1),  E[s·(q − z)] = w",
    source="Gupta, Agrawal, Gopalakrishnan & Narayanan 2015 (arXiv 1502.02551), stochastic rounding; "
    "Krishnamoorthi 2018 (arXiv 1806.08342) §2.3",
    parameters=(
        bits_parameter(default=8),
        scheme_parameter(),
        granularity_parameter("tensor", "channel", "group", default="tensor"),
        group_size_parameter(),
        seed_parameter("Which of the random roundings: the same seed always draws the same one."),
    ),
    scope="tensor",
    result="code",
    apply=apply,
)
