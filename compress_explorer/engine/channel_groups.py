"""Which channels of a network can only be removed together, across its layers, and which cannot be removed at all.

A channel that one layer computes is read by others; where layers are added, or a depthwise convolution or a
normalization stands between, several layers share it. The connections are traced by torch-pruning (Fang et al. 2023,
DepGraph, arXiv 2301.12900) on one run of the network. Every group is then tried: the network without half of its
channels must give the outputs that it gives when nobody reads them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from compress_explorer.engine.changeable import cannot_change
from compress_explorer.engine.context import Context
from compress_explorer.engine.cut import ChannelGroup, Link, cut, cuts_of, not_read
from compress_explorer.engine.rebuild import network_of
from compress_explorer.engine.resized import is_paired, sizes_of
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.spec.errors import DataError, ModelError

TOLERANCE = 1e-2
"""Of the largest output: a wrong connection changes the outputs by much more, the order of a sum by much less."""


@dataclass(frozen=True, eq=False)
class FoundGroups:
    """The groups of a network.

    Attributes:
        groups: those whose channels can be removed.
        reasons: why those of other layers cannot, by the layer's name.
    """

    groups: tuple[ChannelGroup, ...]
    reasons: Mapping[str, str]


def check_example(method: str, context: Context) -> None:
    """Checks that there is an input to run the model on.

    Raises:
        DataError: when there is none.
    """
    if context.task is None:
        raise DataError(
            f"Method {method!r} runs the model on a sample to see which layers share channels, and there is no task. "
            "Pass it, as in ce.compress(model, recipe, task)."
        )


def channel_groups(work: Workpiece, context: Context) -> FoundGroups:
    """The groups of channels of a workpiece's network; found once for each structure and its weights.

    Raises:
        ModelError: when the network cannot be traced on the first samples of the task's test split.
    """
    assert context.task is not None
    if "channel groups" not in work.memo:
        context.tell("tracing which layers share channels")
        # Tensors that are made in inference mode could not take part in the trace.
        with torch.inference_mode(False):
            network = network_of(work)
            device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
            example = context.task.test.inputs[:2].clone().to(device)
            work.memo["channel groups"] = _find(network, example, context)
    found: FoundGroups = work.memo["channel groups"]
    return found


def _find(network: nn.Module, example: Tensor, context: Context) -> FoundGroups:
    candidates: list[ChannelGroup] = []
    reasons: dict[str, str] = {}
    for items in _traced(network, example):
        group = _group(network, items)
        if isinstance(group, ChannelGroup):
            reason = None if any(link.side == "inputs" for link in group.links) else "makes the network's outputs"
            layers = list(group.layers)
        else:
            reason, layers = group
        if reason is None:
            assert isinstance(group, ChannelGroup)
            candidates.append(group)
        else:
            reasons |= dict.fromkeys(layers, reason)
    # All at once where that works, as it mostly does; else one by one, to find those that do not.
    if _failure(network, candidates, example) is None:
        return FoundGroups(tuple(candidates), reasons)
    groups = []
    for done, group in enumerate(candidates, start=1):
        context.tell(f"trying groups of channels: {done} of {len(candidates)}")
        reason = _failure(network, [group], example)
        if reason is None:
            groups.append(group)
        else:
            reasons |= dict.fromkeys(group.layers, reason)
    return FoundGroups(tuple(groups), reasons)


def _traced(network: nn.Module, example: Tensor) -> list[list[Any]]:
    """The groups of dependent layers, as torch-pruning finds them."""
    from torch_pruning import DependencyGraph  # imported when it is needed, for few need it

    required = [parameter for parameter in network.parameters() if not parameter.requires_grad]
    for parameter in required:
        if parameter.is_floating_point():
            parameter.requires_grad_(True)  # the trace follows the gradient's graph
    try:
        with torch.enable_grad():
            graph = DependencyGraph().build_dependency(network, example, verbose=False)
            return [
                [
                    (item.dep.target.module, graph.is_out_channel_pruning_fn(item.dep.handler), item.idxs, roots)
                    for item in group
                    for roots in [item.root_idxs]
                ]
                for group in graph.get_all_groups()
            ]
    except Exception as error:
        raise ModelError(
            f"The connections between the layers of {type(network).__name__} could not be traced on samples of shape "
            f"{tuple(example.shape)}: {type(error).__name__}: {error}. Channels can be removed from networks that are "
            "called with one tensor and compute its gradient."
        ) from error
    finally:
        for parameter in required:
            parameter.requires_grad_(False)


def _group(network: nn.Module, items: Iterable[Any]) -> ChannelGroup | tuple[str, list[str]]:
    """The group, or why it cannot be removed and the names of the layers that this concerns."""
    names = {id(module): name for name, module in network.named_modules()}
    parameters = {id(parameter): name for name, parameter in network.named_parameters()}
    links: list[Link] = []
    reasons: list[str] = []
    for module, is_output, places, channels in items:
        if isinstance(module, nn.Parameter):
            reasons.append(f"shares its channels with {parameters.get(id(module), 'a parameter')}, which is no layer's")
            continue
        if id(module) not in names or not [*module.parameters(), *module.buffers()]:
            continue  # an operation, such as an addition or an activation function
        name = names[id(module)]
        reason = cannot_change(network, name)
        sizes = sizes_of(module)
        if reason is not None or isinstance(sizes, str):
            what = reason or sizes
            reasons.append(f"shares its channels with {name}, which {what}" if links else str(what))
        elif any(channel is None for channel in channels):
            reasons.append(f"shares only some of its channels with {name}")
        side: Literal["outputs", "inputs"] = "outputs" if is_output or is_paired(module) else "inputs"
        given = [-1 if channel is None else channel for channel in channels]
        links.append(Link(name, side, torch.tensor(places), torch.tensor(given)))
    root = next((link for link in links if link.side == "outputs"), None)
    if root is None or reasons:
        layers = [link.layer for link in links if link.side == "outputs"]
        return (reasons[0] if reasons else "has no channels that could be followed"), layers
    count = int(root.channels.max()) + 1
    if count == 1:
        return "has a single channel", [link.layer for link in links if link.side == "outputs"]
    for link in links:
        if link.side == "outputs" and len(set(link.channels.tolist())) < len(link.channels):
            return f"shares its channels with {link.layer}, which computes each several times", [root.layer]
    return ChannelGroup(count, tuple(links))


def _failure(network: nn.Module, groups: list[ChannelGroup], example: Tensor) -> str | None:
    """Why the channels of `groups` cannot be removed, found by removing every second; None when they can."""
    keeps = [(group, torch.arange(group.channels) % 2 == 0) for group in groups]
    cuts = cuts_of(network, keeps)
    try:
        without = _outputs(cut(network, cuts), example)
    except Exception as error:  # noqa: BLE001 -- the network's own code may raise anything
        return f"feeds code that needs all channels ({type(error).__name__}: {error!s:.200})"
    unread = _outputs(not_read(network, cuts), example)
    if [tensor.shape for tensor in without] != [tensor.shape for tensor in unread]:
        return "makes the network's outputs"
    # A layer normalization divides by the deviation of the channels that there are.
    if any(isinstance(network.get_submodule(link.layer), nn.LayerNorm) for group in groups for link in group.links):
        return None
    for one, other in zip(without, unread, strict=True):
        if one.is_floating_point() and one.numel():
            largest = float(other.abs().max())
            if not float((one - other).abs().max()) <= TOLERANCE * largest + 1e-6:
                return "feeds code that computes with the number of channels, or in an order that is not known"
    return None


def _outputs(network: nn.Module, example: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return list(_flat(network(example)))


def _flat(outputs: object) -> Iterable[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, Mapping):
        for part in outputs.values():
            yield from _flat(part)
    elif isinstance(outputs, list | tuple):
        for part in outputs:
            yield from _flat(part)
