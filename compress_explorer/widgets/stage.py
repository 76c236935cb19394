"""The Stage: the part of the explorer that lives in the browser and draws."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import ipywidgets
import traitlets
from ipywidgets.widgets.widget import widget_serialization

from compress_explorer.figures.theme import template
from compress_explorer.widgets.arrangement import EXPLORER
from compress_explorer.widgets.film import Patch, apply_patch
from compress_explorer.widgets.module import stage_module, stage_styles
from compress_explorer.widgets.plotly_source import PlotlySource


class Stage(anywidget.AnyWidget):
    """Readouts and figures of one explorer, drawn in the browser with one copy of plotly.

    It follows the slider of the film's parameter without asking the kernel. What it shows is set whole, never
    edited in place; numbers that arrive later go through `patch`.

    Attributes:
        plotly: the holder of plotly's script.
        controls: the controls of the parameters, by the parameter's name.
        figures: the figures with their bindings, see `film.figures`.
        film: what every position of one slider shows, see `film.film`; {} while there is none.
        status: {"request": int, "state": "estimating" | "exact" | "error", "word": what the strip says for the state,
            where it is not the state itself, "position": index into the film's positions
            of the accepted value, or None, "text": str, "progress": 0 to 1 or None}.
        arrangement: its figures and readouts, see `arrangement`; it never changes.
        theme: "auto" follows JupyterLab, or the browser where there is no Lab; or "light", "dark".
        templates: plotly's template of each mode.
    """

    # As text: a path would be watched, and the widget never freed.
    _esm = stage_module()
    _css = stage_styles()

    plotly = traitlets.Instance(PlotlySource).tag(sync=True, **widget_serialization)
    controls = traitlets.Dict().tag(sync=True, **widget_serialization)
    figures = traitlets.Dict().tag(sync=True)
    film = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict().tag(sync=True)
    arrangement = traitlets.Dict(EXPLORER).tag(sync=True)
    theme = traitlets.Enum(("auto", "light", "dark"), "auto").tag(sync=True)
    templates = traitlets.Dict().tag(sync=True)

    def __init__(self, controls: Mapping[str, ipywidgets.Widget] | None = None, **kwargs: Any) -> None:
        self._clicked: list[Callable[[dict[str, Any]], None]] = []
        self._sending = threading.RLock()
        super().__init__(
            plotly=PlotlySource.shared(),
            controls=dict(controls or {}),
            templates={"light": template("light"), "dark": template("dark")},
            **kwargs,
        )
        self.on_msg(self._receive)

    def patch(self, patch: Patch) -> None:
        """Sends newer numbers for one position, and puts them into `film` so that a reloaded page has them too.

        Does nothing when the patch is of another film than the one shown.
        """
        with self._sending:
            if apply_patch(self.film, patch):
                self.send(patch.message, buffers=[patch.numbers])

    def send_state(self, key: Any = None) -> None:
        """Sends traits as they are now. Reading and sending are one: an older state must not arrive after a newer."""
        with self._sending:
            super().send_state(key)

    def on_click(self, callback: Callable[[dict[str, Any]], None]) -> None:
        """Calls `callback({"type": "click", "figure": name, "trace": index, "point": index})` on clicks in figures."""
        self._clicked.append(callback)

    def _receive(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        if content.get("type") == "click":
            for callback in self._clicked:
                callback(content)
        elif content.get("type") == "opened":
            self._catch_up(content)

    def _catch_up(self, seen: dict[str, Any]) -> None:
        """Sends a page that was just opened what it has missed: messages are lost until it listens."""
        with self._sending:
            present = {"key": self.film.get("key", ""), "patches": self.film.get("patches", 0), "status": self.status}
            if any(seen.get(name) != value for name, value in present.items()):
                self.send_state(["controls", "figures", "film", "status"])
