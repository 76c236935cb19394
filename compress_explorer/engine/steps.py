"""Applies the steps of a recipe to a workpiece. Pure: every result is new, nothing is edited in place."""

from collections.abc import Mapping

import torch
from torch import Tensor

from compress_explorer.engine.context import Context
from compress_explorer.engine.layers import Inventory
from compress_explorer.engine.targets import LEFT_OUT, targets
from compress_explorer.engine.weights import Weights
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods import catalogue
from compress_explorer.methods.code import Code
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe, Step


def apply_recipe(work: Workpiece, recipe: Recipe, context: Context) -> Workpiece:
    """All steps, first to last.

    Raises:
        CompressExplorerError: when a method, parameter, value or layer of a step is not valid.
    """
    for step in recipe:
        work = apply_step(work, step, context)
    return work


def apply_step(work: Workpiece, step: Step, context: Context) -> Workpiece:  # noqa: ARG001 -- methods that need data follow
    """The workpiece after one step; what the step does not name is passed on.

    Raises:
        CompressExplorerError: when the step's method, parameter, value or layers are not valid.
    """
    method = catalogue.method(step.method)
    found, left_out = targets(work.inventory, step)
    changed: dict[str, Weights] = {}
    with torch.no_grad():
        for target in found:
            names = [site.name for site in target.sites]
            entries = _apply(method, [work.weights[name] for name in names], target.values)
            changed |= dict(zip(names, entries, strict=True))
    return work.with_weights(changed).with_refused({site.name: LEFT_OUT for site in left_out})


def _apply(method: Method, entries: list[Weights], values: Mapping[str, Value]) -> list[Weights]:
    if method.scope == "model":
        results = method.apply([entry.matrix for entry in entries], [entry.mask for entry in entries], **values)
    else:
        results = [method.apply(entry.matrix, entry.mask, **values) for entry in entries]
    return [_combine(entry, result) for entry, result in zip(entries, results, strict=True)]


def _combine(entry: Weights, result: Tensor | Code) -> Weights:
    return entry.quantized(result) if isinstance(result, Code) else entry.pruned(result)


def check_recipe(recipe: Recipe, inventory: Inventory) -> Recipe:
    """The same recipe with every value filled in; two recipes that do the same become equal.

    Raises:
        CompressExplorerError: when a method, parameter, value or layer is not valid.
    """
    for step in recipe:
        targets(inventory, step)
    return Recipe(catalogue.complete(step) for step in recipe)
