"""Large tensors a piece at a time: what is computed on the way stays in the processor's cache."""

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

PIECE = 2**16
"""Numbers that are looked at once: with a few float64 temporaries they fit into a processor's second cache."""


def pieces(*tensors: Tensor) -> Iterator[tuple[NDArray[Any], ...]]:
    """The same stretch of each flattened tensor, from the first to the last, as numpy sees it.

    Numpy, for torch would divide each small piece among threads, which costs more than the work where others are busy.

    Args:
        tensors: one or more of the same number of elements, of dtypes that numpy knows, on any device.
    """
    flat = [tensor.detach().reshape(-1) for tensor in tensors]
    for start in range(0, flat[0].numel(), PIECE):
        yield tuple(tensor[start : start + PIECE].cpu().numpy() for tensor in flat)
