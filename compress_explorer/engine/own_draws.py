"""Torch's random numbers, of which a process has one state: drawn by one thread of the package at a time."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

_DRAWING = threading.RLock()
"""Held by the thread that draws: two trainings at once would seed, and put back, each other's random numbers."""


@contextmanager
def own_draws(seed: int | None = None, devices: Sequence[torch.device | int] = ()) -> Iterator[None]:
    """While it runs, torch's random numbers are this thread's own; afterwards the caller's go on where they were.

    Another thread that asks for its own waits meanwhile. Keep it short: a step of a training, not all of it.

    Args:
        seed: of the numbers; None: they go on from the caller's.
        devices: the CUDA devices to draw on, beside the CPU.
    """
    with _DRAWING, torch.random.fork_rng(devices=list(devices)):
        if seed is not None:
            torch.manual_seed(seed)
        yield
