"""What to do when memory runs short: the same in smaller parts."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

WORDS = ("can't allocate memory", "not enough memory", "out of memory")
"""Of the RuntimeError by which torch says so on a CPU."""


def in_parts(compute: Callable[[Tensor], Result], chosen: Tensor) -> list[Result]:
    """`compute` of all chosen samples at once, or where memory runs short of ever smaller halves, in their order.

    Args:
        compute: takes some of the chosen.
        chosen: int64 [n], the samples' places.

    Raises:
        Exception: what `compute` raises for another reason, or for a single sample.
    """
    try:
        return [compute(chosen)]
    except Exception as error:
        if len(chosen) == 1 or not is_out_of_memory(error):
            raise
    # Outside of the handler: the error's traceback holds on to the tensors of the failed attempt.
    middle = len(chosen) // 2
    return in_parts(compute, chosen[:middle]) + in_parts(compute, chosen[middle:])


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that memory ran short."""
    while error is not None:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS):
            return True
        error = error.__cause__
    return False
