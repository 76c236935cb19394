"""Finds the weights of a model that methods can treat, and says of all others why they cannot."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from compress_explorer.engine.matrix import Layout
from compress_explorer.spec.errors import ModelError, unknown
from compress_explorer.spec.inventory import Skipped

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

LARGEST = 1e38
"""The largest magnitude of a weight: beyond it scales and levels overflow float32. In float16 it is 32752."""

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
        window: how many neighbouring columns of the matrix see one input channel: the places of a convolution's
            kernel, 1 for other layers.
        origin: the tensor of the original model that it is a part of; "" when that is itself.
    """

    name: str
    aliases: tuple[str, ...]
    layout: Layout
    layer: str
    window: int = 1
    origin: str = ""

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

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """The other names of the tensor that is stored as `name`."""
        return tuple(alias for alias, stored in self.aliases if stored == name)

    def match(self, patterns: tuple[str, ...]) -> tuple[WeightSite, ...]:
        """The sites whose tensor or layer name, or layer type, matches one of `patterns` (as in `fnmatch`).

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
    tensors = (site.name, *site.aliases, site.origin or site.name)
    names = [*tensors, *(name.rpartition(".")[0] for name in tensors), site.layer]
    # A name as it is, too: one with brackets would not match itself as a pattern.
    return pattern in names or any(fnmatchcase(name, pattern) for name in names)


def inspect_model(model: nn.Module) -> Inventory:
    """Lists the weights of `model` that methods can treat, and why the others cannot be.

    Raises:
        ModelError: when `model` is no module, is scripted, compiled or quantized, has no weights that can be
            treated, is not initialised, or holds NaN or infinite weights.
    """
    _check_model(model)
    sites: list[WeightSite] = []
    skipped: list[Skipped] = []
    aliases: list[tuple[str, str]] = []
    groups = _shared(_tensors(model))
    overlaps = _overlaps([group[0] for group in groups])
    for group in groups:
        found = [_classify(name.rpartition(".")[2], name, tensor, owner) for name, tensor, owner in group]
        # Of several names of one tensor, one by which it can be treated stands for it: a buffer may be a weight too.
        chosen = next((index for index, layout in enumerate(found) if isinstance(layout, Layout)), 0)
        stored, _, owner = group[chosen]
        names = tuple(name for name, _, _ in group if name != stored)
        aliases += [(name, stored) for name in names]
        layout = found[chosen]
        if isinstance(layout, str):
            skipped.append(Skipped(stored, layout))
        elif group[0][0] in overlaps:
            skipped.append(Skipped(stored, f"shares its memory with {overlaps[group[0][0]]}, in another shape"))
        else:
            window = math.prod(layout.shape[2:]) if isinstance(owner, _ConvNd) else 1
            sites.append(WeightSite(stored, names, layout, type(owner).__name__, window))
    _check_sites(model, sites, skipped)
    return Inventory(tuple(sites), tuple(skipped), tuple(aliases))


Entry = tuple[str, Tensor, nn.Module]
"""(name, tensor, owner) of a parameter or buffer."""


def _tensors(model: nn.Module) -> Iterator[Entry]:
    """Every tensor of the model's state, shared ones under each of their names."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor):
            yield name, tensor, modules.get(name.rpartition(".")[0], model)


def _shared(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The entries grouped by tensor: those of a group are one tensor under several names."""
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_identity(entry[1]), []).append(entry)
    return list(groups.values())


def _identity(tensor: Tensor) -> tuple[object, ...]:
    if tensor.numel() == 0:
        return (id(tensor),)
    return (tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _overlaps(entries: Sequence[Entry]) -> dict[str, str]:
    """For each tensor whose memory overlaps that of an earlier one: the name of the earliest.

    Neighbours in one allocation do not overlap: `torch.nn.utils.vector_to_parameters` and recurrent layers on a GPU
    lay many weights into one storage.
    """
    spans = sorted((*_span(tensor), order) for order, (_, tensor, _) in enumerate(entries) if tensor.numel())
    clusters: list[list[int]] = []
    reached = ("", 0)
    for device, start, end, order in spans:
        if (device, start) < reached:
            clusters[-1].append(order)
        else:
            clusters.append([order])
        reached = max(reached, (device, end))
    return {
        entries[order][0]: entries[min(cluster)][0]
        for cluster in clusters
        for order in cluster
        if order != min(cluster)
    }


def _span(tensor: Tensor) -> tuple[str, int, int]:
    """The device, the address of the first byte and that past the last."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.data_ptr()
    return str(tensor.device), start, start + (last + 1) * tensor.element_size()


def _classify(leaf: str, name: str, tensor: Tensor, owner: nn.Module) -> Layout | str:
    """The matrix form of a weight that can be treated, or the reason why it cannot."""
    kind = type(owner).__name__
    if not isinstance(tensor, nn.Parameter):
        return f"is a buffer of {kind}, not a weight"
    if "parametrizations" in name.split("."):
        return "is parametrized; call torch.nn.utils.parametrize.remove_parametrizations first"
    if isinstance(owner, NORMS):
        return f"is the scale or shift of {kind}, kept exactly"
    if "bias" in leaf:
        return "is a bias, kept exactly"
    if tensor.dtype not in FLOATS:
        return f"has dtype {str(tensor.dtype).removeprefix('torch.')}; methods treat floating-point weights"
    if (reason := _reparametrized(leaf, owner)) is not None:
        return reason
    if tensor.numel() == 0:
        return "has no elements"
    axis = _output_axis(leaf, owner)
    if axis is None:
        return f"belongs to {kind}, which is no known layer type"
    groups = owner.groups if isinstance(owner, _ConvNd) and axis == 1 else 1
    return Layout(tuple(tensor.shape), axis, groups)


def _reparametrized(leaf: str, owner: nn.Module) -> str | None:
    """Why a parameter from which a hook computes the weight cannot be treated; None when it is no such one."""
    weight = leaf.removesuffix("_orig")
    if leaf.endswith("_orig") and hasattr(owner, f"{weight}_mask"):
        return f"was pruned by torch.nn.utils.prune; call prune.remove(module, {weight!r}) first"
    if leaf.endswith("_orig") and hasattr(owner, f"{weight}_u"):
        return f"belongs to spectral normalization; call remove_spectral_norm(module, {weight!r}) first"
    weight = leaf.removesuffix("_g").removesuffix("_v")
    if leaf.endswith(("_g", "_v")) and all(hasattr(owner, weight + part) for part in ("", "_g", "_v")):
        return f"belongs to weight normalization; call remove_weight_norm(module, {weight!r}) first"
    return None


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
        raise ModelError(
            f"The model must be a torch.nn.Module, not {_described(model)}. Pass the model itself, as in `Net()`."
        )
    for name, module in model.named_modules():
        _check_module(f"Module {name!r}" if name else "The model", module)
    # Without its hooks: they may read what is checked here.
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        _check_tensor(name, tensor)


def _described(value: object) -> str:
    text = f"the class {value.__name__}" if isinstance(value, type) else f"{type(value).__name__} {value!r:.60}"
    return text.partition("\n")[0]


def _check_module(name: str, module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(f"{name} is scripted (torch.jit). Pass the nn.Module it was made from.")
    if hasattr(module, "_orig_mod"):
        raise ModelError(f"{name} is compiled (torch.compile). Pass the module it was made from: its _orig_mod.")
    path = type(module).__module__
    if ".quantized" in path and path.startswith("torch."):
        raise ModelError(f"{name} is already quantized ({type(module).__name__}). Pass the float model.")


def _check_tensor(name: str, tensor: Tensor) -> None:
    if isinstance(tensor, nn.parameter.UninitializedParameter | nn.parameter.UninitializedBuffer):
        raise ModelError(f"{name} is not initialised yet (lazy module). Run one batch through the model first.")
    wrapper: bool = is_traceable_wrapper_subclass(tensor)
    if tensor.is_quantized or wrapper:
        kind = type(tensor).__name__ if wrapper else str(tensor.dtype)
        raise ModelError(f"{name} is already quantized or distributed ({kind}). Pass the plain float model.")
    if tensor.is_meta:
        raise ModelError(f"{name} is on the meta device and has no values. Load the weights first.")
    if tensor.layout != torch.strided:
        kind = str(tensor.layout).removeprefix("torch.")
        raise ModelError(f"{name} is stored as {kind}. Make it dense first, with {name}.to_dense().")


def _check_sites(model: nn.Module, sites: list[WeightSite], skipped: list[Skipped]) -> None:
    if not sites:
        reasons = "; ".join(f"{entry.name} {entry.reason}" for entry in skipped[:5])
        raise ModelError(
            f"{type(model).__name__} has no weights that can be compressed"
            + (f": {reasons}." if reasons else ": it has no parameters.")
            + " Methods treat linear, convolution, embedding, recurrent and attention layers of torch.nn."
        )
    state = {name: tensor.detach() for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    for site in sites:
        largest = float(state[site.name].abs().max())
        if not math.isfinite(largest):
            raise ModelError(
                f"{site.name} holds NaN or infinite weights. Repair or retrain the model; "
                "torch.isfinite shows where they are."
            )
        # Levels reach up to twice the largest weight.
        limit = min(LARGEST, torch.finfo(state[site.name].dtype).max / 2)
        if largest > limit:
            raise ModelError(
                f"{site.name} holds a weight of magnitude {largest:.3g}; methods can compute with magnitudes up to "
                f"{limit:g}. Rescale or retrain the model."
            )
    # Infinities are legitimate there: attention masks hold them.
    for entry in skipped:
        if entry.name in state and bool(torch.isnan(state[entry.name]).any()):
            raise ModelError(f"{entry.name} holds NaN. Repair or retrain the model; torch.isnan shows where they are.")
