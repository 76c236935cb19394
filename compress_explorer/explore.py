"""Opens the explorer and the distillation lab on a bundled model or on one's own."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import nn

from compress_explorer import zoo
from compress_explorer.engine.device import Device, resolve
from compress_explorer.engine.evaluate import check_fit
from compress_explorer.engine.layers import inspect_model
from compress_explorer.engine.task import Metric, Task, accuracy, as_split
from compress_explorer.spec.errors import DataError, ModelError, ParameterError
from compress_explorer.spec.recipe import Recipe, Step

if TYPE_CHECKING:
    from compress_explorer.widgets.explorer import Explorer
    from compress_explorer.widgets.lab import DistillLab

Theme = Literal["auto", "light", "dark"]

FIRST_MODEL = "lenet-300-100"
FIRST_TEACHER = "digits-mlp"


def explore(
    model: nn.Module | str | None = None,
    task: Task | None = None,
    *,
    test: Any = None,
    validation: Any = None,
    train: Any = None,
    metric: Metric = accuracy,
    recipe: Recipe | Step | None = None,
    theme: Theme = "auto",
    device: Device = "auto",
) -> "Explorer":
    """Shows the explorer in a notebook.

    Args:
        model: your own module, or the name of a bundled model; None opens the first bundled one.
        task: your own data and metric; or give `test`.
        test: the data to measure on: (x, y) tensors or arrays, a Dataset or a DataLoader.
        validation: data to choose on, likewise.
        train: data for calibration and training, likewise.
        metric: (outputs, targets) -> one score per sample; accuracy by default.
        recipe: what to begin with.
        theme: "auto" follows JupyterLab.
        device: where accuracy is measured, and trained what is brought back; "auto": on the GPU when there is one.

    Raises:
        CompressExplorerError: when the model, the data or the recipe is not valid; the message says the remedy.
    """
    from compress_explorer.widgets.explorer import Explorer  # heavy, and not needed by scripts
    from compress_explorer.widgets.state import first_state

    _check_theme(theme)
    steps = recipe if recipe is None or isinstance(recipe, Recipe) else Recipe(recipe)
    if model is None or isinstance(model, str):
        sources = _bundled(task, test, validation, train, metric)
        name = FIRST_MODEL if model is None else zoo.card(model).name
        return Explorer(sources, first_state(name, recipe=steps), theme=theme, device=device)
    inspect_model(model)
    task = own_task(task, test=test, validation=validation, train=train, metric=metric)
    check_fit(model, task)
    first = first_state(type(model).__name__, recipe=steps)
    return Explorer({first.model: lambda: (model, task)}, first, theme=theme, device=device, setup=OWN_SETUP)


def distill_lab(
    teacher: nn.Module | str | None = None,
    task: Task | None = None,
    *,
    test: Any = None,
    validation: Any = None,
    train: Any = None,
    metric: Metric = accuracy,
    theme: Theme = "auto",
    device: Device = "auto",
) -> "DistillLab":
    """Shows the distillation lab in a notebook: a student learns from a teacher, beside one that does not.

    Args:
        teacher: your own classifier, or the name of a bundled one; None opens the smallest bundled one.
        task: your own data and metric; or give `test` and `train`.
        test: the data to report on: (x, y) tensors or arrays, a Dataset or a DataLoader.
        validation: the data that learning curves are measured on, likewise.
        train: the data to learn from, likewise.
        metric: (outputs, targets) -> one score per sample; accuracy by default.
        theme: "auto" follows JupyterLab.
        device: where to train and to measure; "auto": on the GPU when there is one.

    Raises:
        CompressExplorerError: when the teacher, the data or the device are not valid; the message says the remedy.
    """
    from compress_explorer.widgets.lab import DistillLab  # heavy, and not needed by scripts
    from compress_explorer.widgets.lab_state import LabState

    _check_theme(theme)
    resolve(device, nn.Module())  # finds a wrong one now, and not in the worker
    if teacher is None or isinstance(teacher, str):
        sources = _bundled(task, test, validation, train, metric)
        return DistillLab(sources, LabState(zoo.card(teacher or FIRST_TEACHER).name), theme=theme, device=device)
    inspect_model(teacher)
    task = own_task(task, test=test, validation=validation, train=train, metric=metric)
    task.split("train")
    check_fit(teacher, task)
    name = type(teacher).__name__
    return DistillLab({name: lambda: (teacher, task)}, LabState(name), theme=theme, device=device, setup=OWN_TEACHER)


def _check_theme(theme: object) -> None:
    if theme not in get_args(Theme):
        raise ParameterError(f"theme={theme!r} must be one of {', '.join(get_args(Theme))}.")


def _bundled(
    task: Any, test: Any, validation: Any, train: Any, metric: Metric
) -> dict[str, Callable[[], tuple[nn.Module, Task]]]:
    """What opens each bundled model; they bring their own data.

    Raises:
        ModelError: when there are data, too.
    """
    if any(part is not None for part in (task, test, validation, train)) or metric is not accuracy:
        raise ModelError(
            "The bundled models bring their own data and metric. Pass your nn.Module together with test=(x, y)."
        )
    return {name: functools.partial(zoo.load, name) for name in zoo.names()}


OWN_SETUP = "# model and task: your own, as you passed them to ce.explore"
OWN_TEACHER = "# teacher and task: your own, as you passed them to ce.distill_lab"


def own_task(task: Task | None, *, test: Any, validation: Any, train: Any, metric: Metric) -> Task:
    """The task that a user gave, whole or in parts.

    Raises:
        DataError: when there are no test data, both forms are given, or the data cannot be used.
    """
    if isinstance(task, Task):
        if any(part is not None for part in (test, validation, train)) or metric is not accuracy:
            raise DataError("Pass either a task, or test=, validation=, train= and metric=, not both.")
        return task
    if task is not None:
        raise DataError(f"task must be a Task, not {type(task).__name__}. Pass data as test=(x, y).")
    if test is None:
        raise DataError("There are no data to measure on. Pass test=(x, y), a Dataset or a DataLoader.")
    return Task(
        name="your data",
        test=as_split(test, "test"),
        validation=None if validation is None else as_split(validation, "validation"),
        train=None if train is None else as_split(train, "train"),
        metric=metric,
    )
