"""A model opened once for many settings: its weights, its index and what of a recipe was applied already."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from compress_explorer.engine.compress import CompressedModel, assemble
from compress_explorer.engine.context import NO_DATA, Context
from compress_explorer.engine.frame import Axis, axis_for, count_before, exact_frame
from compress_explorer.engine.rebuild import stored_tensors
from compress_explorer.engine.reports import step_report
from compress_explorer.engine.size import size_report
from compress_explorer.engine.steps import apply_step, check_recipe
from compress_explorer.engine.workpiece import Workpiece, open_model
from compress_explorer.methods import catalogue
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.errors import unknown
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe
from compress_explorer.spec.report import StepReport
from compress_explorer.spec.size import SizeReport
from compress_explorer.spec.sweep import Frame

WHOLE_MODEL = "whole model"

MOST_TRAINED = 4
"""Results of trainings that are kept, so that to go back to a setting does not train it again."""


@dataclass(frozen=True, eq=False)
class View:
    """Which weights the histogram shows, on which axis.

    Attributes:
        layer: a tensor's name, or WHOLE_MODEL.
        shown: the names of the tensors that are counted.
        axis: the bins.
        before: counts of the original weights, int64 [bins].
    """

    layer: str
    shown: tuple[str, ...]
    axis: Axis
    before: np.ndarray


class Bench:
    """Applies many recipes to one model, reusing what they share. The model is never changed.

    It works on a copy, `model`, in evaluation mode: what becomes of the caller's model later changes nothing.
    """

    def __init__(self, model: nn.Module, context: Context = NO_DATA) -> None:
        """Opens `model`, for steps that may use `context`.

        Raises:
            ModelError: when it cannot be compressed or copied.
        """
        self.context = context
        self.original = open_model(model)
        self.model = self.original.model
        self._prefixes: dict[Recipe, Workpiece] = {Recipe(): self.original}
        self._trained: OrderedDict[Recipe, Workpiece] = OrderedDict()
        self._indices: dict[str, WeightIndex] = {}
        self._last_size: dict[Recipe, SizeReport] = {}
        self._last_view: dict[tuple[str, float], View] = {}

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the weight tensors."""
        return tuple(site.name for site in self.original.inventory.sites)

    @property
    def weights(self) -> int:
        """How many weights all of them hold."""
        return sum(weights.matrix.numel() for weights in self.original.weights.values())

    def check(self, recipe: Recipe) -> Recipe:
        """The recipe with every value filled in.

        Raises:
            CompressExplorerError: when it is not valid for this model.
        """
        return check_recipe(recipe, self.original.inventory, self.context)

    def apply(self, recipe: Recipe) -> Workpiece:
        """What all steps of `recipe` make of the model; what each of them left is kept for the next call.

        So are the last few results of steps that train. When a step is stopped, what the steps before it left is kept
        all the same: a training goes on from there where it was.
        """
        work = self.original
        prefixes = {Recipe(): self.original}
        try:
            for end in range(1, len(recipe) + 1):
                prefix = Recipe(recipe.steps[:end])
                work = self._known(prefix) or self._apply_last(work, prefix)
                prefixes[prefix] = work
        finally:
            self._prefixes = prefixes
        return work

    def _known(self, recipe: Recipe) -> Workpiece | None:
        return self._prefixes.get(recipe) or self._trained.get(recipe)

    def _apply_last(self, work: Workpiece, recipe: Recipe) -> Workpiece:
        """What the last step of `recipe` makes of `work`; the results of the last few trainings are kept."""
        last = recipe.steps[-1]
        found = apply_step(work, last, self.context)
        if catalogue.method(last.method).trains:
            self._trained[recipe] = found
            while len(self._trained) > MOST_TRAINED:
                self._trained.popitem(last=False)
        return found

    def index(self, name: str) -> WeightIndex:
        """The index of one original weight tensor, built when it is first asked for."""
        if name not in self._indices:
            self._indices[name] = WeightIndex.build(self.original.weights[name].matrix)
        return self._indices[name]

    def size(self, recipe: Recipe) -> SizeReport:
        """The size of the model after `recipe`; the last one is kept for the next call."""
        if recipe not in self._last_size:
            work = self.apply(recipe)
            aliases = dict(work.inventory.aliases)
            report = size_report(stored_tensors(work), recipe, aliases, self.original.state, work.edits)
            self._last_size = {recipe: report}
        return self._last_size[recipe]

    def compressed(self, recipe: Recipe) -> CompressedModel:
        """The module that computes with what `recipe` left, and its stored form; without its reports."""
        return assemble(self.model, recipe, self.apply(recipe), ())

    def reports(self, recipe: Recipe) -> tuple[StepReport, ...]:
        """What each step of `recipe` did to the one before."""
        self.apply(recipe)
        prefixes = [Recipe(recipe.steps[:end]) for end in range(len(recipe) + 1)]
        works = [self._prefixes[prefix] for prefix in prefixes]
        return tuple(
            step_report(step, before, after) for step, before, after in zip(recipe, works[:-1], works[1:], strict=True)
        )

    def check_layer(self, layer: str) -> None:
        """Checks that `layer` is a tensor's name or WHOLE_MODEL.

        Raises:
            UnknownNameError: when there is no such layer.
        """
        if layer != WHOLE_MODEL and layer not in self.layers:
            raise unknown("layer", layer, [WHOLE_MODEL, *self.layers])

    def view(self, layer: str, largest: float = 0.0) -> View:
        """The weights of one tensor, or of all, on an axis that also holds values up to `largest`.

        The last view is kept for the next call.

        Raises:
            UnknownNameError: when there is no such layer.
        """
        self.check_layer(layer)
        if (layer, largest) not in self._last_view:
            shown = self.layers if layer == WHOLE_MODEL else (layer,)
            axis = axis_for(self.original.weights, shown, largest)
            view = View(layer, shown, axis, count_before(self.original.weights, shown, axis))
            self._last_view = {(layer, largest): view}
        return self._last_view[layer, largest]

    def frame(self, recipe: Recipe, value: Value, view: View) -> Frame:
        """The exact frame of `recipe`, shown as the position `value` of the parameter in hand."""
        work = self.apply(recipe)
        parts = {name: origin.parts for name, origin in work.origins.items()}
        return exact_frame(
            value, self.original.weights, work.seen(), parts, view.shown, view.axis, view.before, self.size(recipe)
        )


def positions(parameter_positions: Sequence[Value], value: Value) -> tuple[Value, ...]:
    """The slider's positions, with `value` among them even when it lies between two."""
    if value in parameter_positions or isinstance(value, str):
        return tuple(parameter_positions)
    numbers = [entry for entry in parameter_positions if not isinstance(entry, str)]
    return tuple(sorted([*numbers, value]))
