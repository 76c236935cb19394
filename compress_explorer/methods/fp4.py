"""The 4-bit floats of bitsandbytes."""

from torch import Tensor

from compress_explorer.methods.blockwise import SCALES_PARAMETER, block_size_parameter, quantize_by_absmax
from compress_explorer.methods.code import Code
from compress_explorer.spec.method import Method


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros, which have a code of their own
    *,
    block_size: int = 64,
    scales: str = "float32",
) -> Code:
    """Divides each block by its largest magnitude and takes the nearest of 0 and ±{1/192, 1/6, 1/4, 1/3, 1/2, 2/3, 1}.

    bitsandbytes counts blocks through the whole tensor; here they end with a channel.

    Args:
        weight: float32 [channels, n], finite.
        kept: bool [channels, n]; has no effect, for pruned weights are zeros.
        block_size: neighbouring columns that share a scale; the last block of a channel may be shorter.
        scales: "float32" or "double", see `coded_scale`; what double quantization rounds below 0 becomes 0.

    Returns:
        The code with grid "fp4".
    """
    return quantize_by_absmax(weight, "fp4", block_size=block_size, scales=scales)


METHOD = Method(
    name="fp4",
    label="4-bit float (FP4)",
    family="Formats and codebooks",
    summary="Four bits with a sign, two bits of exponent and one of mantissa, and a scale for each block.",
    formula="ŵ = s·c[q],  s = max|w| of the block,  q = argminᵢ |w/s − c[i]|,  "
    "|c| ∈ {0, 1/192, 1/6, 1/4, 1/3, 1/2, 2/3, 1}",
    source="FP4 of bitsandbytes, a data type compared in Dettmers et al. 2023, QLoRA (arXiv 2305.14314)",
    parameters=(block_size_parameter(64), SCALES_PARAMETER),
    scope="tensor",
    result="code",
    apply=apply,
)
