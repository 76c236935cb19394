"""What the maps of many slider positions do to the weights of one layer, from its index: all positions at once.

A map cuts the real line into regions. The regions of all positions stand in one row, those of a position side by side,
so that the index is asked once for all of their bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.weight_index import Floats, Integers, WeightIndex


@dataclass(frozen=True, eq=False, kw_only=True)
class Regions:
    """The regions of one layer's maps, one map a position.

    Attributes:
        index: the layer's weights.
        position: int64 [regions], the position that each belongs to, in order.
        starts: int64 [positions], the first region of each.
        levels: float64 [regions], where the weights go; NaN: they stay as they are.
        bounds: float64 [2, regions], the lower and the upper end, infinite at the outer ones.
        below: float64 [3, 2, regions], the count, the sum and the sum of squares of the weights below each end.
    """

    index: WeightIndex
    position: Integers
    starts: Integers
    levels: Floats
    bounds: Floats
    below: Floats

    @classmethod
    def of(cls, index: WeightIndex, maps: Sequence[ScalarMap]) -> "Regions":
        """The regions of `maps`, one a position, at least one."""
        first, last = np.array([-np.inf]), np.array([np.inf])
        bounds = np.concatenate([part for entry in maps for part in (first, entry.cuts, last)])
        sizes = np.array([len(entry.levels) for entry in maps])
        position = np.repeat(np.arange(len(maps)), sizes)
        lower = np.arange(len(position)) + position  # each position has one bound more than it has regions
        places = np.stack([lower, lower + 1])
        return cls(
            index=index,
            position=position,
            starts=np.cumsum(sizes) - sizes,
            levels=np.concatenate([entry.levels for entry in maps]),
            bounds=bounds[places],
            below=index.below(bounds)[:, places],
        )

    @property
    def is_kept(self) -> npt.NDArray[np.bool_]:
        """Where the weights stay as they are, bool [regions]."""
        return np.isnan(self.levels)

    @property
    def counts(self) -> Integers:
        """How many weights fall into each region, int64 [regions]."""
        return np.asarray(np.diff(_whole(self.below[0]), axis=0)[0])

    def zeros(self) -> Integers:
        """How many weights are zero afterwards, int64 [positions]."""
        to_zero = self.levels == 0
        lost = np.add.reduceat(np.where(to_zero, self.counts, 0), self.starts)
        kept = np.logical_or.reduceat(self.is_kept, self.starts)
        # Zeros that no region sends to zero stay in one that keeps its weights, if there is any.
        return np.where(np.logical_or.reduceat(to_zero, self.starts), lost, np.where(kept, self.index.zeros, 0))

    def noise(self) -> Floats:
        """The squared error, float64 [positions]: the sum over regions of S2 - 2 c S1 + c² n, c the level."""
        level = np.where(self.is_kept, 0.0, self.levels)
        # Not in whole numbers: half a weight at a level far from zero would be more than all of the noise.
        count, first, second = self.below[:, 1] - self.below[:, 0]
        noise = np.maximum(second - 2 * level * first + level**2 * count, 0)
        return np.add.reduceat(np.where(self.is_kept, 0.0, noise), self.starts)

    def largest_error(self) -> Floats:
        """The largest distance of a weight from its level, float64 [positions].

        That of the ends of the regions that hold weights, the outer ones ending at the extreme weights.
        """
        ends = np.clip(self.bounds, self.index.minimum, self.index.maximum)
        distance = np.abs(ends - self.levels).max(axis=0)
        counted = ~self.is_kept & (self.counts > 0)
        return np.maximum.reduceat(np.where(counted, distance, 0.0), self.starts)

    def histogram(self, edges: Floats) -> Integers:
        """Counts of the weights that are not zero afterwards, int64 [positions, bins].

        Args:
            edges: float64 [bins + 1], increasing, zero in the middle bin; weights beyond the ends go to the end bins.
        """
        bins = len(edges) - 1
        after = np.zeros((len(self.starts), bins), dtype=np.int64)
        # As counts rise with the cut, those below an edge, or a bound beyond it, are the edge's within the bounds'.
        kept = self.is_kept
        at_edges = _whole(self.index.count_below(np.concatenate([[-np.inf], edges[1:-1], [np.inf]])))
        low, high = _whole(self.below[0])[:, kept, None]
        np.add.at(after, self.position[kept], np.diff(np.clip(at_edges, low, high)))
        around_zero = kept & (self.bounds[0] < 0) & (self.bounds[1] > 0)
        after[self.position[around_zero], bins // 2] -= self.index.zeros
        fixed = ~kept & (self.levels != 0)
        places = np.clip(np.searchsorted(edges, self.levels[fixed], side="right") - 1, 0, bins - 1)
        np.add.at(after, (self.position[fixed], places), self.counts[fixed])
        return after


def _whole(counts: Floats) -> Integers:
    """The nearest whole numbers, halves upwards on both sides of zero: to the even one, a threshold would lose one."""
    return np.floor(counts + 0.5 + 1e-6).astype(np.int64)
