"""Applies the steps of a recipe to a workpiece. Pure: every result is new, nothing is edited in place."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from compress_explorer.engine.beside import treat_beside
from compress_explorer.engine.channel_groups import check_example
from compress_explorer.engine.channels import remove_channels
from compress_explorer.engine.context import Context
from compress_explorer.engine.evidence import calibration_split, evidence
from compress_explorer.engine.factoring import factor
from compress_explorer.engine.layers import Inventory
from compress_explorer.engine.targets import LEFT_OUT, Target, targets
from compress_explorer.engine.training.treat import train_target
from compress_explorer.engine.weights import AllWeights, Quantizer, Weights
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods import catalogue
from compress_explorer.methods.code import Code
from compress_explorer.methods.evidence import InputStatistics
from compress_explorer.methods.values import Values
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.size import Coding

NOT_CODED = "plain floats without zeros are not coded: prune or quantize them first"


def apply_step(work: Workpiece, step: Step, context: Context) -> Workpiece:
    """The workpiece after one step; what the step does not name is passed on.

    Raises:
        CompressExplorerError: when the step's method, parameter, value or layers are not valid.
    """
    method = catalogue.method(step.method)
    found, left_out = targets(work.inventory, step)
    work = work.with_refused({site.name: LEFT_OUT for site in left_out})
    for target in found:
        if method.result == "factors":
            work = factor(work, method, target, context)
        elif method.result == "channels":
            work = remove_channels(work, method, target, context)
        elif method.trains:
            work = train_target(work, method, target, context)
        else:
            work = _treat(work, method, target, context)
    return work


def _treat(work: Workpiece, method: Method, target: Target, context: Context) -> Workpiece:
    """The workpiece after the weights of one target, or what stands beside them, were treated."""
    if method.result in ("inputs", "scales", "state"):
        return treat_beside(work, method, target, context)
    if not method.needs_data:
        windows = {site.name: site.window for site in target.sites} if method.needs == "window" else None
        entries = {site.name: work.weights[site.name] for site in target.sites}
        return _with_results(work, method, _apply_telling(method, entries, target.values, windows, context))
    values = {name: value for name, value in target.values.items() if name != "samples"}
    known = evidence(work, method, target.sites, int(target.values["samples"]), context)
    refused = {name: found for name, found in known.items() if isinstance(found, str)}
    statistics = {name: found for name, found in known.items() if not isinstance(found, str)}
    work = work.with_refused(refused)
    changed = {}
    if method.scope == "model":
        changed = _apply(method, {name: work.weights[name] for name in statistics}, values, statistics)
    else:
        for done, name in enumerate(statistics, start=1):
            layer = f"{method.label}: layer {done} of {len(statistics)}"
            context.tell(layer)
            told = {name: _reporting(statistics[name], layer, context)}
            changed |= _apply(method, {name: work.weights[name]}, values, told)
    return _with_results(work, method, changed)


def _apply_telling(
    method: Method,
    entries: AllWeights,
    values: Mapping[str, Value],
    statistics: Mapping[str, object] | None,
    context: Context,
) -> dict[str, Weights]:
    """`_apply`, which tells the context of each layer before it is treated."""
    if method.scope == "model":
        context.tell(f"{len(entries)} layers at once: {method.label}")
        return _apply(method, entries, values, statistics)
    changed: dict[str, Weights] = {}
    for done, (name, entry) in enumerate(entries.items(), start=1):
        context.tell(f"layer {done} of {len(entries)}: {method.label}")
        changed |= _apply(method, {name: entry}, values, statistics)
    return changed


def _reporting(statistics: object, layer: str, context: Context) -> object:
    """The same statistics, which tell the context how far the method is with a layer."""
    if not isinstance(statistics, InputStatistics):
        return statistics
    return replace(statistics, tell=lambda text: context.tell(f"{layer}, {text}"))


def _apply(
    method: Method, entries: AllWeights, values: Mapping[str, Value], statistics: Mapping[str, object] | None = None
) -> dict[str, Weights]:
    """The weights after `method`; `statistics` are what it needs beside them."""
    matrices, masks = [entry.matrix for entry in entries.values()], [entry.mask for entry in entries.values()]
    columns = [matrices, masks, *([] if statistics is None else [[statistics[name] for name in entries]])]
    with torch.no_grad():
        if method.scope == "model":
            results = method.apply(*columns, **values)
        else:
            results = [method.apply(*row, **values) for row in zip(*columns, strict=True)]
    quantizer = Quantizer(method, values) if method.result == "code" else None
    return {name: _combine(entries[name], result, quantizer) for name, result in zip(entries, results, strict=True)}


def _combine(entry: Weights, result: Tensor | Code | Values | Coding, quantizer: Quantizer | None) -> Weights:
    if isinstance(result, Values):
        return entry.revalued(result)
    if isinstance(result, str):
        return replace(entry, coding=result)
    if isinstance(result, Code):
        return replace(entry.quantized(result), quantizer=quantizer)
    return entry.pruned(result)


def _with_results(work: Workpiece, method: Method, changed: AllWeights) -> Workpiece:
    """The workpiece with the results of `method`; new floating-point values are those of the state from now on."""
    if method.result == "coding":
        return _coded(work, changed)
    if method.result != "values":
        return work.with_weights(changed)
    layouts = {site.name: site.layout for site in work.inventory.sites}
    state = {name: layouts[name].from_matrix(entry.matrix).to(work.state[name]) for name, entry in changed.items()}
    return work.with_weights(changed, state)


def _coded(work: Workpiece, changed: AllWeights) -> Workpiece:
    """The workpiece whose file is coded; that does nothing to plain floats without zeros, unless a later step does."""
    idle = {name for name, entry in changed.items() if entry.kept is None and entry.code is None} - work.treated
    coded = work.with_weights(changed)
    return replace(coded, treated=coded.treated - idle).with_refused(dict.fromkeys(idle, NOT_CODED))


def check_recipe(recipe: Recipe, inventory: Inventory, context: Context) -> Recipe:
    """The same recipe with every value filled in; two recipes that do the same become equal.

    Raises:
        CompressExplorerError: when a method, parameter, value or layer is not valid, or data are missing.
    """
    for step in recipe:
        targets(inventory, step)
        method = catalogue.method(step.method)
        if method.needs_data:
            calibration_split(step.method, context)
        if method.result == "channels":
            check_example(step.method, context)
    return Recipe(catalogue.complete(step) for step in recipe)
