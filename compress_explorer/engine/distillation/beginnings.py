"""Students before their training, and the seeds that they are drawn with."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from compress_explorer.engine.own_draws import own_draws
from compress_explorer.spec.errors import ModelError, ParameterError

Student = nn.Module | Callable[[], nn.Module]
"""A network, from whose weights every seed begins, or what builds one, whose initial weights each seed draws."""


def initial(student: Student, seed: int) -> nn.Module:
    """A student of its own before its training: a copy of the network, or a new one drawn with this seed.

    Raises:
        ModelError: when `student` is neither a network nor what builds one, or cannot be copied.
    """
    if isinstance(student, nn.Module):
        try:
            return copy.deepcopy(student)
        except Exception as error:
            raise ModelError(
                f"{type(student).__name__} cannot be copied: {type(error).__name__}: {error}. "
                "Pass a function that builds it."
            ) from error
    with seeded(seed):
        built = student() if callable(student) else None
    if not isinstance(built, nn.Module):
        raise ModelError(
            f"The student must be a torch.nn.Module, or a function without arguments that builds one; "
            f"{type(student).__name__} gave {type(built).__name__}."
        )
    return built


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """While it runs, torch's random numbers are those of this seed; afterwards the caller's go on."""
    with own_draws(seed, range(torch.cuda.device_count())):
        yield


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """The seeds, when they are different whole numbers.

    Raises:
        ParameterError: when they are not, or there is none.
    """
    listed = isinstance(seeds, Sequence)
    whole = listed and all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63 for seed in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds):
        raise ParameterError(
            f"seeds={seeds!r} must be different whole numbers from 0 on and below 2**63, e.g. (0, 1, 2)."
        )
    return tuple(seeds)
