"""Powers of two as some texts write them, sign(w)·2^⌊log2 w⌋: half of the weights have no logarithm."""

import numpy as np
import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros, which have a code of their own
    *,
    bits: int = 8,
    negatives: str = "lost",
) -> Code:
    """Sends each weight to the power of two below its magnitude, with its sign.

    log2 of a negative weight is NaN, and a network with a NaN in it gives nothing but NaN. With the negatives "lost"
    these weights become 0 instead, as does 2^(-∞) for w = 0; with "magnitude" the formula is applied to |w|. Either
    way the floor makes magnitudes smaller, by 28 % on average.

    The formula bounds no exponent. b bits hold a sign, 2^(b-1) - 1 exponents and zero: weights below the smallest of
    these powers, 2^(e_max - 2^(b-1) + 2), become 0. At 8 bits those are 127 exponents, more than trained weights
    have.

    Args:
        weight: float32 [channels, n], finite.
        kept: bool [channels, n]; has no effect, for pruned weights are zeros.
        bits: width of one code, 2 to 8.
        negatives: "lost" or "magnitude".

    Returns:
        The code with grid "power-of-two", scale 2^e_max [1, 1].
    """
    exponents = 2 ** (bits - 1) - 1
    used = weight.clamp(min=0) if negatives == "lost" else weight
    # |w| = mantissa * 2^(⌊log2|w|⌋ + 1), 0.5 <= mantissa < 1, exactly; a logarithm errs near powers of two.
    mantissa, exponent = torch.frexp(used.abs())
    top = _exponent(float(used.abs().max()))
    steps_down = top - (exponent - 1)
    present = (mantissa > 0).logical_and_(steps_down < exponents)
    codes = steps_down.clamp_(0, exponents - 1).add_(1).add_((used < 0).int(), alpha=exponents).mul_(present)
    return Code(
        codes=codes.to(torch.uint8),
        bits=bits,
        grid="power-of-two",
        scale=torch.tensor([[2.0**top]], dtype=torch.float64, device=weight.device).float(),
        group_size=weight.shape[1],
    )


def _exponent(magnitude: float) -> int:
    """⌊log2 x⌋; 0 for 0."""
    return int(np.frexp(magnitude)[1]) - 1 if magnitude else 0


METHOD = Method(
    name="power-of-two-literal",
    label="Power of two by log2 of the weight",
    family="As written (article)",
    summary="The formula sign(W)·2^⌊log₂ W⌋ taken by its word: negative weights, about half, would become NaN and are "
    "set to zero here; the floor shrinks the others. A lesson, no method; “Power-of-two” is the proper form.",
    formula="ŵ = sign(w)·2^⌊log₂ w⌋,  NaN for w < 0 and shown as 0;  or of |w|: ŵ = sign(w)·2^⌊log₂|w|⌋",
    source="As written in introductory articles; compare Miyashita, Lee & Murmann 2016 (arXiv 1603.01025)",
    parameters=(
        Parameter(
            name="bits",
            label="Bit width",
            kind="integer",
            default=8,
            minimum=2,
            maximum=8,
            unit="bits",
            help="Bits of one stored weight: a sign and 2^(bits − 1) − 1 exponents, and zero.",
        ),
        Parameter(
            name="negatives",
            label="Negative weights",
            kind="choice",
            default="lost",
            choices=("lost", "magnitude"),
            help="Lost: as written, their logarithm is NaN, shown as zero. Magnitude: the logarithm of |w| is taken.",
        ),
    ),
    scope="tensor",
    result="code",
    apply=apply,
)
