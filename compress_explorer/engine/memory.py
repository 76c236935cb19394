"""What to do when memory runs short: the same in smaller parts."""

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")

WORDS = ("can't allocate memory", "not enough memory", "out of memory")
"""Of the RuntimeError by which torch says so on a CPU."""


def in_parts(compute: Callable[[range], Result], places: range) -> list[Result]:
    """`compute` of all places at once, or where memory runs short of ever smaller halves, in their order.

    Args:
        compute: takes some of the places.
        places: of samples in the split's order.

    Raises:
        Exception: what `compute` raises for another reason, or for a single sample.
    """
    try:
        return [compute(places)]
    except Exception as error:
        if len(places) == 1 or not is_out_of_memory(error):
            raise
    # Outside of the handler: the error's traceback holds on to the tensors of the failed attempt.
    middle = len(places) // 2
    return in_parts(compute, places[:middle]) + in_parts(compute, places[middle:])


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that memory ran short."""
    while error is not None:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS):
            return True
        error = error.__cause__
    return False
