"""The harness itself: a plain ipywidgets notebook in JupyterLab, in both themes, by keyboard."""

import pytest

pytestmark = pytest.mark.browser

CELL = """
import ipywidgets as widgets
slider = widgets.IntSlider(value=5, min=0, max=10)
echo = widgets.Label()
slider.observe(lambda change: setattr(echo, "value", f"kernel saw {change.new}"), "value")
widgets.VBox([slider, echo])
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_slider_reaches_the_kernel_and_back(open_notebook, server, theme):
    notebook = open_notebook(server.write_notebook("slider.ipynb", [CELL]), theme=theme)
    notebook.run_all()
    notebook.page.locator("[role=slider]").press("ArrowRight")
    notebook.page.get_by_text("kernel saw 6").wait_for()
    brightness = notebook.page.evaluate(
        "() => getComputedStyle(document.querySelector('.jp-NotebookPanel')).backgroundColor.match(/\\d+/g)[0]"
    )
    assert (int(brightness) > 127) == (theme == "light")


def test_a_cell_that_raises_fails_the_test(open_notebook, server):
    notebook = open_notebook(server.write_notebook("raises.ipynb", ["1 / 0"]))
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        notebook.run_all()


def test_errors_of_the_console_are_collected(open_notebook, server):
    notebook = open_notebook(server.write_notebook("empty.ipynb", [""]))
    notebook.page.evaluate("() => { console.error('spoken'); setTimeout(() => { throw new Error('thrown'); }); }")
    notebook.page.wait_for_function("() => true")
    notebook.page.wait_for_timeout(100)
    assert [problem.split(" (")[0] for problem in notebook.problems] == ["console: spoken", "page: thrown"]
    notebook.problems.clear()


def test_nothing_pops_up_and_no_other_machine_is_asked(open_notebook, server):
    notebook = open_notebook(server.write_notebook("quiet.ipynb", [""]))
    notebook.page.wait_for_timeout(2000)  # JupyterLab would ask about news by now
    assert notebook.page.locator(".jp-Dialog, .jp-toastContainer .Toastify__toast").count() == 0
    assert notebook.hosts - {""} == {"127.0.0.1"}
