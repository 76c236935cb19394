"""The levels of an integer code as the methods see them that choose each weight's level themselves."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compress_explorer.methods.code import Code


@dataclass(frozen=True, eq=False)
class Levels:
    """The levels of each weight: scale * q for the whole numbers q from lowest to highest, zero among them.

    Attributes:
        scale: float64 [channels, n].
        lowest: float64 [channels, n], whole.
        highest: float64 [channels, n], whole.
    """

    scale: Tensor
    lowest: Tensor
    highest: Tensor


def levels_of(code: Code) -> Levels:
    """The levels of a code with grid "integer" of 2 bits or more, with the scales and zero points it has."""
    assert code.grid == "integer"
    assert code.scale is not None
    scale = _of_each_weight(code, code.scale)
    if code.zero_point is None:
        lowest = torch.full_like(scale, code.offset)
        return Levels(scale, lowest, -lowest)
    lowest = code.offset - _of_each_weight(code, code.zero_point)
    return Levels(scale, lowest, lowest + (2**code.bits - 1))


def with_numbers(code: Code, numbers: Tensor) -> Code:
    """The code in which each weight stands at scale * q, with whole numbers q [channels, n] within its levels."""
    return replace(code, codes=(numbers - levels_of(code).lowest).round().to(torch.uint8))


def _of_each_weight(code: Code, per_group: Tensor) -> Tensor:
    columns = per_group.double().repeat_interleave(code.group_size, dim=1)[:, : code.codes.shape[1]]
    return columns.expand(code.codes.shape)
