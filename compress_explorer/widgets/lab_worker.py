"""What a lab's worker does, and what it has found: opening a teacher, training, measuring cells and rivals."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from torch import nn

from compress_explorer.engine import lab as work
from compress_explorer.engine.device import Device
from compress_explorer.engine.distillation.grid import Surface
from compress_explorer.engine.distillation.result import Distillation
from compress_explorer.engine.distillation.students import StudentDesign
from compress_explorer.engine.distillation.surface import ALPHAS, TEMPERATURES
from compress_explorer.engine.jobs import Ended, Jobs
from compress_explorer.engine.task import Task
from compress_explorer.spec.distillation import DistillationProgress, SurfaceFrame
from compress_explorer.spec.errors import ModelError
from compress_explorer.widgets.lab_findings import Findings, progress_of
from compress_explorer.widgets.lab_state import LabState, cell_of, surface_setting

Source = Callable[[], tuple[nn.Module, Task]]
"""Opens a teacher and its task."""

Job = Literal["open", "cells", "train", "surface", "rivals"]

ORDER: tuple[Job, ...] = ("open", "cells", "train", "surface", "rivals")
"""The most urgent first: a click on a cell is answered though something trains."""

ASKED: tuple[Job, ...] = ("cells", "train", "surface")
"""What a user asked for, and may cancel."""

TRAININGS: tuple[Job, ...] = ("train", "surface")
"""What can be paused."""


@dataclass(frozen=True)
class Doing:
    """What the worker does.

    Attributes:
        busy: whether it does what a user asked for.
        paused: whether that rests.
        word: "training" or "measuring".
        words: how far it is, or that it was cancelled.
        fraction: of that, how much is done, 0 to 1.
    """

    busy: bool
    paused: bool
    word: str
    words: str
    fraction: float


class LabWorker:
    """One worker for one lab. Its methods are called under the lab's lock; it takes the same one for its news."""

    def __init__(
        self, lock: AbstractContextManager[object], listener: Callable[[object], None], device: Device = "auto"
    ) -> None:
        """Starts the worker, which has nothing to do yet.

        Args:
            lock: the lab's; whoever holds it may take it again.
            listener: called, under the lock, after every news, with it.
            device: where to train and to measure.
        """
        self.found = Findings()
        self.failure: BaseException | None = None
        self._lock, self._listener, self._device = lock, listener, device
        self._progress: tuple[str, float] = ("", 0.0)
        self._numbers: dict[str, int] = {}
        self._surface_of: LabState | None = None
        self._wanted: tuple[LabState, ...] = ()
        self._clicked: LabState | None = None
        self._jobs = Jobs(ORDER, self._on_news)

    @property
    def doing(self) -> Doing:
        """What it does now."""
        states = {name: self._jobs.state(name) for name in ASKED}
        trains = any(states[name] for name in TRAININGS)
        words, fraction = self._progress if trains or not states["cells"] else ("students of the surface", 0.0)
        paused = "paused" in states.values()
        return Doing(any(states.values()), paused, "training" if trains else "measuring", words, fraction)

    def open(self, source: Source) -> None:
        """Gives up what belongs to the teacher before, and opens another one."""
        self._jobs.cancel(*ASKED, "rivals")
        self._numbers.clear()  # what they still say is of the teacher before
        self._progress = "", 0.0
        self.found, self._surface_of, self._wanted, self._clicked = Findings(), None, (), None
        self._put("open", work.opening(source))

    def train(self, state: LabState, design: StudentDesign) -> None:
        """Trains the students of a state."""
        plan, seeds = state.plan, tuple(range(state.seeds))
        steps = work.training(self._teacher(), design, state.loss, dict(state.values), plan, seeds, self._device)
        self.found = self.found.with_begun(state.setting)
        self._put("train", steps)

    def train_surface(self, state: LabState, design: StudentDesign) -> None:
        """Trains a student for every cell of temperature and alpha, and every seed."""
        plan, seeds = state.plan, tuple(range(state.seeds))
        steps = work.surface(self._teacher(), design, TEMPERATURES, ALPHAS, plan, seeds, self._device)
        self._surface_of = surface_setting(state)
        self._put("surface", steps)

    def show_cell(self, setting: LabState) -> None:
        """Measures the students of a cell of a finished surface, unless they are known; then shows their curves.

        Does nothing where there is no such surface.
        """
        if surface_setting(setting) not in self.found.grids:
            return
        self._clicked = setting
        if setting in self.found.trained:
            self._show_curves(setting)
        else:
            self._want(setting)

    def pause(self, paused: bool) -> None:
        """Lets what trains rest after the step in hand, or go on."""
        self._jobs.pause(paused, *TRAININGS)

    def cancel(self) -> None:
        """Gives up what was asked for; what is finished stays."""
        self._wanted = ()
        self._jobs.cancel(*ASKED)

    def wait(self, timeout: float | None) -> None:
        """Returns when nothing that was asked for is left to do. Not to be called under the lock.

        Raises:
            TimeoutError: when that takes longer than `timeout` seconds.
            Exception: what went wrong.
        """
        self._jobs.wait(("open", *ASKED), timeout)
        if self.failure is not None:
            raise self.failure

    def forgive(self) -> None:
        """Forgets what went wrong until now."""
        self.failure = None
        self._jobs.forgive()

    def close(self) -> None:
        """Ends the worker. Not to be called under the lock."""
        self._jobs.close()
        self._jobs.join()

    def _teacher(self) -> work.Teacher:
        if self.found.teacher is None:
            raise ModelError("No teacher is open. Wait for it.")
        return self.found.teacher

    def _put(self, name: Job, steps: Iterator[object]) -> None:
        if name != "rivals":
            self.failure = None
        if name in TRAININGS:
            self._progress = "the teacher answers", 0.0
        self._numbers[name] = self._jobs.put(name, steps)

    def _want(self, setting: LabState) -> None:
        """Measures a cell, after those that were wanted before."""
        self._wanted = tuple(dict.fromkeys((*self._wanted, setting)))
        cells = [(self.found.grids[surface_setting(entry)], *cell_of(entry)) for entry in self._wanted]
        self._put("cells", work.measuring_cells(cells))

    def _show_curves(self, setting: LabState) -> None:
        """Shows the curves of a cell's students, unless others are being trained."""
        if not self._jobs.state("train"):
            self.found = self.found.with_curves_of(setting)

    def _on_news(self, name: str, number: int, news: object) -> None:
        """News from the worker, in its thread; what is not of the newest job of its kind is dropped."""
        with self._lock:
            if number != self._numbers.get(name):
                return
            if isinstance(news, Ended):
                self._ended(name, news)
            else:
                self._learned(news)
            self._listener(news)

    def _learned(self, news: object) -> None:
        """Puts news into the findings."""
        if isinstance(news, work.Teacher | work.Measured | work.Rival):
            self.found = self.found.with_teacher_news(news)
        elif isinstance(news, SurfaceFrame):
            assert self._surface_of is not None
            self.found = self.found.with_surface(self._surface_of, news)
            self._progress = progress_of(news)
        elif isinstance(news, Surface):
            self._surface_is_done(news)
        elif isinstance(news, work.Cell):
            self._cell_is_measured(news.found)
        elif isinstance(news, DistillationProgress | Distillation):
            self.found = self.found.with_training_news(news)
            self._progress = progress_of(news)

    def _surface_is_done(self, surface: Surface) -> None:
        """Keeps the students; the best on validation are measured, too, where there is a validation split."""
        assert self._surface_of is not None
        self.found = self.found.with_grid(self._surface_of, surface)
        if surface.frame.split == "validation":
            best = self._surface_of.with_mixture(*surface.best()).setting
            if best not in self.found.trained:
                self._want(best)

    def _cell_is_measured(self, students: Distillation) -> None:
        setting, *rest = self._wanted  # they are measured in this order
        self._wanted = tuple(rest)
        self.found = self.found.with_cell(setting, students)
        if setting == self._clicked:
            self._show_curves(setting)

    def _ended(self, name: str, ended: Ended) -> None:
        if ended.error is not None:
            self.failure = ended.error
        elif name == "open" and self.found.teacher is not None:
            self._put("rivals", work.measuring(self.found.teacher, self._device))
        if name == "cells":
            self._wanted = ()
        if name in TRAININGS:
            self._progress = ("cancelled" if ended.cancelled else ""), 0.0
