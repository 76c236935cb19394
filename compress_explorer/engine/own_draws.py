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


class StepDraws:
    """The random numbers of a training's steps: of each a function of seed and step.

    A training that draws none, as without dropout, leaves torch's random numbers to whoever uses them meanwhile; that
    it draws none is seen by its first step.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        """Nothing is drawn yet.

        Args:
            seed: of the training.
            device: on which it draws, beside the CPU.
        """
        self._seed, self._device = seed, device
        self._draws: bool | None = None

    @contextmanager
    def of(self, step: int) -> Iterator[None]:
        """While it runs, torch's random numbers are those of this step."""
        if self._draws is False:
            yield
            return
        on_gpu = self._device.type == "cuda"
        with own_draws((self._seed * 1_000_003 + step) % 2**63, [self._device] if on_gpu else []):
            before = torch.get_rng_state()
            yield
            if self._draws is None:
                self._draws = on_gpu or not torch.equal(before, torch.get_rng_state())
