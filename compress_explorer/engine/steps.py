"""Applies the steps of a recipe to weight matrices. Pure: every result is new, nothing is edited in place."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compress_explorer.engine.layers import Inventory
from compress_explorer.engine.matrix import as_float32_matrix
from compress_explorer.methods import catalogue
from compress_explorer.methods.code import Code
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.size import Coding


@dataclass(frozen=True, eq=False)
class Weights:
    """One weight matrix between two steps.

    Attributes:
        matrix: float32 [channels, n], exactly zero where not kept; every value is one of `dtype`.
        kept: bool [channels, n], or None while nothing was pruned.
        code: the quantized form, or None.
        dtype: what the network computes with.
        coding: the entropy coder of the file, or None.
    """

    matrix: Tensor
    kept: Tensor | None = None
    code: Code | None = None
    dtype: torch.dtype = torch.float32
    coding: Coding | None = None

    @property
    def mask(self) -> Tensor:
        """`kept`, all true while nothing was pruned."""
        return torch.ones_like(self.matrix, dtype=torch.bool) if self.kept is None else self.kept

    def pruned(self, keep: Tensor) -> "Weights":
        """These weights with only those left that `keep` names; codes stay as they are."""
        kept = keep if self.kept is None else self.kept & keep
        return replace(self, matrix=torch.where(kept, self.matrix, 0.0), kept=kept)

    def quantized(self, code: Code) -> "Weights":
        """These weights in the form of `code`; pruned weights stay exactly zero."""
        values = code.decode()
        if self.dtype.itemsize < values.itemsize:
            # bfloat16 rounds as coarsely as 8 bits quantize: the error must count.
            values = values.to(self.dtype).float()
        return replace(self, matrix=values if self.kept is None else torch.where(self.kept, values, 0.0), code=code)


AllWeights = Mapping[str, Weights]
"""The weights of a model by the name of their site."""


def original_weights(state: Mapping[str, Tensor], inventory: Inventory) -> AllWeights:
    """Float32 copies of all treatable weights of a model's `state`."""
    return {
        site.name: Weights(as_float32_matrix(state[site.name], site.layout), dtype=state[site.name].dtype)
        for site in inventory.sites
    }


def apply_recipe(weights: AllWeights, inventory: Inventory, recipe: Recipe) -> AllWeights:
    """All steps, first to last.

    Raises:
        CompressExplorerError: when a method, parameter, value or layer of a step is not valid.
    """
    for step in recipe:
        weights = apply_step(weights, inventory, step)
    return weights


def apply_step(weights: AllWeights, inventory: Inventory, step: Step) -> AllWeights:
    """The weights after one step; those of other layers are passed on.

    Raises:
        CompressExplorerError: when the step's method, parameter, value or layers are not valid.
    """
    method = catalogue.method(step.method)
    values = method.complete(dict(step.values))
    sites = inventory.match(step.layers)
    with torch.no_grad():
        changed = _apply(method, [weights[site.name] for site in sites], values)
    return {**weights, **{site.name: entry for site, entry in zip(sites, changed, strict=True)}}


def _apply(method: Method, entries: list[Weights], values: Mapping[str, Value]) -> list[Weights]:
    if method.scope == "model":
        results = method.apply([entry.matrix for entry in entries], [entry.mask for entry in entries], **values)
    else:
        results = [method.apply(entry.matrix, entry.mask, **values) for entry in entries]
    return [_combine(entry, result) for entry, result in zip(entries, results, strict=True)]


def _combine(entry: Weights, result: Tensor | Code | Coding) -> Weights:
    if isinstance(result, str):
        return replace(entry, coding=result)
    return entry.quantized(result) if isinstance(result, Code) else entry.pruned(result)


def check_recipe(recipe: Recipe, inventory: Inventory) -> Recipe:
    """The same recipe with every value filled in; two recipes that do the same become equal.

    Raises:
        CompressExplorerError: when a method, parameter, value or layer is not valid.
    """
    for step in recipe:
        inventory.match(step.layers)
    return Recipe(catalogue.complete(step) for step in recipe)
