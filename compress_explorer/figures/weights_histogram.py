"""The weights before and after compression, counted in bins on one axis.

Zeros stand apart: bins show the weights that are not zero, a spike at 0 shows how many are.
"""

import math
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from compress_explorer.figures.bindings import Binding
from compress_explorer.figures.panel import Panel
from compress_explorer.figures.theme import AFTER, BEFORE, NEUTRAL, new_figure, translucent
from compress_explorer.spec.sweep import Frame, Sweep

Scale = Literal["linear", "log"]

FLOOR = 1e-9
"""Where an empty bin is drawn: far below every logarithmic axis, too little to see or to count on a linear one."""

_NOWHERE = -1e9
"""Where a mark is drawn while there is nothing to mark: outside of every axis."""

_BEFORE, _AFTER, _LEVELS, _SPIKE = range(4)
_LOWER, _UPPER, _ARROW, _ZEROS = range(4)


def panel(sweep: Sweep, layer: str | None = None) -> Panel:
    """The panel for one layer, or for all treated weights when `layer` is None."""
    title = "Weights" if layer is None else layer
    quantized = any(frame is not None and frame.histogram.levels for frame in sweep.frames)
    legend = (("before", BEFORE), ("after", AFTER), *([("levels", NEUTRAL)] if quantized else []))
    log = Panel(title, _figure("log"), _bindings("log"), legend)
    return Panel(title, _figure("linear"), _bindings("linear"), legend, log)


def _figure(scale: Scale) -> go.Figure:
    """The four traces and the marks, empty. The second y axis runs from 0 to 1 over the figure's height."""
    count = "from %{x:.4~g}: %{y:,.0f} weights"
    traces = [
        go.Scatter(name="before", hovertemplate=f"before, {count}<extra></extra>", **_area(BEFORE, 0.45, 1)),
        go.Scatter(name="after", hovertemplate=f"after, {count}<extra></extra>", **_area(AFTER, 0.8, 2)),
        go.Scatter(
            name="levels",
            yaxis="y2",
            mode="markers",
            marker={"symbol": "line-ns-open", "size": 11, "color": NEUTRAL, "line": {"width": 1.5}},
            hovertemplate="level %{x:.4~g}<extra></extra>",
            cliponaxis=False,
        ),
        go.Scatter(
            name="zeros",
            x=[0, 0],
            y=[FLOOR, FLOOR],
            mode="lines",
            line={"color": AFTER, "width": 5},
            hovertemplate="%{y:,.0f} weights are exactly 0<extra></extra>",
        ),
    ]
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "weight"}, "range": [-1, 1], "showgrid": False, "zeroline": False},
        "yaxis": {
            "title": {"text": "weights in a bin"},
            "type": scale,
            "range": [0, 1],
            "nticks": 6,
            "tickformat": "~s",
            "zeroline": False,
        },
        "yaxis2": {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
        "shapes": _marks(),
    }
    if scale == "log":
        layout["yaxis"] |= {"dtick": 1}
    return new_figure(traces, layout)


def _marks() -> list[dict[str, Any]]:
    """The threshold on both sides, the arrow of a spike that leaves the figure, and the words beside them.

    Shapes: plotly moves them at a fraction of the time that traces take.
    """
    threshold = {"type": "line", "x0": _NOWHERE, "x1": _NOWHERE, "y0": 0, "y1": 0.88, "yref": "paper"}
    dashed = {"color": NEUTRAL, "width": 1.5, "dash": "dash"}
    words = {"text": "", "textangle": 0, "padding": 6}
    right_of_line = {**words, "textposition": "end", "xanchor": "left", "yanchor": "top"}
    left_of_spike = {**words, "textposition": "middle", "xanchor": "right", "yanchor": "middle", "padding": 10}
    pixels = {"xsizemode": "pixel", "ysizemode": "pixel", "yref": "paper"}
    return [
        {**threshold, "line": dashed},
        {**threshold, "line": dashed, "label": right_of_line},
        {
            "type": "path",
            "path": "M -8,-13 L 8,-13 L 0,0 Z",
            "xanchor": _NOWHERE,
            "yanchor": 1,
            "fillcolor": AFTER,
            "line": {"width": 0},
            **pixels,
        },
        {
            "type": "line",
            "x0": 0,
            "x1": 0,
            "y0": 0.9,
            "y1": 0.98,
            "yref": "paper",
            "line": {"width": 0},
            "label": {**left_of_spike, "font": {"color": AFTER}},
        },
    ]


def _area(colour: str, opacity: float, width: float) -> dict[str, Any]:
    """A step-shaped area: it draws faster than bars."""
    return {
        "mode": "lines",
        "line": {"shape": "hv", "color": colour, "width": width},
        "fill": "tozeroy",
        "fillcolor": translucent(colour, opacity),
    }


def _bindings(scale: Scale) -> tuple[Binding, ...]:
    """What fills the traces of `_figure`."""
    return (
        Binding(("data", _BEFORE, "x"), "edges", "whole"),
        Binding(("data", _BEFORE, "y"), "before", "whole", FLOOR),
        Binding(("data", _AFTER, "x"), "edges", "whole"),
        Binding(("data", _AFTER, "y"), "after", "row", FLOOR),
        Binding(("data", _LEVELS, "x"), "levels", "row"),
        Binding(("data", _LEVELS, "y"), "levels_y", "row"),
        Binding(("data", _SPIKE, "y", 1), "zeros", "scalar", FLOOR),
        Binding(("layout", "shapes", _LOWER, "x0"), "threshold_below", "scalar", _NOWHERE),
        Binding(("layout", "shapes", _LOWER, "x1"), "threshold_below", "scalar", _NOWHERE),
        Binding(("layout", "shapes", _UPPER, "x0"), "threshold", "scalar", _NOWHERE),
        Binding(("layout", "shapes", _UPPER, "x1"), "threshold", "scalar", _NOWHERE),
        Binding(("layout", "shapes", _UPPER, "label", "text"), "threshold_text", "text"),
        Binding(("layout", "shapes", _ARROW, "xanchor"), f"arrow_{scale}", "scalar", _NOWHERE),
        Binding(("layout", "shapes", _ZEROS, "label", "text"), "zero_count", "text"),
        Binding(("layout", "xaxis", "range"), "weight_range", "whole"),
        Binding(("layout", "yaxis", "range"), f"count_range_{scale}", "row"),
    )


def wholes(sweep: Sweep) -> dict[str, np.ndarray]:
    """The arrays that all frames share; empty while no frame is known."""
    frame = next((frame for frame in sweep.frames if frame is not None), None)
    if frame is None:
        return {name: np.empty(0) for name in ("edges", "before", "weight_range")}
    edges = np.array(frame.histogram.edges)
    return {
        "edges": np.concatenate([edges[:1], edges]),
        "before": _steps(frame.histogram.before),
        "weight_range": edges[[0, -1]],
    }


def rows(sweep: Sweep, index: int) -> dict[str, np.ndarray]:
    """The arrays of one frame; empty while it is not known."""
    frame = sweep.frames[index]
    if frame is None:
        return {}
    histogram = frame.histogram
    top = 1.22 * max(*histogram.before, *histogram.after, 1)
    threshold = histogram.threshold
    return {
        "after": _steps(histogram.after),
        "levels": np.array(histogram.levels),
        "levels_y": np.full(len(histogram.levels), 0.012),
        "threshold": np.array(_NOWHERE if threshold is None else threshold),
        "threshold_below": np.array(_NOWHERE if threshold is None else -threshold),
        "zeros": np.array(histogram.zeros_after),
        "arrow_linear": np.array(0 if histogram.zeros_after > top else _NOWHERE),
        "arrow_log": np.array(_NOWHERE),
        "count_range_linear": np.array([0, top]),
        "count_range_log": np.array(_log_range(frame)),
    }


def texts(sweep: Sweep, index: int) -> dict[str, str]:
    """The labels of one frame."""
    frame = sweep.frames[index]
    if frame is None:
        return {"zero_count": "", "threshold_text": ""}
    zeros, threshold = frame.histogram.zeros_after, frame.histogram.threshold
    return {
        "zero_count": f"{zeros:,} zeros" if zeros else "",
        "threshold_text": "" if threshold is None else f"|w| ≤ {threshold:.3g}",
    }


def _steps(counts: tuple[int, ...]) -> np.ndarray:
    """Heights at the bins' edges [n + 2], from zero and back to it; they sum to the counts' sum."""
    return np.array([0, *counts, 0], dtype=np.float64)


def _log_range(frame: Frame) -> list[float]:
    """Exponents of the counts' axis: from below one weight to all weights, with room for the label."""
    low, high = math.log10(0.6), math.log10(max(sum(frame.histogram.before), 1))
    return [low, high + 0.12 * (high - low)]
