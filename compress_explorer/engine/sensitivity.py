"""Measures a method in one layer at a time, at each of a parameter's values."""

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compress_explorer.engine.batches import batch_in_order
from compress_explorer.engine.bench import Bench
from compress_explorer.engine.context import Context
from compress_explorer.engine.device import Device, on_device, resolve
from compress_explorer.engine.evaluate import BATCH, EXAMPLE, check_fit
from compress_explorer.engine.folding import Pairs
from compress_explorer.engine.growing import GrowingScores
from compress_explorer.engine.inference_copy import inference_copy, safe_folds
from compress_explorer.engine.measuring import Measuring, check_precision
from compress_explorer.engine.partial_run import Program, program_of
from compress_explorer.engine.rebuild import network_of
from compress_explorer.engine.sweep import varied
from compress_explorer.engine.task import Task, check_task
from compress_explorer.engine.variants import Variant, evaluate_variants
from compress_explorer.methods import catalogue
from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.sensitivity import Sensitivity

MOST_BYTES = 2**29
"""Of the tensors of variants that are measured together; a variant that is larger is measured alone."""

WEIGHTS_ONLY = ("mask", "code", "values")
"""Results that change a layer's weights and nothing else of the network."""


@dataclass(frozen=True, eq=False)
class _Setting:
    """One layer at one value.

    Attributes:
        layer: the tensor's name.
        weights: what the layer's weights are then; None when more than they may differ.
        variant: the network with that layer compressed.
    """

    layer: str
    weights: Tensor | None
    variant: Variant


def sensitivity(
    model: nn.Module,
    task: Task,
    method: str,
    *,
    split: str = "test",
    precision: float | None = None,
    device: Device = "auto",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    **values: Any,
) -> Sensitivity:
    """Measures a method in one layer at a time, e.g. `sensitivity(model, task, "integer", bits=[2, 4, 8])`.

    Each entry is that of a real compression of that layer alone. What the layers before it compute is shared by all
    settings of a layer, so that a late layer costs little. To choose by the result, measure on `split="validation"`.

    Args:
        model: any module; it is not changed.
        task: the data and the metric.
        method: the method's name.
        split: what to measure on.
        precision: measure a setting only until the difference to the baseline that all samples would give is known to
            this half-width of its interval, or to a twentieth of the difference; e.g. 0.005. None: on all samples. The
            baseline, too, is measured only as far as that takes.
        device: where to measure; "auto": on the GPU when there is one.
        progress: called with (settings done, settings in all); it may raise to stop.
        values: the method's parameters; exactly one of them is a sequence of values: it is varied.

    Raises:
        ParameterError: when not exactly one parameter has several values, or a value is not valid.
        CompressExplorerError: when the model, the data or the method is not valid.
    """
    check_task(task)
    check_precision(precision)
    parameter, points, fixed = varied(values)
    bench = Bench(model, Context(task=task))
    steps = [Step(method, ("*",), None, **{**fixed, parameter: point}) for point in points]
    checked = [bench.check(Recipe(step)).steps[0] for step in steps]
    place = resolve(device, bench.model)
    original = on_device(bench.model, place)
    check_fit(original, task)
    measuring = Measuring(task, split, GrowingScores(original, task, split), precision)
    example, _ = batch_in_order(task.split(split), range(min(BATCH, measuring.total)), place)
    folded = safe_folds(original, example[:EXAMPLE])
    program = program_of(inference_copy(original, folded), example)
    reasons: dict[str, str] = {}
    found: dict[str, list[Evaluation]] = {}
    done, total = 0, len(bench.layers) * len(points)
    for portion in _portions(_settings(bench, checked, program, folded, place, reasons)):
        progress(done, total)
        for setting, evaluation in zip(portion, _evaluations(bench, program, portion, measuring), strict=True):
            found.setdefault(setting.layer, []).append(evaluation)
        done += len(portion)
    progress(total, total)
    return Sensitivity(
        step=checked[0],
        parameter=parameter,
        values=tuple(points),
        layers=tuple(found),
        evaluations=tuple(map(tuple, found.values())),
        reasons=tuple(reasons.items()),
        baseline=measuring.uncompressed(),
    )


def _settings(
    bench: Bench,
    steps: Sequence[Step],
    program: Program | None,
    folded: Pairs,
    place: torch.device,
    reasons: dict[str, str],
) -> Iterator[_Setting]:
    """Every layer at every value, layer by layer; why a layer cannot be treated is put into `reasons`."""
    weights_only = catalogue.method(steps[0].method).result in WEIGHTS_ONLY
    for site in bench.original.inventory.sites:
        for step in steps:
            work = bench.apply(Recipe(Step(step.method, (glob.escape(site.name),), None, **dict(step.values))))
            if site.name in work.refused:
                reasons[site.name] = work.refused[site.name]
                break
            names = {name.rpartition(".")[0] for name in (site.name, *site.aliases)}
            shared = weights_only and program is not None and all(names)
            network = inference_copy(on_device(network_of(work), place), folded if weights_only else ())
            yield _Setting(
                layer=site.name,
                weights=work.weights[site.name].matrix if weights_only else None,
                variant={name: network.get_submodule(name) for name in names} if shared else {"": network},
            )


def _portions(settings: Iterator[_Setting]) -> Iterator[list[_Setting]]:
    """The settings in portions whose tensors take `MOST_BYTES` at most."""
    portion: list[_Setting] = []
    size = 0
    for setting in settings:
        own = sum(tensor.nbytes for module in setting.variant.values() for tensor in module.state_dict().values())
        if portion and size + own > MOST_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(setting)
        size += own
    if portion:
        yield portion


def _evaluations(
    bench: Bench, program: Program | None, settings: Sequence[_Setting], measuring: Measuring
) -> list[Evaluation]:
    """The evaluation of each setting; those that leave a layer with equal weights are measured once."""
    different: list[_Setting] = []
    same_as: list[int | None] = []
    for setting in settings:
        same_as.append(_place(setting, bench, different))
        if same_as[-1] == len(different):
            different.append(setting)
    measured = evaluate_variants(program, [setting.variant for setting in different], measuring)
    return [measuring.unchanged() if place is None else measured[place] for place in same_as]


def _place(setting: _Setting, bench: Bench, before: Sequence[_Setting]) -> int | None:
    """Where the first of `before` with the same weights is, or their number; None when the weights are the original."""
    if setting.weights is None:
        return len(before)
    if torch.equal(setting.weights, bench.original.weights[setting.layer].matrix):
        return None
    for place, other in enumerate(before):
        if other.layer == setting.layer and other.weights is not None and torch.equal(other.weights, setting.weights):
            return place
    return len(before)
