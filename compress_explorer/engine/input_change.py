"""Applies methods that change what layers are fed: scales of features, levels of the input."""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from compress_explorer.engine.context import Context
from compress_explorer.engine.copying import tensors_of
from compress_explorer.engine.edits import Transformed
from compress_explorer.engine.input_transform import (
    AXES,
    InputTransform,
    attach,
    buffers_of,
    cannot_transform,
    transform_of,
)
from compress_explorer.engine.layers import Inventory, WeightSite, inspect_model
from compress_explorer.engine.rescale import rescaled
from compress_explorer.engine.targets import Target
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods.feature_scales import scale_columns
from compress_explorer.methods.input_change import InputChange
from compress_explorer.spec.method import Method

INPUT_ONLY = "its weights stay as they are: the step treats its input"


def first_obstacle(work: Workpiece, method: Method, site: WeightSite) -> str | None:
    """Why a method cannot change the input of a site's layer, in words; None when it can.

    Scales of features (methods that need the moments of inputs) must come before the input is rounded to fixed
    levels, and before weights are rounded, unless the method rounds them anew.
    """
    names = (site.name, *site.aliases)
    if len({work.model.get_submodule(name.rpartition(".")[0]) for name in names}) > 1:
        return f"its weight is shared by several layers: {', '.join(names)}"
    reason = cannot_transform(layer_of(work.model, site))
    if reason is not None:
        return f"its input cannot be treated: it {reason}"
    if method.needs != "inputs":
        return None
    transform = transform_of(layer_of(work.model, site))
    if transform is not None and transform.scale is not None:
        return "its input is rounded to fixed levels already; put this step before that one"
    if method.name != "awq" and work.weights[site.name].code is not None:
        return "its weights are quantized already; put this step before that one"
    return None


def layer_of(model: nn.Module, site: WeightSite) -> nn.Module:
    """The layer that a weight belongs to."""
    return model.get_submodule(site.name.rpartition(".")[0])


def change_inputs(
    work: Workpiece, method: Method, target: Target, known: Mapping[str, Any], context: Context
) -> Workpiece:
    """The workpiece after the inputs of one target's layers were divided and rounded.

    Args:
        work: the model as the steps before left it.
        method: with the result "inputs".
        target: the weights of the layers, and the values of the parameters.
        known: what the method needs to know of each site: None for nothing; in words why it cannot be treated.
        context: who is told the progress.
    """
    values = {name: value for name, value in target.values.items() if name != "samples"}
    refused = {name: reason for name, reason in known.items() if isinstance(reason, str)}
    sites = [site for site in target.sites if site.name not in refused]
    changes: dict[str, InputChange] = {}
    for done, site in enumerate(sites, start=1):
        context.tell(f"{method.label}: layer {done} of {len(sites)}")
        entry = work.weights[site.name]
        third = [known[site.name]] if method.needs_data else []
        with torch.no_grad():
            changes[site.name] = method.apply(entry.matrix, entry.mask, *third, **values)
    changed = {name for name, change in changes.items() if change.divide is not None}
    work = _multiplied(work, sites, changes)
    codes = {name: change.code for name, change in changes.items() if change.code is not None}
    work = work.with_weights({name: work.weights[name].quantized(code) for name, code in codes.items()})
    work = _transformed(work, sites, changes)
    return work.with_refused(refused | {name: INPUT_ONLY for name in changes if name not in changed})


def _multiplied(work: Workpiece, sites: list[WeightSite], changes: Mapping[str, InputChange]) -> Workpiece:
    """The workpiece whose weights are multiplied by what their layers' inputs will be divided by."""
    factors: dict[str, Tensor] = {}
    for site in sites:
        divide = changes[site.name].divide
        if divide is not None:
            ones = torch.ones_like(work.weights[site.name].matrix)
            groups = getattr(layer_of(work.model, site), "groups", 1)
            factors[site.name] = scale_columns(ones, divide, groups, ones.shape[1] * groups // len(divide))
    return rescaled(work, factors) if factors else work


def _transformed(work: Workpiece, sites: list[WeightSite], changes: Mapping[str, InputChange]) -> Workpiece:
    """The workpiece whose network has the transforms of its layers' inputs."""
    if not sites:
        return work
    # A structure of its own that shares all tensors: neither is ever changed.
    memo: dict[int, Any] = {id(tensor): tensor for tensor in [*work.model.parameters(), *work.model.buffers()]}
    model = copy.deepcopy(work.model, memo)
    for site in sites:
        layer = layer_of(model, site)
        attach(layer, _composed(layer, changes[site.name]))
    own = tensors_of(model)
    edits = [_edit(site, layer_of(model, site)) for site in sites]
    again = {edit.layer for edit in edits}
    earlier = [edit for edit in work.edits if not (isinstance(edit, Transformed) and edit.layer in again)]
    return replace(
        work,
        model=model,
        inventory=_with_origins(inspect_model(model), work.inventory),
        state=own | {name: work.state[name] for name in own if name in work.state and name not in buffers_of(model)},
        edits=(*earlier, *edits),
        memo={},
    )


def _edit(site: WeightSite, layer: nn.Module) -> Transformed:
    """The transform of a layer as an edit of the network's structure."""
    transform = transform_of(layer)
    assert transform is not None
    return Transformed(
        layer=site.name.rpartition(".")[0],
        divided=int(transform.divide is not None),
        bits=transform.bits or 0,
        affine=int(transform.scheme == "affine"),
        dynamic=int(transform.dynamic),
    )


def _with_origins(inventory: Inventory, before: Inventory) -> Inventory:
    origins = {site.name: site.origin for site in before.sites}
    return replace(inventory, sites=tuple(replace(site, origin=origins[site.name]) for site in inventory.sites))


def _composed(layer: nn.Module, change: InputChange) -> InputTransform:
    """The transform that the layer has with the change."""
    old = transform_of(layer)
    new = InputTransform(AXES[type(layer)], divide=change.divide, quantizer=change.quantizer)
    new = new.to(layer.get_parameter("weight").device)
    if old is None:
        return new
    divides = [entry.divide for entry in (old, new) if entry.divide is not None]
    divide = math.prod(divides[1:], start=divides[0]) if divides else None
    return InputTransform(new.axis, divide=divide, quantizer=new.quantizer or old.quantizer)
