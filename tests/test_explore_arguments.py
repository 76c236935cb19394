"""What `explore` accepts and what it refuses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import compress_explorer as ce
from compress_explorer.spec.errors import DataError, ModelError, ParameterError, UnknownNameError
from tests.engine.tasks import correct, network, samples, task

INPUTS, LABELS = samples(700)
MODEL = network()

ACCEPTED: dict[str, Callable[[], dict[str, Any]]] = {
    "task": lambda: {"task": task(test=700)},
    "tensors": lambda: {"test": (INPUTS, LABELS)},
    "arrays": lambda: {"test": (INPUTS.numpy(), LABELS.numpy()), "train": (INPUTS.numpy(), LABELS.numpy())},
    "dataset": lambda: {"test": TensorDataset(INPUTS, LABELS), "validation": (INPUTS[:50], LABELS[:50])},
    "loader": lambda: {"test": DataLoader(TensorDataset(INPUTS, LABELS), batch_size=64)},
    "split": lambda: {"test": ce.Split(INPUTS, LABELS)},
    "recipe": lambda: {"test": (INPUTS, LABELS), "recipe": ce.Recipe(ce.Step("magnitude", sparsity=0.0))},
    "step": lambda: {"test": (INPUTS, LABELS), "recipe": ce.Step("magnitude", sparsity=0.0)},
    "list-of-steps": lambda: {"test": (INPUTS, LABELS), "recipe": [ce.Step("magnitude", sparsity=0.0)]},
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_ones_own_model_is_explored_with_data_in_every_form(name):
    explorer = ce.explore(MODEL, **ACCEPTED[name]())
    try:
        explorer.state = explorer.state.with_value("sparsity", 0.0)
        explorer.wait()
        evaluation = explorer.result.evaluation
        assert evaluation.value == correct(MODEL, INPUTS, LABELS) / 700
        assert explorer.state.model == "Sequential"
    finally:
        explorer.close()


def test_ones_own_metric_is_measured():
    def margin(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.gather(1, targets[:, None])[:, 0].sigmoid()

    explorer = ce.explore(MODEL, test=(INPUTS, LABELS), metric=margin, recipe=ce.Step("magnitude", sparsity=0.0))
    try:
        explorer.wait()
        with torch.no_grad():
            expected = float(margin(MODEL(INPUTS), LABELS).double().mean())
        assert explorer.result.evaluation.value == pytest.approx(expected, abs=1e-6)
    finally:
        explorer.close()


def test_a_bundled_model_is_opened_by_name():
    explorer = ce.explore("digits-mlp")
    try:
        explorer.wait()
        assert explorer.state.model == "digits-mlp"
    finally:
        explorer.close()


class Unreadable(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        raise OSError(f"sample {index} is damaged")


def damaged() -> nn.Module:
    model = network()
    model[4].bias.data[1] = float("nan")  # type: ignore[operator]
    return model


GIVEN = {"test": (INPUTS, LABELS)}
REFUSED: dict[str, tuple[Any, dict[str, Any], type[Exception], list[str]]] = {
    "unknown-model": ("lenet-300-10", {}, UnknownNameError, ["'lenet-300-10'", "Did you mean 'lenet-300-100'"]),
    "data-for-a-bundled-model": ("digits-mlp", GIVEN, ModelError, ["bring their own data", "nn.Module"]),
    "train-for-a-bundled-model": ("digits-mlp", {"train": (INPUTS, LABELS)}, ModelError, ["bring their own data"]),
    "metric-for-a-bundled-model": ("digits-mlp", {"metric": len}, ModelError, ["own data and metric"]),
    "class": (nn.Linear, GIVEN, ModelError, ["torch.nn.Module", "the class Linear", "Net()"]),
    "number": (3, GIVEN, ModelError, ["torch.nn.Module", "int 3"]),
    "no-weights": (nn.ReLU(), GIVEN, ModelError, ["ReLU", "no weights"]),
    "nan-weights": (damaged(), GIVEN, ModelError, ["4.bias", "NaN"]),
    "no-data": (MODEL, {}, DataError, ["no data to measure on", "test=(x, y)"]),
    "task-and-data": (MODEL, {"task": task(), **GIVEN}, DataError, ["either a task", "not both"]),
    "task-and-metric": (MODEL, {"task": task(), "metric": len}, DataError, ["either a task", "not both"]),
    "pair-as-task": (MODEL, {"task": (INPUTS, LABELS)}, DataError, ["task must be a Task", "test=(x, y)"]),
    "inputs-alone": (MODEL, {"test": INPUTS}, DataError, ["test=", "pair (x, y)", "Tensor"]),
    "empty": (MODEL, {"test": (INPUTS[:0], LABELS[:0])}, DataError, ["empty", "at least one"]),
    "damaged-loader": (MODEL, {"test": Unreadable()}, DataError, ["test loader", "OSError", "sample 0 is damaged"]),
    "damaged-validation": (MODEL, {**GIVEN, "validation": Unreadable()}, DataError, ["validation loader", "OSError"]),
    "shape": (MODEL, {"test": (INPUTS[:, :5], LABELS)}, DataError, ["(4, 5)", "shape and dtype"]),
    "dtype": (MODEL, {"test": (INPUTS.numpy().astype(np.float64), LABELS)}, DataError, ["float64", "are float32"]),
    "labels": (MODEL, {"test": (INPUTS, LABELS * 2)}, DataError, ["out of range", "0 to 4"]),
    "labels-of-validation": (MODEL, {**GIVEN, "validation": (INPUTS, LABELS + 3)}, DataError, ["Label", "0 to 4"]),
    "float-labels": (MODEL, {"test": (INPUTS, LABELS.float())}, DataError, ["whole numbers", "y.long()"]),
    "metric": (MODEL, {**GIVEN, "metric": "f1"}, DataError, ["metric=", "callable", "str"]),
    "metric-of-a-batch": (MODEL, {**GIVEN, "metric": nn.CrossEntropyLoss()}, DataError, ["one score per sample"]),
    "method": (MODEL, {**GIVEN, "recipe": ce.Step("prune")}, UnknownNameError, ["method 'prune'", "Known: aciq"]),
    "parameter": (MODEL, {**GIVEN, "recipe": ce.Step("integer", bit=3)}, UnknownNameError, ["Did you mean 'bits'"]),
    "value": (MODEL, {**GIVEN, "recipe": ce.Step("integer", bits=0)}, ParameterError, ["bits=0", "1 to 8"]),
    "layer": (
        MODEL,
        {**GIVEN, "recipe": ce.Step("integer", layers="0.weigth")},
        UnknownNameError,
        ["layer '0.weigth'", "Did you mean '0.weight'"],
    ),
    "theme": (MODEL, {**GIVEN, "theme": "blue"}, ParameterError, ["theme='blue'", "auto, light, dark"]),
    "no-recipe": (MODEL, {**GIVEN, "recipe": "magnitude"}, ParameterError, ["made of steps, not str", "Step(...)"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_explored_is_refused_with_the_remedy(name):
    model, arguments, error, parts = REFUSED[name]
    with pytest.raises(error) as caught:
        ce.explore(model, **arguments)
    assert isinstance(caught.value, ce.CompressExplorerError)
    for part in parts:
        assert part in str(caught.value)
