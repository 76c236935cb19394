"""Multiply-accumulates against torch's own counter and by hand; how often and how models run for a latency."""

import math
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import compress_explorer as ce
from compress_explorer.engine.cost import cost, latency
from compress_explorer.spec.errors import DataError, ModelError, ParameterError
from tests.engine.modules import numbers
from tests.engine.test_purity import model_state


@pytest.mark.parametrize("name", ce.models())
def test_torch_counts_as_much(name):
    model, task = ce.load(name)
    before = model_state(model)
    found = cost(model, task)
    assert model_state(model) == before
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(task.test.inputs[:1])
    # Torch does not count attention on a CPU: 4 heads of 16 tokens and 16 numbers, two products, in each of 4 blocks.
    attention = 4 * 2 * 4 * 16 * 16 * 16 if name == "vit-fashion" else 0
    assert found.macs == counter.get_total_flops() // 2 + attention
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert found.uncounted == ()


@pytest.mark.parametrize(
    ("layer", "inputs", "macs"),
    [
        (nn.Linear(7, 3), (2, 7), 21),
        (nn.Linear(7, 3), (2, 5, 7), 5 * 21),
        (nn.Conv2d(4, 6, 3), (2, 4, 7, 9), 6 * 4 * 9 * 5 * 7),
        (nn.Conv2d(4, 6, 3, groups=2), (1, 4, 7, 9), 6 * 2 * 9 * 5 * 7),
        (nn.Conv2d(4, 4, 3, groups=4, stride=2, padding=1), (3, 4, 8, 8), 4 * 9 * 4 * 4),
        (nn.Conv1d(2, 3, 4), (1, 2, 10), 3 * 2 * 4 * 7),
        (
            nn.TransformerEncoderLayer(8, 2, 12, batch_first=True),
            (2, 7, 8),
            7 * 8 * 24 + 2 * 49 * 8 + 7 * 64 + 2 * 7 * 96,
        ),
    ],
    ids=str,
)
def test_by_hand(layer, inputs, macs):
    assert cost(layer, numbers(*inputs)).macs == macs
    with torch.inference_mode():
        assert cost(layer, numbers(*inputs)).macs == macs


def test_what_cannot_be_counted_is_named():
    model = nn.Sequential(nn.Embedding(10, 4), nn.LSTM(4, 5, batch_first=True))
    found = cost(model, torch.zeros(2, 3, dtype=torch.int64))
    assert found.uncounted == ("1",)
    assert found.macs == 0


def test_zeros_and_codes_save_no_work_and_smaller_layers_do():
    model, task = ce.load("lenet-300-100")
    dense = cost(model, task)
    assert ce.compress(model, ce.Step("magnitude", sparsity=0.9)).cost(task).macs == dense.macs
    assert ce.compress(model, ce.Step("integer", bits=2)).cost(task).macs == dense.macs
    removed = ce.compress(model, ce.Step("remove-filters", sparsity=0.5), task).cost(task)
    assert removed.layers == (("fc1", 784 * 150), ("fc2", 150 * 50), ("fc3", 50 * 10))
    factored = ce.compress(model, ce.Step("svd", layers="fc1", by="rank", rank=0.1)).cost(task)
    assert factored.layers[:2] == (("fc1.0", 784 * 30), ("fc1.1", 30 * 300))
    assert factored.parameters == dense.parameters - 784 * 300 + 30 * 1084


class Told(nn.Linear):
    """Tells each of its runs, its copies' too."""

    runs: ClassVar[list[tuple[str, int, bool, bool]]] = []

    def __init__(self, name: str) -> None:
        super().__init__(7, 3)
        self.name = name

    def forward(self, inputs: Tensor) -> Tensor:
        self.runs.append((self.name, len(inputs), self.training, torch.is_grad_enabled()))
        return super().forward(inputs)


def test_latency_runs_both_models_in_turn():
    model, baseline = Told("model"), Told("baseline")
    before = model_state(model), model_state(baseline)
    Told.runs.clear()
    found = latency(model, baseline, numbers(32, 7), repeats=9)
    # Three runs that are not timed and nine that are, in evaluation mode and without gradients.
    assert Told.runs == (3 + 9) * [("model", 32, False, False), ("baseline", 32, False, False)]
    assert (found.batch, found.repeats) == (32, 9)
    assert all(math.isfinite(number) and number > 0 for number in (found.milliseconds, found.baseline))
    assert found.speedup == found.baseline / found.milliseconds
    assert (model_state(model), model_state(baseline)) == before


def test_latency_of_a_compressed_model_takes_samples_of_the_task():
    model, task = ce.load("digits-mlp")
    found = ce.compress(model, ce.Step("integer")).latency(task, batch=16, repeats=1)
    assert (found.batch, found.repeats) == (16, 1)


def test_errors_name_the_remedy():
    with pytest.raises(DataError, match=r"cannot take inputs of shape \(2, 5\)"):
        cost(nn.Linear(7, 3), numbers(2, 5))
    with pytest.raises(DataError, match="must be a Task or a batch"):
        cost(nn.Linear(7, 3), "task")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"cost needs a .*Module, not str"):
        cost("net", numbers(2, 5))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="repeats=0 must be a whole number"):
        latency(nn.Linear(7, 3), nn.Linear(7, 3), numbers(2, 7), repeats=0)
