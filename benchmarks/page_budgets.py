"""Budgets in the page: a very large model, echoes while the worker measures or trains, unforeseen settings."""

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page

from benchmarks.contenders import ECHO, HEAVY, IMPORTS, LAB, LAG, LARGE
from benchmarks.growth import UNFORESEEN
from benchmarks.in_page import Row, notebook, slider
from compress_explorer.methods import catalogue

PRESSES = 40
LARGE_PRESSES = 40
"""Of the large network, of which each move makes the worker count all weights."""

BLOCK = 10
"""Echoes in a row at rest, then while the worker works."""

WATCH = """
() => {
  const bench = (window.bench = { begun: 0, request: 0, came: {} });
  const asked = () => Number(document.querySelector(".ce-status [data-ce-request]").dataset.ceRequest);
  const begin = () => Object.assign(bench, { begun: performance.now(), request: asked(), came: {} });
  const took = (came, key) => { came[key] ??= performance.now() - bench.begun; };
  const note = (key, came = bench.came) => requestAnimationFrame(() => took(came, key));
  bench.isAccepted = () => asked() > bench.request;
  document.addEventListener("keydown", begin, true);
  document.addEventListener("change", begin, true);
  document.addEventListener("ce-painted", (event) => note(event.detail.figure));
  new MutationObserver(() => note("echo")).observe(
    document.querySelector(".bench-echo-text").closest(".widget-html, .jupyter-widgets"),
    { subtree: true, childList: true, attributes: true },
  );
  new MutationObserver(() => {
    const { ceValue, ceRequest } = document.querySelector(".ce-accuracy [data-ce-request]").dataset;
    if (ceValue && Number(ceRequest) > bench.request) note("accuracy");
  }).observe(document.querySelector(".ce-accuracy"), { subtree: true, attributes: true });
}
"""

KERNEL_VALUE = """
async (expression) => {
  const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const request = { code: "", store_history: false, user_expressions: { value: expression } };
  const reply = await kernel.requestExecute(request).done;
  return reply.content.user_expressions.value.data["text/plain"];
}
"""

SHOWN = "() => document.querySelector('.ce-accuracy [data-ce-request]')?.dataset.ceValue"
AT_REST = "() => /cancelled/.test(document.querySelector('.ce-status').textContent)"


def press(page: Page, selector: str, key: str, came: str) -> float:
    """Milliseconds from a key press on a slider to what is waited for."""
    slider(page, selector).focus()
    page.keyboard.press(key)
    return _came(page, came)


def _came(page: Page, what: str) -> float:
    page.wait_for_function(f"() => bench.came.{what} !== undefined")
    return float(page.evaluate(f"() => bench.came.{what}"))


def ask(page: Page, key: str, came: str) -> float:
    """`press` on the Explorer's slider; returns when the kernel, too, has taken note."""
    took = press(page, ".ce-param-sparsity", key, came)
    page.wait_for_function("() => bench.isAccepted()")
    return took


def rest(page: Page) -> None:
    """Stops the worker, and waits until it has. What it stops, the kernel must have accepted."""
    page.locator(".ce-cancel").click()
    page.wait_for_function(AT_REST)


def turns(count: int) -> list[str]:
    """Keys that move a slider forth and back."""
    return ["ArrowRight" if turn < count // 2 else "ArrowLeft" for turn in range(count)]


def large() -> list[Row]:
    """Echoes at rest and moves of the slider of a network of a hundred million weights, in turn."""
    echoes, pictures = [], []
    with notebook([IMPORTS, ECHO, LARGE]) as page:
        page.wait_for_function(SHOWN)
        rest(page)
        page.evaluate(WATCH)
        for key in turns(LARGE_PRESSES):
            echoes.append(press(page, ".bench-echo", key, "echo"))
            pictures.append(ask(page, key, "histogram"))
            rest(page)
    return [
        Row("bare kernel echo", echoes),
        Row("Explorer: histogram and size, 100 million weights", pictures),
    ]


@dataclass(frozen=True)
class Beside:
    """What was measured beside the worker.

    Attributes:
        idle: echoes while the worker is at rest.
        busy: echoes while it works.
        idle_lag: the longest time in seconds for which the kernel's message loop was not called, at rest.
        busy_lag: the same while the worker works.
    """

    idle: Row
    busy: Row
    idle_lag: float
    busy_lag: float


def beside(page: Page, work: str, start: Callable[[str], object], stop: Callable[[], object]) -> Beside:
    """Echoes with and without the worker at work, in turn.

    Args:
        page: with the echo, and with `LAG` in its kernel.
        work: what the worker does, in words.
        start: makes the worker begin, given one of the `turns`.
        stop: makes it rest.
    """
    times: dict[str, list[float]] = {"idle": [], "busy": []}
    lags: dict[str, list[float]] = {"idle": [], "busy": []}

    def block(name: str) -> None:
        page.evaluate(KERNEL_VALUE, "longest_lag()")
        times[name] += [press(page, ".bench-echo", key, "echo") for key in turns(BLOCK)]
        lags[name].append(float(page.evaluate(KERNEL_VALUE, "longest_lag()")))

    for key in turns(PRESSES // BLOCK):
        block("idle")
        start(key)
        block("busy")
        stop()
    return Beside(
        Row("bare kernel echo, at rest", times["idle"]),
        Row(f"bare kernel echo, while {work}", times["busy"]),
        max(lags["idle"]),
        max(lags["busy"]),
    )


def heavy() -> tuple[Beside, Row]:
    """Echoes beside a network that keeps both cores busy; then first estimates of methods that were not foreseen."""
    with notebook([IMPORTS, ECHO, HEAVY, LAG]) as page:
        page.wait_for_function(SHOWN)
        rest(page)
        page.evaluate(WATCH)
        measured = beside(
            page, "resnet-fashion is measured", lambda key: ask(page, key, "accuracy"), lambda: rest(page)
        )
        estimates = [_estimate(page, step.method) for step in UNFORESEEN]
    return measured, Row("first estimate of resnet-fashion after another method was chosen", estimates)


TRAINS = "() => /epoch/.test(document.querySelector('.ce-distill .ce-status').textContent)"
TRAINS_NO_MORE = """
() => ["exact", "cancelled"].includes(document.querySelector(".ce-distill .ce-status [data-ce-state]").dataset.ceState)
"""


def trained() -> Beside:
    """Echoes beside the training of students of LeNet-300-100."""
    with notebook([IMPORTS, ECHO, LAB, LAG]) as page:
        page.wait_for_function(TRAINS_NO_MORE)
        page.evaluate(WATCH)

        def start(_key: str) -> None:
            page.locator(".ce-distill button.ce-start").click()
            page.wait_for_function(TRAINS)

        def stop() -> None:
            page.locator(".ce-distill button.ce-cancel").click()
            page.wait_for_function(TRAINS_NO_MORE)

        return beside(page, "students are trained", start, stop)


def _estimate(page: Page, method: str) -> float:
    """Milliseconds from the choice of a method to its first estimate."""
    page.locator(".ce-method select").first.select_option(label=catalogue.method(method).label)
    took = _came(page, "accuracy")
    rest(page)
    return took
