"""The Stage's own module in a plain page, with neither kernel nor network: what it draws is what Python would draw."""

import base64
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from plotly.offline import get_plotlyjs

from compress_explorer.figures import breakdown, layers, trade_off, weights_histogram
from compress_explorer.figures.bindings import apply_bindings
from compress_explorer.figures.panel import Panel
from compress_explorer.figures.theme import template
from compress_explorer.spec.parameter import Parameter
from compress_explorer.spec.sweep import Sweep
from compress_explorer.widgets import film as films
from compress_explorer.widgets.arrangement import EXPLORER
from compress_explorer.widgets.module import stage_module, stage_styles
from tests.figures import synthetic

pytestmark = pytest.mark.browser

VALUES = (0.0, 0.3, 0.5, 0.9, 0.97)
WEIGHTS = synthetic.network()
BEFORE = synthetic.before(WEIGHTS)
FIGURES = ("histogram", "tradeoff", "layers", "bytes")

MOUNT = """
async ([module, plotly, state]) => {
  const { loadPlotly, mount } = await import(URL.createObjectURL(new Blob([module], { type: "text/javascript" })));
  window.decode = ({ film, ...rest }) => {
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    if (film) for (const array of Object.values(film.arrays)) array.data = bytes(array.data);
    return film ? { film, ...rest } : rest;
  };
  window.bytes = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  window.painted = [];
  window.sent = [];
  document.addEventListener("ce-painted", (event) => window.painted.push(event.detail));
  window.stage = mount(document.getElementById("stage"), decode(state), {
    plotly: loadPlotly(async () => plotly),
    send: (message) => window.sent.push(message),
  });
}
"""


def plain(film: dict[str, Any]) -> dict[str, Any]:
    """A film as JSON holds it: its bytes in base64."""
    arrays = {
        name: {"shape": array["shape"], "data": base64.b64encode(bytes(array["data"])).decode()}
        for name, array in film["arrays"].items()
    }
    return {**film, "arrays": arrays}


class StagePage:
    """A page with one Stage."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def mount(
        self,
        sweep: Sweep,
        parameter: Parameter,
        value: float,
        *,
        plotly: str = "",
        before: films.Before = BEFORE,
        **state: Any,
    ) -> None:
        whole = {
            "film": plain(films.film(sweep, "key", parameter, before)),
            "figures": films.figures(sweep, parameter, before),
            "templates": {"light": template("light"), "dark": template("dark")},
            "status": {"request": 1, "state": "exact", "position": 0, "text": "", "progress": None},
            "theme": "light",
            "arrangement": EXPLORER,
            "value": value,
            **state,
        }
        self.page.evaluate(MOUNT, [stage_module(), plotly or get_plotlyjs(), whole])

    def update(self, **changes: Any) -> None:
        """Hands changes to the Stage and waits until all figures are drawn."""
        self.page.evaluate("(changes) => { painted.length = 0; stage.update(decode(changes)); }", changes)
        self.settle()

    def patch(self, patch: films.Patch) -> None:
        numbers = base64.b64encode(patch.numbers).decode()
        self.page.evaluate("([patch, numbers]) => stage.patch(patch, bytes(numbers))", [patch.message, numbers])

    def settle(self) -> None:
        """Waits until every figure was drawn for what is shown now."""
        self.page.wait_for_function(
            f"() => {json.dumps(FIGURES)}.every((name) => painted.some((e) => e.figure === name))"
        )

    def drawn(self, name: str) -> dict[str, Any]:
        """What plotly has in hand, NaN as None."""
        found = self.page.evaluate(
            """(name) => {
              const plot = document.querySelector(`.ce-${name} .js-plotly-plot`);
              const { template, ...layout } = plot.layout;
              return JSON.stringify({ data: plot.data, layout });
            }""",
            name,
        )
        return dict(json.loads(found))

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def readout(self, name: str) -> dict[str, str]:
        return dict(self.page.locator(f".ce-{name} [data-ce-request]").evaluate("(part) => ({ ...part.dataset })"))


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., StagePage]]:
    """Opens plain pages; after the test each must be free of errors."""
    contexts = []
    problems: list[str] = []

    def open_one(*, width: int = 1280, expect_errors: bool = False) -> StagePage:
        context = browser.new_context(viewport={"width": width, "height": 1000}, offline=True)
        contexts.append(context)
        page = context.new_page()
        if not expect_errors:
            page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: problems.append(str(error)))
        page.set_content(f"<style>{stage_styles()}</style><div id='stage'></div>")
        return StagePage(page)

    yield open_one
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="module")
def pruning():
    return synthetic.sparsity_sweep(WEIGHTS, VALUES)


@pytest.fixture(scope="module")
def quantization():
    return synthetic.bits_sweep(WEIGHTS)


def panels(sweep: Sweep, label: str) -> dict[str, Panel]:
    return {
        "histogram": weights_histogram.panel(sweep),
        "tradeoff": trade_off.panel(sweep, label),
        "layers": layers.panel(BEFORE),
        "bytes": breakdown.panel(),
    }


def assert_draws_like_python(stage: StagePage, sweep: Sweep, parameter: Parameter, index: int, log: bool = False):
    """Every bound place of every figure holds in the browser what `apply_bindings` puts there."""
    film = films.film(sweep, "key", parameter, BEFORE)
    for name, panel in panels(sweep, parameter.label).items():
        shown = panel.logarithmic if log and panel.logarithmic else panel
        wanted = apply_bindings(shown.figure, shown.bindings, films.numbers(film), index, film["texts"])
        drawn, expected = stage.drawn(name), wanted.to_plotly_json()
        for binding in shown.bindings:
            assert_same(place(drawn, binding.path), place(expected, binding.path), f"{name} {binding}")


def place(figure: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        figure = figure[key]
    return figure


def assert_same(drawn: Any, wanted: Any, where: str) -> None:
    if isinstance(wanted, str) or (isinstance(wanted, list | tuple) and wanted and isinstance(wanted[0], str)):
        assert drawn == (wanted if isinstance(wanted, str) else list(wanted)), where
        return
    numbers = [math.nan if entry is None else entry for entry in np.atleast_1d(drawn).tolist()]
    assert np.allclose(numbers, np.atleast_1d(wanted).astype(float), rtol=1e-6, equal_nan=True), where


def test_every_position_is_drawn_as_python_draws_it(opened, pruning):
    stage = opened()
    stage.mount(pruning, synthetic.SPARSITY, 0.0)
    stage.settle()
    for index in (3, 4, 1, 2, 0):
        stage.update(value=VALUES[index])
        assert_draws_like_python(stage, pruning, synthetic.SPARSITY, index)


def test_the_logarithmic_figures_too(opened, pruning):
    stage = opened()
    stage.mount(pruning, synthetic.SPARSITY, 0.9)
    stage.settle()
    stage.page.evaluate("() => { painted.length = 0; }")
    for button in stage.page.locator(".ce-log").all():
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
    stage.page.wait_for_function("() => new Set(painted.map((e) => e.figure)).size === 2")
    assert_draws_like_python(stage, pruning, synthetic.SPARSITY, 3, log=True)


def test_another_film_replaces_every_number(opened, pruning, quantization):
    stage = opened()
    stage.mount(pruning, synthetic.SPARSITY, 0.9)
    stage.settle()
    stage.update(
        figures=films.figures(quantization, synthetic.BITS, BEFORE),
        film=plain(films.film(quantization, "key", synthetic.BITS, BEFORE)),
        value=4,
    )
    assert_draws_like_python(stage, quantization, synthetic.BITS, 3)
    bars = stage.page.locator(".ce-layers .bars .point path").evaluate_all(
        "(bars) => bars.map((bar) => bar.getBBox().width)"
    )
    # The drawn bars too, not only plotly's data: before and after of three layers, in proportion.
    sizes = [*BEFORE.values(), *(size for _, size in quantization.frames[3].layer_bytes)]
    assert np.allclose(np.array(bars) / bars[0], np.array(sizes) / sizes[0], atol=0.01)


def test_the_strip_says_what_the_film_says(opened, pruning):
    stage = opened()
    stage.mount(pruning, synthetic.SPARSITY, 0.9, status=status(7, "exact", 3, "10,000 of 10,000"))
    stage.settle()
    frame, evaluation = pruning.frames[3], pruning.evaluations[3]
    assert stage.readout("size") == {"ceValue": str(frame.file), "ceRequest": "7"}
    assert float(stage.readout("accuracy")["ceValue"]) == evaluation.value
    assert stage.readout("status") == {"ceRequest": "7", "ceState": "exact"}
    assert stage.text(".ce-size .ce-main") == "141.8 KB"
    assert stage.text(".ce-status .ce-line") == "10,000 of 10,000"
    assert "Zeros 90.0 %" in stage.page.locator(".ce-histogram [role=img]").get_attribute("aria-label")
    events = stage.page.evaluate("() => painted")
    assert {event["figure"] for event in events} == set(FIGURES)
    assert events[-1] | {"figure": ""} == {
        "figure": "",
        "parameter": "sparsity",
        "value": 0.9,
        "request": 7,
        "state": "exact",
    }


def status(request: int, state: str, position: int | None, text: str = "") -> dict[str, Any]:
    return {"request": request, "state": state, "position": position, "text": text, "progress": None}


def test_ahead_of_the_kernel_nothing_is_exact(opened, pruning):
    stage = opened()
    stage.mount(pruning, synthetic.SPARSITY, 0.9, status=status(1, "exact", 3))
    stage.settle()
    stage.update(value=0.97)
    assert stage.readout("status")["ceState"] == "estimating"
    assert stage.readout("size")["ceValue"] == str(pruning.frames[4].file)
    stage.page.evaluate("(status) => stage.update({ status })", status(2, "exact", 4))
    stage.page.wait_for_selector(".ce-status [data-ce-state=exact][data-ce-request='2']")
    stage.page.evaluate("(status) => stage.update({ status })", status(3, "error", None, "No such layer."))
    stage.page.wait_for_selector(".ce-status [data-ce-state=error]")
    assert stage.text(".ce-status .ce-line") == "No such layer."


def test_a_rounded_value_is_its_position(opened, pruning):
    stage = opened()
    stage.mount(pruning, synthetic.SPARSITY, 0.9000000000000001, status=status(1, "exact", 3))
    stage.settle()
    assert stage.readout("status")["ceState"] == "exact"
    assert stage.page.evaluate("() => painted[0].value") == 0.9


def test_patches_fill_in_what_is_measured_later(opened, pruning):
    unmeasured = replace(pruning, evaluations=(None,) * 5, baseline=None)
    stage = opened()
    stage.mount(unmeasured, synthetic.SPARSITY, 0.9)
    stage.settle()
    assert stage.text(".ce-accuracy .ce-main") == "…"
    film = films.film(unmeasured, "key", synthetic.SPARSITY, BEFORE)
    known = list(unmeasured.evaluations)
    for index in (3, 0, 4):
        known[index] = pruning.evaluations[index]
        patch = films.patch(film, replace(pruning, evaluations=tuple(known)), index, BEFORE)
        films.apply_patch(film, patch)
        stage.patch(patch)
    stage.page.wait_for_function(
        "(text) => document.querySelector('.ce-accuracy .ce-main').textContent === text",
        arg=film["texts"]["accuracy"][3],
    )
    stage.update(value=0.97)
    partly = replace(pruning, evaluations=tuple(known))
    assert_draws_like_python(stage, partly, synthetic.SPARSITY, 4)
    # The baseline and the curve are on the page, not only in plotly's data.
    assert stage.page.locator(".ce-tradeoff .shapelayer path").count() == 3
    assert stage.page.locator(".ce-tradeoff .scatterlayer .lines .js-line").count() >= 1


def test_a_patch_of_another_film_is_ignored(opened, pruning):
    stage = opened()
    stage.mount(pruning, synthetic.SPARSITY, 0.9)
    stage.settle()
    other = {**films.film(pruning, "other", synthetic.SPARSITY, BEFORE)}
    stage.patch(films.patch(other, replace(pruning, evaluations=(None,) * 5), 3, BEFORE))
    stage.update(value=0.5)
    stage.update(value=0.9)
    assert stage.text(".ce-accuracy .ce-main") == "87.80 %"


def test_names_of_a_model_are_shown_and_not_interpreted(opened):
    evil = "<img src=x onerror=window.hacked=1><b>bold</b>"
    weights = {evil: WEIGHTS["fc3.weight"], "fc<script>window.hacked=1</script>": WEIGHTS["fc2.weight"]}
    before = synthetic.before(weights)
    sweep = synthetic.sparsity_sweep(weights, (0.5,))
    stage = opened()
    stage.mount(
        sweep,
        synthetic.SPARSITY,
        0.5,
        before=before,
        figures=films.figures(sweep, synthetic.SPARSITY, before, evil),
        status=status(1, "error", None, evil),
    )
    stage.settle()
    assert stage.text(".ce-histogram .ce-title") == evil
    assert stage.text(".ce-status .ce-line") == evil
    assert stage.page.locator(".ce-layers .ytick text").first.text_content() == "<img src=x…>bold</b>"
    assert stage.page.locator("#stage img, #stage b, #stage script").count() == 0
    assert stage.page.evaluate("() => window.hacked") is None


def test_readouts_keep_their_place(opened, pruning):
    stage = opened()
    stage.mount(pruning, synthetic.SPARSITY, 0.97)
    stage.settle()
    places = []
    for value in VALUES:
        stage.update(value=value)
        places.append(
            stage.page.locator(".ce-cell, .ce-figure, .ce-main").evaluate_all(
                "(parts) => parts.map((p) => { const b = p.getBoundingClientRect(); return [b.x, b.y, b.height]; })"
            )
        )
    assert all(place == places[0] for place in places)


@pytest.mark.parametrize("width", [1920, 1280, 900, 640, 420])
def test_nothing_is_wider_than_the_page(opened, pruning, width):
    stage = opened(width=width)
    stage.mount(pruning, synthetic.SPARSITY, 0.3)
    stage.settle()
    assert stage.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    overflowing = stage.page.locator(".ce-number, .ce-line, .ce-title").evaluate_all(
        "(parts) => parts.filter((part) => part.scrollWidth > part.clientWidth + 1).map((part) => part.textContent)"
    )
    if width >= 640:
        assert overflowing == []


def test_the_theme_changes_text_and_grid(opened, pruning):
    stage = opened()
    stage.mount(pruning, synthetic.SPARSITY, 0.3)
    stage.settle()
    ink = "() => getComputedStyle(document.querySelector('.ce-histogram .xtick text')).fill"
    light = stage.page.evaluate(ink)
    stage.update(theme="dark")
    dark = stage.page.evaluate(ink)
    assert light == "rgb(36, 41, 47)"
    assert dark == "rgb(230, 232, 235)"
    stage.page.evaluate("() => document.body.setAttribute('data-jp-theme-light', 'true')")
    stage.update(theme="auto")
    assert stage.page.evaluate(ink) == light


def test_a_hidden_stage_draws_when_it_is_seen(opened, pruning):
    stage = opened()
    stage.page.evaluate("() => { document.getElementById('stage').style.display = 'none'; }")
    stage.mount(pruning, synthetic.SPARSITY, 0.3)
    stage.page.evaluate("() => stage.update({ value: 0.9 })")
    stage.page.wait_for_timeout(300)
    assert stage.page.evaluate("() => painted.length") == 0
    stage.page.evaluate("() => { document.getElementById('stage').style.display = ''; }")
    stage.settle()
    assert_draws_like_python(stage, pruning, synthetic.SPARSITY, 3)


def test_a_fast_drag_ends_on_the_last_value(opened, pruning):
    stage = opened()
    stage.mount(pruning, synthetic.SPARSITY, 0.0)
    stage.settle()
    stage.page.evaluate(
        """async (values) => {
          for (let i = 0; i < 60; i++) {
            stage.update({ value: values[i % values.length] });
            if (i % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
          }
        }""",
        list(VALUES),
    )
    stage.update(value=0.9)
    stage.page.wait_for_function(
        "() => ['layers', 'bytes'].every((name) => painted.filter((e) => e.figure === name).at(-1).value === 0.9)"
    )
    assert_draws_like_python(stage, pruning, synthetic.SPARSITY, 3)


def test_a_click_on_the_curve_is_told(opened, pruning):
    stage = opened()
    stage.mount(pruning, synthetic.SPARSITY, 0.3)
    stage.settle()
    point = stage.page.locator(".ce-tradeoff .scatterlayer .point").nth(3).bounding_box()
    stage.page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    stage.page.mouse.down()
    stage.page.mouse.up()
    stage.page.wait_for_function("() => sent.length > 0")
    sent = stage.page.evaluate("() => sent[0]")
    assert (sent["type"], sent["figure"], sent["point"]) == ("click", "tradeoff", 3)


def test_a_failure_is_said_where_the_figures_would_be(opened, pruning):
    stage = opened(expect_errors=True)
    stage.mount(pruning, synthetic.SPARSITY, 0.9, plotly="throw new Error('broken');")
    stage.page.wait_for_selector(".ce-fallback[role=alert]")
    assert "plotly.js did not load" in stage.text(".ce-fallback")
    assert stage.text(".ce-size .ce-main") == "141.8 KB"


def test_an_ended_stage_leaves_nothing(opened, pruning):
    stage = opened()
    stage.mount(pruning, synthetic.SPARSITY, 0.9)
    stage.settle()
    stage.page.evaluate("() => { stage.update({ value: 0.3 }); stage.destroy(); }")
    stage.page.wait_for_timeout(300)
    assert stage.page.locator("#stage > *").count() == 0
