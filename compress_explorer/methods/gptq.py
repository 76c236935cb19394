"""GPTQ: rounding column by column, where the columns behind make up for the error of those before."""

from collections.abc import Callable

import torch
from torch import Tensor

from compress_explorer.methods import integer
from compress_explorer.methods.code import Code
from compress_explorer.methods.evidence import InputStatistics, by_groups, samples_parameter
from compress_explorer.methods.granularity import granularity_parameter
from compress_explorer.methods.second_order import damping_parameter, dead_features, inverse_factor, settle_columns
from compress_explorer.methods.uniform_codes import Levels, levels_of, with_numbers
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter

BLOCK = 128
"""Columns whose errors reach the columns behind them at once; it changes the speed, not the result."""


def apply(
    weight: Tensor,
    kept: Tensor,
    statistics: InputStatistics,
    *,
    bits: int = 4,
    scheme: str = "symmetric",
    granularity: str = "channel",
    group_size: int = 128,
    order: str = "natural",
    damping: float = 0.01,
) -> Code:
    """Rounds one column after the other; those not yet rounded move so that the layer's output changes least.

    The levels are those of the method "integer" for these weights, fixed beforehand, in groups too (static groups):
    so groups stay neighbours in any order of rounding. A weight that moved beyond the last level is clipped.

    A pruned weight stays zero. It is settled in its turn, as in SparseGPT: what the columns before it had moved it
    by counts as its error, which the columns behind it make up for. The weights of a feature that was zero in every
    calibration sample become zero, as in the paper's code.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n], False where an earlier step pruned.
        statistics: of the layer's inputs.
        bits: width of one code, 2 to 8.
        scheme: "symmetric" or "affine", as of "integer".
        granularity: "channel" or "group".
        group_size: neighbouring columns that share a scale; only for "group".
        order: "natural": the first column first; "activation": the feature with the largest second moment first.
        damping: what is added to the diagonal of the second moment, as a fraction of its mean.

    Returns:
        The code with grid "integer".

    Raises:
        DataError: when the second moment of the inputs is not positive definite, even with more damping.
    """
    nearest = integer.apply(weight, kept, bits=bits, scheme=scheme, granularity=granularity, group_size=group_size)
    levels = levels_of(nearest)
    dead = dead_features(statistics.moment)
    columns = _order(statistics.moment, order)  # [g, n]
    across = columns[:, None, :].expand_as(by_groups(weight, statistics))

    def sorted_by_turn(entry: Tensor) -> Tensor:
        return by_groups(entry, statistics).gather(2, across)

    moment = torch.take_along_dim(statistics.moment, columns[:, :, None], dim=1)
    moment = torch.take_along_dim(moment, columns[:, None, :], dim=2)
    alive = sorted_by_turn(kept) & ~dead.gather(1, columns)[:, None, :]
    work = torch.where(alive, sorted_by_turn(weight).double(), 0.0)
    turned = Levels(sorted_by_turn(levels.scale), sorted_by_turn(levels.lowest), sorted_by_turn(levels.highest))
    numbers = _round_in_turn(work, alive, turned, inverse_factor(moment, damping), statistics.tell)
    return with_numbers(nearest, torch.empty_like(numbers).scatter_(2, across, numbers).reshape(weight.shape))


def _order(moment: Tensor, order: str) -> Tensor:
    """The columns in the order of their turn, int64 [g, n]."""
    diagonal = moment.diagonal(dim1=1, dim2=2)
    if order == "activation":
        return diagonal.argsort(dim=1, descending=True, stable=True)
    return torch.arange(diagonal.shape[1], device=moment.device).expand_as(diagonal)


def _round_in_turn(work: Tensor, alive: Tensor, levels: Levels, factor: Tensor, tell: Callable[[str], None]) -> Tensor:
    """The whole number of every weight; `work` [g, rows, n] is used up."""
    # A column of these is read at a time: it lies in one piece in the transposed.
    scales, lowest, highest, kept = (
        part.transpose(1, 2).contiguous() for part in (levels.scale, levels.lowest, levels.highest, alive)
    )
    numbers = torch.zeros_like(scales)

    def settle(column: int, values: Tensor) -> Tensor:
        rounded = (values / scales[:, column]).round()
        rounded = torch.minimum(torch.maximum(rounded, lowest[:, column]), highest[:, column])
        numbers[:, column] = torch.where(kept[:, column], rounded, 0.0)
        return numbers[:, column] * scales[:, column]

    for start in range(0, work.shape[2], BLOCK):
        tell(f"{start:,} of {work.shape[2]:,} columns")
        settle_columns(work, factor, start, min(start + BLOCK, work.shape[2]), settle)
    return numbers.transpose(1, 2).contiguous()


METHOD = Method(
    name="gptq",
    label="GPTQ",
    family="Uniform quantization",
    summary="Rounds weights column by column and lets those not yet rounded make up for the error in the output.",
    formula="q = clamp(⌊w/s⌉),  δ = −(w_j − s·q) / [H⁻¹]_jj · [H⁻¹]_j,  H = mean(x·xᵀ) + λ·mean(diag)·I over the "
    "columns from j on",
    source="Frantar et al. 2022, GPTQ (arXiv 2210.17323) Algorithm 1",
    parameters=(
        Parameter(
            name="bits",
            label="Bit width",
            kind="integer",
            default=4,
            minimum=2,
            maximum=8,
            unit="bits",
            help="Bits of one stored weight: at most 2^bits levels.",
        ),
        integer.METHOD.parameter("scheme"),
        granularity_parameter("channel", "group", default="channel"),
        integer.METHOD.parameter("group_size"),
        Parameter(
            name="order",
            label="Column order",
            kind="choice",
            default="natural",
            choices=("natural", "activation"),
            help="Which column is rounded first: as stored, or by the size of its input (act-order).",
        ),
        damping_parameter(),
        samples_parameter(),
    ),
    scope="tensor",
    result="code",
    needs="inputs",
    apply=apply,
)
