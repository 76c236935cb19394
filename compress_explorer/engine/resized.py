"""How a layer becomes smaller in its outputs and inputs, and which layers can."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from compress_explorer.engine.changeable import CONVOLUTIONS
from compress_explorer.engine.edits import Resized

NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm)


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


def cannot_resize(layer: nn.Module, edit: Resized) -> str | None:
    """Why a layer cannot become so large, in words that go on after "it ..."; None when it can."""
    sizes = sizes_of(layer)
    if isinstance(sizes, str):
        return sizes
    wanted = (edit.outputs, edit.inputs)
    if min(wanted) < 1 or wanted == sizes or any(new > old for new, old in zip(wanted, sizes, strict=True)):
        return f"has {sizes[0]} outputs and {sizes[1]} inputs, and can only become smaller"
    if is_paired(layer) and edit.outputs != edit.inputs:
        return "has as many outputs as inputs"
    return None


def resize(layer: nn.Module, edit: Resized) -> None:
    """Keeps the first outputs and inputs of a layer, in place; `cannot_resize` has found nothing against it."""
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
