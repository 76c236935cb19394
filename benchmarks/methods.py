"""Times each method beside its oracle, in turn, in one process, on layers of one and of 25 million weights."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.oracles import CONTESTS, Contest
from benchmarks.sweeps import SWEEPS, SweepContest, largest_difference

SIZES = {"1M": (1024, 1024), "25M": (5120, 5120)}
"""Rows and columns."""

MOST_ROUNDS = 9
LONG_ENOUGH = 10.0
"""Seconds after which no further round is begun."""


@dataclass(frozen=True)
class Row:
    """One contest on one size: medians in milliseconds, and how far the answers agree."""

    name: str
    size: str
    ours: float
    oracle: float
    agreement: str


def weights(size: str) -> Tensor:
    """Normally distributed, the same on every run."""
    return torch.randn(SIZES[size], generator=torch.Generator().manual_seed(0))


def duel(ours: Callable[[], object], oracle: Callable[[], object]) -> tuple[float, float, object, object]:
    """The median milliseconds of both, run in turn, and both results of the last round.

    The first round counts only where it alone took long enough.
    """
    times: list[tuple[float, float]] = []
    begun = time.perf_counter()
    while len(times) <= MOST_ROUNDS and (not times or time.perf_counter() - begun < LONG_ENOUGH):
        first = time.perf_counter()
        mine = ours()
        second = time.perf_counter()
        other = oracle()
        times.append((second - first, time.perf_counter() - second))
    counted = times[1:] or times
    own, others = (1000 * statistics.median(column) for column in zip(*counted, strict=True))
    return own, others, mine, other


def method_row(contest: Contest, size: str) -> Row:
    """One method beside its oracle."""
    weight = weights(size)
    own, others, mine, other = duel(lambda: contest.ours(weight), lambda: contest.oracle(weight.clone()))
    return Row(contest.name, size, own, others, f"{contest.agreement(weight, mine, other):.6g}")


def sweep_row(contest: SweepContest, size: str) -> Row:
    """All positions of a slider beside the oracle applied to each."""
    weight = weights(size)
    own, others, mine, other = duel(lambda: contest.ours(weight), lambda: contest.oracle(weight))
    assert isinstance(mine, list)
    assert isinstance(other, list)
    return Row(contest.name, size, own, others, f"within {largest_difference(mine, other):.1e}")


def run() -> list[Row]:
    """Every contest on every size that it is held on."""
    rows = []
    for size, (height, width) in SIZES.items():
        rows += [method_row(contest, size) for contest in CONTESTS if height * width <= contest.largest]
        rows += [sweep_row(contest, size) for contest in SWEEPS if height * width <= contest.largest]
    return rows


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| method / oracle | weights | ours ms | oracle ms | ours / oracle | agreement |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.size} | {row.ours:.1f} | {row.oracle:.1f} | {row.ours / row.oracle:.3g} | "
        f"{row.agreement} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(run()))
