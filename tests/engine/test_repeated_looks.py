"""The intervals of all looks hold together, by simulation; each alone at 95 % they do not."""

import itertools

import numpy as np
import pytest
import torch

from compress_explorer.engine.evaluate import summarize
from compress_explorer.engine.scores import Scores, looks_before, next_look
from compress_explorer.engine.statistics import CONFIDENCE, difference_of_proportions, wilson

TOTAL = 10_000
LOOKS = [256, 512, 1024, 2048, 4096, 6144, 8192]
RUNS = 3000
SHARED = 1 - (1 - CONFIDENCE) / len(LOOKS)
# Of 3,000 runs that each hold with 95 %, fewer than 93.8 % do so in one case of a thousand.
SURELY_BELOW = 0.938


def test_looks_come_at_doubled_counts_and_then_every_2048():
    seen = list(itertools.takewhile(lambda count: count < TOTAL, _looks()))
    assert seen == LOOKS
    assert looks_before(TOTAL) == len(LOOKS)
    assert [looks_before(total) for total in (1, 256, 257, 512, 513, 2048, 2049, 4097)] == [0, 0, 1, 1, 2, 3, 4, 5]


def _looks():
    seen = 0
    while True:
        seen = next_look(seen)
        yield seen


def right_at_looks(shares: list[float], seed: int) -> np.ndarray:
    """How many samples of each kind there are at every look, int64 [kinds, RUNS, looks]; kinds exclude each other."""
    steps = np.diff([0, *LOOKS])
    rng = np.random.default_rng(seed)
    rest = [*shares, 1 - sum(shares)]
    drawn = np.stack([rng.multinomial(count, rest, size=RUNS) for count in steps], axis=1)
    return drawn.cumsum(axis=1).transpose(2, 0, 1)[: len(shares)]


def held(intervals, truth: float) -> bool:
    return all(interval.low <= truth <= interval.high for interval in intervals)


@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.984, 0.998])
def test_the_accuracy_lies_in_all_of_its_intervals(accuracy: float):
    (right,) = right_at_looks([accuracy], seed=1)

    def together(confidence: float) -> float:
        runs = ([wilson(count, n, confidence) for count, n in zip(row, LOOKS, strict=True)] for row in right)
        return float(np.mean([held(intervals, accuracy) for intervals in runs]))

    assert together(SHARED) >= CONFIDENCE - 0.01
    assert together(CONFIDENCE) < SURELY_BELOW


@pytest.mark.parametrize(("gained", "lost"), [(0.05, 0.2), (0.01, 0.03), (0.002, 0.006), (0.0, 0.02)])
def test_the_difference_lies_in_all_of_its_intervals(gained: float, lost: float):
    up, down = right_at_looks([gained, lost], seed=2)

    def together(confidence: float) -> float:
        runs = (
            [difference_of_proportions(b, c, n, confidence) for b, c, n in zip(ups, downs, LOOKS, strict=True)]
            for ups, downs in zip(up, down, strict=True)
        )
        return float(np.mean([held(intervals, gained - lost) for intervals in runs]))

    assert together(SHARED) >= CONFIDENCE - 0.01
    assert together(CONFIDENCE) < SURELY_BELOW


def test_a_look_on_the_way_is_wider_than_a_number_of_samples_fixed_before():
    scores = Scores(torch.tensor([1.0] * 240 + [0.0] * 16), None)
    fixed, look = (summarize(scores, scores, TOTAL, "test", looks) for looks in (1, len(LOOKS)))
    assert fixed.interval == wilson(240, 256)
    assert look.interval == wilson(240, 256, SHARED)
    assert look.difference_interval == difference_of_proportions(0, 0, 256, SHARED)
    assert look.value == fixed.value
