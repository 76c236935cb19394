"""Sensitivity of single layers against compressing and evaluating each, and how much work it shares."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compress_explorer.engine.bench import Bench
from compress_explorer.engine.compress import compress
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.growing import GrowingScores
from compress_explorer.engine.measuring import Measuring
from compress_explorer.engine.partial_run import program_of
from compress_explorer.engine.sensitivity import sensitivity
from compress_explorer.engine.sweep import sweep
from compress_explorer.engine.task import Split, Task
from compress_explorer.engine.variants import evaluate_variants
from compress_explorer.spec.errors import DataError, ParameterError, UnknownNameError
from compress_explorer.spec.recipe import Recipe, Step
from tests.engine.tasks import network, task

POINTS = task(test=1300)


class Residual(nn.Module):
    """A shortcut, a shared layer, tied weights and functions between the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.twice = nn.Conv2d(6, 6, 1)
        self.tied = nn.Conv2d(6, 6, 1)
        self.tied.weight = self.twice.weight
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.first(x), inplace=True)
        y = y + self.norm(self.second(y))
        y = self.twice(y) + self.tied(self.twice(torch.relu(y)))
        return self.last(y.mean(dim=(2, 3)))


class Overwriting(Residual):
    """Changes in place what an earlier layer gave, after a later one has read it."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = self.second(y)
        y += self.twice(z)
        return self.last(self.norm(y).mean(dim=(2, 3)))


class Deciding(Residual):
    """Cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.mean() > -1e9 else x


def images() -> Task:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(700, 1, 8, 8, generator=generator)
    return Task(name="images", test=Split(inputs, torch.randint(0, 3, (700,), generator=generator)))


IMAGES = images()


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind().eval()


@pytest.mark.parametrize("kind", [Residual, Overwriting, Deciding])
@pytest.mark.parametrize(("method", "values"), [("magnitude", {"sparsity": [0.3, 0.8]}), ("integer", {"bits": [2, 3]})])
def test_each_entry_is_that_of_compressing_the_layer_alone(kind, method, values):
    model = made(kind)
    result = sensitivity(model, IMAGES, method, **values)
    ((parameter, points),) = values.items()
    assert (result.parameter, result.values) == (parameter, tuple(points))
    assert result.layers == ("first.weight", "second.weight", "twice.weight", "last.weight")
    for layer, row in zip(result.layers, result.evaluations, strict=True):
        for point, evaluation in zip(points, row, strict=True):
            compressed = compress(model, Step(method, (layer,), None, **{parameter: point}))
            assert evaluation == evaluate(compressed, IMAGES), (layer, point)
    assert result.baseline == evaluate(model, IMAGES)


def test_methods_that_change_more_than_weights_are_measured_too():
    result = sensitivity(made(Residual), IMAGES, "svd", rank=[0.2, 0.6])
    for layer, row in zip(result.layers, result.evaluations, strict=True):
        for point, evaluation in zip((0.2, 0.6), row, strict=True):
            compressed = compress(made(Residual), Step("svd", (layer,), None, rank=point))
            assert evaluation == evaluate(compressed, IMAGES), (layer, point)


def test_a_layer_that_cannot_be_treated_has_a_reason_and_no_row():
    result = sensitivity(made(Residual), IMAGES, "tucker", rank=[0.3, 0.5])
    assert result.layers == ("first.weight", "second.weight", "twice.weight")[: len(result.layers)]
    assert "last.weight" in dict(result.reasons)
    assert all(reason for _, reason in result.reasons)


def test_early_layers_are_run_once_for_all_settings_of_later_ones():
    """Counts calls: of 4 layers at 2 values, the first runs anew for its own settings only."""
    calls: dict[str, int] = {}
    model = made(Residual)
    for name in ("first", "second", "twice", "last"):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    bench = Bench(model)
    inputs = IMAGES.test.inputs[:256]
    calls.update(dict.fromkeys(("first", "second", "twice", "last"), 0))
    program = program_of(bench.model, inputs)
    assert program is not None
    variants = [{name: bench.model.get_submodule(name)} for name in ("first", "second", "twice", "last") for _ in "ab"]
    baseline = GrowingScores(bench.model, IMAGES, "test")
    baseline.first(len(IMAGES.test))
    calls.update(dict.fromkeys(calls, 0))
    found = evaluate_variants(program, variants, Measuring(IMAGES, "test", baseline, None))
    assert len(set(found)) == 1
    assert found[0].flips == 0.0
    batches = 3
    # The baseline's own run ends where the last variant begins.
    once = {"first": 2 + 1, "second": 4 + 1, "twice": 2 * (6 + 1), "last": 8 + 1}
    assert calls == {name: batches * count for name, count in once.items()}


def test_settings_with_equal_weights_are_measured_once():
    model = network()
    result = sensitivity(model, POINTS, "magnitude", sparsity=[0.0, 0.5, 0.5])
    for row in result.evaluations:
        assert row[0].flips == 0.0
        assert row[0].value == result.baseline.value
        assert row[1] is row[2]


def test_precision_stops_early_and_keeps_its_word():
    large = task(test=9000)
    model = network()
    exact = sensitivity(model, large, "magnitude", sparsity=[0.1, 0.5, 0.9])
    rough = sensitivity(model, large, "magnitude", sparsity=[0.1, 0.5, 0.9], precision=0.02)
    for row, known in zip(rough.evaluations, exact.evaluations, strict=True):
        for evaluation, truth in zip(row, known, strict=True):
            interval = evaluation.difference_on_split
            assert interval is not None
            assert evaluation.difference is not None
            assert truth.difference is not None
            assert evaluation.exact or interval.half_width <= max(0.02, 0.05 * abs(evaluation.difference))
            assert interval.low <= truth.difference <= interval.high
    counts = [evaluation.count for row in rough.evaluations for evaluation in row]
    assert min(counts) < 2000


def test_a_sweep_takes_a_precision_too():
    large = task(test=9000)
    rough = sweep(network(), large, "magnitude", sparsity=[0.1, 0.5, 0.9], precision=0.02)
    exact = sweep(network(), large, "magnitude", sparsity=[0.1, 0.5, 0.9])
    for evaluation, truth in zip(rough.evaluations, exact.evaluations, strict=True):
        assert evaluation is not None
        assert truth is not None
        assert evaluation.count < truth.count == 9000
        assert evaluation.difference_on_split is not None
        assert truth.difference is not None
        assert evaluation.difference_on_split.low <= truth.difference <= evaluation.difference_on_split.high
    assert rough.baseline is not None
    assert rough.baseline.count == max(evaluation.count for evaluation in rough.evaluations if evaluation)


def test_to_a_precision_what_changes_nothing_is_measured_no_further_than_needed():
    large = task(test=9000)
    for found in (
        sweep(network(), large, "magnitude", sparsity=[0.0], precision=0.02).evaluations[0],
        sensitivity(network(), large, "magnitude", sparsity=[0.0], precision=0.02).evaluations[0][0],
    ):
        assert found is not None
        assert (found.difference, found.flips) == (0.0, 0.0)
        assert 0 < found.count < 1500
        assert found.difference_on_split is not None
        assert found.difference_on_split.half_width <= 0.02


def test_the_table_has_a_row_for_each_layer_and_value():
    table = sensitivity(network(), POINTS, "integer", bits=[2, 4]).to_frame()
    assert list(table.columns) == ["layer", "bits", "metric", "difference", "low", "high", "samples"]
    assert table[["layer", "bits"]].to_numpy().tolist() == [
        [layer, bits] for layer in ("0.weight", "4.weight") for bits in (2, 4)
    ]


def test_progress_counts_settings_and_may_stop_the_work():
    told: list[tuple[int, int]] = []
    sensitivity(network(), POINTS, "integer", bits=[2, 4], progress=lambda *numbers: told.append(numbers))
    assert told == [(0, 4), (4, 4)]

    class Enough(Exception):  # noqa: N818 -- a signal
        pass

    def stop(_done: int, _total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        sensitivity(network(), POINTS, "integer", bits=[2, 4], progress=stop)


@pytest.mark.parametrize("precision", [0, -0.1, float("inf"), float("nan"), "0.1", True])
def test_a_precision_that_is_none_is_refused(precision):
    with pytest.raises(ParameterError, match=r"precision=.* must be a positive half-width"):
        sensitivity(network(), POINTS, "integer", bits=[2, 4], precision=precision)


def test_bad_arguments_are_named():
    with pytest.raises(ParameterError, match="exactly one parameter"):
        sensitivity(network(), POINTS, "integer", bits=4)
    with pytest.raises(UnknownNameError, match="intger"):
        sensitivity(network(), POINTS, "intger", bits=[2, 4])
    with pytest.raises(ParameterError, match="bits"):
        sensitivity(network(), POINTS, "integer", bits=[2, 99])
    with pytest.raises(DataError, match="weights are float64; check that the data"):
        sensitivity(network().double(), POINTS, "integer", bits=[2, 4])


def test_the_recipe_of_a_step_gives_the_same_numbers():
    result = sensitivity(network(), POINTS, "integer", bits=[2, 4])
    assert compress(network(), Recipe(result.step)).recipe.steps[0] == result.step
