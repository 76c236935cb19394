"""Evaluation against a plain loop over the samples."""

import pytest
import torch
from torch import Tensor, nn

from compress_explorer.engine.compress import compress
from compress_explorer.engine.evaluate import check_fit, evaluate, measure, scores_of
from compress_explorer.engine.scores import NOTHING, Scores
from compress_explorer.engine.statistics import paired_interval, wilson
from compress_explorer.engine.summary import summarize
from compress_explorer.engine.task import Split, Task
from compress_explorer.spec.errors import DataError, ModelError, ParameterError, UnknownNameError
from compress_explorer.spec.recipe import Recipe, Step
from tests.engine.tasks import CLASSES, correct, network, samples, task

TASK = task()
MODEL = network()
STEP = Step("integer", bits=2)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_accuracy_is_that_of_a_plain_loop(split):
    model = network().train()
    data = TASK.split(split)
    evaluation = evaluate(model, TASK, split)
    right = correct(model, data.inputs, data.targets)
    assert evaluation.value == right / len(data)
    assert 0.6 < evaluation.value < 0.99
    assert (evaluation.count, evaluation.total, evaluation.split, evaluation.exact) == (
        len(data),
        len(data),
        split,
        True,
    )
    assert evaluation.interval == wilson(right, len(data))
    assert (evaluation.difference, evaluation.difference_interval, evaluation.flips) == (None, None, None)


def test_modes_are_left_as_they_were():
    model = network()
    model[1].train()
    model[3].train()
    evaluate(model, TASK)
    assert [module.training for module in model] == [False, True, False, True, False]
    assert not model.training


def test_modes_are_left_as_they_were_when_the_metric_fails():
    model = network().train()
    model[4].eval()
    with pytest.raises(DataError):
        evaluate(model, Task(name="t", test=TASK.test, metric=lambda outputs, _: outputs))
    assert [module.training for module in model] == [True, True, True, True, False]


def test_batch_statistics_are_not_updated():
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, TASK)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_a_model_keeps_from_its_forward_pass_can_be_trained_with():
    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, CLASSES)
            self.scale: Tensor | None = None

        def forward(self, inputs: Tensor) -> Tensor:
            if self.scale is None:
                self.scale = torch.ones(CLASSES)
            output: Tensor = self.fc(inputs) * self.scale
            return output

    model = Cached()
    evaluate(model, TASK)
    model(TASK.test.inputs[:3]).sum().backward()
    assert model.fc.weight.grad is not None


def test_a_compressed_model_is_paired_with_its_baseline():
    compressed = compress(MODEL, STEP)
    evaluation = evaluate(compressed, TASK)
    inputs, labels = TASK.test.inputs, TASK.test.targets
    with torch.no_grad():
        before, after = MODEL(inputs).argmax(1), compressed.model(inputs).argmax(1)
    gained = int(((after == labels) & (before != labels)).sum())
    lost = int(((after != labels) & (before == labels)).sum())
    assert gained > 0
    assert lost > gained
    assert evaluation.value == correct(compressed.model, inputs, labels) / 3000
    assert evaluation.difference == pytest.approx((gained - lost) / 3000, abs=1e-12)
    differences = torch.tensor([1.0] * gained + [-1.0] * lost + [0.0] * (3000 - gained - lost))
    assert evaluation.difference_interval == paired_interval(differences)
    assert evaluation.flips == pytest.approx(float((before != after).double().mean()), abs=1e-12)
    assert not evaluation.within_noise


def test_another_baseline_can_be_given():
    compressed = compress(MODEL, STEP)
    assert evaluate(compressed, TASK, baseline=compressed.model).difference == 0
    assert evaluate(MODEL, TASK, baseline=MODEL).flips == 0
    assert evaluate(MODEL, TASK, baseline=MODEL).within_noise


def test_within_noise_is_asked_of_the_interval():
    unpaired = evaluate(MODEL, TASK)
    with pytest.raises(ValueError, match="no baseline"):
        _ = unpaired.within_noise


# Anytime estimates.


def test_estimates_grow_to_the_exact_figure():
    sizes = [len(scores) for scores in measure(MODEL, TASK)]
    assert sizes == [256, 512, 1024, 2048, 3000]
    last = list(measure(MODEL, TASK))[-1]
    assert float(last.scores.double().mean()) == evaluate(MODEL, TASK).value


def test_batches_of_a_large_split_end_at_multiples_of_2048():
    large = Task(name="large", test=Split(*samples(9000)))
    assert [len(scores) for scores in measure(MODEL, large)] == [256, 512, 1024, 2048, 4096, 6144, 8192, 9000]


def test_an_estimate_is_the_mean_of_the_first_samples_of_the_fixed_order():
    order = TASK.test.order
    for count in (1, 255, 256, 300, 1024, 2999):
        first = order[:count]
        evaluation = evaluate(MODEL, TASK, samples=count)
        assert (evaluation.count, evaluation.total, evaluation.exact) == (count, 3000, False)
        assert evaluation.value == correct(MODEL, TASK.test.inputs[first], TASK.test.targets[first]) / count
    assert evaluate(MODEL, TASK, samples=10**6).exact


@pytest.mark.parametrize("known", [1, 256, 700, 1024, 2048, 2999])
def test_measuring_goes_on_after_what_is_known(known):
    calls: list[int] = []
    model = network()
    model.register_forward_hook(lambda _module, inputs, _outputs: calls.append(len(inputs[0])))
    whole = scores_of(MODEL, TASK)
    start = scores_of(MODEL, TASK, until=known)
    assert len(start) == known
    *_, end = measure(model, TASK, known=start)
    assert torch.equal(end.scores, whole.scores)
    assert end.predictions is not None
    assert whole.predictions is not None
    assert torch.equal(end.predictions, whole.predictions)
    assert sum(calls) == 3000 - known


def test_the_bounds_of_batches_do_not_depend_on_where_measuring_stopped():
    def sizes(known: int) -> list[int]:
        return [len(scores) for scores in measure(MODEL, TASK, known=scores_of(MODEL, TASK, until=known))]

    assert sizes(300) == [512, 1024, 2048, 3000]
    assert sizes(1024) == [2048, 3000]
    assert sizes(2500) == [3000]


def test_nothing_is_measured_when_all_is_known_or_nobody_waits():
    whole = scores_of(MODEL, TASK)
    assert list(measure(MODEL, TASK, known=whole)) == []
    assert list(measure(MODEL, TASK, stop=lambda: True)) == []


def test_measuring_stops_between_batches():
    asked = iter([False, False, True])
    assert [len(scores) for scores in measure(MODEL, TASK, stop=lambda: next(asked))] == [256, 512]


def test_the_first_scores_of_some():
    scores = scores_of(MODEL, TASK)
    assert len(scores.first(100)) == 100
    assert len(NOTHING) == 0
    assert Scores(torch.ones(3), None).first(2).predictions is None


def test_a_summary_pairs_with_as_many_samples_of_the_baseline():
    scores = Scores(torch.tensor([1.0, 0.0]), torch.tensor([1, 2]))
    baseline = Scores(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1, 1, 0]))
    evaluation = summarize(scores, baseline, 10, "test")
    assert (evaluation.value, evaluation.difference, evaluation.flips) == (0.5, -0.5, 0.5)
    assert (evaluation.count, evaluation.total) == (2, 10)


# Any metric.


def negative_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return -nn.functional.cross_entropy(outputs, targets, reduction="none")


def test_a_metric_that_is_not_binary():
    own = Task(name="loss", test=TASK.test, metric=negative_loss)
    compressed = compress(MODEL, STEP)
    evaluation = evaluate(compressed, own)
    with torch.no_grad():
        before, after = (
            negative_loss(m(TASK.test.inputs), TASK.test.targets).double() for m in (MODEL, compressed.model)
        )
    assert evaluation.value == pytest.approx(float(after.mean()), abs=1e-6)
    assert evaluation.difference == pytest.approx(float((after - before).mean()), abs=1e-6)
    error = float((after - before).std(correction=0)) / 3000**0.5
    assert evaluation.difference_interval is not None
    assert evaluation.difference_interval.half_width == pytest.approx(1.959964 * error, rel=1e-5)


def test_regression_has_no_flips():
    inputs = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    own = Task(
        name="regression",
        test=Split(inputs, inputs.sum(1, keepdim=True)),
        metric=lambda outputs, targets: -(outputs - targets).square().squeeze(1),
    )
    model = nn.Linear(8, 1)
    evaluation = evaluate(compress(model, STEP), own)
    assert evaluation.flips is None
    assert evaluation.difference is not None


def test_scores_of_other_types_are_taken():
    def right(dtype: torch.dtype) -> Task:
        return Task(name="t", test=TASK.test, metric=lambda outputs, targets: (outputs.argmax(1) == targets).to(dtype))

    for dtype in (torch.bool, torch.int64, torch.float64, torch.float16):
        assert evaluate(MODEL, right(dtype)).value == evaluate(MODEL, TASK).value


# What does not fit.


class Pair(nn.Module):
    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return inputs, inputs


def failing(outputs: Tensor, targets: Tensor) -> Tensor:
    raise KeyError("top", len(outputs), len(targets))


INPUTS, LABELS = samples(300)
UNFIT = {
    "shape": (MODEL, Task(name="t", test=Split(INPUTS[:, :7], LABELS)), ["(256, 7)", "float32", "shape and dtype"]),
    "integers": (MODEL, Task(name="t", test=Split(INPUTS.long(), LABELS)), ["int64", "weights are float32"]),
    "half": (MODEL, Task(name="t", test=Split(INPUTS.half(), LABELS)), ["float16", "weights are float32"]),
    "label": (MODEL, Task(name="t", test=Split(INPUTS, LABELS + 1)), ["Label 5", "5 outputs", "0 to 4", "Map"]),
    "negative-label": (MODEL, Task(name="t", test=Split(INPUTS, LABELS - 1)), ["Label -1", "0 to 4"]),
    "float-labels": (
        MODEL,
        Task(name="t", test=Split(INPUTS, LABELS.float())),
        ["float32 (256,)", "y.long()", "metric="],
    ),
    "one-hot": (MODEL, Task(name="t", test=Split(INPUTS, torch.eye(5)[LABELS])), ["(256, 5)", "metric="]),
    "output-rank": (nn.Unflatten(1, (2, 4)), Task(name="t", test=Split(INPUTS, LABELS)), ["(256, 2, 4)", "metric="]),
    "output-type": (Pair(), Task(name="t", test=Split(INPUTS, LABELS)), ["a tuple", "returns its logits"]),
    "metric-raises": (
        MODEL,
        Task(name="t", test=Split(INPUTS, LABELS), metric=failing),
        ["metric failing", "KeyError: ('top', 256, 256)", "one score per sample"],
    ),
    "metric-mean": (
        MODEL,
        Task(name="t", test=Split(INPUTS, LABELS), metric=nn.functional.cross_entropy),
        ["metric cross_entropy", "shape (256,), not shape ()"],
    ),
    "metric-float": (
        MODEL,
        Task(name="t", test=Split(INPUTS, LABELS), metric=lambda *_: 0.5),  # type: ignore[arg-type]
        ["shape (256,), not a float"],
    ),
    "metric-nan": (
        MODEL,
        Task(name="t", test=Split(INPUTS, LABELS), metric=lambda outputs, _: outputs[:, 0] / 0),
        ["NaN or infinite", "256 of 256", "nan_to_num"],
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_data_that_do_not_fit_say_what_is_wrong(name):
    model, own, parts = UNFIT[name]
    with pytest.raises(DataError) as caught:
        evaluate(model, own)
    for part in parts:
        assert part in str(caught.value)
    with pytest.raises(DataError):
        check_fit(model, own)


def test_the_cause_of_an_error_is_kept():
    with pytest.raises(DataError) as caught:
        evaluate(MODEL, UNFIT["metric-raises"][1])
    assert isinstance(caught.value.__cause__, KeyError)


def test_every_label_is_checked_before_anything_is_shown():
    labels = LABELS.clone()
    labels[299] = 9
    with pytest.raises(DataError, match="Label 9"):
        check_fit(MODEL, Task(name="t", test=Split(INPUTS, labels)))
    with pytest.raises(DataError, match="Label 9"):
        check_fit(MODEL, Task(name="t", test=Split(INPUTS, LABELS), validation=Split(INPUTS, labels)))
    check_fit(MODEL, TASK)


def test_another_metric_may_have_any_labels():
    own = Task(name="t", test=Split(INPUTS, LABELS + 100), metric=lambda outputs, _: outputs[:, 0].sigmoid())
    check_fit(MODEL, own)
    assert evaluate(MODEL, own).exact


@pytest.mark.parametrize("value", [0, -1, 2.5, "all", True])
def test_the_number_of_samples_must_be_positive(value):
    with pytest.raises(ParameterError, match=r"samples=.*1 or more"):
        evaluate(MODEL, TASK, samples=value)


def test_arguments_of_the_wrong_kind():
    with pytest.raises(DataError, match=r"task must be a Task, not a tuple of Tensor, Tensor.*Task\(name="):
        evaluate(MODEL, (INPUTS, LABELS))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"Module.*not str"):
        evaluate("lenet", TASK)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"baseline= must be a torch.nn.Module.*not str"):
        evaluate(MODEL, TASK, baseline="lenet")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"split 'tset'\. Did you mean 'test'"):
        evaluate(MODEL, TASK, "tset")
    with pytest.raises(DataError, match=r"'points' has no train split; it has validation, test. Pass train="):
        evaluate(MODEL, TASK, "train")


def test_a_recipe_that_destroys_the_model_is_measured_like_any_other():
    compressed = compress(MODEL, Recipe(Step("random", sparsity=1.0)))
    evaluation = evaluate(compressed, TASK)
    assert evaluation.value == correct(compressed.model, TASK.test.inputs, TASK.test.targets) / 3000
