"""What has to be stored of a tensor: which weights are not zero, and what stands for zero."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress_explorer.engine.pieces import pieces
from compress_explorer.engine.positions import Runs, count_runs
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.methods.code import Code
from compress_explorer.methods.formats import FORMATS


@dataclass(frozen=True, eq=False)
class Contents:
    """A stored tensor in the order of its matrix form, row by row, seen from the file's side.

    A weight is present when it is not zero: neither pruned nor quantized to zero. The file does not tell
    these two kinds of zero apart, since the network cannot either. (A kept weight that is -0.0 counts as
    present, so that reading the file gives its sign back.)

    A value is what the file holds for a present weight: a float, or a code. Of vectors one value stands for several
    weights, and is held where any of them is present.
    """

    stored: StoredTensor

    @property
    def weights(self) -> int:
        """The number of elements, n."""
        return self.stored.values.numel()

    @property
    def vectors(self) -> bool:
        """Whether a value stands for neighbouring weights together."""
        return self.stored.code is not None and self.stored.code.grid == "vectors"

    @property
    def values(self) -> int:
        """The number of values where all are stored: n, but of vectors fewer."""
        return self.stored.code.codes.numel() if self.stored.code is not None else self.weights

    @property
    def bits(self) -> int:
        """Bits of one stored value: the code's width, or the dtype's."""
        code = self.stored.code
        return code.bits if code is not None else 8 * self.stored.values.element_size()

    @property
    def gap_bits(self) -> int:
        """Bits of the value that goes with each gap of a relative index: of vectors none, their values stand apart."""
        return 0 if self.vectors else self.bits

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """Bool [n]: the weights whose values the file must hold."""
        matrix = self.stored.layout.to_matrix(bit_patterns(self.stored.values))
        present: NDArray[np.bool_] = matrix.numpy().reshape(-1) != 0
        if self.stored.kept is not None:
            present &= self.stored.kept.cpu().numpy().reshape(-1)
        return present

    @cached_property
    def count(self) -> int:
        """The number of present weights, k."""
        return int(np.count_nonzero(self.present))

    @cached_property
    def held(self) -> NDArray[np.bool_]:
        """Bool [values]: the values of which a weight is present."""
        if self.stored.code is None:
            return self.present
        return any_of_neighbours(self.present, self.stored.layout.columns, self.stored.code.dimension)

    @cached_property
    def held_count(self) -> int:
        """The number of values of which a weight is present."""
        return int(np.count_nonzero(self.held))

    @cached_property
    def runs(self) -> Runs:
        """The runs of zeros before the present weights."""
        return count_runs(self.present)

    @cached_property
    def zero_codes(self) -> Tensor | None:
        """The codes that stand for zero, see `zero_codes`; None for floats and where the grid has none."""
        return None if self.stored.code is None else zero_codes(self.stored.code)

    @property
    def zero_level(self) -> bool:
        """Whether a stored value can be zero: any float can, a code where the grid has a level for it."""
        return self.stored.code is None or self.zero_codes is not None

    @property
    def plain(self) -> bool:
        """Whether all n values can be stored without positions: pruned weights then take the value zero."""
        return self.zero_level or self.stored.kept is None or bool(self.stored.kept.all())

    @cached_property
    def codes(self) -> NDArray[np.uint8]:
        """Uint8 [values]: the codes of a quantized tensor; pruned weights have that of zero where there is one."""
        code, kept = self.stored.code, self.stored.kept
        assert code is not None
        codes = code.codes
        if kept is not None and self.zero_codes is not None:
            codes = torch.where(kept, codes, spread(self.zero_codes, code))
        matrix: NDArray[np.uint8] = codes.cpu().numpy()
        return matrix.reshape(-1)

    @property
    def all_counts(self) -> NDArray[np.int64]:
        """Int64 [2^bits]: how often each code occurs; only for quantized tensors."""
        counts: NDArray[np.int64] = self._counts.sum(axis=0)
        return counts

    @property
    def held_counts(self) -> NDArray[np.int64]:
        """Int64 [2^bits]: how often each code occurs among the values held; only for quantized tensors."""
        counts: NDArray[np.int64] = self._counts[1]
        return counts

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """Int64 [2, 2^bits]: how often each code occurs among the values that are not held and among those that are."""
        levels = 2**self.bits
        joint = self.codes + levels * self.held.astype(np.uint16)
        return np.bincount(joint, minlength=2 * levels).reshape(2, levels)


def any_of_neighbours(present: NDArray[np.bool_], columns: int, dimension: int) -> NDArray[np.bool_]:
    """Which subvectors of `dimension` neighbours, the last of a row perhaps shorter, have a present weight.

    Args:
        present: bool [n], rows of `columns` weights one after the other.
        columns: the number of weights in a row.
        dimension: 1 or more.

    Returns:
        bool [rows * ceil(columns / dimension)].
    """
    if dimension == 1:
        return present
    starts = np.arange(0, columns, dimension)
    found: NDArray[np.bool_] = np.logical_or.reduceat(present.reshape(-1, columns), starts, axis=1).reshape(-1)
    return found


def bit_patterns(values: Tensor) -> Tensor:
    """The values' bit patterns as whole numbers, on the CPU: zero for +0.0 only."""
    size = values.element_size()
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[size]
    return values.detach().cpu().contiguous().view(whole)


def count_zeros(values: Tensor) -> int:
    """The number of elements that are zero, of either sign."""
    if values.is_complex():
        return int((values == 0).sum())
    sign = int(values.is_floating_point())  # shifted out
    return sum(piece.size - int(np.count_nonzero(piece << sign)) for (piece,) in pieces(bit_patterns(values)))


def zero_codes(code: Code) -> Tensor | None:
    """The codes that decode to exactly zero.

    Args:
        code: a quantized matrix.

    Returns:
        uint8 [1 or channels, 1 or groups], one for every scale or codebook; None unless all of them have one, and
        for vectors: zeros among the weights that one code stands for are told by positions alone.
    """
    if code.grid == "vectors":
        return None
    if code.grid == "codebook":
        assert code.codebook is not None
        zero = (code.codebook == 0) & ~torch.signbit(code.codebook)
        if code.zero_point is not None or not bool(zero.any(dim=1).all()):
            return None
        return zero.to(torch.uint8).argmax(dim=1, keepdim=True).to(torch.uint8)
    if code.grid == "power-of-two":
        return torch.zeros(1, 1, dtype=torch.uint8) if code.zero_point is None else None
    if code.grid != "integer":
        levels = FORMATS[code.grid].levels
        return (levels == 0).to(torch.uint8).argmax()[None, None].to(torch.uint8) if code.zero_point is None else None
    level = torch.zeros(1, 1) if code.zero_point is None else code.zero_point
    codes = level.to(torch.int64) - code.offset
    if bool((level != level.to(torch.int64)).any()):
        return None
    if bool(((codes < 0) | (codes >= 2**code.bits)).any()):
        return None
    return codes.to(torch.uint8)


def spread(per_group: Tensor, code: Code) -> Tensor:
    """One entry a scale, [1 or channels, 1 or groups], as one a weight: broadcastable to [channels, n]."""
    if per_group.shape[1] == 1:
        return per_group
    return per_group.repeat_interleave(code.group_size, dim=1)[:, : code.codes.shape[1]]
