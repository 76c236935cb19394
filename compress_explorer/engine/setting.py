"""What is being explored: all that decides the numbers on the screen."""

from dataclasses import dataclass, replace

from compress_explorer.methods import catalogue
from compress_explorer.spec.errors import ParameterError
from compress_explorer.spec.parameter import Parameter, Value
from compress_explorer.spec.recipe import Recipe, Step


@dataclass(frozen=True)
class Setting:
    """A point of the exploration; frozen and hashable.

    Attributes:
        recipe: every value filled in; at least one step.
        step: the index of the step whose controls are shown.
        parameter: the numeric parameter of that step whose sweep is drawn.
        layer: the tensor whose histogram is shown, or "whole model".
        split: what accuracy is measured on.
        own: the layer whose own values are varied, which the step sets apart; "" when those of the step are.
    """

    recipe: Recipe
    step: int
    parameter: str
    layer: str
    split: str
    own: str = ""

    @property
    def active(self) -> Step:
        """The step whose controls are shown."""
        return self.recipe.steps[self.step]

    @property
    def value(self) -> Value:
        """The value of the parameter in hand."""
        return values_in_hand(self.active, self.own)[self.parameter]

    @property
    def declaration(self) -> Parameter:
        """The declaration of the parameter in hand."""
        return catalogue.method(self.active.method).parameter(self.parameter)

    @property
    def trains_anew(self) -> bool:
        """Whether each position of the parameter in hand is a training of its own: its step, or a later one, trains."""
        return any(catalogue.method(step.method).trains for step in self.recipe.steps[self.step :])

    def at(self, value: Value) -> "Setting":
        """The same with another value of the parameter in hand."""
        step = with_value_in_hand(self.active, self.own, self.parameter, value)
        return replace(self, recipe=self.recipe.replace(self.step, step))

    @property
    def family(self) -> "Setting":
        """A key that all positions of the parameter in hand share."""
        default = self.declaration.default
        return self.at(default)


def values_in_hand(step: Step, own: str) -> dict[str, Value]:
    """The values of a step, or those of a layer that it sets apart.

    Args:
        step: every value filled in.
        own: the layer, or "" for the step itself.
    """
    apart = dict(step.overrides).get(own)
    return {**dict(step.values), **dict(apart or ())}


def with_value_in_hand(step: Step, own: str, name: str, value: Value) -> Step:
    """The step with one of `values_in_hand` changed."""
    if not own:
        return step.replace(**{name: value})
    return step.with_override(own, {**values_in_hand(step, own), name: value})


EXPLORABLE = tuple(entry for entry in catalogue.METHODS if any(value.kind != "choice" for value in entry.parameters))
"""The methods with a numeric parameter, so that a slider can vary them."""


def numeric_parameters(method: str) -> tuple[str, ...]:
    """The parameters of a method that a slider can vary, in order.

    Raises:
        UnknownNameError: when there is no such method.
    """
    names = tuple(entry.name for entry in catalogue.method(method).parameters if entry.kind != "choice")
    if not names:
        raise ParameterError(f"Method {method!r} has no numeric parameter to explore.")
    return names
