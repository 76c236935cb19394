"""What one slider position shows: histogram, errors and sizes of a compressed model, counted exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from compress_explorer.engine.contents import count_zeros
from compress_explorer.engine.pieces import pieces
from compress_explorer.engine.weights import AllWeights, Weights
from compress_explorer.methods.code import Code
from compress_explorer.methods.formats import FORMATS
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.size import SizeReport
from compress_explorer.spec.sweep import Frame, Histogram, LayerError

BINS = 161
"""Odd, so that zero is the centre of the middle bin."""

MOST_LEVELS = 256

MAGNITUDE, INFINITY = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)
"""Of a float32's pattern: the bits that are not the sign, and the pattern of infinity."""


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
        found = np.zeros(BINS, dtype=np.int64)
        for (piece,) in pieces(values):
            scaled = piece * np.float64(BINS / (2 * self.limit))
            scaled += BINS / 2
            np.clip(scaled, 0, BINS - 1, out=scaled)
            found += np.bincount(scaled.astype(np.int64), minlength=BINS)
        return found


def axis_for(original: AllWeights, names: Sequence[str], largest: float = 0.0) -> Axis:
    """The axis that holds the original weights of the tensors `names`, and values up to `largest`."""
    return axis_up_to(max([largest, *(_largest_magnitude(original[name].matrix) for name in names)]))


def axis_up_to(largest: float) -> Axis:
    """The axis that holds magnitudes up to `largest`."""
    return Axis(largest * 1.02 if largest > 0 else 1.0)


def _largest_magnitude(values: Tensor) -> float:
    low, high = values.aminmax()
    return max(-float(low), float(high))


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
    return count_zeros(matrix) / matrix.numel()


def histogram(
    original: AllWeights, compressed: AllWeights, shown: Sequence[str], axis: Axis, before: np.ndarray
) -> Histogram:
    """The weights of the tensors `shown`, before and after, on one axis; exact zeros of the result apart."""
    after = np.zeros(BINS, dtype=np.int64)
    zeros_before = zeros_after = 0
    for name in shown:
        values = compressed[name].matrix
        after += axis.counts(values)
        zeros_after += count_zeros(values)
        zeros_before += count_zeros(original[name].matrix)
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
    largest_pruned, smallest_kept = np.uint32(0), INFINITY
    for name in shown:
        kept = compressed[name].kept
        if kept is None:
            continue
        for values, flags in pieces(original[name].matrix, kept):
            # Patterns of magnitudes are in the magnitudes' order; masked as whole numbers no branch is mispredicted.
            magnitudes = values.view(np.uint32) & MAGNITUDE
            pruned = flags.astype(np.uint32) - np.uint32(1)  # all bits are set where a weight was pruned
            largest_pruned = max(largest_pruned, (magnitudes & pruned).max())
            smallest_kept = min(smallest_kept, (magnitudes | pruned).min())
    return float(largest_pruned.view(np.float32)) if 0 < largest_pruned <= smallest_kept else None


def layer_error(name: str, original: Tensor, compressed: Tensor) -> LayerError:
    """What compression did to the values of one tensor; sums in float64."""
    signal = noise = largest = 0.0
    for first, second in pieces(original, compressed):
        before = first.astype(np.float64)
        difference = before - second
        signal += float(np.square(before).sum())
        noise += float(np.square(difference).sum())
        largest = max(largest, float(np.abs(difference).max()))
    return LayerError(name, signal, noise, largest, original.numel())
