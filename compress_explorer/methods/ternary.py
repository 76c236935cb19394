"""Ternary weights: minus one, zero or one times a shared magnitude."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.granularity import columns_per_scale, from_blocks, granularity_parameter, to_blocks
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(
    weight: Tensor, kept: Tensor, *, threshold: str = "factor", factor: float = 0.75, granularity: str = "tensor"
) -> Code:
    """Sends each weight to -α, 0 or α: to zero where |w| does not exceed Δ, α the mean magnitude of the others.

    With the threshold "factor" Δ is a multiple of the mean magnitude of the kept weights. With "best" the k
    largest magnitudes, of sum S_k, are those for which S_k²/k is greatest: no other Δ and α have a smaller squared
    error. α is 1, and unused, where no weight exceeds Δ.

    Args:
        weight: float32 [channels, n], finite.
        kept: bool [channels, n], False where an earlier step pruned: left out of the means.
        threshold: "factor" or "best".
        factor: Δ over the mean magnitude, 0 or more; only for the threshold "factor".
        granularity: "tensor" or "channel": what Δ and α are taken over.

    Returns:
        The code with grid "integer", offset -1 and 2 bits, of whose four codes three are in use.
    """
    columns = columns_per_scale(weight, granularity, weight.shape[1])
    blocks = to_blocks(weight, granularity, columns)
    magnitudes = blocks.abs()
    if threshold == "best":
        large = (magnitudes >= _least_large(magnitudes)[:, :, None]).logical_and_(magnitudes > 0)
    else:
        counts = to_blocks(kept, granularity, columns).sum(dim=2).clamp(min=1)
        delta = factor * magnitudes.sum(dim=2, dtype=torch.float64) / counts
        large = magnitudes > delta[:, :, None]
    count = large.sum(dim=2)
    total = torch.where(large, magnitudes, 0.0).sum(dim=2, dtype=torch.float64)
    signs = torch.sign(blocks).mul_(large).add_(1)
    return Code(
        codes=from_blocks(signs.to(torch.uint8), weight.shape),
        bits=2,
        grid="integer",
        offset=-1,
        scale=torch.where(count > 0, total / count.clamp(min=1), 1.0).float(),
        group_size=weight.shape[1],
    )


def _least_large(magnitudes: Tensor) -> Tensor:
    """The k-th largest magnitude for the k that makes S_k²/k greatest, float32 [rows, groups]."""
    ordered = -np.sort(-magnitudes.cpu().numpy(), axis=2)
    # S_k/√k has its maximum where S_k²/k has, and does not overflow.
    sums = np.cumsum(ordered, axis=2, dtype=np.float64)
    best = (sums / np.sqrt(np.arange(1, ordered.shape[2] + 1))).argmax(axis=2)
    return torch.from_numpy(np.take_along_axis(ordered, best[:, :, None], axis=2)[:, :, 0]).to(magnitudes.device)


def preview(
    indices: Sequence[WeightIndex], *, threshold: str = "factor", factor: float = 0.75, granularity: str = "tensor"
) -> list[ScalarMap] | None:
    """The three levels of every layer for the granularity "tensor", else None.

    Δ is exact with the threshold "factor", else right to a bin of the index; α errs by what a bin holds.
    """
    if granularity != "tensor":
        return None
    return [_level_map(index, factor * index.mean_abs if threshold == "factor" else None) for index in indices]


def _level_map(index: WeightIndex, delta: float | None) -> ScalarMap:
    """The map with the cuts at ±Δ; with those of least squared error when Δ is None."""
    if delta is None:
        # At the upper edges of the bins of magnitudes the sums are exact.
        edges = np.unique(np.maximum(np.abs(index.lower), np.abs(index.upper)))
        candidates = np.append(0.0, edges[edges < index.amax])
        counts, sums = _beyond(index, candidates)
        delta = float(candidates[(sums / np.sqrt(np.maximum(counts, 1))).argmax()])
    count, total = (float(number) for number in _beyond(index, np.array(delta)))
    alpha = float(np.float32(total / count)) if count >= 0.5 else 1.0
    return ScalarMap(cuts=np.array([-delta, delta]), levels=np.array([-alpha, 0.0, alpha]), bits=2, table_bytes=4)


def _beyond(index: WeightIndex, delta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many magnitudes exceed each Δ, and their sum."""
    counts = index.count - index.count_below(delta) + index.count_below(-delta)
    sums = index.sum - index.sum_below(delta) - index.sum_below(-delta)
    return counts - np.where(delta == 0, index.zeros, 0), sums


METHOD = Method(
    name="ternary",
    label="Ternary weights (TWN)",
    family="Formats and codebooks",
    summary="Keeps the sign of the large weights with one shared magnitude; all others become zero.",
    formula="ŵ = α·sign(w)·1[|w| > Δ],  α = mean of |w| over |w| > Δ;  Δ = factor·mean|w|, "
    "or the best: argmax over k of S_k²/k, S_k the sum of the k largest |w|",
    source="Li, Zhang & Liu 2016, TWN (arXiv 1605.04711); the optimum is an argmax, where its Eq. 6 prints argmin",
    parameters=(
        Parameter(
            name="factor",
            label="Threshold",
            kind="float",
            default=0.75,
            minimum=0.0,
            maximum=100.0,
            soft_maximum=2.0,
            step=0.05,
            unit="× mean|w|",
            when=("threshold", ("factor",)),
            help="Weights up to this multiple of the mean magnitude become zero.",
        ),
        Parameter(
            name="threshold",
            label="Threshold by",
            kind="choice",
            default="factor",
            choices=("factor", "best"),
            help="A multiple of the mean magnitude, or the threshold with the least squared error.",
        ),
        granularity_parameter("tensor", "channel", default="tensor"),
    ),
    scope="tensor",
    result="code",
    apply=apply,
    preview=preview,
)
