"""A real JupyterLab and a real browser: what the browser tests and the screenshots stand on."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import nbformat
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright

Theme = Literal["light", "dark"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
PLACES = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
OPTIONS = (
    "--no-sandbox",  # root and containers have no sandbox; the only pages opened are our own
    "--disable-gpu",
    # Contact nothing beyond this machine.
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE = 120_000
"""How long to wait for anything in the page before giving up, in milliseconds."""

# The indicator in the notebook's toolbar says "idle" even before there is a kernel, and a cell that is run so
# early never comes back.
KERNEL_IS_IDLE = """(context => context?.isReady && context.session?.kernel?.connectionStatus === "connected"
    && context.session.kernel.status === "idle")(jupyterapp.shell.currentWidget?.sessionContext)"""

CELL_ERRORS = """() => jupyterapp.shell.currentWidget.model.toJSON().cells
    .flatMap(cell => cell.outputs ?? [])
    .filter(output => output.output_type === "error")
    .map(output => `${output.ename}: ${output.evalue}\\n${output.traceback.join("\\n")}`)"""

EXECUTE = """([name, args, patience]) => Promise.race([
    jupyterapp.commands.execute(name, args).then(() => true),
    new Promise((resolve, reject) => setTimeout(() => reject(new Error(`${name} takes too long`)), patience)),
])"""


def find_browser() -> str | None:
    """The path of a Chromium, Chrome or Edge that runs; None when there is none.

    The environment variable COMPRESS_EXPLORER_BROWSER names one of your own.
    """
    named = os.environ.get("COMPRESS_EXPLORER_BROWSER")
    for candidate in (named,) if named else (*map(shutil.which, NAMES), *PLACES):
        # Run it: Ubuntu's /usr/bin/chromium-browser may be a stub that only asks for a snap.
        if candidate and Path(candidate).exists() and runs(candidate):
            return candidate
    return None


def runs(browser: str) -> bool:
    """Whether the program at path `browser` can tell its version."""
    try:
        return subprocess.run([browser, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def launch(playwright: Playwright, path: str) -> Browser:
    """Starts the browser at `path`, without a window."""
    return playwright.chromium.launch(executable_path=path, args=list(OPTIONS))


@dataclass(frozen=True)
class Server:
    """A running JupyterLab.

    Attributes:
        url: its address, with a slash at the end.
        token: what Jupyter's authentication asks for.
        root: the folder it serves.
    """

    url: str
    token: str
    root: Path

    def ask(self, method: str, path: str) -> Any:
        """What the server's REST interface answers, from JSON; None for an empty answer."""
        request = urllib.request.Request(
            f"{self.url}api/{path}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def end_kernels(self) -> None:
        """Shuts down every kernel, so that the next notebook starts with a fresh one."""
        for session in self.ask("GET", "sessions"):
            self.ask("DELETE", f"sessions/{session['id']}")

    def write_notebook(self, name: str, cells: Sequence[str]) -> str:
        """Writes a notebook of code cells into the served folder and returns its path below it."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        nbformat.write(notebook, self.root / name)
        return name


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def private_environment(folder: Path) -> dict[str, str]:
    """This process's environment, with all that Jupyter reads and writes in `folder`, not in the user's home."""
    own = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
    }
    return {**os.environ, **{name: str(folder / place) for name, place in own.items()}}


@contextmanager
def serve_lab(root: Path, scratch: Path) -> Iterator[Server]:
    """Runs `compress-explorer lab` on a free port while the block runs.

    Args:
        root: the folder to serve.
        scratch: a folder for Jupyter's own files and the server's log.
    """
    command = [sys.executable, "-m", "compress_explorer.cli", "lab", "--no-browser"]
    command += ["--port", str(free_port()), "--notebook-dir", str(root), "--"]
    command += ["--LabApp.expose_app_in_browser=True"]  # window.jupyterapp: commands, theme, sidebars
    environment = private_environment(scratch)
    log = scratch / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield await_server(process, root, Path(environment["JUPYTER_RUNTIME_DIR"]), log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_server(process: "subprocess.Popen[bytes]", root: Path, runtime: Path, log: Path) -> Server:
    """The server that `process` runs, as soon as it answers.

    Raises:
        RuntimeError: when it ends, or does not answer within two minutes; shows what it said.
    """
    # Jupyter notes there the port it really took, and the token it drew.
    note = runtime / f"jpserver-{process.pid}.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            facts = json.loads(note.read_text())
            server = Server(facts["url"], facts["token"], root)
            server.ask("GET", "status")
        except (OSError, json.JSONDecodeError, urllib.error.URLError):
            time.sleep(0.1)
        else:
            return server
    raise RuntimeError(f"JupyterLab does not answer. It said:\n{log.read_text(errors='replace')[-5000:]}")


@dataclass
class NotebookPage:
    """A notebook that is open in the browser, its kernel idle.

    Attributes:
        page: Playwright's page.
        problems: every error of the browser's console and every uncaught error of the page, as it came.
        hosts: every host the page asked for something.
    """

    page: Page
    problems: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def command(self, name: str, **arguments: object) -> None:
        """Runs one of JupyterLab's commands and waits until it is done."""
        self.page.evaluate(EXECUTE, [name, arguments, PATIENCE])

    def set_theme(self, theme: Theme) -> None:
        """Switches JupyterLab to its light or dark theme and waits until it shows."""
        self.command("apputils:change-theme", theme=f"JupyterLab {theme.title()}")
        light = "true" if theme == "light" else "false"
        self.page.wait_for_selector(f'body[data-jp-theme-light="{light}"]', state="attached", timeout=PATIENCE)

    def run_all(self) -> None:
        """Runs all cells and waits until the kernel is idle again.

        Raises:
            AssertionError: when a cell raised; with its traceback.
        """
        self.command("notebook:run-all-cells")
        await_idle_kernel(self.page)
        errors = self.page.evaluate(CELL_ERRORS)
        assert not errors, "A cell raised:\n" + "\n".join(errors)


def open_notebook(
    browser: Browser, server: Server, path: str, *, theme: Theme = "light", width: int = 1280, height: int = 900
) -> NotebookPage:
    """Opens a notebook in a fresh browser profile, alone in the window, both sidebars closed.

    Args:
        browser: a running browser.
        server: a running JupyterLab.
        path: the notebook's path below the folder that is served.
        theme: JupyterLab's theme.
        width: the window's width in pixels.
        height: the window's height in pixels.
    """
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    opened = NotebookPage(page)

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            opened.problems.append(f"console: {message.text} ({message.location.get('url', '')})")

    page.on("console", note)
    page.on("pageerror", lambda error: opened.problems.append(f"page: {error}"))
    page.on("request", lambda request: opened.hosts.add(urlsplit(request.url).hostname or ""))
    page.goto(f"{server.url}lab/tree/{path}?reset&token={server.token}", timeout=PATIENCE)
    page.wait_for_function("() => window.jupyterapp && jupyterapp.shell.currentWidget", timeout=PATIENCE)
    page.evaluate("() => jupyterapp.restored")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=PATIENCE)
    accept_kernel(page)
    await_idle_kernel(page)
    page.evaluate("() => { jupyterapp.shell.collapseLeft(); jupyterapp.shell.collapseRight(); }")
    opened.set_theme(theme)
    return opened


def accept_kernel(page: Page) -> None:
    """Accepts the proposed kernel, when JupyterLab asks for one, as soon as that is decided."""
    dialog = ".jp-Dialog .jp-mod-accept"
    page.wait_for_function(f"() => document.querySelector('{dialog}') || ({KERNEL_IS_IDLE})", timeout=PATIENCE)
    if page.locator(dialog).count():
        page.locator(dialog).first.click()


def await_idle_kernel(page: Page) -> None:
    """Waits until the open notebook's kernel is connected and idle."""
    page.wait_for_function(f"() => {KERNEL_IS_IDLE}", timeout=PATIENCE)
