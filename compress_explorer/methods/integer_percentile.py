"""Uniform quantization that clips what lies beyond a percentile of the weights."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.granularity import columns_per_scale, granularity_parameter, to_blocks
from compress_explorer.methods.sparsity import none_pruned
from compress_explorer.methods.uniform import (
    bits_parameter,
    group_size_parameter,
    round_to_grid,
    scheme_parameter,
    uniform_grid,
)
from compress_explorer.methods.weight_index import Floats, Integers
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter

FEW_PLACES = 8
"""Up to so many order statistics are selected one by one, more by sorting."""


def apply(
    weight: Tensor,
    kept: Tensor,
    *,
    bits: int = 4,
    percentile: float = 99.9,
    scheme: str = "symmetric",
    granularity: str = "tensor",
    group_size: int = 128,
) -> Code:
    """Rounds each weight to the nearest of evenly spaced levels, those beyond a percentile to the last level.

    Symmetric: the levels end at ±c, c the P-th percentile of |w|. Affine: they begin at the percentile
    (100 - P) / 2 and end at 100 - (100 - P) / 2, so that P per cent of the weights lie between; zero is always
    a level. Percentiles are interpolated linearly between the two nearest weights. With P = 100 this is
    `integer`. Levels and scales are as there. Wu et al. find the ranges of activations so, from |x|.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n], False where an earlier step pruned: left out of the percentiles.
        bits: width of one code, 1 to 8.
        percentile: P in per cent, 50 to 100.
        scheme: "symmetric" or "affine".
        granularity: "tensor", "channel" or "group": what a percentile is taken over.
        group_size: neighbouring columns that share a scale; only for "group".

    Returns:
        The code with grid "integer".
    """
    columns = columns_per_scale(weight, granularity, group_size)
    blocks = to_blocks(weight, granularity, columns)
    counted = to_blocks(kept, granularity, columns)
    values = blocks.abs() if scheme == "symmetric" else blocks
    ranked = (values if none_pruned(counted) else torch.where(counted, values, torch.inf)).cpu().numpy()
    counts = np.count_nonzero(counted.cpu().numpy(), axis=2)
    shares = _shares(percentile, scheme)
    ordered = _in_their_places(ranked, [place for share in shares for place in _neighbours(counts, share)[1:]])
    low, high = (
        torch.from_numpy(_quantiles(ordered, counts, share).astype(np.float32)).to(weight.device) for share in shares
    )
    return round_to_grid(blocks, uniform_grid(low, high, bits, scheme), bits, weight.shape)


def _shares(percentile: float, scheme: str) -> tuple[float, float]:
    """The shares of the ordered values (of the magnitudes, if symmetric) below the two ends."""
    share = percentile / 100
    return (share, share) if scheme == "symmetric" else ((1 - share) / 2, (1 + share) / 2)


def _quantiles(ordered: np.ndarray, counts: np.ndarray, share: float) -> Floats:
    """The quantile of the first `counts` of each row of ordered values, float64 [rows, groups]; 0 where none counts.

    Args:
        ordered: [rows, groups, size], increasing along the last axis.
        counts: int [rows, groups], how many of them count.
        share: 0 to 1.
    """
    place, below, above = _neighbours(counts, share)
    near, far = (
        np.take_along_axis(ordered, index[:, :, None], axis=2)[:, :, 0].astype(np.float64) for index in (below, above)
    )
    near, far = (np.where(counts > 0, end, 0.0) for end in (near, far))
    ends: Floats = near + (place - below) * (far - near)
    return ends


def _neighbours(counts: Integers, share: float) -> tuple[Floats, Integers, Integers]:
    """The place of a quantile among so many ordered values, and the whole places below and above it."""
    last = np.maximum(counts - 1, 0)
    place = share * last
    below = np.floor(place).astype(np.int64)
    return place, below, np.minimum(below + 1, last)


def _in_their_places(ranked: np.ndarray, places: Sequence[Integers]) -> np.ndarray:
    """The rows so far sorted that these places hold what they would if all were; few places need no whole sort."""
    wanted = np.unique(np.concatenate([place.ravel() for place in places]))
    return np.partition(ranked, wanted, axis=2) if wanted.size <= FEW_PLACES else np.sort(ranked, axis=2)


METHOD = Method(
    name="integer-percentile",
    label="Integer, clipped at a percentile",
    family="Uniform quantization",
    summary="Spends the levels on all but the most extreme weights, which go to the last level.",
    formula="ŵ = s·(clamp(⌊w/s⌉ + z, q_min, q_max) − z);  symmetric: s = c / (2^(b−1) − 1), c = quantile(|w|, P);  "
    "affine: from quantile(w, (1 − P)/2) to quantile(w, (1 + P)/2)",
    source="Wu et al. 2020 (arXiv 2004.09602), percentile calibration",
    parameters=(
        bits_parameter(default=4),
        Parameter(
            name="percentile",
            label="Percentile",
            kind="float",
            default=99.9,
            minimum=50.0,
            maximum=100.0,
            soft_minimum=99.0,
            step=0.05,
            help="How many per cent of the weights the levels span; the others are clipped.",
        ),
        scheme_parameter(),
        granularity_parameter("tensor", "channel", "group", default="tensor"),
        group_size_parameter(),
    ),
    scope="tensor",
    result="code",
    apply=apply,
)
