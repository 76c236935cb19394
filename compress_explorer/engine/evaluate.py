"""Measures a metric on a fixed sample order, batch by batch, so that every prefix is an honest estimate."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compress_explorer.engine.batches import batch_in_order
from compress_explorer.engine.compress import CompressedModel
from compress_explorer.engine.device import Device, device_of, full_precision, on_device, resolve
from compress_explorer.engine.inference_copy import fast_form
from compress_explorer.engine.labels import are_class_indices, check_labels
from compress_explorer.engine.memory import in_parts
from compress_explorer.engine.scores import FIRST_LOOK, NOTHING, Scores, joined, next_look
from compress_explorer.engine.summary import summarize
from compress_explorer.engine.task import Split, Task, accuracy, check_task, predicted
from compress_explorer.spec.errors import DataError, ModelError, ParameterError
from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.parameter import plain

BATCH = 512
"""Samples that are run at once on a CPU: fewer waste a matrix product's speed, the activations of more the caches."""

GPU_BATCH = 2048

EXAMPLE = 4
"""Samples on which the form of a network that is fast is compared with its own."""


def measure(
    model: nn.Module,
    task: Task,
    split: str = "test",
    *,
    known: Scores = NOTHING,
    until: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    looks: Callable[[int], int] = next_look,
) -> Iterator[Scores]:
    """Yields the scores of `model` at each of the `looks`, the last time on all samples.

    Args:
        model: in evaluation mode; a copy of it is called, see `fast_form`.
        task: the data and the metric.
        split: "train", "validation" or "test".
        known: scores of the same model from before; measuring goes on after them.
        until: stop after this many samples; None: all.
        stop: asked between batches; when true, the iteration ends early.
        looks: after how many samples the scores are yielded next, from how many were seen.

    Raises:
        DataError: when the data do not fit the model or the metric.
    """
    samples = task.split(split)
    total = len(samples) if until is None else min(until, len(samples))
    if len(known) >= total or stop():
        return
    place = device_of(model)
    batch = BATCH if place.type == "cpu" else GPU_BATCH
    example, _ = batch_in_order(samples, range(min(EXAMPLE, len(samples))), place)
    called = fast_form(model, example)
    parts, done, seen = [known], len(known), len(known)
    while done < total:
        end = min(total, next_bound(done, batch))
        parts += in_parts(lambda places: _batch_scores(called, task, samples, places, place), range(done, end))
        done = end
        stopped = done < total and stop()
        if stopped or done >= min(total, looks(seen)):
            parts, seen = [joined(parts)], done
            yield parts[0]
        if stopped:
            return


def next_bound(done: int, batch: int) -> int:
    """Where the batch ends that begins after `done` samples: at the first look, then at multiples of `batch`.

    The bounds do not depend on where measuring was interrupted: the last bits of a float sum, and with them a
    prediction now and then, depend on the size of the batch.
    """
    return FIRST_LOOK if done < FIRST_LOOK else (done // batch + 1) * batch


def _batch_scores(model: nn.Module, task: Task, samples: Split, places: range, device: torch.device) -> Scores:
    inputs, targets = batch_in_order(samples, places, device)
    # Not inference_mode: what a model keeps from its forward pass could never be trained with again.
    with torch.no_grad():
        return scores_from(task, _forward(model, inputs), targets)


def scores_from(task: Task, outputs: Tensor, targets: Tensor) -> Scores:
    """The scores of one batch's outputs.

    Raises:
        DataError: when the metric fails on them.
    """
    if task.metric is accuracy:
        predictions = predicted(outputs, targets)
        return Scores((predictions == targets.to(torch.int64)).to("cpu", torch.float32), predictions.cpu())
    scores = _score(task, outputs, targets)
    logits = isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] > 1
    comparable = logits and are_class_indices(targets)
    return Scores(scores, outputs.argmax(dim=1).cpu() if comparable else None)


def _forward(model: nn.Module, inputs: Tensor) -> Tensor:
    try:
        with full_precision(inputs.device):
            outputs: Tensor = model(inputs)
    except Exception as error:
        expected = next((f"{p.dtype}".removeprefix("torch.") for p in model.parameters()), "float32")
        raise DataError(
            f"The model cannot take inputs of shape {tuple(inputs.shape)} and dtype "
            f"{str(inputs.dtype).removeprefix('torch.')}: {type(error).__name__}: {error}. Its weights are {expected}; "
            "check that the data have the shape and dtype that the model was trained on."
        ) from error
    return outputs


def _score(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """The metric of a batch, float32 [n] on the CPU."""
    name = getattr(task.metric, "__name__", type(task.metric).__name__)
    try:
        scores = task.metric(outputs, targets)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"The metric {name} raised {type(error).__name__}: {error}. It is called with the model's outputs and the "
            f"targets {tuple(targets.shape)} of a batch, and must return one score per sample."
        ) from error
    if not isinstance(scores, Tensor) or scores.shape != (len(targets),):
        shape = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
        raise DataError(f"The metric {name} must return one score per sample, shape ({len(targets)},), not {shape}.")
    scores = scores.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(scores).all()):
        count = int((~torch.isfinite(scores)).sum())
        raise DataError(
            f"The metric {name} gave NaN or infinite scores for {count} of {len(targets)} samples. "
            "Make it finite, e.g. with torch.nan_to_num or a clamp."
        )
    return scores


def check_fit(model: nn.Module, task: Task) -> None:
    """Tries a few test samples and checks every label, so that data that do not fit are found at once.

    Raises:
        DataError: when the inputs, the labels or the metric do not fit the model.
    """
    with evaluation_mode(model):
        first = range(min(EXAMPLE, len(task.test)))
        _batch_scores(model, task, task.test, first, device_of(model))
        if task.metric is not accuracy:
            return
        with torch.no_grad():
            outputs = _forward(model, batch_in_order(task.test, first, device_of(model))[0])
    for split in (task.test, task.validation):
        if split is not None:
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
    device: Device = "auto",
) -> Evaluation:
    """Measures the task's metric.

    Args:
        model: a module, or what `compress` returned; its mode and weights are left as they are.
        task: the data and the metric.
        split: "test", "validation" or "train".
        baseline: the model to pair with; that of a CompressedModel by default.
        samples: use only the first so many samples of the fixed stratified order; None: all.
        device: where to measure; "auto": on the GPU when there is one. The model stays where it is.

    Raises:
        DataError: when the split does not exist or does not fit the model, or the metric fails on it.
        ParameterError: when `samples` is no positive whole number, or there is no such device.
    """
    check_task(task)
    samples = plain(samples)
    if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 1):
        raise ParameterError(f"samples={samples!r} must be a whole number of 1 or more, or None for all of the split.")
    if isinstance(model, CompressedModel):
        baseline = model.baseline if baseline is None else baseline
        model = model.model
    if not isinstance(model, nn.Module):
        raise ModelError(f"evaluate needs a torch.nn.Module or what compress returned, not {type(model).__name__}.")
    if baseline is not None and not isinstance(baseline, nn.Module):
        raise ModelError(
            f"baseline= must be a torch.nn.Module, such as the model before, not {type(baseline).__name__}."
        )
    place = resolve(device, model)
    with evaluation_mode(model):
        scores = scores_of(on_device(model, place), task, split, until=samples)
    paired = None
    if baseline is not None:
        with evaluation_mode(baseline):
            paired = scores_of(on_device(baseline, place), task, split, until=samples)
    return summarize(scores, paired, len(task.split(split)), split)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Sets every module to evaluation mode, and back to what it was."""
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        yield
    finally:
        for module in training:
            module.training = True
