"""Channels that are removed: what is left of each layer's tensors, and the network that computes with it."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from compress_explorer.engine.copying import tensors_of
from compress_explorer.engine.edits import Resized
from compress_explorer.engine.resized import is_paired, sizes_of
from compress_explorer.engine.structure import apply_edits


@dataclass(frozen=True, eq=False)
class Link:
    """How one layer takes part in a group of channels.

    Attributes:
        layer: its name.
        side: whether the group's channels are among its outputs or its inputs. A normalization or depthwise
            convolution counts as "outputs".
        places: int64 [k], the layer's outputs or inputs that belong to the group.
        channels: int64 [k], the channel of the group that each of them is.
    """

    layer: str
    side: Literal["outputs", "inputs"]
    places: Tensor
    channels: Tensor


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that several layers share, and that can only be removed together.

    Attributes:
        channels: how many there are.
        links: the layers that compute, pass on or read them.
    """

    channels: int
    links: tuple[Link, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers among whose outputs the channels are."""
        return tuple(link.layer for link in self.links if link.side == "outputs")


@dataclass(frozen=True, eq=False)
class Cut:
    """Which outputs and inputs of one layer are left.

    Attributes:
        outputs: int64, the indices of those that stay, ascending.
        inputs: likewise; None of a normalization or depthwise convolution, whose inputs are its outputs.
    """

    outputs: Tensor
    inputs: Tensor | None

    def of(self, tensor: Tensor) -> Tensor:
        """What is left of one of the layer's tensors: a weight [outputs, inputs, ...], else a vector [outputs]."""
        if tensor.ndim == 0:
            return tensor
        left = tensor.index_select(0, self.outputs.to(tensor.device))
        if tensor.ndim > 1 and self.inputs is not None:
            left = left.index_select(1, self.inputs.to(tensor.device))
        return left

    def scattered(self, left: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The weight of the given shape that `of` would leave `left` of, with zeros where something was removed."""
        whole = torch.zeros(shape, dtype=left.dtype, device=left.device)
        columns = torch.arange(shape[1]) if self.inputs is None else self.inputs
        whole[self.outputs[:, None], columns[None]] = left
        return whole


def cuts_of(network: nn.Module, keeps: Iterable[tuple[ChannelGroup, Tensor]]) -> dict[str, Cut]:
    """What is left of each layer when of each group only some channels are kept; of the others nothing is said.

    Args:
        network: the network that the groups were found in.
        keeps: for each group bool [channels], True for a channel that stays.
    """
    stays: dict[tuple[str, str], Tensor] = {}
    for group, keep in keeps:
        if bool(keep.all()):
            continue
        for link in group.links:
            sizes = sizes_of(network.get_submodule(link.layer))
            assert not isinstance(sizes, str)
            for side, size in zip(("outputs", "inputs"), sizes, strict=True):
                stays.setdefault((link.layer, side), torch.ones(size, dtype=torch.bool))
            stays[link.layer, link.side][link.places[~keep[link.channels]]] = False
    return {
        layer: Cut(
            kept.nonzero()[:, 0],
            None if is_paired(network.get_submodule(layer)) else stays[layer, "inputs"].nonzero()[:, 0],
        )
        for (layer, side), kept in stays.items()
        if side == "outputs"
    }


def edits_of(cuts: Mapping[str, Cut]) -> list[Resized]:
    """The cuts as edits of the network's structure."""
    return [
        Resized(layer, len(entry.outputs), len(entry.outputs if entry.inputs is None else entry.inputs))
        for layer, entry in cuts.items()
    ]


def left_of(cuts: Mapping[str, Cut], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is left of each of the tensors of a network that a cut concerns, by its name."""
    return {
        name: cuts[layer].of(tensor)
        for name, tensor in tensors.items()
        for layer in [name.rpartition(".")[0]]
        if layer in cuts
    }


def cut(network: nn.Module, cuts: Mapping[str, Cut]) -> nn.Module:
    """A copy of the network with the channels removed."""
    left = left_of(cuts, tensors_of(network))
    made = apply_edits(copy.deepcopy(network), edits_of(cuts))
    with torch.no_grad():
        for name, tensor in tensors_of(made).items():
            if name in left:
                tensor.copy_(left[name])
    return made


def not_read(network: nn.Module, cuts: Mapping[str, Cut]) -> nn.Module:
    """A copy of the network in its own structure in which nobody reads the channels that the cuts would remove."""
    made = copy.deepcopy(network)
    with torch.no_grad():
        for layer, entry in cuts.items():
            if entry.inputs is not None:
                weight = made.get_parameter(f"{layer}.weight" if layer else "weight")
                gone = torch.ones(weight.shape[1], dtype=torch.bool)
                gone[entry.inputs] = False
                weight[:, gone] = 0
    return made
