"""Block pruning: whole rectangles of the weight matrix are dropped, those of lowest norm first."""

import torch
from torch import Tensor

from compress_explorer.methods.sparsity import keep_largest, sparsity_parameter, zeros_for
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(weight: Tensor, kept: Tensor, *, sparsity: float = 0.5, rows: int = 4, columns: int = 4) -> Tensor:
    """A mask that drops the blocks of lowest L2 norm: exactly k = round(sparsity * blocks) of them.

    Blocks begin at the first row and column; those at the edges are as small as what is left over. So that size
    does not decide, blocks are ranked by the mean square of their weights, which for whole blocks is the order of
    their norms. As edge blocks count as one each, the fraction of zero weights can differ from the sparsity. Among
    equal blocks those that come first, row by row, are dropped.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n], False where an earlier step pruned: zeros here. Those stay pruned; blocks of
            nothing else count among the k.
        sparsity: the fraction of zero blocks afterwards, 0 to 1.
        rows: channels of a block, 1 or more.
        columns: neighbouring weights of one channel in a block, 1 or more.

    Returns:
        bool [channels, n], True where a weight is kept.
    """
    squares = torch.where(kept, weight, 0.0).double().square_()
    size = _block_sums(torch.ones_like(squares), rows, columns)
    left = _block_sums(kept.double(), rows, columns)
    scores = torch.where(left > 0, _block_sums(squares, rows, columns) / size, -1.0)
    keep = keep_largest(scores.flatten(), zeros_for(sparsity, scores.numel())).view_as(scores)
    spread = keep.repeat_interleave(rows, dim=0).repeat_interleave(columns, dim=1)
    return spread[: weight.shape[0], : weight.shape[1]] & kept


def _block_sums(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """The sum over each block, [ceil(channels / rows), ceil(n / columns)]."""
    height, width = matrix.shape
    padded = torch.nn.functional.pad(matrix, (0, -width % columns, 0, -height % rows))
    return padded.reshape(-1, rows, padded.shape[1] // columns, columns).sum(dim=(1, 3))


def _side(name: str, label: str, of: str) -> Parameter:
    return Parameter(
        name=name,
        label=label,
        kind="integer",
        default=4,
        minimum=1,
        maximum=4096,
        soft_maximum=32,
        scale="log2",
        unit=of,
        help=f"How many neighbouring {of} a block spans.",
    )


METHOD = Method(
    name="block",
    label="Block pruning",
    family="Structured pruning",
    summary="Removes whole rectangles of the weight matrix, those of lowest norm first.",
    formula="W′ = M ⊙ W,  M = 0 on the k blocks B of smallest Σ_{i∈B} w_i² / |B|,  k = round(p·blocks)",
    source="Narang, Undersander & Diamos 2017 (arXiv 1711.02782), where a block's largest magnitude ranks it; "
    "by norm as the WeightNormSparsifier of torchao",
    parameters=(
        sparsity_parameter(default=0.5, of="blocks"),
        _side("rows", "Block height", "channels"),
        _side("columns", "Block width", "weights"),
    ),
    scope="tensor",
    result="mask",
    apply=apply,
)
