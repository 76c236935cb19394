"""Pruning below a threshold that is a multiple of the layer's standard deviation."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from compress_explorer.methods.magnitude import threshold_map
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.sparsity import none_pruned
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(weight: Tensor, kept: Tensor, *, quality: float = 1.0) -> Tensor:
    """A mask that drops every weight of magnitude up to quality * σ, so that layers differ in their sparsity.

    σ is the population standard deviation of the layer's kept weights, in float64. It is a deviation from their
    mean, while the threshold applies to the distance from zero: of a layer whose weights lie far from zero, little
    is dropped. At quality 0 only zeros are.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n], False where an earlier step pruned: left out of σ. Those stay pruned.
        quality: the threshold in standard deviations, 0 or more.

    Returns:
        bool [channels, n], True where a weight is kept.
    """
    # numpy selects and compares a million numbers several times as fast as torch.
    left = weight if none_pruned(kept) else torch.from_numpy(weight.cpu().numpy()[kept.cpu().numpy()])
    if left.numel() == 0:
        return kept.clone()
    threshold = quality * float(left.double().std(correction=0))
    above = np.abs(weight.cpu().numpy()) > np.float32(_rounded_down(threshold))
    return torch.from_numpy(above & kept.cpu().numpy()).to(kept.device)


def _rounded_down(threshold: float) -> float:
    """The largest float32 that is not above `threshold`: the same float32 numbers exceed both."""
    rounded = np.float32(min(threshold, float(np.finfo(np.float32).max)))
    return float(np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded)


def preview(indices: Sequence[WeightIndex], *, quality: float = 1.0) -> list[ScalarMap]:
    """The threshold of every layer, one map an index: exact, while the weights in its bin are cut as if even."""
    return [threshold_map(quality * _standard_deviation(index)) for index in indices]


def _standard_deviation(index: WeightIndex) -> float:
    count = max(index.count, 1)
    return math.sqrt(max(index.sum_of_squares / count - (index.sum / count) ** 2, 0.0))


METHOD = Method(
    name="sigma-threshold",
    label="Threshold in standard deviations",
    family="Pruning",
    summary="Removes the weights below a multiple of their layer's standard deviation.",
    formula="W′ = M ⊙ W,  M = 1[|w| > q·σ],  σ the standard deviation of the layer's weights",
    source="Han, Pool, Tran & Dally 2015 (arXiv 1506.02626) §4: quality parameter times standard deviation",
    parameters=(
        Parameter(
            name="quality",
            label="Threshold",
            kind="float",
            default=1.0,
            minimum=0.0,
            maximum=100.0,
            soft_maximum=3.0,
            step=0.05,
            unit="σ",
            help="Weights up to this many standard deviations of their layer are removed.",
        ),
    ),
    scope="tensor",
    result="mask",
    apply=apply,
    preview=preview,
)
