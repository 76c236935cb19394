"""Size against accuracy of the teacher, its students, and the teacher pruned and quantized."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import plotly.graph_objects as go

from compress_explorer.figures import text
from compress_explorer.figures.bindings import Binding
from compress_explorer.figures.panel import Panel
from compress_explorer.figures.theme import AFTER, BEFORE, HARD, NEUTRAL, PEER, new_figure

Kind = Literal["pruned", "quantized", "hard", "distilled", "teacher"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which they are drawn."""

_LOOKS: dict[Kind, dict[str, Any]] = {
    "pruned": {"symbol": "circle", "color": NEUTRAL, "size": 8},
    "quantized": {"symbol": "square", "color": PEER, "size": 8},
    "hard": {"symbol": "triangle-up", "color": HARD, "size": 12},
    "distilled": {"symbol": "star", "color": AFTER, "size": 15},
    "teacher": {"symbol": "diamond", "color": BEFORE, "size": 14},
}
_NAMES: dict[Kind, str] = {**{kind: kind for kind in KINDS}, "hard": "hard labels"}

_ROUND = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)]
"""Where the logarithmic size axis has ticks, however far it reaches."""

_NOWHERE = -1e9


@dataclass(frozen=True)
class Mark:
    """One network on the chart.

    Attributes:
        kind: what it is.
        words: which it is, e.g. "T 4, α 0.9".
        file: bytes of its file.
        accuracy: on the test split, as a fraction; of several seeds their mean.
        low: the smallest of the seeds, or the lower end of the interval of a single network.
        high: the largest of the seeds, or the upper end.
    """

    kind: Kind
    words: str
    file: int
    accuracy: float
    low: float
    high: float


def panel() -> Panel:
    """The panel."""
    legend = tuple((_NAMES[kind], str(_LOOKS[kind]["color"])) for kind in ("distilled", "hard", "pruned", "quantized"))
    return Panel("Size against accuracy", _figure(), _bindings(), legend)


def _figure() -> go.Figure:
    """A trace a kind; a dashed line at the teacher's accuracy, a dotted one at the size of the student in hand."""
    traces = [
        go.Scatter(
            name=_NAMES[kind],
            mode="lines+markers" if kind in ("pruned", "quantized") else "markers",
            marker=_LOOKS[kind],
            line={"color": _LOOKS[kind]["color"], "width": 1},
            error_y={"type": "data", "symmetric": False, "thickness": 1.5, "width": 3, "color": _LOOKS[kind]["color"]},
            hovertemplate=f"{_NAMES[kind]} %{{text}}<br>%{{customdata:,.1f}} KB<br>%{{y:.2f}} %<extra></extra>",
            cliponaxis=False,
        )
        for kind in KINDS
    ]
    teacher = {"x0": 0, "x1": 1, "xref": "paper", "y0": _NOWHERE, "y1": _NOWHERE, "layer": "below"}
    here = {"x0": _NOWHERE, "x1": _NOWHERE, "y0": 0, "y1": 1, "yref": "paper", "layer": "below"}
    layout = {
        # A linear axis of exponents: on a logarithmic one plotly draws shapes out of place.
        "xaxis": {
            "title": {"text": "file size (KB)"},
            "range": [0, 1],
            "zeroline": False,
            "tickvals": np.log10(_ROUND).tolist(),
            "ticktext": [f"{value:,.6g}" for value in _ROUND],
        },
        "yaxis": {"title": {"text": "test accuracy (%)"}, "range": [0, 100], "nticks": 6, "zeroline": False},
        "shapes": [
            {"type": "line", "line": {"color": BEFORE, "width": 2, "dash": "dash"}, **teacher},
            {"type": "line", "line": {"color": AFTER, "width": 1.5, "dash": "dot"}, **here},
        ],
    }
    return new_figure(traces, layout)


def _bindings() -> tuple[Binding, ...]:
    bindings = [
        Binding(("layout", "shapes", 0, "y0"), "teacher_test_line", "scalar"),
        Binding(("layout", "shapes", 0, "y1"), "teacher_test_line", "scalar"),
        Binding(("layout", "shapes", 1, "x0"), "student_line", "scalar"),
        Binding(("layout", "shapes", 1, "x1"), "student_line", "scalar"),
        Binding(("layout", "xaxis", "range"), "student_sizes_range", "whole"),
        Binding(("layout", "yaxis", "range"), "student_accuracies_range", "whole"),
    ]
    for place, kind in enumerate(KINDS):
        bindings += [
            Binding(("data", place, "x"), f"{kind}_sizes_log", "whole"),
            Binding(("data", place, "customdata"), f"{kind}_sizes", "whole"),
            Binding(("data", place, "y"), f"{kind}_accuracies", "whole"),
            Binding(("data", place, "error_y", "array"), f"{kind}_above", "whole"),
            Binding(("data", place, "error_y", "arrayminus"), f"{kind}_below", "whole"),
            Binding(("data", place, "text"), f"{kind}_words", "label"),
        ]
    return tuple(bindings)


def arrays(marks: Sequence[Mark], student: int | None, positions: int) -> dict[str, np.ndarray]:
    """Every array of the figure.

    Args:
        marks: the networks that were measured, in any order.
        student: bytes of the file of the student in hand; None while unknown.
        positions: how many positions the film has.
    """
    found: dict[str, np.ndarray] = {}
    for kind in KINDS:
        own = sorted((mark for mark in marks if mark.kind == kind), key=lambda mark: mark.file)
        sizes = np.array([mark.file / 1000 for mark in own])
        table = 100 * np.array([(mark.accuracy, mark.low, mark.high) for mark in own]).reshape(-1, 3)
        found |= {
            f"{kind}_sizes": sizes,
            f"{kind}_sizes_log": np.log10(sizes),
            f"{kind}_accuracies": table[:, 0],
            f"{kind}_above": table[:, 2] - table[:, 0],
            f"{kind}_below": table[:, 0] - table[:, 1],
        }
    teacher = [100 * mark.accuracy for mark in marks if mark.kind == "teacher"]
    files = [mark.file for mark in marks] + ([] if student is None else [student])
    return {
        **found,
        "teacher_test_line": np.full(positions, teacher[0] if teacher else _NOWHERE),
        "student_line": np.full(positions, _NOWHERE if student is None else math.log10(student / 1000)),
        "student_sizes_range": _size_range(files),
        "student_accuracies_range": _accuracy_range(marks),
    }


def labels(marks: Sequence[Mark]) -> dict[str, list[str]]:
    """What the pointer reads at each mark."""
    return {
        f"{kind}_words": [
            text.escape(mark.words)
            for mark in sorted((mark for mark in marks if mark.kind == kind), key=lambda mark: mark.file)
        ]
        for kind in KINDS
    }


def _size_range(sizes: Sequence[int]) -> np.ndarray:
    """Exponents with a margin; of kilobytes."""
    if not sizes:
        return np.array([0, 3])
    low, high = math.log10(min(sizes) / 1000), math.log10(max(sizes) / 1000)
    margin = 0.06 * (high - low) + 0.05
    return np.array([low - margin, high + margin])


def _accuracy_range(marks: Sequence[Mark]) -> np.ndarray:
    """In steps of ten points, so that it seldom moves. The teacher compressed to below half of the best leaves it."""
    if not marks:
        return np.array([0, 102])
    best = 100 * max(mark.high for mark in marks)
    lows = (100 * mark.low for mark in marks if mark.kind not in ("pruned", "quantized") or 100 * mark.low >= best / 2)
    low = max(0, 10 * math.floor((min(lows, default=best / 2) - 1) / 10))
    high = 100 if best > 90 else 10 * math.ceil((best + 1) / 10)
    return np.array([low, high + 0.03 * (high - low)])
