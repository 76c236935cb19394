"""What arithmetic allows: a pass over the test images at the speed of the machine's matrix products."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

import compress_explorer as ce
from benchmarks.curves import NETWORKS
from compress_explorer.engine.evaluate import scores_of

SIDE = 1024
ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """One network's pass over its test images: gigaflops, and milliseconds at best, of ours and of a plain loop."""

    name: str
    gigaflops: float
    limit: float
    ours: float
    loop: float


def best(function: Callable[[], object]) -> float:
    """The shortest of a few runs, in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        function()
        times.append(1000 * (time.perf_counter() - begun))
    return min(times)


def gemm_speed() -> float:
    """Gigaflops a second of a product of two square float32 matrices, at best."""
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    return 2 * SIDE**3 / best(lambda: [left @ right for _ in range(10)]) * 10 / 1e6


def plain_pass(model: nn.Module, task: ce.Task) -> int:
    """A pass over the test images in batches of 256, as one writes it; how many are right."""
    right = 0
    with torch.no_grad():
        for start in range(0, len(task.test), 256):
            outputs = model(task.test.inputs[start : start + 256])
            right += int((outputs.argmax(1) == task.test.targets[start : start + 256]).sum())
    return right


def run() -> tuple[float, list[Row]]:
    """The machine's speed, and the passes of every network of the zoo."""
    speed, rows = gemm_speed(), []
    for name in NETWORKS:
        model, task = ce.load(name)
        model.eval()
        gigaflops = 2 * ce.cost(model, task).macs * len(task.test) / 1e9
        ours = best(lambda model=model, task=task: scores_of(model, task))  # type: ignore[misc]
        loop = best(lambda model=model, task=task: plain_pass(model, task))  # type: ignore[misc]
        rows.append(Row(name, gigaflops, 1000 * gigaflops / speed, ours, loop))
    return speed, rows


def table(speed: float, rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        f"| a pass over the test images, {speed:.0f} GFLOP/s in matrix products | GFLOP | at that speed ms | ours ms | "
        "of that speed | plain loop ms | most that arithmetic allows beside it |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.gigaflops:.3g} | {row.limit:.4g} | {row.ours:.4g} | {row.limit / row.ours:.0%} | "
        f"{row.loop:.4g} | {row.loop / row.limit:.2g} times as fast |"
        for row in rows
    ]
    return "\n".join(lines)
