"""The surface of temperature and alpha: the students' accuracy in every cell, and how far its seeds lie apart."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from compress_explorer.figures import text
from compress_explorer.figures.bindings import Binding
from compress_explorer.figures.panel import Panel
from compress_explorer.figures.theme import AFTER, new_figure
from compress_explorer.spec.distillation import SurfaceFrame

CELLS, SPREADS, CHARTED = range(3)
"""Places of the traces. Cell i of each is temperature i modulo their number, and alpha i divided by it."""

_LARGEST_MARK = 20
_STAR = 16
_NOWHERE = -1e9
_HIDDEN = 0.0


def panel(temperatures: Sequence[float], alphas: Sequence[float]) -> Panel:
    """The panel.

    Args:
        temperatures: the columns.
        alphas: the rows.
    """
    legend = (("★ in the chart", AFTER), ("you are here", AFTER))
    return Panel("Temperature and alpha", _figure(temperatures, alphas), _bindings(), legend)


def cell(point: Any, columns: int, rows: int) -> tuple[int, int] | None:
    """The (temperature, alpha) indices of a point that was clicked; None when it is none.

    Args:
        point: of a heatmap [row, column], of the marks the cell's number.
        columns: how many temperatures there are.
        rows: how many alphas there are.
    """
    if isinstance(point, int):
        found = point % columns, point // columns
    elif isinstance(point, list | tuple) and len(point) == 2 and all(isinstance(entry, int) for entry in point):
        found = point[1], point[0]
    else:
        return None
    return found if 0 <= found[0] < columns and 0 <= found[1] < rows else None


def _figure(temperatures: Sequence[float], alphas: Sequence[float]) -> go.Figure:
    """Cells, each with a ring for its spread and a star when it is in the chart; a larger ring for the sliders."""
    columns, rows = _places(temperatures, alphas)
    ring = {"symbol": "circle-open", "color": "#FFFFFF", "size": [_HIDDEN] * len(columns), "line": {"width": 2}}
    star = {
        "symbol": "star",
        "color": AFTER,
        "opacity": 1,
        "size": [_HIDDEN] * len(columns),
        "line": {"color": "#FFFFFF", "width": 1},
    }
    traces = [
        go.Heatmap(
            x=columns,
            y=rows,
            z=[None] * len(columns),
            text=[""] * len(columns),
            colorscale="Cividis",
            xgap=2,
            ygap=2,
            zauto=False,
            zmin=0,
            zmax=100,
            colorbar={"thickness": 12, "outlinewidth": 0, "ticksuffix": " %", "xpad": 6, "nticks": 5},
            hovertemplate="%{text}<extra></extra>",
        ),
        go.Scatter(x=columns, y=rows, mode="markers", marker=ring, hoverinfo="skip"),
        go.Scatter(x=columns, y=rows, mode="markers", marker=star, hoverinfo="skip"),
    ]
    disc = {"xsizemode": "pixel", "ysizemode": "pixel", "x0": -13, "x1": 13, "y0": -13, "y1": 13}
    layout: dict[str, Any] = {
        "xaxis": {
            "title": {"text": "temperature"},
            "range": [-0.5, len(temperatures) - 0.5],
            "tickvals": list(range(len(temperatures))),
            "ticktext": [f"{value:g}" for value in temperatures],
            "showgrid": False,
            "zeroline": False,
        },
        "yaxis": {
            "title": {"text": "alpha"},
            "range": [-0.5, len(alphas) - 0.5],
            "tickvals": list(range(len(alphas))),
            "ticktext": [f"{value:g}" for value in alphas],
            "showgrid": False,
            "zeroline": False,
        },
        "annotations": [
            {"text": "", "x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False, "opacity": 0.75}
        ],
        "shapes": [
            {"type": "circle", "line": {"color": AFTER, "width": 4}, "xanchor": _NOWHERE, "yanchor": _NOWHERE, **disc}
        ],
    }
    return new_figure(traces, layout)


def _places(temperatures: Sequence[float], alphas: Sequence[float]) -> tuple[list[int], list[int]]:
    """Column and row of every cell, the temperature running first."""
    columns = np.tile(np.arange(len(temperatures)), len(alphas))
    rows = np.repeat(np.arange(len(alphas)), len(temperatures))
    return columns.tolist(), rows.tolist()


def _bindings() -> tuple[Binding, ...]:
    return (
        Binding(("data", CELLS, "z"), "surface", "whole"),
        Binding(("data", CELLS, "zmin"), "surface_lowest", "scalar"),
        Binding(("data", CELLS, "zmax"), "surface_highest", "scalar"),
        Binding(("layout", "annotations", 0, "text"), "surface_hint", "label"),
        Binding(("data", CELLS, "text"), "surface_words", "label"),
        Binding(("data", SPREADS, "marker", "size"), "surface_spread", "whole"),
        Binding(("data", CHARTED, "marker", "size"), "surface_charted", "whole"),
        Binding(("layout", "shapes", 0, "xanchor"), "here_temperature", "scalar"),
        Binding(("layout", "shapes", 0, "yanchor"), "here_alpha", "scalar"),
    )


def arrays(
    surface: SurfaceFrame | None,
    temperatures: Sequence[float],
    alphas: Sequence[float],
    positions: Sequence[float],
    alpha: float | None,
    charted: Collection[tuple[int, int]] = (),
) -> dict[str, np.ndarray]:
    """Every array of the figure: means [cells] in per cent, marks [cells] in pixels, the place of the sliders [F].

    A mark's diameter is to the largest spread of all cells as its own spread is.

    Args:
        surface: as far as it is trained; None: no epoch is complete.
        temperatures: the columns.
        alphas: the rows.
        positions: the temperatures of the slider.
        alpha: where its slider stands; None when the loss has none.
        charted: the cells, by the indices of temperature and alpha, whose students stand in the trade-off chart.
    """
    cells = len(temperatures) * len(alphas)
    here = np.interp(np.log2(positions), np.log2(temperatures), np.arange(len(temperatures)))
    row = _NOWHERE if alpha is None else float(np.interp(alpha, alphas, np.arange(len(alphas))))
    places = {"here_temperature": here, "here_alpha": np.full(len(positions), row)}
    if surface is None:
        means, marks, low, high = np.full(cells, math.nan), np.full(cells, _HIDDEN), 0.0, 100.0
    else:
        means, spread = 100 * surface.means().T.ravel(), _spread(surface)
        marks = _LARGEST_MARK * spread / spread.max() if spread.max() > 0 else np.full(cells, _HIDDEN)
        low = float(np.floor(means.min()))
        high = max(float(np.ceil(means.max())), low + 1)
    ends = {"surface_lowest": np.full(len(positions), low), "surface_highest": np.full(len(positions), high)}
    columns, rows = _places(temperatures, alphas)
    stars = np.array([_STAR if cell in charted else _HIDDEN for cell in zip(columns, rows, strict=True)])
    return {"surface": means, "surface_spread": marks, "surface_charted": stars, **ends, **places}


def labels(
    surface: SurfaceFrame | None,
    temperatures: Sequence[float],
    alphas: Sequence[float],
    charted: Collection[tuple[int, int]] = (),
) -> dict[str, str | list[str]]:
    """What the pointer reads in each cell."""
    columns, rows = _places(temperatures, alphas)
    names = [f"T = {temperatures[c]:g}, α = {alphas[r]:g}" for c, r in zip(columns, rows, strict=True)]
    if surface is None:
        words = [f"{name}<br>not trained yet; a click sets the sliders" for name in names]
        return {"surface_words": words, "surface_hint": "Surface trains a student in every cell"}
    means, spread = surface.means().T.ravel(), _spread(surface)
    seeds, best = len(surface.seeds), _best(surface)
    notes = [_note(surface, cell in charted, cell == best) for cell in zip(columns, rows, strict=True)]
    return {
        "surface_hint": "",
        "surface_words": [
            f"{name}<br>{text.percent(mean)} on {surface.split}, mean of {seeds} seeds<br>"
            f"which lie {100 * apart:.2f} points apart<br>epoch {surface.epoch} of {surface.epochs}{note}"
            for name, mean, apart, note in zip(names, means, spread, notes, strict=True)
        ],
    }


def _best(surface: SurfaceFrame) -> tuple[int, int] | None:
    """The cell of the highest mean on validation, by the indices of temperature and alpha; None before the end.

    On the test split none is told: to choose there would make its accuracy untrue.
    """
    if surface.split != "validation" or surface.epoch < surface.epochs:
        return None
    return surface.best()


def _note(surface: SurfaceFrame, charted: bool, best: bool) -> str:
    """What the pointer reads below a cell's numbers."""
    chosen = "<br>the best on validation" if best else ""
    if charted:
        return f"{chosen}<br>★ in the chart"
    if surface.epoch == surface.epochs:
        return f"{chosen}<br>a click puts it into the chart"
    return chosen


def _spread(surface: SurfaceFrame) -> np.ndarray:
    """The largest minus the smallest accuracy of the seeds, [cells], the temperature running first."""
    accuracies = np.array(surface.accuracies)
    spread: np.ndarray = (accuracies.max(axis=2) - accuracies.min(axis=2)).T.ravel()
    return spread
