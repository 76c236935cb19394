"""SparseGPT: pruning column by column, where the columns behind make up for what is lost."""

from collections.abc import Callable
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from compress_explorer.methods.evidence import InputStatistics, by_groups, samples_parameter
from compress_explorer.methods.row_sparsity import STRUCTURES, keep_of_neighbours, structure_parameters
from compress_explorer.methods.second_order import damping_parameter, dead_features, inverse_factor, settle_columns
from compress_explorer.methods.sparsity import keep_largest, zeros_for
from compress_explorer.methods.values import Values
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(
    weight: Tensor,
    kept: Tensor,
    statistics: InputStatistics,
    *,
    sparsity: float = 0.5,
    structure: str = "unstructured",
    block_size: int = 128,
    damping: float = 0.01,
) -> Values:
    """Drops weights in one column after the other; the columns behind move so that the layer's output changes least.

    Which weights go is decided for `block_size` columns at a time, all rows together, once the columns before have
    their final values: those of smallest w² / [H⁻¹]_jj, H the second moment of the inputs from column j on. Every
    block loses the same fraction of what earlier steps left of it.

    N:M: it is decided for the columns of M neighbouring input channels at a time, in each row. Of a convolution the
    columns of one place of the kernel are then taken after those of another, each in the order of the channels.

    Weights of features that were zero in every calibration sample are dropped first. Where they are kept, they
    keep their values; the paper's code sets them to zero.

    Args:
        weight: float32 [channels, n], finite.
        kept: bool [channels, n], False where an earlier step pruned. Those stay pruned and count among the zeros.
        statistics: of the layer's inputs.
        sparsity: the fraction of zeros afterwards, 0 to 1, exactly round(sparsity * size) of them; only for
            "unstructured".
        structure: "unstructured", "2:4" (2 of 4 neighbouring input channels are kept) or "4:8".
        block_size: columns among which the smallest are looked for; only for "unstructured".
        damping: what is added to the diagonal of the second moment, as a fraction of its mean.

    Returns:
        The new weights, and which are kept.

    Raises:
        DataError: when the second moment of the inputs is not positive definite, even with more damping.
    """
    columns, window = weight.shape[1], 1 if structure == "unstructured" else statistics.window
    size = block_size if structure == "unstructured" else STRUCTURES[structure][1]
    order = torch.arange(columns).reshape(-1, window).T.flatten()
    work = by_groups(weight, statistics)[:, :, order].double()
    left = by_groups(kept, statistics)[:, :, order]
    moment = statistics.moment[:, order[:, None], order]
    factor = inverse_factor(moment, damping)
    importance = torch.where(dead_features(moment), 0.0, 1 / factor.diagonal(dim1=1, dim2=2).square())
    zeros = _zeros_of_blocks(kept, size, zeros_for(sparsity, kept.numel()))
    masks = []
    for start, stop in _blocks(columns, size, window):
        if start // 128 > (start - size) // 128:  # once in 128 columns
            statistics.tell(f"{start:,} of {columns:,} columns")
        scores = work[:, :, start:stop].square() * importance[:, None, start:stop]
        scores = torch.where(left[:, :, start:stop], scores, -1.0)
        if structure == "unstructured":
            mask = keep_largest(scores.flatten(), zeros[start // size]).view_as(scores)
        else:
            mask = keep_of_neighbours(scores, *STRUCTURES[structure])
        masks.append(mask)
        settle_columns(work, factor, start, stop, _zero_where_dropped(mask, start))
    matrix, mask = (entry[:, :, order.argsort()].reshape(weight.shape) for entry in (work, torch.cat(masks, dim=2)))
    return Values(matrix=matrix.float(), kept=mask)


def _blocks(columns: int, size: int, window: int) -> list[tuple[int, int]]:
    """Where blocks of `size` columns begin and end; those of each of `window` places stand together, none spans two."""
    place = columns // window
    return [
        (first + start, first + min(start + size, place))
        for first in range(0, columns, place)
        for start in range(0, place, size)
    ]


def _zero_where_dropped(mask: Tensor, start: int) -> Callable[[int, Tensor], Tensor]:
    """The final values of the columns from `start` on: their present ones where the mask keeps them, else zero."""
    return lambda column, values: torch.where(mask[:, :, column - start], values, 0.0)


def _zeros_of_blocks(kept: Tensor, size: int, zeros: int) -> list[int]:
    """How many zeros each block of `size` columns gets, `zeros` in all, or as many as were pruned if those are more."""
    left = [int(block.sum()) for block in torch.split(kept, size, dim=1)]
    pruned = [int((~block).sum()) for block in torch.split(kept, size, dim=1)]
    share = max(zeros - sum(pruned), 0) / max(sum(left), 1)
    reached = [0, *(round(share * count) for count in accumulate(left))]
    return [more - less + gone for (less, more), gone in zip(pairwise(reached), pruned, strict=True)]


METHOD = Method(
    name="sparsegpt",
    label="SparseGPT",
    family="Pruning",
    summary="Removes weights column by column and lets the columns behind make up for the change of the output.",
    formula="drop the smallest w_j² / [H⁻¹]_jj,  δ = −w_j / [H⁻¹]_jj · [H⁻¹]_j,  H = mean(x·xᵀ) + λ·mean(diag)·I over "
    "the columns from j on",
    source="Frantar & Alistarh 2023, SparseGPT (arXiv 2301.00774) Algorithm 1",
    parameters=(
        *structure_parameters(),
        Parameter(
            name="block_size",
            label="Mask block",
            kind="integer",
            default=128,
            minimum=1,
            soft_minimum=16,
            soft_maximum=1024,
            scale="log2",
            unit="columns",
            when=("structure", ("unstructured",)),
            help="Columns among which the weights to remove are chosen at once.",
        ),
        damping_parameter(),
        samples_parameter(),
    ),
    scope="tensor",
    result="values",
    needs="inputs",
    apply=apply,
)
