"""How a layer becomes a product of smaller ones, and which layers can."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from compress_explorer.engine.changeable import CONVOLUTIONS, cannot_change
from compress_explorer.engine.edits import Edit, Factored, Tucker

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Modules that call their layers, and read none of their weights."""


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


def saves_nothing(layer: nn.Module, edit: Factored | Tucker) -> str | None:
    """Why factors would not make a layer smaller, in words that go on after "it ..."; None when they would."""
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


def parts_of(layer: nn.Module, edit: Factored | Tucker) -> nn.Sequential:
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
