"""k-means of numbers on a line: sorted, with running sums, a step costs k look-ups whatever the number of weights."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compress_explorer.methods.weight_index import Floats, WeightIndex

MOST_STEPS = 10_000


@dataclass(frozen=True, eq=False)
class SortedNumbers:
    """Numbers in increasing order, each with a count of its own.

    Attributes:
        values: float64 [m], increasing.
        before: float64 [3, m + 1], the count, the sum and the sum of squares of all that stand before each.
    """

    values: Floats
    before: Floats

    @classmethod
    def of_weights(cls, weights: npt.NDArray[np.float32]) -> "SortedNumbers":
        """Sorts the weights, [m] in any order; each counts once."""
        values = np.sort(weights).astype(np.float64)
        return cls(values, _running(np.stack([np.ones_like(values), values, np.square(values)])))

    @classmethod
    def of_index(cls, index: WeightIndex) -> "SortedNumbers":
        """The mean of each bin of an index, which counts as often as the bin has weights."""
        return cls(index.moments[1] / index.moments[0], index.before)

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return int(self.before[0, -1])

    def at_rank(self, ranks: Floats | npt.NDArray[np.int64]) -> Floats:
        """The number with so many numbers before it, rounded down; of the highest rank for those beyond."""
        places = np.searchsorted(self.before[0, 1:], ranks, side="right")
        found: Floats = self.values[np.minimum(places, self.values.size - 1)]
        return found


def _running(moments: Floats) -> Floats:
    return np.concatenate([np.zeros((3, 1)), np.cumsum(moments, axis=1)], axis=1)


def linear_centroids(numbers: SortedNumbers, clusters: int) -> Floats:
    """Evenly spaced from the smallest to the largest number, float64 [clusters]."""
    return np.linspace(numbers.values[0], numbers.values[-1], clusters)


def density_centroids(numbers: SortedNumbers, clusters: int) -> Floats:
    """The quantiles (i + 1/2) / clusters, i = 0, 1, ...: as many numbers for each, float64 [clusters]."""
    return numbers.at_rank((np.arange(clusters) + 0.5) / clusters * numbers.count)


def random_centroids(numbers: SortedNumbers, clusters: int, seed: int) -> Floats:
    """Numbers drawn without putting back, in increasing order, float64 [clusters]."""
    drawn = np.random.default_rng(seed).choice(numbers.count, size=clusters, replace=False)
    return numbers.at_rank(np.sort(drawn))


def lloyd(numbers: SortedNumbers, centroids: Floats) -> Floats:
    """Moves each centroid to the mean of the numbers nearest to it until none changes its cluster.

    A number halfway between two centroids belongs to the lower one. A centroid that has no numbers stays.

    Args:
        numbers: what is clustered.
        centroids: where to begin, float64 [clusters], increasing.

    Returns:
        float64 [clusters], increasing. At most 10,000 steps are taken.
    """
    places = np.empty(0, dtype=np.int64)
    for _ in range(MOST_STEPS):
        cuts = (centroids[:-1] + centroids[1:]) / 2
        moved = np.searchsorted(numbers.values, cuts, side="right")
        if np.array_equal(moved, places):
            break
        places = moved
        centroids = means_between(numbers, places, centroids)
    return centroids


def means_between(numbers: SortedNumbers, places: npt.NDArray[np.int64], otherwise: Floats) -> Floats:
    """The mean of the numbers of each cluster, float64 [clusters].

    Args:
        numbers: what is clustered.
        places: int64 [clusters - 1], the first number of every cluster but the first.
        otherwise: float64 [clusters], the result for a cluster without numbers.
    """
    ends = np.concatenate([[0], places, [numbers.values.size]])
    counts, sums = np.diff(numbers.before[:2, ends], axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), otherwise)
