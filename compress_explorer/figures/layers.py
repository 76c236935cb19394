"""Each layer's stored bytes before and after, with its share of zeros and its error."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from compress_explorer.figures import text
from compress_explorer.figures.bindings import Binding
from compress_explorer.figures.columns import column_headings, column_traces, table_layout
from compress_explorer.figures.panel import Panel
from compress_explorer.figures.theme import AFTER, BEFORE, new_figure, translucent
from compress_explorer.spec.sweep import LayerError, Sweep

ROW_HEIGHT = 26
"""Pixels of one layer: with many layers the figure grows and its panel scrolls."""
_NAME_LENGTH = 20
_COLUMNS = {"size": 84, "zeros": 64, "SQNR": 66}
_BEFORE, _AFTER = range(2)


def panel(before: Mapping[str, int]) -> Panel:
    """The panel.

    Args:
        before: bytes of each stored weight tensor in the uncompressed file, in the model's order.
    """
    bindings = (
        Binding(("data", _BEFORE, "x"), "layer_before", "whole"),
        Binding(("data", _AFTER, "x"), "layer_after", "row"),
        Binding(("data", 2, "text"), "layer_size", "text"),
        Binding(("data", 3, "text"), "layer_zeros", "text"),
        Binding(("data", 4, "text"), "layer_sqnr", "text"),
    )
    legend = (("before", BEFORE), ("after", AFTER))
    return Panel("Bytes of each layer", _figure(before), bindings, legend)


def _figure(before: Mapping[str, int]) -> go.Figure:
    """Bars on the left, their numbers in columns on the right."""
    unit, size = text.unit_of_bytes(sum(before.values()))
    count = len(before)
    names = [text.escape(name) for name in before]
    hover = f"%{{customdata}}<br>%{{fullData.name}}: %{{x:,.2f}} {unit}<extra></extra>"
    bar = {"orientation": "h", "y": list(range(count)), "customdata": names, "hovertemplate": hover}
    traces = [
        go.Bar(name="before", width=0.84, marker={"color": translucent(BEFORE, 0.45), "line": {"width": 0}}, **bar),
        go.Bar(name="after", width=0.5, marker={"color": AFTER, "line": {"width": 0}}, **bar),
        *column_traces(count, _COLUMNS),
    ]
    largest = max(before.values(), default=1) / size
    layout = {
        "barmode": "overlay",
        "height": ROW_HEIGHT * count + 60,
        "xaxis": {
            "range": [0, 1.02 * largest],
            "domain": [0, 0.6],
            "ticksuffix": f" {unit}",
            "nticks": 3,
            "zeroline": False,
            "automargin": False,
        },
        "annotations": column_headings(_COLUMNS),
        **table_layout(_short_names(list(before)), _COLUMNS, top=28),
    }
    return new_figure(traces, layout)


def _short_names(names: Sequence[str]) -> list[str]:
    """The names without the ending that all of them share, shortened where they are long."""
    if names and all(name.endswith(".weight") for name in names):
        names = [name.removesuffix(".weight") for name in names]
    return [text.shorten(name, _NAME_LENGTH) for name in names]


def wholes(sweep: Sweep, before: Mapping[str, int]) -> dict[str, np.ndarray]:  # noqa: ARG001 - one face for all
    """The arrays that all frames share."""
    _, size = text.unit_of_bytes(sum(before.values()))
    return {"layer_before": np.array(list(before.values())) / size}


def rows(sweep: Sweep, index: int, before: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The arrays of one frame; empty while it is not known."""
    frame = sweep.frames[index]
    if frame is None:
        return {}
    _, size = text.unit_of_bytes(sum(before.values()))
    stored = dict(frame.layer_bytes)
    return {"layer_after": np.array([stored[name] for name in before]) / size}


def texts(sweep: Sweep, index: int, before: Mapping[str, int]) -> dict[str, list[str]]:
    """The three columns of one frame, an entry a layer."""
    frame = sweep.frames[index]
    if frame is None:
        return {name: [text.UNKNOWN] * len(before) for name in ("layer_size", "layer_zeros", "layer_sqnr")}
    stored, zeros = dict(frame.layer_bytes), dict(frame.layer_zeros)
    errors = {error.name: error for error in frame.errors}
    return {
        "layer_size": [text.in_bytes(stored[name]) for name in before],
        "layer_zeros": [text.percent(zeros[name], 1) if name in zeros else text.NOTHING for name in before],
        "layer_sqnr": [text.decibels(sqnr(errors[name])) if name in errors else text.NOTHING for name in before],
    }


def sqnr(error: LayerError) -> float:
    """Signal to quantization noise of one tensor in dB: infinite without error, NaN for a tensor of zeros."""
    if error.noise == 0:
        return math.inf
    return 10 * math.log10(error.signal / error.noise) if error.signal > 0 else math.nan
