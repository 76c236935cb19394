"""Faults put in by force: memory that runs short, a worker that is killed, an interrupt. The next move works."""

import ctypes
import queue
import threading
import time

import pytest
import torch
from torch import Tensor, nn

from compress_explorer.engine.bench import WHOLE_MODEL
from compress_explorer.engine.compress import compress
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.live import MOST_RESTARTS, LiveEngine
from compress_explorer.engine.memory import in_parts, is_out_of_memory
from compress_explorer.engine.requests import Requests
from compress_explorer.engine.sensitivity import sensitivity
from compress_explorer.engine.setting import Setting
from compress_explorer.engine.sweep import sweep
from compress_explorer.engine.update import Update
from compress_explorer.spec.errors import DataError
from compress_explorer.spec.recipe import Recipe, Step
from tests.engine.tasks import network, task

POINTS = task(test=1300)


class Hungry(nn.Module):
    """Takes as much memory as there is not, for more than so many samples at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.network, self.most, self.batches = network(), most, []  # type: ignore[var-annotated]

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            torch.empty(2**60, dtype=torch.uint8)
        self.batches.append(len(x))
        y: Tensor = self.network(x)
        return y


def test_torch_says_by_which_words_memory_ran_short():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    error = DataError("the model cannot take inputs")
    error.__cause__ = caught.value
    assert is_out_of_memory(error)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_parts_are_halves_in_order():
    asked = []

    def compute(places: range) -> list[int]:
        asked.append(len(places))
        if len(places) > 3:
            raise MemoryError
        return list(places)

    assert in_parts(compute, range(9)) == [[0, 1], [2, 3], [4, 5], [6, 7, 8]]
    assert asked == [9, 4, 2, 2, 5, 2, 3]


def test_one_sample_that_is_too_much_is_an_error():
    with pytest.raises(DataError, match=r"allocate memory|not enough memory"):
        evaluate(Hungry(0), POINTS)


@pytest.mark.parametrize("most", [100, 256])
def test_a_batch_that_is_too_large_is_halved(most: int):
    measured = evaluate(Hungry(most), POINTS)
    assert measured == evaluate(network(), POINTS)


def test_the_layers_of_a_sensitivity_are_halved_too():
    found, expected = (
        sensitivity(model, POINTS, "magnitude", sparsity=[0.5, 0.9]) for model in (Hungry(100), network())
    )
    assert found.evaluations == expected.evaluations


class News:
    """What the engine tells."""

    def __init__(self) -> None:
        self.updates: queue.Queue[Update] = queue.Queue()

    def texts(self) -> list[str]:
        return [self.updates.get_nowait().text for _ in range(self.updates.qsize())]


def setting(sparsity: float) -> Setting:
    return Setting(Recipe(Step("magnitude", sparsity=sparsity)), 0, "sparsity", WHOLE_MODEL, "test")


def kill(thread: threading.Thread) -> None:
    """Ends a thread by force: SystemExit at its next instruction."""
    assert thread.ident is not None
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_long(thread.ident), ctypes.py_object(SystemExit)) == 1


def test_a_killed_worker_begins_again_says_so_and_loses_nothing():
    news = News()
    engine = LiveEngine(network(), POINTS, news.updates.put)
    try:
        engine.request(setting(0.5))
        while (update := news.updates.get(timeout=60)).kind != "status" or update.text:
            pass
        while not engine._requests.changed._waiters:  # type: ignore[attr-defined]
            time.sleep(0.01)  # the curve is filled: in a moment the worker waits for the next request
        kill(engine._worker)
        engine.request(setting(0.7))  # wakes it, so that it is ended
        engine.wait(60)
        assert engine._worker.is_alive()
        assert "the worker was ended and was started again" in news.texts()
        calls = []
        engine.bench.model.register_forward_hook(lambda *_: calls.append(1))
        engine.request(setting(0.5))
        engine.wait(60)
        assert calls == []  # what was measured is still known
    finally:
        engine.close()
        engine.join()
    assert not engine._worker.is_alive()


def test_a_worker_that_is_killed_again_and_again_gives_up_until_the_next_request(monkeypatch: pytest.MonkeyPatch):
    engine = LiveEngine(network(), POINTS, lambda _: None)
    begun = []

    def die(*_: object) -> None:
        begun.append(1)
        raise SystemExit

    try:
        # Outside of what _work guards, as if the thread itself were killed each time it takes up the request.
        monkeypatch.setattr(Requests, "is_stale", lambda *_: die())
        monkeypatch.setattr(LiveEngine, "_tell_error", die)
        engine.request(setting(0.5))
        with pytest.raises(RuntimeError, match="ended by force 4 times in a row"):
            engine.wait(60)
        assert len(begun) == 2 * (MOST_RESTARTS + 1)
        monkeypatch.undo()
        engine.request(setting(0.7))
        engine.wait(60)
    finally:
        engine.close()
        engine.join()
    assert not engine._worker.is_alive()


def test_an_interrupt_in_a_sweep_leaves_everything_as_it_was():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def interrupt(done: int, _total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(model, POINTS, "magnitude", sparsity=[0.2, 0.5, 0.8], progress=interrupt)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    (found,) = sweep(model, POINTS, "magnitude", sparsity=[0.5]).evaluations
    assert found == evaluate(compress(model, Step("magnitude", sparsity=0.5)), POINTS)


def test_two_engines_of_one_model_do_not_disturb_each_other():
    model = network()
    found: dict[str, list[Update]] = {"first": [], "second": []}
    engines = {name: LiveEngine(model, POINTS, found[name].append) for name in found}
    try:
        for turn in range(5):
            for place, engine in enumerate(engines.values()):
                engine.request(setting((turn + 5 * place) / 10))
        for engine in engines.values():
            engine.wait(60)
        for place, name in enumerate(found):
            last = next(update for update in reversed(found[name]) if update.state == "exact" and update.sweep)
            assert last.sweep is not None
            evaluation = last.sweep.evaluations[last.own]
            (expected,) = sweep(model, POINTS, "magnitude", sparsity=[(4 + 5 * place) / 10]).evaluations
            assert evaluation == expected
    finally:
        for engine in engines.values():
            engine.close()
            engine.join()
