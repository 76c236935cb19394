"""From a key press on a slider to pixels, in JupyterLab in Chromium: Explorer, bare kernel echo, today's notebook.

All three stand in one notebook in one page and take turns, a key press each, so that whatever else the machine does
befalls them alike. Times are the page's own clock: from the key's event to the animation frame after the change.
"""

from playwright.sync_api import Locator, Page

from benchmarks.contenders import ECHO, EXPLORER, NAIVE, SETUP
from benchmarks.in_page import Row, notebook, slider

PRESSES = 40

WATCH = """
() => {
  const bench = (window.bench = { pressed: 0, painted: {}, exact: {} });
  const note = (store, key) => requestAnimationFrame(() => { store[key] ??= performance.now() - bench.pressed; });
  document.addEventListener("keydown", () => {
    bench.pressed = performance.now();
    bench.painted = {};
    bench.exact = {};
  }, true);
  bench.attribute = (selector, key, store) => new MutationObserver(() => {
    if (document.querySelector(selector)?.dataset[key]) note(bench[store], selector);
  }).observe(document.querySelector(selector).closest(".widget-html, .jupyter-widgets"),
    { subtree: true, childList: true, attributes: true });
  document.addEventListener("ce-painted", (event) => note(bench.painted, event.detail.figure));
  new MutationObserver(() => {
    if (document.querySelector(".ce-status [data-ce-state]").dataset.ceState === "exact") note(bench.exact, "explorer");
  }).observe(document.querySelector(".ce-status"), { subtree: true, attributes: true });
  document.querySelector(".js-plotly-plot").on?.("plotly_afterplot", () => note(bench.painted, "naive"));
  bench.attribute(".bench-echo-text", "value", "painted");
  bench.attribute(".bench-naive-text", "value", "exact");
}
"""


def run() -> list[Row]:
    """Measures, checks that both notebooks show the same accuracy, and returns the rows."""
    with notebook([SETUP, ECHO, NAIVE, EXPLORER]) as page:
        return measure(page)


def measure(page: Page) -> list[Row]:
    """Presses keys on the three sliders in turn."""
    page.wait_for_selector('.ce-status [data-ce-state="exact"]')
    page.wait_for_selector(".js-plotly-plot .bars")
    page.wait_for_function("() => document.querySelector('.ce-status').textContent.includes('curve') === false")
    page.evaluate(WATCH)
    echo, naive = slider(page, ".bench-echo"), slider(page, ".bench-naive")
    ours = slider(page, ".ce-param-sparsity")
    times: dict[str, list[float]] = {}

    def press(handle: Locator, key: str, wanted: dict[str, str], settled: str) -> None:
        handle.focus()
        page.keyboard.press(key)
        page.wait_for_function(settled)
        for name, expression in wanted.items():
            times.setdefault(name, []).append(float(page.evaluate(expression)))

    for turn in range(PRESSES):
        key = "ArrowRight" if turn < PRESSES // 2 else "ArrowLeft"
        press(echo, key, {"bare kernel echo": "bench.painted['.bench-echo-text']"}, ECHOED)
        press(ours, key, EXPLORER_TIMES, EXPLORED)
        press(naive, key, NAIVE_TIMES, NAIVELY)
        compare(page)
    return [Row(name, values) for name, values in times.items()]


ECHOED = "() => bench.painted['.bench-echo-text'] !== undefined"
EXPLORED = "() => bench.painted.histogram !== undefined && bench.exact.explorer !== undefined"
NAIVELY = "() => bench.painted.naive !== undefined && bench.exact['.bench-naive-text'] !== undefined"
EXPLORER_TIMES = {
    "Explorer: histogram and size": "bench.painted.histogram",
    "Explorer: exact accuracy, foreseen": "bench.exact.explorer",
}
NAIVE_TIMES = {
    "today's notebook: histogram": "bench.painted.naive",
    "today's notebook: accuracy": "bench.exact['.bench-naive-text']",
}


def compare(page: Page) -> None:
    """Both have pruned to the same sparsity on the same test set: the accuracy must be the same."""
    naive = page.locator(".bench-naive-text").get_attribute("data-accuracy")
    ours = page.locator(".ce-accuracy [data-ce-value]").first.get_attribute("data-ce-value")
    assert naive is not None
    assert ours is not None
    assert abs(float(naive) - float(ours)) < 1e-9, f"today's notebook shows {naive}, the Explorer {ours}"
