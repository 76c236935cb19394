"""Size against accuracy: the curve of one parameter, its interval band, the baseline, and where the slider stands."""

import math
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from compress_explorer.figures import text
from compress_explorer.figures.bindings import Binding
from compress_explorer.figures.panel import Panel
from compress_explorer.figures.theme import AFTER, BEFORE, NEUTRAL, new_figure, translucent
from compress_explorer.spec.sweep import Sweep

Scale = Literal["linear", "log"]

_BAND, _BASELINE_LINE, _HERE_LINE, _CURVE, _BASELINE, _HERE = range(6)


def panel(sweep: Sweep, label: str) -> Panel:
    """The panel.

    Args:
        sweep: tells the unit of the size axis and the slider's positions.
        label: the parameter's label, for the text beside the pointer.
    """
    legend = (("before", BEFORE), ("after", AFTER))
    log = Panel("Size against accuracy", _figure(sweep, label, "log"), _bindings("log"), legend)
    return Panel("Size against accuracy", _figure(sweep, label, "linear"), _bindings("linear"), legend, log)


def _figure(sweep: Sweep, label: str, scale: Scale) -> go.Figure:
    """The six traces, empty. The second axes run from 0 to 1 over the figure's width and height."""
    unit, _ = text.unit_of_bytes(sweep.baseline_file)
    point = f"%{{x:,.1f}} {unit}<br>%{{y:.2f}} %"
    parameter = text.escape(label).replace("%", "%%")
    traces = [
        go.Scatter(mode="lines", line={"width": 0}, fill="toself", fillcolor=translucent(AFTER, 0.2), hoverinfo="skip"),
        go.Scatter(
            x=[0, 1],
            xaxis="x2",
            mode="lines",
            line={"color": BEFORE, "width": 2, "dash": "dash"},
            hoverinfo="skip",
        ),
        go.Scatter(
            x=[None, None],
            y=[0, 1],
            yaxis="y2",
            mode="lines",
            line={"color": NEUTRAL, "width": 1.5, "dash": "dot"},
            hoverinfo="skip",
        ),
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
            mode="markers",
            marker={"symbol": "diamond", "color": BEFORE, "size": 13},
            hovertemplate=f"before<br>{point}<extra></extra>",
            cliponaxis=False,
        ),
        go.Scatter(
            name="you are here",
            x=[None],
            y=[None],
            mode="markers",
            marker={"color": AFTER, "size": 17, "line": {"color": "#FFFFFF", "width": 2.5}},
            hovertemplate=f"you are here<br>{point}<extra></extra>",
            cliponaxis=False,
        ),
    ]
    axis = {"title": {"text": f"file size ({unit})"}, "type": scale, "range": [0, 1], "nticks": 6, "zeroline": False}
    if scale == "log":
        axis |= {"dtick": "D2"}
    layout = {
        "xaxis": axis,
        "yaxis": {"title": {"text": "accuracy (%)"}, "range": [0, 100], "nticks": 6, "zeroline": False},
        "xaxis2": {"overlaying": "x", "range": [0, 1], "visible": False, "fixedrange": True},
        "yaxis2": {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
    }
    return new_figure(traces, layout)


def _bindings(scale: Scale) -> tuple[Binding, ...]:
    """What fills the traces of `_figure`."""
    return (
        Binding(("data", _BAND, "x"), "band_sizes", "whole"),
        Binding(("data", _BAND, "y"), "band", "whole"),
        Binding(("data", _BASELINE_LINE, "y"), "baseline_line", "whole"),
        Binding(("data", _HERE_LINE, "x", 0), "sizes", "scalar"),
        Binding(("data", _HERE_LINE, "x", 1), "sizes", "scalar"),
        Binding(("data", _CURVE, "x"), "sizes", "whole"),
        Binding(("data", _CURVE, "y"), "accuracies", "whole"),
        Binding(("data", _BASELINE, "x"), "baseline_size", "whole"),
        Binding(("data", _BASELINE, "y"), "baseline_accuracy", "whole"),
        Binding(("data", _HERE, "x", 0), "sizes", "scalar"),
        Binding(("data", _HERE, "y", 0), "accuracies", "scalar"),
        Binding(("layout", "xaxis", "range"), f"size_range_{scale}", "whole"),
        Binding(("layout", "yaxis", "range"), "accuracy_range", "whole"),
    )


def wholes(sweep: Sweep) -> dict[str, np.ndarray]:
    """Every array of the figure: sizes [F] in the axis's unit, accuracies [F] in per cent, and what follows from them.

    A point that was not measured yet is NaN.
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
    band_sizes, band = _band(sizes, lows, highs)
    return {
        "sizes": sizes,
        "accuracies": accuracies,
        "band_sizes": band_sizes,
        "band": band,
        "baseline_size": np.array([baseline_size]),
        "baseline_accuracy": np.array([baseline]),
        "baseline_line": np.array([baseline, baseline]),
        **_size_ranges(np.append(sizes, baseline_size)),
        "accuracy_range": _accuracy_range(np.concatenate([lows, highs, [baseline]])),
    }


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
