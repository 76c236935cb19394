"""A fine histogram of one layer's weights with running sums: what a threshold or a level grid does, at once.

Every float32 is put into a bin by the upper 16 bits of its pattern: sign, exponent and the first 7 bits of
the mantissa. A bin [a, b) has b / a <= 1 + 2^-7, so a cut that falls inside a bin is misplaced by less than
that relative distance, and every statistic that does not cut a bin is exact. The bin at zero ends at 2^-133.
"""

import bisect
import functools
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_PIECE = 2**18
"""Weights that are counted at once."""

_SIGN = 0x8000
_UPPER_HALF = 1 if sys.byteorder == "little" else 0
_INFINITY = 0x7F80
"""The bin of infinity; those of finite magnitudes stand before it."""


def _smallest_magnitudes() -> Floats:
    """The smallest magnitude in each bin, float64 [bins + 1]; last, for the bin of infinity, the largest float32."""
    patterns = np.arange(_INFINITY + 1, dtype=np.uint32) << 16
    return np.minimum(patterns.view(np.float32).astype(np.float64), float(np.finfo(np.float32).max))


_EDGES = _smallest_magnitudes()


@dataclass(frozen=True, eq=False, kw_only=True)
class WeightIndex:
    """The counts and running sums of one layer's kept weights, over the occupied bins in increasing order.

    Attributes:
        magnitude_bins: int64 [bins], the bin of |w|: the upper 16 bits of its float32 pattern, sign off.
        lower: float64 [bins], the lower edge of each bin.
        upper: float64 [bins], the upper edge.
        moments: float64 [3, bins], the count, the sum and the sum of squares of the weights in each bin.
        before: float64 [3, bins + 1], the same of all weights in the bins before it; last, of all weights.
        pruned: the number of weights left out because an earlier step had pruned them.
        minimum: the smallest weight; 0 when there is none.
        maximum: the largest weight; 0 when there is none.
        mean_abs: the mean magnitude; 0 when there is none.
        zeros: how many of the counted weights are zero, or so small (below 2^-133) that they count as zero.
    """

    magnitude_bins: Integers
    lower: Floats
    upper: Floats
    moments: Floats
    before: Floats
    pruned: int
    minimum: float
    maximum: float
    mean_abs: float
    zeros: int

    @classmethod
    def build(cls, weight: Tensor, kept: Tensor | None = None) -> "WeightIndex":
        """Counts the weights into bins, a piece at a time: about 5 ms and no memory to speak of for a million.

        Args:
            weight: of any shape and float dtype, finite.
            kept: bool of the same shape, False where a weight was pruned; None: all are kept.
        """
        moments, minimum, maximum = _moments(weight.detach(), kept)
        count = int(moments[0].sum())
        magnitude_sum = float(np.abs(moments[1]).sum())
        # Both bins at zero become one, so that -0.0 does not count as negative.
        moments[:, 0] += moments[:, _SIGN]
        moments[:, _SIGN] = 0
        # Patterns of negative numbers grow with the magnitude: read backwards they are in increasing order.
        order = np.concatenate([np.arange(2 * _SIGN - 1, _SIGN, -1), np.arange(_SIGN)])
        occupied = order[moments[0, order] > 0]
        bins, negative = occupied % _SIGN, occupied >= _SIGN
        near, far = _EDGES[bins], _EDGES[bins + 1]
        return cls(
            magnitude_bins=bins,
            lower=np.where(negative, -far, near),
            upper=np.where(negative, -near, far),
            moments=moments[:, occupied],
            before=np.concatenate([np.zeros((3, 1)), np.cumsum(moments[:, occupied], axis=1)], axis=1),
            pruned=weight.numel() - count,
            minimum=minimum,
            maximum=maximum,
            mean_abs=magnitude_sum / max(count, 1),
            zeros=int(moments[0, 0]),
        )

    @property
    def count(self) -> int:
        """The number of weights in the index."""
        return int(self.before[0, -1])

    @property
    def sum(self) -> float:
        """The sum of the weights."""
        return float(self.before[1, -1])

    @property
    def sum_of_squares(self) -> float:
        """The sum of the squared weights."""
        return float(self.before[2, -1])

    @property
    def amax(self) -> float:
        """The largest magnitude; 0 when there are no weights."""
        return max(abs(self.minimum), abs(self.maximum))

    @functools.cached_property
    def magnitudes_up_to(self) -> Integers:
        """How many weights lie in each bin of finite magnitudes or in one before it, int64 [32640]; counted once."""
        counts = np.bincount(self.magnitude_bins, weights=self.moments[0], minlength=_INFINITY)
        return np.cumsum(counts).astype(np.int64)

    def count_below(self, cuts: Floats | float) -> Floats:
        """How many weights lie below each cut, float64 shaped like `cuts`; as if even inside a bin."""
        return np.asarray(self.below(cuts)[0])

    def below(self, cuts: Floats | float) -> Floats:
        """Count, sum and sum of squares of the weights below each cut, float64 [3, *cuts.shape].

        Inside a bin the weights count as evenly spread. What its true sums have beyond those of an even spread is
        given out in proportion, so that they are exact at its ends. Counts rise with the cut, in every last bit.
        """
        flat = np.asarray(cuts, dtype=np.float64).ravel()
        place = np.searchsorted(self.upper, flat, side="right")
        result = self.before[:, place]
        inside = place < self.upper.size
        place = place[inside]
        low, high = self.lower[place], self.upper[place]
        cut = np.maximum(flat[inside], low)
        count = self.moments[0, place]
        share = (cut - low) / (high - low)
        correction = self.moments[:, place] - count * _mean_powers(low, high)
        result[:, inside] += share * (count * _mean_powers(low, cut) + correction)
        return result.reshape(3, *np.shape(cuts))

    def magnitude_quantile(self, count: int) -> float:
        """The threshold that `count` magnitudes do not exceed: `magnitude_quantile` of this index alone."""
        return magnitude_quantile([self], count)


def magnitude_quantile(indices: Sequence[WeightIndex], count: int) -> float:
    """The threshold that exactly `count` magnitudes of all these layers together do not exceed.

    Summed over the layers, `count_below(threshold) - count_below(-threshold)` equals `count`, or the number
    of weights that are zero already if those are more. 0 when `count` is not positive, or there are no weights.
    """
    up_to = _magnitudes_up_to([index.magnitudes_up_to for index in indices])
    total = up_to(-1)
    if count <= 0 or total == 0:
        return 0.0
    place = bisect.bisect_left(range(_INFINITY), min(count, total), key=up_to)
    near, far = _EDGES.item(place), _EDGES.item(place + 1)
    if place == 0:
        return far
    share = 1 - (up_to(place) - count) / (up_to(place) - up_to(place - 1))
    return near + share * (far - near)


def _magnitudes_up_to(curves: Sequence[Integers]) -> Callable[[int], int]:
    """How many magnitudes of all layers lie up to a place of these curves; of one layer in a third of the time."""
    if len(curves) == 1:
        return curves[0].item
    return lambda place: sum([curve.item(place) for curve in curves])


def _moments(weight: Tensor, kept: Tensor | None) -> tuple[Floats, float, float]:
    """Count, sum and sum of squares of the kept weights by the upper half of their pattern, [3, 65536]; their range.

    A piece at a time, so that everything stays in the processor's cache.
    """
    moments = np.zeros((3, 2 * _SIGN))
    minimum, maximum = math.inf, -math.inf
    flat, flags = weight.reshape(-1), None if kept is None else kept.reshape(-1)
    for start in range(0, flat.numel(), _PIECE):
        values = flat[start : start + _PIECE].float().cpu().numpy()
        if flags is not None:
            values = values[flags[start : start + _PIECE].cpu().numpy()]
        if values.size == 0:
            continue
        minimum, maximum = min(minimum, float(values.min())), max(maximum, float(values.max()))
        patterns = np.ascontiguousarray(values).view(np.uint16)[_UPPER_HALF::2].astype(np.int64)
        exact = values.astype(np.float64)
        moments[0] += np.bincount(patterns, minlength=2 * _SIGN)
        moments[1] += np.bincount(patterns, weights=exact, minlength=2 * _SIGN)
        moments[2] += np.bincount(patterns, weights=np.square(exact, out=exact), minlength=2 * _SIGN)
    return (moments, minimum, maximum) if maximum >= minimum else (moments, 0.0, 0.0)


def _mean_powers(low: Floats, high: Floats) -> Floats:
    """The means of 1, x and x^2 over numbers spread evenly from `low` to `high`, [3, *low.shape]."""
    return np.stack([np.ones_like(low), (low + high) / 2, (low * low + low * high + high * high) / 3])
