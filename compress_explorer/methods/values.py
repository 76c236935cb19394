"""New floating-point weights, as the methods return them that change what they keep."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Values:
    """A weight matrix with other values than before.

    Attributes:
        matrix: float32 [channels, n], finite.
        kept: bool [channels, n], False where a weight is pruned.
    """

    matrix: Tensor
    kept: Tensor
