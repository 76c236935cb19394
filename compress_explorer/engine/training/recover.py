"""Compares means that bring accuracy back after compression, on the same compressed model."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from compress_explorer.engine.bench import Bench
from compress_explorer.engine.context import Context
from compress_explorer.engine.device import Device, on_device, resolve
from compress_explorer.engine.evaluate import measure
from compress_explorer.engine.layers import inspect_model
from compress_explorer.engine.scores import NOTHING, Scores
from compress_explorer.engine.summary import summarize
from compress_explorer.engine.task import Task, check_task
from compress_explorer.methods import catalogue
from compress_explorer.methods.evidence import say_nothing
from compress_explorer.methods.training import enough_epochs
from compress_explorer.spec.errors import ParameterError
from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.recovery import ONE_SHOT, Recovery, RecoveryPoint

SHOWN = 100_000
"""Samples that the network sees in the usual fine-tuning, about."""


class _Stopped(Exception):  # noqa: N818 -- a signal inside this module, not an error
    """Whoever asked wants no more."""


def recover(
    model: nn.Module,
    recipe: Recipe | Step,
    task: Task,
    *,
    means: Sequence[Recipe | Step] | None = None,
    split: str = "test",
    device: Device = "auto",
    progress: Callable[[str], None] = say_nothing,
    stop: Callable[[], bool] = lambda: False,
) -> Recovery:
    """Measures a compressed model as it is, and again after each means that brings accuracy back.

    A high sparsity or few bits often cost most of the accuracy at once, and most of that comes back: so the first
    point alone does not tell whether a setting is good.

    Args:
        model: any module; it is not changed.
        recipe: how to compress it.
        task: the data and the metric; all means look at its train split.
        means: steps to apply behind the recipe, one means an entry. None: batch norm recalibration, where the model
            has batch normalizations with running statistics, and fine-tuning.
        split: what to measure on.
        device: where to compress, train and measure; "auto": on the GPU when there is one, else where the model is.
            The model stays where it is.
        progress: called with progress in words, in trainings after each step.
        stop: asked as often; when true, what is known by then is returned.

    Raises:
        ParameterError: when there is no such device, or `means` is no list.
        DataError: when there is no train split, or the data do not fit the model.
        TrainingError: when a training diverges.
        CompressExplorerError: when the recipe is not valid for the model.
    """
    check_task(task)
    inspect_model(model)

    def tell(text: str) -> None:
        if stop():
            raise _Stopped
        progress(text)

    bench = Bench(on_device(model, resolve(device, model)), Context(task=task, tell=tell))
    first = bench.check(recipe if isinstance(recipe, Recipe) else Recipe(recipe))
    chosen = _usual(bench.model, task) if means is None else means
    if isinstance(chosen, Step | Recipe) or not isinstance(chosen, Sequence):
        raise ParameterError(f"means={chosen!r} must be a list, one means an entry, e.g. [Step('fine-tune')].")
    steps = [entry if isinstance(entry, Recipe) else Recipe(entry) for entry in chosen]
    recipes = [first, *(bench.check(Recipe([*first, *entry])) for entry in steps)]
    names = [ONE_SHOT, *(_name(entry) for entry in steps)]
    baseline, known = None, NOTHING
    points: list[RecoveryPoint] = []
    try:
        tell("the uncompressed model")
        scores = _scores(bench.model, task, split, stop)
        baseline = summarize(scores, None, len(scores), split)
        for name, entry in zip(names, recipes, strict=True):
            tell(name)
            found = _scores(bench.compressed(entry).model, task, split, stop)
            evaluation = summarize(found, scores, len(found), split)
            point = RecoveryPoint(name, entry, bench.size(entry), evaluation)
            if points:
                point = _with_gain(point, summarize(found, known, len(found), split))
            else:
                known = found
            points.append(point)
    except _Stopped:
        pass
    return Recovery(split, baseline, tuple(points), len(points) == len(recipes))


def _usual(model: nn.Module, task: Task) -> list[Step]:
    """Recalibration where there is something to recalibrate, and fine-tuning."""
    tracking = any(isinstance(module, _BatchNorm) and module.running_mean is not None for module in model.modules())
    epochs = enough_epochs(len(task.split("train")), SHOWN)
    return [*([Step("batch-norm-recalibration")] if tracking else []), Step("fine-tune", epochs=epochs)]


def _name(means: Recipe) -> str:
    return " + ".join(catalogue.method(step.method).label for step in means)


def _scores(model: nn.Module, task: Task, split: str, stop: Callable[[], bool]) -> Scores:
    """The scores on the whole split."""
    scores = NOTHING
    for scores in measure(model, task, split, stop=stop):  # noqa: B007 -- the last look is what is wanted
        pass
    if len(scores) < len(task.split(split)):
        raise _Stopped
    return scores


def _with_gain(point: RecoveryPoint, against: Evaluation) -> RecoveryPoint:
    return replace(point, gain=against.difference, gain_interval=against.difference_interval)
