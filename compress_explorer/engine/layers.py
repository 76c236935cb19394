"""Finds the weights of a model that methods can treat, and says of all others why they cannot."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from compress_explorer.engine.matrix import Layout
from compress_explorer.spec.errors import ModelError, unknown
from compress_explorer.spec.inventory import Skipped

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)


@dataclass(frozen=True)
class WeightSite:
    """A weight tensor that methods can treat.

    Attributes:
        name: its first name in the model's state, e.g. "fc1.weight".
        aliases: its other names, when layers or modules share it.
        layout: its matrix form.
        layer: the type of its layer, e.g. "Linear".
    """

    name: str
    aliases: tuple[str, ...]
    layout: Layout
    layer: str

    @property
    def weights(self) -> int:
        """The number of weights."""
        return math.prod(self.layout.shape)


@dataclass(frozen=True)
class Inventory:
    """Every tensor of a model: those that methods can treat, and the others with the reason.

    Attributes:
        sites: in the order of the model's state.
        skipped: the other parameters and buffers, once each.
        aliases: (alias, stored name) of every further name of a shared tensor.
    """

    sites: tuple[WeightSite, ...]
    skipped: tuple[Skipped, ...]
    aliases: tuple[tuple[str, str], ...]

    def match(self, patterns: tuple[str, ...]) -> tuple[WeightSite, ...]:
        """The sites whose tensor or layer name matches one of `patterns` (as in `fnmatch`).

        Raises:
            UnknownNameError: when a pattern matches none.
        """
        chosen: set[str] = set()
        for pattern in patterns:
            found = [site.name for site in self.sites if _matches(site, pattern)]
            if not found:
                raise unknown("layer", pattern, [site.name for site in self.sites])
            chosen.update(found)
        return tuple(site for site in self.sites if site.name in chosen)


def _matches(site: WeightSite, pattern: str) -> bool:
    names = (site.name, *site.aliases)
    return any(fnmatchcase(name, pattern) or fnmatchcase(name.rpartition(".")[0], pattern) for name in names)


def inspect_model(model: nn.Module) -> Inventory:
    """Lists the weights of `model` that methods can treat, and why the others cannot be.

    Raises:
        ModelError: when `model` is no module, is scripted, compiled or quantized, has no weights that can be
            treated, is not initialised, or holds NaN or infinite weights.
    """
    _check_model(model)
    first_names: dict[tuple[object, ...], str] = {}
    aliases: list[tuple[str, str]] = []
    sites: list[WeightSite] = []
    skipped: list[Skipped] = []
    storages: dict[int, str] = {}
    for name, tensor, owner in _tensors(model):
        key = _identity(tensor)
        if key in first_names:
            aliases.append((name, first_names[key]))
            continue
        first_names[key] = name
        found = _classify(name.rpartition(".")[2], tensor, owner)
        shared = storages.setdefault(tensor.untyped_storage().data_ptr(), name)
        if isinstance(found, Layout) and shared != name:
            found = f"shares its memory with {shared}, in another shape"
        if isinstance(found, str):
            skipped.append(Skipped(name, found))
        else:
            sites.append(WeightSite(name, (), found, type(owner).__name__))
    sites = [_with_aliases(site, aliases) for site in sites]
    _check_sites(model, sites, skipped)
    return Inventory(tuple(sites), tuple(skipped), tuple(aliases))


def _with_aliases(site: WeightSite, aliases: list[tuple[str, str]]) -> WeightSite:
    names = tuple(alias for alias, target in aliases if target == site.name)
    return WeightSite(site.name, names, site.layout, site.layer)


def _identity(tensor: Tensor) -> tuple[object, ...]:
    if tensor.numel() == 0:
        return (id(tensor),)
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor, nn.Module]]:
    """Every (name, tensor, owner) of the model's state, shared ones under each of their names."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor):
            yield name, tensor, modules.get(name.rpartition(".")[0], model)


def _classify(leaf: str, tensor: Tensor, owner: nn.Module) -> Layout | str:
    """The matrix form of a weight that can be treated, or the reason why it cannot."""
    kind = type(owner).__name__
    if not isinstance(tensor, nn.Parameter):
        return f"is a buffer of {kind}, not a weight"
    if isinstance(owner, NORMS):
        return f"is the scale or shift of {kind}, kept exactly"
    if "bias" in leaf:
        return "is a bias, kept exactly"
    if tensor.dtype not in FLOATS:
        return f"has dtype {str(tensor.dtype).removeprefix('torch.')}; methods treat floating-point weights"
    if leaf.endswith("_orig"):
        return f"was pruned by torch.nn.utils.prune; call prune.remove(module, {leaf.removesuffix('_orig')!r}) first"
    if parametrize.is_parametrized(owner) or leaf.startswith("original"):
        return "is parametrized; call torch.nn.utils.parametrize.remove_parametrizations first"
    if leaf.endswith(("_g", "_v")):
        return "belongs to weight normalization; call torch.nn.utils.remove_weight_norm first"
    if tensor.numel() == 0:
        return "has no elements"
    axis = _output_axis(leaf, owner)
    if axis is None:
        return f"belongs to {kind}, which is no known layer type"
    groups = owner.groups if isinstance(owner, _ConvNd) and axis == 1 else 1
    return Layout(tuple(tensor.shape), axis, groups)


def _output_axis(leaf: str, owner: nn.Module) -> int | None:
    """The axis of the output channels, or None when the layer's type is not known."""
    if isinstance(owner, _ConvNd):
        return 1 if owner.transposed else 0
    if isinstance(owner, nn.Linear | nn.Bilinear | nn.Embedding | nn.EmbeddingBag):
        return 0
    if isinstance(owner, nn.RNNBase | nn.RNNCellBase):
        return 0 if leaf.startswith("weight_") else None
    if isinstance(owner, nn.MultiheadAttention):
        return 0 if leaf.endswith("proj_weight") else None
    return None


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise ModelError(f"The model must be a torch.nn.Module, not {type(model).__name__}.")
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError("The model is scripted (torch.jit). Pass the nn.Module it was made from.")
    if hasattr(model, "_orig_mod"):
        raise ModelError("The model is compiled (torch.compile). Pass the module it was made from: model._orig_mod.")
    for name, module in model.named_modules():
        path = type(module).__module__
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(f"Module {name!r} is scripted (torch.jit). Pass the nn.Module it was made from.")
        if ".quantized" in path and path.startswith("torch."):
            raise ModelError(f"Module {name!r} is already quantized ({type(module).__name__}). Pass the float model.")
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if isinstance(tensor, nn.parameter.UninitializedParameter | nn.parameter.UninitializedBuffer):
            raise ModelError(f"{name} is not initialised yet (lazy module). Run one batch through the model first.")
        if tensor.is_quantized:
            raise ModelError(f"{name} is already quantized ({tensor.dtype}). Pass the float model.")
        if tensor.is_meta:
            raise ModelError(f"{name} is on the meta device and has no values. Load the weights first.")


def _check_sites(model: nn.Module, sites: list[WeightSite], skipped: list[Skipped]) -> None:
    if not sites:
        reasons = "; ".join(f"{entry.name} {entry.reason}" for entry in skipped[:5])
        raise ModelError(
            f"{type(model).__name__} has no weights that can be compressed"
            + (f": {reasons}." if reasons else ": it has no parameters.")
        )
    state = model.state_dict()
    for site in sites:
        if not bool(torch.isfinite(state[site.name]).all()):
            raise ModelError(
                f"{site.name} holds NaN or infinite weights. Repair or retrain the model; "
                "torch.nan_to_num shows where they are."
            )
