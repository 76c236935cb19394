"""Maps of a weight by its value alone: threshold pruning and scalar quantization as cuts and levels."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class ScalarMap:
    """Cuts the real line into regions; each keeps its values or sends them to one level.

    Attributes:
        cuts: float64 [m], increasing.
        levels: float64 [m + 1], where each region goes; NaN: the region's values stay as they are.
        bits: width of one code when the map quantizes, else None (values keep their dtype).
        table_bytes: bytes of scales, zero points and codebooks that go with it.
    """

    cuts: np.ndarray
    levels: np.ndarray
    bits: int | None = None
    table_bytes: int = 0


def nearest_level_map(levels: Tensor, *, bits: int, table_bytes: int) -> ScalarMap:
    """The map that sends every weight to the nearest of the increasing `levels`, [m + 1] of any float dtype.

    Args:
        levels: finite and increasing.
        bits: width of one code.
        table_bytes: bytes of scales, zero points and codebooks.
    """
    values = levels.double().numpy()
    return ScalarMap(cuts=(values[:-1] + values[1:]) / 2, levels=values, bits=bits, table_bytes=table_bytes)
