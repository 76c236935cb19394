"""Product quantization: neighbouring weights share a code, that of the nearest of k vectors found by k-means."""

import numpy as np
import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.seed import seed_parameter
from compress_explorer.methods.vector_clusters import (
    Codes,
    Vectors,
    lloyd_of_vectors,
    nearest_centroids,
    spread_start,
)
from compress_explorer.methods.weight_index import Floats
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(
    weight: Tensor, kept: Tensor, *, dimension: int = 4, clusters: int = 256, iterations: int = 25, seed: int = 0
) -> Code:
    """Replaces each subvector of `dimension` neighbouring weights of a row by the nearest of k shared ones.

    All rows share one codebook, which Lloyd's algorithm moves from a start by k-means++, for some iterations or until
    no subvector changes its codeword; it ends near a local optimum. Of a convolution neighbours are the positions of
    one kernel, then the next input channel's.

    Only weights that are kept count, in distances and in means: pruned ones stay zero whatever the codeword says, and
    a subvector of pruned weights alone is left out. What a row leaves over is a shorter last subvector, in which only
    its own weights count; a row of fewer weights than `dimension` is one subvector.

    Where there are no more different subvectors than clusters, each is a codeword of its own.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n], False where an earlier step pruned.
        dimension: how many weights share a code, 1 or more.
        clusters: k, the number of codewords, 2 to 256.
        iterations: the most steps of Lloyd's algorithm, 1 or more.
        seed: of the private random generator that draws the start.

    Returns:
        The code with grid "vectors": one codebook [1, k, dimension] for the tensor and ⌈log2 k⌉ bits a subvector.
    """
    length = min(dimension, weight.shape[1])
    known = _vectors(weight, kept, length)
    some = np.flatnonzero(known.counts.any(axis=0))
    codes = np.zeros(known.number, dtype=np.uint8)
    left = known if some.size == known.number else Vectors(known.values[:, some], known.counts[:, some])
    codebook, codes[some] = _quantized(left, clusters, iterations, seed)
    return Code(
        codes=torch.from_numpy(codes).reshape(len(weight), -1).to(weight.device),
        bits=max((codebook.shape[1] - 1).bit_length(), 1),
        grid="vectors",
        codebook=torch.from_numpy(codebook.T.astype(np.float32))[None].contiguous().to(weight.device),
        group_size=weight.shape[1],
    )


def _vectors(weight: Tensor, kept: Tensor, length: int) -> Vectors:
    """The subvectors row by row; where a row ends within one, its other coordinates do not count."""
    short = (0, -weight.shape[1] % length)
    values, counts = (
        torch.nn.functional.pad(matrix, short).reshape(-1, length).T.contiguous().cpu().numpy()
        for matrix in (torch.where(kept, weight, 0.0).double(), kept)
    )
    return Vectors(values, counts)


def _quantized(vectors: Vectors, clusters: int, iterations: int, seed: int) -> tuple[Floats, Codes]:
    """The codewords, float64 [d, k], each number one of float32, and the nearest to each vector."""
    if vectors.number == 0:
        return np.zeros((len(vectors.values), 1)), np.zeros(0, dtype=np.int64)
    centroids, codes = spread_start(vectors, clusters, seed)
    if not vectors.squared_distances(centroids[:, codes]).any():
        return centroids, codes
    centroids = lloyd_of_vectors(vectors, centroids, iterations)
    rounded = centroids.astype(np.float32).astype(np.float64)
    return rounded, nearest_centroids(vectors, rounded)


METHOD = Method(
    name="product-quantization",
    label="Product quantization",
    family="Formats and codebooks",
    summary="Cuts the rows of a layer into short vectors and replaces each by one of k shared ones, found by k-means.",
    formula="ŵ_i = c_j,  j = argmin ‖w_i − c_j‖²,  w_i the i-th d neighbours of a row;  c_j ← mean of the w_i nearest "
    "to c_j",
    source="Gong, Liu, Yang & Bourdev 2014 (arXiv 1412.6115), with one codebook a layer as Stock et al. 2020 "
    "(arXiv 1907.05686); Jégou, Douze & Schmid 2011; start: Arthur & Vassilvitskii 2007",
    parameters=(
        Parameter(
            name="dimension",
            label="Subvector",
            kind="integer",
            default=4,
            minimum=1,
            maximum=64,
            soft_minimum=2,
            soft_maximum=8,
            unit="weights",
            help="How many neighbouring weights of a row share one code; 9 are the kernel of a 3×3 convolution.",
        ),
        Parameter(
            name="clusters",
            label="Codewords",
            kind="integer",
            default=256,
            minimum=2,
            maximum=256,
            scale="log2",
            unit="vectors",
            help="How many vectors a layer shares; k of them take ⌈log₂ k⌉ bits a subvector, and a table of them.",
        ),
        Parameter(
            name="iterations",
            label="Iterations",
            kind="integer",
            default=25,
            minimum=1,
            maximum=10_000,
            soft_maximum=100,
            unit="steps",
            help="How often, at most, the codewords move to the mean of their subvectors.",
        ),
        seed_parameter("Which subvectors the start draws: the same seed always draws the same ones."),
    ),
    scope="tensor",
    result="code",
    apply=apply,
)
