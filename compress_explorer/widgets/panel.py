"""The column of controls: pickers of model, step, method, layer and split, the method's own controls, buttons."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets

from compress_explorer.engine.bench import WHOLE_MODEL
from compress_explorer.engine.setting import EXPLORABLE
from compress_explorer.methods import catalogue
from compress_explorer.methods.ready import READY
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.report import StepReport
from compress_explorer.widgets.controls import control, exchange
from compress_explorer.widgets.method_menu import MethodMenu
from compress_explorer.widgets.parts import about_html, button, error_area, error_html
from compress_explorer.widgets.state import ExplorerState, LayerRule
from compress_explorer.widgets.wishes import Wishes

NO_RECIPE = "begin with a known recipe"

RULES: dict[LayerRule, str] = {
    "follows": "follows the step",
    "own values": "has values of its own",
    "left out": "is left out",
}
"""The rules for one layer, in the words of the menu."""


@dataclass(frozen=True)
class Actions:
    """What the controls ask for.

    Attributes:
        model: another model was chosen, by name.
        step: another step's controls are wanted, by index.
        ready: a ready recipe is wanted, by name.
        add: one more step is wanted.
        remove: the active step is not wanted any more.
        method: another method was chosen, by name.
        value: a parameter of the active step was set, by name.
        layer: another layer's histogram is wanted, by name.
        rule: the active step is to treat the chosen layer by another rule.
        split: accuracy is wanted on another split, by name.
        undo: one state back.
        redo: one state forward.
        reset: the first state.
        cancel: stop the work in flight.
    """

    model: Callable[[str], None]
    step: Callable[[int], None]
    ready: Callable[[str], None]
    add: Callable[[], None]
    remove: Callable[[], None]
    method: Callable[[str], None]
    value: Callable[[str, Value], None]
    layer: Callable[[str], None]
    rule: Callable[[LayerRule], None]
    split: Callable[[str], None]
    undo: Callable[[], None]
    redo: Callable[[], None]
    reset: Callable[[], None]
    cancel: Callable[[], None]


class Panel(ipywidgets.VBox):
    """The controls of one explorer. It shows a state and reports what the user asks for; it decides nothing."""

    def __init__(self, models: Sequence[str], actions: Actions, beside: Sequence[ipywidgets.Widget] = ()) -> None:
        """Builds the controls for these models; those of `beside` stand under them."""
        self._actions = actions
        self._wishes = Wishes()
        self._method_shown = ("", -1)
        self.parameters: dict[str, ipywidgets.ValueWidget] = {}
        self.model = self._dropdown("Model", "ce-model", [(name, name) for name in models], actions.model)
        recipes = [(NO_RECIPE, ""), *((entry.label, entry.name) for entry in READY)]
        self.ready = self._dropdown("Recipe", "ce-ready", recipes, actions.ready)
        self.ready.tooltip = "Begins anew with the steps of a known recipe"
        self.step = ipywidgets.ToggleButtons(options=[("1", 0)], style={"button_width": "auto"})
        self.step.add_class("ce-step")
        self.step.observe(self._wishes.passed_to(actions.step), "value")
        self.add_step = button("plus", "Add a step after the others", "ce-add-step", actions.add)
        self.remove_step = button("minus", "Remove this step", "ce-remove-step", actions.remove)
        self.methods = MethodMenu(EXPLORABLE, actions.method)
        self.about = ipywidgets.HTML()
        self.about.add_class("ce-about")
        self.values = ipywidgets.VBox()
        self.values.add_class("ce-parameters")
        self.layer = self._dropdown("Layer", "ce-layer", [(WHOLE_MODEL, WHOLE_MODEL)], actions.layer)
        self.rule = self._dropdown(
            "This layer", "ce-rule", [(words, rule) for rule, words in RULES.items()], actions.rule
        )
        self.rule.tooltip = "Whether the step in hand treats the chosen layer as it does all others"
        self.split = self._dropdown("Measured on", "ce-split", [("test", "test")], actions.split)
        self.split.tooltip = "Choose on the validation split; report on the test split."
        self.undo = button("undo", "Undo", "ce-undo", actions.undo)
        self.redo = button("repeat", "Redo", "ce-redo", actions.redo)
        self.reset = button("refresh", "Reset", "ce-reset", actions.reset)
        self.cancel = button("stop", "Stop measuring and training; what is known stays", "ce-cancel", actions.cancel)
        self.effects = ipywidgets.HTML()
        self.effects.add_class("ce-effects")
        self.error = error_area()
        steps = ipywidgets.HBox([self.step, self.add_step, self.remove_step])
        steps.add_class("ce-steps")
        buttons = ipywidgets.HBox([self.undo, self.redo, self.reset, self.cancel])
        buttons.add_class("ce-buttons")
        super().__init__(
            [
                self.model,
                self.ready,
                steps,
                self.methods,
                self.values,
                self.about,
                self.layer,
                self.rule,
                self.split,
                buttons,
                self.error,
                *beside,
                self.effects,
            ]
        )
        self.add_class("ce-controls")

    def show_choices(self, layers: Sequence[str], splits: Sequence[str], state: ExplorerState) -> None:
        """Offers the layers and splits of another model."""
        with self._wishes.showing():
            self.layer.options, self.layer.value = [WHOLE_MODEL, *layers], state.layer
            self.split.options, self.split.value = list(splits), state.split

    def show(self, state: ExplorerState, *, can_undo: bool, can_redo: bool) -> None:
        """Sets every control to `state`."""
        with self._wishes.showing():
            self.model.value, self.ready.value = state.model, ""
            self._show_steps(state)
            self.methods.show(state.active.method)
            self._show_parameters(state)
            self.layer.value, self.split.value, self.rule.value = state.layer, state.split, state.rule
        self.rule.layout.display = "none" if state.layer == WHOLE_MODEL else None
        self.undo.disabled, self.redo.disabled = not can_undo, not can_redo
        self.remove_step.disabled = len(state.recipe) == 1

    def show_error(self, error: BaseException | None) -> None:
        """Shows what went wrong, with its cause; None clears it."""
        self.error.value = "" if error is None else error_html(error)

    def show_effects(self, reports: Sequence[StepReport]) -> None:
        """Shows what each step did to the one before."""
        self.effects.value = effects_html(reports)

    def _dropdown(
        self, label: str, css_class: str, options: list[tuple[str, str]], action: Callable[[Any], None]
    ) -> ipywidgets.Dropdown:
        widget = ipywidgets.Dropdown(description=label, options=options)
        widget.add_class(css_class)
        widget.observe(self._wishes.passed_to(action), "value")
        return widget

    def _show_steps(self, state: ExplorerState) -> None:
        options = [(f"{index + 1} {step.method}", index) for index, step in enumerate(state.recipe)]
        if list(self.step.options) != options:
            self.step.options = options
        self.step.value = state.step

    def _show_parameters(self, state: ExplorerState) -> None:
        method = catalogue.method(state.active.method)
        if self._method_shown != (method.name, state.step):
            self._build_parameters(method, state.values)
            self._method_shown = (method.name, state.step)
        values = state.values
        for parameter in method.parameters:
            widget = self.parameters[parameter.name]
            if widget.value != values[parameter.name]:
                widget.value = values[parameter.name]
            shown = parameter.when is None or values[parameter.when[0]] in parameter.when[1]
            widget.layout.display = None if shown else "none"

    def _build_parameters(self, method: Method, values: dict[str, Value]) -> None:
        old = self.parameters
        self.parameters = {
            parameter.name: control(parameter, values[parameter.name]) for parameter in method.parameters
        }
        for name, widget in self.parameters.items():
            widget.observe(self._wishes.passed_to(self._actions.value, name), "value")
        exchange(self.values, old, self.parameters)
        self.about.value = about_html(method.summary, method.formula, method.source)


def effects_html(reports: Sequence[StepReport]) -> str:
    """What each step did, one line a step, with the layers that it left alone and why; escaped."""
    lines = [
        f"<li><b>{html.escape(report.step.method)}</b>: {html.escape(report.sentence())}{_reasons_html(report)}</li>"
        for report in reports
    ]
    return f"<ol>{''.join(lines)}</ol>" if lines else ""


def _reasons_html(report: StepReport) -> str:
    if not report.left_alone:
        return ""
    lines = [f"<li>{html.escape(entry.name)}: {html.escape(entry.reason)}</li>" for entry in report.left_alone]
    return f"<details><summary>Left alone, and why</summary><ul>{''.join(lines)}</ul></details>"
