"""Quantization of layers' inputs to levels that each input vector chooses for itself, when it arrives."""

from torch import Tensor

from compress_explorer.methods.input_change import (
    InputChange,
    InputQuantizer,
    input_bits_parameter,
    input_scheme_parameter,
)
from compress_explorer.spec.method import Method


def apply(
    weight: Tensor,  # noqa: ARG001 -- weights stay as they are
    kept: Tensor,  # noqa: ARG001
    *,
    bits: int = 8,
    scheme: str = "affine",
) -> InputChange:
    """Rounds each input vector to levels from its own smallest to its own largest value; needs no data.

    A vector is what a linear layer is fed at one place (a token), or a sample of a convolution's input. Its scale
    and zero point are computed while the network runs, so that nothing is stored.

    Args:
        weight: float32 [channels, n]; has no effect.
        kept: bool [channels, n]; has no effect.
        bits: width of one value, 2 to 8.
        scheme: "affine" or "symmetric", see `uniform.uniform_grid`.

    Returns:
        A quantizer of the input without levels of its own.
    """
    return InputChange(quantizer=InputQuantizer(bits=bits, scheme=scheme))


METHOD = Method(
    name="activations-dynamic",
    label="Activation quantization, dynamic",
    family="Activations",
    summary="Rounds what each layer is fed to evenly spaced levels from each vector's own smallest to largest value.",
    formula="x̂ = s·(clamp(⌊x/s⌉ + z, q_min, q_max) − z),  s and z from min(x) and max(x) of each vector",
    source="Yao et al. 2022, ZeroQuant (arXiv 2206.01861), token-wise quantization of activations",
    parameters=(input_bits_parameter(), input_scheme_parameter()),
    scope="tensor",
    result="inputs",
    apply=apply,
)
