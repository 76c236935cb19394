"""Times two ways to the same answer in turn, in one process."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST_ROUNDS = 9
LONG_ENOUGH = 10.0
"""Seconds after which no further round is begun."""


@dataclass(frozen=True)
class Row:
    """One duel: medians in milliseconds, the relative spread (None of a single run), and how the answers compare."""

    name: str
    setting: str
    ours: float
    other: float
    spread: float | None
    answers: str


def duel(ours: Callable[[], object], other: Callable[[], object]) -> tuple[float, float, float | None, object, object]:
    """The median milliseconds of both, run in turn; the spread of their ratio; both results of the last round.

    The first round counts only where it alone took long enough. The spread is half the distance of the quartiles of
    the rounds' ratios over their median; None where there was a single round.
    """
    times: list[tuple[float, float]] = []
    begun = time.perf_counter()
    while len(times) <= MOST_ROUNDS and (not times or time.perf_counter() - begun < LONG_ENOUGH):
        first = time.perf_counter()
        mine = ours()
        second = time.perf_counter()
        theirs = other()
        times.append((second - first, time.perf_counter() - second))
    counted = times[1:] or times
    own, others = (1000 * statistics.median(column) for column in zip(*counted, strict=True))
    return own, others, _spread([first / second for first, second in counted]), mine, theirs


def _spread(ratios: Sequence[float]) -> float | None:
    if len(ratios) < 2:
        return None
    low, middle, high = statistics.quantiles(ratios, n=4)
    return (high - low) / 2 / middle


def table(rows: Sequence[Row], names: str) -> str:
    """The rows as Markdown; `names` heads the first column."""
    lines = [
        f"| {names} | on | ours ms | theirs ms | theirs / ours | spread | answers |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.setting} | {row.ours:.1f} | {row.other:.1f} | {row.other / row.ours:.3g} | "
        f"{'one run' if row.spread is None else f'± {row.spread:.0%}'} | {row.answers} |"
        for row in rows
    ]
    return "\n".join(lines)
