"""What a lab shows: its controls and its Stage, set to a state and to what is found."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import ipywidgets

from compress_explorer.engine.distillation.students import StudentDesign
from compress_explorer.widgets.arrangement import LAB
from compress_explorer.widgets.history import History
from compress_explorer.widgets.lab_feed import LabFeed
from compress_explorer.widgets.lab_findings import verdict_of
from compress_explorer.widgets.lab_panel import LabActions, LabPanel
from compress_explorer.widgets.lab_state import LabState
from compress_explorer.widgets.lab_worker import Doing, LabWorker
from compress_explorer.widgets.stage import Stage


class LabScreen(ipywidgets.Box):
    """Controls and figures of one lab. It decides nothing. Used under the lab's lock."""

    def __init__(
        self,
        teachers: Sequence[str],
        actions: LabActions,
        first: LabState,
        theme: Literal["auto", "light", "dark"],
        clicked: Callable[[dict[str, Any]], None],
    ) -> None:
        """Builds the controls for these teachers; `clicked` hears of clicks on the figures."""
        self.panel = LabPanel(teachers, actions, first)
        self.stage = Stage(theme=theme, arrangement=LAB)
        self.stage.on_click(clicked)
        self._feed = LabFeed(self.stage)
        super().__init__([self.panel, self.stage])
        self.add_class("ce-body")

    def accept(self) -> None:
        """A change was accepted: the number that the page shows grows by one."""
        self._feed.accept()

    def set(self, state: LabState, history: History[LabState]) -> None:
        """Sets the controls to a state."""
        self.panel.show(state, can_undo=bool(history.past), can_redo=bool(history.future))

    def show(self, state: LabState, worker: LabWorker, design: StudentDesign | None, saved: str) -> None:
        """Shows what is found and what is being done. The controls stay: the user may be moving one.

        Args:
            state: where the controls stand.
            worker: what it has found and does.
            design: the student of the state; None before the teacher is open.
            saved: which student was saved last, in words.
        """
        found, doing = worker.found, worker.doing
        trained = state.setting in found.trained
        self.panel.show_examples(state.example, 0 if found.teacher is None else len(found.teacher.inputs))
        self.panel.show_work(paused=doing.paused, busy=doing.busy, ready=design is not None, trained=trained)
        self.panel.show_words(design, verdict_of(found, state), saved, worker.failure)
        self._feed.show(found, state, design, self.panel.controls)
        self._feed.status(*_status(worker.failure, found.teacher is not None, doing))


def _status(failure: BaseException | None, is_open: bool, doing: Doing) -> tuple[str, str, str, float | None]:
    """State, its word, what stands below it, and the progress."""
    if failure is not None:
        return "error", "error", str(failure), None
    if not is_open:
        return "estimating", "opening", "the teacher", None
    if doing.busy:
        return "estimating", "paused" if doing.paused else doing.word, doing.words, doing.fraction
    return "exact", "ready", doing.words, None
