"""Number formats of up to 8 bits: what each code stands for. A file that uses one holds no table of its levels."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Bytes = npt.NDArray[np.uint8]

WeightFormat = Literal[
    "nf4",
    "fp4",
    "fp4-e2m1",
    "fp6-e2m3",
    "fp6-e3m2",
    "fp8-e3m4",
    "fp8-e4m3",
    "fp8-e5m2",
    "apot-3",
    "apot-4",
    "apot-5",
    "apot-6",
    "apot-7",
]
"""The formats of weights; each has one code for zero."""

# fmt: off
NF4_LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)
# fmt: on
"""Dettmers et al. 2023, QLoRA (arXiv 2305.14314), appendix E."""

APOT_EXPONENTS: dict[int, tuple[tuple[int, ...], ...]] = {
    3: ((0, 1, 2),),
    4: ((0, 1, 3), (2,)),
    5: ((0, 2, 4), (1, 3, 5)),
    6: ((0, 2, 5), (1, 3, 6), (4,)),
    7: ((0, 3, 6), (1, 4, 7), (2, 5, 8)),
}
"""Additive powers of two of so many bits, one of them the sign: each term is 0 or 2^-exponent for one of its row.

Li, Dong & Wang 2020 (arXiv 1909.13144) with k = 2 bits a term, their b without the sign; where those bits are odd in
number, one term has a single bit, with exponents as in the authors' code.
"""


@dataclass(frozen=True, eq=False)
class Format:
    """The levels of a number format.

    Attributes:
        levels: float32 [2^bits] by code; NaN where a code is not used: infinities, NaNs, and -0, so that zero has
            one code only.
    """

    levels: Tensor

    @property
    def bits(self) -> int:
        """The width of one code."""
        return len(self.levels).bit_length() - 1

    @cached_property
    def used(self) -> Tensor:
        """The codes in use by increasing level, uint8 [levels]."""
        count = int((~self.levels.isnan()).sum())
        return self.levels.argsort()[:count].to(torch.uint8)  # NaN is sorted behind all numbers

    @property
    def largest(self) -> float:
        """The largest level."""
        return float(self.levels[int(self.used[-1])])

    def decode(self, codes: Tensor) -> Tensor:
        """The levels of uint8 codes of any shape: a new float32 tensor."""
        return self.levels.to(codes.device).index_select(0, codes.flatten().int()).view_as(codes)

    def nearest(self, values: Tensor) -> Tensor:
        """The codes of the levels nearest to float32 `values`, uint8: halfway the even code, beyond the end the last.

        For floating-point formats this is rounding to nearest, ties to even, saturating.
        """
        if self._table is not None and values.device.type == "cpu":
            return self._looked_up(self._table, values)
        return self._among_cuts(values)

    def _among_cuts(self, values: Tensor) -> Tensor:
        place = torch.bucketize(values, self._cuts.to(values.device), out_int32=True)
        return self.used.to(values.device).index_select(0, place.flatten()).view_as(values)

    @staticmethod
    def _looked_up(table: Bytes, values: Tensor) -> Tensor:
        """The entry of each value's key, a piece at a time so that it stays in the processor's cache."""
        patterns = values.reshape(-1).numpy().view(np.uint32)
        codes = np.empty(patterns.size, dtype=np.uint8)
        for start in range(0, patterns.size, _PIECE):
            piece = patterns[start : start + _PIECE]
            np.take(table, _keys(piece), out=codes[start : start + _PIECE], mode="clip")
        return torch.from_numpy(codes).view(values.shape)

    @cached_property
    def _table(self) -> Bytes | None:
        """The code of every key, uint8 [65536]; None where two levels meet within a key.

        Eight times as fast as looking for the place among the cuts. It serves all floating-point formats.
        """
        levels = self.levels[self.used.long()].double().numpy()
        halfway = (levels[:-1] + levels[1:]) / 2
        rounded = halfway.astype(np.float32)
        if (rounded != halfway).any() or (rounded.view(np.uint32) & 0x1FFFF).any():
            return None
        numbers = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
        return self._among_cuts(torch.from_numpy(np.nan_to_num(numbers))).numpy()

    @cached_property
    def _cuts(self) -> Tensor:
        """The largest float32 that belongs to each level but the last, [levels - 1]."""
        levels = self.levels[self.used.long()].double().numpy()
        halfway = (levels[:-1] + levels[1:]) / 2  # exact in float64
        cuts = halfway.astype(np.float32)
        tie_goes_up = (cuts == halfway) & (self.used.numpy()[1:] % 2 == 0)
        beyond = (cuts > halfway) | tie_goes_up
        return torch.from_numpy(np.where(beyond, np.nextafter(cuts, np.float32(-np.inf)), cuts))


_PIECE = 2**17
"""Numbers that are looked up at once."""


def _keys(patterns: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The upper half of float32 patterns, odd where anything follows.

    An even key stands for one number, an odd one for all between two of these: numbers with the same key have the same
    code, where levels meet at numbers with even keys.
    """
    keys = patterns >> np.uint32(16)
    keys |= (patterns & 0xFFFF) != 0
    return keys


def _signed(magnitudes: list[float], codes: int) -> Format:
    """Sign and magnitude: the highest bit of a code is its sign. Magnitudes are those of codes 0, 1, ..."""
    unused = [float("nan")] * (codes // 2 - len(magnitudes))
    negative = [-magnitude if magnitude else float("nan") for magnitude in magnitudes]
    return Format(torch.tensor(magnitudes + unused + negative + unused))


def _floating(exponent_bits: int, mantissa_bits: int, finite: int) -> Format:
    """Sign, exponent and mantissa with subnormal numbers; the first `finite` magnitude codes are finite numbers."""
    bias, steps = 2 ** (exponent_bits - 1) - 1, 2**mantissa_bits
    magnitudes = []
    for code in range(finite):
        exponent, fraction = divmod(code, steps)
        significand = fraction + steps if exponent else fraction
        magnitudes.append(significand * 2.0 ** (max(exponent, 1) - bias - mantissa_bits))
    return _signed(magnitudes, 2 ** (1 + exponent_bits + mantissa_bits))


def _apot(bits: int) -> Format:
    """Sums of one power of two or none from each row of exponents, the largest 1: see `APOT_EXPONENTS`."""
    terms = [[0.0, *(2.0**-exponent for exponent in row)] for row in APOT_EXPONENTS[bits]]
    sums = sorted(sum(choice) for choice in product(*terms))
    return _signed([value / sums[-1] for value in sums], 2**bits)


def _dynamic() -> Format:
    """Signed 8-bit dynamic tree: seven decades, the largest with 64 steps, each lower one with half as many.

    Dettmers et al. 2022, 8-bit Optimizers (arXiv 2110.02861), "dynamic tree quantization", as in bitsandbytes.
    """
    levels = [0.0, 1.0]
    for decade in range(7):
        steps = 2**decade
        for step in range(steps):
            middle = (0.1 + 0.9 * (step + 0.5) / steps) * 10.0 ** (decade - 6)
            levels += [middle, -middle]
    return Format(torch.tensor(sorted(levels)))


def _powers() -> Format:
    """E8M0: an exponent of 8 bits and nothing else, 2^(code - 127); code 255 is NaN."""
    return Format(torch.tensor([2.0 ** (code - 127) for code in range(255)] + [float("nan")]))


def _fp4() -> Format:
    """The 4-bit floats of bitsandbytes, the largest 1: powers 1/3..2/3 and their 1.5-fold, 0 and 1/192."""
    return _signed([twelfths / 12 for twelfths in (0, 0.0625, 8, 12, 4, 6, 2, 3)], 16)


FORMATS: dict[str, Format] = {
    "nf4": Format(torch.tensor(NF4_LEVELS)),
    "fp4": _fp4(),
    "fp4-e2m1": _floating(2, 1, finite=8),
    "fp6-e2m3": _floating(2, 3, finite=32),
    "fp6-e3m2": _floating(3, 2, finite=32),
    "fp8-e3m4": _floating(3, 4, finite=112),
    "fp8-e4m3": _floating(4, 3, finite=127),
    "fp8-e5m2": _floating(5, 2, finite=124),
    **{f"apot-{bits}": _apot(bits) for bits in APOT_EXPONENTS},
}
"""The formats of weights by name, see `WeightFormat`."""

E8M0 = _powers()
"""The format of MX scales: an exponent and nothing else."""

DYNAMIC8 = _dynamic()
"""The format of doubly quantized scales."""
