"""The distillation lab without a browser: its state, its worker, what it sends; its numbers are the engine's."""

import gc
import json
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ipywidgets.widgets.widget import _instances
from torch import nn

import compress_explorer as ce
from compress_explorer.engine.distillation.surface import ALPHAS, TEMPERATURES
from compress_explorer.spec.errors import CompressExplorerError, FileFormatError, TrainingError
from compress_explorer.widgets import film as films
from compress_explorer.widgets.film import apply_patch
from compress_explorer.widgets.lab import DistillLab
from compress_explorer.widgets.lab_code import code_for
from compress_explorer.widgets.lab_film import difference
from compress_explorer.widgets.lab_state import LabState
from compress_explorer.widgets.plotly_source import PlotlySource
from tests.case import case
from tests.widgets.fake_comm import recorded, size_of

QUICK = {"epochs": 2, "width": 4, "seeds": 2}


def small_teacher() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(9, 16), nn.ReLU(), nn.Linear(16, 3))


def small_data(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(count, 9, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return inputs, small_teacher()(inputs).argmax(dim=1)


def small_task() -> ce.Task:
    test, validation, train = (ce.Split(*small_data(count, count)) for count in (300, 100, 200))
    return ce.Task(name="small", test=test, validation=validation, train=train)


def quick(lab: DistillLab, **values: Any) -> None:
    for name, value in {**QUICK, **values}.items():
        lab.state = lab.state.with_value(name, value)


@pytest.fixture
def lab() -> Iterator[DistillLab]:
    opened = ce.distill_lab(small_teacher(), small_task())
    opened.wait(60)
    quick(opened)
    yield opened
    opened.close()


def expected(state: LabState) -> ce.Distillation:
    task = small_task()
    design = ce.student(task, width=state.width, depth=state.depth)
    plan = ce.TrainingPlan(epochs=state.epochs, learning_rate=state.learning_rate)
    values: dict[str, Any] = dict(state.values)
    seeds = tuple(range(state.seeds))
    return ce.distill(small_teacher(), design, task, loss=state.loss, plan=plan, seeds=seeds, **values)


def accuracies(found: ce.Distillation) -> list[float]:
    return [student.test.value for pair in found.pairs for student in (pair.distilled, pair.hard)]


def shown(lab: DistillLab) -> tuple[int | None, float | None, str]:
    """Size, accuracy and state that the Stage holds for the temperature's position."""
    stage = lab._stage
    position = stage.status["position"]
    return stage.film["sizes"][position], stage.film["accuracies"][position], stage.status["state"]


def test_a_training_is_the_engine_s_and_the_strip_and_chart_show_it(lab):
    assert shown(lab)[1:] == (None, "exact")
    lab._panel.start.click()
    lab.wait(60)
    wanted = expected(lab.state)
    assert accuracies(lab.result) == accuracies(wanted)
    size, accuracy, state = shown(lab)
    mean = sum(pair.distilled.test.value for pair in wanted.pairs) / len(wanted.pairs)
    assert (size, state) == (wanted.student_footprint.file_bytes, "exact")
    assert accuracy == pytest.approx(mean, abs=1e-12)
    assert wanted.verdict in lab._panel.verdict.value
    numbers = films.numbers(lab._stage.film)
    assert numbers["distilled_accuracies"] == pytest.approx([100 * mean], rel=1e-6)
    for pair in wanted.pairs:
        start = 3 * pair.seed  # two epochs and a gap
        curve = numbers["distilled_accuracy"][start : start + 2]
        assert curve == pytest.approx([100 * value for value in pair.distilled.curve.accuracies], rel=1e-6)
    # At another temperature nothing was trained; back at this one it still is.
    lab._panel.parameters["temperature"].value = 7.0
    assert shown(lab)[1] is None
    lab._panel.parameters["temperature"].value = 4.0
    assert shown(lab)[1] == accuracy


def test_its_code_gives_its_numbers(lab):
    lab.state = lab.state.with_loss("dkd").with_value("beta", 2)
    lab.start()
    lab.wait(60)
    found: dict[str, Any] = {"teacher": small_teacher(), "task": small_task()}
    code = lab.to_code()
    exec(compile(code.replace("print(", "("), "code", "exec"), found)  # the lab's own code, its output left out
    assert accuracies(found["distillation"]) == accuracies(lab.result)
    assert "dkd" in code
    assert "beta=2.0" in code
    elsewhere = code_for(lab.state, device="cuda:0")
    assert elsewhere != code_for(lab.state) == elsewhere.replace(", device='cuda:0'", "")
    bundled = ce.distill_lab("digits-mlp", device="cpu")
    assert "device='cpu'" in bundled.to_code()
    assert "ce.load('digits-mlp')" in bundled.to_code()
    bundled.close()


def test_the_surface_is_the_engine_s_and_a_click_sets_both_sliders(lab):
    lab.state = lab.state.with_loss("dkd")
    lab._panel.surface.click()
    lab.wait(120)
    task = small_task()
    plan = ce.TrainingPlan(epochs=2, learning_rate=lab.state.learning_rate)
    wanted = ce.surface(small_teacher(), ce.student(task, width=4, depth=1), task, seeds=(0, 1), plan=plan)
    assert lab.surface.accuracies == wanted.frame.accuracies
    drawn = films.numbers(lab._stage.film)["surface"].reshape(len(wanted.frame.alphas), -1)
    assert drawn == pytest.approx(100 * wanted.frame.means().T, rel=1e-6)
    columns = len(wanted.frame.temperatures)
    click = {"type": "click", "figure": "surface", "trace": 0, "point": 2 * columns + 5}
    lab._stage._handle_custom_msg(click, [])
    assert (lab.state.loss, lab.state.temperature, lab.state.alpha) == (
        "kd",
        wanted.frame.temperatures[5],
        wanted.frame.alphas[2],
    )
    assert lab._panel.parameters["temperature"].value == lab.state.temperature
    before = lab.state
    for bad in ({"figure": "surface", "point": 10_000}, {"figure": "tradeoff", "point": 0}, {"figure": "surface"}):
        lab._stage._handle_custom_msg({"type": "click", "trace": 0, **bad}, [])
    assert lab.state == before


def test_cells_of_a_finished_surface_stand_in_the_chart_like_other_students(lab):
    lab.show_cell(3.0, 0.4)
    lab.wait(60)
    assert shown(lab)[1] is None  # nothing is trained there yet
    lab.start_surface()
    lab.wait(120)
    task = small_task()
    plan = ce.TrainingPlan(epochs=2, learning_rate=lab.state.learning_rate)
    wanted = ce.surface(small_teacher(), ce.student(task, width=4, depth=1), task, seeds=(0, 1), plan=plan)

    def charted() -> dict[str, list[float]]:
        numbers = films.numbers(lab._stage.film)
        return {kind: list(numbers[f"{kind}_accuracies"]) for kind in ("distilled", "hard")}

    def means(temperature: float, alpha: float) -> float:
        students = [wanted.student(temperature, alpha, seed) for seed in (0, 1)]
        return 50 * sum(ce.evaluate(student, task).value for student in students)

    # The best on validation stands there by itself; the sliders stay.
    best = wanted.best()
    assert (lab.state.temperature, lab.state.alpha) == (3.0, 0.4)
    assert charted() == {
        "distilled": pytest.approx([means(*best)], rel=1e-6),
        "hard": pytest.approx([means(best[0], 0.0)], rel=1e-6),
    }
    cells = [(row, column) for row, column in ((1, 1), (6, 5), (3, 2)) if (TEMPERATURES[row], ALPHAS[column]) != best]
    for row, column in cells:
        point = column * len(TEMPERATURES) + row
        lab._stage._handle_custom_msg({"type": "click", "figure": "surface", "trace": 0, "point": point}, [])
    lab.wait(60)
    chosen = [(TEMPERATURES[row], ALPHAS[column]) for row, column in cells]
    assert sorted(charted()["distilled"]) == pytest.approx(sorted(means(*cell) for cell in [best, *chosen]), rel=1e-6)
    stars = films.numbers(lab._stage.film)["surface_charted"]
    assert sum(stars > 0) == len(cells) + 1
    for row, column in cells:
        assert stars[column * len(TEMPERATURES) + row] > 0
    # Strip, words, curves and code are those of the cell that was clicked last.
    accuracy = means(*chosen[-1]) / 100
    size, shown_accuracy, state = shown(lab)
    assert lab.result is not None
    assert (size, state) == (lab.result.student_footprint.file_bytes, "exact")
    assert shown_accuracy == pytest.approx(accuracy, abs=1e-12)
    assert lab.result.verdict in lab._panel.verdict.value
    assert lab._worker.found.curves_of == lab.state.setting
    assert lab._worker.found.curves["hard", 1] == lab.result.pairs[1].hard.curve
    found: dict[str, Any] = {"teacher": small_teacher(), "task": small_task()}
    code = lab.to_code().replace("print(", "(")
    exec(compile(code, "code", "exec"), found)  # the lab's own code, its output left out
    assert accuracies(found["distillation"]) == accuracies(lab.result)
    # An ordinary training of the same cell takes its place.
    lab.start()
    lab.wait(60)
    assert len(charted()["distilled"]) == len(cells) + 1
    assert "ce.distill(" in lab.to_code()


def test_on_a_task_without_validation_no_cell_is_chosen():
    task = small_task()
    lab = ce.distill_lab(small_teacher(), ce.Task(name="small", test=task.test, train=task.train))
    quick(lab, epochs=1)
    lab.wait(60)
    lab.start_surface()
    lab.wait(60)
    assert lab._worker.found.trained == {}
    lab.show_cell(2.0, 0.2)
    lab.wait(60)
    assert len(lab._worker.found.trained) == 1
    lab.close()


def test_soft_targets_are_those_of_the_teacher(lab):
    task, teacher = small_task(), small_teacher()
    inputs, targets = task.test.in_order(range(60))
    with torch.no_grad():
        logits = teacher(inputs).double()
    certainty = torch.distributions.Categorical(logits=logits).entropy()
    for place, rank in ((0, 0), (5, 5), (59, 59)):
        lab._panel.example.value = place
        row = certainty.argsort(descending=True, stable=True)[rank]
        numbers = films.numbers(lab._stage.film)["softened"]
        for frame, temperature in enumerate(lab._stage.film["positions"]):
            wanted = torch.softmax(logits[row] / temperature, dim=0)
            assert numbers[frame] == pytest.approx(wanted.numpy(), rel=1e-5, abs=1e-7)
        assert lab._stage.film["labels"]["label"] == f"<b>{int(targets[row])}</b>"
    lab._panel.previous.click()
    assert lab.state.example == 58
    lab._panel.next.click()
    assert lab._panel.next.disabled


def test_width_and_depth_show_the_student_at_once(lab):
    for name, value in (("width", 32), ("depth", 3), ("depth", 0)):
        with case(name, value):
            lab._panel.fixed[name].value = value
            design = ce.student(small_task(), width=lab.state.width, depth=lab.state.depth)
            assert shown(lab)[0] == design.file_bytes
            words = lab._panel.shape.value
            assert f"{design.parameters:,} parameters" in words
            assert f"{design.macs:,} MACs" in words


def test_pause_rests_and_a_resumed_training_finds_the_same(lab):
    quick(lab, epochs=30)
    trained = threading.Event()

    def note(change: dict[str, Any]) -> None:
        if change["new"]["progress"]:
            trained.set()

    lab._stage.observe(note, "status")
    lab.start()
    assert trained.wait(30)
    lab._panel.pause.click()
    assert lab._worker._jobs.state("train") == "paused"
    lab._worker._jobs.put("open", iter(()))  # the worker is alive, and what it does next comes after the step in hand
    lab._worker._jobs.wait(("open",), 30)
    step = lab._worker.doing
    with pytest.raises(TimeoutError):
        lab.wait(0.1)
    assert (lab._worker.doing, lab._stage.status["word"], lab._panel.pause.description) == (step, "paused", "Go on")
    lab._panel.pause.click()
    lab.wait(120)
    assert accuracies(lab.result) == accuracies(expected(lab.state))


def test_cancel_gives_up_and_the_next_move_works(lab):
    quick(lab, epochs=1000)
    lab.start()
    lab._panel.cancel.click()
    lab.wait(30)
    assert lab.result is None
    assert (lab._stage.status["state"], lab._stage.status["text"]) == ("exact", "cancelled")
    quick(lab)
    lab.start()
    lab.wait(60)
    assert lab.result is not None


def test_errors_are_shown_and_raised_and_the_next_move_works(lab):
    lab.state = lab.state.with_loss("kd-literal")
    assert "gradient is 0" in lab._panel.about.value
    lab.start()
    with pytest.raises(TrainingError, match="loss became nan"):
        lab.wait(60)
    assert "TrainingError" in lab._panel.error.value
    assert lab._stage.status["state"] == "error"
    lab._panel.loss.value = "kd"
    assert (lab._panel.error.value, lab._stage.status["state"]) == ("", "exact")
    lab._panel.fixed["kind"].value = "conv"  # these data are no images
    assert "images" in lab._panel.error.value
    assert lab._panel.fixed["kind"].value == "mlp"
    with pytest.raises(CompressExplorerError, match="images"):
        lab.wait(5)
    before = lab.state
    with pytest.raises(CompressExplorerError):
        lab.state = LabState("no such teacher")
    assert lab.state == before
    lab.start()
    lab.wait(60)
    assert lab.result is not None


def test_every_loss_has_its_controls_and_trains(lab):
    quick(lab, epochs=1, seeds=1)
    for loss in ce.distillation_losses()["name"]:
        with case(loss):
            lab._panel.loss.value = loss
            declared = dict(lab.state.values)
            assert declared.keys() <= lab._panel.parameters.keys()
            softens = lab._stage.film["parameter"]
            assert softens in lab._panel.parameters
            assert lab._stage.controls[softens] is lab._panel.parameters[softens]
            assert lab._stage.status["position"] == lab._stage.film["positions"].index(lab.state.temperature)
            if loss in ("kd-literal", "temperature-literal"):
                continue
            lab._panel.start.click()
            if loss == "attention-transfer":  # these perceptrons have no maps to attend to
                with pytest.raises(CompressExplorerError, match="maps"):
                    lab.wait(60)
                continue
            lab.wait(60)
            assert lab.result.loss == loss


def test_another_teacher_forgets_the_first_one():
    with recorded() as messages:
        lab = ce.distill_lab("digits-mlp")
        lab.wait(60)
        quick(lab, epochs=1, seeds=1)
        lab.start()
        lab.wait(60)
        messages.clear()
        lab._panel.parameters["temperature"].value = 6.5
        sent = sum(map(size_of, messages))
        assert sent < 3000  # the film is in the browser: only words and numbers of the state
        assert not any("film" in data.get("state", {}) for data, _ in messages)
        lab._panel.teacher.value = "lenet-5"
        assert lab.state.teacher == "lenet-5"
        lab.wait(120)
        assert lab.result is None
        assert lab._worker.found.trained == {}
        assert lab._worker.found.teacher is not None
        assert lab._worker.found.teacher.inputs.shape[1:] == (1, 28, 28)
        lab._panel.fixed["kind"].value = "conv"
        assert lab.state.kind == "conv"
        lab.close()


def test_a_patch_makes_the_old_film_the_new_one(lab):
    def copied() -> dict[str, Any]:
        film = lab._stage.film
        arrays = {name: {**array, "data": bytearray(array["data"])} for name, array in film["arrays"].items()}
        texts = {name: list(entries) for name, entries in film["texts"].items()}
        lists = {name: list(film[name]) for name in ("sizes", "accuracies", "states")}
        return {**film, **lists, "arrays": arrays, "texts": texts, "labels": dict(film["labels"])}

    old = copied()
    lab.start()
    lab.wait(60)
    new = {**copied(), "key": old["key"], "patches": old["patches"] + 1}
    patch = difference(old, new)
    assert patch is not None
    json.dumps(patch.message)
    assert apply_patch(old, patch)
    assert old == new
    nothing = difference(old, new)
    assert nothing is not None
    assert nothing.is_empty
    assert difference(old, {**new, "positions": [1.0]}) is None


def test_settings_are_undone_redone_and_reset_and_a_drag_is_one_step(lab):
    panel = lab._panel
    start = lab.state
    for value in (5.0, 6.0, 7.0):
        panel.parameters["temperature"].value = value
    panel.loss.value = "crd"
    panel.fixed["width"].value = 9
    states = [start, start.with_value("temperature", 7.0)]
    states += [states[1].with_loss("crd"), lab.state]
    for wanted in reversed(states[:-1]):
        panel.undo.click()
        assert lab.state == wanted
        assert panel.loss.value == wanted.loss
        assert panel.fixed["width"].value == wanted.width
    assert panel.parameters["temperature"].value == 4.0
    panel.redo.click()
    assert lab.state == states[1]
    lab.redo()
    lab.redo()
    assert (lab.state, panel.redo.disabled, panel.undo.disabled) == (states[-1], True, False)
    lab.redo()
    assert lab.state == states[-1]
    lab.undo()
    panel.fixed["depth"].value = 2  # what was undone is forgotten
    assert panel.redo.disabled
    panel.reset.click()
    first = LabState(lab.state.teacher).checked()
    assert lab.state == first
    lab.undo()
    assert lab.state.depth == 2
    # A change that is refused is no step; a state that is set from Python is one.
    panel.fixed["kind"].value = "conv"
    lab.state = lab.state.with_value("epochs", 7)
    lab.undo()
    assert (lab.state.epochs, lab.state.depth) == (2, 2)
    while not panel.undo.disabled:
        lab.undo()
    assert lab.state == first


def test_undo_and_redo_show_what_was_trained(lab):
    lab.start()
    lab.wait(60)
    known = accuracies(lab.result)
    lab.state = lab.state.with_value("alpha", 0.1)
    assert shown(lab)[1] is None
    lab.undo()
    assert accuracies(lab.result) == known


def test_the_student_shown_is_saved_and_read_back(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lab._panel.save.disabled
    with pytest.raises(CompressExplorerError, match="not trained yet"):
        lab.save("student.safetensors")
    quick(lab, seeds=3)
    lab.start()
    lab.wait(60)
    for number in (1, 2):  # a name that is taken is not taken again
        lab._panel.save.click()
        assert len(list(tmp_path.glob("*.safetensors"))) == number
    lab.wait(5)
    validation = [pair.distilled.validation.value for pair in lab.result.pairs]
    best = validation.index(max(validation))
    name = f"Sequential-student-mlp-4x1-kd-seed{best}"
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}{number}.{ending}" for number in ("", "-2") for ending in ("safetensors", "json")
    }
    assert f"Saved {name}-2.safetensors" in lab._panel.saved.value
    for seed, path in ((best, tmp_path / f"{name}.safetensors"), (2, lab.save("second", seed=2))):
        with case(seed):
            assert path.stat().st_size == shown(lab)[0]
            model, pair = ce.load_student(path), lab.result.pairs[seed]
            assert ce.evaluate(model, small_task()) == ce.evaluate(pair.distilled.model, small_task())
    told = json.loads(Path("second.json").read_text())["about"]
    assert told["measured"]["test"]["value"] == lab.result.pairs[2].distilled.test.value
    assert (told["loss"], told["plan"]["seed"], told["code"]) == ("kd", 2, lab.to_code())
    with pytest.raises(CompressExplorerError, match=r"seed=7 is none of .*: 0, 1, 2"):
        lab.save("third", seed=7)
    lab.state = lab.state.with_value("alpha", 0.1)
    assert (lab._panel.saved.value, lab._panel.save.disabled) == ("", True)


def test_states_are_checked_and_kept(lab):
    state = lab.state.with_loss("crd").with_value("temperature", 0.1).with_value("softening", 9)
    assert (state.temperature, dict(state.values)["temperature"], state.own_temperature) == (9.0, 0.1, False)
    assert state.with_loss("kd").temperature == 9.0
    assert LabState.from_dict(json.loads(json.dumps(state.to_dict()))) == state
    for data in (None, {}, {**state.to_dict(), "version": 2}, {**state.to_dict(), "colour": 1}, {"version": 1}):
        with case(data), pytest.raises(FileFormatError):
            LabState.from_dict(data)  # type: ignore[arg-type]
    for name, value in (("width", 0), ("depth", "2"), ("epochs", 0), ("alpha", 3), ("colour", 1)):
        with case(name), pytest.raises(CompressExplorerError):
            lab.state.with_value(name, value)
    with pytest.raises(CompressExplorerError, match="kd"):
        lab.state.with_loss("kdd")


def test_wrong_arguments_are_refused():
    task = small_task()
    without_train = ce.Task(name="t", test=task.test)
    for arguments, named in (
        (("no-such-net",), "no-such-net"),
        (("digits-mlp", task), "test="),
        ((small_teacher(), without_train), "train"),
        ((nn.Linear(5, 3), task), "shape"),
    ):
        with case(named), pytest.raises(CompressExplorerError, match=named):
            ce.distill_lab(*arguments)
    with pytest.raises(CompressExplorerError, match="theme='blue' must be one of auto, light, dark"):
        ce.distill_lab(theme="blue")  # type: ignore[arg-type]


def test_closing_frees_the_lab_its_models_and_its_worker():
    PlotlySource.shared()  # the page's one holder of plotly stays for the next lab
    before = set(_instances)
    lab = ce.distill_lab(small_teacher(), small_task())
    lab.wait(60)
    quick(lab, epochs=1000)
    lab.start()
    worker = lab._worker._jobs._worker
    lab.close()
    assert not worker.is_alive()
    for start in (lab.start, lab.start_surface):
        with pytest.raises(RuntimeError, match=r"This lab was closed. Open a new one with ce.distill_lab"):
            start()
    del start
    gone = weakref.ref(lab)
    left = [widget for key, widget in _instances.items() if key not in before]
    assert [type(widget).__name__ for widget in left] == []
    del lab, left
    gc.collect()
    assert gone() is None
