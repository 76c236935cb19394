"""What the engine costs by itself: import, opening a large model, frames from the index, exact accuracy, long use."""

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch
from torch import nn

import compress_explorer as ce
from benchmarks import growth
from benchmarks.growth import setting, task_for
from compress_explorer.engine.bench import Bench
from compress_explorer.engine.evaluate import measure
from compress_explorer.engine.evaluation_cache import SHARED, EvaluationCache
from compress_explorer.engine.film import Film
from compress_explorer.engine.live import LiveEngine
from compress_explorer.engine.measurements import Measurements
from compress_explorer.methods.weight_index import WeightIndex

PROCESS = psutil.Process()
MOVES = 10_000


@dataclass(frozen=True)
class Figure:
    """One budget and what was measured."""

    what: str
    budget: str
    measured: str


def seconds(function: Callable[[], object], rounds: int = 3) -> float:
    """The median time of a call."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def imported() -> Figure:
    """What the package adds to importing torch."""

    def start(statement: str) -> float:
        return seconds(lambda: subprocess.run([sys.executable, "-c", statement], check=True), rounds=5)

    bare, ours = start("import torch"), start("import torch, compress_explorer")
    return Figure("import, beside torch", "0.5 s more", f"{ours - bare:.2f} s more than {bare:.2f} s")


def opened() -> Figure:
    """From `ce.explore()` to exact numbers."""

    def explore() -> None:
        SHARED.clear()  # nothing is known from the round before
        explorer = ce.explore()
        explorer.wait()
        explorer.close()

    return Figure("ce.explore() until its accuracy is exact, in the kernel", "3 s", f"{seconds(explore):.2f} s")


def indexed() -> Figure:
    """The index of 100 million weights, and the memory that building it takes."""
    weight = torch.randn(100_000_000, generator=torch.Generator().manual_seed(0))
    before = PROCESS.memory_info().rss
    highest = [before]

    def build() -> None:
        WeightIndex.build(weight)
        highest.append(PROCESS.memory_info().rss)

    took = seconds(build)
    share = (max(highest) - before) / weight.nbytes
    return Figure(
        "index of 100 million weights",
        "0.8 s; 1.3 times the model's memory",
        f"{took:.2f} s; {1 + share:.2f} times",
    )


def filmed() -> list[Figure]:
    """All frames of a slider, from models of 10^4 to 10^8 weights whose index is built."""
    found = []
    for width in (100, 1_000, 10_000):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(width, width, bias=False))
        bench = Bench(model)
        measurements = Measurements(bench, task_for(width), EvaluationCache())
        first = setting(ce.Step("magnitude", sparsity=0.5))
        Film(bench, measurements, first, 0)
        took = seconds(lambda: Film(bench, measurements, first, 0))  # noqa: B023 -- called at once
        what = f"all {len(first.declaration.positions())} frames, {width**2:,} weights"
        found.append(Figure(what, "50 ms", f"{1000 * took:.0f} ms"))
    return found


def evaluated() -> list[Figure]:
    """Exact accuracy beside one plain pass over the test images in batches of 256."""
    found = []
    for name in ce.models():
        model, task = ce.load(name)

        def plain(model: nn.Module = model, task: ce.Task = task) -> None:
            with torch.no_grad():
                for inputs, _ in zip(task.test.inputs.split(256), task.test.targets.split(256), strict=True):
                    model(inputs).argmax(1)

        def exact(model: nn.Module = model, task: ce.Task = task) -> None:
            for _ in measure(model, task):
                pass

        plain(), exact()
        ratio = statistics.median(seconds(exact, 1) / seconds(plain, 1) for _ in range(5))
        found.append(Figure(f"exact accuracy of {name}", "1.1 of a plain pass", f"{ratio:.2f} of a plain pass"))
    return found


def moved() -> list[Figure]:
    """How long a slider's move takes until its histogram and size are known, at 10^4 to 10^8 weights."""
    found = growth.moves()
    rows = []
    for what, times in (
        ("a move along the slider", [entry.along for entry in found]),
        ("a move to another method's slider", [entry.across for entry in found]),
    ):
        medians = [1000 * statistics.median(each) for each in times]
        listed = ", ".join(f"{median:.1f}" for median in medians)
        weights = f"{found[0].weights:,} to {found[-1].weights:,} weights"
        grown = f"{listed} ms; the last {medians[-1] / medians[0]:.1f} times the first"
        rows.append(Figure(f"{what}, to histogram and size, {weights}", "flat, 50 ms", grown))
    return rows


def grown() -> list[Figure]:
    """What an evaluation takes by sample, at ever more samples; of the networks whose test split has as many."""
    rows = []
    for name in ce.models():
        if len(ce.load(name)[1].test) < growth.SAMPLES[-1]:
            continue
        found = growth.evaluations(name)
        samples = ", ".join(f"{count:,}" for count, _, _ in found)
        times = ", ".join(f"{each:.1f}" for _, each, _ in found)
        ratios = ", ".join(f"{ratio:.2f}" for _, _, ratio in found)
        rows.append(
            Figure(
                f"an evaluation of {name} on {samples} samples",
                "no more by sample; 1.1 of a plain pass",
                f"{times} µs a sample; {ratios} of a plain pass",
            )
        )
    return rows


def unforeseen() -> list[Figure]:
    """Until the first estimate of a setting of which nothing is known."""
    rows = []
    for name in ce.models():
        found = growth.first_estimates(name)
        slowest = max(found.unforeseen, key=lambda method: found.unforeseen[method])
        median = 1000 * statistics.median(found.unforeseen.values())
        methods = f"{len(found.unforeseen)} methods not foreseen"
        measured = f"{median:.0f} ms the median, {1000 * found.unforeseen[slowest]:.0f} ms the slowest, {slowest}"
        rows.append(Figure(f"first estimate of {name}, {methods}", "300 ms", measured))
        opening = f"{1000 * found.opening:.0f} ms"
        rows.append(Figure(f"first estimate of {name} ever, the data read", "3 s", opening))
    return rows


def used() -> list[Figure]:
    """Memory after 10,000 moves of a slider beside that after 100, and the processor's time when nothing moves."""
    model, task = ce.load("digits-mlp")
    engine = LiveEngine(model, task, lambda _: None, cache=EvaluationCache())
    positions = setting(ce.Step("magnitude")).declaration.positions()
    sizes = {}
    for move in range(1, MOVES + 1):
        engine.request(setting(ce.Step("magnitude", sparsity=float(positions[move % len(positions)]))))
        time.sleep(0.001)
        if move in (100, MOVES):
            engine.wait(120)
            gc.collect()
            sizes[move] = PROCESS.memory_info().rss
    engine.wait(120)
    time.sleep(5)
    before = sum(PROCESS.cpu_times()[:2])
    time.sleep(5)
    idle = sum(PROCESS.cpu_times()[:2]) - before
    engine.close()
    engine.join()
    return [
        Figure("memory after 10,000 moves, beside after 100", "within 5 %", f"{sizes[MOVES] / sizes[100] - 1:+.1%}"),
        Figure("processor's time in 5 s in which nothing moves", "none", f"{1000 * idle:.0f} ms"),
    ]


def run() -> list[Figure]:
    """Every budget."""
    return [imported(), opened(), indexed(), *filmed(), *moved(), *evaluated(), *grown(), *unforeseen(), *used()]


def table(figures: list[Figure]) -> str:
    """The figures as Markdown."""
    lines = ["| what | budget | measured |", "|---|---|---|"]
    return "\n".join(lines + [f"| {entry.what} | {entry.budget} | {entry.measured} |" for entry in figures])
