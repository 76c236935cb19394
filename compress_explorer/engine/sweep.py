"""Varies one parameter over the whole model and measures every value."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from compress_explorer.engine.bench import WHOLE_MODEL, Bench
from compress_explorer.engine.context import Context
from compress_explorer.engine.device import Device, on_device, resolve
from compress_explorer.engine.evaluate import measure
from compress_explorer.engine.growing import GrowingScores
from compress_explorer.engine.measuring import Measuring, check_precision
from compress_explorer.engine.rebuild import network_of
from compress_explorer.engine.task import Task, check_task
from compress_explorer.engine.workpiece import is_unchanged
from compress_explorer.spec.errors import ParameterError
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.sweep import Sweep


def sweep(
    model: nn.Module,
    task: Task,
    method: str,
    *,
    split: str = "test",
    precision: float | None = None,
    after: Recipe | Step | None = None,
    device: Device = "auto",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    **values: Any,
) -> Sweep:
    """Measures a method at each of a parameter's values, e.g. `sweep(model, task, "magnitude", sparsity=[0.5, 0.9])`.

    Args:
        model: any module; it is not changed.
        task: the data and the metric.
        method: the method's name.
        split: what to measure on.
        precision: measure a value only until the difference to the baseline that all samples would give is known to
            this half-width of its interval, or to a twentieth of the difference; e.g. 0.005. None: on all samples. The
            baseline, too, is measured only as far as that takes.
        after: steps to apply before the method.
        device: where to measure; "auto": on the GPU when there is one.
        progress: called with (values done, values in all).
        values: the method's parameters; exactly one of them is a sequence of values: it is varied.

    Raises:
        ParameterError: when not exactly one parameter has several values, or one of them is not valid.
        CompressExplorerError: when the model, the data or the method is not valid.
    """
    check_task(task)
    check_precision(precision)
    parameter, points, fixed = varied(values)
    bench = Bench(model, Context(task=task))
    before = Recipe() if after is None else after if isinstance(after, Recipe) else Recipe(after)
    steps = [Step(method, ("*",), None, **{**fixed, parameter: point}) for point in points]
    recipes = [bench.check(Recipe([*before.steps, step])) for step in steps]
    place = resolve(device, bench.model)
    measuring = Measuring(task, split, GrowingScores(on_device(bench.model, place), task, split), precision)
    view = bench.view(WHOLE_MODEL)
    frames, evaluations = [], []
    for done, (recipe, point) in enumerate(zip(recipes, points, strict=True)):
        progress(done, len(recipes))
        frames.append(bench.frame(recipe, point, view))
        work = bench.apply(recipe)
        if is_unchanged(work, bench.original):
            evaluations.append(measuring.unchanged())
        else:
            network = on_device(network_of(work), place)
            evaluations.append(measuring.evaluation(measure(network, task, split, looks=measuring.next_look)))
    progress(len(recipes), len(recipes))
    return Sweep(
        recipe=recipes[0],
        step=len(before),
        parameter=parameter,
        values=tuple(points),
        frames=tuple(frames),
        evaluations=tuple(evaluations),
        baseline_file=bench.size(Recipe()).baseline_file,
        baseline=measuring.uncompressed(),
    )


def varied(values: dict[str, Any]) -> tuple[str, list[Value], dict[str, Value]]:
    """The parameter with several values, these, and the other parameters."""
    several = [name for name, value in values.items() if isinstance(value, Sequence) and not isinstance(value, str)]
    several += [name for name, value in values.items() if hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1]
    if len(several) != 1:
        raise ParameterError(
            f"A sweep varies exactly one parameter; {len(several)} have a list of values"
            f"{': ' + ', '.join(several) if several else ''}. Write e.g. sparsity=[0.5, 0.9]."
        )
    name = several[0]
    given = values[name]
    points = given.tolist() if hasattr(given, "tolist") else list(given)
    if not points:
        raise ParameterError(f"{name}=[] has no value to measure. Give at least one.")
    return name, points, {other: value for other, value in values.items() if other != name}
