"""The lab's column of controls: teacher, student, loss with its sliders, example, training, buttons."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets

from compress_explorer.engine.distillation.students import StudentDesign
from compress_explorer.methods.distillation.catalogue import LOSSES, distillation_loss
from compress_explorer.spec.parameter import Value
from compress_explorer.widgets.controls import control, exchange
from compress_explorer.widgets.lab_state import SOFTENING, STUDENT, TRAINING, LabState
from compress_explorer.widgets.parts import about_html, button, error_area, error_html
from compress_explorer.widgets.wishes import Wishes


@dataclass(frozen=True)
class LabActions:
    """What the lab's controls ask for.

    Attributes:
        teacher: another teacher was chosen, by name.
        loss: another loss was chosen, by name.
        value: a parameter of student, loss or training was set, by name.
        example: another example is wanted, by its place.
        start: train the students.
        surface: train the surface.
        pause: pause what trains, or let it go on.
        cancel: give up what trains.
        save: write the student to a file.
        undo: one state back.
        redo: one state forward.
        reset: the first state.
    """

    teacher: Callable[[str], None]
    loss: Callable[[str], None]
    value: Callable[[str, Value], None]
    example: Callable[[int], None]
    start: Callable[[], None]
    surface: Callable[[], None]
    pause: Callable[[], None]
    cancel: Callable[[], None]
    save: Callable[[], None]
    undo: Callable[[], None]
    redo: Callable[[], None]
    reset: Callable[[], None]


class LabPanel(ipywidgets.VBox):
    """The controls of one lab. It shows a state and reports what the user asks for; it decides nothing."""

    def __init__(self, teachers: Sequence[str], actions: LabActions, state: LabState) -> None:
        """Builds the controls for these teachers."""
        self._actions, self._wishes = actions, Wishes()
        self._loss_shown = ""
        self.parameters: dict[str, ipywidgets.ValueWidget] = {}
        self.fixed = {
            parameter.name: control(parameter, getattr(state, parameter.name)) for parameter in (*STUDENT, *TRAINING)
        }
        for name, widget in self.fixed.items():
            widget.add_class(f"ce-student-{name}" if name in ("kind", "width", "depth") else f"ce-{name}")
            widget.observe(self._wishes.passed_to(actions.value, name), "value")
        self.teacher = self._menu("Teacher", "ce-teacher", [(name, name) for name in teachers], actions.teacher)
        self.teacher.tooltip = "The network that the student learns from; its data come with it"
        self.shape = _words("ce-student-shape")
        losses = [(loss.label, loss.name) for loss in LOSSES]
        self.loss = self._menu("Loss", "ce-loss", losses, actions.loss)
        self.loss.tooltip = "How the student learns from the teacher"
        self.about = _words("ce-about")
        self.values = ipywidgets.VBox()
        self.values.add_class("ce-parameters")
        self.example = ipywidgets.IntSlider(description="Example (unsure first)", min=0, max=0)
        self.example.tooltip = (
            "Whose answer is shown; the test samples of which the teacher is least certain come first"
        )
        self.example.add_class("ce-example")
        self.example.observe(self._wishes.passed_to(actions.example), "value")
        self.previous = button("chevron-left", "Previous example", "ce-previous", lambda: self._step_example(-1))
        self.next = button("chevron-right", "Next example", "ce-next", lambda: self._step_example(1))
        self.start = button("play", "Train distilled and hard-label students", "ce-start", actions.start, "Start")
        self.pause = button("pause", "Pause the training, or go on", "ce-pause", actions.pause, "Pause")
        self.cancel = button(
            "stop", "Give the training up; what is finished stays", "ce-cancel", actions.cancel, "Cancel"
        )
        self.surface = button(
            "th",
            "Train a student in every cell of temperature and alpha",
            "ce-surface-start",
            actions.surface,
            "Surface",
        )
        self.save = button(
            "save",
            "Write the distilled student to the notebook's folder: of the seeds the best on validation",
            "ce-save",
            actions.save,
            "Save",
        )
        self.undo = button("undo", "Undo", "ce-undo", actions.undo)
        self.redo = button("repeat", "Redo", "ce-redo", actions.redo)
        self.reset = button("refresh", "Reset", "ce-reset", actions.reset)
        self.verdict = _words("ce-verdict")
        self.saved = _words("ce-saved")
        self.error = error_area()
        super().__init__(self._rows())
        self.add_class("ce-controls")

    def _rows(self) -> list[ipywidgets.Widget]:
        fixed = self.fixed
        shape = _row("ce-pairs", [fixed["width"], fixed["depth"]])
        training = _row("ce-pairs", [fixed["epochs"], fixed["seeds"]])
        examples = _row("ce-examples", [self.example, self.previous, self.next])
        buttons = _row("ce-buttons", [self.start, self.pause, self.cancel, self.surface, self.save])
        settings = _row("ce-buttons", [self.undo, self.redo, self.reset])
        network = [self.teacher, examples, fixed["kind"], shape, self.shape]
        pace = _row("ce-pairs", [fixed["learning_rate"], fixed["batch_size"]])
        lesson = [self.loss, self.values, training, pace]
        return [*network, *lesson, buttons, settings, self.error, self.verdict, self.saved, self.about]

    @property
    def controls(self) -> dict[str, ipywidgets.ValueWidget]:
        """Every slider and menu with a value, by its parameter's name."""
        return {**self.fixed, "example": self.example, **self.parameters}

    def show(self, state: LabState, *, can_undo: bool, can_redo: bool) -> None:
        """Sets every control to `state`."""
        self.undo.disabled, self.redo.disabled = not can_undo, not can_redo
        with self._wishes.showing():
            self.teacher.value, self.loss.value = state.teacher, state.loss
            for name, widget in self.fixed.items():
                _set(widget, getattr(state, name))
            self._show_parameters(state)
            self.example.max = max(self.example.max, state.example)  # a state may come before its teacher is open
            self.example.value = state.example

    def show_examples(self, place: int, count: int) -> None:
        """Shows how many examples there are; `place` is the one that is shown."""
        with self._wishes.showing():
            self.example.max = max(count - 1, place)
        self.previous.disabled, self.next.disabled = place <= 0, place >= count - 1

    def show_work(self, *, paused: bool, busy: bool, ready: bool, trained: bool) -> None:
        """Shows what can be asked for: `ready` when a teacher is open, `busy` while anything trains.

        `trained`: whether the students of the state are there to be saved.
        """
        self.save.disabled = not trained
        self.start.disabled = self.surface.disabled = not ready
        self.pause.disabled = self.cancel.disabled = not busy
        self.pause.icon, self.pause.description = ("play", "Go on") if paused else ("pause", "Pause")

    def show_words(self, design: StudentDesign | None, verdict: str, saved: str, error: BaseException | None) -> None:
        """Shows the student's size and work, what was found and saved, and what went wrong with its cause."""
        self.shape.value = "" if design is None else _shape_words(design)
        self.verdict.value, self.saved.value = html.escape(verdict), html.escape(saved)
        self.error.value = "" if error is None else error_html(error)

    def _step_example(self, by: int) -> None:
        self._actions.example(self.example.value + by)

    def _menu(
        self, label: str, css_class: str, options: list[tuple[str, str]], action: Callable[[Any], None]
    ) -> ipywidgets.Dropdown:
        widget = ipywidgets.Dropdown(description=label, options=options)
        widget.add_class(css_class)
        widget.observe(self._wishes.passed_to(action), "value")
        return widget

    def _show_parameters(self, state: LabState) -> None:
        if self._loss_shown != state.loss:
            self._build_parameters(state)
            self._loss_shown = state.loss
        values = {SOFTENING.name: state.temperature, **dict(state.values)}
        for name, widget in self.parameters.items():
            _set(widget, values[name])
        for parameter in distillation_loss(state.loss).parameters:
            shown = parameter.when is None or values[parameter.when[0]] in parameter.when[1]
            self.parameters[parameter.name].layout.display = None if shown else "none"

    def _build_parameters(self, state: LabState) -> None:
        """The loss's controls; where it softens no answers, one that only softens those shown."""
        loss, old = distillation_loss(state.loss), self.parameters
        made = {entry.name: control(entry, dict(state.values)[entry.name]) for entry in loss.parameters}
        if not state.own_temperature:
            made = {SOFTENING.name: control(SOFTENING, state.temperature), **made}
        self.parameters = made
        for name, widget in made.items():
            widget.observe(self._wishes.passed_to(self._actions.value, name), "value")
        exchange(self.values, old, made)
        self.about.value = about_html(loss.summary, loss.formula, loss.source, loss.goes_wrong)


def _set(widget: ipywidgets.ValueWidget, value: Value) -> None:
    if widget.value != value:
        widget.value = value


def _shape_words(design: StudentDesign) -> str:
    return f"{design.parameters:,} parameters · {design.file_bytes / 1000:,.1f} KB · {design.macs:,} MACs"


def _words(css_class: str) -> ipywidgets.HTML:
    widget = ipywidgets.HTML()
    widget.add_class(css_class)
    return widget


def _row(css_class: str, children: Sequence[ipywidgets.Widget]) -> ipywidgets.HBox:
    row = ipywidgets.HBox(children)
    row.add_class(css_class)
    return row
