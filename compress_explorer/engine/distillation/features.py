"""The outputs of a network's inner layers: which there are, and how they are caught."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compress_explorer.engine.evaluate import evaluation_mode
from compress_explorer.spec.errors import ModelError, ParameterError, unknown


def feature_shapes(model: nn.Module, inputs: Tensor) -> dict[str, tuple[int, ...]]:
    """The layers of `model` that return one tensor with a row a sample, and its shape for one sample.

    Args:
        model: is run once, in evaluation mode; its mode and weights stay as they are.
        inputs: a batch, [n, ...].

    Returns:
        By the layer's name, in the order in which they finish.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim > 1 and len(output) == len(inputs):
                shapes[name] = tuple(output.shape[1:])

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in model.named_modules() if name]
    try:
        with evaluation_mode(model), torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def checked_layer(model: nn.Module, role: str, name: str | None, inputs: Tensor, *, maps: bool) -> str:
    """The layer called `name`; by default the last one before the last layer with weights.

    Args:
        model: the network.
        role: "student" or "teacher", for errors.
        name: of the layer; None: the default.
        inputs: a batch to run it on.
        maps: whether the default must return maps, [n, channels, height, width].

    Raises:
        UnknownNameError: when there is no such layer that returns features.
        ModelError: when there is no layer to take by default.
    """
    shapes = feature_shapes(model, inputs)
    if name is not None:
        if name not in shapes:
            raise unknown(f"layer of the {role} with features", name, shapes)
        return name
    modules = dict(model.named_modules())
    weighted = [
        place for place, layer in enumerate(shapes) if any(True for _ in modules[layer].parameters(recurse=False))
    ]
    before = list(shapes)[: weighted[-1]] if weighted else []
    fitting = [layer for layer in before if not maps or len(shapes[layer]) == 3]
    if not fitting:
        wanted = "maps [n, channels, height, width]" if maps else "features"
        raise ModelError(
            f"The {role}, {type(model).__name__}, has no layer before its last one that returns {wanted}. "
            f"Its layers: {', '.join(f'{layer} {shape}' for layer, shape in shapes.items()) or 'none'}. "
            "Take another loss, such as 'kd', or another network."
        )
    return fitting[-1]


@contextmanager
def caught(model: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """While it runs, the outputs of `layer` are added to the list that it gives."""
    outputs: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        outputs.append(output)

    handle = model.get_submodule(layer).register_forward_hook(hook)
    try:
        yield outputs
    finally:
        handle.remove()


def run_with_features(model: nn.Module, inputs: Tensor, layer: str | None) -> tuple[Tensor, Tensor | None]:
    """The model's outputs, and those of its layer, the last ones where it runs several times; None without a layer."""
    if layer is None:
        return model(inputs), None
    with caught(model, layer) as outputs:
        answer = model(inputs)
    if not outputs:
        raise ParameterError(f"Layer {layer!r} did not run. Name one that runs in every forward pass.")
    return answer, outputs[-1]
