"""Size against accuracy: the curve of one parameter, its interval band, the baseline, and where the slider stands."""

import math
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from compress_explorer.figures import text
from compress_explorer.figures.bindings import Binding
from compress_explorer.figures.panel import Panel
from compress_explorer.figures.theme import AFTER, BEFORE, NEUTRAL, new_figure, translucent
from compress_explorer.spec.sweep import Sweep

Scale = Literal["linear", "log"]

_ROUND = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)]
"""Where a logarithmic size axis has ticks, however far it reaches."""

_NOWHERE = -1e9
"""Where the pointer is drawn while its place is not known: outside of every axis."""

_BAND, CURVE, _BASELINE = range(3)
"""Places of the traces; point i of the curve is position i of the sweep."""

_BASELINE_LINE, _HERE_LINE, _HERE = range(3)


def panel(sweep: Sweep, label: str) -> Panel:
    """The panel.

    Args:
        sweep: tells the unit of the size axis and the slider's positions.
        label: the parameter's label, for the text beside the pointer.
    """
    log = Panel("Size against accuracy", _figure(sweep, label, "log"), _bindings("log"))
    return Panel("Size against accuracy", _figure(sweep, label, "linear"), _bindings("linear"), logarithmic=log)


def _figure(sweep: Sweep, label: str, scale: Scale) -> go.Figure:
    """The three traces and the marks, empty."""
    unit, _ = text.unit_of_bytes(sweep.baseline_file)
    point = f"%{{customdata:,.1f}} {unit}<br>%{{y:.2f}} %"
    parameter = text.escape(label).replace("%", "%%")
    traces = [
        go.Scatter(mode="lines", line={"width": 0}, fill="toself", fillcolor=translucent(AFTER, 0.2), hoverinfo="skip"),
        go.Scatter(
            name="after",
            mode="lines+markers",
            connectgaps=True,
            line={"color": AFTER, "width": 2},
            marker={"color": AFTER, "size": 5},
            text=[str(value) for value in sweep.values],
            hovertemplate=f"{parameter} %{{text}}<br>{point}<extra></extra>",
        ),
        go.Scatter(
            name="before",
            mode="markers+text",
            marker={"symbol": "diamond", "color": BEFORE, "size": 13},
            text=["before "],
            textposition="bottom left",
            hovertemplate=f"before<br>{point}<extra></extra>",
            cliponaxis=False,
        ),
    ]
    axis: dict[str, Any] = {"title": {"text": f"file size ({unit})"}, "range": [0, 1], "zeroline": False}
    if scale == "log":
        # A linear axis of exponents: on a logarithmic one plotly draws shapes of fixed size out of place.
        axis |= {"tickvals": np.log10(_ROUND).tolist(), "ticktext": [f"{value:,.6g}" for value in _ROUND]}
    layout = {
        "xaxis": axis,
        "yaxis": {"title": {"text": "accuracy (%)"}, "range": [0, 100], "nticks": 6, "zeroline": False},
        "shapes": _marks(),
    }
    return new_figure(traces, layout)


def _marks() -> list[dict[str, Any]]:
    """The baseline's accuracy, and the line and the disc that say "you are here".

    Shapes: plotly moves them without drawing the curve again.
    """
    baseline = {"x0": 0, "x1": 1, "xref": "paper", "y0": _NOWHERE, "y1": _NOWHERE, "layer": "below"}
    here = {"x0": _NOWHERE, "x1": _NOWHERE, "y0": 0, "y1": 1, "yref": "paper", "layer": "below"}
    disc = {"xsizemode": "pixel", "ysizemode": "pixel", "xanchor": _NOWHERE, "yanchor": _NOWHERE}
    corners = {"x0": -9, "x1": 9, "y0": -9, "y1": 9}
    return [
        {"type": "line", "line": {"color": BEFORE, "width": 2, "dash": "dash"}, **baseline},
        {"type": "line", "line": {"color": NEUTRAL, "width": 1.5, "dash": "dot"}, **here},
        {"type": "circle", "fillcolor": AFTER, "line": {"color": "#FFFFFF", "width": 2.5}, **disc, **corners},
    ]


def _bindings(scale: Scale) -> tuple[Binding, ...]:
    """What fills the traces of `_figure`."""
    return (
        Binding(("data", _BAND, "x"), f"band_{scale}", "whole"),
        Binding(("data", _BAND, "y"), "band", "whole"),
        Binding(("layout", "shapes", _BASELINE_LINE, "y0"), "baseline_line", "scalar"),
        Binding(("layout", "shapes", _BASELINE_LINE, "y1"), "baseline_line", "scalar"),
        Binding(("layout", "shapes", _HERE_LINE, "x0"), f"here_{scale}", "scalar"),
        Binding(("layout", "shapes", _HERE_LINE, "x1"), f"here_{scale}", "scalar"),
        Binding(("data", CURVE, "x"), f"sizes_{scale}", "whole"),
        Binding(("data", CURVE, "customdata"), "sizes_linear", "whole"),
        Binding(("data", CURVE, "y"), "accuracies", "whole"),
        Binding(("data", _BASELINE, "x"), f"baseline_size_{scale}", "whole"),
        Binding(("data", _BASELINE, "customdata"), "baseline_size_linear", "whole"),
        Binding(("data", _BASELINE, "y"), "baseline_accuracy", "whole"),
        Binding(("layout", "shapes", _HERE, "xanchor"), f"here_{scale}", "scalar"),
        Binding(("layout", "shapes", _HERE, "yanchor"), "here_accuracy", "scalar"),
        Binding(("layout", "xaxis", "range"), f"size_range_{scale}", "whole"),
        Binding(("layout", "yaxis", "range"), "accuracy_range", "whole"),
    )


def wholes(sweep: Sweep) -> dict[str, np.ndarray]:
    """Every array of the figure: sizes [F] in the axis's unit, accuracies [F] in per cent, and what follows from them.

    A point that was not measured yet is NaN, for the pointer outside of the axes. Arrays named `_log` hold exponents.
    """
    _, unit = text.unit_of_bytes(sweep.baseline_file)
    sizes = np.array([math.nan if frame is None else frame.file for frame in sweep.frames]) / unit
    triples = [
        (math.nan, math.nan, math.nan) if entry is None else (entry.value, entry.interval.low, entry.interval.high)
        for entry in sweep.evaluations
    ]
    accuracies, lows, highs = 100 * np.array(triples).reshape(-1, 3).T
    baseline = math.nan if sweep.baseline is None else 100 * sweep.baseline.value
    baseline_size = sweep.baseline_file / unit
    outline, band = _band(sizes, lows, highs)
    return {
        **_scaled("sizes", sizes),
        **_scaled("band", outline),
        **_scaled("baseline_size", np.array([baseline_size])),
        **{f"here_{scale}": np.nan_to_num(array, nan=_NOWHERE) for scale, array in _scales(sizes).items()},
        "here_accuracy": np.nan_to_num(accuracies, nan=_NOWHERE),
        "accuracies": accuracies,
        "band": band,
        "baseline_accuracy": np.array([baseline]),
        "baseline_line": np.full(len(sizes), np.nan_to_num(baseline, nan=_NOWHERE)),
        **_size_ranges(np.append(sizes, baseline_size)),
        "accuracy_range": _accuracy_range(np.concatenate([lows, highs, [baseline]])),
    }


def _scales(sizes: np.ndarray) -> dict[Scale, np.ndarray]:
    return {"linear": sizes, "log": np.log10(sizes)}


def _scaled(name: str, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Sizes as the linear and the logarithmic axis show them."""
    return {f"{name}_{scale}": array for scale, array in _scales(sizes).items()}


def rows(sweep: Sweep, index: int) -> dict[str, np.ndarray]:  # noqa: ARG001 - every figure module has the same face
    """No array of this figure is a frame's alone."""
    return {}


def texts(sweep: Sweep, index: int) -> dict[str, str]:  # noqa: ARG001 - every figure module has the same face
    """No text of this figure is a frame's alone."""
    return {}


def _band(sizes: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outline [2 F] of the interval band: along the upper ends, back along the lower ones.

    A point that is not known takes its nearest known neighbour's place, so that the outline keeps its length.
    """
    known = np.flatnonzero(np.isfinite(sizes) & np.isfinite(lows))
    if known.size == 0:
        return np.full(2 * len(sizes), math.nan), np.full(2 * len(sizes), math.nan)
    nearest = known[np.abs(np.arange(len(sizes))[:, None] - known).argmin(axis=1)]
    outline = np.concatenate([nearest, nearest[::-1]])
    return sizes[outline], np.concatenate([highs[nearest], lows[nearest[::-1]]])


def _size_ranges(sizes: np.ndarray) -> dict[str, np.ndarray]:
    """The size axis over all known sizes and the baseline's, which is always known."""
    known = sizes[np.isfinite(sizes)]
    low, high = math.log10(known.min()), math.log10(known.max())
    margin = 0.06 * (high - low) + 0.02
    return {
        "size_range_linear": np.array([0, 1.06 * known.max()]),
        "size_range_log": np.array([low - margin, high + margin]),
    }


def _accuracy_range(values: np.ndarray) -> np.ndarray:
    """From a round number below everything known, in steps of ten points so that it seldom moves, to just above."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return np.array([0, 102])
    low = max(0, 10 * math.floor((known.min() - 2) / 10))
    high = 100 if known.max() > 90 else 10 * math.ceil((known.max() + 2) / 10)
    return np.array([low, high + 0.03 * (high - low)])
