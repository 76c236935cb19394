"""What is compared after compression: each point against compress and evaluate."""

import math

import pytest
import torch
from torch import nn

import compress_explorer as ce
from compress_explorer.engine.evaluate import scores_of
from compress_explorer.engine.statistics import paired_interval
from compress_explorer.engine.task import Task
from compress_explorer.spec.errors import DataError, ParameterError, TrainingError
from tests.case import case
from tests.engine.tasks import network, task
from tests.engine.test_purity import model_state
from tests.engine.training.test_fine_tune import SPLIT, TUNE, plain

POINTS = task(test=600)
TASK = Task(name="points", test=POINTS.test, validation=POINTS.validation, train=SPLIT)
RECIPE = ce.Recipe([ce.Step("magnitude", sparsity=0.9), ce.Step("huffman")])
RECALIBRATE = ce.Step("batch-norm-recalibration", samples=256)


def test_each_point_is_what_compress_and_evaluate_give():
    model = network()
    before = model_state(model)
    told: list[str] = []
    means = (RECALIBRATE, TUNE, ce.Recipe([TUNE, RECALIBRATE]))
    found = ce.recover(model, RECIPE, TASK, means=means, progress=told.append)
    assert model_state(model) == before
    assert found.complete
    assert found.baseline == ce.evaluate(model, TASK)
    assert [point.name for point in found.points] == [
        "One-shot",
        "Batch norm recalibration",
        "Fine-tuning",
        "Fine-tuning + Batch norm recalibration",
    ]
    extras = ((), (RECALIBRATE,), (TUNE,), (TUNE, RECALIBRATE))
    first = None
    for point, extra in zip(found.points, extras, strict=True):
        compressed = ce.compress(network(), ce.Recipe([*RECIPE, *extra]), TASK)
        assert point.evaluation == ce.evaluate(compressed, TASK)
        assert point.size == compressed.size()
        assert point.recipe == compressed.recipe
        scores = scores_of(compressed.model, TASK, "test").scores
        if first is None:
            first = scores
            assert (point.gain, point.gain_interval, point.gain_within_noise) == (None, None, True)
        else:
            gained = scores - first
            assert point.gain == pytest.approx(float(gained.mean()))
            assert point.gain_interval == paired_interval(gained)
    one_shot, _, tuned, _ = found.points
    assert tuned.evaluation.value > one_shot.evaluation.value + 0.05
    assert not tuned.gain_within_noise
    assert found.best is not one_shot
    table = found.to_frame()
    assert list(table["name"]) == [point.name for point in found.points]
    assert math.isnan(table["gain"][0])
    assert any("step 12 of 12" in text for text in told)


def test_recalibration_is_among_the_usual_means_where_there_is_something_to_recalibrate():
    def means(model: nn.Module) -> list[str]:
        # Stopped before the trainings: what would be done shows in what is left to do.
        seen: list[str] = []
        ce.recover(model, ce.Step("magnitude"), TASK, progress=seen.append, split="validation")
        return [text for text in seen if text in ("Batch norm recalibration", "Fine-tuning")]

    assert means(network()) == ["Batch norm recalibration", "Fine-tuning"]
    assert means(plain()) == ["Fine-tuning"]


def test_when_it_is_stopped_what_is_known_is_returned():
    heard: list[str] = []
    whole = ce.recover(network(), RECIPE, TASK, means=(RECALIBRATE, TUNE), progress=heard.append)
    for stop_at, points in (
        (0, 0),
        (heard.index("Batch norm recalibration") + 1, 1),
        (next(place for place, text in enumerate(heard) if "step 5 of" in text), 2),
    ):
        told: list[str] = []
        found = ce.recover(
            network(),
            RECIPE,
            TASK,
            means=(RECALIBRATE, TUNE),
            progress=told.append,
            stop=lambda told=told, stop_at=stop_at: len(told) >= stop_at,  # type: ignore[misc] # bound here
        )
        assert not found.complete
        assert found.points == whole.points[:points]
        assert (found.baseline is None) == (stop_at == 0)
    assert whole.best is not None
    assert ce.recover(network(), RECIPE, TASK, stop=lambda: True).best is None


def test_what_is_wrong_is_said_before_anything_is_trained():
    heard: list[str] = []
    with pytest.raises(DataError, match=r"Pass train=\(x, y\)"):
        ce.recover(network(), RECIPE, POINTS, progress=heard.append)
    for means in (TUNE, ce.Recipe(TUNE), 3):
        with case(means), pytest.raises(ParameterError, match=r"means=.* must be a list"):
            ce.recover(network(), RECIPE, TASK, means=means, progress=heard.append)  # type: ignore[arg-type]
    assert heard == []
    wild = TUNE.replace(optimiser="sgd", learning_rate=100.0, epochs=40)
    steep = Task(name="steep", test=TASK.test, train=SPLIT, loss=lambda o, t: (o - t[:, None]).square().square().mean())
    with pytest.raises(TrainingError, match="Lower learning_rate"):
        ce.recover(network(), RECIPE, steep, means=(wild,))


def test_a_listener_that_raises_ends_it():
    def stop(_text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ce.recover(network(), RECIPE, TASK, progress=stop)
    with pytest.raises(KeyboardInterrupt):
        ce.compress(network(), TUNE, TASK, progress=stop)
    assert torch.is_grad_enabled()
