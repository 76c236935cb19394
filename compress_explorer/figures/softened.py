"""What a temperature does to a teacher's answer for one example: its softened probabilities, beside the picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from compress_explorer.figures import text
from compress_explorer.figures.bindings import Binding
from compress_explorer.figures.columns import table_layout
from compress_explorer.figures.panel import Panel
from compress_explorer.figures.theme import AFTER, BEFORE, NEUTRAL, new_figure, translucent
from compress_explorer.spec.distillation import Softened

Scale = Literal["linear", "log"]

FLOOR = 1e-12
"""Where a probability of 0 is drawn: far below the logarithmic axis."""

_LONGEST_NAME = 14
_PICTURE = 124
"""Pixels that the picture takes, and the words below it."""


@dataclass(frozen=True, eq=False)
class Example:
    """One sample and what the teacher says of it.

    Attributes:
        picture: a data URI.
        label: its class, in words.
        softened: the teacher's probabilities at every position of the temperature's slider.
        hard: softmax(logits), [classes]: the same at T = 1.
    """

    picture: str
    label: str
    softened: Softened
    hard: np.ndarray


def panel(classes: Sequence[str]) -> Panel:
    """The panel.

    Args:
        classes: the classes' names, in the order of the logits.
    """
    legend = (("T = 1", BEFORE), ("softened", AFTER))
    title = "Soft targets"
    log = Panel(title, _figure(classes, "log"), _bindings(), legend)
    return Panel(title, _figure(classes, "linear"), _bindings(), legend, log)


def _figure(classes: Sequence[str], scale: Scale) -> go.Figure:
    """Two bars a class; at the right the picture, its label and the teacher's answer."""
    count = len(classes)
    names = [text.escape(name) for name in classes]
    bar = {"orientation": "h", "y": list(range(count)), "customdata": names}
    hover = "%{customdata}: %{x:.3~g}<extra>%{fullData.name}</extra>"
    traces = [
        go.Bar(name="T = 1", width=0.84, marker={"color": translucent(BEFORE, 0.55), "line": {"width": 0}}, **bar),
        go.Bar(name="softened", width=0.5, marker={"color": AFTER, "line": {"width": 0}}, **bar),
        # An axis without a trace is not drawn, and the picture stands on this one.
        go.Scatter(x=[0], y=[0], xaxis="x2", mode="markers", marker={"opacity": 0}, hoverinfo="skip"),
    ]
    for trace in traces[:2]:
        trace.hovertemplate = hover
    table = table_layout([text.shorten(name, _LONGEST_NAME) for name in classes], {"picture": _PICTURE}, top=8)
    axis: dict[str, Any] = {
        "domain": [0, 0.6],
        "zeroline": False,
        "automargin": False,
        "title": {"text": "probability"},
    }
    if scale == "linear":
        axis |= {"range": [0, 1.02], "tickvals": [0, 0.5, 1], "ticktext": ["0", "0.5", "1"]}
    else:
        axis |= {"type": "log", "range": [-6, 0.02], "tickvals": [1e-6, 1e-3, 1], "ticktext": ["10⁻⁶", "0.001", "1"]}
    table["margin"]["b"] = 44
    return new_figure(traces, {"barmode": "overlay", "xaxis": axis, **table, **_beside()})


def _beside() -> dict[str, Any]:
    """The picture and the words below it, in the pixels of the second x axis."""
    left, middle = 14, 14 + _PICTURE / 2
    image = {
        "source": "",
        "xref": "x2",
        "yref": "paper",
        "x": left,
        "y": 1,
        "sizex": _PICTURE,
        "sizey": 0.5,
        "sizing": "contain",
        "yanchor": "top",
        "xanchor": "left",
    }
    words = {"xref": "x2", "yref": "paper", "x": middle, "xanchor": "center", "yanchor": "top", "showarrow": False}
    quiet = {"font": {"color": NEUTRAL}}
    return {
        "images": [image],
        "annotations": [
            {"text": "label", "y": 0.46, **words, **quiet},
            {"text": "", "y": 0.37, **words},
            {"text": "teacher", "y": 0.24, **words, **quiet},
            {"text": "", "y": 0.15, **words},
        ],
    }


def _bindings() -> tuple[Binding, ...]:
    return (
        Binding(("data", 0, "x"), "hard", "whole", FLOOR),
        Binding(("data", 1, "x"), "softened", "row", FLOOR),
        Binding(("layout", "images", 0, "source"), "picture", "label"),
        Binding(("layout", "annotations", 1, "text"), "label", "label"),
        Binding(("layout", "annotations", 3, "text"), "answer", "label"),
    )


def arrays(example: Example) -> dict[str, np.ndarray]:
    """The softened probabilities [F, classes] and those at T = 1 [classes]."""
    return {"softened": example.softened.probabilities, "hard": example.hard}


def labels(example: Example, classes: Sequence[str]) -> dict[str, str]:
    """The picture and the words below it."""
    answer = int(np.argmax(example.hard))
    return {
        "picture": example.picture,
        "label": f"<b>{text.escape(text.shorten(example.label, _LONGEST_NAME))}</b>",
        "answer": f"<b>{text.escape(text.shorten(classes[answer], _LONGEST_NAME))}</b>",
    }


def texts(example: Example) -> dict[str, list[str]]:
    """The strip's readouts of entropy and dark knowledge, an entry a temperature."""
    most = np.log2(len(example.hard))
    return {
        "entropy": [f"{value:.2f}" for value in example.softened.entropy],
        "entropy_unit": ["bits"] * len(example.softened.entropy),
        "entropy_of": [f"of {most:.2f} at most"] * len(example.softened.entropy),
        "dark": [text.percent(value, 1) for value in example.softened.dark],
        "dark_of": ["not on the first"] * len(example.softened.dark),
    }
