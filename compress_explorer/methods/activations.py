"""Quantization of layers' inputs to levels that are fixed beforehand, on calibration samples."""

import torch
from torch import Tensor

from compress_explorer.methods.evidence import InputValues, samples_parameter
from compress_explorer.methods.input_change import (
    InputChange,
    input_bits_parameter,
    input_scheme_parameter,
    static_quantizer,
)
from compress_explorer.methods.uniform import uniform_grid
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter

CLIPS = 100
"""How many ranges the squared-error search tries."""


def apply(
    weight: Tensor,  # noqa: ARG001 -- weights stay as they are
    kept: Tensor,  # noqa: ARG001
    values: InputValues,
    *,
    bits: int = 8,
    scheme: str = "affine",
    observer: str = "min-max",
    percentile: float = 99.9,
    momentum: float = 0.9,
) -> InputChange:
    """Fixes the levels of a layer's input from the values that it had on the calibration samples.

    The range of the levels, low to high:

    - "min-max": from the smallest to the largest value.
    - "moving-average": the smallest and largest value of each sample, averaged with weights that fall
      exponentially: e <- m·e + (1 - m)·x, from the first sample to the last.
    - "percentile": affine, the quantiles 1 - p/100 and p/100 of the values; symmetric, the quantile p/100 of their
      magnitudes. Quantiles between two values are interpolated linearly.
    - "mse": of the min-max range times 1/100 to 100/100, the one with the least squared error; of equals the widest.

    Values beyond the range are clipped to its ends. Affine ranges always hold 0.

    Args:
        weight: float32 [channels, n]; has no effect.
        kept: bool [channels, n]; has no effect.
        values: what the layer was fed.
        bits: width of one value, 2 to 8.
        scheme: "affine" or "symmetric", see `uniform.uniform_grid`.
        observer: how the range is found.
        percentile: p, 50 to 100; only for "percentile".
        momentum: m, 0 to 0.999; only for "moving-average".

    Returns:
        A quantizer of the input with one scale.
    """
    if observer == "moving-average":
        low, high = _averaged(values.low, momentum), _averaged(values.high, momentum)
    elif observer == "percentile":
        low, high = _quantiles(values.values, percentile / 100, scheme)
    else:
        low, high = values.low.amin(), values.high.amax()
        if observer == "mse":
            clip = _best_clip(values.values, low, high, bits, scheme)
            low, high = low * clip, high * clip
    return InputChange(quantizer=static_quantizer(low, high, bits, scheme))


def _averaged(values: Tensor, momentum: float) -> Tensor:
    """The exponential moving average of float32 [rows], beginning with the first: float32, no axes."""
    weights = (1 - momentum) * momentum ** torch.arange(len(values) - 1, -1, -1, dtype=torch.float64)
    weights[0] = momentum ** (len(values) - 1)
    return (values.double() @ weights).float()


def _quantiles(values: Tensor, quantile: float, scheme: str) -> tuple[Tensor, Tensor]:
    values = values.double()
    if scheme == "symmetric":
        high = torch.quantile(values.abs(), quantile).float()
        return -high, high
    return torch.quantile(values, 1 - quantile).float(), torch.quantile(values, quantile).float()


def _best_clip(values: Tensor, low: Tensor, high: Tensor, bits: int, scheme: str) -> float:
    """The fraction of the range from `low` to `high` whose levels have the least squared error."""
    best, least = 1.0, float("inf")
    for part in range(CLIPS, 0, -1):
        clip = part / CLIPS
        grid = uniform_grid(low * clip, high * clip, bits, scheme)
        zero = 0 if grid.zero_point is None else grid.zero_point
        numbers = ((values / grid.scale).round_() + zero).clamp_(grid.lowest, grid.highest)
        error = float((numbers - zero).mul_(grid.scale).sub_(values).double().square().sum())
        if error < least:
            best, least = clip, error
    return best


METHOD = Method(
    name="activations",
    label="Activation quantization, static",
    family="Activations",
    summary="Rounds what each layer is fed to evenly spaced levels that are fixed beforehand, on calibration samples.",
    formula="x̂ = s·(clamp(⌊x/s⌉ + z, q_min, q_max) − z),  s and z from the range of x on the calibration samples",
    source="Jacob et al. 2018 (arXiv 1712.05877) §3, moving averages; Nagel et al. 2021 (arXiv 2106.08295) §3.1; "
    "percentiles: Wu et al. 2020 (arXiv 2004.09602)",
    parameters=(
        input_bits_parameter(),
        input_scheme_parameter(),
        Parameter(
            name="observer",
            label="Range",
            kind="choice",
            default="min-max",
            choices=("min-max", "moving-average", "percentile", "mse"),
            help="How the range of the levels is found: the extremes, their moving average, quantiles, or the least "
            "squared error.",
        ),
        Parameter(
            name="percentile",
            label="Percentile",
            kind="float",
            default=99.9,
            minimum=50.0,
            maximum=100.0,
            soft_minimum=99.0,
            step=0.05,
            unit="%",
            when=("observer", ("percentile",)),
            help="Of the input's values this share lies below the upper end, and above the lower one.",
        ),
        Parameter(
            name="momentum",
            label="Momentum",
            kind="float",
            default=0.9,
            minimum=0.0,
            maximum=0.999,
            step=0.05,
            when=("observer", ("moving-average",)),
            help="The weight of the samples before in the moving average; 0 takes the last sample alone.",
        ),
        samples_parameter(),
    ),
    scope="tensor",
    result="inputs",
    needs="values",
    apply=apply,
)
