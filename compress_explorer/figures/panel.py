"""What every figure of the explorer consists of, before it is given numbers."""

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from compress_explorer.figures.bindings import Binding


@dataclass(frozen=True)
class Panel:
    """A figure with empty places, what fills them, and the words round it.

    Attributes:
        title: what it shows; plain text, never interpreted.
        figure: the figure, its bound places empty.
        bindings: what fills them.
        legend: (label, CSS colour) pairs; plain text.
        logarithmic: the same panel on a logarithmic axis; None where there is none.
    """

    title: str
    figure: go.Figure
    bindings: tuple[Binding, ...]
    legend: tuple[tuple[str, str], ...] = ()
    logarithmic: "Panel | None" = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the browser, without the template, which the browser sets for its mode."""
        figure = self.figure.to_plotly_json()
        figure["layout"].pop("template", None)
        return {
            "title": self.title,
            "figure": figure,
            "bindings": [binding.to_dict() for binding in self.bindings],
            "legend": [list(entry) for entry in self.legend],
            "log": None if self.logarithmic is None else self.logarithmic.to_dict(),
        }
