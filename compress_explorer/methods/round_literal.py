"""Rounding to whole numbers as some texts write it, without a scale: what a formula lacks, shown by its results."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.scalar_map import ScalarMap, nearest_level_map
from compress_explorer.methods.uniform import bits_parameter
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.method import Method


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros, which stay zeros
    *,
    bits: int = 8,
) -> Code:
    """Rounds each weight to the nearest whole number, halves to the even one.

    There is no scale: trained weights, far smaller than 1/2, all become 0. The formula names no range; what does not
    fit into b bits in two's complement, -2^(b-1)..2^(b-1) - 1, goes to its end.

    Args:
        weight: float32 [channels, n], finite.
        kept: bool [channels, n]; has no effect, for pruned weights are zeros.
        bits: width of one code, 1 to 8.

    Returns:
        The code with grid "integer" and no scale.
    """
    lowest = -(2 ** (bits - 1))
    numbers = weight.round().clamp_(lowest, -lowest - 1)
    return Code(
        codes=numbers.sub_(lowest).to(torch.uint8),
        bits=bits,
        grid="integer",
        offset=lowest,
        group_size=weight.shape[1],
    )


def preview(indices: Sequence[WeightIndex], *, bits: int = 8) -> list[ScalarMap]:
    """The whole numbers that fit; levels and cuts are exact."""
    levels = torch.arange(-(2 ** (bits - 1)), 2 ** (bits - 1), dtype=torch.float64)
    return [nearest_level_map(levels, bits=bits, table_bytes=0) for _ in indices]


METHOD = Method(
    name="round-literal",
    label="Rounding without a scale",
    family="As written (article)",
    summary="The formula round(W) taken by its word: without a scale, weights below one half all become zero. "
    "A lesson, no method; “Integer quantization” is the proper form.",
    formula="ŵ = ⌊w⌉",
    source="As written in introductory articles; compare Nagel et al. 2021 (arXiv 2106.08295) Eq. 4–7",
    parameters=(bits_parameter(default=8),),
    scope="tensor",
    result="code",
    apply=apply,
    preview=preview,
)
