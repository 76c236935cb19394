"""NVFP4: floats of 4 bits in blocks of 16, with scales of two levels."""

import torch
from torch import Tensor

from compress_explorer.methods.blockwise import block_size_parameter, encode
from compress_explorer.methods.code import Code
from compress_explorer.methods.coded_scale import SCALE_FORMATS, CodedScale
from compress_explorer.methods.formats import FORMATS
from compress_explorer.methods.granularity import columns_per_scale, to_blocks
from compress_explorer.spec.method import Method


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros, which have a code of their own
    *,
    block_size: int = 16,
) -> Code:
    """Divides each block by an 8-bit float times the tensor's float32 scale, and rounds to nearest, ties to even.

    The tensor's scale is t = max|w| / (6 · 448), at least 2^-126, so that the block scales max|w| / (6 t) use
    the whole range of E4M3; those are rounded to nearest, and are at least 2^-6, the smallest normal number, as in
    torchao. What lies beyond 6 after the division becomes 6.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n]; has no effect, for pruned weights are zeros.
        block_size: neighbouring columns that share an 8-bit scale, 16 in NVIDIA's hardware; the last block of a
            channel may be shorter.

    Returns:
        The code with grid "fp4-e2m1", and scales of format "e4m3".
    """
    element, block_format = FORMATS["fp4-e2m1"], SCALE_FORMATS["e4m3"]
    columns = columns_per_scale(weight, "group", block_size)
    largest = to_blocks(weight.abs(), "group", columns).amax(dim=2)
    per_tensor = largest.amax() / (element.largest * block_format.largest)
    per_tensor = per_tensor.clamp(min=torch.finfo(torch.float32).smallest_normal)
    codes = block_format.nearest((largest / element.largest / per_tensor).clamp(min=2.0**-6))
    scale = CodedScale(codes=codes, format="e4m3", constants=per_tensor[None])
    divisor = scale.decode()
    return encode(weight, "fp4-e2m1", "group", columns, divisor=divisor, scale=scale)


METHOD = Method(
    name="nvfp4",
    label="NVFP4",
    family="Formats and codebooks",
    summary="Floats of 4 bits; for each block of 16 a scale of 8 bits, and one float32 for the tensor.",
    formula="ŵ = t·b·cast(w/(t·b)),  t = max|w| / (6·448),  b = E4M3(max|w| of the block of 16 / (6·t))",
    source="NVIDIA, Pretraining Large Language Models with NVFP4 (arXiv 2509.25149)",
    parameters=(block_size_parameter(16),),
    scope="tensor",
    result="code",
    apply=apply,
)
