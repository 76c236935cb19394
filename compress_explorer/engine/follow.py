"""Follows the layers of a network through its forward function, without running it."""

import copy
import inspect
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import fx, nn


def layer_graph(model: nn.Module) -> fx.Graph:
    """The graph of `model`: which layer is fed what, as `torch.fx.Tracer().trace(model)` gives it.

    That one exchanges `nn.Module.__call__` while it traces, and would take another thread's evaluation for a part of
    the network. Here a copy's own layers are told to write themselves down instead; the copy shares the tensors.

    Raises:
        Exception: whatever a forward function raises that needs to see numbers.
    """
    shared = [*model.parameters(), *model.buffers()]
    followed = copy.deepcopy(model, {id(tensor): tensor for tensor in shared})
    tracer = fx.Tracer()
    tracer.root, tracer.graph = followed, fx.Graph(tracer_cls=fx.Tracer)
    for name, module in followed.named_modules():
        if name and tracer.is_leaf_module(module, name):
            module.forward = _written_down(tracer, name)
            module._forward_pre_hooks, module._forward_hooks = OrderedDict(), OrderedDict()
    inputs = [
        tracer.create_proxy("placeholder", parameter.name, (), {})
        for parameter in inspect.signature(followed.forward).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    tracer.create_node("output", "output", (tracer.create_arg(followed.forward(*inputs)),), {})
    return tracer.graph


def followed(model: nn.Module) -> fx.Graph | None:
    """`layer_graph`; None where the forward function cannot be followed."""
    try:
        return layer_graph(model)
    except Exception:  # noqa: BLE001 -- a forward function can raise anything when it is traced
        return None


def _written_down(tracer: fx.Tracer, name: str) -> Callable[..., Any]:
    """The forward function of a layer that only notes that it was called."""

    def forward(*args: Any, **values: Any) -> fx.Proxy:
        proxy: fx.Proxy = tracer.create_proxy("call_module", name, args, values)
        return proxy

    return forward
