"""The whole curve and the sensitivity of layers, beside the loop that one writes today."""

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

import compress_explorer as ce
from benchmarks.duel import Row

NETWORKS = ("digits-mlp", "lenet-300-100", "lenet-5", "resnet-fashion", "depthwise-fashion", "vit-fashion")
SPARSITIES = [position / 21 for position in range(21)]
LEVELS = [level / 10 for level in range(1, 10)]
PRECISION = 0.005


def naive(model: nn.Module, task: ce.Task, settings: Sequence[tuple[Sequence[str], float]]) -> list[float]:
    """The accuracy of each setting: deepcopy, torch.nn.utils.prune, a DataLoader over the test tensors, batch 256.

    Args:
        model: the network.
        task: its task.
        settings: which tensors to prune, and how far.
    """
    loader = DataLoader(TensorDataset(task.test.inputs, task.test.targets), batch_size=256)
    found = []
    for tensors, sparsity in settings:
        network = copy.deepcopy(model).eval()
        for tensor in tensors:
            owner, _, name = tensor.rpartition(".")
            module = network.get_submodule(owner)
            prune.l1_unstructured(module, name, amount=sparsity)
            prune.remove(module, name)
        right = 0
        with torch.no_grad():
            for inputs, targets in loader:
                right += int((network(inputs).argmax(1) == targets).sum())
        found.append(right / len(task.test))
    return found


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds, and the result."""
    begun = time.perf_counter()
    result = function()
    return 1000 * (time.perf_counter() - begun), result


def rows_of(
    name: str,
    ours: Callable[[float | None], list[ce.Evaluation]],
    other: Callable[[], list[float]],
    setting: str,
) -> list[Row]:
    """Exact accuracy, and accuracy to a precision, beside the loop; each run once after a short warm-up."""
    loop, expected = timed(other)
    exact, found = timed(lambda: ours(None))
    rough, estimated = timed(lambda: ours(PRECISION))
    apart = max(abs(entry.value - value) for entry, value in zip(found, expected, strict=True))
    samples = sum(entry.count for entry in estimated) / len(estimated)
    missed = sum(
        not entry.difference_on_split.low <= truth.difference <= entry.difference_on_split.high
        for entry, truth in zip(estimated, found, strict=True)
        if entry.difference_on_split is not None and truth.difference is not None
    )
    return [
        Row(f"{name}, exact", setting, exact, loop, None, f"largest difference {100 * apart:.2f} points"),
        Row(
            f"{name}, to ± {100 * PRECISION} points or 5 % of the drop",
            setting,
            rough,
            loop,
            None,
            f"{samples:,.0f} samples a setting; {missed} of {len(found)} outside their interval",
        ),
    ]


def run() -> list[Row]:
    """The curve of 21 sparsities on every network of the zoo; every layer at nine sparsities on the residual one."""
    rows: list[Row] = []
    for name in NETWORKS:
        model, task = ce.load(name)
        tensors = ce.sensitivity(model, task, "magnitude", sparsity=[0.0]).layers  # also warms up
        naive(model, task, [(tensors, 0.5)])
        rows += rows_of("21 sparsities", curve(model, task), loop(model, task, tensors), name)
    model, task = ce.load("resnet-fashion")
    tensors = ce.sensitivity(model, task, "magnitude", sparsity=[0.0]).layers
    return rows + rows_of(
        "every layer at 9 sparsities", layers(model, task), single(model, task, tensors), "resnet-fashion"
    )


def curve(model: nn.Module, task: ce.Task) -> Callable[[float | None], list[ce.Evaluation]]:
    """Our sweep, to a precision."""

    def ours(precision: float | None) -> list[ce.Evaluation]:
        found = ce.sweep(model, task, "magnitude", precision=precision, sparsity=SPARSITIES).evaluations
        return [entry for entry in found if entry is not None]

    return ours


def loop(model: nn.Module, task: ce.Task, tensors: Sequence[str]) -> Callable[[], list[float]]:
    """The same as one writes it."""
    return lambda: naive(model, task, [(tensors, sparsity) for sparsity in SPARSITIES])


def layers(model: nn.Module, task: ce.Task) -> Callable[[float | None], list[ce.Evaluation]]:
    """Our sensitivity, to a precision."""

    def ours(precision: float | None) -> list[ce.Evaluation]:
        found = ce.sensitivity(model, task, "magnitude", precision=precision, sparsity=LEVELS)
        return [entry for row in found.evaluations for entry in row]

    return ours


def single(model: nn.Module, task: ce.Task, tensors: Sequence[str]) -> Callable[[], list[float]]:
    """The same as one writes it."""
    return lambda: naive(model, task, [([tensor], level) for tensor in tensors for level in LEVELS])
