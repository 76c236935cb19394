"""Nothing that the engine does changes the caller's model or any global state, whether it succeeds or fails."""

import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress_explorer.engine.compress import compress
from compress_explorer.engine.evaluate import check_fit, evaluate
from compress_explorer.engine.layers import inspect_model
from compress_explorer.engine.live import LiveEngine
from compress_explorer.engine.sweep import sweep
from compress_explorer.engine.task import Task, accuracy
from compress_explorer.spec.errors import CompressExplorerError
from compress_explorer.spec.recipe import Recipe, Step
from tests.case import case
from tests.engine.recipes import BESIDE_METHODS, FREE, STRUCTURE_METHODS, step_id, steps_of
from tests.engine.tasks import network, samples, task
from tests.engine.test_live import Recorder, setting

TASK = task(test=600, validation=50)

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def hooks_of(model: nn.Module) -> dict[str, list[int]]:
    """The keys of all hooks of all modules."""
    return {f"{name}:{kind}": list(getattr(module, kind)) for name, module in model.named_modules() for kind in HOOKS}


def model_state(model: nn.Module) -> dict[str, Any]:
    """Everything of a model that could change, as plain comparable values."""
    return {
        "values": {name: (tensor.dtype, tensor.tolist()) for name, tensor in model.state_dict().items()},
        "places": {name: (tensor.data_ptr(), str(tensor.device)) for name, tensor in model.state_dict().items()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "gradients": {
            name: (parameter.requires_grad, None if parameter.grad is None else parameter.grad.tolist())
            for name, parameter in model.named_parameters()
        },
        "objects": {name: id(part) for name, part in [*model.named_modules(), *model.named_parameters()]},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "hooks": hooks_of(model),
    }


def global_state() -> dict[str, Any]:
    """The state of the process that numerical code likes to change."""
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state(legacy=False)["state"]["key"].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "errors": np.geterr(),
    }


def subject() -> nn.Sequential:
    """A model in a state of its own: mixed modes, a frozen layer, gradients, hooks."""
    model = network().train()
    model[1].eval()
    nn.functional.cross_entropy(model(TASK.test.inputs[:20]), TASK.test.targets[:20]).backward()
    model[0].requires_grad_(False)
    model[2].register_forward_hook(lambda _module, _inputs, _outputs: None)
    model.register_forward_pre_hook(lambda _module, _inputs: None)
    model[4].register_full_backward_hook(lambda _module, _first, _second: None)
    return model


def untouched(work: Callable[[nn.Module], object]) -> None:
    """Runs `work` on a model and checks that nothing changed."""
    model = subject()
    before, around = model_state(model), global_state()
    work(model)
    assert model_state(model) == before
    assert global_state() == around


@pytest.mark.parametrize("method", FREE + STRUCTURE_METHODS + BESIDE_METHODS, ids=lambda method: method.name)
def test_compressing_measuring_and_sizing(method):
    own = Task(name="points", test=TASK.test, train=TASK.validation)
    for step in steps_of(method):

        def work(model: nn.Module, step: Step = step) -> None:
            compressed = compress(model, step, own)
            compressed.size()
            evaluate(compressed, TASK)

        with case(step_id(step)):
            untouched(work)


def live(model: nn.Module, own: Task) -> None:
    engine = LiveEngine(model, own, news := Recorder())
    try:
        for bits in (3, 7):
            number = engine.request(setting(Step("integer", bits=bits)))
            engine.wait(60)
        news.complete(number)
    finally:
        engine.close()
        engine.join()


WORK: dict[str, Callable[[nn.Module], object]] = {
    "inspect": inspect_model,
    "evaluate": lambda model: evaluate(model, TASK, "validation", baseline=model),
    "check": lambda model: check_fit(model, TASK),
    "sweep": lambda model: sweep(model, TASK, "magnitude", sparsity=[0.1, 0.9]),
    "live": lambda model: live(model, TASK),
}


@pytest.mark.parametrize("name", WORK)
def test_everything_else(name):
    untouched(WORK[name])


class SecondBatch:
    """Accuracy that fails on the second batch."""

    def __init__(self) -> None:
        self.batches = 0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.batches += 1
        if self.batches > 1:
            raise ZeroDivisionError
        return accuracy(outputs, targets)


def failing() -> Task:
    return Task(name="failing", test=TASK.test, metric=SecondBatch())


FAILURES: dict[str, Callable[[nn.Module], object]] = {
    "second-step": lambda model: compress(model, Recipe([Step("integer"), Step("magnitude", sparsity=2)])),
    "layer": lambda model: compress(model, Step("integer", layers="9.*")),
    "metric": lambda model: evaluate(model, failing()),
    "metric-of-a-compressed-model": lambda model: evaluate(compress(model, Step("integer")), failing()),
    "metric-in-a-sweep": lambda model: sweep(model, failing(), "magnitude", sparsity=[0.1, 0.9]),
    "value-in-a-sweep": lambda model: sweep(model, TASK, "magnitude", sparsity=[0.1, 9]),
    "metric-live": lambda model: live(model, failing()),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_midway(name):
    def work(model: nn.Module) -> None:
        with pytest.raises(CompressExplorerError):
            FAILURES[name](model)

    untouched(work)


def test_a_model_that_cannot_be_copied_is_left_alone():
    def work(model: nn.Module) -> None:
        vars(model)["lock"] = threading.Lock()
        with pytest.raises(CompressExplorerError, match="'lock'"):
            compress(model, Step("integer"))
        del vars(model)["lock"]

    untouched(work)


def test_the_compressed_model_has_the_hooks_of_the_original_and_no_more():
    model = subject()
    assert hooks_of(compress(model, Step("integer")).model) == hooks_of(model)
    assert not any(hooks_of(compress(network(), Step("integer")).model).values())


@pytest.mark.parametrize("grad", [True, False])
def test_it_works_under_any_gradient_mode_and_default_dtype(grad):
    """What a caller has set neither changes nor matters."""
    model = network()
    expected = compress(model, Step("binary", bits=2))
    torch.set_default_dtype(torch.float64)
    try:
        with torch.set_grad_enabled(grad):
            compressed = compress(model, Step("binary", bits=2))
            value = evaluate(compressed, TASK).value
            assert torch.is_grad_enabled() == grad
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(
        torch.equal(first.values, second.values)
        for first, second in zip(compressed.stored, expected.stored, strict=True)
    )
    assert value == evaluate(expected, TASK).value


def test_it_works_inside_inference_mode():
    model = network()
    expected = evaluate(compress(model, Step("integer", bits=3)), TASK)
    with torch.inference_mode():
        assert evaluate(compress(model, Step("integer", bits=3)), TASK) == expected


def test_the_same_call_gives_the_same_numbers_whatever_the_random_state():
    first = compress(network(), Step("random", sparsity=0.5, seed=3))
    torch.manual_seed(77)
    second = compress(network(), Step("random", sparsity=0.5, seed=3))
    assert all(torch.equal(a.values, b.values) for a, b in zip(first.stored, second.stored, strict=True))
    assert evaluate(first, TASK) == evaluate(second, Task(name="again", test=TASK.test))
    assert samples(3)[1].tolist() == samples(3)[1].tolist()
