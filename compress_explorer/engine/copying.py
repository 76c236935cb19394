"""Copies a model with some of its tensors exchanged. The model itself is never touched."""

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from compress_explorer.engine.layers import Inventory
from compress_explorer.spec.errors import ModelError


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers in the state of `model`, detached; they share its memory."""
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}


def copy_with(model: nn.Module, replaced: Mapping[str, Tensor], inventory: Inventory) -> nn.Module:
    """A deep copy of `model` in evaluation mode with some parameters and buffers replaced; tied ones stay tied.

    Raises:
        ModelError: when the model cannot be copied.
    """
    memo: dict[int, object] = {id(cache): cache.detach().clone() for cache in _caches(model)}
    replacements = _replacements(model, replaced, inventory, memo)
    try:
        copied = copy.deepcopy(model, memo).eval()
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied{_culprit(model)}: copy.deepcopy raised {type(error).__name__}: "
            f"{error}. Keep only parameters, buffers and plain values as attributes."
        ) from error
    there = {id(tensor) for tensor in [*copied.parameters(), *copied.buffers()]}
    for name, tensor in replacements.items():
        if id(tensor) not in there:
            raise ModelError(
                f"{name} cannot be replaced in a copy of {type(model).__name__}: its state_dict() or deepcopy gives "
                "tensors other than its own. Pass the module without its state_dict hooks or its __deepcopy__."
            )
    return copied


def _replacements(
    model: nn.Module, replaced: Mapping[str, Tensor], inventory: Inventory, memo: dict[int, object]
) -> dict[str, Tensor]:
    """New parameters and buffers, entered into `memo` in the place of those they replace, under all of their names."""
    originals = model.state_dict(keep_vars=True)
    replacements = {}
    for name, values in replaced.items():
        original = originals[name]
        # Of the original's memory format, e.g. channels last, so that the network computes by the same kernels.
        new = torch.empty_like(original.detach()).copy_(values)
        if isinstance(original, nn.Parameter):
            new = nn.Parameter(new, requires_grad=original.requires_grad)
        for shared in [originals[other] for other in (name, *inventory.aliases_of(name))]:
            alike = isinstance(shared, nn.Parameter) == isinstance(original, nn.Parameter)
            memo[id(shared)] = new if alike else new.detach()
        replacements[name] = new
    return replacements


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
