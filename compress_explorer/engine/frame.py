"""What one slider position shows: histogram, errors and sizes of a compressed model, counted exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from compress_explorer.engine.weights import AllWeights, Weights
from compress_explorer.methods.code import Code
from compress_explorer.methods.formats import FORMATS
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
        scaled = values.detach().cpu().numpy().ravel() * np.float64(BINS / (2 * self.limit))
        scaled += BINS / 2
        np.clip(scaled, 0, BINS - 1, out=scaled)
        return np.bincount(scaled.astype(np.int64), minlength=BINS)


def axis_for(original: AllWeights, names: Sequence[str], largest: float = 0.0) -> Axis:
    """The axis that holds the original weights of the tensors `names`, and values up to `largest`."""
    limit = max([largest, *(float(original[name].matrix.abs().max()) for name in names)])
    return Axis(limit * 1.02 if limit > 0 else 1.0)


def exact_frame(
    value: Value,
    original: AllWeights,
    compressed: AllWeights,
    parts: Mapping[str, Sequence[str]],
    shown: Sequence[str],
    axis: Axis,
    before: np.ndarray,
    size: SizeReport,
) -> Frame:
    """The frame of one setting, every figure counted on the compressed weights.

    Args:
        value: the parameter's value.
        original: the weights before any step.
        compressed: the weights after all steps, in terms of the original tensors.
        parts: the names of the stored tensors that stand for each of these.
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
        layer_bytes=tuple((name, sum(int(sizes[part].bytes()) for part in parts[name])) for name in compressed),
        layer_zeros=tuple((name, _zeros(compressed[name].matrix)) for name in compressed),
        breakdown=tuple(size.breakdown().items()),
    )


def _zeros(matrix: Tensor) -> float:
    """The fraction of exact zeros."""
    return (matrix.numel() - int(torch.count_nonzero(matrix))) / matrix.numel()


def histogram(
    original: AllWeights, compressed: AllWeights, shown: Sequence[str], axis: Axis, before: np.ndarray
) -> Histogram:
    """The weights of the tensors `shown`, before and after, on one axis; exact zeros of the result apart."""
    after = np.zeros(BINS, dtype=np.int64)
    zeros_before = zeros_after = 0
    for name in shown:
        values = compressed[name].matrix
        after += axis.counts(values)
        zeros_after += values.numel() - int(torch.count_nonzero(values))
        zeros_before += original[name].matrix.numel() - int(torch.count_nonzero(original[name].matrix))
    after[BINS // 2] -= zeros_after
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
    """The values that the quantized weights of `entries` can take, whether any does or not.

    Empty when one of them is not quantized, when the levels differ by channel or group, or are more than MOST_LEVELS.
    """
    found: set[float] = set()
    for entry in entries.values():
        grid = None if entry.code is None else _grid(entry.code)
        if grid is None:
            return ()
        found.update(grid.tolist())
        if entry.kept is not None and not bool(entry.kept.all()):
            found.add(0.0)
    return tuple(sorted(found)) if len(found) <= MOST_LEVELS else ()


def _grid(code: Code) -> Tensor | None:
    """The level of every code that is in use, float32 [levels]; None when levels differ by channel or group."""
    scales = 1 if code.scale is None else code.scale.numel()
    codebooks = 1 if code.codebook is None else len(code.codebook)
    if scales > 1 or codebooks > 1:
        return None
    if code.grid == "vectors":
        assert code.codebook is not None
        return code.codebook.flatten()
    used = _used(code).to(code.codes.device)
    return replace(code, codes=used[None], group_size=len(used)).decode().flatten()


def _used(code: Code) -> Tensor:
    """The codes in use, uint8 [levels]."""
    if code.grid in FORMATS:
        return FORMATS[code.grid].used
    count = 1 << code.bits
    if code.codebook is not None:
        count = code.codebook.shape[1]
    elif code.grid == "power-of-two":
        count -= 1
    elif code.zero_point is None:
        count = min(count, 1 - 2 * code.offset)  # symmetric: as many below zero as above
    return torch.arange(count, dtype=torch.uint8)


def threshold(original: AllWeights, compressed: AllWeights, shown: Sequence[str]) -> float | None:
    """The magnitude that separates pruned from kept weights of the tensors `shown`; None when there is none."""
    largest_pruned, smallest_kept = 0.0, float("inf")
    for name in shown:
        kept = compressed[name].kept
        if kept is None:
            continue
        magnitude = original[name].matrix.abs()
        largest_pruned = max(largest_pruned, float(torch.where(kept, 0.0, magnitude).max()))
        smallest_kept = min(smallest_kept, float(torch.where(kept, magnitude, torch.inf).min()))
    separated = 0 < largest_pruned <= smallest_kept
    return largest_pruned if separated else None


def layer_error(name: str, original: Tensor, compressed: Tensor) -> LayerError:
    """What compression did to the values of one tensor; sums in float64."""
    before = original.double().flatten()
    difference = before - compressed.double().flatten()
    return LayerError(
        name=name,
        signal=float(before @ before),
        noise=float(difference @ difference),
        largest=float(difference.abs().max()),
        weights=original.numel(),
    )
