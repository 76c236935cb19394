"""The stored form of a quantized weight matrix."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from compress_explorer.methods.coded_scale import CodedScale
from compress_explorer.methods.formats import FORMATS, WeightFormat

Grid = Literal["integer", "power-of-two", "codebook", "vectors"] | WeightFormat
"""What a code stands for before it is scaled.

integer: code + offset, a whole number.
power-of-two: 0 for code 0; +2^-j for code 1 + j; -2^-j for code 2^(bits-1) + j.
codebook: an entry of the stored table.
vectors: a row of the stored table: the values of neighbouring weights.
any other: a level of the number format of that name, see `formats.FORMATS`.
"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Code:
    """A matrix [channels, n] as small integers: weight = scale * (level(code) - zero_point).

    On the grid "vectors" one code stands for `dimension` neighbouring weights of a row. What a row leaves over for
    its last code takes the first of that code's values. Such codes have neither scales nor zero points.

    Attributes:
        codes: uint8 [channels, n], of vectors [channels, ceil(n / dimension)], each in 0..2^bits - 1.
        bits: width of one code in the file, 1 to 8.
        grid: what the codes stand for.
        offset: what is added to an integer code, e.g. -7 for symmetric 4 bits (codes 0..14).
        codebook: float32 [1 or channels, levels] for the grid "codebook", [1, levels, dimension] for "vectors"; else
            None.
        scale: float32 [1 or channels, groups] with groups = ceil(n / group_size), or None for 1.
        zero_point: uint8, or float32 where it need not be a level; shaped like `scale`, or None for 0.
        coded_scale: where the file holds the scales in 8 bits, in what form; `scale` is then what it decodes to.
            None: as float32.
        group_size: neighbouring columns that share a scale; of vectors n.
    """

    codes: Tensor
    bits: int
    grid: Grid
    offset: int = 0
    codebook: Tensor | None = None
    scale: Tensor | None = None
    zero_point: Tensor | None = None
    coded_scale: CodedScale | None = None
    group_size: int

    @property
    def dimension(self) -> int:
        """How many neighbouring weights one code stands for: 1, but on the grid "vectors"."""
        return self.codebook.shape[2] if self.grid == "vectors" and self.codebook is not None else 1

    def decode(self) -> Tensor:
        """The matrix that the codes stand for, float32 [channels, n]."""
        level = self._levels()
        if self.zero_point is not None:
            level -= self.spread(self.zero_point.to(torch.float32))
        return level if self.scale is None else level.mul_(self.spread(self.scale))

    def _levels(self) -> Tensor:
        """What the codes stand for before scaling: a new tensor, float32 [channels, n]."""
        if self.grid == "integer":
            return self.codes.to(torch.float32).add_(self.offset)
        if self.grid == "power-of-two":
            table = power_of_two_levels(self.bits).to(self.codes.device)
            return table.index_select(0, self.codes.flatten().int()).view_as(self.codes)
        if self.grid not in ("codebook", "vectors"):
            return FORMATS[self.grid].decode(self.codes)
        assert self.codebook is not None
        if self.grid == "vectors":
            return self.codebook[0, self.codes.long()].flatten(1)[:, : self.group_size].contiguous()
        rows = self.codebook.expand(self.codes.shape[0], -1)
        return torch.gather(rows, 1, self.codes.long())

    def spread(self, per_group: Tensor) -> Tensor:
        """One number a group as one number a column, or a single column where all columns share it."""
        if per_group.shape[1] == 1:
            return per_group
        columns = self.codes.shape[1]
        return per_group.repeat_interleave(self.group_size, dim=1)[:, :columns]


def power_of_two_levels(bits: int) -> Tensor:
    """Unscaled levels of the power-of-two grid by code: 0, then +2^-j, then -2^-j; float32 [2^bits - 1]."""
    magnitudes = 2.0 ** -torch.arange(2 ** (bits - 1) - 1, dtype=torch.float32)
    return torch.cat([torch.zeros(1), magnitudes, -magnitudes])
