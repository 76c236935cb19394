"""Distillation beside a loop written out with torchdistill's loss, and what interrupts and misuses it."""

import copy
import itertools
import math

import pytest
import torch
from safetensors.torch import save_file
from scipy import stats
from torch import nn
from torch.nn import functional
from torchdistill.losses.mid_level import KDLoss

import compress_explorer as ce
from compress_explorer.engine.distillation.distill import distill, distilling
from compress_explorer.engine.distillation.features import feature_shapes
from compress_explorer.engine.task import Split
from compress_explorer.engine.training.plan import Plan
from compress_explorer.methods.distillation.catalogue import LOSSES
from compress_explorer.spec.distillation import Comparison
from compress_explorer.spec.errors import (
    DataError,
    ModelError,
    ParameterError,
    TrainingError,
    UnknownNameError,
)
from compress_explorer.spec.evaluation import Interval
from tests.case import case
from tests.engine import tasks
from tests.engine.distillation.networks import (
    TRAIN,
    convolutions,
    dropping,
    images,
    student,
    task,
    teacher,
    weights,
)

PLAN = Plan(epochs=3, batch_size=40, learning_rate=0.01)  # three whole batches in 150 samples


def built(seed, build=student):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def written_out(model, loss, seed):
    """PLAN as one writes it: AdamW, a cosine without rise, a permutation an epoch."""
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0)
    losses = []
    for step in range(9):
        epoch, place = divmod(step, 3)
        order = torch.randperm(150, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        optimiser.param_groups[0]["lr"] = 0.01 * 0.5 * (1 + math.cos(math.pi * step / 9))
        optimiser.zero_grad()
        found = loss(model, order[40 * place : 40 * place + 40])
        found.backward()
        optimiser.step()
        losses.append(float(found.detach()))
    return losses


def test_both_students_are_those_of_a_loop_written_out():
    inputs, labels = TRAIN
    guide = teacher()
    oracle = KDLoss("m", "output", "m", "output", temperature=3.0, alpha=0.3, beta=0.7)

    def taught(model, chosen):
        with torch.no_grad():
            answers = guide(inputs[chosen])
        return oracle({"m": {"output": model(inputs[chosen])}}, {"m": {"output": answers}}, labels[chosen])

    def untaught(model, chosen):
        return functional.cross_entropy(model(inputs[chosen]), labels[chosen])

    found = distill(guide, student, task(), plan=PLAN, seeds=(4, 1), temperature=3, alpha=0.7)
    assert [pair.seed for pair in found.pairs] == [4, 1]
    for pair in found.pairs:
        for loss, ours in ((taught, pair.distilled), (untaught, pair.hard)):
            with case(pair.seed, loss.__name__):
                model = built(pair.seed)
                losses = written_out(model, loss, pair.seed)
                torch.testing.assert_close(weights(ours.model), weights(model), rtol=0, atol=1e-5)
                means = [sum(losses[start : start + 3]) / 3 for start in (0, 3, 6)]
                assert ours.curve.losses == pytest.approx(means, rel=1e-4)
                split = task().validation
                assert split is not None
                right = tasks.correct(model, split.inputs, split.targets)
                assert ours.curve.accuracies[-1] == pytest.approx(right / 80)
                assert ours.validation is not None
                assert ours.validation.value == ours.curve.accuracies[-1]
                assert ours.test.value == pytest.approx(tasks.correct(model, *tasks.samples(90)) / 90)
        assert pair.distilled.test.difference == pytest.approx(pair.distilled.test.value - pair.hard.test.value)
    assert found.finished
    assert (found.loss, found.values) == ("kd", {"temperature": 3.0, "alpha": 0.7})
    differences = [pair.distilled.test.value - pair.hard.test.value for pair in found.pairs]
    assert found.comparison().differences == pytest.approx(differences)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    interval = found.comparison().interval
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert found.verdict == found.comparison("test").verdict
    table = found.to_frame()
    assert list(table["test"]) == [s.test.value for pair in found.pairs for s in (pair.distilled, pair.hard)]


def test_alpha_0_is_hard_labels_alone():
    found = distill(teacher(), student, task(), plan=PLAN, seeds=(0, 3), alpha=0.0)
    for pair in found.pairs:
        torch.testing.assert_close(weights(pair.distilled.model), weights(pair.hard.model), rtol=0, atol=1e-7)
    assert found.comparison().outcome == "noise"


def test_verdicts():
    def verdict(*interval):
        low, high = interval
        return Comparison("test", (0.01, 0.03, 0.02), (low + high) / 2, 0.01, Interval(low, high)).verdict

    assert verdict(-0.005, 0.045).startswith("Noise: +2.00 points on test, but the 95 % t interval of 3 paired seeds")
    assert verdict(0.005, 0.035).startswith("Distillation is better: +2.00 points")
    assert verdict(-0.035, -0.005).startswith("Distillation is worse: -2.00 points")
    assert verdict(0.0, 0.04).startswith("Noise")
    assert Comparison("test", (0.02,), 0.02, None, None).verdict.startswith("One seed: +2.00 points on test; no spread")


def test_the_teacher_sees_each_sample_once_and_nobody_is_changed():
    guide, begun = teacher().train(), built(8).train()
    before = [copy.deepcopy(model.state_dict()) for model in (guide, begun)]
    state = torch.random.get_rng_state()
    seen = []
    guide.register_forward_pre_hook(lambda module, inputs: seen.append((len(inputs[0]), module.training)))
    run = distilling(guide, begun, task(), loss="kd", plan=PLAN, seeds=(0, 1, 2))
    assert len(seen) == 1  # two samples, whether it fits
    seen.clear()
    assert len(list(run)) == 3 * 2 * 9
    assert seen == [(150, False)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert guide.training
    assert begun.training
    assert all(parameter.grad is None for model in (guide, begun) for parameter in model.parameters())
    for model, states in zip((guide, begun), before, strict=True):
        assert all(torch.equal(value, states[name]) for name, value in model.state_dict().items())
    found = run.result()
    # A network begins from its weights whatever the seed, which orders the batches.
    losses = [pair.hard.curve.losses[0] for pair in found.pairs]
    assert len(set(losses)) == 3
    model = copy.deepcopy(begun)
    inputs, labels = TRAIN
    written_out(model, lambda m, chosen: functional.cross_entropy(m(inputs[chosen]), labels[chosen]), 2)
    torch.testing.assert_close(weights(found.pairs[2].hard.model), weights(model), rtol=0, atol=1e-5)


def test_an_interrupted_distillation_ends_like_one_that_was_not(tmp_path):
    for loss, layers in (("kd", None), ("crd", ("1", "2")), ("self", None)):
        guide = None if loss == "self" else teacher()

        def begin(folder=None, loss=loss, layers=layers, guide=guide):
            return distilling(
                guide, dropping, task(), loss=loss, layers=layers, plan=PLAN, seeds=(0, 1), checkpoint=folder
            )

        run = begin()
        whole = len(list(run))
        expected = run.result()
        for stop in (1, 8, whole - 10):
            with case(loss, stop):
                folder = tmp_path / f"{loss}-{stop}"
                first = begin(folder)
                for _ in itertools.islice(first, stop):
                    torch.rand(3)  # the caller's own random numbers have no part in it
                first.close()
                assert list(first) == []
                if stop > 9:
                    partial = first.result()
                    assert not partial.finished
                    assert partial.verdict.startswith("Training is not finished. ")
                    assert ce.evaluate(partial.pairs[0].distilled.model, task()).count == 90
                second = begin(folder)
                rest = list(second)
                assert len(rest) == whole - stop
                assert rest[-1].fraction == 1
                found = second.result()
                assert found.finished
                for ours, theirs in zip(found.pairs, expected.pairs, strict=True):
                    for mine, other in ((ours.distilled, theirs.distilled), (ours.hard, theirs.hard)):
                        assert torch.equal(weights(mine.model), weights(other.model))
                        assert mine.curve.accuracies == other.curve.accuracies
                        assert mine.curve.losses == pytest.approx(other.curve.losses)
    # Other settings begin anew in the same folder; the student on hard labels is the same, and is not trained twice.
    folder = tmp_path / "shared"
    distill(teacher(), student, task(), plan=PLAN, seeds=(0,), checkpoint=folder)
    again = list(distilling(teacher(), student, task(), plan=PLAN, seeds=(0,), checkpoint=folder, temperature=2))
    assert [progress.arm for progress in again] == ["distilled"] * 9


def test_progress_goes_epoch_by_epoch_in_turn():
    run = distilling(teacher(), student, task(), plan=PLAN, seeds=(0,))
    steps = list(run)
    assert [progress.arm for progress in steps] == (["distilled"] * 3 + ["hard"] * 3) * 3
    assert [progress.fraction for progress in steps] == pytest.approx([(1 + place) / 18 for place in range(18)])
    assert [len(progress.curve.accuracies) for progress in steps[-3:]] == [2, 2, 3]
    assert steps[-1].curve == run.result().pairs[0].hard.curve
    nothing = distilling(teacher(), student, task(), plan=PLAN, seeds=(0,))
    with pytest.raises(TrainingError, match="No pair of students"):
        nothing.result()


def test_born_again_students_are_taught_by_the_one_before():
    found = distill(None, student, task(), loss="self", plan=PLAN, seeds=(0,), generations=2)
    once = distill(found.pairs[0].hard.model, student, task(), plan=PLAN, seeds=(0,))
    twice = distill(once.pairs[0].distilled.model, student, task(), plan=PLAN, seeds=(0,))
    assert torch.equal(weights(found.pairs[0].distilled.model), weights(twice.pairs[0].distilled.model))
    assert found.teacher is None
    with pytest.raises(ParameterError, match="takes no teacher"):
        distill(teacher(), student, task(), loss="self")


def test_without_data_neither_inputs_nor_labels_have_a_part():
    inputs, labels = TRAIN
    other = task(train=Split(inputs * 3 + 1, (labels + 1) % 5))
    found = [distill(teacher(), student, given, loss="data-free", plan=PLAN, seeds=(0,)) for given in (task(), other)]
    first, second = (entry.pairs[0] for entry in found)
    assert torch.equal(weights(first.distilled.model), weights(second.distilled.model))
    assert not torch.equal(weights(first.hard.model), weights(second.hard.model))
    words = task(train=Split(torch.arange(150)[:, None] % 8, labels))
    embedding = nn.Sequential(nn.Embedding(8, 4), nn.Flatten(), nn.Linear(4, 5))
    with pytest.raises(DataError, match="floating-point"):
        distill(copy.deepcopy(embedding), embedding, words, loss="data-free", plan=PLAN, seeds=(0,))


def test_every_loss_trains_and_its_students_are_plain_networks():
    plan = Plan(epochs=2, batch_size=16, learning_rate=0.01)
    for loss in LOSSES:
        with case(loss.name):
            guide = None if loss.taught_by == "itself" else built(1, lambda: convolutions(6))
            run = distilling(guide, lambda: convolutions(3), images(), loss=loss.name, plan=plan, seeds=(0,))
            if loss.name == "kd-literal":
                with pytest.raises(TrainingError, match=r"Seed 0, the student that learns from the teacher: .* nan at"):
                    list(run)
                continue
            steps = list(run)
            assert all(math.isfinite(progress.loss) for progress in steps)
            found = run.result()
            assert found.layers == (("2", "2") if loss.maps else ("3", "3") if loss.features else None)
            model = found.pairs[0].distilled.model
            assert type(model) is nn.Sequential
            before, after = built(0, lambda: convolutions(3)), weights(model)
            assert not torch.equal(weights(before), after)
            compressed = ce.compress(model, ce.Step("integer", bits=4), images())
            assert compressed.size().baseline_file == found.student_footprint.file_bytes
            assert ce.cost(model, images()) == found.student_footprint.cost


def test_features_lead_the_student_to_the_teacher():
    """With the hint alone, hard labels drowned by its weight, the regressed features come near the teacher's."""
    guide = built(1, lambda: convolutions(6))
    steps = list(
        distilling(
            guide,
            lambda: convolutions(6),
            images(),
            loss="fitnets",
            layers=("1", "1"),
            plan=Plan(epochs=60, batch_size=16, learning_rate=0.02),
            seeds=(0,),
            weight=1e4,
        )
    )
    losses = [progress.curve.losses for progress in steps if progress.arm == "distilled"][-1]
    assert losses[-1] < losses[0] / 20


def test_layers_are_listed_with_their_shapes_and_unknown_ones_refused():
    model, given = convolutions(3), images().test.inputs[:2]
    shapes = {"0": (3, 6, 6), "1": (3, 6, 6), "2": (3, 2, 2), "3": (12,), "4": (2,)}
    assert feature_shapes(model, given) == shapes
    guide = convolutions(6)
    for layers, words in (
        (("7", "1"), "There is no layer of the student with features '7'.*Known: 0, 1, 2, 3, 4"),
        (("1", "fc"), "There is no layer of the teacher with features 'fc'"),
    ):
        with pytest.raises(UnknownNameError, match=words):
            distilling(guide, model, images(), loss="fitnets", layers=layers)
    with pytest.raises(ParameterError, match="compares no layers"):
        distilling(guide, model, images(), loss="kd", layers=("1", "1"))
    with pytest.raises(ParameterError, match="must be a pair"):
        distilling(guide, model, images(), loss="fitnets", layers=("1",))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no layer before its last one that returns maps"):
        distilling(teacher(), student, task(), loss="attention-transfer")
    with pytest.raises(ParameterError, match="FitNets needs two layers of vectors or two of maps"):
        distill(guide, model, images(), loss="fitnets", layers=("1", "3"), seeds=(0,))


def test_what_cannot_be_distilled_is_refused_with_the_remedy():
    wrong = nn.Linear(8, 4)
    broken = nn.Linear(8, 5)
    nn.init.constant_(broken.weight, math.nan)
    inputs, labels = TRAIN
    cases = [
        (wrong, student, task(), {}, ModelError, "tells 4 classes apart and the student 5"),
        (teacher(), student, task(train=None), {}, DataError, "has no train split"),
        (teacher(), student, task(), {"temperature": 0}, ParameterError, "temperature=0"),
        (teacher(), student, task(), {"alpha": 1.1}, ParameterError, "alpha=1.1"),
        (teacher(), student, task(), {"beta": 1.1}, UnknownNameError, "parameter of kd 'beta'"),
        (teacher(), student, task(), {"loss": "kl"}, UnknownNameError, "no distillation loss 'kl'"),
        (teacher(), student, task(), {"seeds": ()}, ParameterError, r"seeds=\(\)"),
        (teacher(), student, task(), {"seeds": (1, 1)}, ParameterError, "different whole numbers"),
        (teacher(), student, task(), {"seeds": (2**64,)}, ParameterError, "different whole numbers"),
        (teacher(), student, task(), {"seeds": (0.5,)}, ParameterError, "different whole numbers"),
        (teacher(), student, task(), {"seeds": 3}, ParameterError, "seeds=3 must be different whole numbers"),
        (teacher(), student, task(), {"plan": {"epochs": 3}}, ParameterError, "plan={'epochs': 3} must be a Train"),
        (None, student, task(), {}, ModelError, "The teacher must be a torch.nn.Module, not NoneType"),
        (teacher(), None, task(), {}, ModelError, "The student must be"),
        (teacher(), lambda: "net", task(), {}, ModelError, "function gave str"),
        (teacher(), nn.Linear(9, 5), task(), {}, DataError, "The student cannot take inputs of shape"),
        (nn.LSTM(8, 5), student, task(), {}, ModelError, "The teacher must return logits.*not a tuple"),
        (teacher(), student, task(train=Split(inputs, labels + 1)), {}, DataError, "Label 5 is out of range"),
        (teacher(), student, task(train=Split(inputs, labels.double())), {}, DataError, "class indices"),
        (broken, student, task(), {}, ModelError, "teacher's logits hold NaN"),
        (teacher(), student, "digits", {}, DataError, "must be a Task"),
        (teacher(), student().requires_grad_(False), task(), {}, TrainingError, "requires_grad"),
    ]
    for guide, learner, given, options, kind, words in cases:
        with case(words), pytest.raises(kind, match=words):
            distill(guide, learner, given, **options)  # type: ignore[arg-type]


def test_a_rate_far_too_high_is_found_out_and_what_was_trained_is_kept():
    # A decay of more than twice the weight makes weights grow in every step, until they overflow.
    plan = Plan(epochs=60, batch_size=40, optimiser="sgd", learning_rate=10.0, weight_decay=1.0, decay="constant")
    run = distilling(teacher(), student, task(), plan=plan, seeds=(0,))
    with pytest.raises(TrainingError, match=r"Seed 0, the student that learns from .* The weights kept are those"):
        list(run)
    assert list(run) == []
    found = run.result()
    assert not found.finished
    pair = found.pairs[0]
    for trained in (pair.distilled, pair.hard):
        assert 1 <= len(trained.curve.losses) < 60
        assert bool(torch.isfinite(weights(trained.model)).all())


def test_students_by_width_and_depth_are_counted_before_they_are_trained(tmp_path):
    for width, depth in ((1, 1), (6, 2), (16, 0), (5, 4)):
        with case(width, depth):
            design = ce.student(task(), width=width, depth=depth)
            units = [8, *[width] * depth, 5]
            products = [before * after for before, after in itertools.pairwise(units)]
            assert design.macs == sum(products)
            assert design.parameters == sum(products) + sum(units[1:])
            path = tmp_path / f"{width}-{depth}.safetensors"
            save_file(design().state_dict(), path)
            assert path.stat().st_size == design.file_bytes
            assert design()(TRAIN[0]).shape == (150, 5)
    conv = ce.student(images(), width=4, depth=3, kind="conv")
    assert conv.macs == 9 * 1 * 4 * 9 + 9 * 4 * 4 * 4 + 9 * 4 * 4 * 4 + 4 * 2  # 9, 4 and 4 places
    assert conv()(images().test.inputs).shape == (48, 2)
    for options, words in (
        ({"width": 0}, "width=0"),
        ({"depth": -1}, "depth=-1"),
        ({"width": 1.5}, "width=1.5"),
        ({"kind": "rnn"}, "mlp, conv"),
        ({"kind": "conv", "depth": 0}, "from 1 to 16"),
    ):
        with pytest.raises(ParameterError, match=words):
            ce.student(task(), **options)
    with pytest.raises(DataError, match="needs images"):
        ce.student(task(), kind="conv")
