"""The fixtures of the browser tests: one JupyterLab for all, one browser a test file, one page a test."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser import lab


@pytest.fixture(scope="session")
def browser_path() -> str:
    """The browser's path; skips the test where there is none."""
    path = lab.find_browser()
    if path is None:
        pytest.skip("No Chromium or Chrome is found on this machine: install one, or run `make test`.")
    return path


@pytest.fixture(scope="session")
def server(browser_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:  # noqa: ARG001
    """A JupyterLab with the shipped notebooks, started only where a browser is there to open it."""
    with lab.serve_lab(tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("jupyter")) as running:
        yield running


# A file's, not the session's: while Playwright runs, it keeps an event loop in this thread that later tests
# with loops of their own (notebooks through nbval) must not meet.
@pytest.fixture(scope="module")
def browser(browser_path: str) -> Iterator[Browser]:
    """A running browser without a window."""
    with sync_playwright() as playwright:
        running = lab.launch(playwright, browser_path)
        yield running
        running.close()


@pytest.fixture
def open_notebook(browser: Browser, server: lab.Server) -> Iterator[Callable[..., lab.NotebookPage]]:
    """Opens a notebook of the server: `open_notebook(path, theme=..., width=..., height=...)`.

    After the test its kernel and page are closed, and the test fails when the browser's console had an error or
    the page asked another machine for something.
    """
    opened: list[lab.NotebookPage] = []

    def open_one(path: str, **options: object) -> lab.NotebookPage:
        opened.append(lab.open_notebook(browser, server, path, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield open_one
    problems = [problem for notebook in opened for problem in notebook.problems]
    hosts = {host for notebook in opened for host in notebook.hosts if host}  # blob: and data: have none
    for notebook in opened:
        notebook.page.context.close()
    server.end_kernels()
    assert problems == []
    assert hosts <= {"127.0.0.1"}
