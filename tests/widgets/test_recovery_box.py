"""The comparison in the explorer of what brings accuracy back, beside ce.recover itself."""

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import compress_explorer as ce
from compress_explorer.engine.training.recover import recover
from compress_explorer.figures import text
from compress_explorer.spec.errors import DataError
from compress_explorer.spec.evaluation import Evaluation, Interval
from compress_explorer.spec.recovery import ONE_SHOT, Recovery, RecoveryPoint
from compress_explorer.spec.size import SizeReport
from compress_explorer.widgets import recovery_box
from compress_explorer.widgets.explorer import Explorer
from compress_explorer.widgets.recovery_box import recovery_html, sentence
from tests.widgets.test_explorer import small_data, small_model

RECIPE = ce.Recipe(ce.Step("magnitude", sparsity=0.8))


def normed_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)).eval()


def opened(model: nn.Module, train: int = 400) -> Explorer:
    learned_from = small_data(model, train) if train else None
    return ce.explore(model, recipe=RECIPE, test=small_data(model), train=learned_from)


@pytest.fixture
def explorer() -> Iterator[Explorer]:
    shown = opened(normed_model())
    yield shown
    shown.close()


def test_it_shows_what_ce_recover_finds(explorer):
    explorer.wait(60)
    before = explorer.state
    explorer._recovery.start.click()
    explorer._recovery.wait(120)
    expected = ce.recover(normed_model(), RECIPE, explorer._open_engine().task)
    found = explorer._recovery.found.value
    assert found == recovery_html(expected)
    assert [point.name for point in expected.points] == [ONE_SHOT, "Batch norm recalibration", "Fine-tuning"]
    for point in expected.points:
        assert text.percent(point.evaluation.value) in found
        assert text.in_bytes(point.size.file) in found
    assert explorer.state == before


def test_a_change_ends_it_and_what_was_found_is_of_the_past(explorer, monkeypatch):
    explorer.wait(60)
    explorer._recovery.start.click()
    explorer._recovery.wait(120)
    explorer._panel.layer.value = explorer._panel.layer.options[1]
    assert explorer._recovery.found.value, "another layer's histogram changes no accuracy"
    explorer._panel.parameters["sparsity"].value = 0.5
    assert explorer._recovery.found.value == ""
    going_on, ended = threading.Event(), threading.Event()

    def endless(*_: object, progress, stop, **__: object) -> Recovery:
        for step in itertools.count():
            progress(f"step {step}")
            going_on.set()
            if stop():
                ended.set()
                return Recovery("test", None, (), complete=False)
        raise AssertionError

    monkeypatch.setattr("compress_explorer.widgets.explorer.recover", endless)
    explorer._recovery.start.click()
    assert going_on.wait(60)
    assert "step" in explorer._recovery.found.value
    explorer._panel.parameters["sparsity"].value = 0.6
    assert ended.wait(60)
    explorer._recovery.wait(60)
    assert explorer._recovery.found.value == ""


def test_cancel_ends_it_and_shows_what_was_found_by_then(explorer, monkeypatch):
    explorer.wait(60)
    box, waits, cancelled = explorer._recovery, threading.Event(), threading.Event()
    expected = ce.recover(normed_model(), RECIPE, explorer._open_engine().task)

    def until_fine_tuning(*given: Any, progress: Callable[[str], None], **options: Any) -> Recovery:
        def tell(words: str) -> None:
            if "fine-tune" in words:
                waits.set()
                assert cancelled.wait(60)
            progress(words)

        return recover(*given, progress=tell, **options)

    monkeypatch.setattr("compress_explorer.widgets.explorer.recover", until_fine_tuning)
    box.start.click()
    assert waits.wait(60)
    explorer._panel.cancel.click()
    cancelled.set()
    box.wait(60)
    known = Recovery(expected.split, expected.baseline, expected.points[:2], complete=False)
    assert box.found.value == recovery_html(known)
    assert "Cancelled" in box.found.value
    monkeypatch.undo()
    box.start.click()
    box.wait(120)
    assert box.found.value == recovery_html(expected)
    box.cancel()
    assert box.found.value == recovery_html(expected), "what is finished stays"


def test_without_a_train_split_it_says_so_and_the_next_move_works():
    explorer = opened(small_model(), train=0)
    try:
        explorer._recovery.start.click()
        with pytest.raises(DataError, match="train"):
            explorer._recovery.wait(60)
        assert "role='alert'" in explorer._recovery.found.value
        explorer._panel.parameters["sparsity"].value = 0.5
        explorer.wait(60)
        assert explorer._recovery.found.value == ""
    finally:
        explorer.close()


def test_closing_ends_a_training_that_is_under_way():
    explorer = opened(normed_model())
    explorer._recovery.start.click()
    worker = explorer._recovery._jobs._worker
    explorer.close()
    assert not worker.is_alive()


def point(name: str, value: float, gain: float | None = None, noise: float = 0.01) -> RecoveryPoint:
    return RecoveryPoint(
        name=name,
        recipe=RECIPE,
        size=SizeReport((), 1200, 0, 4000, "float32"),
        evaluation=Evaluation(value, Interval(0, 1), 100, 100, "test", value - 0.9, Interval(-1, 1)),
        gain=gain,
        gain_interval=None if gain is None else Interval(gain - noise, gain + noise),
    )


def test_the_sentence_says_what_the_points_say():
    for points, words in [
        ((point("One-shot", 0.6), point("A", 0.85, 0.25)), "A brings back 25.00 of the 30.00 points"),
        ((point("One-shot", 0.6), point("A", 0.85, 0.25), point("B", 0.8, 0.2)), "A brings back 25.00"),
        ((point("One-shot", 0.6), point("A", 0.91, 0.31)), "A brings back all of the 30.00 points"),
        ((point("One-shot", 0.6), point("A", 0.602, 0.002)), "nothing beyond noise comes back"),
        ((point("One-shot", 0.9), point("A", 0.91, 0.01)), "Nothing was lost at once."),
        ((point("One-shot", 0.6),), ""),
    ]:
        assert words in sentence(Recovery("test", None, points, complete=True))
    assert "Cancelled" in sentence(Recovery("test", None, (), complete=False))
    assert "<table>" not in recovery_html(Recovery("test", None, (), complete=False))


def test_names_and_words_are_escaped():
    strange = Recovery("test", None, (point("<b>", 0.5),), complete=True)
    assert "<b>" not in recovery_html(strange)
    assert "<i>" not in recovery_box._words_html("<i>")
