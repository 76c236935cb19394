"""Counts the multiply-accumulates of a network, and measures how long it takes."""

import copy
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from compress_explorer.engine.task import Task
from compress_explorer.spec.cost import Cost, Latency
from compress_explorer.spec.errors import DataError, ModelError, ParameterError


def cost(model: nn.Module, example: Task | Tensor) -> Cost:
    """Counts the multiply-accumulates of `model` and its parameters. The model is not changed.

    Products of matrices, convolutions and scaled dot-product attention are counted, in every layer and outside of
    them; additions, activation functions and normalizations are not. Zeros are multiplied like all other weights:
    unstructured pruning makes no dense kernel faster, and quantized weights are decoded before they are used here.
    Removed channels and factored layers do save work.

    Args:
        model: any module that takes one tensor.
        example: a task, whose first test sample is run; or a batch of inputs, over which the work is averaged.

    Raises:
        ModelError: when the model is no module.
        DataError: when the model cannot take the example.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"cost needs a torch.nn.Module, not {type(model).__name__}. "
            "Pass its .model where it is what compress returned."
        )
    inputs = example_batch(example, 1)
    # Not in inference mode, which hides what composed operations are made of; with gradients, since transformer
    # layers otherwise take a path that is one operation.
    with torch.inference_mode(False), torch.enable_grad():
        network = copy.deepcopy(model).eval()
        for parameter in network.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        counter = _Counter()
        with _named(network, counter), counter:
            _run(network, inputs.clone())
    names = [name for name, _ in network.named_modules()]
    layers = [(name, counter.operations[name] // (2 * len(inputs))) for name in names if counter.operations[name]]
    weighted = {name for name, module in network.named_modules() if _has_matrix(module)}
    return Cost(
        layers=tuple(layers),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        uncounted=tuple(name for name in names if name in weighted & counter.called - set(counter.operations)),
    )


def _has_matrix(module: nn.Module) -> bool:
    """Whether a module multiplies with weights of its own; embeddings look theirs up."""
    matrices = any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))
    return matrices and type(module).__module__.startswith("torch.nn.") and not isinstance(module, nn.Embedding)


def latency(
    model: nn.Module, baseline: nn.Module, example: Task | Tensor, *, batch: int = 64, repeats: int = 20
) -> Latency:
    """Measures how long a batch takes, in this process as it is: its device, its number of threads.

    Both models run in turn, so that what else the machine does meets both alike; the median is told. Both compute
    with plain floating-point weights: zeros and codes save bytes, not time; removed channels and factors save both.

    Args:
        model: the model; it is only called, in evaluation mode.
        baseline: the model to compare with.
        example: a task, whose first test samples are taken, over and over where there are too few; or a batch.
        batch: how many samples to run at once, of a task.
        repeats: how many runs of each model are timed, after three that are not.

    Raises:
        DataError: when a model cannot take the example.
        ParameterError: when `batch` or `repeats` is not positive.
    """
    for name, value in (("batch", batch), ("repeats", repeats)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ParameterError(f"{name}={value!r} must be a whole number of 1 or more.")
    inputs = example_batch(example, batch)
    times: tuple[list[float], list[float]] = ([], [])
    networks = [copy.deepcopy(entry).eval() for entry in (model, baseline)]
    with torch.no_grad():
        for _ in range(3):
            for network in networks:
                _run(network, inputs)
        for _ in range(repeats):
            for network, measured in zip(networks, times, strict=True):
                start = time.perf_counter()
                _run(network, inputs)
                measured.append(time.perf_counter() - start)
    return Latency(1000 * median(times[0]), 1000 * median(times[1]), len(inputs), repeats)


def example_batch(example: Task | Tensor, count: int) -> Tensor:
    """The first `count` test samples of a task, over and over where it has fewer; a batch as it is."""
    if isinstance(example, Task):
        inputs = example.test.inputs
        return inputs[torch.arange(count) % len(inputs)]
    if isinstance(example, Tensor) and example.ndim and len(example):
        return example
    raise DataError(f"An example must be a Task or a batch of inputs [n, ...], not {type(example).__name__}.")


def _run(network: nn.Module, inputs: Tensor) -> None:
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    try:
        network(inputs.to(device))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except Exception as error:
        raise DataError(
            f"The model cannot take inputs of shape {tuple(inputs.shape)}: {type(error).__name__}: {error}."
        ) from error


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts floating-point operations, two a multiply-accumulate, under the innermost module that runs.

    Attributes:
        operations: by the module's name.
        called: the modules that ran.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: Counter[str] = Counter()
        self.called: set[str] = set()
        self.running = [""]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet in flop_registry:
            self.operations[self.running[-1]] += flop_registry[packet](*args, **kwargs, out_val=out)
        elif packet.__name__ == "_scaled_dot_product_flash_attention_for_cpu":  # not in torch's own table
            self.operations[self.running[-1]] += _attention(*args[:3])
        return out


def _attention(query: Tensor, key: Tensor, value: Tensor) -> int:
    """Operations of Q Kᵀ and of its product with V; tensors [..., length, width]."""
    pairs = query.numel() // query.shape[-1] * key.shape[-2]
    return 2 * pairs * (query.shape[-1] + value.shape[-1])


@contextmanager
def _named(network: nn.Module, counter: _Counter) -> Iterator[None]:
    """While it runs, each module of `network` tells the counter when it begins and ends."""

    def begin(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            counter.running.append(name)
            counter.called.add(name)

        return hook

    def end(*_: object) -> None:
        counter.running.pop()

    handles = []
    for name, module in network.named_modules():
        handles += [module.register_forward_pre_hook(begin(name)), module.register_forward_hook(end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
