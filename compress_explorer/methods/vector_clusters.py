"""k-means of vectors, some of whose coordinates may count for nothing: pruned weights, or the end of a row."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compress_explorer.methods.weight_index import Floats

CHUNK = 8192
"""Vectors treated at once: so many stay in the cache from one operation to the next."""

PRODUCT = 2**18
"""Multiplications of one product of matrices: so few are done in one thread. Threads that wait for each other over
small products take many times as long where the processor is busy."""

Codes = npt.NDArray[np.int64]
"""The place of a centroid for each of m vectors, [m]."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """Vectors, and which of their coordinates count.

    Attributes:
        values: float64 [d, m], one column a vector, zero where a coordinate does not count.
        counts: bool [d, m].
    """

    values: Floats
    counts: npt.NDArray[np.bool_]

    @property
    def number(self) -> int:
        """How many vectors there are, m."""
        return int(self.values.shape[1])

    def squared_distances(self, centroids: Floats) -> Floats:
        """Between each vector and the centroid beside it, over the coordinates that count: float64 [m].

        Args:
            centroids: float64 [d, m], or one for all, [d, 1].
        """
        found = np.empty(self.number)
        for start in range(0, self.number, CHUNK):
            part = slice(start, start + CHUNK)
            beside = centroids if centroids.shape[1] == 1 else centroids[:, part]
            difference = self.values[:, part] - beside
            difference *= self.counts[:, part]
            difference *= difference
            found[part] = difference.sum(axis=0)
        return found


def spread_start(vectors: Vectors, clusters: int, seed: int) -> tuple[Floats, Codes]:
    """Vectors to begin with, drawn far from each other: k-means++.

    The first is any; each further one is drawn with a probability proportional to its squared distance to the nearest
    of those before. So none is drawn twice, and there are fewer than `clusters` where all are at no distance.

    Args:
        vectors: at least one.
        clusters: k.
        seed: of the private random generator.

    Returns:
        The drawn vectors, float64 [d, k or fewer], and the nearest of them to each vector.
    """
    random = np.random.default_rng(seed)
    drawn = [int(random.integers(vectors.number))]
    nearest = np.zeros(vectors.number, dtype=np.int64)
    distances = vectors.squared_distances(vectors.values[:, drawn])
    while len(drawn) < clusters:
        reached = np.cumsum(distances)
        if reached[-1] == 0:
            break
        place = np.searchsorted(reached, random.random() * reached[-1], side="right")
        drawn.append(min(int(place), vectors.number - 1))
        others = vectors.squared_distances(vectors.values[:, drawn[-1:]])
        nearest[others < distances] = len(drawn) - 1
        np.minimum(distances, others, out=distances)
    return vectors.values[:, drawn], nearest


def nearest_centroids(vectors: Vectors, centroids: Floats) -> Codes:
    """The nearest centroid to each vector over the coordinates that count; of equally near ones the first.

    As Σ x² is the same for all, Σ (c² − 2 x c) is compared: one product of matrices.

    Args:
        vectors: what is clustered.
        centroids: float64 [d, k].
    """
    table = np.concatenate([-2 * centroids, np.square(centroids)])
    codes = np.empty(vectors.number, dtype=np.int64)
    step = max(PRODUCT // table.size, 1)
    for start in range(0, vectors.number, step):
        part = slice(start, start + step)
        known = np.concatenate([vectors.values[:, part], vectors.counts[:, part]])
        codes[part] = (known.T @ table).argmin(axis=1)
    return codes


def lloyd_of_vectors(vectors: Vectors, centroids: Floats, iterations: int) -> Floats:
    """Moves each centroid to the mean of the vectors nearest to it, until none changes its cluster.

    Args:
        vectors: what is clustered.
        centroids: where to begin, float64 [d, k].
        iterations: the most steps.

    Returns:
        float64 [d, k].
    """
    codes = np.empty(0, dtype=np.int64)
    for _ in range(iterations):
        moved = nearest_centroids(vectors, centroids)
        if np.array_equal(moved, codes):
            break
        codes = moved
        centroids = means_of_clusters(vectors, codes, centroids)
    return centroids


def means_of_clusters(vectors: Vectors, codes: Codes, centroids: Floats) -> Floats:
    """The mean of each cluster in every coordinate, over its vectors in which that coordinate counts; float64 [d, k].

    A coordinate that counts in none of them stays. Centroids without any vector go to the vectors that are farthest
    from their own centroids, one to each.

    Args:
        vectors: what is clustered.
        codes: the cluster of each.
        centroids: those of now, float64 [d, k].
    """
    clusters = centroids.shape[1]
    sums = np.stack([np.bincount(codes, values, minlength=clusters) for values in vectors.values])
    counts = np.stack([np.bincount(codes, counted, minlength=clusters) for counted in vectors.counts])
    means: Floats = np.where(counts > 0, sums / np.maximum(counts, 1), centroids)
    empty = np.flatnonzero(np.bincount(codes, minlength=clusters) == 0)
    if empty.size:
        farthest = np.argsort(vectors.squared_distances(centroids[:, codes]))[::-1][: empty.size]
        means[:, empty] = vectors.values[:, farthest]
    return means
