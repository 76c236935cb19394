"""What a method does to a layer's input."""

from dataclasses import dataclass

from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.uniform import UniformGrid, uniform_grid
from compress_explorer.spec.parameter import Parameter


@dataclass(frozen=True, eq=False, kw_only=True)
class InputQuantizer:
    """Rounds a layer's input to evenly spaced levels: scale * (number - zero_point).

    Attributes:
        bits: 2 to 8.
        scheme: "symmetric" or "affine", see `uniform.uniform_grid`.
        grid: the levels, with a single scale; None: each input vector has levels of its own, from its ends.
    """

    bits: int
    scheme: str
    grid: UniformGrid | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class InputChange:
    """What becomes of a layer's input, and with it of its weights. What is None stays as it is.

    Attributes:
        divide: float32 [features], positive: each feature of the input is divided by it, and the weights that it
            meets are multiplied by it. Features are a linear layer's inputs, a convolution's input channels.
        quantizer: how the input is rounded, after it was divided.
        code: the quantized form of the weights, after they were multiplied.
    """

    divide: Tensor | None = None
    quantizer: InputQuantizer | None = None
    code: Code | None = None


def static_quantizer(low: Tensor, high: Tensor, bits: int, scheme: str) -> InputQuantizer:
    """The quantizer for inputs from `low` to `high`, float32 of no axes."""
    grid = uniform_grid(low.reshape(1), high.reshape(1), bits, scheme)
    return InputQuantizer(bits=bits, scheme=scheme, grid=grid)


def input_bits_parameter() -> Parameter:
    """The declaration of the bit width of a layer's input."""
    return Parameter(
        name="bits",
        label="Bit width",
        kind="integer",
        default=8,
        minimum=2,
        maximum=8,
        unit="bits",
        help="Bits of one input value: at most 2^bits levels.",
    )


def input_scheme_parameter() -> Parameter:
    """The declaration of the choice between symmetric and affine levels of a layer's input."""
    return Parameter(
        name="scheme",
        label="Scheme",
        kind="choice",
        default="affine",
        choices=("affine", "symmetric"),
        help="Affine: from the smallest to the largest input. Symmetric: levels mirrored about zero, of which inputs "
        "behind a ReLU leave half unused.",
    )
