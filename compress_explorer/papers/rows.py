"""Measured results beside the paper's, each with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import pandas as pd

from compress_explorer.engine.statistics import t_interval, wilson
from compress_explorer.papers.counting import Pair
from compress_explorer.spec.evaluation import Interval


@dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        what: was measured.
        paper: the paper's figure, in its own words; "" where it gives none.
        measured: ours.
        interval: of ours, 95 %; None where it is exact, such as a file's size.
        unit: of ours.
        over: what the interval speaks of: "test images", or "3 seeds".
    """

    what: str
    paper: str
    measured: float
    interval: Interval | None
    unit: str
    over: str = ""


def of_one(what: str, paper: str, wrong: int, images: int) -> Row:
    """The test error of one network, in percent."""
    found = wilson(wrong, images)
    return Row(what, paper, 100 * wrong / images, _percent(found), "% error", "test images")


def errors_of_one(what: str, paper: str, wrong: int, images: int) -> Row:
    """The number of test errors of one network."""
    share = wilson(images - wrong, images)
    interval = Interval(images * (1 - share.high), images * (1 - share.low), share.confidence)
    return Row(what, paper, wrong, interval, "errors", "test images")


def of_pair(what: str, paper: str, pair: Pair) -> Row:
    """The change of the error between two networks on the same images, in percentage points."""
    return Row(what, paper, 100 * pair.change, _percent(pair.interval), "points", "test images")


def over_seeds(what: str, paper: str, values: Sequence[float], unit: str) -> Row:
    """The mean over seeds; with one seed there is no interval."""
    interval = t_interval(values) if len(values) > 1 else None
    return Row(what, paper, fmean(values), interval, unit, f"{len(values)} seed{'s' if len(values) > 1 else ''}")


def of_test(what: str, p_value: float) -> Row:
    """The outcome of a test of significance."""
    return Row(what, "", p_value, None, "p")


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as a table to look at."""
    return pd.DataFrame(
        {
            "paper": [row.paper for row in rows],
            "measured": [number(row.measured) for row in rows],
            "95 % interval": [_between(row.interval) for row in rows],
            "unit": [row.unit for row in rows],
            "over": [row.over for row in rows],
        },
        index=pd.Index([row.what for row in rows], name=""),
    )


def number(value: float) -> str:
    """A number with two decimals, fewer where it is large, and two digits where it is small."""
    if abs(value) >= 100:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"
    return f"{value:.2g}" if 0 < abs(value) < 0.1 else f"{value:.2f}"


def _between(interval: Interval | None) -> str:
    return "" if interval is None else f"{number(interval.low)} … {number(interval.high)}"


def _percent(interval: Interval) -> Interval:
    return Interval(100 * interval.low, 100 * interval.high, interval.confidence)
