"""Sweeps from Python against compressing and evaluating each value."""

import math

import numpy as np
import pytest
import torch

from compress_explorer.engine.compress import compress
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.sweep import sweep
from compress_explorer.spec.errors import DataError, ModelError, ParameterError, UnknownNameError
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.sweep import Sweep
from tests.engine.tasks import network, task

TASK = task(test=800)
MODEL = network()


def check(result: Sweep, recipes: list[Recipe], split: str = "test") -> None:
    """Every point is that of the plain calls."""
    assert len(result.values) == len(recipes)
    for recipe, frame, evaluation in zip(recipes, result.frames, result.evaluations, strict=True):
        compressed = compress(MODEL, recipe)
        assert evaluation == evaluate(compressed, TASK, split)
        assert frame is not None
        assert frame.exact
        assert frame.file == compressed.size().file
        noise = sum(
            float((MODEL.get_parameter(name).data.double() - compressed.model.get_parameter(name).data).square().sum())
            for name in ("0.weight", "4.weight")
        )
        assert sum(error.noise for error in frame.errors) == pytest.approx(noise, rel=1e-6)
    assert result.baseline == evaluate(MODEL, TASK, split)
    assert result.baseline_file == compress(MODEL, recipes[0]).size().baseline_file


@pytest.mark.parametrize(
    "values",
    [[0.0, 0.5, 0.9], (0.0, 0.5, 0.9), np.array([0.0, 0.5, 0.9]), torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64)],
    ids=["list", "tuple", "array", "tensor"],
)
def test_a_sweep_measures_every_value(values):
    result = sweep(MODEL, TASK, "magnitude", sparsity=values)
    assert (result.parameter, result.step, result.values) == ("sparsity", 0, (0.0, 0.5, 0.9))
    check(result, [Recipe(Step("magnitude", sparsity=share)) for share in (0.0, 0.5, 0.9)])


def test_whole_numbers_may_be_a_range():
    result = sweep(MODEL, TASK, "integer", bits=range(2, 5), scheme="affine")
    assert result.values == (2, 3, 4)
    check(result, [Recipe(Step("integer", bits=bits, scheme="affine")) for bits in (2, 3, 4)])


def test_a_choice_can_be_varied():
    result = sweep(MODEL, TASK, "integer", bits=3, granularity=["tensor", "channel"])
    assert result.values == ("tensor", "channel")
    check(result, [Recipe(Step("integer", bits=3, granularity=choice)) for choice in ("tensor", "channel")])


@pytest.mark.parametrize("after", [Step("magnitude", sparsity=0.5), Recipe(Step("magnitude", sparsity=0.5))], ids=type)
def test_steps_may_come_before(after):
    result = sweep(MODEL, TASK, "integer", after=after, bits=[2, 8])
    assert result.step == 1
    check(result, [Recipe([Step("magnitude", sparsity=0.5), Step("integer", bits=bits)]) for bits in (2, 8)])


def test_another_split_can_be_measured():
    result = sweep(MODEL, TASK, "integer", split="validation", bits=[2])
    check(result, [Recipe(Step("integer", bits=2))], "validation")


def test_progress_is_told_before_each_value_and_at_the_end():
    told: list[tuple[int, int]] = []
    sweep(MODEL, TASK, "integer", bits=[2, 3, 4], progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_sweep_is_a_table():
    table = sweep(MODEL, TASK, "magnitude", sparsity=[0.0, 0.5]).to_frame()
    assert table["sparsity"].tolist() == [0.0, 0.5]
    assert table["zeros"].tolist() == [0.0, 0.5]
    assert math.isinf(table["sqnr_db"][0])
    compressed = compress(MODEL, Step("magnitude", sparsity=0.5))
    evaluation, size = evaluate(compressed, TASK), compressed.size()
    assert table["file_bytes"][1] == size.file
    assert table["times_smaller"][1] == size.ratio
    assert (table["metric"][1], table["low"][1], table["high"][1]) == (
        evaluation.value,
        evaluation.interval.low,
        evaluation.interval.high,
    )
    assert (table["difference"][1], table["samples"][1]) == (evaluation.difference, 800)


@pytest.mark.parametrize(
    ("method", "values", "error", "parts"),
    [
        ("magnitude", {"sparsity": 0.5}, ParameterError, ["exactly one parameter", "0 have", "sparsity=[0.5, 0.9]"]),
        ("magnitude", {}, ParameterError, ["exactly one parameter", "0 have"]),
        ("integer", {"bits": [2], "group_size": [32]}, ParameterError, ["2 have", "bits, group_size"]),
        ("integer", {"bits": []}, ParameterError, ["bits=[]", "at least one"]),
        ("integer", {"bits": [2, 9]}, ParameterError, ["bits=9", "1 to 8"]),
        ("integer", {"bit": [2]}, UnknownNameError, ["'bit'", "Did you mean 'bits'"]),
        ("intger", {"bits": [2]}, UnknownNameError, ["'intger'", "Did you mean 'integer'"]),
        ("integer", {"bits": [2], "split": "tset"}, UnknownNameError, ["'tset'", "Did you mean 'test'"]),
        ("integer", {"bits": [2], "split": "train"}, DataError, ["no train split", "train=(x, y)"]),
        ("integer", {"bits": [2], "after": Step("magnitud")}, UnknownNameError, ["Did you mean 'magnitude'"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_not_valid_says_so_before_anything_is_measured(method, values, error, parts):
    told: list[int] = []
    with pytest.raises(error) as caught:
        sweep(MODEL, TASK, method, progress=lambda done, _total: told.append(done), **values)
    for part in parts:
        assert part in str(caught.value)
    assert told == []


def test_arguments_of_the_wrong_kind():
    with pytest.raises(DataError, match="task must be a Task"):
        sweep(MODEL, None, "integer", bits=[2])  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"torch\.nn\.Module"):
        sweep(None, TASK, "integer", bits=[2])  # type: ignore[arg-type]
