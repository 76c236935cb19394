"""Which places of a figure a slider position fills, and the one function that fills them in Python.

The Stage fills them in the browser by the same rules (`widgets/static/film.js`): a moving slider needs no kernel.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

Kind = Literal["row", "scalar", "whole", "text", "label"]


@dataclass(frozen=True)
class Binding:
    """One place of a figure that is filled from the film.

    Attributes:
        path: keys and indices from the figure's JSON to the place, e.g. ("data", 1, "y").
        source: the name of the array, or of the texts, that fills it.
        kind: "row": row f of a [F, n] array at frame f; "scalar": entry f of a [F] array; "whole": the whole
            [n] array at every frame; "text": entry f of the texts (a string or a list of strings); "label": a text (or
            a list) that all frames share.
        floor: smaller numbers are raised to it when they are drawn: a count of 0 has no place on a logarithmic
            axis. A scalar that is not known yet (NaN) takes it too. None leaves them as they are.
    """

    path: tuple[str | int, ...]
    source: str
    kind: Kind
    floor: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the browser."""
        return {"path": list(self.path), "array": self.source, "kind": self.kind, "floor": self.floor}


def apply_bindings(
    figure: go.Figure,
    bindings: Sequence[Binding],
    arrays: Mapping[str, np.ndarray],
    frame: int,
    texts: Mapping[str, Sequence[Any]] | None = None,
    labels: Mapping[str, Any] | None = None,
) -> go.Figure:
    """A copy of `figure` as it looks at one slider position.

    Args:
        figure: the figure with empty places.
        bindings: what fills them.
        arrays: numbers by name; [F, n] for rows, [F] for scalars, [n] for whole arrays.
        frame: the position, 0 to F - 1.
        texts: strings by name, one entry (a string or a list) a position.
        labels: strings or lists of them by name, the same at every position.
    """
    plain = copy.deepcopy(figure.to_plotly_json())
    for binding in bindings:
        place = plain
        for key in binding.path[:-1]:
            place = place[key]
        place[binding.path[-1]] = _filling(binding, arrays, {**(texts or {}), **(labels or {})}, frame)
    return go.Figure(plain)


def _filling(binding: Binding, arrays: Mapping[str, np.ndarray], words: Mapping[str, Any], frame: int) -> Any:
    """What one binding puts in its place."""
    if binding.kind == "label":
        return words[binding.source]
    if binding.kind == "text":
        return words[binding.source][frame]
    array = arrays[binding.source]
    numbers = array if binding.kind == "whole" else array[frame]
    if binding.floor is not None:
        lift = np.fmax if binding.kind == "scalar" else np.maximum  # fmax takes the number where the other is NaN
        numbers = lift(numbers, binding.floor)
    return float(numbers) if binding.kind == "scalar" else np.asarray(numbers).tolist()
