"""The distillation lab: controls, one worker and the Stage, held together by one state."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import ipywidgets
import traitlets

from compress_explorer.engine import lab as work
from compress_explorer.engine.device import Device
from compress_explorer.engine.distillation.result import Distillation
from compress_explorer.engine.distillation.students import StudentDesign, student
from compress_explorer.engine.distillation.surface import ALPHAS, TEMPERATURES
from compress_explorer.engine.task import Task
from compress_explorer.figures import temperature_alpha
from compress_explorer.spec.distillation import DistillationProgress, SurfaceFrame
from compress_explorer.spec.errors import ModelError, unknown
from compress_explorer.widgets.closing import close_tree
from compress_explorer.widgets.history import History
from compress_explorer.widgets.lab_code import code_for
from compress_explorer.widgets.lab_panel import LabActions
from compress_explorer.widgets.lab_saving import Shown
from compress_explorer.widgets.lab_screen import LabScreen
from compress_explorer.widgets.lab_state import LabState, surface_setting
from compress_explorer.widgets.lab_worker import LabWorker, Source

BETWEEN_WORDS = 0.1
"""Seconds that at least pass between two messages on a training's progress: more often nobody can see them."""


class DistillLab(ipywidgets.VBox):
    """Pick a teacher and a student, soften the teacher's answers, train, and see whether the teacher helped.

    `state` is the core: set it and the lab follows; observe it with `observe(callback, "state")`.
    """

    state = traitlets.Instance(LabState)

    def __init__(
        self,
        sources: Mapping[str, Source],
        first: LabState,
        *,
        theme: Literal["auto", "light", "dark"] = "auto",
        device: Device = "auto",
        setup: str = "",
    ) -> None:
        """Opens the lab on `first`; the teacher is opened in the background.

        Args:
            sources: what opens each teacher of the menu.
            first: the state to begin with, and to go back to on reset.
            theme: "auto" follows JupyterLab.
            device: where to train and to measure; "auto": on the GPU when there is one.
            setup: the code that makes `teacher` and `task`, for `to_code()`; "" for a bundled teacher.

        Raises:
            CompressExplorerError: when the state is not valid.
        """
        self._sources, self._setup, self._device = dict(sources), setup, device
        self._lock = threading.RLock()
        self._closed = False
        self._design: tuple[LabState | None, StudentDesign | None] = (None, None)
        self._told = 0.0
        first = self._checked(first)
        self._first, self._moved_to = first, first
        self._history: History[LabState] = History()
        self._saved = ""
        self._screen = LabScreen(list(self._sources), self._actions(), first, theme, self._clicked)
        self._panel, self._stage = self._screen.panel, self._screen.stage
        self._worker = LabWorker(self._lock, self._on_news, device)
        super().__init__([self._screen])
        self.add_class("ce-root").add_class("ce-distill")
        with self._lock:
            self._move(first)
            self._open_teacher(first)

    @property
    def result(self) -> Distillation | None:
        """The students of the present state; None when they were not trained."""
        with self._lock:
            return self._worker.found.trained.get(self.state.setting)

    @property
    def surface(self) -> SurfaceFrame | None:
        """The surface of the present student and teacher, as far as it is trained; None when it was not begun."""
        with self._lock:
            return self._worker.found.surfaces.get(surface_setting(self.state))

    def start(self) -> None:
        """Trains the students of the present state. Returns at once; `wait` waits for them.

        Raises:
            CompressExplorerError: when the teacher is not open, or the student does not fit it.
            RuntimeError: when the lab was closed.
        """
        with self._lock:
            self._check_open()
            self._worker.train(self.state, self._ready())
            self._asked()

    def start_surface(self) -> None:
        """Trains a student for every cell of temperature and alpha, and every seed. Returns at once.

        Raises:
            CompressExplorerError: when the teacher is not open, or the student does not fit it.
            RuntimeError: when the lab was closed.
        """
        with self._lock:
            self._check_open()
            self._worker.train_surface(self.state, self._ready())
            self._asked()

    def show_cell(self, temperature: float, alpha: float) -> None:
        """Goes to a cell of the surface: its students, where they are trained, are measured and put into the chart.

        They are compared with the surface's students on hard labels, those at alpha 0. Returns at once.

        Raises:
            CompressExplorerError: when a value is not allowed.
        """
        with self._lock:
            new = self._checked(self.state.with_mixture(temperature, alpha))
            self._worker.show_cell(new.setting)  # first, so that nobody sees the new state at rest meanwhile
            self._move(new, self._left("", new))

    def undo(self) -> None:
        """Goes back to the settings before; does nothing when there are none. Another teacher is opened anew."""
        with self._lock:
            state, history = self._history.undo(self.state)
            self._move(state, history)

    def redo(self) -> None:
        """Goes forward to the settings that were undone last; does nothing when there are none."""
        with self._lock:
            state, history = self._history.redo(self.state)
            self._move(state, history)

    def reset(self) -> None:
        """Goes back to the settings that the lab was opened with; that can be undone."""
        self._change("", lambda _: self._first)

    def save(self, path: str | os.PathLike[str] | None = None, *, seed: int | None = None) -> Path:
        """Writes the distilled student of the present state; `load_student(path)` reads it back.

        The weights are a safetensors file of the size shown, to the byte; an existing file is replaced. Beside it a
        ".json" tells how the network is built, how it was trained and what was measured.

        Args:
            path: of the weights, e.g. "student.safetensors"; None: a name in the current folder that is free.
            seed: which of the students; None: the best on validation, or the first where there is no validation split.

        Raises:
            ModelError: when the students of the present state are not trained.
            ParameterError: when none has that seed.
            OSError: when a file cannot be written.
        """
        with self._lock:
            if self.result is None:
                raise ModelError("The students of these settings are not trained yet. Start trains them.")
            found = Shown(self.state, self.result, self._ready(), self.to_code())
            written, self._saved = found.save(path, seed)
            self._show()
            return written

    def pause(self, paused: bool = True) -> None:
        """Lets what trains rest after the step in hand, or go on."""
        with self._lock:
            self._worker.pause(paused)
            self._show()

    def cancel(self) -> None:
        """Gives up what trains or is measured; what is finished stays."""
        with self._lock:
            self._worker.cancel()

    def wait(self, timeout: float | None = 120) -> None:
        """Returns when the teacher is open and nothing trains any more.

        Raises:
            TimeoutError: when that takes longer than `timeout` seconds.
            Exception: whatever the lab shows as an error.
        """
        self._worker.wait(timeout)

    def to_code(self) -> str:
        """Python code that gives the present numbers without the lab."""
        with self._lock:
            of_surface = self.state.setting in self._worker.found.of_surface
            return code_for(self.state, self._setup, of_surface=of_surface, device=self._device)

    def close(self) -> None:
        """Stops the worker and frees every widget."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._worker.close()
        for child in self.children:
            close_tree(child)
        self.layout.close()
        super().close()

    @traitlets.observe("state")
    def _state_was_set(self, change: dict[str, Any]) -> None:
        """Follows a state that was set from Python."""
        with self._lock:
            if not self._closed and change["new"] != self._moved_to:
                try:
                    self._move(change["new"], self._history.record(self._moved_to))
                except Exception:
                    self.set_trait("state", self._moved_to)
                    raise

    def _actions(self) -> LabActions:
        def change(control: str, transition: Callable[[LabState, Any], LabState]) -> Callable[[Any], None]:
            return lambda value: self._from_user(control, lambda state: transition(state, value))

        return LabActions(
            teacher=change("teacher", lambda state, name: replace(state, teacher=name, example=0)),
            loss=change("loss", lambda state, name: state.with_loss(name)),
            value=lambda name, value: self._from_user(name, lambda state: state.with_value(name, value)),
            example=change("example", lambda state, place: replace(state, example=place)),
            start=lambda: self._guarded(self.start),
            surface=lambda: self._guarded(self.start_surface),
            pause=lambda: self._guarded(lambda: self.pause(not self._worker.doing.paused)),
            cancel=lambda: self._guarded(self.cancel),
            save=lambda: self._guarded(self.save),
            undo=lambda: self._guarded(self.undo),
            redo=lambda: self._guarded(self.redo),
            reset=lambda: self._guarded(self.reset),
        )

    def _clicked(self, message: dict[str, Any]) -> None:
        """A click on a cell of the surface sets both sliders, and puts its students into the chart."""
        if message.get("figure") != "surface":
            return
        cell = temperature_alpha.cell(message.get("point"), len(TEMPERATURES), len(ALPHAS))
        if cell is not None:
            self._guarded(lambda: self.show_cell(TEMPERATURES[cell[0]], ALPHAS[cell[1]]))

    def _guarded(self, action: Callable[[], object]) -> None:
        """Runs what a control asked for; an error is shown, for in a callback it would vanish into a log."""
        if self._closed:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 -- shown in the panel, and raised again by wait()
            with self._lock:
                self._worker.failure = error
                self._show_state()

    def _from_user(self, control: str, transition: Callable[[LabState], LabState]) -> None:
        self._guarded(lambda: self._change(control, transition))

    def _change(self, control: str, transition: Callable[[LabState], LabState]) -> None:
        with self._lock:
            new = transition(self.state)
            self._move(new, self._left(control, new))

    def _left(self, control: str, new: LabState) -> History[LabState]:
        """The history when a control leads from the present state to a new one."""
        same = new == self.state
        return self._history if same else self._history.record(self.state, control, time.monotonic())

    def _checked(self, state: LabState) -> LabState:
        if state.teacher not in self._sources:
            raise unknown("teacher", state.teacher, self._sources)
        return state.checked()

    def _move(self, new: LabState, history: History[LabState] | None = None) -> None:
        """The one place where the state changes: checks it, and sets every control and the Stage."""
        with self._lock:
            new = self._checked(new)
            teacher = self._worker.found.teacher
            if teacher is not None and new.teacher == self._moved_to.teacher:
                self._design = self._designed(teacher.task, new)
                new = replace(new, example=min(new.example, len(teacher.inputs) - 1))
            exchanged = new.teacher != self._moved_to.teacher
            self._moved_to, self._saved = new, ""
            self._history = self._history if history is None else history
            self._worker.forgive()
            self.state = new
            if exchanged:
                self._open_teacher(new)
            self._screen.accept()
            self._show_state()

    def _designed(self, task: Task, state: LabState) -> tuple[LabState, StudentDesign]:
        """The student that a state describes, counted; the last one is kept.

        Raises:
            CompressExplorerError: when it does not fit the data.
        """
        key = replace(surface_setting(state), epochs=1, seeds=1)
        known, design = self._design
        if design is None or known != key:
            design = student(task, kind=state.kind, width=state.width, depth=state.depth)  # type: ignore[arg-type]
        return key, design

    def _open_teacher(self, state: LabState) -> None:
        """Gives up what belongs to the teacher before, and opens another one."""
        self._design = None, None
        self._worker.open(self._sources[state.teacher])

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("This lab was closed. Open a new one with ce.distill_lab(...).")

    def _ready(self) -> StudentDesign:
        design = self._design[1]
        if self._worker.found.teacher is None or design is None:
            raise ModelError(
                f"The teacher {self.state.teacher!r} is not open yet, or could not be opened. Wait for it."
            )
        return design

    def _asked(self) -> None:
        """A training was asked for."""
        self._screen.accept()
        self._show()

    def _on_news(self, news: object) -> None:
        """The worker found something; what it says of steps alone is shown now and then."""
        if self._closed:
            return
        if isinstance(news, work.Teacher):
            self._design = self._designed(news.task, self.state)
        now = time.monotonic()
        step = isinstance(news, DistillationProgress | SurfaceFrame)
        if not step or now - self._told >= BETWEEN_WORDS:
            self._told = now
            self._show()

    def _show_state(self) -> None:
        """Sets the controls to the state, and shows the rest."""
        with self._lock:
            if not self._closed:
                self._screen.set(self.state, self._history)
                self._show()

    def _show(self) -> None:
        """Shows what is found and what is being done."""
        with self._lock:
            if not self._closed:
                self._screen.show(self.state, self._worker, self._design[1], self._saved)
