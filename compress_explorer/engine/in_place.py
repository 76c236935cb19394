"""Activations that overwrite what they are fed: large activations need not be written to fresh memory."""

import operator
from collections.abc import Callable

import torch
from torch import fx, nn
from torch.nn import functional

from compress_explorer.engine.folding import CONVOLUTIONS

FUNCTIONS: tuple[Callable[..., object], ...] = (
    functional.relu,
    functional.relu6,
    functional.leaky_relu,
    functional.elu,
    functional.silu,
    functional.hardswish,
    functional.hardtanh,
)
MODULES = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.Hardswish, nn.Hardtanh)
"""Activations that take `inplace`."""

LAYERS = (*CONVOLUTIONS, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
OPERATIONS = (operator.add, operator.sub, operator.mul, torch.add, torch.sub, torch.mul)
"""What gives tensors of its own."""


def with_activations_in_place(network: nn.Module, graph: fx.Graph) -> nn.Module:
    """The same function, in which an activation overwrites its input where nothing else reads it.

    Args:
        network: in evaluation mode and private: activations of it are changed.
        graph: which of its layers is fed what; it is changed.

    Returns:
        A module that runs the graph; `network` itself where the graph would gain nothing or leave out a hook.
    """
    modules = dict(network.named_modules())
    called = {str(node.target) for node in graph.nodes if node.op == "call_module"}
    if any(_is_hooked(module) for name, module in modules.items() if name not in called):
        return network
    changed = 0
    for node in graph.nodes:
        if node.op == "call_function" and node.target in FUNCTIONS and _is_fed_alone(node, modules):
            node.kwargs = {**node.kwargs, "inplace": True}
            changed += 1
    for name in called:
        calls = [node for node in graph.nodes if node.op == "call_module" and node.target == name]
        if type(modules[name]) in MODULES and all(_is_fed_alone(node, modules) for node in calls):
            modules[name].inplace = True
            changed += 1
    return fx.GraphModule(network, graph) if changed else network


def _is_fed_alone(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether an activation is fed a tensor that was made for it alone."""
    given = node.args[0] if node.args else None
    return isinstance(given, fx.Node) and len(given.users) == 1 and _is_own(given, modules)


def _is_own(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node's value shares its memory with nothing, and no hook can have kept it."""
    if node.op != "call_module":
        return node.op == "call_function" and node.target in OPERATIONS
    module = modules[str(node.target)]
    if _is_hooked(module):
        return False
    if isinstance(module, nn.Identity):  # e.g. what is left of a folded normalization
        return _is_fed_alone(node, modules)
    return type(module) in LAYERS


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
