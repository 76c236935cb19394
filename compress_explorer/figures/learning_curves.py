"""How distilled students and the same students on hard labels learn: accuracy above, loss below, a line a seed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from compress_explorer.figures import text
from compress_explorer.figures.bindings import Binding
from compress_explorer.figures.panel import Panel
from compress_explorer.figures.theme import AFTER, BEFORE, HARD, new_figure, translucent
from compress_explorer.spec.distillation import Arm, Curve

ARMS: tuple[Arm, ...] = ("distilled", "hard")

Curves = Mapping[tuple[Arm, int], Curve]
"""The curve of each arm and seed, as far as it is trained."""

_COLOURS = {"distilled": AFTER, "hard": HARD}
_DASHES = {"distilled": "solid", "hard": "dash"}
_NAMES = {"distilled": "distilled", "hard": "hard labels"}
_NOWHERE = -1e9


def panel(split: str) -> Panel:
    """The panel.

    Args:
        split: what the accuracy is measured on after each epoch.
    """
    legend = (("distilled", AFTER), ("hard labels", HARD), ("teacher", BEFORE))
    return Panel("Learning", _figure(split), _bindings(), legend)


def _figure(split: str) -> go.Figure:
    """For each arm its seeds' accuracies, their mean, and their losses; the teacher's accuracy as a line."""
    traces = []
    for arm in ARMS:
        name, dash = _NAMES[arm], _DASHES[arm]
        pale = {"color": translucent(_COLOURS[arm], 0.75), "width": 1.8, "dash": dash}
        hover = f"{name}, epoch %{{x:.0f}}<br>"
        traces += [
            go.Scatter(name=name, line=pale, mode="lines", hovertemplate=f"{hover}%{{y:.2f}} %<extra></extra>"),
            go.Scatter(
                name=f"{name}, mean",
                mode="lines",
                line={"color": _COLOURS[arm], "width": 3.5, "dash": dash},
                hovertemplate=f"{hover}mean of the seeds %{{y:.2f}} %<extra></extra>",
            ),
            go.Scatter(
                name=name, line=pale, mode="lines", yaxis="y2", hovertemplate=f"{hover}loss %{{y:.4g}}<extra></extra>"
            ),
        ]
    teacher = {"x0": 0, "x1": 1, "xref": "paper", "y0": _NOWHERE, "y1": _NOWHERE, "layer": "below"}
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "epoch"}, "range": [0, 1], "anchor": "y2", "zeroline": False, "nticks": 8},
        "yaxis": {
            "title": {"text": f"{split} accuracy (%)"},
            "range": [0, 100],
            "domain": [0.42, 1],
            "nticks": 5,
            "zeroline": False,
        },
        "yaxis2": {
            "title": {"text": "loss"},
            "type": "log",
            "range": [-1, 1],
            "domain": [0, 0.34],
            "dtick": 1,
            "zeroline": False,
            "tickformat": "~g",
        },
        "annotations": [
            {
                "text": "",
                "x": 1,
                "xref": "paper",
                "xanchor": "right",
                "y": 0.42,
                "yref": "paper",
                "yanchor": "bottom",
                "showarrow": False,
                "opacity": 0.75,
            }
        ],
        "shapes": [{"type": "line", "line": {"color": BEFORE, "width": 2, "dash": "dot"}, **teacher}],
    }
    return new_figure(traces, layout)


def _bindings() -> tuple[Binding, ...]:
    bindings = [
        Binding(("layout", "shapes", 0, "y0"), "teacher_line", "scalar"),
        Binding(("layout", "shapes", 0, "y1"), "teacher_line", "scalar"),
        Binding(("layout", "annotations", 0, "text"), "curves_of", "label"),
        Binding(("layout", "xaxis", "range"), "epoch_range", "whole"),
        Binding(("layout", "yaxis", "range"), "learning_range", "whole"),
        Binding(("layout", "yaxis2", "range"), "loss_range", "whole"),
    ]
    for place, arm in enumerate(ARMS):
        first = 3 * place
        bindings += [
            Binding(("data", first, "x"), "epochs", "whole"),
            Binding(("data", first, "y"), f"{arm}_accuracy", "whole"),
            Binding(("data", first + 1, "x"), "epochs_of_mean", "whole"),
            Binding(("data", first + 1, "y"), f"{arm}_mean", "whole"),
            Binding(("data", first + 2, "x"), "epochs", "whole"),
            Binding(("data", first + 2, "y"), f"{arm}_loss", "whole"),
        ]
    return tuple(bindings)


def arrays(
    curves: Curves, seeds: Sequence[int], epochs: int, teacher: float | None, positions: int
) -> dict[str, np.ndarray]:
    """Every array of the figure. Their lengths depend on seeds and epochs alone: what is not trained yet is NaN.

    Args:
        curves: as far as they are known.
        seeds: whose curves are drawn.
        epochs: of one student.
        teacher: the teacher's accuracy on the same split, as a fraction; None while unknown.
        positions: how many positions the film has.
    """
    axis = np.arange(1, epochs + 1, dtype=np.float64)
    found: dict[str, np.ndarray] = {
        "epochs": np.tile(np.append(axis, math.nan), len(seeds)),
        "epochs_of_mean": axis,
        "epoch_range": np.array([1, max(epochs, 2)]),
        "teacher_line": np.full(positions, _NOWHERE if teacher is None else 100 * teacher),
    }
    for arm in ARMS:
        accuracies = _table([curves.get((arm, seed), Curve()).accuracies for seed in seeds], epochs)
        losses = _table([curves.get((arm, seed), Curve()).losses for seed in seeds], epochs)
        found[f"{arm}_accuracy"], found[f"{arm}_loss"] = 100 * _lines(accuracies), _lines(losses)
        complete = bool(np.isfinite(accuracies).all())  # before, the mean would bend where a seed ends
        found[f"{arm}_mean"] = 100 * accuracies.mean(axis=0) if complete else np.full(epochs, math.nan)
    known = [found[f"{arm}_accuracy"] for arm in ARMS] + [np.array([math.nan if teacher is None else 100 * teacher])]
    found["learning_range"] = _range(np.concatenate(known))
    found["loss_range"] = _log_range(np.concatenate([found[f"{arm}_loss"] for arm in ARMS]))
    return found


def labels(curves_of: str) -> dict[str, str]:
    """Which training the curves are of.

    Args:
        curves_of: in plain words; "" before there is one.
    """
    return {"curves_of": text.escape(text.shorten(curves_of, 44)) if curves_of else "Start trains the students"}


def _table(curves: Sequence[Sequence[float]], epochs: int) -> np.ndarray:
    """[seeds, epochs], NaN where a curve does not reach yet."""
    table = np.full((len(curves), epochs), math.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve[:epochs]
    return table


def _lines(table: np.ndarray) -> np.ndarray:
    """The rows end to end with a gap behind each, as one trace draws them."""
    return np.column_stack([table, np.full(len(table), math.nan)]).ravel()


def _range(values: np.ndarray) -> np.ndarray:
    """In steps of ten points, so that it seldom moves: but for a first bad epoch, which may leave the axis."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return np.array([0, 102])
    low = max(0, 10 * math.floor((known.min() - 1) / 10))
    high = 100 if known.max() > 90 else 10 * math.ceil((known.max() + 1) / 10)
    return np.array([low, high + 0.03 * (high - low)])


def _log_range(values: np.ndarray) -> np.ndarray:
    """Exponents of whole powers of ten round all losses."""
    known = values[np.isfinite(values) & (values > 0)]
    if known.size == 0:
        return np.array([-2, 1])
    return np.array([math.floor(math.log10(known.min())), math.ceil(math.log10(known.max()) + 1e-9)])
