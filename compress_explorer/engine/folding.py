"""Folds batch normalizations into the convolutions before them, in a private copy of a network."""

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


Pairs = tuple[tuple[str, str], ...]
"""The names of convolutions, each with that of the normalization that is folded into it."""


def fold(network: nn.Module, pairs: Pairs) -> None:
    """Makes each convolution compute what it and its normalization did; that one then does nothing.

    The outputs differ in the last bits.

    Args:
        network: in evaluation mode and private: its modules are changed, the tensors they had are not.
        pairs: some of its `foldable_pairs`.
    """
    for convolution, normalization in pairs:
        _fold(network, convolution, normalization)


def foldable_pairs(network: nn.Module, graph: fx.Graph) -> Pairs:
    """The convolutions that a batch normalization alone reads.

    Those that are called twice, share a tensor, or have hooks or parametrizations are none.

    Args:
        network: in evaluation mode.
        graph: which of its layers is fed what.
    """
    return tuple(_pairs(network, graph))


def _pairs(network: nn.Module, graph: fx.Graph) -> Iterator[tuple[str, str]]:
    nodes = list(graph.nodes)
    calls = Counter(str(node.target) for node in nodes if node.op == "call_module")
    uses = Counter(id(tensor) for _, tensor in _tensors(network))
    for node in nodes:
        readers = list(node.users)
        if node.op != "call_module" or len(readers) != 1 or readers[0].op != "call_module":
            continue
        names = str(node.target), str(readers[0].target)
        convolution, normalization = map(network.get_submodule, names)
        if (
            isinstance(convolution, CONVOLUTIONS)
            and not (convolution.transposed and convolution.groups > 1)  # torch cannot fold into these
            and isinstance(normalization, _BatchNorm)
            and normalization.running_mean is not None
            and all(calls[name] == 1 for name in names)
            and _is_plain(convolution, uses)
            and _is_plain(normalization, uses)
        ):
            yield names


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor under each of its names."""
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def _is_plain(module: nn.Module, uses: Counter[int]) -> bool:
    """Whether a layer computes what its class says, with tensors of its own."""
    hooked = module._forward_hooks or module._forward_pre_hooks or hasattr(module, "parametrizations")
    return not hooked and all(uses[id(tensor)] == 1 for _, tensor in _tensors(module))


def _fold(network: nn.Module, convolution: str, normalization: str) -> None:
    layer, norm = network.get_submodule(convolution), network.get_submodule(normalization)
    assert isinstance(layer, CONVOLUTIONS)
    assert isinstance(norm, _BatchNorm)
    given = (layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    exact = [None if tensor is None else tensor.detach().double() for tensor in given]
    weight, bias, mean, variance, scale, shift = exact
    assert weight is not None
    assert mean is not None
    assert variance is not None
    folded, moved = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, scale, shift, layer.transposed)
    kernel = torch.empty_like(layer.weight.detach()).copy_(folded.detach())  # in the kernel's own layout
    layer.weight = nn.Parameter(kernel, requires_grad=False)
    layer.bias = nn.Parameter(moved.detach().to(kernel.dtype), requires_grad=False)
    owner, _, name = normalization.rpartition(".")
    setattr(network.get_submodule(owner), name, nn.Identity().eval())
