"""Activation-aware weight quantization: weights that meet large inputs are scaled up before they are rounded."""

import torch
from torch import Tensor

from compress_explorer.methods import integer
from compress_explorer.methods.evidence import InputStatistics, by_groups, samples_parameter
from compress_explorer.methods.feature_scales import features_of, scale_columns, usable
from compress_explorer.methods.input_change import InputChange
from compress_explorer.methods.uniform import bits_parameter, group_size_parameter, scheme_parameter
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(
    weight: Tensor,
    kept: Tensor,
    statistics: InputStatistics,
    *,
    bits: int = 4,
    scheme: str = "symmetric",
    group_size: int = 128,
    points: int = 20,
) -> InputChange:
    """Quantizes scaled weights, with the scales of least output error: s = m^α, m the mean magnitude of each feature.

    The exponents tried are 0, 1/p, ..., (p - 1)/p for p points. The scales of each are divided by the root of the
    product of the largest and the smallest. The input is divided by the scales, the weights are multiplied by them
    and quantized by groups; the error is the mean square of what that adds to the layer's output on the calibration
    samples, tr(Δ·H·Δᵀ) with H the second moment of the input and Δ = Q(W·diag(s))·diag(s)⁻¹ - W. Of equal errors the
    least exponent counts. A feature that is always zero keeps the scale of the smallest that is not. The paper goes on
    to clip the weights, which is not done here.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n]; pruned weights count as exact zeros.
        statistics: what the layer is fed, with `mean_magnitude`.
        bits: width of one code, 1 to 8.
        scheme: "symmetric" or "affine".
        group_size: neighbouring columns that share a scale of the quantizer.
        points: how many exponents are tried; 1 is rounding to the nearest.

    Returns:
        The scales and the code.
    """
    magnitude, blocks = _magnitudes(statistics), (statistics.groups, statistics.window)
    best, least = InputChange(), float("inf")
    for point in range(points):
        scales = _scales(magnitude, point / points)
        code = integer.apply(
            scale_columns(weight, scales, *blocks),
            kept,
            bits=bits,
            scheme=scheme,
            granularity="group",
            group_size=group_size,
        )
        effective = scale_columns(torch.where(kept, code.decode(), 0.0), 1 / scales, *blocks)
        error = output_error(effective - weight, statistics)
        if error < least:
            best, least = InputChange(divide=scales, code=code), error
    return best


def _magnitudes(statistics: InputStatistics) -> Tensor:
    """The mean magnitude of each feature, float64 [features]; that of the smallest where a feature is always zero."""
    assert statistics.mean_magnitude is not None, "AWQ needs the mean magnitude of every feature"
    magnitude = features_of(statistics.mean_magnitude, statistics.window, largest=False)
    present = magnitude[magnitude > 0]
    return torch.where(magnitude > 0, magnitude, present.min()) if len(present) else torch.ones_like(magnitude)


def _scales(magnitude: Tensor, exponent: float) -> Tensor:
    powers = magnitude.pow(exponent)
    return usable(powers / (powers.max() * powers.min()).sqrt())


def output_error(difference: Tensor, statistics: InputStatistics) -> float:
    """The mean square of difference @ x over the input vectors x, summed over the outputs: tr(Δ·H·Δᵀ).

    Args:
        difference: Δ, [channels, n].
        statistics: of the input.
    """
    blocks = by_groups(difference.double(), statistics)
    return float((blocks @ statistics.moment * blocks).sum())


METHOD = Method(
    name="awq",
    label="AWQ",
    family="Uniform quantization",
    summary="Scales weights up where the input is large before rounding them, and the input down: the best of a grid.",
    formula="min over α of ‖(Q(W·diag(s))·diag(s)⁻¹ − W)·X‖²,  s = mean|X|^α",
    source="Lin et al. 2023, AWQ (arXiv 2306.00978) §3.2",
    parameters=(
        bits_parameter(default=4),
        scheme_parameter(),
        Parameter(
            name="group_size",
            label="Group size",
            kind="integer",
            default=group_size_parameter().default,
            minimum=1,
            soft_minimum=32,
            soft_maximum=256,
            scale="log2",
            unit="weights",
            help="How many neighbouring weights of a channel share a scale.",
        ),
        Parameter(
            name="points",
            label="Grid points",
            kind="integer",
            default=20,
            minimum=1,
            maximum=100,
            soft_maximum=40,
            help="How many exponents between 0 and 1 are tried; 1 is rounding to the nearest.",
        ),
        samples_parameter(),
    ),
    scope="tensor",
    result="inputs",
    needs="inputs",
    apply=apply,
)
