"""Cutting a seeded, stratified part out of a labelled data set, independent of the order of its samples.

A sample's place is decided by a keyed hash of its own bytes, so the same images are chosen from every copy
of a data set, in whatever order it comes, by every version of every library.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

#: The key of every split of the zoo. Changing it invalidates the bundled weights' validation figures.
SEED = 20

Bytes = NDArray[np.uint8]
Indices = NDArray[np.int64]


def stratified_indices(images: Bytes, labels: Bytes, size: int, seed: int = SEED) -> Indices:
    """Choose `size` samples with the class shares of the whole set.

    Within a class the samples with the smallest BLAKE2b digests, keyed by `seed`, are taken.

    Args:
        images: ``[n, ...]`` uint8; the same pixel order for every copy of the data set.
        labels: ``[n]`` uint8.
        size: number of samples to choose, 0 to n.
        seed: key of the hash.

    Returns:
        The chosen indices in increasing order, ``[size]``.
    """
    digests = np.array([_digest(image, seed) for image in np.ascontiguousarray(images)])
    classes, totals = np.unique(labels, return_counts=True)
    chosen = []
    for label, count in zip(classes, apportion(totals, size), strict=True):
        members = np.flatnonzero(labels == label)
        chosen.append(members[np.argsort(digests[members], kind="stable")[:count]])
    return np.sort(np.concatenate(chosen))


def rest(length: int, chosen: Indices) -> Indices:
    """Return the indices below `length` that are not in `chosen`, in increasing order."""
    kept = np.ones(length, dtype=bool)
    kept[chosen] = False
    remaining: Indices = np.arange(length)[kept]
    return remaining


def apportion(totals: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Split `size` in proportion to `totals` by the largest remainder, so that the parts sum to `size`."""
    exact = totals * (size / totals.sum())
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    largest = np.argsort(counts - exact, kind="stable")[: size - int(counts.sum())]
    counts[largest] += 1
    return counts


def _digest(image: Bytes, seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8, key=seed.to_bytes(8)).digest()) >> 1
