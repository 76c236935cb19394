"""Moves the difficulty of quantizing a layer's input to its weights, feature by feature."""

from torch import Tensor

from compress_explorer.methods.evidence import InputStatistics, samples_parameter
from compress_explorer.methods.feature_scales import features_of, magnitudes_of, usable
from compress_explorer.methods.input_change import InputChange
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 -- pruned weights are zeros, and stay zeros
    statistics: InputStatistics,
    *,
    alpha: float = 0.5,
) -> InputChange:
    """Divides each feature of the input by a scale, and multiplies the weights that it meets by the same.

    The layer computes the same function. Followed by quantization of weights and input, it errs less where few
    features are much larger than the others. A feature that is always zero, or that meets only zeros, keeps the
    scale 1; scales are held to 1e-5..1e5. All places of a convolution's kernel share the scale of their channel.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n]; has no effect.
        statistics: what the layer is fed.
        alpha: how much of the difficulty is moved, 0 to 1: at 1 all features of the input become equally large, at
            0 all columns of weights.

    Returns:
        The scales.
    """
    inputs = features_of(statistics.peak, statistics.window, largest=True).double()
    weights = magnitudes_of(weight, statistics.groups, statistics.window).double()
    scales = inputs.pow(alpha) / weights.pow(1 - alpha)
    scales[(inputs == 0) | (weights == 0)] = 1
    return InputChange(divide=usable(scales))


METHOD = Method(
    name="smoothquant",
    label="SmoothQuant",
    family="Activations",
    summary="Divides each input feature by a scale that its weights take over: the same function, easier to quantize.",
    formula="s_j = max|X_j|^α / max|W_j|^(1−α),  Y = (X·diag(s)⁻¹)·(diag(s)·W)",
    source="Xiao et al. 2022, SmoothQuant (arXiv 2211.10438) §4, Eq. 3–4",
    parameters=(
        Parameter(
            name="alpha",
            label="Migration strength",
            kind="float",
            default=0.5,
            minimum=0.0,
            maximum=1.0,
            step=0.05,
            help="How much of the difficulty moves to the weights: 0 evens the weights out, 1 the input.",
        ),
        samples_parameter(),
    ),
    scope="tensor",
    result="inputs",
    needs="inputs",
    apply=apply,
)
