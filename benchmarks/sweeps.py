"""All positions of a slider from the index of a layer, building it included, beside an oracle applied to each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import kmeans1d
import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import prune

from benchmarks.oracles import MILLION, layer
from compress_explorer.methods import integer, magnitude, power_of_two
from compress_explorer.methods.clusters import SortedNumbers
from compress_explorer.methods.optimal_clusters import optimal_centroids
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.weight_index import WeightIndex

SPARSITIES = [position / 21 for position in range(21)]
WIDTHS = range(2, 9)
CLUSTERS = range(2, 23)


@dataclass(frozen=True)
class SweepContest:
    """One slider's positions, all at once and one by one.

    Attributes:
        name: what is swept, and the oracle.
        ours: the figures of all positions, from the weights.
        oracle: the same figures by someone else's implementation.
        largest: the most weights that it is held on.
    """

    name: str
    ours: Callable[[Tensor], list[float]]
    oracle: Callable[[Tensor], list[float]]
    largest: int = 10**9


def zeros_by_index(weight: Tensor) -> list[float]:
    """How many weights magnitude pruning sets to zero, at each sparsity."""
    index = WeightIndex.build(weight)
    return [_within(index, magnitude.preview([index], sparsity=sparsity)[0]) for sparsity in SPARSITIES]


def _within(index: WeightIndex, entry: ScalarMap) -> float:
    below = index.count_below(entry.cuts)
    return float(below[-1] - below[0]) if len(below) else 0.0


def zeros_by_torch(weight: Tensor) -> list[float]:
    """The same with torch.nn.utils.prune."""
    modules = [prune.l1_unstructured(layer(weight.clone()), "weight", amount=sparsity) for sparsity in SPARSITIES]
    return [float((module.weight == 0).sum()) for module in modules]


def errors_by_index(weight: Tensor) -> list[float]:
    """The squared errors of integer, symmetric and affine, and power-of-two quantization, each of 2 to 8 bits."""
    index = WeightIndex.build(weight)
    maps: list[ScalarMap] = []
    for bits in WIDTHS:
        for scheme in ("symmetric", "affine"):
            maps += integer.preview([index], bits=bits, scheme=scheme, granularity="tensor") or []
        maps += power_of_two.preview([index], bits=bits) or []
    return [_squared_error(index, entry.cuts, entry.levels) for entry in maps]


def _squared_error(index: WeightIndex, cuts: np.ndarray, levels: np.ndarray) -> float:
    """Σ (w - level)² with the counts, sums and sums of squares between the cuts."""
    counts, sums, squares = np.diff(index.below(np.concatenate([[-np.inf], cuts, [np.inf]])), axis=1)
    return float((squares - 2 * levels * sums + np.square(levels) * counts).sum())


def errors_by_torch(weight: Tensor) -> list[float]:
    """The same with torch.fake_quantize_per_tensor_affine, and torch.bucketize among the powers of two."""
    found = []
    low, high = min(float(weight.min()), 0.0), max(float(weight.max()), 0.0)
    amax = max(-low, high)
    top = 2.0 ** math.floor(math.log2(4 * amax / 3))
    for bits in WIDTHS:
        limit, steps = 2 ** (bits - 1) - 1, 2**bits - 1
        found.append(torch.fake_quantize_per_tensor_affine(weight, amax / limit, 0, -limit, limit))
        scale = (high - low) / steps
        found.append(torch.fake_quantize_per_tensor_affine(weight, scale, round(-low / scale), 0, steps))
        powers = top * 2.0 ** -torch.arange(limit, dtype=torch.float64).flip(0)
        levels = torch.cat([-powers.flip(0), torch.zeros(1), powers]).float()
        found.append(levels[torch.bucketize(weight, (levels[:-1] + levels[1:]) / 2)])
    return [float((weight - decoded).square().sum(dtype=torch.float64)) for decoded in found]


def clusters_by_index(weight: Tensor) -> list[float]:
    """The squared errors of the best codebooks of 2 to 22 values."""
    index = WeightIndex.build(weight)
    numbers = SortedNumbers.of_index(index)
    books = [optimal_centroids(numbers, clusters) for clusters in CLUSTERS]
    return [_squared_error(index, (book[:-1] + book[1:]) / 2, book) for book in books]


def clusters_by_kmeans1d(weight: Tensor) -> list[float]:
    """The same by the exact algorithm of kmeans1d."""
    values = weight.flatten().numpy().astype(np.float64)
    found = [kmeans1d.cluster(values, clusters) for clusters in CLUSTERS]
    books = [(np.array(entry.centroids), np.array(entry.clusters)) for entry in found]
    return [float(np.square(values - centroids[places]).sum()) for centroids, places in books]


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest relative difference of two lists of figures; where theirs is 0, the absolute one."""
    pairs = zip(ours, theirs, strict=True)
    return max(abs(mine - other) / (other or 1.0) for mine, other in pairs)


SWEEPS = (
    SweepContest("zeros at 21 sparsities / torch.nn.utils.prune 21 times", zeros_by_index, zeros_by_torch),
    SweepContest("errors of 21 quantizers / torch, fake_quantize and bucketize", errors_by_index, errors_by_torch),
    SweepContest(
        "errors of 21 best codebooks / kmeans1d 21 times", clusters_by_index, clusters_by_kmeans1d, largest=MILLION
    ),
)
