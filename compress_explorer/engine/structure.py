"""Changes of a network's structure as plain data.

One function makes them, when a step is applied and when a file is loaded.

Every edit makes the network smaller, but for one number a feature where inputs are divided: no list of edits can take
much more memory than the network itself. Layers that an edit cannot change are refused with the reason, in words.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from compress_explorer.engine.input_transform import attach, blank, cannot_transform
from compress_explorer.spec.errors import FileFormatError, ModelError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm)
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Factored:
    """A linear layer or convolution becomes two: `layer`.0 to `rank` channels without a bias, `layer`.1 from there.

    Of a convolution the first has the kernel, stride and padding, the second is 1x1.
    """

    layer: str
    rank: int


@dataclass(frozen=True)
class Tucker:
    """A convolution becomes three: 1x1 to `inputs` channels, the kernel from these to `outputs`, 1x1 from there.

    They are `layer`.0, .1 and .2; only the last has the bias.
    """

    layer: str
    outputs: int
    inputs: int


@dataclass(frozen=True)
class Resized:
    """A layer has fewer `outputs` and `inputs`. Those of a normalization or a depthwise convolution are the same."""

    layer: str
    outputs: int
    inputs: int


@dataclass(frozen=True)
class Transformed:
    """A layer has an `input_transform`: it is fed what that makes of its input, see `input_transform.InputTransform`.

    Attributes:
        layer: its name.
        divided: 1 where each feature is divided by a scale, else 0.
        bits: of a rounded value; 0 where nothing is rounded.
        affine: 1 where levels are affine, 0 where they are symmetric.
        dynamic: 1 where each vector has levels of its own, else 0.
    """

    layer: str
    divided: int
    bits: int
    affine: int
    dynamic: int


Edit = Factored | Tucker | Resized | Transformed
KINDS: dict[str, type[Edit]] = {
    "factored": Factored,
    "tucker": Tucker,
    "resized": Resized,
    "transformed": Transformed,
}
BOUNDS: dict[str, tuple[tuple[int, float], ...]] = {
    "factored": ((1, math.inf),),
    "tucker": ((1, math.inf), (1, math.inf)),
    "resized": ((1, math.inf), (1, math.inf)),
    "transformed": ((0, 1), (0, 8), (0, 1), (0, 1)),
}
"""The smallest and largest numbers of an edit, in its own order."""


def edit_to_json(edit: Edit) -> list[Any]:
    """An edit as plain data for JSON: its kind, the layer and the numbers, e.g. ["factored", "fc1", 50]."""
    return [type(edit).__name__.lower(), *astuple(edit)]


def edit_from_json(data: object) -> Edit:
    """The edit that `edit_to_json` wrote.

    Raises:
        FileFormatError: when `data` is none.
    """
    match data:
        case [str(kind), str(layer), *numbers] if kind in KINDS:
            whole = [number for number in numbers if type(number) is int]
            bounds = BOUNDS[kind]
            if len(whole) == len(numbers) == len(bounds) and all(
                lowest <= number <= highest for number, (lowest, highest) in zip(whole, bounds, strict=True)
            ):
                return KINDS[kind](layer, *whole)
    raise FileFormatError(f"It is damaged: {str(data)[:60]!r} is no edit of a network. Save the model again.")


def apply_edits(model: nn.Module, edits: Iterable[Edit], before: Sequence[Edit] = ()) -> nn.Module:
    """The network with its structure changed; the values of what changed are still to be set.

    Args:
        model: a private module: it is changed in place. (Where the edit is of the whole model, a new one comes back.)
        edits: first to last.
        before: the edits that made `model`.

    Raises:
        ModelError: when an edit does not fit the model; the message names the layer and the reason.
    """
    done = list(before)
    for edit in edits:
        reason = cannot_edit(model, edit, done)
        if reason is not None:
            raise ModelError(f"{edit.layer or type(model).__name__} cannot be changed to {edit}: it {reason}.")
        layer = model.get_submodule(edit.layer)
        if isinstance(edit, Resized):
            _resize(layer, edit)
        elif isinstance(edit, Transformed):
            scheme = "affine" if edit.affine else "symmetric"
            attach(layer, blank(layer, bool(edit.divided), edit.bits or None, scheme, dynamic=bool(edit.dynamic)))
        else:
            model = _exchange(model, edit.layer, _parts(layer, edit))
        done.append(edit)
    return model


def cannot_edit(model: nn.Module, edit: Edit, before: Sequence[Edit] = ()) -> str | None:
    """Why an edit cannot be made, in words that go on after "it ..."; None when it can.

    Args:
        model: the network as it is.
        edit: the change.
        before: the edits that made `model`.
    """
    if isinstance(edit, Transformed):
        known = dict(model.named_modules(remove_duplicate=False))
        return cannot_transform(known[edit.layer]) if edit.layer in known else "is no layer of this model"
    reason = cannot_change(model, edit.layer)
    if reason is not None:
        return reason
    layer = model.get_submodule(edit.layer)
    if isinstance(edit, Resized):
        return _cannot_resize(layer, edit)
    return cannot_factor(model, edit.layer, before) or _saves_nothing(layer, edit)


def cannot_change(model: nn.Module, name: str) -> str | None:
    """Why nothing of a layer's structure can be changed, in words that go on after "it ..."; None when it can."""
    modules = dict(model.named_modules(remove_duplicate=False))
    if name not in modules:
        return "is no layer of this model"
    layer = modules[name]
    if sum(other is layer for other in modules.values()) > 1:
        return "is used under several names"
    if any(vars(layer)[kind] for kind in vars(layer) if kind.endswith("_hooks") and kind.startswith("_")):
        return "has hooks, which compute with its present form"
    own = {id(tensor) for tensor in layer.parameters(recurse=False)}
    everywhere = [id(tensor) for _, tensor in model.named_parameters(remove_duplicate=False)]
    if any(everywhere.count(entry) > 1 for entry in own):
        return "shares a weight with another layer"
    return None


def cannot_factor(model: nn.Module, name: str, before: Sequence[Edit] = ()) -> str | None:
    """Why a layer cannot become a product of layers, in words that go on after "it ..."; None when it can."""
    if (reason := cannot_change(model, name)) is not None:
        return reason
    layer = model.get_submodule(name)
    if type(layer) is not nn.Linear and type(layer) not in CONVOLUTIONS:
        return f"belongs to {type(layer).__name__}; linear layers and convolutions can be factored"
    if isinstance(layer, _ConvNd) and layer.groups > 1:
        return f"is a convolution of {layer.groups} groups; those of one group can be factored"
    factored = [edit.layer for edit in before if isinstance(edit, Factored | Tucker)]
    if any(name.startswith(f"{other}." if other else "") for other in factored):
        return "is a factor already"
    parent = model.get_submodule(name.rpartition(".")[0])
    if parent is not layer and type(parent).__module__.startswith("torch.nn.") and type(parent) not in CONTAINERS:
        return f"belongs to {type(parent).__name__}, which reads its layers' weights itself"
    return None


def _saves_nothing(layer: nn.Module, edit: Factored | Tucker) -> str | None:
    assert isinstance(layer, nn.Linear | _ConvNd)
    outputs, inputs, *kernel = layer.weight.shape
    dense = layer.weight.numel()
    if isinstance(edit, Factored):
        factors = edit.rank * (outputs + dense // outputs)
        if factors >= dense:
            return f"has {dense:,} weights, and factors of rank {edit.rank} {factors:,}: nothing would be saved"
        return None
    if not kernel:
        return "is no convolution, which Tucker factors are for"
    if edit.outputs > outputs or edit.inputs > inputs:
        return f"has {outputs} x {inputs} channels, fewer than the ranks {edit.outputs} x {edit.inputs}"
    core = edit.outputs * edit.inputs * (dense // (outputs * inputs))
    factors = inputs * edit.inputs + core + edit.outputs * outputs
    if factors >= dense:
        return (
            f"has {dense:,} weights, and Tucker factors of ranks {edit.outputs} x {edit.inputs} {factors:,}: "
            "nothing would be saved"
        )
    return None


def _parts(layer: nn.Module, edit: Factored | Tucker) -> nn.Sequential:
    """The layers that stand for one; their weights are zeros, the last has its bias."""
    assert isinstance(layer, nn.Linear | _ConvNd)
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        assert isinstance(edit, Factored)
        parts = [
            _zeros(nn.Linear, layer, layer.in_features, edit.rank, bias=False),
            _zeros(nn.Linear, layer, edit.rank, layer.out_features, bias=bias),
        ]
    else:
        one, kind = (1,) * len(layer.kernel_size), type(layer)
        first = edit.rank if isinstance(edit, Factored) else edit.outputs
        inner = layer.in_channels if isinstance(edit, Factored) else edit.inputs
        own = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "padding_mode")}
        parts = [
            _zeros(kind, layer, inner, first, layer.kernel_size, **own, bias=False),
            _zeros(kind, layer, first, layer.out_channels, one, bias=bias),
        ]
        if isinstance(edit, Tucker):
            parts.insert(0, _zeros(kind, layer, layer.in_channels, inner, one, bias=False))
    if bias:
        parts[-1].register_parameter("bias", layer.get_parameter("bias"))
    return nn.Sequential(*parts).train(layer.training)


def _zeros(kind: type[nn.Module], like: nn.Linear | _ConvNd, *sizes: Any, **options: Any) -> nn.Module:
    """A layer whose weight is zero: made on the meta device, for otherwise it would draw random numbers."""
    weight = like.weight
    made = kind(*sizes, **options, device="meta", dtype=weight.dtype).to_empty(device=weight.device)
    for parameter in made.parameters():
        parameter.requires_grad_(weight.requires_grad)
        parameter.detach().zero_()
    return made


def _exchange(model: nn.Module, name: str, new: nn.Module) -> nn.Module:
    if not name:
        return new
    path, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(path), leaf, new)
    return model


def is_depthwise(layer: nn.Module) -> bool:
    """Whether a convolution has one filter for each input channel."""
    return isinstance(layer, _ConvNd) and layer.groups == layer.in_channels == layer.out_channels and layer.groups > 1


def is_paired(layer: nn.Module) -> bool:
    """Whether the layer's outputs are its inputs, one by one: they can only be removed together."""
    return isinstance(layer, NORMALIZATIONS) or is_depthwise(layer)


def sizes_of(layer: nn.Module) -> tuple[int, int] | str:
    """The numbers of outputs and inputs of a layer that can be resized, or in words why it cannot."""
    if type(layer) is nn.Linear:
        return layer.out_features, layer.in_features
    if type(layer) in CONVOLUTIONS:
        assert isinstance(layer, _ConvNd)
        if layer.groups > 1 and not is_depthwise(layer):
            return f"is a convolution of {layer.groups} groups of several channels"
        return layer.out_channels, layer.in_channels
    if type(layer) is nn.LayerNorm and len(layer.normalized_shape) == 1:
        return layer.normalized_shape[0], layer.normalized_shape[0]
    if type(layer) in NORMALIZATIONS and isinstance(layer, _BatchNorm):
        return layer.num_features, layer.num_features
    return f"belongs to {type(layer).__name__}, whose channels cannot be removed"


def _cannot_resize(layer: nn.Module, edit: Resized) -> str | None:
    sizes = sizes_of(layer)
    if isinstance(sizes, str):
        return sizes
    wanted = (edit.outputs, edit.inputs)
    if min(wanted) < 1 or wanted == sizes or any(new > old for new, old in zip(wanted, sizes, strict=True)):
        return f"has {sizes[0]} outputs and {sizes[1]} inputs, and can only become smaller"
    if is_paired(layer) and edit.outputs != edit.inputs:
        return "has as many outputs as inputs"
    return None


def _resize(layer: nn.Module, edit: Resized) -> None:
    paired = is_paired(layer)
    for name, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
        if tensor.ndim == 0:
            continue  # how many batches a batch normalization has seen
        cut = tensor.detach()[: edit.outputs]
        if tensor.ndim > 1 and not paired:
            cut = cut[:, : edit.inputs]
        new = torch.empty(cut.shape, dtype=cut.dtype, device=cut.device).copy_(cut)
        is_parameter = isinstance(tensor, nn.Parameter)
        setattr(layer, name, nn.Parameter(new, requires_grad=tensor.requires_grad) if is_parameter else new)
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = edit.outputs, edit.inputs
    elif isinstance(layer, _ConvNd):
        layer.groups = edit.outputs if paired else layer.groups
        layer.out_channels, layer.in_channels = edit.outputs, edit.inputs
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = (edit.outputs,)
    else:
        assert isinstance(layer, _BatchNorm)
        layer.num_features = edit.outputs
