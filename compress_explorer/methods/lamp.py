"""Layer-adaptive magnitude pruning (LAMP): one cut over all layers, of magnitudes relative to what survives."""

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from compress_explorer.methods.magnitude import threshold_map
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.sparsity import keep_largest, pruning_scores, sparsity_parameter, zeros_for
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.method import Method

Floats = npt.NDArray[np.float64]
Curve = tuple[Floats, Floats]
"""Increasing points, and the heights at them."""


def apply(weights: Sequence[Tensor], kept: Sequence[Tensor], *, sparsity: float = 0.9) -> list[Tensor]:
    """Masks that drop the smallest LAMP scores of all layers together: exactly k = round(sparsity * n).

    A layer's weights in increasing order of magnitude, ties in row-major order, score w_u² / Σ_{v≥u} w_v²; zeros
    score 0. Scores grow with the magnitude, so that each layer is pruned by magnitude, to a sparsity of its own. Its
    largest weight scores 1 and all others at most 1/2: a layer that is not all zero keeps a weight as long as k
    leaves one to each layer. Among equal scores at the cut, those of earlier layers are dropped.

    Args:
        weights: float32 [channels, n], one a layer.
        kept: bool masks of the same shapes, False where an earlier step pruned. Those stay pruned and count
            among the k.
        sparsity: the fraction of zeros of all these layers together afterwards, 0 to 1.

    Returns:
        One bool [channels, n] a layer, True where a weight is kept.
    """
    magnitudes = [pruning_scores(weight, mask) for weight, mask in zip(weights, kept, strict=True)]
    scores = torch.cat([_increasing_scores(layer) for layer in magnitudes])
    keep = keep_largest(scores, zeros_for(sparsity, scores.numel()))
    dropped = [part.numel() - int(part.count_nonzero()) for part in torch.split(keep, [m.numel() for m in kept])]
    return [
        keep_largest(layer, count).view_as(mask) for layer, count, mask in zip(magnitudes, dropped, kept, strict=True)
    ]


def _increasing_scores(magnitudes: Tensor) -> Tensor:
    """The LAMP scores of one layer in increasing order, float64 [n]; -1 for weights pruned before."""
    ordered = np.sort(magnitudes.cpu().numpy()).astype(np.float64)
    squares = np.square(np.maximum(ordered, 0))
    surviving = np.cumsum(squares[::-1])[::-1]
    scores = np.divide(squares, surviving, out=np.zeros_like(squares), where=surviving > 0)
    scores[ordered < 0] = -1
    return torch.from_numpy(scores)


def preview(indices: Sequence[WeightIndex], *, sparsity: float = 0.9) -> list[ScalarMap]:
    """The threshold of every layer, one map an index: zeros are exact in total, in a layer but for some of one bin."""
    pruned = sum(index.pruned for index in indices)
    total = sum(index.count for index in indices) + pruned
    counts = _zeros_of_layers(indices, zeros_for(sparsity, total) - pruned)
    return [threshold_map(index.magnitude_quantile(count)) for index, count in zip(indices, counts, strict=True)]


def _zeros_of_layers(indices: Sequence[WeightIndex], wanted: int) -> list[int]:
    """How many weights each layer loses to the one cut under which `wanted` are lost in all."""
    zeros = [index.zeros for index in indices]
    if wanted <= sum(zeros):
        return zeros if wanted > 0 else [0] * len(zeros)
    layers, (scores, lost) = _curves(tuple(indices))
    cut = np.interp(wanted, lost, scores)
    return _in_whole_numbers([float(np.interp(cut, *layer)) for layer in layers], wanted)


@functools.lru_cache(maxsize=1)  # the positions of a slider ask for the same layers, one after the other
def _curves(indices: tuple[WeightIndex, ...]) -> tuple[list[Curve], Curve]:
    """How many weights are lost up to a score: of each layer by itself, and of all."""
    layers = [_lost_by_score(index) for index in indices]
    return layers, _sum_of(layers)


def _lost_by_score(index: WeightIndex) -> Curve:
    """How many weights are lost up to a score: -1 / score, increasing up to 0, and the counts at it.

    At both edges of every occupied bin; in between, 1 / score = Σ_{v≥u} w_v² / w_u² falls by about one a weight.
    """
    bins, place = np.unique(index.magnitude_bins, return_inverse=True)
    count, squares = (np.bincount(place, weights=index.moments[row], minlength=bins.size) for row in (0, 2))
    far = np.maximum(np.abs(index.lower), np.abs(index.upper))
    near = np.minimum(np.abs(index.lower), np.abs(index.upper))
    lower, upper = np.zeros(bins.size), np.zeros(bins.size)
    lower[place], upper[place] = near, far
    lost = np.concatenate([[0.0], np.cumsum(count)])
    surviving = np.concatenate([np.cumsum(squares[::-1])[::-1], [0.0]])
    nonzero = bins > 0
    inverse = np.stack([surviving[:-1][nonzero] / lower[nonzero] ** 2, surviving[1:][nonzero] / upper[nonzero] ** 2])
    counts = np.stack([lost[:-1][nonzero], lost[1:][nonzero]])
    # A layer without a weight that is not zero has this last point alone.
    return np.append(-inverse.T.ravel(), 0.0), np.append(counts.T.ravel(), lost[-1])


def _sum_of(curves: Sequence[Curve]) -> Curve:
    """The sum of curves that are straight between their points and level outside, at the points of all of them."""
    points = np.concatenate([curve[0] for curve in curves])
    bends = np.concatenate([np.diff(_slopes(*curve), prepend=0.0, append=0.0) for curve in curves])
    order = np.argsort(points, kind="stable")
    points = points[order]
    rises = np.cumsum(bends[order])[:-1] * np.diff(points)
    heights = sum(curve[1][0] for curve in curves) + np.concatenate([[0.0], np.cumsum(rises)])
    return points, np.maximum.accumulate(heights)


def _slopes(points: Floats, heights: Floats) -> Floats:
    """The slope after each point but the last; 0 where two points are one."""
    distance = np.diff(points)
    return np.divide(np.diff(heights), distance, out=np.zeros_like(distance), where=distance > 0)


def _in_whole_numbers(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers near `shares` that sum to `total`: the largest remainders are rounded up."""
    down = np.floor(np.asarray(shares) + 1e-9)
    missing = int(total - down.sum())
    up = np.argsort(down - shares, kind="stable")[:missing]
    down[up] += 1
    return [int(count) for count in down]


METHOD = Method(
    name="lamp",
    label="Layer-adaptive magnitude pruning (LAMP)",
    family="Pruning",
    summary="Removes weights under one threshold on the score: a square, relative to the sum of those that survive it.",
    formula="W′ = M ⊙ W,  M = 1[s > τ],  s(u) = w_u² / Σ_{v≥u} w_v²,  |w| in increasing order in each layer,  "
    "τ the k-th smallest score of all layers, k = round(p·n)",
    source="Lee, Park, Mo, Ahn & Shin 2021 (arXiv 2010.07611), the LAMP score",
    parameters=(sparsity_parameter(default=0.9),),
    scope="model",
    result="mask",
    apply=apply,
    preview=preview,
)
