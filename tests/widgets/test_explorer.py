"""The explorer without a browser: its state, its controls, its worker, and what it sends."""

import gc
import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from ipywidgets.widgets.widget import _instances
from torch import nn

import compress_explorer as ce
from compress_explorer.engine.setting import EXPLORABLE
from compress_explorer.spec.errors import ModelError
from compress_explorer.widgets.explorer import Explorer
from compress_explorer.widgets.state import first_state


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4))


def small_data(model: nn.Module, count: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(count, 20, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = model(inputs).argmax(dim=1)
    return inputs, labels


@pytest.fixture
def explorer() -> Iterator[Explorer]:
    model = small_model()
    test, validation, train = (small_data(model, count) for count in (600, 300, 200))
    opened = ce.explore(model, test=test, validation=validation, train=train)
    yield opened
    opened.close()


def expected(explorer: Explorer) -> tuple[int, float]:
    """Size and accuracy of the explorer's state, from the engine's own public calls."""
    model = small_model()
    inputs, labels = small_data(model, 600 if explorer.state.split == "test" else 300)
    compressed = ce.compress(model, explorer.state.recipe, explorer._open_engine().task)
    with torch.no_grad():
        right = int((compressed.model(inputs).argmax(dim=1) == labels).sum())
    return compressed.size().file, right / len(labels)


def shown(explorer: Explorer) -> tuple[int, float, str]:
    """Size, accuracy and state of the accuracy that the Stage holds for the slider's position."""
    stage = explorer._stage
    position = stage.status["position"]
    return stage.film["sizes"][position], stage.film["accuracies"][position], stage.status["state"]


def assert_shows_its_state(explorer: Explorer) -> None:
    explorer.wait(60)
    size, accuracy, state = shown(explorer)
    assert state == "exact"
    assert (size, accuracy) == pytest.approx(expected(explorer), abs=1e-12)


def test_opens_on_exact_numbers(explorer):
    assert_shows_its_state(explorer)
    assert explorer._stage.status["request"] == 1


def test_the_progress_of_the_accuracy_is_shown_until_it_is_exact(explorer):
    explorer.wait(60)
    seen: list[tuple[str, float | None]] = []
    explorer._stage.observe(lambda change: seen.append((change["new"]["text"], change["new"]["progress"])), "status")
    explorer._panel.methods.method.value = "random"
    assert_shows_its_state(explorer)
    assert [entry for entry in seen if "of 600" in entry[0]] == [
        ("256 of 600", 256 / 600),
        ("512 of 600", 512 / 600),
    ]
    assert explorer._stage.status["progress"] is None


# Recalibration is tried below on a network that has batch normalization; on others it says that there is none.
EVERYWHERE = [method.name for method in EXPLORABLE if method.name != "batch-norm-recalibration"]


FIXED = {"group_size": 64, "iterations": 100, "epochs": 1, "learning_rate": 0.01, "batch_size": 100}
"""Values of parameters whose sliders reach for powers, or that decide how long a method takes."""


@pytest.mark.parametrize("method", EVERYWHERE)
def test_every_method_from_its_menu_with_every_control(explorer, method):
    explorer._panel.methods.method.value = method
    assert explorer.state.active.method == method
    assert_shows_its_state(explorer)
    # First how long it takes, then the others.
    parameters = explorer._panel.parameters
    for name, control in sorted(parameters.items(), key=lambda entry: entry[0] not in (*FIXED, "samples")):
        if hasattr(control, "options"):
            control.value = control.options[-1]
        else:
            control.value = FIXED.get(name, getattr(control, "max", 3))
        assert dict(explorer.state.active.values)[name] == control.value
        assert_shows_its_state(explorer)


def test_recalibration_needs_batch_normalization_and_says_so(explorer):
    explorer._panel.methods.method.value = "batch-norm-recalibration"
    with pytest.raises(ModelError, match="no batch normalization"):
        explorer.wait(60)
    explorer._panel.methods.method.value = "integer"
    assert_shows_its_state(explorer)


def test_recalibration_in_the_explorer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)).eval()
    step = ce.Step("batch-norm-recalibration")
    opened = ce.explore(model, recipe=step, test=small_data(model), train=small_data(model, 200))
    try:
        opened.wait(60)
        compressed = ce.compress(model, opened.state.recipe, opened._open_engine().task)
        assert shown(opened)[0] == compressed.size().file
        assert shown(opened)[1] == ce.evaluate(compressed, opened._open_engine().task).value
    finally:
        opened.close()


def test_request_grows_by_one_with_every_accepted_change_and_only_then(explorer):
    explorer.wait(60)
    slider = explorer._panel.parameters["sparsity"]
    for count, value in enumerate([0.1, 0.2, 0.2, 0.3], start=2):
        slider.value = value
        explorer.wait(60)
        assert explorer._stage.status["request"] == (count if count < 4 else count - 1)


def test_layer_and_split_pickers(explorer):
    explorer._panel.layer.value = "2.weight"
    assert_shows_its_state(explorer)
    assert explorer._stage.figures["histogram"]["title"] == "2.weight"
    explorer._panel.split.value = "validation"
    assert_shows_its_state(explorer)


def test_a_layer_gets_values_of_its_own_which_stay_while_the_others_move(explorer):
    panel = explorer._panel
    assert panel.rule.layout.display == "none"
    panel.layer.value = "2.weight"
    assert panel.rule.layout.display is None
    panel.rule.value = "own values"
    panel.parameters["sparsity"].value = 0.75
    assert explorer.state.active.overrides == (("2.weight", (("sparsity", 0.75),)),)
    assert_shows_its_state(explorer)
    panel.layer.value = "0.weight"
    assert panel.parameters["sparsity"].value == 0.5
    assert panel.rule.value == "follows"
    panel.parameters["sparsity"].value = 0.25
    assert_shows_its_state(explorer)
    zeros = {name: part for name, part in explorer.compress().model.state_dict().items() if name.endswith("weight")}
    assert [round(float((part == 0).float().mean()), 2) for part in zeros.values()] == [0.25, 0.75]
    panel.layer.value = "2.weight"
    assert panel.parameters["sparsity"].value == 0.75


def test_a_layer_is_left_out_and_taken_back(explorer):
    panel = explorer._panel
    panel.layer.value = "0.weight"
    panel.rule.value = "left out"
    assert_shows_its_state(explorer)
    assert "0.weight: the step leaves this layer out" in panel.effects.value
    panel.methods.method.value = "integer"
    assert explorer.state.rule == "left out"
    assert_shows_its_state(explorer)
    explorer.undo()
    explorer.undo()
    assert (panel.rule.value, explorer.state.active.overrides) == ("follows", ())
    assert_shows_its_state(explorer)


def test_what_each_step_did_is_shown(explorer):
    explorer._panel.add_step.click()
    assert_shows_its_state(explorer)
    assert "magnitude</b>: 2 tensors · zeros 0 → 192" in explorer._panel.effects.value
    assert "all 192 zeros stay zero" in explorer._panel.effects.value


def test_a_ready_recipe_takes_the_place_of_all_steps_and_can_be_undone(explorer):
    explorer._panel.ready.value = "deep-compression"
    trained = ["magnitude", "fine-tune", "k-means", "fine-tune", "huffman"]  # the task has a train split
    assert [step.method for step in explorer.state.recipe] == trained
    assert explorer._panel.ready.value == ""
    assert_shows_its_state(explorer)
    assert "huffman</b>" in explorer._panel.effects.value
    explorer._panel.parameters["sparsity"].value = 0.4
    assert_shows_its_state(explorer)
    explorer._panel.step.value = 4  # a coder has nothing to vary: said, and nothing is lost
    assert "no numeric parameter" in explorer._panel.error.value
    assert explorer.state.step == 0
    assert explorer._panel.step.value == 0
    explorer.undo()
    explorer.undo()
    assert [step.method for step in explorer.state.recipe] == ["magnitude"]
    assert_shows_its_state(explorer)


def test_a_rule_needs_a_layer(explorer):
    with pytest.raises(ce.CompressExplorerError, match="Choose a layer first"):
        explorer.state.with_rule("own values")


def test_steps_are_added_chosen_and_removed(explorer):
    explorer._panel.add_step.click()
    assert [step.method for step in explorer.state.recipe] == ["magnitude", "integer"]
    assert "bits" in explorer._panel.parameters
    assert_shows_its_state(explorer)
    explorer._panel.step.value = 0
    assert "sparsity" in explorer._panel.parameters
    assert_shows_its_state(explorer)
    explorer._panel.parameters["sparsity"].value = 0.9
    assert_shows_its_state(explorer)
    explorer._panel.remove_step.click()
    assert [step.method for step in explorer.state.recipe] == ["integer"]
    assert_shows_its_state(explorer)


def test_undo_redo_and_reset(explorer):
    first = explorer.state
    explorer._panel.methods.method.value = "integer"
    second = explorer.state
    explorer._panel.parameters["scheme"].value = "affine"
    third = explorer.state
    explorer._panel.undo.click()
    assert explorer.state == second
    assert explorer._panel.parameters["scheme"].value == "symmetric"
    explorer.undo()
    assert explorer.state == first
    assert_shows_its_state(explorer)
    explorer._panel.redo.click()
    explorer.redo()
    assert explorer.state == third
    assert_shows_its_state(explorer)
    explorer._panel.reset.click()
    assert explorer.state == first
    explorer.undo()
    assert explorer.state == third


def test_a_drag_is_one_step_of_undo(explorer):
    first = explorer.state
    for percent in range(51, 80):
        explorer._panel.parameters["sparsity"].value = percent / 100
    explorer.undo()
    assert explorer.state == first


def test_state_can_be_set_observed_and_saved_as_plain_data(explorer):
    seen = []
    explorer.observe(lambda change: seen.append(change["new"]), "state")
    explorer.state = explorer.state.with_method("power-of-two")
    assert explorer._panel.methods.method.value == "power-of-two"
    assert seen[-1] == explorer.state
    assert_shows_its_state(explorer)
    assert type(explorer.state).from_dict(explorer.state.to_dict()) == explorer.state


def test_a_state_that_is_not_valid_is_refused_and_nothing_changes(explorer):
    explorer.wait(60)
    before = explorer.state
    with pytest.raises(ce.CompressExplorerError, match=r"sparsity=1\.5 is out of bounds"):
        explorer.state = explorer.state.with_value("sparsity", 1.5)
    bad = type(before).from_dict({**before.to_dict(), "layer": "2.weigth"})
    with pytest.raises(ce.CompressExplorerError, match=r"Did you mean '2\.weight'"):
        explorer.state = bad
    assert explorer.state == before
    assert_shows_its_state(explorer)


def test_an_exception_shows_with_its_cause_and_the_next_change_recovers():
    model = small_model()
    broken = threading.Event()

    def metric(outputs, targets):
        if broken.is_set():
            raise ZeroDivisionError("the metric <b>divided</b> by zero")
        return (outputs.argmax(dim=1) == targets).float()

    explorer = ce.explore(model, test=small_data(model), metric=metric)
    explorer.wait(60)
    broken.set()
    explorer._panel.parameters["sparsity"].value = 0.77
    with pytest.raises(ce.CompressExplorerError, match="divided") as raised:
        explorer.wait(60)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert explorer._stage.status["state"] == "error"
    assert "ZeroDivisionError" in explorer._panel.error.value
    assert "&lt;b&gt;divided&lt;/b&gt;" in explorer._panel.error.value
    broken.clear()
    explorer._panel.parameters["sparsity"].value = 0.78
    explorer.wait(60)
    assert explorer._panel.error.value == ""
    assert explorer._stage.status["state"] == "exact"
    explorer.close()


def interrupted_at(place: int, change: Callable[[], None]) -> bool:
    """Makes a change and interrupts it at the `place`-th call of a function of the widgets; whether it was reached."""
    calls = itertools.count()

    def interrupt(frame: Any, event: str, _argument: object) -> None:
        if event == "call" and "compress_explorer/widgets" in frame.f_code.co_filename and next(calls) == place:
            raise KeyboardInterrupt

    sys.setprofile(interrupt)
    try:
        change()
    except KeyboardInterrupt:
        pass  # the kernel notes it in its log
    finally:
        sys.setprofile(None)
    return next(calls) > place


def test_an_interrupt_anywhere_in_a_change_leaves_an_explorer_that_works():
    models = {"small": small_model(), "wide": nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 4))}
    task = ce.Task(name="own", test=ce.Split(*small_data(models["small"], 200)))
    sources = {name: lambda model=model: (model, task) for name, model in models.items()}
    explorer = Explorer(sources, first_state("small"))
    panel = explorer._panel

    def toggle(picker: Any, one: str, other: str) -> None:
        picker.value = one if picker.value == other else other

    # Every call until the new model is in place, then some: 150 for a change of the model, 400 for one of the method.
    changes: list[tuple[str, Callable[[], None], int]] = [
        ("model", lambda: toggle(panel.model, *models), 25),
        ("method", lambda: toggle(panel.methods.method, "magnitude", "lamp"), 0),
        ("undo", explorer.undo, 0),
    ]
    for name, change, every in changes:
        for place in itertools.chain(range(every), itertools.count(every, 29)):
            reached = interrupted_at(place, change)
            panel.parameters["sparsity"].value = round(0.1 + place % 70 / 100, 2)
            explorer.wait(60)
            state = explorer.state
            compressed = ce.compress(models[state.model], state.recipe, task)
            where = f"{name}, interrupted at call {place}"
            assert shown(explorer) == (compressed.size().file, ce.evaluate(compressed, task).value, "exact"), where
            assert (panel.model.value, panel.methods.method.value) == (state.model, state.active.method), where
            if not reached:
                break
        assert place > 0, name
    explorer.close()


def test_a_model_that_is_refused_after_it_was_opened_is_closed_again():
    model = small_model()
    task = ce.Task(name="own", test=ce.Split(*small_data(model, 200)))
    workers = lambda: {thread for thread in threading.enumerate() if thread.name == "compress-explorer"}  # noqa: E731
    explorer = Explorer(dict.fromkeys(("one", "two"), lambda: (model, task)), first_state("one"))
    before = workers()
    with pytest.raises(ce.CompressExplorerError, match="nowhere"):
        explorer.state = replace(explorer.state, model="two", layer="nowhere")
    for thread in workers() - before:
        thread.join(60)
    assert workers() == before
    explorer.close()


def test_many_rapid_moves_compute_few_settings(monkeypatch, explorer):
    explorer.wait(60)
    explorer.cancel()
    asked: list[int] = []
    assert explorer._engine is not None
    answer = explorer._engine._answer

    def counted(request: int, *rest: Any) -> None:
        asked.append(request)
        answer(request, *rest)

    monkeypatch.setattr(explorer._engine, "_answer", counted)
    hold = explorer._lock
    with hold:  # the worker cannot report while we move, as when a drag is faster than the engine
        for percent in range(50):
            explorer._panel.parameters["sparsity"].value = percent / 100
    assert_shows_its_state(explorer)
    assert len(asked) <= 5


def test_callbacks_from_other_threads(explorer):
    def move(start: float) -> None:
        for step in range(10):
            explorer._panel.parameters["sparsity"].value = start + step / 100

    threads = [threading.Thread(target=move, args=(start,)) for start in (0.1, 0.4, 0.7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert explorer._panel.parameters["sparsity"].value == dict(explorer.state.active.values)["sparsity"]
    assert_shows_its_state(explorer)


def test_a_click_on_the_curve_sets_the_slider_and_other_clicks_do_nothing(explorer):
    explorer.wait(60)
    before = explorer.state
    for figure, trace, point in (("histogram", 1, 30), ("tradeoff", 2, 0), ("tradeoff", 1, 1000)):
        explorer._stage._receive(None, {"type": "click", "figure": figure, "trace": trace, "point": point}, [])
        assert explorer.state == before
    explorer._stage._receive(None, {"type": "click", "figure": "tradeoff", "trace": 1, "point": 30}, [])
    assert explorer._panel.parameters["sparsity"].value == 0.3
    assert_shows_its_state(explorer)


def test_cancel_keeps_what_is_known_and_the_next_change_works(explorer):
    explorer.cancel()
    explorer._panel.parameters["sparsity"].value = 0.66
    assert_shows_its_state(explorer)


def test_names_from_a_model_are_escaped():
    model = nn.Sequential()
    model.add_module("<img src=x onerror=alert(1)>", nn.Linear(20, 4))
    explorer = ce.explore(model, test=small_data(model))
    explorer.wait(60)
    for figure in explorer._stage.figures.values():
        assert "<img" not in repr(figure["figure"])
    explorer.close()


def test_result_and_code_give_the_same_numbers(explorer):
    explorer.state = explorer.state.with_method("binary")
    explorer.wait(60)
    run = explorer.result
    assert (run.size.file, run.evaluation.value) == shown(explorer)[:2]
    namespace: dict = {}
    code = explorer.to_code().replace("print(", "numbers.append(")
    model = small_model()
    inputs, labels = small_data(model)
    namespace.update(numbers=[], model=model, task=ce.Task(name="t", test=ce.Split(inputs, labels)))
    exec(code, namespace)
    assert namespace["numbers"][0] == run.size.file
    assert namespace["numbers"][1].value == run.evaluation.value


def test_closing_ends_the_worker_and_frees_every_widget():
    before = set(_instances)
    model = small_model()
    explorer = ce.explore(model, test=small_data(model))
    explorer.wait(60)
    assert explorer._engine is not None
    worker, alive = explorer._engine._worker, weakref.ref(explorer)
    explorer.close()
    assert not worker.is_alive()
    explorer.close()  # twice does no harm
    with pytest.raises(RuntimeError, match="closed"):
        explorer.wait()
    del explorer, worker
    gc.collect()
    assert alive() is None
    left = {type(_instances[key]).__name__ for key in set(_instances) - before}
    assert left <= {"PlotlySource", "Layout"}  # the page's one holder of plotly stays for the next explorer
