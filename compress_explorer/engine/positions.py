"""Where the stored weights of a pruned tensor are: a bitmask, or the relative index of Deep Compression.

The relative index (Han, Mao and Dally, "Deep Compression", ICLR 2016, section 2 and figure 2) stores, before
each value, how many zeros precede it, as a gap of `width` bits. A longer run of zeros is broken by fillers:
entries with the largest gap, 2^width - 1, and the value zero. Where the values' grid has a level for zero, a
filler is therefore an ordinary entry, and stands for 2^width weights. Where it has none (binary weights), the
largest gap is reserved for fillers, whose value is ignored, and a filler stands for 2^width - 1 weights. That
number is the `span`. Zeros behind the last entry need no entry: the number of weights is known.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress_explorer.engine.packing import packed_bytes

WIDTHS = range(1, 9)

_PIECE = 2**16
"""Weights whose runs are counted at once, so that the borders stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Runs:
    """How often each run of zeros precedes a stored weight.

    Attributes:
        lengths: int64 [m], the distinct run lengths, ascending.
        counts: int64 [m], how many stored weights follow a run of that length.
    """

    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def total(self) -> int:
        """The number of stored weights."""
        return int(self.counts.sum())

    def fillers(self, span: int) -> int:
        """The number of fillers of the relative index, each standing for `span` zeros."""
        return int(np.dot(self.lengths // span, self.counts))


def run_lengths(present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The number of zeros right before each stored weight.

    Args:
        present: bool [n], True where a weight is stored.

    Returns:
        int64 [k], for the k stored weights in order.
    """
    return np.diff(np.flatnonzero(present), prepend=-1) - 1


def count_runs(present: NDArray[np.bool_]) -> Runs:
    """The histogram of `run_lengths(present)`, from the borders of the runs alone, a piece at a time."""
    inner = np.zeros(_PIECE + 1, dtype=np.int64)  # runs that begin and end in a piece, by their length
    across: Counter[int] = Counter()  # those that begin in an earlier one
    open_run = 0
    for start in range(0, present.size, _PIECE):
        piece = present[start : start + _PIECE]
        borders = np.flatnonzero(np.diff(piece, prepend=open_run == 0))
        if open_run:
            # Where the piece goes on with zeros, its first border ends them; else they end right at its beginning.
            if not borders.size:
                open_run += piece.size
                continue
            across[open_run + int(borders[0])] += 1
            borders = borders[1:]
        ends = borders[1::2]
        found = np.bincount(ends - borders[::2][: len(ends)])
        inner[: found.size] += found
        # A last run that no stored weight follows has no end, and does not count.
        open_run = piece.size - int(borders[-1]) if borders.size % 2 else 0
    return _runs(inner, across, int(np.count_nonzero(present)))


def _runs(inner: NDArray[np.int64], across: Mapping[int, int], stored: int) -> Runs:
    """Runs by their length, in two parts, and those of length zero: in front of all other stored weights."""
    lengths = np.flatnonzero(inner)
    counts = Counter(dict(zip(lengths.tolist(), inner[lengths].tolist(), strict=True)))
    counts.update(across)
    counts[0] = stored - counts.total()
    found = sorted(length for length, count in counts.items() if count)
    return Runs(np.array(found, dtype=np.int64), np.array([counts[length] for length in found], dtype=np.int64))


def span_of(width: int, zero_level: bool) -> int:
    """How many weights a filler stands for.

    Args:
        width: bits of a gap, 1 to 8.
        zero_level: whether the values' grid has a level for zero.
    """
    return (1 << width) - (not zero_level)


def relative_bytes(entries: int, width: int, bits: int) -> int:
    """Bytes of a relative index with its values; a filler is a whole entry.

    Args:
        entries: stored weights and fillers.
        width: bits of a gap.
        bits: bits of a value.
    """
    return packed_bytes(entries, width) + packed_bytes(entries, bits)


def best_width(runs: Runs, bits: int, zero_level: bool) -> tuple[int, int]:
    """The gap width, 1 to 8 bits, whose relative index is smallest for these runs; the smaller of two equals.

    Args:
        runs: the runs of zeros that were counted.
        bits: bits of a value.
        zero_level: whether the values' grid has a level for zero.

    Returns:
        The width, and the number of entries: stored weights and fillers.
    """
    stored = runs.total
    entries = {width: stored + runs.fillers(span_of(width, zero_level)) for width in WIDTHS}
    width = min(WIDTHS, key=lambda width: relative_bytes(entries[width], width, bits))
    return width, entries[width]


def gap_counts(runs: Runs, width: int) -> NDArray[np.int64]:
    """How often each gap occurs in a relative index without a zero level, fillers included.

    Args:
        runs: the runs of zeros that were counted.
        width: bits of a gap, 1 to 8.

    Returns:
        int64 [2^width]; the last is the number of fillers.
    """
    span = span_of(width, zero_level=False)
    counts = np.zeros(2**width, dtype=np.int64)
    np.add.at(counts, runs.lengths % span, runs.counts)
    counts[-1] += runs.fillers(span)
    return counts


def encode_gaps(runs: NDArray[np.int64], width: int, zero_level: bool) -> NDArray[np.uint8]:
    """The gaps of a relative index, fillers included.

    Args:
        runs: int64 [k], zeros before each stored weight, from `run_lengths`.
        width: bits of a gap, 1 to 8.
        zero_level: whether the values' grid has a level for zero.

    Returns:
        uint8 [entries], each below 2^width.
    """
    span = span_of(width, zero_level)
    fillers = runs // span
    last = np.cumsum(fillers + 1) - 1
    entries = int(last[-1]) + 1 if len(last) else 0
    gaps = np.full(entries, 2**width - 1, dtype=np.uint8)
    gaps[last] = runs - fillers * span
    return gaps


def decode_gaps(gaps: NDArray[np.uint8], width: int, zero_level: bool) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The inverse of `encode_gaps`: which weight each entry stands for.

    Args:
        gaps: uint8 [entries].
        width: bits of a gap, 1 to 8.
        zero_level: whether the values' grid has a level for zero.

    Returns:
        positions int64 [entries], ascending, and bool [entries], True for the entries that hold a value. With
        a zero level all do: a filler's is zero. Without, fillers do not.
    """
    if zero_level:
        return np.cumsum(gaps.astype(np.int64) + 1) - 1, np.ones(len(gaps), dtype=np.bool_)
    holds_value = gaps != 2**width - 1
    return np.cumsum(gaps.astype(np.int64) + holds_value) - 1, holds_value
