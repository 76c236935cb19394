"""Weight sharing: a codebook of k values found by k-means, and each weight's place in it."""

import numpy as np
import torch
from torch import Tensor

from compress_explorer.methods.clusters import (
    SortedNumbers,
    density_centroids,
    linear_centroids,
    lloyd,
    random_centroids,
)
from compress_explorer.methods.code import Code
from compress_explorer.methods.optimal_clusters import optimal_centroids
from compress_explorer.methods.seed import seed_parameter
from compress_explorer.methods.weight_index import Floats
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(weight: Tensor, kept: Tensor, *, clusters: int = 16, start: str = "linear", seed: int = 0) -> Code:
    """Replaces each weight by the nearest of k shared values, which k-means places.

    Lloyd's algorithm moves k centroids, until no weight changes its cluster, from a start: "linear", evenly spaced
    over the range; "density", at evenly spaced quantiles; "random", at k of the weights. It ends in a local optimum;
    "optimal" gives the global one (of more than 2,048 different weights nearly so, see `optimal_centroids`). A
    weight halfway between two centroids goes to the lower one. The paper then trains the centroids; here they stay.

    Where there are no more different weights than clusters, each is a centroid of its own and the codebook has only
    these.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n], False where an earlier step pruned: left out of the clustering; the file stores no
            value for them.
        clusters: k, the number of shared values, 2 to 256.
        start: "linear", "density", "random" or "optimal".
        seed: of the private random generator; only for the start "random".

    Returns:
        The code with grid "codebook": one increasing codebook [1, k] for the tensor and ⌈log2 k⌉ bits.
    """
    values = weight[kept].cpu().numpy()
    codebook = torch.from_numpy(_codebook(values, clusters, start, seed)).to(weight.device)
    cuts = (codebook[:-1].double() + codebook[1:].double()) / 2
    codes = torch.bucketize(weight.double(), cuts)
    return Code(
        codes=codes.to(torch.uint8),
        bits=_bits(len(codebook)),
        grid="codebook",
        codebook=codebook[None],
        group_size=weight.shape[1],
    )


def _codebook(values: np.ndarray, clusters: int, start: str, seed: int) -> np.ndarray:
    """The shared values of these weights, float32 [k], increasing."""
    if values.size == 0:
        return np.zeros(1, dtype=np.float32)
    numbers = SortedNumbers.of_weights(values)
    different = numbers.values[np.flatnonzero(np.diff(numbers.values, prepend=-np.inf))]
    if different.size <= clusters:
        return different.astype(np.float32)
    return _centroids(numbers, clusters, start, seed).astype(np.float32)


def _centroids(numbers: SortedNumbers, clusters: int, start: str, seed: int) -> Floats:
    if start == "optimal":
        return optimal_centroids(numbers, clusters)
    if start == "random":
        return lloyd(numbers, random_centroids(numbers, clusters, seed))
    begin = linear_centroids if start == "linear" else density_centroids
    return lloyd(numbers, begin(numbers, clusters))


def _bits(levels: int) -> int:
    """⌈log2 levels⌉, at least 1."""
    return max((levels - 1).bit_length(), 1)


METHOD = Method(
    name="k-means",
    label="Weight sharing (k-means)",
    family="Formats and codebooks",
    summary="Replaces the weights of a layer by k shared values, placed where they make the squared error small.",
    formula="ŵ = c_j,  j = argmin |w − c_j|;  c = argmin Σ (w − ŵ)² over k values, from a start by Lloyd’s algorithm: "
    "c_j ← mean of the weights nearest to c_j",
    source="Han, Mao & Dally 2016, Deep Compression (arXiv 1510.00149) §3",
    parameters=(
        Parameter(
            name="clusters",
            label="Clusters",
            kind="integer",
            default=16,
            minimum=2,
            maximum=256,
            scale="log2",
            unit="values",
            help="How many values the weights of a layer share; k of them take ⌈log₂ k⌉ bits a weight.",
        ),
        Parameter(
            name="start",
            label="Start",
            kind="choice",
            default="linear",
            choices=("linear", "density", "random", "optimal"),
            help="Where the centroids begin: evenly spaced, as dense as the weights, or at random; or the optimum.",
        ),
        seed_parameter(
            "Which weights a random start draws: the same seed always draws the same ones.", when=("start", ("random",))
        ),
    ),
    scope="tensor",
    result="code",
    apply=apply,
)
