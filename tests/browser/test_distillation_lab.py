"""The distillation lab in JupyterLab in a real browser, driven by keyboard and mouse.

What is shown must be what the engine computes here for the same settings.
"""

import math
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from playwright.sync_api import Page

import compress_explorer as ce
from tests.browser import lab

pytestmark = pytest.mark.browser

EPOCHS = 2
OPEN = """
import compress_explorer as ce
lab = ce.distill_lab("digits-mlp")
lab.state = lab.state.with_value("epochs", 2)
lab
"""

EVENTS = """
() => {
  window.painted = [];
  document.addEventListener("ce-painted", (event) => window.painted.push(event.detail));
}
"""

IDLE = """
(last) => {
  const status = document.querySelector(".ce-distill .ce-status [data-ce-state]");
  return ["exact", "error"].includes(status?.dataset.ceState) && Number(status.dataset.ceRequest) > last;
}
"""


class Opened:
    """The lab on the page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.request = 0
        self.settle()

    def settle(self) -> None:
        """Waits until a newer request than the last one is answered and nothing trains."""
        self.page.wait_for_function(IDLE, arg=self.request)
        self.request = int(self.attribute(".ce-status [data-ce-request]", "data-ce-request"))

    def attribute(self, selector: str, name: str) -> str:
        value = self.page.locator(f".ce-distill {selector}").first.get_attribute(name)
        assert value is not None
        return value

    def word(self) -> str:
        return str(self.page.locator(".ce-distill .ce-status .ce-word").inner_text())

    def press(self, name: str, *keys: str) -> None:
        """Presses keys on a slider, each of which moves it."""
        handle = self.page.locator(f".ce-{name} [role=slider]")
        handle.focus()
        for key in keys:
            self.page.keyboard.press(key)
            self.settle()

    def drag(self, name: str, fraction: float) -> None:
        """Drags a slider's handle with the mouse to a place of its track."""
        handle = self.page.locator(f".ce-{name} [role=slider]").bounding_box()
        track = self.page.locator(f".ce-{name} .noUi-base").bounding_box()
        assert handle is not None
        assert track is not None
        height = handle["y"] + handle["height"] / 2
        self.page.mouse.move(handle["x"] + handle["width"] / 2, height)
        self.page.mouse.down()
        self.page.mouse.move(track["x"] + fraction * track["width"], height, steps=6)
        self.page.mouse.up()
        self.settle()

    def value(self, name: str) -> float:
        return float(self.page.locator(f".ce-{name} .widget-readout").inner_text())

    def wait_for_value(self, name: str, value: float) -> None:
        """Waits until a slider shows a value that the kernel gave it: that comes with a message of its own."""
        shown = "document.querySelector(`.ce-${name} .widget-readout`).textContent"
        script = f"([name, value]) => Math.abs({shown} - value) < 1e-9"
        self.page.wait_for_function(script, arg=[name, value])

    def answer(self) -> None:
        """Waits until the kernel has run a cell."""
        script = "jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code: '1' }).done"
        self.page.evaluate(f"() => {script}")

    def click(self, button: str) -> None:
        self.page.locator(f".ce-distill button.ce-{button}").click()

    def drawn(self, figure: str, trace: int, attribute: str) -> list[float]:
        script = "([name, trace, key]) => [...document.querySelector(`.ce-${name} .js-plotly-plot`).data[trace][key]]"
        return list(self.page.evaluate(script, [figure, trace, attribute]))


@cache
def loaded() -> tuple[torch.nn.Module, ce.Task]:
    return ce.load("digits-mlp")


@cache
def distilled(temperature: float, alpha: float, seeds: int) -> ce.Distillation:
    teacher, task = loaded()
    plan = ce.TrainingPlan(epochs=EPOCHS, learning_rate=0.01)
    design = ce.student(task, width=16, depth=1)
    return ce.distill(teacher, design, task, plan=plan, seeds=range(seeds), temperature=temperature, alpha=alpha)


@cache
def surfaced() -> ce.Surface:
    teacher, task = loaded()
    plan = ce.TrainingPlan(epochs=EPOCHS, learning_rate=0.01)
    return ce.surface(teacher, ce.student(task, width=16, depth=1), task, plan=plan)


@pytest.fixture(scope="module")
def notebook(browser, server) -> Iterator[Page]:
    """A notebook with the lab, run; at the end the browser's console must have had no error."""
    server.write_notebook("distillation.ipynb", [OPEN])
    opened = lab.open_notebook(browser, server, "distillation.ipynb", width=1280, height=1400)
    opened.page.evaluate(EVENTS)
    opened.run_all()
    opened.page.wait_for_selector(".ce-distill .ce-softened .js-plotly-plot")
    yield opened.page
    opened.page.context.close()
    server.end_kernels()
    assert opened.problems == []
    assert {host for host in opened.hosts if host} <= {"127.0.0.1"}


@pytest.fixture
def opened(notebook) -> Opened:
    return Opened(notebook)


def test_the_temperature_softens_in_the_browser_with_the_kernel_busy(opened):
    page = opened.page
    opened.press("param-temperature", "Home")
    teacher, task = loaded()
    inputs, targets = task.test.in_order(range(60))
    with torch.no_grad():
        logits = teacher(inputs).double()
    row = int(torch.distributions.Categorical(logits=logits).entropy().argmax())
    page.evaluate("() => { window.painted = []; }")
    page.evaluate(
        "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute("
        "{ code: 'import time; time.sleep(4)' })"
    )
    page.locator(".ce-param-temperature [role=slider]").focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("() => window.painted.some((d) => d.figure === 'softened' && d.value === 4)")
    assert page.evaluate("() => window.painted.every((d) => d.parameter === 'temperature')")
    wanted = ce.softened(logits[row], [4.0])
    assert opened.drawn("softened", 1, "x") == pytest.approx(wanted.probabilities[0], rel=1e-5, abs=1e-7)
    assert page.locator(".ce-entropy .ce-main").inner_text() == f"{wanted.entropy[0]:.2f}"
    assert page.locator(".ce-dark .ce-main").inner_text() == f"{100 * wanted.dark[0]:.1f} %"
    assert page.locator(".ce-softened image").get_attribute("href").startswith("data:image/png")
    assert str(int(targets[row])) in page.locator(".ce-softened .annotation").all_text_contents()[1]
    opened.settle()


def test_students_train_live_and_the_numbers_are_the_engine_s(opened):
    opened.drag("param-alpha", 0.55)
    opened.press("param-temperature", "Home", "ArrowRight", "ArrowRight")
    temperature, alpha = opened.value("param-temperature"), opened.value("param-alpha")
    assert temperature == 2
    assert 0.4 <= alpha <= 0.7
    opened.page.evaluate("() => { window.painted = []; }")
    opened.click("start")
    opened.settle()
    wanted = distilled(temperature, alpha, 3)
    mean = sum(pair.distilled.test.value for pair in wanted.pairs) / 3
    assert float(opened.attribute(".ce-accuracy [data-ce-value]", "data-ce-value")) == pytest.approx(mean, abs=1e-9)
    size = opened.attribute(".ce-size [data-ce-value]", "data-ce-value")
    assert int(size) == wanted.student_footprint.file_bytes
    assert wanted.verdict in opened.page.locator(".ce-verdict").inner_text()
    assert wanted.comparison().outcome in opened.page.locator(".ce-text-verdict").inner_text()
    opened.page.wait_for_function(
        "() => document.querySelector('.ce-tradeoff .js-plotly-plot').data[3].y.length > 0"  # distilled
    )
    assert opened.drawn("tradeoff", 3, "y")[-1] == pytest.approx(100 * mean, rel=1e-5)
    curves = [100 * value for pair in wanted.pairs for value in pair.distilled.curve.accuracies]
    assert [value for value in opened.drawn("curves", 0, "y") if not math.isnan(value)] == pytest.approx(
        curves, rel=1e-5
    )
    assert opened.page.evaluate("() => window.painted.filter((d) => d.figure === 'curves').length") >= 2


def test_pause_go_on_and_cancel(opened):
    opened.press("epochs", "End")
    page = opened.page
    opened.click("start")
    page.wait_for_function("() => parseFloat(document.querySelector('.ce-done').style.width) > 0")
    opened.click("pause")
    page.wait_for_function("() => document.querySelector('.ce-distill .ce-word').textContent === 'paused'")
    opened.answer()  # the step in hand may still end
    width = page.locator(".ce-done").get_attribute("style")
    opened.answer()
    assert page.locator(".ce-done").get_attribute("style") == width
    opened.click("pause")
    page.wait_for_function("(before) => document.querySelector('.ce-done').getAttribute('style') !== before", arg=width)
    opened.click("cancel")
    page.wait_for_function("() => document.querySelector('.ce-distill .ce-word').textContent === 'ready'")
    assert "cancelled" in page.locator(".ce-distill .ce-status").inner_text()
    opened.settle()  # start was a request, too
    opened.press("epochs", "Home", "ArrowRight")
    assert opened.value("epochs") == EPOCHS


def test_the_surface_fills_and_a_click_on_a_cell_sets_both_sliders(opened):
    page = opened.page
    opened.click("surface-start")
    opened.settle()
    wanted, task = surfaced(), loaded()[1]
    cells = 100 * wanted.frame.means().T.ravel()
    page.wait_for_function(
        "() => [...document.querySelector('.ce-surface .js-plotly-plot').data[0].z].every(Number.isFinite)"
    )
    assert opened.drawn("surface", 0, "z") == pytest.approx(cells, rel=1e-5)
    columns, rows = len(wanted.frame.temperatures), len(wanted.frame.alphas)
    page.locator(".ce-surface").scroll_into_view_if_needed()
    box = page.locator(".ce-surface .nsewdrag").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] * 5.5 / columns, box["y"] + box["height"] * (rows - 1.5) / rows
    page.mouse.move(x - 3, y - 3)
    page.mouse.move(x, y, steps=5)
    page.wait_for_selector(".ce-surface .hoverlayer .hovertext")
    page.mouse.click(x, y)
    opened.settle()
    opened.wait_for_value("param-temperature", wanted.frame.temperatures[5])
    opened.wait_for_value("param-alpha", wanted.frame.alphas[1])
    # The students of the cell stand in strip and chart, measured on test, and the cell has its star.
    clicked = (wanted.frame.temperatures[5], wanted.frame.alphas[1])
    accuracies = {
        cell: sum(ce.evaluate(wanted.student(*cell, seed), task).value for seed in wanted.frame.seeds) / 3
        for cell in (clicked, wanted.best())
    }
    shown = float(opened.attribute(".ce-accuracy [data-ce-value]", "data-ce-value"))
    assert shown == pytest.approx(accuracies[clicked], abs=1e-9)
    page.wait_for_function(
        "(star) => document.querySelector('.ce-surface .js-plotly-plot').data[2].marker.size[star] > 0",
        arg=columns + 5,
    )
    drawn = opened.drawn("tradeoff", 3, "y")
    for cell, accuracy in accuracies.items():
        assert any(value == pytest.approx(100 * accuracy, rel=1e-5) for value in drawn), (cell, drawn)


def test_a_drag_is_undone_and_redone_and_the_student_is_saved_beside_the_notebook(opened, server):
    page = opened.page
    before = opened.value("param-alpha")
    opened.drag("param-alpha", 0.9)
    after = opened.value("param-alpha")
    assert after > before
    opened.click("undo")
    opened.settle()
    opened.wait_for_value("param-alpha", before)
    opened.click("redo")
    opened.settle()
    opened.wait_for_value("param-alpha", after)
    opened.click("undo")
    opened.settle()
    opened.click("save")
    page.wait_for_selector(".ce-saved :text('Saved')")
    saved = list(server.root.glob("digits-mlp-student-mlp-16x1-kd-seed*.safetensors"))
    assert [path.name in page.locator(".ce-saved").inner_text() for path in saved] == [True]
    size = opened.attribute(".ce-size [data-ce-value]", "data-ce-value")
    assert saved[0].stat().st_size == int(size)
    frame, seed = surfaced().frame, int(saved[0].stem.rpartition("seed")[2])
    wanted = surfaced().student(frame.temperatures[5], frame.alphas[1], seed)  # the cell that was clicked before
    assert ce.evaluate(ce.load_student(saved[0]), loaded()[1]).value == ce.evaluate(wanted, loaded()[1]).value
    assert page.locator(".ce-distill .ce-error").inner_text() == ""


def test_every_control_is_reached_by_tab_has_a_name_and_moves_nothing(opened):
    page = opened.page
    boxes = lambda: [cell.bounding_box() for cell in page.locator(".ce-distill .ce-strip > * > *").all()]  # noqa: E731
    before = boxes()
    page.locator(".ce-teacher select").focus()
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        inside = page.evaluate(
            """() => {
              const at = document.activeElement;
              if (!at.closest(".ce-distill")) return null;
              const label = at.labels?.[0]?.textContent;
              const name = at.getAttribute("aria-label") || at.title || label || at.textContent;
              return [at.closest("[class*=ce-]").className, name, at.title || at.closest("[title]")?.title || ""];
            }"""
        )
        if inside is None:
            break
        reached.append(inside)
    text = " ".join(place for place, _, _ in reached)
    for wanted in ("example", "student-kind", "student-width", "student-depth", "loss", "param-temperature"):
        assert f"ce-{wanted}" in text
    for wanted in ("param-alpha", "epochs", "seeds", "start", "surface-start", "save", "undo", "reset"):
        assert f"ce-{wanted}" in text
    assert all(name.strip() for _, name, _ in reached), reached
    assert boxes() == before
