"""What one slider position shows: histogram, errors and sizes of a compressed model, counted exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compress_explorer.engine.steps import AllWeights, Weights
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.size import SizeReport
from compress_explorer.spec.sweep import Frame, Histogram, LayerError

BINS = 161
"""Odd, so that zero is the centre of the middle bin."""

MOST_LEVELS = 256


@dataclass(frozen=True)
class Axis:
    """The histogram's axis: BINS equal bins over [-limit, limit]."""

    limit: float

    @property
    def edges(self) -> np.ndarray:
        """The bins' bounds, float64 [BINS + 1]."""
        return np.linspace(-self.limit, self.limit, BINS + 1)

    def counts(self, values: Tensor) -> np.ndarray:
        """How many of `values` fall into each bin, int64 [BINS]; those beyond the ends go to the end bins."""
        scaled = (values.flatten().double() + self.limit) * (BINS / (2 * self.limit))
        index = scaled.long().clamp_(0, BINS - 1)
        return np.asarray(torch.bincount(index, minlength=BINS).cpu())


def axis_for(original: AllWeights, names: Sequence[str], largest: float = 0.0) -> Axis:
    """The axis that holds the original weights of the tensors `names`, and values up to `largest`."""
    limit = max([largest, *(float(original[name].matrix.abs().max()) for name in names)])
    return Axis(limit * 1.02 if limit > 0 else 1.0)


def exact_frame(
    value: Value,
    original: AllWeights,
    compressed: AllWeights,
    shown: Sequence[str],
    axis: Axis,
    before: np.ndarray,
    size: SizeReport,
) -> Frame:
    """The frame of one setting, every figure counted on the compressed weights.

    Args:
        value: the parameter's value.
        original: the weights before any step.
        compressed: the weights after all steps.
        shown: the tensors whose weights the histogram counts.
        axis: the histogram's axis.
        before: the counts of the original weights on it.
        size: the size of the compressed model.
    """
    sizes = {tensor.name: tensor for tensor in size.tensors}
    return Frame(
        value=value,
        exact=True,
        file=size.file,
        zeros=size.sparsity,
        histogram=histogram(original, compressed, shown, axis, before),
        errors=tuple(layer_error(name, original[name].matrix, compressed[name].matrix) for name in compressed),
        layer_bytes=tuple((name, int(sizes[name].bytes())) for name in compressed),
        layer_zeros=tuple((name, sizes[name].zeros / sizes[name].weights) for name in compressed),
        breakdown=tuple(size.breakdown().items()),
    )


def histogram(
    original: AllWeights, compressed: AllWeights, shown: Sequence[str], axis: Axis, before: np.ndarray
) -> Histogram:
    """The weights of the tensors `shown`, before and after, on one axis; exact zeros of the result apart."""
    after = np.zeros(BINS, dtype=np.int64)
    zeros_before = zeros_after = 0
    for name in shown:
        values = compressed[name].matrix
        nonzero = values[values != 0]
        after += axis.counts(nonzero)
        zeros_after += values.numel() - nonzero.numel()
        zeros_before += int((original[name].matrix == 0).sum())
    return Histogram(
        edges=tuple(axis.edges.tolist()),
        before=tuple(before.tolist()),
        after=tuple(after.tolist()),
        zeros_before=zeros_before,
        zeros_after=zeros_after,
        levels=levels({name: compressed[name] for name in shown}),
        threshold=threshold(original, compressed, shown),
    )


def count_before(original: AllWeights, shown: Sequence[str], axis: Axis) -> np.ndarray:
    """Counts of the original weights of the tensors `shown`, int64 [BINS]."""
    return np.asarray(np.sum([axis.counts(original[name].matrix) for name in shown], axis=0))


def levels(entries: Mapping[str, Weights]) -> tuple[float, ...]:
    """The values that the quantized weights of `entries` take; empty when there are more than MOST_LEVELS."""
    found: list[Tensor] = []
    for entry in entries.values():
        if entry.code is None or (entry.code.scale is not None and entry.code.scale.numel() > 1):
            return ()
        found.append(torch.unique(entry.matrix))
    union = torch.unique(torch.cat(found)) if found else torch.empty(0)
    return tuple(union.tolist()) if len(union) <= MOST_LEVELS else ()


def threshold(original: AllWeights, compressed: AllWeights, shown: Sequence[str]) -> float | None:
    """The magnitude that separates pruned from kept weights of the tensors `shown`; None when there is none."""
    largest_pruned, smallest_kept = 0.0, float("inf")
    for name in shown:
        kept = compressed[name].kept
        if kept is None:
            continue
        magnitude = original[name].matrix.abs()
        if not bool(kept.all()):
            largest_pruned = max(largest_pruned, float(magnitude[~kept].max()))
        if bool(kept.any()):
            smallest_kept = min(smallest_kept, float(magnitude[kept].min()))
    separated = 0 < largest_pruned <= smallest_kept
    return largest_pruned if separated else None


def layer_error(name: str, original: Tensor, compressed: Tensor) -> LayerError:
    """What compression did to the values of one tensor; sums in float64."""
    difference = original - compressed
    return LayerError(
        name=name,
        signal=float(original.double().square().sum()),
        noise=float(difference.double().square().sum()),
        largest=float(difference.abs().max()),
        weights=original.numel(),
    )
