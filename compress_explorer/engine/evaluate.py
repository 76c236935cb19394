"""Measures a metric on a fixed sample order, batch by batch, so that every prefix is an honest estimate."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from compress_explorer.engine.compress import CompressedModel
from compress_explorer.engine.statistics import mean_interval, paired_interval
from compress_explorer.engine.task import Split, Task, accuracy, check_labels
from compress_explorer.spec.errors import DataError
from compress_explorer.spec.evaluation import Evaluation

FIRST_BATCH = 256
LARGEST_BATCH = 2048


@dataclass(frozen=True, eq=False)
class Scores:
    """The metric, sample by sample, on the first samples of a split's fixed order.

    Attributes:
        scores: float32 [count].
        predictions: int64 [count], the largest logit's index, or None where outputs are no logits.
    """

    scores: Tensor
    predictions: Tensor | None

    def __len__(self) -> int:
        """How many samples were measured."""
        return len(self.scores)

    def first(self, count: int) -> "Scores":
        """The same for the first `count` samples only."""
        return Scores(self.scores[:count], None if self.predictions is None else self.predictions[:count])


NOTHING = Scores(torch.empty(0), torch.empty(0, dtype=torch.int64))
"""No sample measured yet."""


@lru_cache(maxsize=32)
def sample_order(split: Split) -> Tensor:
    """A fixed order of a split's samples, int64 [n], of which every prefix holds the classes in their shares.

    The same for every setting, so that two settings are always compared on the same samples. Targets that are not
    class indices are shuffled plainly.
    """
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.randperm(len(split), generator=generator)
    targets = split.targets
    if targets.ndim != 1 or targets.is_floating_point() or targets.is_complex():
        return shuffled
    labels = targets.cpu()[shuffled]
    by_class = torch.argsort(labels, stable=True)
    counts = torch.unique(labels, return_counts=True)[1]
    rank = torch.cat([(torch.arange(int(count)) + 0.5) / int(count) for count in counts])
    return shuffled[by_class[torch.argsort(rank, stable=True)]]


def measure(
    model: nn.Module,
    task: Task,
    split: str = "test",
    *,
    known: Scores = NOTHING,
    until: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Scores]:
    """Yields the scores of `model` on a growing number of samples, the last time on all of them.

    Args:
        model: in evaluation mode; it is only called.
        task: the data and the metric.
        split: "train", "validation" or "test".
        known: scores of the same model from before; measuring goes on after them.
        until: stop after this many samples; None: all.
        stop: asked between batches; when true, the iteration ends early.

    Raises:
        DataError: when the data do not fit the model or the metric.
    """
    samples = task.split(split)
    total = len(samples) if until is None else min(until, len(samples))
    order = sample_order(samples)
    done, batch = known, max(FIRST_BATCH, min(len(known), LARGEST_BATCH))
    while len(done) < total and not stop():
        chosen = order[len(done) : min(total, len(done) + batch)]
        done = _joined(done, _batch_scores(model, task, samples, chosen))
        batch = min(2 * batch, LARGEST_BATCH)
        yield done


def _joined(first: Scores, second: Scores) -> Scores:
    predictions = None
    if first.predictions is not None and second.predictions is not None:
        predictions = torch.cat([first.predictions, second.predictions])
    return Scores(torch.cat([first.scores, second.scores]), predictions)


def _batch_scores(model: nn.Module, task: Task, samples: Split, chosen: Tensor) -> Scores:
    device = _device(model)
    inputs, targets = samples.inputs[chosen].to(device), samples.targets[chosen].to(device)
    with torch.inference_mode():
        outputs = _forward(model, inputs)
        scores = task.metric(outputs, targets)
    if not isinstance(scores, Tensor) or scores.shape != (len(chosen),):
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise DataError(f"The metric must return one score per sample, shape ({len(chosen)},), not {shape}.")
    logits = isinstance(outputs, Tensor) and outputs.ndim == 2
    return Scores(scores.to("cpu", torch.float32), outputs.argmax(dim=1).cpu() if logits else None)


def _forward(model: nn.Module, inputs: Tensor) -> Tensor:
    try:
        outputs: Tensor = model(inputs)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        expected = next((f"{p.dtype}".removeprefix("torch.") for p in model.parameters()), "float32")
        raise DataError(
            f"The model cannot take inputs of shape {tuple(inputs.shape)} and dtype "
            f"{str(inputs.dtype).removeprefix('torch.')}: {error}. Its weights are {expected}; check that the data "
            "have the shape and dtype that the model was trained on."
        ) from error
    return outputs


def summarize(scores: Scores, baseline: Scores | None, total: int, split: str) -> Evaluation:
    """The evaluation that `scores` amount to, paired with the baseline's on the same samples.

    Args:
        scores: of the model, on at least one sample.
        baseline: of the uncompressed model on at least as many samples of the same order, or None.
        total: how many samples the split has.
        split: its name.
    """
    count = len(scores)
    difference = difference_interval = flips = None
    if baseline is not None:
        paired = scores.scores - baseline.scores[:count]
        difference, difference_interval = float(paired.double().mean()), paired_interval(paired)
        if scores.predictions is not None and baseline.predictions is not None:
            flips = float((scores.predictions != baseline.predictions[:count]).double().mean())
    return Evaluation(
        value=float(scores.scores.double().mean()),
        interval=mean_interval(scores.scores),
        count=count,
        total=total,
        split=split,
        difference=difference,
        difference_interval=difference_interval,
        flips=flips,
    )


def check_fit(model: nn.Module, task: Task) -> None:
    """Tries a few test samples and checks every label, so that data that do not fit are found at once.

    Raises:
        DataError: when the inputs, the labels or the metric do not fit the model.
    """
    with _evaluation_mode(model):
        first = sample_order(task.test)[:4]
        _batch_scores(model, task, task.test, first)
        outputs = _forward(model, task.test.inputs[first].to(_device(model)))
    for split in (task.test, task.validation):
        if task.metric is accuracy and split is not None:
            check_labels(split.targets, outputs.shape[1])


def scores_of(model: nn.Module, task: Task, split: str = "test", *, until: int | None = None) -> Scores:
    """The scores of `model` on a split (on its first `until` samples).

    Raises:
        DataError: when the data do not fit the model or the metric.
    """
    return deque(measure(model, task, split, until=until), maxlen=1).pop()


def evaluate(
    model: nn.Module | CompressedModel,
    task: Task,
    split: str = "test",
    *,
    baseline: nn.Module | None = None,
    samples: int | None = None,
) -> Evaluation:
    """Measures the task's metric.

    Args:
        model: a module, or what `compress` returned; its mode and weights are left as they are.
        task: the data and the metric.
        split: "test", "validation" or "train".
        baseline: the model to pair with; that of a CompressedModel by default.
        samples: use only the first so many samples of the fixed stratified order; None: all.

    Raises:
        DataError: when the split does not exist or does not fit the model.
    """
    if isinstance(model, CompressedModel):
        baseline = model.baseline if baseline is None else baseline
        model = model.model
    with _evaluation_mode(model):
        scores = scores_of(model, task, split, until=samples)
    paired = None
    if baseline is not None:
        with _evaluation_mode(baseline):
            paired = scores_of(baseline, task, split, until=samples)
    return summarize(scores, paired, len(task.split(split)), split)


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Sets every module to evaluation mode, and back to what it was."""
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        yield
    finally:
        for module in training:
            module.training = True


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
