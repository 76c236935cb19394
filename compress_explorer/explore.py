"""Opens the explorer on a bundled model or on one's own."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from compress_explorer import zoo
from compress_explorer.engine.device import Device
from compress_explorer.engine.evaluate import check_fit
from compress_explorer.engine.layers import inspect_model
from compress_explorer.engine.task import Metric, Task, accuracy, as_split
from compress_explorer.spec.errors import DataError, ModelError
from compress_explorer.spec.recipe import Recipe, Step

if TYPE_CHECKING:
    from compress_explorer.widgets.explorer import Explorer

FIRST_MODEL = "lenet-300-100"


def explore(
    model: nn.Module | str | None = None,
    task: Task | None = None,
    *,
    test: Any = None,
    validation: Any = None,
    train: Any = None,
    metric: Metric = accuracy,
    recipe: Recipe | Step | None = None,
    theme: Literal["auto", "light", "dark"] = "auto",
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
        device: where accuracy is measured; "auto": on the GPU when there is one.

    Raises:
        CompressExplorerError: when the model, the data or the recipe is not valid; the message says the remedy.
    """
    from compress_explorer.widgets.explorer import Explorer  # heavy, and not needed by scripts
    from compress_explorer.widgets.state import first_state

    steps = recipe if recipe is None or isinstance(recipe, Recipe) else Recipe(recipe)
    if model is None or isinstance(model, str):
        if any(part is not None for part in (task, test, validation, train)) or metric is not accuracy:
            raise ModelError(
                "The bundled models bring their own data and metric. Pass your nn.Module together with test=(x, y)."
            )
        bundled: dict[str, Callable[[], tuple[nn.Module, Task]]] = {
            name: functools.partial(zoo.load, name) for name in zoo.names()
        }
        name = FIRST_MODEL if model is None else zoo.card(model).name
        return Explorer(bundled, first_state(name, recipe=steps), theme=theme, device=device)
    inspect_model(model)
    task = own_task(task, test=test, validation=validation, train=train, metric=metric)
    check_fit(model, task)
    first = first_state(type(model).__name__, recipe=steps)
    return Explorer({first.model: lambda: (model, task)}, first, theme=theme, device=device, setup=OWN_SETUP)


OWN_SETUP = "# model and task: your own, as you passed them to ce.explore"


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
