"""Compresses a model by a recipe. The caller's model is never touched."""

import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from compress_explorer.engine import file as compressed_file
from compress_explorer.engine.layers import Inventory, inspect_model
from compress_explorer.engine.matrix import Layout
from compress_explorer.engine.size import size_report
from compress_explorer.engine.steps import AllWeights, Weights, apply_recipe, check_recipe, original_weights
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.engine.task import Task
from compress_explorer.spec.errors import ModelError
from compress_explorer.spec.inventory import Skipped
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.size import SizeReport


@dataclass(frozen=True, eq=False)
class CompressedModel:
    """A compressed model with everything that is stored of it.

    Attributes:
        model: a module of its own, in evaluation mode, that computes with the decoded weights.
        recipe: what was done, every value filled in.
        stored: the stored form of every tensor, once each; independent of what becomes of either module.
        skipped: the tensors that no step treated, with the reason.
        baseline: the caller's model, as it was given.
        aliases: (alias, stored name) for tensors that several layers share.
    """

    model: nn.Module
    recipe: Recipe
    stored: tuple[StoredTensor, ...]
    skipped: tuple[Skipped, ...]
    baseline: nn.Module
    aliases: tuple[tuple[str, str], ...]

    @cached_property
    def _size(self) -> SizeReport:
        return size_report(self.stored, self.recipe, dict(self.aliases), self.baseline.state_dict())

    def size(self) -> SizeReport:
        """The size in every accounting, per tensor and in total."""
        return self._size

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the compressed file; `size().file` is its exact length in bytes.

        The file is safetensors: packed or coded values, positions, scales and codebooks, and the recipe. Nothing in it
        is ever executed. `load_compressed(path, model)` reads it back.

        Raises:
            OSError: when the file cannot be written; nothing is left behind then.
        """
        return compressed_file.save(path, self.stored, self.recipe, dict(self.aliases))


def compress(model: nn.Module, recipe: Recipe | Step, task: Task | None = None) -> CompressedModel:
    """Applies `recipe` to a copy of `model`.

    Args:
        model: any module; it is not changed.
        recipe: the steps, first to last; a single step will do.
        task: data for methods that need some; none of the present methods does.

    Raises:
        ModelError: when the model cannot be compressed (no weights, NaN, scripted, quantized).
        CompressExplorerError: when the recipe is not valid for it.
    """
    del task
    inventory = inspect_model(model)
    recipe = check_recipe(recipe if isinstance(recipe, Recipe) else Recipe(recipe), inventory)
    # A copy: what is stored stays as it is when the caller's model is trained on.
    state = {name: tensor.clone() for name, tensor in tensors_of(model).items()}
    weights = apply_recipe(original_weights(state, inventory), inventory, recipe)
    return assemble(model, state, inventory, recipe, weights)


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers in the state of `model`, detached; they share its memory."""
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}


def assemble(
    model: nn.Module, state: Mapping[str, Tensor], inventory: Inventory, recipe: Recipe, weights: AllWeights
) -> CompressedModel:
    """Puts the weights that a recipe left into a copy of `model`, whose tensors are `state`."""
    stored = stored_tensors(state, inventory, weights)
    replaced = {entry.name: entry.values for entry in stored if entry.treated}
    return CompressedModel(
        model=copy_with(model, replaced, inventory),
        recipe=recipe,
        stored=stored,
        skipped=skipped_tensors(inventory, weights),
        baseline=model,
        aliases=inventory.aliases,
    )


def stored_tensors(state: Mapping[str, Tensor], inventory: Inventory, weights: AllWeights) -> tuple[StoredTensor, ...]:
    """The stored form of every tensor of `state`, shared ones once, in the order of the state."""
    sites = {site.name: site for site in inventory.sites}
    aliases = dict(inventory.aliases)
    return tuple(
        _stored(name, tensor, sites[name].layout, weights[name])
        if name in sites
        else StoredTensor(name=name, values=tensor.detach(), layout=_plain_layout(tensor))
        for name, tensor in state.items()
        if name not in aliases
    )


def _stored(name: str, tensor: Tensor, layout: Layout, entry: Weights) -> StoredTensor:
    """Pruned weights that are not quantized keep their bits exactly, float64 included."""
    if entry.code is not None:
        values = layout.from_matrix(entry.matrix).to(tensor.dtype)
    elif entry.kept is not None:
        values = torch.where(layout.from_matrix(entry.kept), tensor.detach(), torch.zeros((), dtype=tensor.dtype))
    else:
        values = tensor.detach()
    return StoredTensor(name=name, values=values, layout=layout, kept=entry.kept, code=entry.code, coding=entry.coding)


def _plain_layout(tensor: Tensor) -> Layout:
    return Layout(tuple(tensor.shape) or (1,))


def skipped_tensors(inventory: Inventory, weights: AllWeights) -> tuple[Skipped, ...]:
    """All tensors that are stored as they were, with the reason."""
    untouched = tuple(
        Skipped(site.name, _why_untouched(weights[site.name]))
        for site in inventory.sites
        if weights[site.name].kept is None and weights[site.name].code is None
    )
    return untouched + inventory.skipped


def _why_untouched(entry: Weights) -> str:
    if entry.coding is None:
        return "no step of the recipe names this layer"
    return "plain floats without zeros are not coded: prune or quantize them first"


def copy_with(model: nn.Module, replaced: Mapping[str, Tensor], inventory: Inventory) -> nn.Module:
    """A deep copy of `model` in evaluation mode with some parameters replaced; tied ones stay tied.

    Raises:
        ModelError: when the model cannot be copied.
    """
    memo: dict[int, object] = {id(cache): cache.detach().clone() for cache in _caches(model)}
    parameters = _replacements(model, replaced, inventory, memo)
    try:
        copied = copy.deepcopy(model, memo).eval()
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied{_culprit(model)}: copy.deepcopy raised {type(error).__name__}: "
            f"{error}. Keep only parameters, buffers and plain values as attributes."
        ) from error
    there = {id(parameter) for parameter in copied.parameters()}
    for name, parameter in parameters.items():
        if id(parameter) not in there:
            raise ModelError(
                f"{name} cannot be replaced in a copy of {type(model).__name__}: its state_dict() or deepcopy gives "
                "tensors other than its own. Pass the module without its state_dict hooks or its __deepcopy__."
            )
    return copied


def _replacements(
    model: nn.Module, replaced: Mapping[str, Tensor], inventory: Inventory, memo: dict[int, object]
) -> dict[str, nn.Parameter]:
    """New parameters, entered into `memo` in the place of those they replace, under all of their names."""
    originals = model.state_dict(keep_vars=True)
    parameters = {}
    for name, values in replaced.items():
        original = originals[name]
        # Of the original's memory format, e.g. channels last, so that the network computes by the same kernels.
        new = nn.Parameter(torch.empty_like(original.detach()).copy_(values), requires_grad=original.requires_grad)
        for shared in [originals[other] for other in (name, *inventory.aliases_of(name))]:
            memo[id(shared)] = new if isinstance(shared, nn.Parameter) else new.detach()
        parameters[name] = new
    return parameters


def _caches(model: nn.Module) -> Iterator[Tensor]:
    """Attributes that were computed from parameters, e.g. by a pruning hook: deepcopy refuses them."""
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                yield value


def _culprit(model: nn.Module) -> str:
    """Which attribute cannot be copied, in words; empty when it is not a single one."""
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute.startswith("_") and attribute in vars(nn.Module()):
                continue
            try:
                copy.deepcopy(value)
            except Exception:  # noqa: BLE001 -- looking for just that
                return f" because of its attribute {'.'.join(filter(None, [name, attribute]))!r}"
    return ""
