"""Columns of text beside horizontal bars: a table whose rows are aligned with the bars."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go


def column_traces(count: int, columns: Sequence[str], axis: str) -> list[go.Scatter]:
    """One trace a column, its texts empty; rows stand at y = 0 ... count - 1, columns end at x = 1, 2, ...

    Args:
        count: the number of rows.
        columns: the columns' names.
        axis: the x axis that they use, e.g. "x2".
    """
    return [
        go.Scatter(
            name=name,
            x=[place] * count,
            y=list(range(count)),
            xaxis=axis,
            mode="text",
            text=[""] * count,
            textposition="middle left",
            hoverinfo="skip",
            cliponaxis=False,
        )
        for place, name in enumerate(columns, start=1)
    ]


def column_headings(columns: Sequence[str], axis: str) -> list[dict[str, Any]]:
    """The annotations that stand above the columns."""
    return [
        {
            "text": name,
            "x": place,
            "xref": axis,
            "xanchor": "right",
            "y": 1,
            "yref": "paper",
            "yanchor": "bottom",
            "showarrow": False,
            "opacity": 0.75,
        }
        for place, name in enumerate(columns, start=1)
    ]
