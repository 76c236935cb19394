"""What a layer multiplies its weight matrix with: its input as vectors, patches for a convolution."""

import math

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from compress_explorer.engine.layers import WeightSite

MOST_FEATURES = 8192
"""The longest input vectors whose second moment is gathered: 8192 squared take half a gigabyte."""


def unobservable(network: nn.Module, site: WeightSite) -> str | None:
    """Why the input vectors of a site cannot be seen, in words; None when they can."""
    if site.layout.columns > MOST_FEATURES:
        gigabytes = 8 * site.layout.columns**2 / 1e9
        return f"the second moment of its {site.layout.columns:,} inputs would take {gigabytes:.1f} GB"
    for name in (site.name, *site.aliases):
        path, _, leaf = name.rpartition(".")
        layer = network.get_submodule(path)
        convolution = isinstance(layer, _ConvNd) and not layer.transposed
        if leaf != "weight" or not (convolution or isinstance(layer, nn.Linear)):
            return f"its inputs cannot be observed: {type(layer).__name__} computes more than its product with them"
        parent = network.get_submodule(path.rpartition(".")[0])
        if isinstance(parent, nn.MultiheadAttention):
            return "its inputs cannot be observed: MultiheadAttention does not call the layer"
    return None


def input_vectors(layer: nn.Module, given: Tensor, site: WeightSite) -> Tensor:
    """The vectors that the layer's weight matrix is multiplied with, [m, groups, columns].

    Args:
        layer: Linear, or a convolution that is not transposed.
        given: its input, [..., features] or [batch, channels, *space]; without a batch, [channels, *space].
        site: its weight.
    """
    if isinstance(layer, nn.Linear):
        return given.reshape(-1, 1, site.layout.columns)
    assert isinstance(layer, _ConvNd)
    space = len(layer.kernel_size)
    batched = given if given.ndim == space + 2 else given[None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    patches = functional.pad(batched, layer._reversed_padding_repeated_twice, mode=mode)
    for axis in range(space):
        size, stride, dilation = layer.kernel_size[axis], layer.stride[axis], layer.dilation[axis]
        patches = patches.unfold(2 + axis, (size - 1) * dilation + 1, stride)[..., ::dilation]
    # [batch, channels, *places, *kernel] -> [batch, *places, channels, *kernel]
    order = (0, *range(2, 2 + space), 1, *range(2 + space, 2 + 2 * space))
    per_group = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return patches.permute(order).reshape(-1, layer.groups, per_group)
