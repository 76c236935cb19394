"""The state of an explorer: frozen, JSON-serialisable; every user action is a function from one state to the next."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from compress_explorer.engine.bench import WHOLE_MODEL
from compress_explorer.engine.setting import Setting, numeric_parameters, values_in_hand, with_value_in_hand
from compress_explorer.methods import catalogue
from compress_explorer.spec.errors import FileFormatError, ParameterError
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe, Step

FORMAT_VERSION = 1
FIRST_METHOD = "magnitude"

LayerRule = Literal["follows", "own values", "left out"]
"""What a step does with one layer: the same as with all, something of its own, nothing."""

RULES: tuple[LayerRule, ...] = get_args(LayerRule)


@dataclass(frozen=True)
class ExplorerState:
    """Everything that decides what an explorer shows.

    Attributes:
        model: the model's name in the model menu.
        recipe: every value filled in; at least one step.
        step: the index of the step whose controls are shown.
        parameter: the numeric parameter whose sweep is drawn: the one that was moved last.
        layer: the tensor whose weights the histogram counts, or "whole model".
        split: what accuracy is measured on.
    """

    model: str
    recipe: Recipe
    step: int = 0
    parameter: str = ""
    layer: str = WHOLE_MODEL
    split: str = "test"

    @property
    def active(self) -> Step:
        """The step whose controls are shown."""
        return self.recipe.steps[self.step]

    @property
    def setting(self) -> Setting:
        """The part of the state that the engine needs."""
        return Setting(self.recipe, self.step, self.parameter, self.layer, self.split, self.own)

    @property
    def rule(self) -> LayerRule:
        """What the active step does with the chosen layer."""
        sets = dict(self.active.overrides)
        if self.layer not in sets:
            return "follows"
        return "left out" if sets[self.layer] is None else "own values"

    @property
    def own(self) -> str:
        """The chosen layer when the active step has values of its own for it, else ""."""
        return self.layer if self.rule == "own values" else ""

    @property
    def values(self) -> dict[str, Value]:
        """The values that the controls show: the active step's, or those of the chosen layer."""
        return values_in_hand(self.active, self.own)

    def with_rule(self, rule: LayerRule) -> "ExplorerState":
        """The chosen layer following the active step, left out of it, or with the present values as its own.

        Raises:
            ParameterError: when no layer is chosen, or the rule is none.
        """
        if self.layer == WHOLE_MODEL:
            raise ParameterError("Choose a layer first: a rule is for one layer.")
        if rule not in RULES:
            raise ParameterError(f"rule={rule!r} is none of {', '.join(map(repr, RULES))}.")
        if rule == "follows":
            step = self.active.without_override(self.layer)
        else:
            step = self.active.with_override(self.layer, None if rule == "left out" else self.values)
        return replace(self, recipe=self.recipe.replace(self.step, step))

    def with_value(self, name: str, value: Value) -> "ExplorerState":
        """Another value of a parameter of the active step.

        Raises:
            CompressExplorerError: when the parameter does not exist or the value is not allowed.
        """
        parameter = catalogue.method(self.active.method).parameter(name)
        step = with_value_in_hand(self.active, self.own, name, parameter.validate(value))
        in_hand = self.parameter if parameter.kind == "choice" else name
        return replace(self, recipe=self.recipe.replace(self.step, step), parameter=in_hand)

    def with_method(self, name: str) -> "ExplorerState":
        """Another method in the active step; values of the same name are carried over where they are allowed.

        Layers that were left out stay so; values that were set apart for a layer are given up.
        """
        method = catalogue.method(name)
        values = self.values
        kept = {entry.name: values[entry.name] for entry in method.parameters if _allows(entry, values)}
        left_out = {pattern: None for pattern, values in self.active.overrides if values is None}
        step = catalogue.complete(Step(name, layers=self.active.layers, overrides=left_out, **kept))
        return replace(self, recipe=self.recipe.replace(self.step, step), parameter=numeric_parameters(name)[0])

    def with_recipe(self, recipe: Recipe) -> "ExplorerState":
        """Other steps in the place of all; the controls of the first are shown."""
        complete = Recipe(catalogue.complete(step) for step in recipe)
        return replace(self, recipe=complete, step=0).with_step(0)

    def with_step(self, index: int) -> "ExplorerState":
        """Another step's controls shown."""
        if not 0 <= index < len(self.recipe):
            return replace(self, step=index).with_step_checked()
        method = self.recipe.steps[index].method
        return replace(self, step=index, parameter=numeric_parameters(method)[0])

    def with_step_checked(self) -> "ExplorerState":
        """The same, when its active step and the parameter in hand exist.

        Raises:
            ParameterError: when the recipe is empty, has no such step, or the parameter is no numeric one of it.
        """
        if not len(self.recipe):
            raise ParameterError("An explorer needs at least one step. Use e.g. Step('magnitude', sparsity=0.5).")
        if not 0 <= self.step < len(self.recipe):
            raise ParameterError(
                f"step={self.step} does not exist; the recipe has {len(self.recipe)} steps, counted from 0."
            )
        numeric = numeric_parameters(self.active.method)
        if self.parameter not in numeric:
            raise ParameterError(
                f"parameter={self.parameter!r} cannot be varied; {self.active.method} has {', '.join(numeric)}."
            )
        return self

    def with_step_added(self, method: str) -> "ExplorerState":
        """One more step at the end, with its controls shown."""
        recipe = Recipe([*self.recipe.steps, catalogue.complete(Step(method))])
        return replace(self, recipe=recipe).with_step(len(recipe) - 1)

    def with_step_removed(self) -> "ExplorerState":
        """The active step taken out; the last one cannot be."""
        if len(self.recipe) == 1:
            raise ParameterError("The only step cannot be removed. Choose another method instead.")
        steps = self.recipe.steps[: self.step] + self.recipe.steps[self.step + 1 :]
        return replace(self, recipe=Recipe(steps)).with_step(max(0, self.step - 1))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "recipe": self.recipe.to_dict(), "version": FORMAT_VERSION}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ExplorerState":
        """The state that `to_dict` wrote.

        Raises:
            FileFormatError: when it is none, or is of a newer version.
        """
        if not isinstance(data, Mapping):
            raise FileFormatError(f"This is not an explorer's state but a {type(data).__name__}.")
        if data.get("version") != FORMAT_VERSION:
            raise FileFormatError(
                f"This state has version {data.get('version')!r}; this package reads version {FORMAT_VERSION}."
            )
        fields = {key: value for key, value in data.items() if key != "version"}
        try:
            state = cls(**{**fields, "recipe": Recipe.from_dict(fields["recipe"])})
        except (KeyError, TypeError) as error:
            raise FileFormatError(
                f"This is not an explorer's state: {error}. Expected what ExplorerState.to_dict() gives."
            ) from error
        for name, kind in {"model": str, "step": int, "parameter": str, "layer": str, "split": str}.items():
            if not isinstance(getattr(state, name), kind):
                raise FileFormatError(
                    f"This is not an explorer's state: {name}={getattr(state, name)!r} is no {kind.__name__}."
                )
        return state


def first_state(model: str, split: str = "test", recipe: Recipe | None = None) -> ExplorerState:
    """The state that an explorer opens with."""
    steps = recipe if recipe is not None and len(recipe) else Recipe(Step(FIRST_METHOD))
    complete = Recipe(catalogue.complete(step) for step in steps)
    return ExplorerState(model, complete, parameter=numeric_parameters(complete.steps[0].method)[0], split=split)


def _allows(parameter: Any, values: Mapping[str, Value]) -> bool:
    try:
        parameter.validate(values[parameter.name])
    except (KeyError, ParameterError):
        return False
    return True
