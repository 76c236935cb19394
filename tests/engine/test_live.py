"""The live engine with real threads: counts and orders, never times."""

import gc
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from compress_explorer.engine.bench import WHOLE_MODEL
from compress_explorer.engine.compress import compress
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.film import curve_order
from compress_explorer.engine.live import COUNTING, LiveEngine
from compress_explorer.engine.setting import Setting, numeric_parameters
from compress_explorer.engine.task import Split, Task, accuracy
from compress_explorer.engine.update import Update
from compress_explorer.spec.errors import DataError, ModelError
from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.sweep import Frame
from tests.case import case
from tests.engine.recipes import FREE, few_steps_of, step_id
from tests.engine.tasks import network, samples, task

TASK = task()
MODEL = network()
PATIENCE = 120.0


class Recorder:
    """Keeps every update."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self._news = threading.Condition()

    def __call__(self, update: Update) -> None:
        with self._news:
            self.updates.append(update)
            self._news.notify_all()

    def until(self, wanted: Callable[[Update], bool], start: int = 0) -> Update:
        """The first update after `start` that is wanted, when it comes."""
        with self._news:
            came = self._news.wait_for(lambda: any(map(wanted, self.updates[start:])), PATIENCE)
            assert came
            return next(update for update in self.updates[start:] if wanted(update))

    def complete(self, request: int) -> Update:
        """The update that ends a request's work: its whole curve is known."""
        return self.until(lambda update: _completes(update, request))

    def some(self, count: int, start: int, request: int) -> None:
        """Waits for so many updates after `start`, or the end of the request's work."""
        self.until(lambda update: len(self.updates) >= start + count or _completes(update, request), start)


def _completes(update: Update, request: int) -> bool:
    return (update.request, update.kind, update.text) == (request, "status", "")


class Gate:
    """Accuracy that waits before each batch while the gate is closed."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.reached.set()
        assert self.open.wait(PATIENCE)
        return accuracy(outputs, targets)


@contextmanager
def opened(listener: Callable[[Update], None], own: Task = TASK, model: nn.Module = MODEL) -> Iterator[LiveEngine]:
    engine = LiveEngine(model, own, listener)
    try:
        yield engine
    finally:
        engine.close()
        engine.join()
        assert not engine._worker.is_alive()


def setting(step: Step, parameter: str | None = None, layer: str = WHOLE_MODEL, split: str = "test") -> Setting:
    from compress_explorer.methods.catalogue import complete

    return Setting(Recipe(complete(step)), 0, parameter or numeric_parameters(step.method)[0], layer, split)


def bits(number: int) -> Setting:
    return setting(Step("integer", bits=number))


def sparsity(share: float) -> Setting:
    return setting(Step("magnitude", sparsity=share))


def own_evaluation(update: Update) -> Evaluation | None:
    assert update.sweep is not None
    return update.sweep.evaluations[update.own]


def expected(recipe: Recipe, own: Task = TASK) -> tuple[Evaluation, int]:
    """Accuracy and file size of a recipe, directly."""
    compressed = compress(MODEL, recipe)
    return evaluate(compressed, own), compressed.size().file


def shown(frame: Frame | None) -> Frame:
    assert frame is not None
    return frame


# The numbers are those of the plain calls.


@pytest.mark.parametrize("method", FREE, ids=lambda method: method.name)
def test_the_answer_is_that_of_evaluate_and_compress(method):
    news = Recorder()
    with opened(news) as engine:
        for step in few_steps_of(method):
            with case(step_id(step)):
                check_answer(engine, news, setting(step))


def check_answer(engine: LiveEngine, news: Recorder, asked: Setting) -> None:
    number = engine.request(asked)
    engine.wait(PATIENCE)
    answer = news.until(lambda update: update.state == "exact" and update.request == number)
    assert answer.sweep is not None
    assert answer.sweep.values[answer.own] == asked.value
    evaluation, file = expected(asked.recipe)
    assert own_evaluation(answer) == evaluation
    assert shown(answer.sweep.frames[answer.own]).exact
    assert shown(answer.sweep.frames[answer.own]).file == file


def test_recipes_of_several_steps_and_other_splits_are_answered():
    news = Recorder()
    recipe = Recipe([*sparsity(0.5).recipe, *bits(3).recipe])
    asked = Setting(recipe, 0, "sparsity", "4.weight", "validation")
    with opened(news) as engine:
        engine.request(asked)
        engine.wait(PATIENCE)
        answer = news.until(lambda update: update.state == "exact")
    assert own_evaluation(answer) == evaluate(compress(MODEL, recipe), TASK, "validation")
    assert answer.sweep is not None
    frame = shown(answer.sweep.frames[answer.own])
    assert sum(frame.histogram.before) == 24 * 5


@pytest.mark.parametrize(
    "asked",
    [bits(5), sparsity(0.77), setting(Step("random", sparsity=0.5), "seed"), setting(Step("binary", bits=2))],
    ids=["bits", "sparsity", "seed", "without-preview"],
)
def test_the_whole_curve_is_filled_with_exact_points(asked):
    news = Recorder()
    own = task(test=1500)
    with opened(news, own) as engine:
        number = engine.request(asked)
        curve = news.complete(number).sweep
    assert curve is not None
    assert asked.value in curve.values
    assert curve.baseline == evaluate(MODEL, own)
    for value, evaluation, frame in zip(curve.values, curve.evaluations, curve.frames, strict=True):
        assert (evaluation, shown(frame).file) == expected(asked.at(value).recipe, own)
        assert shown(frame).exact


def test_estimates_come_in_order_and_end_exact():
    news = Recorder()
    with opened(news) as engine:
        number = engine.request(bits(3))
        engine.wait(PATIENCE)
        news.complete(number)
    own = [update for update in news.updates if update.index == update.own and update.kind == "point"]
    counts = [0 if own_evaluation(update) is None else own_evaluation(update).count for update in own]  # type: ignore[union-attr]
    assert counts == sorted(counts)
    assert list(dict.fromkeys(counts)) == [0, 256, 512, 1024, 2048, 3000]
    assert [update.state for update in own if update.text] == ["estimating"] * 4
    assert own[1].text == "256 of 3,000"
    # Nothing of the curve is measured before the setting's own figure is exact.
    first_exact = next(place for place, update in enumerate(news.updates) if update.state == "exact")
    assert all(update.index == update.own for update in news.updates[:first_exact])


def test_previews_come_before_anything_is_counted():
    news = Recorder()
    with opened(news) as engine:
        for asked in (sparsity(0.4), bits(3)):
            begun = len(news.updates)
            engine.request(asked)
            engine.wait(PATIENCE)
            engine.cancel()
            first = next(update for update in news.updates[begun:] if update.setting == asked)
            assert (first.state, first.kind, first.text) == ("estimating", "status", COUNTING), asked
            assert first.sweep is not None
            assert not any(shown(frame).exact for frame in first.sweep.frames), asked


# The newest request wins.


def test_of_two_hundred_requests_only_the_first_and_the_last_are_served():
    news, gate = Recorder(), Gate()
    gate.open.clear()
    own = Task(name="gated", test=TASK.test, metric=gate)
    with opened(news, own) as engine:
        engine.request(sparsity(0.1))
        assert gate.reached.wait(PATIENCE)
        for index in range(199):
            last = engine.request(sparsity(round(0.2 + 0.003 * index, 3)))
        gate.open.set()
        engine.wait(PATIENCE)
        answer = news.until(lambda update: update.state == "exact")
        assert last == 200
    assert {update.request for update in news.updates} <= {1, 200}
    assert answer.setting == sparsity(0.794)
    assert own_evaluation(answer) == expected(answer.setting.recipe)[0]
    # The first request ended with the batch that was in flight.
    counts = [own_evaluation(update).count for update in news.updates if update.request == 1 and own_evaluation(update)]  # type: ignore[union-attr]
    assert max(counts, default=0) <= 256


def test_a_drag_at_full_speed_ends_at_its_last_value():
    news = Recorder()
    generator = random.Random(5)
    with opened(news) as engine:
        for _ in range(200):
            last = engine.request(sparsity(generator.randrange(100) / 100))
        engine.wait(PATIENCE)
        final = news.complete(last)
    numbers = [update.request for update in news.updates]
    assert numbers == sorted(numbers)
    assert own_evaluation(final) == expected(final.setting.recipe)[0]
    evaluated = {update.request for update in news.updates if update.state == "exact"}
    assert len(evaluated) < 20


def test_requests_may_come_from_several_threads():
    news = Recorder()
    with opened(news) as engine:
        threads = [threading.Thread(target=engine.request, args=(bits(number),)) for number in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        engine.wait(PATIENCE)
        answer = news.until(lambda update: update.request == 8 and update.state == "exact")
    assert own_evaluation(answer) == expected(answer.setting.recipe)[0]


class Shown:
    """What a display knows that takes from each update only the point that changed, and drops what is not newest."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.lock = threading.Lock()
        self.newest = 0
        self.family: Setting | None = None
        self.points: dict[Value, tuple[Frame | None, Evaluation | None]] = {}

    def request(self, engine: LiveEngine, asked: Setting) -> int:
        with self.lock:
            self.newest = engine.request(asked)
            return self.newest

    def __call__(self, update: Update) -> None:
        with self.lock:
            if update.request == self.newest and update.sweep is not None:
                points = dict(
                    zip(
                        update.sweep.values,
                        zip(update.sweep.frames, update.sweep.evaluations, strict=True),
                        strict=True,
                    )
                )
                if update.setting.family != self.family or points.keys() != self.points.keys():
                    self.family, self.points = update.setting.family, points
                elif update.kind == "point":
                    value = update.sweep.values[update.index]
                    self.points[value] = points[value]
        self.recorder(update)


@pytest.mark.parametrize("seed", range(4))
def test_no_point_of_the_curve_is_lost_when_requests_interrupt_the_filling(seed):
    display, generator = Shown(), random.Random(seed)
    own = task(test=600)
    with opened(display, own) as engine:
        for _ in range(12):
            seen = len(display.recorder.updates)
            number = display.request(engine, bits(generator.randrange(1, 9)))
            if generator.random() < 0.3:
                number = display.request(engine, setting(Step("power-of-two", bits=generator.randrange(2, 9))))
            display.recorder.some(generator.randrange(1, 15), seen, number)
        number = display.request(engine, bits(4))
        curve = display.recorder.complete(number).sweep
    assert curve is not None
    assert display.points == dict(zip(curve.values, zip(curve.frames, curve.evaluations, strict=True), strict=True))
    assert all(evaluation is not None and evaluation.exact for evaluation in curve.evaluations)
    assert all(shown(frame).exact for frame in curve.frames)


@pytest.mark.parametrize(("first", "then", "direction"), [(0.5, 0.6, 1), (0.5, 0.4, -1)])
def test_the_curve_is_filled_from_the_neighbours_in_the_drags_direction(first, then, direction):
    news = Recorder()
    own = task(test=600)
    with opened(news, own) as engine:
        engine.request(sparsity(first))
        engine.wait(PATIENCE)
        engine.cancel()
        number = engine.request(sparsity(then))
        final = news.complete(number)
    told = [update for update in news.updates if update.kind == "point"]
    before = {update.index for update in told if update.request < number}
    after = [update.index for update in told if update.request == number and update.index not in before]
    order = curve_order(100, final.own, direction)
    assert list(dict.fromkeys(after))[1:] == [index for index in order if index not in before][: len(set(after)) - 1]
    assert len(before) < 50


# What is known is not measured again.


def counting(calls: list[int]) -> nn.Module:
    """The network, with a hook that counts the samples of every forward pass, of its copies too."""
    model = network()
    model.register_forward_hook(lambda _module, inputs, _outputs: calls.append(len(inputs[0])))
    return model


def test_going_back_to_what_was_seen_runs_no_forward_pass():
    news, calls = Recorder(), list[int]()
    with opened(news, model=counting(calls)) as engine:
        news.complete(engine.request(bits(4)))
        # Eight positions and the baseline, each sample once.
        assert sum(calls) == 9 * 3000
        for number in (3, 8, 4):
            request = engine.request(bits(number))
            engine.wait(PATIENCE)
            assert own_evaluation(news.complete(request)) == expected(bits(number).recipe)[0]
        other = setting(Step("integer", bits=4), layer="4.weight")
        news.complete(engine.request(other))
        assert sum(calls) == 9 * 3000


def test_a_layer_of_its_own_shows_other_counts_and_the_same_accuracy():
    news = Recorder()
    with opened(news) as engine:
        news.complete(engine.request(bits(4)))
        final = news.complete(engine.request(setting(Step("integer", bits=4), layer="4.weight")))
    assert final.sweep is not None
    assert own_evaluation(final) == expected(bits(4).recipe)[0]
    assert sum(shown(final.sweep.frames[final.own]).histogram.before) == 24 * 5


def test_an_interrupted_measurement_goes_on_where_it_stopped():
    news, gate, calls = Recorder(), Gate(), list[int]()
    own = Task(name="gated", test=TASK.test, metric=gate)
    with opened(news, own, counting(calls)) as engine:
        gate.open.clear()
        engine.request(bits(4))
        assert gate.reached.wait(PATIENCE)
        engine.request(bits(5))
        gate.open.set()
        engine.wait(PATIENCE)
        news.complete(engine.request(bits(4)))
    assert sum(calls) == 9 * 3000


# Cancel.


def test_cancel_stops_and_the_next_request_works():
    news, gate = Recorder(), Gate()
    own = Task(name="gated", test=TASK.test, metric=gate)
    with opened(news, own) as engine:
        gate.open.clear()
        number = engine.request(bits(4))
        assert gate.reached.wait(PATIENCE)
        engine.cancel()
        engine.wait(PATIENCE)  # returns although nothing is exact
        gate.open.set()
        stopped = news.until(lambda update: update.state == "cancelled")
        assert (stopped.request, stopped.text) == (number, "cancelled")
        again = engine.request(bits(4))
        engine.wait(PATIENCE)
        answer = news.until(lambda update: update.request == again and update.state == "exact")
    assert own_evaluation(answer) == expected(bits(4).recipe)[0]


def test_what_is_exact_stays_so_when_the_rest_of_the_curve_is_cancelled():
    news, gate = Recorder(), Gate()
    own = Task(name="gated", test=TASK.test, metric=gate)
    with opened(news, own) as engine:
        engine.request(sparsity(0.5))
        engine.wait(PATIENCE)
        gate.open.clear()
        gate.reached.clear()
        assert gate.reached.wait(PATIENCE)
        engine.cancel()
        gate.open.set()
        stopped = news.until(lambda update: update.text == "cancelled")
    assert stopped.state == "exact"


# Errors.


class Failing:
    """Accuracy that raises while told to, from the third batch on."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.fails = False
        self.batches = 0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.batches += 1
        if self.fails and self.batches > 4:
            raise self.error
        return accuracy(outputs, targets)


def test_an_error_midway_is_told_raised_by_wait_and_recovered_from():
    news, metric = Recorder(), Failing(ZeroDivisionError("no positives"))
    metric.fails = True
    own = Task(name="failing", test=TASK.test, metric=metric)
    with opened(news, own) as engine:
        number = engine.request(bits(4))
        with pytest.raises(DataError, match="ZeroDivisionError: no positives") as caught:
            engine.wait(PATIENCE)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        with pytest.raises(DataError):
            engine.wait(PATIENCE)
        told = news.until(lambda update: update.state == "error")
        assert (told.request, told.error, told.kind) == (number, caught.value, "status")
        assert "no positives" in told.text
        metric.fails = False
        again = engine.request(bits(4))
        engine.wait(PATIENCE)
        answer = news.until(lambda update: update.request == again and update.state == "exact")
    assert own_evaluation(answer) == expected(bits(4).recipe)[0]


def test_even_an_exit_asked_for_by_the_metric_does_not_end_the_worker():
    news, metric = Recorder(), Failing(SystemExit("stop"))
    metric.fails = True
    own = Task(name="failing", test=TASK.test, metric=metric)
    with opened(news, own) as engine:
        engine.request(bits(4))
        with pytest.raises(SystemExit):
            engine.wait(PATIENCE)
        metric.fails = False
        engine.request(bits(4))
        engine.wait(PATIENCE)


def test_a_loader_that_fails_once_is_tried_again():
    def second() -> tuple[Tensor, Tensor]:
        if not failed:
            failed.append(True)
            raise ConnectionError("no route")
        return samples(3000)

    news, failed = Recorder(), list[bool]()
    own = Task(name="lazy", test=Split.lazy(second, 3000))
    with opened(news, own) as engine:
        engine.request(bits(4))
        with pytest.raises(DataError, match="ConnectionError: no route"):
            engine.wait(PATIENCE)
        engine.request(bits(5))
        engine.wait(PATIENCE)
        answer = news.until(lambda update: update.state == "exact")
    assert own_evaluation(answer) == expected(bits(5).recipe)[0]


def test_the_error_of_an_older_request_is_not_told_after_a_newer_one():
    news, gate = Recorder(), Gate()

    def metric(outputs: Tensor, targets: Tensor) -> Tensor:
        if not gate.open.is_set():
            gate(outputs, targets)
            raise ZeroDivisionError("of the older request")
        return accuracy(outputs, targets)

    own = Task(name="gated", test=TASK.test, metric=metric)
    with opened(news, own) as engine:
        gate.open.clear()
        engine.request(bits(4))
        assert gate.reached.wait(PATIENCE)
        number = engine.request(bits(5))
        gate.open.set()
        engine.wait(PATIENCE)
        news.complete(number)
    assert all(update.state != "error" for update in news.updates)


def test_a_listener_that_fails_does_not_end_the_worker():
    news = Recorder()
    broken = threading.Event()
    broken.set()

    def listener(update: Update) -> None:
        if broken.is_set():
            raise RuntimeError("the display is gone")
        news(update)

    with opened(listener) as engine:
        engine.request(bits(4))
        with pytest.raises(RuntimeError, match="the display is gone"):
            engine.wait(PATIENCE)
        broken.clear()
        engine.request(bits(4))
        engine.wait(PATIENCE)
        answer = news.until(lambda update: update.state == "exact")
    assert own_evaluation(answer) == expected(bits(4).recipe)[0]


def test_waiting_too_long_says_what_to_do():
    gate = Gate()
    gate.open.clear()
    own = Task(name="gated", test=TASK.test, metric=gate)
    with opened(Recorder(), own) as engine:
        engine.request(bits(4))
        with pytest.raises(TimeoutError, match=r"after 0\.01 s.*cancel\(\)"):
            engine.wait(0.01)
        gate.open.set()


def test_a_model_that_cannot_be_compressed_opens_nothing():
    before = threading.active_count()
    with pytest.raises(ModelError):
        LiveEngine(nn.ReLU(), TASK, Recorder())
    assert threading.active_count() == before


# The caller's model, and the end.


def test_what_becomes_of_the_callers_model_changes_nothing():
    news, model = Recorder(), network()
    with opened(news, model=model) as engine:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1)
        final = news.complete(engine.request(sparsity(0.3)))
    assert own_evaluation(final) == expected(sparsity(0.3).recipe)[0]


def test_closing_ends_the_thread_and_frees_the_memory():
    model, own, news = network(), task(), Recorder()
    engine = LiveEngine(model, own, news)
    engine.request(sparsity(0.5))
    engine.wait(PATIENCE)
    worker = engine._worker
    watched = [weakref.ref(thing) for thing in (engine, engine.bench, engine.bench.model, own, own.test.inputs)]
    watched += [weakref.ref(model), weakref.ref(model[0].weight)]
    assert worker.is_alive()
    engine.close()
    engine.wait(PATIENCE)
    engine.join()
    assert not worker.is_alive()
    del model, own, news, engine
    gc.collect()
    assert [reference() for reference in watched] == [None] * 7


def test_closing_lets_waiters_go():
    gate = Gate()
    gate.open.clear()
    own = Task(name="gated", test=TASK.test, metric=gate)
    engine = LiveEngine(MODEL, own, Recorder())
    engine.request(bits(4))
    waiter = threading.Thread(target=engine.wait)
    waiter.start()
    engine.close()
    waiter.join(PATIENCE)
    assert not waiter.is_alive()
    gate.open.set()
    engine.join()
    assert not engine._worker.is_alive()
