"""Before weights are counted the processors are left to the page: a drag past a position costs it nothing."""

import threading

import pytest

from compress_explorer.engine import live
from compress_explorer.engine.bench import WHOLE_MODEL, Bench
from compress_explorer.engine.evaluation_cache import EvaluationCache
from compress_explorer.engine.live import COUNTING, LiveEngine
from compress_explorer.engine.requests import Requests
from compress_explorer.engine.setting import Setting
from compress_explorer.engine.update import Update
from compress_explorer.methods.catalogue import complete
from compress_explorer.spec.recipe import Recipe, Step
from tests.engine.tasks import network, task

LONG = 300.0


def setting(sparsity: float) -> Setting:
    return Setting(Recipe(complete(Step("magnitude", sparsity=sparsity))), 0, "sparsity", WHOLE_MODEL, "test")


def test_a_position_that_is_left_again_is_never_applied(monkeypatch: pytest.MonkeyPatch):
    """The rest would last five minutes: it ends when the slider moves on."""
    monkeypatch.setattr(live, "DRAW_FIRST", LONG)
    monkeypatch.setattr(live, "COUNTING_TIME", LONG)
    applied: set[float] = set()
    apply = Bench.apply

    def noted(self: Bench, recipe: Recipe):
        applied.update(float(dict(step.values)["sparsity"]) for step in recipe)
        return apply(self, recipe)

    monkeypatch.setattr(Bench, "apply", noted)
    passed, arrived = [0.31, 0.32, 0.33], threading.Event()

    def listener(update: Update) -> None:
        if update.text == COUNTING and passed:
            passed.pop(0)
            if not passed:
                monkeypatch.setattr(live, "DRAW_FIRST", 0.0)
            engine.request(setting(passed[0] if passed else 0.5))
        elif update.setting.value == 0.5 and update.state == "exact":
            arrived.set()

    engine = LiveEngine(network(), task(), listener, cache=EvaluationCache())
    engine.request(setting(passed[0]))
    assert arrived.wait(LONG)
    engine.close()
    engine.join()
    assert passed == []
    assert 0.5 in applied
    assert not applied & {0.31, 0.32, 0.33}


def test_a_rest_ends_with_a_newer_request_a_cancel_and_at_the_end():
    for end in (Requests.cancel, Requests.close, lambda requests: requests.put(setting(0.2))):
        requests = Requests()
        request = requests.put(setting(0.1))
        worker = threading.Thread(target=requests.rest, args=(request, LONG), daemon=True)
        worker.start()
        assert worker.is_alive()
        end(requests)
        worker.join(60)
        assert not worker.is_alive()
