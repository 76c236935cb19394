"""Evens out the ranges of the channels between two layers, without changing what the network computes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compress_explorer.methods.evidence import Pair
from compress_explorer.methods.feature_scales import magnitudes_of, scale_columns, usable
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter

SETTLED = 1e-4
"""Scales within 1 ± this change nothing worth another round."""


def apply(
    weights: Sequence[Tensor],
    kept: Sequence[Tensor],  # noqa: ARG001 -- pruned weights are zeros, and stay zeros
    pairs: Sequence[Pair],
    *,
    iterations: int = 20,
) -> list[tuple[Tensor, Tensor]]:
    """Scales each channel between two layers so that both have the same range there.

    With r1 and r2 the largest magnitudes of the channel's weights in the first and in the second layer, the first's
    row is divided by s = sqrt(r1·r2) / r2 and the second's columns are multiplied by it: both ranges become
    sqrt(r1·r2). One round does so for every pair in turn; rounds go on until all scales are within 1 ± 0.0001. A
    channel that is all zeros in either layer keeps its scale. What the paper does next, to absorb high biases into the
    second layer, is not done here.

    Args:
        weights: float32 matrices [channels, n].
        kept: bool, of the same shapes; has no effect.
        pairs: which of them follow each other.
        iterations: the largest number of rounds, 1 or more.

    Returns:
        For each matrix, what its rows and its weights are multiplied by: float32 [channels] and [channels, n], each
        the product over all rounds.
    """
    rows = [torch.ones(len(weight), dtype=torch.float64) for weight in weights]
    columns = [torch.ones(weight.shape, dtype=torch.float64) for weight in weights]
    for _ in range(iterations):
        largest = 0.0
        for pair in pairs:
            first, second = (_scaled(weights, rows, columns, place) for place in (pair.first, pair.second))
            scale = _scale(first, second, pair)
            rows[pair.first] = rows[pair.first] / scale
            columns[pair.second] = scale_columns(columns[pair.second], scale, pair.groups, pair.window)
            largest = max(largest, float((scale - 1).abs().max()))
        if largest < SETTLED:
            break
    return [(row.float(), column.float()) for row, column in zip(rows, columns, strict=True)]


def _scaled(weights: Sequence[Tensor], rows: Sequence[Tensor], columns: Sequence[Tensor], place: int) -> Tensor:
    return weights[place].double() * rows[place][:, None] * columns[place]


def _scale(first: Tensor, second: Tensor, pair: Pair) -> Tensor:
    """sqrt(r1·r2) / r2 of each channel between two layers, float64 [channels]; 1 where either is all zeros."""
    before, after = first.abs().amax(dim=1), magnitudes_of(second, pair.groups, pair.window)
    scale = (before / after).sqrt()
    scale[(before == 0) | (after == 0)] = 1
    return usable(scale).double()


METHOD = Method(
    name="cross-layer-equalization",
    label="Cross-layer equalization",
    family="Corrections",
    summary="Scales the channels between two layers to equal ranges: the same function, easier to quantize per tensor.",
    formula="s_i = √(r_i⁽¹⁾·r_i⁽²⁾) / r_i⁽²⁾,  W⁽¹⁾ ← diag(s)⁻¹·W⁽¹⁾,  b⁽¹⁾ ← diag(s)⁻¹·b⁽¹⁾,  W⁽²⁾ ← W⁽²⁾·diag(s)",
    source="Nagel et al. 2019 (arXiv 1906.04721) §4.1, cross-layer range equalization",
    parameters=(
        Parameter(
            name="iterations",
            label="Rounds",
            kind="integer",
            default=20,
            minimum=1,
            maximum=1000,
            soft_maximum=20,
            unit="rounds",
            help="How often every pair of layers is gone through, at most; it stops when nothing changes any more.",
        ),
    ),
    scope="model",
    result="scales",
    needs="pairs",
    apply=apply,
)
