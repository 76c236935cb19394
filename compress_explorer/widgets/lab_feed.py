"""Brings a lab's findings to its Stage: what changed, or the whole film where positions or shapes are others."""

from collections.abc import Mapping
from typing import Any

import ipywidgets

from compress_explorer.engine.distillation.students import StudentDesign
from compress_explorer.widgets import lab_film as films
from compress_explorer.widgets.lab_findings import Findings, view
from compress_explorer.widgets.lab_state import LabState
from compress_explorer.widgets.stage import Stage


class LabFeed:
    """What the Stage has been told. Used under the lab's lock."""

    def __init__(self, stage: Stage) -> None:
        """Feeds `stage`."""
        self._stage = stage
        self._films = 0
        self._request = 0
        self._position: int | None = None
        self._figures_of: tuple[object, ...] | None = None

    def accept(self) -> None:
        """A change was accepted: the request's number grows by one."""
        self._request += 1

    def show(
        self,
        found: Findings,
        state: LabState,
        design: StudentDesign | None,
        controls: Mapping[str, ipywidgets.Widget],
    ) -> None:
        """Shows the findings at a state; sends what changed."""
        teacher = found.teacher
        if teacher is None or design is None:
            return
        shown: dict[str, Any] = self._stage.film
        film = films.film(view(found, state, shown.get("key", ""), design.file_bytes))
        self._position = film["positions"].index(state.temperature)
        figures_of = (id(teacher), teacher.split)
        with self._stage.hold_sync():
            if self._stage.controls != dict(controls):
                self._stage.controls = dict(controls)
            patch = films.difference(shown, film) if figures_of == self._figures_of else None
            if figures_of != self._figures_of:
                self._stage.figures = films.figures(teacher.classes, teacher.split)
                self._figures_of = figures_of
            if patch is None:
                self._films += 1
                self._stage.film = {**film, "key": str(self._films)}
        if patch is not None and not patch.is_empty:
            self._stage.patch(patch)

    def status(self, state: str, word: str, text: str, progress: float | None) -> None:
        """Shows what the lab does."""
        status = {
            "request": self._request,
            "state": state,
            "word": word,
            "position": self._position,
            "text": text,
            "progress": progress,
        }
        if status != self._stage.status:
            self._stage.status = status
