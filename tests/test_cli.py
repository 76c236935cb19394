import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from compress_explorer import cli
from tests.browser.lab import await_server, free_port, private_environment

ROOT = Path(__file__).parents[1]


def start(folder, port, *words, **options):
    """Runs `compress-explorer lab --no-browser` in `folder`, with Jupyter's own files there too."""
    command = [sys.executable, "-m", "compress_explorer.cli", "lab", "--no-browser", "--port", str(port), *words]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, cwd=folder, env=private_environment(folder), stdout=log, stderr=log, **options)


def end(process):
    process.terminate()
    process.wait(timeout=60)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """(process, server, log) of a server that was started in an empty folder."""
    folder = tmp_path_factory.mktemp("work")
    process = start(folder, free_port(), stdin=subprocess.DEVNULL)
    try:
        server = await_server(process, folder, folder / "runtime", folder / "log")
        yield process, server, folder / "log"
    finally:
        end(process)


def test_the_version_is_the_installed_one(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"compress-explorer {version('compress-explorer')}\n"


@pytest.mark.parametrize("port", ["0", "65536", "-1", "eighty", "80.5", ""])
def test_a_port_that_is_none_is_refused_by_name(port, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["lab", f"--port={port}"])
    assert done.value.code == 2
    assert f"between 1 and 65535, not {port!r}" in capsys.readouterr().err


def test_without_jupyterlab_it_says_how_to_install_it(tmp_path):
    hide = (
        "import sys; sys.modules['jupyterlab'] = None; from compress_explorer.cli import main; sys.exit(main(['lab']))"
    )
    done = subprocess.run([sys.executable, "-c", hide], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'pip install "compress-explorer[lab]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_notebooks_are_copied_where_they_are_missing(tmp_path):
    start_notebook = cli.place_notebooks(tmp_path)
    assert start_notebook == tmp_path / "notebooks" / "00_start_here.ipynb"
    shipped = sorted((ROOT / "notebooks").rglob("*.ipynb"))
    copies = sorted(path for path in (tmp_path / "notebooks").rglob("*") if path.is_file())
    places = [copy.relative_to(tmp_path) for copy in copies]
    assert places == [original.relative_to(ROOT) for original in shipped]
    assert any(place.parent.name == "papers" for place in places)
    assert [copy.read_bytes() for copy in copies] == [original.read_bytes() for original in shipped]


def test_an_edited_notebook_is_never_overwritten(tmp_path):
    mine = cli.place_notebooks(tmp_path)
    mine.write_text("my own")
    assert cli.place_notebooks(tmp_path) == mine
    assert mine.read_text() == "my own"


def test_a_checkout_is_used_in_place():
    before = {path: path.stat().st_mtime_ns for path in (ROOT / "notebooks").rglob("*")}
    cli.place_notebooks(ROOT)
    assert {path: path.stat().st_mtime_ns for path in (ROOT / "notebooks").rglob("*")} == before


def test_a_folder_that_cannot_take_notebooks_is_named(tmp_path, capsys):
    (tmp_path / "notebooks").write_text("a file in the way")
    assert cli.main(["lab", "--notebook-dir", str(tmp_path)]) == 1
    assert f"cannot be copied to {tmp_path / 'notebooks'}" in capsys.readouterr().err
    assert cli.main(["lab", "--notebook-dir", str(tmp_path / "none")]) == 1
    assert f"There is no folder {tmp_path / 'none'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({}, "linux", False),
        ({"BROWSER": "firefox"}, "linux", True),
        ({}, "darwin", True),
        ({}, "win32", True),
    ],
)
def test_a_display_is_recognised(environ, platform, expected):
    assert cli.has_display(environ, platform) is expected


def test_a_taken_port_is_noticed():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert cli.is_taken(listener.getsockname()[1])
    assert not cli.is_taken(free_port())


def test_the_address_of_the_start_notebook_is_printed_and_leads_to_it(running):
    _, server, log = running
    address = f"{server.url}lab/tree/notebooks/00_start_here.ipynb?token={server.token}"
    assert address in log.read_text()
    with urllib.request.urlopen(address, timeout=60) as page:
        assert page.status == 200
    assert server.ask("GET", "contents/notebooks/00_start_here.ipynb?content=0")["type"] == "notebook"


def test_only_this_machine_can_reach_the_server(running):
    process, _, _ = running
    connections = psutil.Process(process.pid).net_connections(kind="inet")
    listening = {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


@pytest.mark.parametrize("token", [None, "wrong"])
def test_without_the_token_nobody_comes_in(running, token):
    _, server, _ = running
    headers = {"Authorization": f"token {token}"} if token else {}
    request = urllib.request.Request(f"{server.url}api/contents", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    with refused.value:
        assert refused.value.code == 403
    assert len(server.token) >= 32


def test_a_taken_port_gives_way_to_the_next_and_ctrl_c_ends_it_cleanly(running, tmp_path):
    _, first, _ = running
    taken = urlsplit(first.url).port
    terminal, keyboard = os.openpty()  # Jupyter asks back on Ctrl-C only in a terminal
    # A shell that runs this in the background makes it deaf to Ctrl-C, and children inherit that.
    process = start(tmp_path, taken, stdin=keyboard, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        second = await_server(process, tmp_path, tmp_path / "runtime", tmp_path / "log")
        assert second.url != first.url
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        end(process)
        os.close(terminal)
        os.close(keyboard)
    said = (tmp_path / "log").read_text()
    assert f"Port {taken} is taken" in said
    assert second.url in said
    assert "Traceback" not in said


def test_arguments_after_two_dashes_go_to_jupyterlab(tmp_path):
    process = start(tmp_path, free_port(), "--", "--ServerApp.base_url=/below", stdin=subprocess.DEVNULL)
    try:
        assert await_server(process, tmp_path, tmp_path / "runtime", tmp_path / "log").url.endswith("/below/")
    finally:
        end(process)
