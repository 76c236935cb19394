"""The best k clusters of numbers on a line, by dynamic programming."""

import numpy as np
import numpy.typing as npt

from compress_explorer.methods.clusters import SortedNumbers, lloyd, means_between
from compress_explorer.methods.weight_index import Floats

MOST_BINS = 2048
"""Beyond so many different numbers, neighbours are put together first."""

Places = npt.NDArray[np.int64]


def optimal_centroids(numbers: SortedNumbers, clusters: int) -> Floats:
    """The centroids with the least sum of squared distances, float64 [clusters], increasing.

    The clusters of the best clustering are intervals. With D_k(j) the least error of the first j numbers in k
    clusters, D_k(j) = min over i of D_(k-1)(i) + error(i..j), and the best i grows with j. So the middle j is
    solved first, and its i bounds those of both halves: O(k m log m) for m numbers.

    Up to 2,048 different numbers the result is the optimum. Of more, neighbours are put into about as many bins, half
    of them equally wide and half equally full; the best clustering of these then begins Lloyd's algorithm on the
    numbers themselves.

    Args:
        numbers: at least as many different ones as there are clusters.
        clusters: 1 or more.
    """
    edges = _bin_edges(numbers)
    places = edges[_best_boundaries(numbers.before[:, edges], clusters)]
    centroids = means_between(numbers, places, np.zeros(clusters))
    return lloyd(numbers, centroids)


def _bin_edges(numbers: SortedNumbers) -> Places:
    """Where bins of neighbouring numbers begin, and the end; equal numbers share a bin. int64 [bins + 1]."""
    values = numbers.values
    starts = np.flatnonzero(np.diff(values, prepend=-np.inf))
    if starts.size > MOST_BINS:
        wide = np.searchsorted(values, np.linspace(values[0], values[-1], MOST_BINS // 2, endpoint=False))
        full = np.searchsorted(values, numbers.at_rank(np.linspace(0, numbers.count, MOST_BINS // 2, endpoint=False)))
        starts = np.union1d(wide, full)
    return np.append(starts, values.size)


def _best_boundaries(before: Floats, clusters: int) -> Places:
    """The first bin of every cluster but the first, for the clustering of least error, int64 [clusters - 1].

    Args:
        before: float64 [3, bins + 1], count, sum and sum of squares of all numbers before each bin.
        clusters: at most the number of bins.
    """
    counts = before[0]
    # The error of a cluster is its sum of squares, which all clusterings have in common, less sum² / count.
    # About the mean the sums are small, and lose little to rounding.
    sums = before[1] - counts * (before[1, -1] / counts[-1])
    schedule = _schedule(counts.size - 1)
    best = np.append(0.0, -np.square(sums[1:]) / counts[1:])
    choices = []
    for _ in range(clusters - 1):
        best, choice = _one_more_cluster(best, counts, sums, schedule)
        choices.append(choice)
    boundaries = [counts.size - 1]
    for choice in reversed(choices):
        boundaries.append(int(choice[boundaries[-1]]))
    return np.array(boundaries[:0:-1], dtype=np.int64)


def _schedule(bins: int) -> list[Places]:
    """1..bins in rounds, int64 [3, n] each: a number, the next lower one of earlier rounds or 0, and the next higher.

    Where no higher one has been, `bins + 1` stands.
    """
    rounds = []
    step = 1 << bins.bit_length() - 1
    while step:
        middle = np.arange(step, bins + 1, 2 * step)
        rounds.append(np.stack([middle, middle - step, np.minimum(middle + step, bins + 1)]))
        step //= 2
    return rounds


def _one_more_cluster(best: Floats, counts: Floats, sums: Floats, schedule: list[Places]) -> tuple[Floats, Places]:
    """Least errors with one more cluster, float64 [bins + 1], and where the last cluster then begins."""
    result = np.zeros_like(best)
    choice = np.zeros(best.size + 1, dtype=np.int64)
    choice[-1] = best.size - 1
    for middle, lower, higher in schedule:
        first = choice[lower]
        widths = np.maximum(np.minimum(choice[higher], middle - 1) - first, 0) + 1
        offsets = np.cumsum(widths) - widths
        begin = np.arange(widths.sum()) + np.repeat(first - offsets, widths)
        end = np.repeat(middle, widths)
        errors = best[begin] - np.square(sums[end] - sums[begin]) / (counts[end] - counts[begin])
        least = np.minimum.reduceat(errors, offsets)
        candidates = np.where(errors == np.repeat(least, widths), begin, best.size)
        result[middle] = least
        choice[middle] = np.minimum.reduceat(candidates, offsets)
    return result, choice[:-1]
