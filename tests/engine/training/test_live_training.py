"""Recipes with a training step in the live engine: only the setting itself is trained, and a stop is a pause."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from torch import nn

from compress_explorer.engine.bench import WHOLE_MODEL, Bench
from compress_explorer.engine.compress import compress
from compress_explorer.engine.context import Context
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.live import ITSELF_ALONE, LiveEngine
from compress_explorer.engine.setting import Setting
from compress_explorer.engine.task import Task
from compress_explorer.engine.training import loop, treat
from compress_explorer.engine.update import Update
from compress_explorer.methods.catalogue import complete
from compress_explorer.spec.errors import TrainingError
from compress_explorer.spec.recipe import Recipe, Step
from tests.engine.tasks import network, task
from tests.engine.test_live import PATIENCE, Recorder, opened, own_evaluation
from tests.engine.training.test_fine_tune import SPLIT, TUNE

POINTS = task(test=600)
TASK = Task(name="points", test=POINTS.test, train=SPLIT)


def setting(sparsity: float, *, step: int = 0, parameter: str = "sparsity", last: Step = TUNE) -> Setting:
    recipe = Recipe([complete(Step("magnitude", sparsity=sparsity)), complete(last)])
    return Setting(recipe, step, parameter, WHOLE_MODEL, "test")


def done(request: int) -> Callable[[Update], bool]:
    return lambda update: (update.request, update.kind, update.text) == (request, "status", ITSELF_ALONE)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps of every training that is begun, and of each how many were done."""
    counts: list[int] = []
    begin = loop.train

    def watched(*args, **options):
        counts.append(0)
        mine = len(counts) - 1
        for progress in begin(*args, **options):
            counts[mine] += 1
            yield progress

    monkeypatch.setattr(treat, "train", watched)
    return counts


def test_only_the_setting_itself_is_trained_and_the_curve_keeps_what_was_seen(counted, monkeypatch):
    monkeypatch.setattr("compress_explorer.engine.live.BETWEEN_WORDS", 0.0)
    news = Recorder()
    with opened(news, TASK, network()) as engine:
        for number, sparsity in enumerate((0.5, 0.6, 0.5), start=1):
            request = engine.request(setting(sparsity))
            engine.wait(PATIENCE)
            end = news.until(done(request))
            assert end.state == "exact"
            assert end.sweep is not None
            measured = [value for value, point in zip(end.sweep.values, end.sweep.evaluations, strict=True) if point]
            assert measured == ([0.5] if number == 1 else [0.5, 0.6])
    assert counted == [12, 12]  # and nothing for going back
    found = compress(network(), setting(0.6).recipe, TASK)
    expected = evaluate(found, TASK, baseline=network())
    answer = news.until(lambda update: update.request == 2 and update.state == "exact")
    assert own_evaluation(answer) == expected
    words = [update.text for update in news.updates if update.text.startswith("fine-tune ")]
    assert words
    assert all(update.state == "estimating" for update in news.updates if update.text in words)


def test_a_step_after_the_training_has_its_whole_curve_from_one_training(counted):
    news = Recorder()
    recipe = Recipe([complete(TUNE), complete(Step("integer", bits=3))])
    with opened(news, TASK, network()) as engine:
        request = engine.request(Setting(recipe, 1, "bits", WHOLE_MODEL, "test"))
        end = news.complete(request)
    assert end.sweep is not None
    assert all(point is not None and point.exact for point in end.sweep.evaluations)
    assert counted == [12]


def test_cancel_stops_between_two_steps_and_the_same_setting_goes_on_where_it_was(counted, monkeypatch):
    news, reached, going = Recorder(), threading.Event(), threading.Event()
    going.set()
    words = treat._words

    def held(*args):
        if counted[-1] == 5 and not going.is_set():
            reached.set()
            assert going.wait(PATIENCE)
        return words(*args)

    monkeypatch.setattr(treat, "_words", held)
    with opened(news, TASK, network()) as engine:
        first = engine.request(setting(0.5))
        engine.wait(PATIENCE)
        news.until(done(first))
        going.clear()
        second = engine.request(setting(0.7))
        assert reached.wait(PATIENCE)
        engine.cancel()
        engine.wait(PATIENCE)
        going.set()
        stopped = news.until(lambda update: update.text == "cancelled")
        assert (stopped.request, stopped.state) == (second, "cancelled")
        assert counted == [12, 5]
        back = engine.request(setting(0.7))
        engine.wait(PATIENCE)
        answer = news.until(lambda update: update.request == back and update.state == "exact")
        assert counted == [12, 12]
    whole = evaluate(compress(network(), setting(0.7).recipe, TASK), TASK, baseline=network())
    assert own_evaluation(answer) == whole


def test_a_training_that_diverges_is_an_error_and_the_next_setting_works():
    # A rate at which the first steps overflow.
    wild = TUNE.replace(optimiser="sgd", learning_rate=100.0, epochs=100)

    def absolute(outputs, targets):
        return (outputs - targets[:, None]).square().square().mean()

    own = Task(name="steep", test=POINTS.test, train=SPLIT, loss=absolute)
    news = Recorder()
    with opened(news, own, network()) as engine:
        engine.request(setting(0.5, last=wild))
        with pytest.raises(TrainingError, match=r"The loss became .* at step \d+ .*Lower learning_rate=100"):
            engine.wait(PATIENCE)
        told = news.until(lambda update: update.state == "error")
        assert "Lower learning_rate" in told.text
        engine.request(setting(0.5))
        engine.wait(PATIENCE)


def test_what_is_trained_otherwise_is_not_taken_for_what_was_measured_before():
    frozen = network()
    frozen[4].requires_grad_(False)
    usual, other = TASK, replace(TASK, loss=lambda o, t: nn.functional.cross_entropy(o, (t + 1) % 5))
    found = []
    for model, own in ((network(), usual), (frozen, usual), (network(), other)):
        news = Recorder()
        with opened(news, own, model) as engine:
            engine.request(setting(0.5))
            engine.wait(PATIENCE)
            found.append(own_evaluation(news.until(lambda update: update.state == "exact")))
        compressed = compress(model, setting(0.5).recipe, own)
        assert found[-1] == evaluate(compressed, own, baseline=model)
    assert len(set(found)) == 3


def test_a_bench_keeps_the_last_few_trainings(counted):
    bench = Bench(network(), Context(task=TASK))
    recipes = [setting(sparsity).recipe for sparsity in (0.1, 0.2, 0.3, 0.4, 0.5)]
    for recipe in recipes:
        bench.apply(recipe)
    assert len(counted) == 5
    last = [bench.apply(recipe) for recipe in recipes[1:]]
    assert len(counted) == 5
    assert bench.apply(recipes[4]) is last[-1]
    bench.apply(recipes[0])
    assert len(counted) == 6


def test_closing_ends_a_training_in_flight(counted):
    engine = LiveEngine(network(), TASK, lambda _update: None)
    engine.request(setting(0.5, last=TUNE.replace(epochs=10_000)))
    while not counted or counted[0] < 3:
        time.sleep(0.001)
    engine.close()
    engine.join(PATIENCE)
    assert not engine._worker.is_alive()
    assert counted[0] < 60_000
