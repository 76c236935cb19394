"""The line that says how far a long call is: in a notebook's kernel, and nowhere else."""

import inspect

import nbformat
import pytest
from nbclient import NotebookClient

import compress_explorer as ce
from compress_explorer.engine.sweep import sweep
from compress_explorer.progress_line import in_notebook, with_progress_line

CELLS = (
    "import compress_explorer as ce\n"
    "from compress_explorer import progress_line\n"
    "model, task = ce.load('digits-mlp')\n"
    "def go(**more): ce.sweep(model, task, 'magnitude', sparsity=[0.1, 0.5, 0.9], **more)",
    "progress_line.PATIENCE = 600\ngo()",
    "progress_line.PATIENCE = 0\ngo()",
    "compressed = ce.compress(model, ce.Step('adaround', samples=64, iterations=200), task)",
    "go(progress=lambda done, total: print(done, total))",
)


def test_a_long_call_shows_one_line_in_a_notebook():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    _, short, long, words, own = (cell.outputs for cell in notebook.cells)
    assert short == []
    assert [output.data for output in long] == [{"text/plain": "sweep: 3 of 3"}]
    assert [output.data for output in words] == [
        {"text/plain": "compress: AdaRound: layer 3 of 3, 200 of 200 iterations"}
    ]
    assert [output.text for output in own] == ["0 3\n1 3\n2 3\n3 3\n"]


def test_a_script_shows_nothing_and_calls_are_what_they_were(capsys: pytest.CaptureFixture[str]):
    assert not in_notebook()
    given = []
    with_progress_line(lambda **keys: given.append(keys))()
    assert given == [{}]
    assert capsys.readouterr() == ("", "")
    assert inspect.signature(ce.sweep) == inspect.signature(sweep)
    assert ce.sweep.__doc__ == sweep.__doc__
