"""The main job in JupyterLab in a real browser: the start notebook, driven by keyboard and mouse.

After every move the shown size and accuracy must be the engine's own for the same settings, computed here.
"""

import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import FloatRect, Locator, Page

import compress_explorer as ce
from compress_explorer.engine.layers import inspect_model
from compress_explorer.engine.setting import EXPLORABLE
from compress_explorer.methods import catalogue
from tests.browser import lab

pytestmark = pytest.mark.browser

START = Path(__file__).parents[2] / "notebooks" / "00_start_here.ipynb"

HARD_SPACE = "\xa0"
"""What ipywidgets puts for spaces in a menu."""

EVENTS = """
() => {
  window.painted = [];
  document.addEventListener("ce-painted", (event) => window.painted.push(event.detail));
}
"""

SETTLED = """
(last) => {
  const status = document.querySelector(".ce-status [data-ce-state]");
  const request = status.dataset.ceRequest;
  const same = (name) => document.querySelector(`.ce-${name} [data-ce-value]`).dataset.ceRequest === request;
  return status.dataset.ceState === "exact" && Number(request) > last && same("size") && same("accuracy");
}
"""


class Opened:
    """The explorer on the page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.request = 0
        self.settle()

    def settle(self) -> None:
        """Waits until a newer request than the last one is exact."""
        self.page.wait_for_function(SETTLED, arg=self.request)
        self.request = int(self.attribute(".ce-status [data-ce-request]", "data-ce-request"))

    def attribute(self, selector: str, name: str) -> str:
        value = self.page.locator(selector).first.get_attribute(name)
        assert value is not None
        return value

    def menu(self, name: str) -> Locator:
        return self.page.locator(f".ce-{name} select")

    def slider(self, name: str) -> Locator:
        return self.page.locator(f".ce-param-{name} [role=slider]")

    def chosen(self, name: str) -> str:
        text = self.menu(name).evaluate("select => select.options[select.selectedIndex].textContent")
        return str(text).replace(HARD_SPACE, " ")

    def choose(self, name: str, label: str) -> None:
        """Picks an entry of a menu with the mouse."""
        if self.chosen(name) != label:
            self.menu(name).select_option(label=label.replace(" ", HARD_SPACE))
            self.settle()

    def recipe(self) -> ce.Recipe:
        """The recipe that the controls on the page spell out."""
        labels = {method.label: method for method in EXPLORABLE}
        method = labels[self.chosen("method")]
        values: dict[str, Any] = {}
        for parameter in method.parameters:
            control = self.page.locator(f".ce-param-{parameter.name}")
            if parameter.kind == "choice":
                values[parameter.name] = self.chosen(f"param-{parameter.name}")
            elif control.locator("[role=slider]").count():
                values[parameter.name] = number(control.locator(".widget-readout").inner_text())
            else:
                values[parameter.name] = number(control.locator("input").input_value())
        return ce.Recipe(ce.Step(method.name, **values))

    def shown(self) -> tuple[int, float]:
        size = self.attribute(".ce-size [data-ce-value]", "data-ce-value")
        accuracy = self.attribute(".ce-accuracy [data-ce-value]", "data-ce-value")
        return int(size), float(accuracy)

    def check(self) -> None:
        """What is shown is what the engine computes here, and the histogram counts every weight once."""
        model, task = loaded(self.chosen("model"))
        compressed = ce.compress(model, self.recipe(), task)
        self.check_numbers(compressed, task)
        layer = self.chosen("layer")
        weights = {site.name: site.weights for site in inspect_model(model).sites}
        wanted = sum(weights.values()) if layer == "whole model" else weights[layer]
        assert self.histogram_counts() == {"before": wanted, "after": wanted}

    def check_numbers(self, compressed: ce.CompressedModel, task: ce.Task) -> None:
        """Size and accuracy are those of `compressed`."""
        size, accuracy = self.shown()
        assert size == compressed.size().file
        assert accuracy == pytest.approx(ce.evaluate(compressed, task).value, abs=1e-9)

    def histogram_counts(self) -> dict[str, int]:
        """Sums of the counts that plotly draws; the zeros stand apart from the other compressed weights."""
        return self.page.locator(".ce-histogram .js-plotly-plot").evaluate(
            """plot => {
              const total = (name) => plot.data.find((trace) => trace.name === name).y
                .reduce((sum, count) => sum + Math.round(count), 0);
              return { before: total("before"), after: total("after") + total("zeros") };
            }"""
        )


def number(text: str) -> float | int:
    """A number as a control shows it: "50.0%" is 0.5, "8" is 8."""
    found = float(text.strip().rstrip("%").replace(",", "").replace("−", "-"))  # the readout's minus sign
    if text.strip().endswith("%"):
        return round(found / 100, 4)
    return int(found) if found == int(found) else found


@cache
def loaded(name: str) -> tuple[Any, ce.Task]:
    return ce.load(name)


@pytest.fixture(scope="module")
def start_notebook(browser, server) -> Iterator[Page]:
    """The start notebook, open and run; at the end the browser's console must have had no error."""
    shutil.copy(START, server.root / START.name)
    notebook = lab.open_notebook(browser, server, START.name, width=1280, height=1400)
    notebook.page.evaluate(EVENTS)
    notebook.run_all()
    yield notebook.page
    notebook.page.context.close()
    server.end_kernels()
    assert notebook.problems == []


@pytest.fixture
def explorer(start_notebook) -> Opened:
    """The explorer as it opened."""
    opened = Opened(start_notebook)
    opened.choose("method", labels_of_methods()["integer"])  # so that the reset is a change
    start_notebook.locator(".ce-reset").click()
    opened.settle()
    return opened


def labels_of_methods() -> dict[str, str]:
    return {method.name: method.label for method in EXPLORABLE}


def test_opens_ready_and_exact(explorer):
    explorer.check()
    for name in ("histogram", "tradeoff", "layers", "bytes"):
        assert explorer.page.locator(f".ce-{name} .js-plotly-plot .plot-container").count() == 1


def one_of_each_family() -> list[str]:
    """The first method of every family, and one that is calibrated on data.

    `tests/widgets` drives the controls of all methods, without a browser. Those that train have a test below: the ends
    of their sliders take minutes.
    """
    first = {entry.family: entry.name for entry in reversed(EXPLORABLE) if not entry.trains}
    return [entry.name for entry in EXPLORABLE if entry.name in first.values() or entry.name == "gptq"]


@pytest.mark.parametrize("method", one_of_each_family())
def test_every_control_of_a_method_by_keyboard_and_by_mouse(explorer, method):
    explorer.choose("method", labels_of_methods()[method])
    explorer.check()
    for parameter in catalogue.method(method).parameters:
        if parameter.when is not None:
            explorer.choose(f"param-{parameter.when[0]}", parameter.when[1][0])
            explorer.check()
        if parameter.kind == "choice":
            for choice in parameter.choices:
                explorer.choose(f"param-{parameter.name}", choice)
                explorer.check()
        elif explorer.slider(parameter.name).count():
            press_and_drag(explorer, parameter.name)
        else:
            field = explorer.page.locator(f".ce-param-{parameter.name} input")
            field.fill("7")
            field.press("Enter")
            explorer.settle()
            explorer.check()


def test_a_training_is_told_and_its_rate_is_what_the_slider_says(explorer):
    explorer.choose("model", "digits-mlp")
    explorer.check()
    explorer.choose("method", labels_of_methods()["fine-tune"])
    explorer.check()
    explorer.page.wait_for_function(
        "() => document.querySelector('.ce-status').textContent.includes('the curve is not trained')"
    )
    readout = explorer.page.locator(".ce-param-learning_rate .widget-readout")
    assert readout.inner_text() == "0.001"
    explorer.slider("learning_rate").press("ArrowRight")
    explorer.settle()
    assert readout.inner_text() == "0.00178"
    model, task = loaded("digits-mlp")
    step = ce.Step("fine-tune", learning_rate=0.00177827941)  # of which the readout shows three digits
    explorer.check_numbers(ce.compress(model, step, task), task)


def press_and_drag(explorer: Opened, name: str) -> None:
    """Moves a slider by an arrow key, then with the mouse to one of its ends, and checks what is shown after each."""
    handle = explorer.slider(name)
    readout = explorer.page.locator(f".ce-param-{name} .widget-readout")
    track = explorer.page.locator(f".ce-param-{name} .noUi-base").bounding_box()
    assert track is not None
    before = readout.inner_text()
    handle.press("ArrowRight" if is_at_low_end(handle, track) else "ArrowLeft")
    explorer.settle()
    assert readout.inner_text() != before
    explorer.check()
    target = track["x"] + (0.99 * track["width"] if is_at_low_end(handle, track) else 1)
    box = handle.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    explorer.page.mouse.move(box["x"] + box["width"] / 2, middle)
    explorer.page.mouse.down()
    explorer.page.mouse.move(target, middle, steps=8)
    explorer.page.mouse.up()
    explorer.settle()
    explorer.check()


def is_at_low_end(handle: Locator, track: FloatRect) -> bool:
    """Whether a slider's handle stands at its smallest value."""
    box = handle.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2 < track["x"] + 0.01 * track["width"]


def test_models_and_layers_by_menu_and_by_keyboard(explorer):
    for name in ce.models():
        explorer.choose("model", name)
        explorer.page.locator(".ce-cancel").click()  # the curve; both processes would measure at once
        explorer.check()
    explorer.choose("model", "lenet-300-100")
    menu = explorer.menu("layer")
    menu.focus()
    menu.press("ArrowDown")
    explorer.settle()
    assert explorer.chosen("layer") == "fc1.weight"
    explorer.check()


def test_dragging_draws_every_frame_in_the_browser_with_the_kernel_busy(explorer):
    """The film plays without the kernel: it draws while the kernel cannot answer."""
    page = explorer.page
    page.wait_for_function("() => !document.querySelector('.ce-status').textContent.includes('curve')")
    page.evaluate("() => { window.painted = []; }")
    page.evaluate(
        "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute("
        "{ code: 'import time; time.sleep(4)' })"
    )
    explorer.slider("sparsity").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "() => window.painted.some((d) => d.figure === 'histogram' && Math.abs(d.value - 0.55) < 1e-9)"
    )
    values = page.evaluate("() => window.painted.filter((d) => d.figure === 'histogram').map((d) => d.value)")
    assert values == sorted(values)
    explorer.settle()
    explorer.check()


def test_undo_redo_reset_and_a_second_step(explorer):
    first = explorer.shown()
    explorer.choose("method", labels_of_methods()["integer"])
    second = explorer.shown()
    for button, wanted in (("undo", first), ("redo", second), ("reset", first)):
        explorer.page.locator(f".ce-{button}").click()
        explorer.settle()
        assert explorer.shown() == wanted
    explorer.page.locator(".ce-add-step").click()
    explorer.settle()
    model, task = loaded("lenet-300-100")
    recipe = ce.Recipe([ce.Step("magnitude"), ce.Step("integer")])
    explorer.check_numbers(ce.compress(model, recipe), task)


def test_walk_by_tab_reaches_every_control_and_each_has_a_name(explorer):
    page = explorer.page
    explorer.menu("model").focus()
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        inside = page.evaluate(
            """() => {
              const at = document.activeElement;
              if (!at.closest(".ce-explorer")) return null;
              const label = at.labels?.[0]?.textContent;
              const name = at.getAttribute("aria-label") || at.title || label || at.textContent;
              return [at.closest("[class*=ce-]").className, name];
            }"""
        )
        if inside is None:
            break
        reached.append(inside)
    text = " ".join(place for place, _ in reached)
    for wanted in ("ce-method", "ce-param-sparsity", "ce-layer", "ce-split", "ce-reset"):
        assert wanted in text
    assert all(name.strip() for _, name in reached), reached


def test_nothing_in_the_strip_moves_while_numbers_change(explorer):
    page = explorer.page
    boxes = lambda: [cell.bounding_box() for cell in page.locator(".ce-strip > *").all()]  # noqa: E731
    before = boxes()
    explorer.slider("sparsity").focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    explorer.settle()
    assert boxes() == before


def test_a_reloaded_page_shows_the_same(explorer):
    """The kernel holds the state; a page that comes back draws it again."""
    shown = explorer.shown()
    page = explorer.page
    page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("() => !jupyterapp.shell.currentWidget.model.dirty")
    page.reload()
    page.wait_for_selector(".ce-size [data-ce-value]")
    page.wait_for_selector(".ce-histogram .js-plotly-plot")
    assert re.match(r"\d", page.locator(".ce-size .ce-main").inner_text())
    assert explorer.shown() == shown
