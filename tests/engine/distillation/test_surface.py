"""The surface beside students that `distill` trains one by one."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import compress_explorer as ce
from compress_explorer.engine.distillation.beginnings import Student
from compress_explorer.engine.distillation.distill import distill
from compress_explorer.engine.distillation.stacked import Stack
from compress_explorer.engine.distillation.surface import surface, surfacing
from compress_explorer.engine.task import Split
from compress_explorer.engine.training.plan import Plan
from compress_explorer.spec.errors import DataError, ModelError, ParameterError, TrainingError
from tests.case import case
from tests.engine import tasks
from tests.engine.distillation.networks import (
    TRAIN,
    convolutions,
    dropping,
    images,
    normalised,
    student,
    task,
    teacher,
    weights,
)

TEMPERATURES, ALPHAS, SEEDS = (1.0, 5.0), (0.0, 0.6, 1.0), (0, 7)
TOLERANCE = 1e-4
"""The largest difference of a weight."""


class Own(nn.Module):
    """A perceptron whose forward pass is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 6), nn.Linear(6, 5)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        answers: torch.Tensor = self.last(functional.relu(self.first(inputs)))
        return answers


def deep():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 5)
    )


def frozen():
    network = student()
    network[0].requires_grad_(False)
    return network


def test_each_student_is_the_one_that_distill_trains():
    sgd = Plan(epochs=2, batch_size=40, optimiser="sgd", learning_rate=0.05, weight_decay=0.01, warm_up=0.3)
    adam = Plan(epochs=3, batch_size=40, learning_rate=0.01)
    guide = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    cases: list[tuple[Student, nn.Module, ce.Task, Plan]] = [
        (student, teacher(), task(), adam),
        (student, teacher(), task(), sgd),
        (deep, teacher(), task(), adam),
        (frozen, teacher(), task(), adam),
        (student(), teacher(), task(), adam),  # a network: every seed begins from its weights
        (Own, teacher(), task(), adam),
        (normalised, teacher(), task(), sgd),  # Adam magnifies rounding errors of the bias before, which has no effect
        (lambda: convolutions(2), guide, images(), Plan(epochs=2, batch_size=16)),
    ]
    for place, (build, master, given, plan) in enumerate(cases):
        found = surface(master, build, given, temperatures=TEMPERATURES, alphas=ALPHAS, seeds=SEEDS, plan=plan)
        assert len(found.students) == 12
        for row, column in [(1, 1)] if place else [(0, 0), (1, 1), (1, 2)]:
            temperature, alpha = TEMPERATURES[row], ALPHAS[column]
            single = distill(master, build, given, plan=plan, seeds=SEEDS, temperature=temperature, alpha=alpha)
            cell = found.distillation(temperature, alpha)
            with case(place, temperature, alpha):
                assert (cell.loss, cell.values, cell.finished) == (single.loss, single.values, True)
                assert (cell.plan, cell.curve_split) == (single.plan, single.curve_split)
                assert cell.student_footprint == single.student_footprint
                assert cell.teacher_footprint == single.teacher_footprint
                assert cell.teacher is not None
                assert single.teacher is not None
                assert cell.teacher.test == single.teacher.test
            for index, pair in enumerate(single.pairs):
                with case(place, temperature, alpha, pair.seed):
                    mine = cell.pairs[index]
                    assert mine.seed == pair.seed
                    for of, ours, theirs in ((alpha, mine.distilled, pair.distilled), (0.0, mine.hard, pair.hard)):
                        assert ours.model is found.student(temperature, of, pair.seed)
                        assert len(ours.curve.losses) == plan.epochs
                        # A sum in another order may put one sample on the other side.
                        assert ours.curve.accuracies == pytest.approx(theirs.curve.accuracies, abs=0.03)
                        assert ours.curve.losses == pytest.approx(theirs.curve.losses, rel=1e-3)
                        assert ours.validation is not None
                        for measured, split in ((ours.test, given.test), (ours.validation, given.validation)):
                            assert split is not None
                            right = tasks.correct(ours.model, split.inputs, split.targets)
                            assert measured.value == pytest.approx(right / len(split))
                    assert mine.distilled.test.difference == pytest.approx(
                        mine.distilled.test.value - mine.hard.test.value
                    )
                    student_here, theirs = found.student(temperature, alpha, pair.seed), pair.distilled
                    assert float((weights(student_here) - weights(theirs.model)).abs().max()) < TOLERANCE
                    assert found.frame.accuracies[row][column][index] == pytest.approx(theirs.curve.accuracies[-1])
                    assert found.frame.losses[row][column][index] == pytest.approx(theirs.curve.losses[-1], rel=1e-3)
                    assert not student_here.training
                    assert ce.evaluate(student_here, given, "validation").value == pytest.approx(
                        found.frame.accuracies[row][column][index]
                    )


def test_the_best_cell_is_chosen_on_validation_and_an_unfinished_cell_says_so():
    plan = Plan(epochs=4, batch_size=40, learning_rate=0.01)
    # Test labels are turned round: whoever chose on test would choose another cell.
    inputs, labels = tasks.samples(90)
    given = task(test=Split(inputs, 4 - labels))
    run = surfacing(teacher(), student, given, temperatures=TEMPERATURES, alphas=ALPHAS, seeds=SEEDS, plan=plan)
    next(run)
    with pytest.raises(TrainingError, match="No epoch"):
        run.result().best()
    early = run.result().distillation(5.0, 0.6)
    assert not early.finished
    assert early.pairs[0].distilled.curve.accuracies == ()
    list(run)
    found = run.result()
    means = {
        split: {
            (temperature, alpha): sum(
                ce.evaluate(found.student(temperature, alpha, seed), given, split).value for seed in SEEDS
            )
            for temperature, alpha in itertools.product(TEMPERATURES, ALPHAS)
        }
        for split in ("validation", "test")
    }
    assert means["validation"][found.best()] == max(means["validation"].values())
    assert means["test"][found.best()] < max(means["test"].values())
    blind = surface(
        teacher(), student, task(validation=None), temperatures=(2.0,), alphas=(0.5,), seeds=(0,), plan=Plan(epochs=1)
    )
    with pytest.raises(DataError, match="chosen on the validation split"):
        blind.best()
    with pytest.raises(ParameterError, match="Add alpha 0"):
        blind.distillation(2.0, 0.5)
    with pytest.raises(ParameterError, match=r"temperature=3.* is not in the grid"):
        found.distillation(3.0, 0.6)


def test_perceptrons_run_by_products_of_matrices_as_they_run_alone():
    networks = [network for _ in range(6) for network in [deep()]]
    inputs = torch.randn(2, 7, 2, 4)
    outputs = Stack(networks, 2).run(inputs, training=False)
    for place, network in enumerate(networks):
        torch.testing.assert_close(outputs[place], network(inputs[place // 3]))


def test_frames_are_filled_in_and_a_surface_can_be_left_and_gone_on_with():
    plan = Plan(epochs=3, batch_size=40)
    run = surfacing(teacher(), student, task(), temperatures=TEMPERATURES, alphas=ALPHAS, seeds=SEEDS, plan=plan)
    frames = list(itertools.islice(run, 4))
    assert [(frame.step, frame.steps, frame.epoch) for frame in frames] == [(1, 9, 0), (2, 9, 0), (3, 9, 1), (4, 9, 1)]
    assert bool(np.isnan(frames[1].means()).all())
    assert frames[2].means().shape == (2, 3)
    assert not bool(np.isnan(frames[2].means()).any())
    assert frames[3].accuracies == frames[2].accuracies
    for temperature, alpha, seed in itertools.product(TEMPERATURES, ALPHAS, SEEDS):
        accuracy = ce.evaluate(run.student(temperature, alpha, seed), task(), "validation").value
        assert 0 <= accuracy <= 1
    run.close()
    assert list(run) == []
    left = run.result()
    assert left.frame == frames[3]
    one = left.student(5.0, 0.6, 7)
    assert torch.equal(weights(one), weights(run.student(5.0, 0.6, 7)))
    with pytest.raises(ParameterError, match="temperature=3 is not in the grid: 1, 5"):
        left.student(3, 0.6, 7)


def test_the_teacher_sees_each_sample_once_and_another_metric_is_measured_too():
    seen = []
    guide = teacher()
    guide.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))

    def near(outputs, targets):
        return (outputs.argmax(1) - targets).abs().le(1).float()

    given = task(metric=near)
    found = surface(guide, student, given, temperatures=(2.0,), alphas=(0.5,), seeds=(0, 1), plan=Plan(epochs=2))
    assert seen == [2, 150]  # two samples: whether it fits
    for place, model in enumerate(found.students):
        assert found.frame.accuracies[0][0][place] == pytest.approx(ce.evaluate(model, given, "validation").value)


def test_what_has_no_surface_is_refused_with_the_remedy():
    cases = [
        (student, {"temperatures": (1.0, 0.0)}, ParameterError, "temperature=0"),
        (student, {"temperatures": ()}, ParameterError, "at least one"),
        (student, {"alphas": (0.5, 0.5)}, ParameterError, r"alphas=\(0.5, 0.5\) must be different"),
        (student, {"temperatures": 4}, ParameterError, "temperatures=4 must be different numbers"),
        (student, {"alphas": "1"}, ParameterError, "alphas='1' must be different numbers"),
        (student, {"plan": 3}, ParameterError, "plan=3 must be a TrainingPlan"),
        (student, {"alphas": (1.5,)}, ParameterError, "alpha=1.5"),
        (student, {"seeds": (-1,)}, ParameterError, "different whole numbers"),
        (dropping, {}, ModelError, "1 drops units at random"),
        (nn.Linear(8, 4), {}, ModelError, "tells 5 classes apart and the student 4"),
    ]
    for build, options, kind, words in cases:
        with case(words), pytest.raises(kind, match=words):
            surface(teacher(), build, task(), **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no train split"):
        surface(teacher(), student, task(train=None))
    grows = Plan(epochs=60, batch_size=40, optimiser="sgd", learning_rate=10.0, weight_decay=1.0, decay="constant")
    run = surfacing(teacher(), student, task(), temperatures=(1.0,), alphas=(0.5,), seeds=(3,), plan=grows)
    with pytest.raises(TrainingError, match=r"temperature=1, alpha=0.5, seed 3 became .* at step \d+"):
        list(run)
    assert 1 <= run.frame.epoch < 60

    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 5)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = self.layer(inputs)
            return outputs if float(outputs.sum()) > math.inf else -outputs

    with pytest.raises(ModelError, match=r"cannot run side by side.*one by one"):
        surface(teacher(), Deciding, task(train=Split(*TRAIN)), plan=Plan(epochs=1))
