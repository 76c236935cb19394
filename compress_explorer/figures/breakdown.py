"""Where the file's bytes go: the share of each part, with its bytes."""

import numpy as np
import plotly.graph_objects as go

from compress_explorer.figures import text
from compress_explorer.figures.bindings import Binding
from compress_explorer.figures.columns import column_traces, table_layout
from compress_explorer.figures.panel import Panel
from compress_explorer.figures.theme import AFTER, NEUTRAL, new_figure
from compress_explorer.spec.size import PARTS
from compress_explorer.spec.sweep import Sweep

ROWS = (*PARTS, "left alone", "header")
"""The parts, in the order of the bars; their bytes sum to the file's."""
_COLUMNS = {"bytes": 78, "share": 58}
_LABELS = {"zero_points": "zero points"}


def panel() -> Panel:
    """The panel."""
    bindings = (
        Binding(("data", 0, "x"), "part_shares", "row"),
        Binding(("data", 1, "text"), "part_bytes", "text"),
        Binding(("data", 2, "text"), "part_share", "text"),
    )
    return Panel("Where the file's bytes go", _figure(), bindings)


def _figure() -> go.Figure:
    """Bars of per cent on the left, their numbers in columns on the right."""
    count = len(ROWS)
    colours = [AFTER] * len(PARTS) + [NEUTRAL] * (count - len(PARTS))
    traces = [
        go.Bar(
            orientation="h",
            y=list(range(count)),
            width=0.66,
            marker={"color": colours, "line": {"width": 0}},
            customdata=[_LABELS.get(row, row) for row in ROWS],
            hovertemplate="%{customdata}: %{x:.1f} % of the file<extra></extra>",
        ),
        *column_traces(count, _COLUMNS),
    ]
    layout = {
        "xaxis": {
            "range": [0, 100],
            "domain": [0, 0.6],
            "tickvals": [0, 100],
            "ticktext": ["0", "100 %"],
            "zeroline": False,
            "automargin": False,
        },
        **table_layout([_LABELS.get(row, row) for row in ROWS], _COLUMNS, top=8),
    }
    return new_figure(traces, layout)


def wholes(sweep: Sweep) -> dict[str, np.ndarray]:  # noqa: ARG001 - every figure module has the same face
    """No array of this figure is shared by all frames."""
    return {}


def rows(sweep: Sweep, index: int) -> dict[str, np.ndarray]:
    """The bytes [7] of the parts, and their shares of the file in per cent; empty while the frame is not known."""
    frame = sweep.frames[index]
    if frame is None:
        return {}
    parts = dict(frame.breakdown)
    counts = np.array([parts[row] for row in ROWS], dtype=np.float64)
    return {"parts": counts, "part_shares": 100 * counts / frame.file}


def texts(sweep: Sweep, index: int) -> dict[str, list[str]]:
    """The two columns of one frame, an entry a part."""
    frame = sweep.frames[index]
    if frame is None:
        return {"part_bytes": [text.UNKNOWN] * len(ROWS), "part_share": [text.UNKNOWN] * len(ROWS)}
    parts = dict(frame.breakdown)
    return {
        "part_bytes": [text.in_bytes(parts[row]) if parts[row] else text.NOTHING for row in ROWS],
        "part_share": [text.percent(parts[row] / frame.file, 1) if parts[row] else text.NOTHING for row in ROWS],
    }
