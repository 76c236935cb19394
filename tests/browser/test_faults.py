"""Faults put in by hand in JupyterLab in a real browser: a reload, a second view, a shared model, an interrupt.

After each the explorer must show the kernel's state with the engine's own numbers, and the next move must work.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

import compress_explorer as ce
from compress_explorer.methods import catalogue
from tests.browser.lab import PATIENCE, NotebookPage, Server, await_idle_kernel
from tests.browser.test_explorer import HARD_SPACE, loaded

pytestmark = pytest.mark.browser

FIGURES = ("histogram", "tradeoff", "layers", "bytes")

EVENTS = """() => {
  window.painted = [];
  document.addEventListener("ce-painted", ({ target, detail }) => {
    const roots = [...document.querySelectorAll(".ce-explorer")];
    window.painted.push({ view: roots.indexOf(target.closest(".ce-explorer")), ...detail });
  });
}"""

SETTLED = """([place, request]) => {
  const root = document.querySelectorAll(".ce-explorer")[place];
  const status = root?.querySelector(".ce-status [data-ce-state]");
  const same = (name) => {
    const found = root.querySelector(`.ce-${name} [data-ce-value]`);
    return found.dataset.ceRequest === status.dataset.ceRequest && found.dataset.ceValue !== "";
  };
  return status?.dataset.ceState === "exact" && Number(status.dataset.ceRequest) >= request
    && same("size") && same("accuracy");
}"""

ASK = """async (code) => {
  const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const future = kernel.requestExecute({ code: "import json", user_expressions: { found: `json.dumps(${code})` } });
  const { content } = await future.done;
  const { found } = content.user_expressions;
  if (found.status !== "ok") throw new Error(`${found.ename}: ${found.evalue}`);
  return found.data["text/plain"].slice(1, -1);
}"""

BUSY = """(seconds) => void jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute(
  { code: `import time; time.sleep(${seconds})` })"""


def ask(page: Page, code: str) -> Any:
    """The value of a Python expression in the kernel, as JSON holds it."""
    return json.loads(page.evaluate(ASK, code).replace("\\'", "'"))


class View:
    """One of the explorers' views on the page."""

    def __init__(self, page: Page, place: int = 0) -> None:
        self.page, self.place = page, place
        self.root = page.locator(".ce-explorer").nth(place)

    def settle(self, request: int = 0) -> "View":
        """Waits until what is shown is exact, of this request or a newer one."""
        self.page.wait_for_function(SETTLED, arg=[self.place, request])
        return self

    @property
    def request(self) -> int:
        return int(str(self.root.locator(".ce-status [data-ce-request]").get_attribute("data-ce-request")))

    def slider(self, name: str = "sparsity") -> Locator:
        return self.root.locator(f".ce-param-{name} [role=slider]")

    def readout(self, name: str = "sparsity") -> str:
        return self.root.locator(f".ce-param-{name} .widget-readout").inner_text()

    def press(self, *keys: str) -> None:
        """Moves the slider by keys and waits until all of it is exact."""
        before = self.request
        self.slider().focus()
        for key in keys:
            self.page.keyboard.press(key)
        self.settle(before + 1)

    def shown(self) -> tuple[int, float]:
        size, accuracy = (
            str(self.root.locator(f".ce-{name} [data-ce-value]").get_attribute("data-ce-value"))
            for name in ("size", "accuracy")
        )
        return int(size), float(accuracy)

    def check(self, sparsity: float, model: Any, task: ce.Task) -> None:
        """The slider stands at `sparsity`, and size and accuracy are those that are computed here."""
        assert self.readout() == f"{sparsity:.1%}"
        compressed = ce.compress(model, ce.Step("magnitude", sparsity=sparsity), task)
        size, accuracy = self.shown()
        assert size == compressed.size().file
        assert accuracy == pytest.approx(ce.evaluate(compressed, task).value, abs=1e-9)

    def check_figures(self) -> None:
        for name in FIGURES:
            self.root.locator(f".ce-{name} .js-plotly-plot .plot-container").wait_for()


def exact(model: Any, task: ce.Task, *steps: ce.Step) -> list[ce.Evaluation]:
    """The evaluation of each step alone."""
    return [ce.evaluate(ce.compress(model, step, task), task) for step in steps]


def opened(notebook: NotebookPage, views: int = 1) -> list[View]:
    """The views on the page of a notebook that is run, all exact."""
    notebook.page.evaluate(EVENTS)
    notebook.run_all()
    return [View(notebook.page, place).settle() for place in range(views)]


def test_a_page_that_is_reloaded_in_mid_drag_shows_the_kernels_state(server: Server, open_notebook: Callable):
    notebook = open_notebook(
        server.write_notebook("reload.ipynb", ["import compress_explorer as ce\ne = ce.explore('lenet-5')\ne"])
    )
    (view,) = opened(notebook)
    page = notebook.page
    notebook.command("docmanager:save")
    page.evaluate(BUSY, 2)
    view.slider().focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.reload()
    page.wait_for_function("() => window.jupyterapp && jupyterapp.shell.currentWidget")
    page.evaluate("() => jupyterapp.restored")
    await_idle_kernel(page)
    state = ask(page, "[e._request[1], dict(e.state.active.values)['sparsity']]")
    view.settle(state[0]).check(state[1], *loaded("lenet-5"))
    view.check_figures()
    view.press("ArrowLeft")
    view.check(round(state[1] - 0.01, 4), *loaded("lenet-5"))


TWO_VIEWS = [
    "import compress_explorer as ce\ne = ce.explore('digits-mlp')\ne.wait(60)\ne",
    "e",
]


def test_two_views_of_one_explorer_follow_each_other(server: Server, open_notebook: Callable):
    notebook = open_notebook(server.write_notebook("views.ipynb", TWO_VIEWS), height=1800)
    first, second = opened(notebook, 2)
    page = notebook.page
    model = loaded("digits-mlp")
    for view in (first, second):
        view.check(0.5, *model)
        view.check_figures()
    for mover, key, sparsity in ((first, "ArrowRight", 0.51), (second, "ArrowRight", 0.52), (first, "ArrowLeft", 0.51)):
        page.evaluate("() => { window.painted = []; }")
        mover.press(key)
        for view in (first, second):
            view.settle(mover.request).check(sparsity, *model)
        page.wait_for_function(
            "(value) => [0, 1].every((view) => ['histogram', 'tradeoff', 'layers', 'bytes'].every((figure) =>"
            " painted.some((e) => e.view === view && e.figure === figure && e.value === value)))",
            arg=sparsity,
        )
    notebook.command("notebook:move-cursor-up")
    page.evaluate("() => { jupyterapp.shell.currentWidget.content.activeCellIndex = 0; }")
    notebook.command("notebook:clear-cell-output")
    page.wait_for_function("() => document.querySelectorAll('.ce-explorer').length === 1")
    left = View(page)
    left.press("ArrowRight", "ArrowRight")
    left.check(0.53, *model)


OWN_MODEL = """
import copy, torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 5))
x = torch.randn(3000, 20)
y = copy.deepcopy(model).eval()(x).argmax(1)
before = copy.deepcopy(model)
"""

UNCHANGED = """[
  all(torch.equal(tensor, before.state_dict()[name]) for name, tensor in model.state_dict().items()),
  [module.training for module in model.modules()] == [module.training for module in before.modules()],
  all(parameter.grad is None for parameter in model.parameters()),
]"""


def test_two_explorers_share_a_model(server: Server, open_notebook: Callable):
    explorer = "ce.explore(model, test=(x, y), train=(x, y))"
    cells = [OWN_MODEL + "import compress_explorer as ce", f"a = {explorer}\na", f"b = {explorer}\nb"]
    notebook = open_notebook(server.write_notebook("shared.ipynb", cells), height=1800)
    views = opened(notebook, 2)
    own: dict[str, Any] = {}
    exec(OWN_MODEL, own)
    task = ce.Task(name="own", test=ce.Split(own["x"], own["y"]))
    for turn in range(2):
        for view, key in zip(views, ("ArrowRight", "ArrowLeft"), strict=True):
            view.slider().focus()
            for _ in range(3):
                notebook.page.keyboard.press(key)
        for view, way in zip(views, (1, -1), strict=True):
            notebook.page.wait_for_function(
                "([place, text]) => document.querySelectorAll('.ce-explorer')[place]"
                ".querySelector('.ce-param-sparsity .widget-readout').textContent === text",
                arg=[view.place, f"{0.5 + 0.03 * way * (turn + 1):.1%}"],
            )
    for name, view, sparsity in zip("ab", views, (0.56, 0.44), strict=True):
        view.settle(ask(notebook.page, f"{name}._request[1]")).check(sparsity, own["model"].eval(), task)
    assert ask(notebook.page, UNCHANGED) == [True] * 3


STOP = '.jp-NotebookPanel-toolbar [data-command="notebook:interrupt-kernel"]'

OUTPUTS = "(place) => jupyterapp.shell.currentWidget.model.toJSON().cells[place].outputs"

LONG = [
    """import compress_explorer as ce
from compress_explorer import progress_line
progress_line.PATIENCE = 0
model, task = ce.load("lenet-5")""",
    "found = ce.sweep(model, task, 'magnitude', sparsity=[0.5, 0.6, 0.7, 0.8, 0.9, 0.95])",
    "found = ce.sensitivity(model, task, 'integer', bits=[2, 3, 4])",
]


def run_cell(notebook: NotebookPage, place: int) -> None:
    """Starts a cell and does not wait."""
    notebook.page.evaluate(
        """(place) => {
          jupyterapp.shell.currentWidget.content.activeCellIndex = place;
          jupyterapp.commands.execute("notebook:run-cell");
        }""",
        place,
    )


def await_interrupt(page: Page, place: int) -> None:
    """Waits until a cell shows that it was interrupted."""
    page.wait_for_function(
        f"(place) => ({OUTPUTS})(place).some((output) => output.ename === 'KeyboardInterrupt')", arg=place
    )


def test_a_long_call_is_interrupted_and_repeated(server: Server, open_notebook: Callable):
    notebook = open_notebook(server.write_notebook("long.ipynb", LONG))
    page = notebook.page
    model, task = loaded("lenet-5")
    run_cell(notebook, 0)
    await_idle_kernel(page)
    sparsities = [ce.Step("magnitude", sparsity=value) for value in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)]
    layers = [name for name in model.state_dict() if name.endswith("weight")]
    of_layers = [ce.Step("integer", bits=bits, layers=(name,)) for name in layers for bits in (2, 3, 4)]
    for place, name, found, steps in (
        (1, "sweep", "[entry.value for entry in found.evaluations]", sparsities),
        (2, "sensitivity", "[entry.value for row in found.evaluations for entry in row]", of_layers),
    ):
        run_cell(notebook, place)
        expect(page.locator(".jp-Cell").nth(place).locator(".jp-OutputArea")).to_contain_text(
            f"{name}: ", timeout=PATIENCE
        )
        page.locator(STOP).click()
        await_interrupt(page, place)
        await_idle_kernel(page)
        fresh = "{name: t.tolist() for name, t in ce.load('lenet-5')[0].state_dict().items()}"
        assert ask(page, f"{{name: t.tolist() for name, t in model.state_dict().items()}} == {fresh}")
        run_cell(notebook, place)
        await_idle_kernel(page)
        assert ask(page, found) == pytest.approx([entry.value for entry in exact(model, task, *steps)], abs=1e-9)


def test_neither_an_interrupt_nor_a_cancel_ends_the_worker(server: Server, open_notebook: Callable):
    cells = ["import time\nimport compress_explorer as ce\ne = ce.explore('lenet-5')\ne", "e.wait()\ntime.sleep(600)"]
    notebook = open_notebook(server.write_notebook("interrupt.ipynb", cells))
    page = notebook.page
    page.evaluate(EVENTS)
    run_cell(notebook, 0)
    view = View(page).settle()
    # With the kernel idle, then while a cell waits.
    for cell, sparsity in ((None, 0.51), (1, 0.52)):
        request = view.request
        view.slider().press("ArrowRight")
        if cell is not None:
            run_cell(notebook, cell)
            page.wait_for_function(
                "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'busy'"
            )
        page.locator(STOP).click()
        if cell is not None:
            await_interrupt(page, cell)
        view.settle(request + 1).check(sparsity, *loaded("lenet-5"))
    menu = view.root.locator(".ce-method select")
    menu.select_option(label=catalogue.method("taylor").label.replace(" ", HARD_SPACE))
    line = view.root.locator(".ce-status .ce-line")
    expect(line).to_contain_text("gradients: ", timeout=PATIENCE)
    view.root.locator(".ce-cancel").click()
    expect(line).to_have_text("cancelled", timeout=PATIENCE)
    request = ask(page, "e._request[1]")
    menu.select_option(label=catalogue.method("magnitude").label.replace(" ", HARD_SPACE))
    view.settle(request + 1).check(0.52, *loaded("lenet-5"))
