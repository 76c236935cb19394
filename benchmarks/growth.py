"""How the live engine's work grows: a slider's move with the weights, an evaluation with the samples."""

import functools
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

import compress_explorer as ce
from compress_explorer.engine.bench import WHOLE_MODEL, Bench
from compress_explorer.engine.context import Context
from compress_explorer.engine.evaluation_cache import EvaluationCache
from compress_explorer.engine.live import LiveEngine
from compress_explorer.engine.measurements import Measurements
from compress_explorer.engine.setting import Setting, numeric_parameters
from compress_explorer.engine.task import Task
from compress_explorer.engine.update import Update
from compress_explorer.methods.catalogue import complete

MOVES = 9
WIDTHS = (100, 316, 1_000, 3_162, 10_000)
"""Of square layers of 10^4 to 10^8 weights."""

SAMPLES = (1_000, 2_000, 5_000, 10_000)
ROUNDS = 3


def setting(step: ce.Step) -> Setting:
    """A single step, seen on the whole model."""
    return Setting(ce.Recipe(complete(step)), 0, numeric_parameters(step.method)[0], WHOLE_MODEL, "test")


def task_for(inputs: int) -> Task:
    """A few samples, for models whose accuracy is of no interest."""
    return Task(name="random", test=ce.Split(torch.randn(8, inputs), torch.zeros(8, dtype=torch.int64)))


@dataclass
class Stopwatch:
    """A listener that notes when each update came."""

    begun: float = 0.0
    news: list[tuple[float, Update]] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, update: Update) -> None:
        """Notes an update."""
        with self.came:
            self.news.append((time.perf_counter() - self.begun, update))
            self.came.notify_all()

    def ask(self, engine: LiveEngine, asked: Setting, wanted: Callable[[Update], bool]) -> float:
        """Seconds from a request to the first update that is wanted; what is left of the work is then given up.

        Returns when the worker is at rest, so that the next request finds it so.
        """
        with self.came:
            self.news.clear()
            self.begun = time.perf_counter()
            request = engine.request(asked)
        took, _ = self._first(lambda update: update.request == request and wanted(update))
        engine.cancel()
        self._first(lambda update: update.request == request and (update.kind, update.text) in ENDS)
        return took

    def _first(self, wanted: Callable[[Update], bool]) -> tuple[float, Update]:
        with self.came:
            found: list[tuple[float, Update]] = []

            def any_came() -> bool:
                found.extend([entry for entry in self.news if wanted(entry[1])][:1])
                return bool(found)

            if not self.came.wait_for(any_came, 120):
                raise TimeoutError(f"No such news came; the last was {self.news[-1:]}.")
            return found[0]


ENDS = (("status", "cancelled"), ("status", ""))
"""Kind and text of the update with which the work on a request ends."""


def is_pictured(update: Update) -> bool:
    """Whether the setting's own histogram and size are known."""
    return update.sweep is not None and update.sweep.frames[update.own] is not None


def is_estimated(update: Update) -> bool:
    """Whether the setting's own accuracy is known with an interval."""
    return update.sweep is not None and update.sweep.evaluations[update.own] is not None


@dataclass(frozen=True)
class Moves:
    """Seconds from each request to its histogram and size, of a model of so many weights."""

    weights: int
    along: list[float]
    across: list[float]


def moves() -> list[Moves]:
    """Moves along one slider, and from one method's slider to another's, of models whose index is built."""
    found = []
    for width in WIDTHS:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(width, width, bias=False))
        watch = Stopwatch()
        engine = LiveEngine(model, task_for(width), watch, cache=EvaluationCache())
        shares = [round(0.9 * (move + 1) / MOVES, 2) for move in range(MOVES)]
        steps = [ce.Step("magnitude", sparsity=share) for share in shares]
        watch.ask(engine, setting(ce.Step("magnitude", sparsity=0.97)), is_pictured)
        along = [watch.ask(engine, setting(step), is_pictured) for step in steps]
        others = [ce.Step("integer", bits=4) if move % 2 == 0 else step for move, step in enumerate(steps)]
        across = [watch.ask(engine, setting(step), is_pictured) for step in others]
        found.append(Moves(width**2, along, across))
        engine.close()
        engine.join()
    return found


def evaluations(name: str) -> list[tuple[int, float, float]]:
    """(samples, microseconds a sample of a live evaluation, its time beside a plain pass over them), medians."""
    model, task = ce.load(name)
    bench = Bench(model, Context(task=task))
    measurements = Measurements(bench, task, EvaluationCache())
    measurements.baseline("test")
    # A new recipe each time: what was measured once is never measured again.
    recipes = iter([ce.Recipe(ce.Step("magnitude", sparsity=0.3 + 0.01 * entry)) for entry in range(40)])
    _measure(measurements, bench.check(next(recipes)), SAMPLES[0])  # a warm-up
    found = []
    for samples in SAMPLES:
        times, ratios = [], []
        for _ in range(ROUNDS):
            recipe = bench.check(next(recipes))
            network = bench.compressed(recipe).model
            plain = _seconds(functools.partial(_plain, network, task, samples))
            took = _seconds(functools.partial(_measure, measurements, recipe, samples))
            times.append(1e6 * took / samples)
            ratios.append(took / plain)
        found.append((samples, statistics.median(times), statistics.median(ratios)))
    return found


def _measure(measurements: Measurements, recipe: ce.Recipe, samples: int) -> None:
    """As the live engine does it, every estimate on the way with its intervals."""
    for _ in measurements.evaluate(recipe, "test", samples, lambda: False):
        pass


def _plain(model: nn.Module, task: Task, samples: int) -> None:
    """One pass over the first samples in batches of 256."""
    with torch.no_grad():
        for inputs in task.test.inputs[:samples].split(256):
            model(inputs).argmax(1)


def _seconds(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


OPENING = ce.Step("magnitude", sparsity=0.5)
UNFORESEEN = (
    ce.Step("magnitude-global", sparsity=0.77),
    ce.Step("random", sparsity=0.3),
    ce.Step("integer", bits=3, granularity="channel"),
    ce.Step("power-of-two", bits=4),
    ce.Step("k-means", clusters=8),
    ce.Step("nf4"),
)
"""Settings of other methods than that on which the engine was opened; each is asked for once."""


@dataclass(frozen=True)
class FirstEstimates:
    """Seconds from a request to the first estimate: of the first request of all, and of the unforeseen, by method."""

    opening: float
    unforeseen: dict[str, float]


def first_estimates(name: str) -> FirstEstimates:
    """Asks a fresh engine for one setting of each method."""
    model, task = ce.load(name)
    watch = Stopwatch()
    engine = LiveEngine(model, task, watch, cache=EvaluationCache())
    opening = watch.ask(engine, setting(OPENING), is_estimated)
    unforeseen = {step.method: watch.ask(engine, setting(step), is_estimated) for step in UNFORESEEN}
    engine.close()
    engine.join()
    return FirstEstimates(opening, unforeseen)
