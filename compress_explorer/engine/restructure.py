"""A workpiece whose network's structure was changed: new tensors, and how they give back the original weights."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compress_explorer.engine.copying import tensors_of
from compress_explorer.engine.edits import Edit
from compress_explorer.engine.layers import Inventory, inspect_model
from compress_explorer.engine.matrix import as_float32_matrix
from compress_explorer.engine.structure import apply_edits
from compress_explorer.engine.weights import AllWeights, Weights
from compress_explorer.engine.workpiece import Origin, Workpiece


@dataclass(frozen=True, eq=False)
class Replacement:
    """What a step puts in the place of one weight tensor.

    Attributes:
        parts: the names of the weight tensors that stand for it.
        dense: gives it back in its matrix form before the step, from the present weights.
    """

    parts: tuple[str, ...]
    dense: Callable[[AllWeights], Weights]


def restructure(
    work: Workpiece,
    edits: Iterable[Edit],
    tensors: Mapping[str, Tensor],
    replacements: Mapping[str, Replacement],
    masks: Mapping[str, Tensor],
) -> Workpiece:
    """The workpiece after a change of its network's structure.

    Codes of the changed tensors are given up: their weights are floats again.

    Args:
        work: the model as the steps before left it.
        edits: the changes, first to last.
        tensors: the values of every tensor that is new or has another shape.
        replacements: what stands for each weight tensor that changed, by its name before.
        masks: of the new weights that were pruned, which are kept, in matrix form.

    Raises:
        ModelError: when an edit does not fit, or the new weights cannot be treated (e.g. overflow in half precision).
    """
    edits = tuple(edits)
    model = apply_edits(copy.deepcopy(work.model), edits, work.edits)
    with torch.no_grad():
        for name, tensor in tensors_of(model).items():
            tensor.copy_(tensors[name] if name in tensors else work.state[name])
    state = tensors_of(model)
    origins = {name: _compose(origin, replacements) for name, origin in work.origins.items()}
    inventory = _with_origins(inspect_model(model), origins)
    new = {part for entry in replacements.values() for part in entry.parts}
    weights = {
        site.name: Weights(as_float32_matrix(state[site.name], site.layout), masks.get(site.name), None, site_dtype)
        if site.name in new
        else work.weights[site.name]
        for site in inventory.sites
        for site_dtype in [state[site.name].dtype]
    }
    return replace(
        work,
        model=model,
        inventory=inventory,
        state=state,
        weights=weights,
        origins=origins,
        treated=frozenset((work.treated | new) & weights.keys()),
        refused={name: reason for name, reason in work.refused.items() if name in weights},
        edits=(*work.edits, *edits),
        memo={},
    )


def _compose(origin: Origin, replacements: Mapping[str, Replacement]) -> Origin:
    """The origin in terms of what now stands for its parts."""
    changed = {part: replacements[part] for part in origin.parts if part in replacements}
    if not changed:
        return origin
    parts = tuple(new for part in origin.parts for new in (changed[part].parts if part in changed else (part,)))

    known: list[tuple[list[Weights], Weights]] = []

    def dense(weights: AllWeights) -> Weights:
        # The same object for the same parts: so it is seen that a step left them alone.
        given = [weights[part] for part in parts]
        if not known or any(one is not other for one, other in zip(known[0][0], given, strict=True)):
            result = origin.dense({**weights, **{part: entry.dense(weights) for part, entry in changed.items()}})
            known[:] = [(given, result)]
            return result
        return known[0][1]

    return Origin(parts, dense)


def _with_origins(inventory: Inventory, origins: Mapping[str, Origin]) -> Inventory:
    """The inventory whose sites say which original tensor they are a part of."""
    first = {part: name for name, origin in origins.items() for part in origin.parts if part != name}
    return replace(inventory, sites=tuple(replace(site, origin=first.get(site.name, "")) for site in inventory.sites))
