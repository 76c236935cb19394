"""The console script `compress-explorer`: starts JupyterLab on the start notebook."""

import argparse
import importlib.util
import os
import shutil
import socket
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from compress_explorer.spec.errors import CompressExplorerError

START = "00_start_here.ipynb"
"""The notebook that `lab` opens."""

FOLDER = "notebooks"
"""Where the notebooks lie, below the folder that JupyterLab serves."""

PAPERS = "papers"
"""Where those on published results lie, below that."""

SETTINGS = Path(__file__).resolve().parent / "lab_config"
"""Jupyter configuration of this server alone: the question whether to fetch news is not asked."""

ADDRESS = "127.0.0.1"
"""The only address the server listens on: this machine."""


class LaunchError(CompressExplorerError):
    """JupyterLab cannot be started as asked."""


def shipped_notebooks() -> list[Path]:
    """The notebooks that come with the package, in order: those of a checkout, else those inside the wheel.

    Raises:
        LaunchError: when the installation has none.
    """
    package = Path(__file__).resolve().parent
    for folder in (package.parent / FOLDER, package / FOLDER):
        if (folder / START).is_file():
            return sorted([*folder.glob("*.ipynb"), *(folder / PAPERS).glob("*.ipynb")])
    raise LaunchError(
        f"This installation lacks its notebook {START}: neither {package.parent / FOLDER} nor "
        f"{package / FOLDER} has it. Reinstall compress-explorer."
    )


def place_notebooks(root: Path) -> Path:
    """Copies the shipped notebooks into the `notebooks` folder of `root`, leaving alone every file already there.

    Args:
        root: an existing folder; a checkout of the project has its notebooks in place.

    Returns:
        The path of the start notebook.

    Raises:
        LaunchError: when `root` is not a folder or cannot be written to.
    """
    if not root.is_dir():
        raise LaunchError(f"There is no folder {root}. Make it first, or name another with --notebook-dir.")
    target, shipped = root / FOLDER, shipped_notebooks()
    source = next(notebook.parent for notebook in shipped if notebook.name == START)
    missing = [place for path in shipped if not (target / (place := path.relative_to(source))).exists()]
    try:
        for place in missing:
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            # Contents only: a system-wide installation's files may be read-only, the user's copy must not be.
            shutil.copyfile(source / place, target / place)
    except OSError as error:
        raise LaunchError(
            f"The notebooks cannot be copied to {target}: {error.strerror}. "
            "Name a folder you may write to with --notebook-dir."
        ) from error
    return target / START


def has_display(environ: Mapping[str, str], platform: str) -> bool:
    """Whether a web browser can be expected to open a window here.

    Args:
        environ: the environment's variables.
        platform: as `sys.platform` says it.
    """
    if environ.get("BROWSER"):
        return True  # the user says how to open pages
    if platform in {"win32", "darwin"}:
        return True
    if not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return False  # a text browser would take over the terminal
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def is_taken(port: int) -> bool:
    """Whether something on this machine already listens on `port`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((ADDRESS, port)) == 0


def lab_arguments(root: Path, port: int, browser: bool, extra: Sequence[str]) -> list[str]:
    """The command line for JupyterLab.

    Args:
        root: the folder to serve.
        port: the port to try first.
        browser: whether to open a browser window.
        extra: further arguments for JupyterLab; they win over ours.
    """
    arguments = [
        f"--ServerApp.ip={ADDRESS}",
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{FOLDER}/{START}",
        f"--ServerApp.open_browser={browser}",
        "--ServerApp.answer_yes=True",  # one Ctrl-C ends the server, without asking back
        "--ServerApp.log_level=WARN",  # the address is printed at every level
        # Nothing beyond this machine is contacted: no news, no look for updates, no catalogue of extensions.
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--ServerApp.allow_root=True")
    return [*arguments, *extra]


def lab(root: Path, port: int, browser: bool, extra: Sequence[str] = ()) -> None:
    """Serves JupyterLab for this machine alone, on the start notebook, until it is interrupted.

    Args:
        root: the folder to serve; the shipped notebooks are copied into it where they are missing.
        port: the port to try first; JupyterLab takes the next free one when it is taken.
        browser: whether to open a browser window where that is possible.
        extra: further arguments for JupyterLab.

    Raises:
        LaunchError: when JupyterLab is not installed, or the notebooks cannot be put in place.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise LaunchError('JupyterLab is not installed. Install it with: pip install "compress-explorer[lab]"')
    root = root.resolve()
    place_notebooks(root)
    display = has_display(os.environ, sys.platform)
    if browser and not display:
        print("No display here: open the address below in a browser.", flush=True)
    if is_taken(port):
        print(f"Port {port} is taken: JupyterLab takes the next free one.", flush=True)
    others = os.environ.get("JUPYTER_CONFIG_PATH")
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join([str(SETTINGS), *([others] if others else [])])
    # The kernel named python3 is this environment's, whatever kernels the user has installed elsewhere.
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
    from jupyterlab.labapp import LabApp  # an optional dependency, slow to import

    LabApp.launch_instance(lab_arguments(root, port, browser and display, extra))


def port_number(text: str) -> int:
    """The port that `text` names.

    Raises:
        argparse.ArgumentTypeError: when it is not a whole number between 1 and 65535.
    """
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"a port is a whole number between 1 and 65535, not {text!r}")


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(
        prog="compress-explorer", description="Explore compression methods for neural networks in JupyterLab."
    )
    top.add_argument("--version", action="version", version=f"compress-explorer {version('compress-explorer')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    start = commands.add_parser(
        "lab",
        help="start JupyterLab on the start notebook",
        description="Starts JupyterLab on the start notebook, for this machine alone. Ctrl-C ends it. "
        "Arguments after -- go to JupyterLab.",
    )
    start.add_argument("--port", type=port_number, default=8888, help="the port to try first (default: 8888)")
    start.add_argument(
        "--no-browser", action="store_false", dest="browser", help="print the address, open no browser window"
    )
    start.add_argument(
        "--notebook-dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the folder to serve; the notebooks are copied to DIR/notebooks unless they are there "
        "(default: the current folder)",
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: the words after the program's name; those of the process when None.

    Returns:
        The exit status: 0, or 1 when the command failed.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    split = words.index("--") if "--" in words else len(words)
    chosen = parser().parse_args(words[:split])
    try:
        lab(chosen.notebook_dir, chosen.port, chosen.browser, words[split + 1 :])
    except LaunchError as error:
        print(f"compress-explorer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
