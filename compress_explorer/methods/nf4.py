"""NormalFloat: four bits whose levels are quantiles of the normal distribution."""

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
    """Divides each block by its largest magnitude and takes the nearest of 16 levels between -1 and 1.

    The levels are quantiles of the normal distribution, asymmetric so that 0 is one of them: 7 are negative and
    8 positive. bitsandbytes counts blocks through the whole tensor; here they end with a channel.

    Args:
        weight: float32 [channels, n], finite.
        kept: bool [channels, n]; has no effect, for pruned weights are zeros.
        block_size: neighbouring columns that share a scale; the last block of a channel may be shorter.
        scales: "float32" or "double", see `coded_scale`; what double quantization rounds below 0 becomes 0.

    Returns:
        The code with grid "nf4".
    """
    return quantize_by_absmax(weight, "nf4", block_size=block_size, scales=scales)


METHOD = Method(
    name="nf4",
    label="NormalFloat (NF4)",
    family="Formats and codebooks",
    summary="Four bits with levels where normally distributed weights are, and a scale for each block.",
    formula="ŵ = s·c[q],  s = max|w| of the block,  q = argminᵢ |w/s − c[i]|;  c: quantiles of N(0, 1), largest 1",
    source="Dettmers et al. 2023, QLoRA (arXiv 2305.14314) §3; levels: its appendix E",
    parameters=(block_size_parameter(64), SCALES_PARAMETER),
    scope="tensor",
    result="code",
    apply=apply,
)
