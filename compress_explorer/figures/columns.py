"""Horizontal bars with columns of text beside them: a table whose rows are aligned with the bars.

Distances are pixels for type of `FONT_SIZE`; the Stage enlarges them with the type. Margins are fixed, not found by
plotly, which would measure every text again at every slider position.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from compress_explorer.figures import text

_CHARACTER = 8.3
"""The width of a character, on average, in the fonts that browsers choose."""
_PADDING = 12
_GAP = 14


def column_traces(count: int, columns: Mapping[str, int]) -> list[go.Scatter]:
    """One trace a column, its texts empty; rows stand at y = 0 ... count - 1, the x axis x2 is in pixels.

    Args:
        count: the number of rows.
        columns: the columns' names and their widths in pixels, from left to right.
    """
    return [
        go.Scatter(
            name=name,
            x=[end] * count,
            y=list(range(count)),
            xaxis="x2",
            mode="text",
            text=[""] * count,
            textposition="middle left",
            hoverinfo="skip",
            cliponaxis=False,
        )
        for name, end in _ends(columns).items()
    ]


def table_layout(names: Sequence[str], columns: Mapping[str, int], top: int) -> dict[str, Any]:
    """The layout of a figure of bars and columns but for the x axis of the bars.

    `meta.columns` tells the Stage how many pixels the columns take; elsewhere they have two fifths of the width.

    Args:
        names: what stands left of the rows, the first one on top; plain text.
        columns: the columns' names and widths.
        top: the upper margin in pixels.
    """
    width = sum(columns.values()) + _GAP
    longest = max((len(name) for name in names), default=0)
    return {
        "yaxis": {
            "range": [len(names) - 0.5, -0.5],
            "tickvals": list(range(len(names))),
            "ticktext": [text.escape(name) for name in names],
            "showgrid": False,
            "zeroline": False,
            "automargin": False,
        },
        "xaxis2": {"range": [0, width], "domain": [0.6, 1], "visible": False, "fixedrange": True},
        "margin": {"l": 16 + round(_CHARACTER * longest), "r": _PADDING, "t": top, "b": 30},
        "meta": {"columns": width},
    }


def column_headings(columns: Mapping[str, int]) -> list[dict[str, Any]]:
    """The annotations that stand above the columns."""
    return [
        {
            "text": name,
            "x": end,
            "xref": "x2",
            "xanchor": "right",
            "y": 1,
            "yref": "paper",
            "yanchor": "bottom",
            "showarrow": False,
            "opacity": 0.75,
        }
        for name, end in _ends(columns).items()
    ]


def _ends(columns: Mapping[str, int]) -> dict[str, int]:
    """Where each column ends."""
    ends, end = {}, _GAP
    for name, width in columns.items():
        end += width
        ends[name] = end
    return ends
