import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The path of a wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel's contents, as pip lays them out."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run_installed(installed, folder, code):
    """Runs `code` in `folder` with the installed package in front of the checkout; returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_holds_the_whole_package_and_the_notebooks(wheel):
    tracked = subprocess.run(
        ["git", "ls-files", "compress_explorer", "notebooks"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    expected = {
        f"compress_explorer/{path}" if path.startswith("notebooks/") else path
        for path in tracked
        if (ROOT / path).exists()
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert expected - names == set()
    for name in ("compress_explorer/py.typed", "compress_explorer/notebooks/00_start_here.ipynb"):
        assert name in names
    for ending in (".safetensors", ".js", ".css"):
        assert any(name.endswith(ending) for name in names), f"no {ending} file in the wheel"
    assert {name.split("/")[0].split("-")[0] for name in names} == {"compress_explorer"}
    assert not [name for name in names if "__pycache__" in name or ".ipynb_checkpoints" in name]


def test_the_installed_package_finds_its_notebooks_and_networks(installed, tmp_path):
    code = """
import compress_explorer as ce
from compress_explorer import cli
model, task = ce.load("lenet-300-100")
print(ce.__file__, cli.place_notebooks(cli.Path()), sum(p.numel() for p in model.parameters()), sep="\\n")
"""
    module, notebook, weights = run_installed(installed, tmp_path, code).splitlines()
    assert module == str(installed / "compress_explorer" / "__init__.py")
    assert (tmp_path / notebook).read_bytes() == (ROOT / "notebooks" / "00_start_here.ipynb").read_bytes()
    assert weights == "266610"


def test_the_constraints_lie_within_the_declared_ranges():
    declared = {
        requirement.name: requirement
        for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
        for requirement in map(Requirement, group)
    }
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = [Requirement(line) for line in lines if line]
    assert "torch" in {pin.name for pin in pins}
    for pin in pins:
        (exact,) = pin.specifier
        assert declared[pin.name].specifier.contains(exact.version)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").rglob("*.ipynb")), ids=lambda path: path.name)
def test_shipped_notebooks_are_clean(path):
    notebook = json.loads(path.read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert "widgets" not in notebook["metadata"]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert [cell["execution_count"] for cell in code] == [None] * len(code)


def test_the_start_notebook_has_one_short_cell():
    notebook = json.loads((ROOT / "notebooks" / "00_start_here.ipynb").read_text())
    (cell,) = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len("".join(cell["source"]).splitlines()) <= 5


def make_venv(folder, **environment):
    """Runs the script that makes the virtual environment."""
    return subprocess.run(
        ["sh", str(ROOT / "scripts" / "make_venv.sh"), str(folder)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_without_a_recent_python_the_version_is_named(tmp_path):
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\ncase "$2" in *exit*) exit 1;; *) echo "Python 3.8.1 at $0";; esac\n')
    old.chmod(0o755)
    done = make_venv(tmp_path / "venv", PYTHON=str(old))
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert f"Found only: Python 3.8.1 at {old}" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_python_without_ensurepip_gets_the_remedy(tmp_path):
    bare = tmp_path / "python"
    broken = 'if [ "$1" = -m ]; then echo "ensurepip is not available"; mkdir -p "$4"; exit 1; fi'
    bare.write_text(f'#!/bin/sh\n{broken}\nexec "{sys.executable}" "$@"\n')
    bare.chmod(0o755)
    done = make_venv(tmp_path / "venv", PYTHON=str(bare))
    assert done.returncode == 1
    assert "ensurepip is not available" in done.stderr
    assert "apt-get install python3-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_virtual_environment_is_made_and_kept(tmp_path):
    folder = tmp_path / "a folder" / "venv"
    assert make_venv(folder, PYTHON=sys.executable).returncode == 0
    python = folder / "bin" / "python"
    assert subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0
    made = (folder / "pyvenv.cfg").stat().st_mtime_ns
    assert make_venv(folder, PYTHON=sys.executable).returncode == 0
    assert (folder / "pyvenv.cfg").stat().st_mtime_ns == made


SKIPS = {
    "mark": "import pytest\n@pytest.mark.skipif(True, reason='no luck')\ndef test(): pass\n",
    "call": "import pytest\ndef test(): pytest.skip('no luck')\n",
    "fixture": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('no luck')\ndef test(f): pass\n",
    "module": "import pytest\npytest.skip('no luck', allow_module_level=True)\n",
}
NO_SKIPS = {
    "expected": "import pytest\n@pytest.mark.xfail\ndef test(): assert False\n",
    "allowed": "import conftest, pytest\nconftest.ALLOWED_SKIPS = ('^good .*',)\n"
    "def test(): pytest.skip('good reason')\n",
    "passing": "def test(): pass\n",
}


def pytest_on(files, folder, **environment):
    """Runs pytest on test files, given as {name: source}, under the rules of tests/conftest.py."""
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    for name, source in files.items():
        (folder / f"test_{name}.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--continue-on-collection-errors", "."]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_every_kind_of_skip_fails_continuous_integration(tmp_path):
    done = pytest_on({**SKIPS, "passing": NO_SKIPS["passing"]}, tmp_path, CI="true")
    assert done.returncode == 1
    # To pytest, what goes wrong before the test is called is an error, not a failure.
    assert "1 failed, 1 passed, 3 errors" in done.stdout
    assert "CI=true forbids: no luck" in done.stdout


def test_expected_failures_and_allowed_reasons_are_no_skips(tmp_path):
    done = pytest_on(NO_SKIPS, tmp_path, CI="true")
    assert done.returncode == 0
    assert "1 passed, 1 skipped, 1 xfailed" in done.stdout


def test_outside_continuous_integration_tests_may_skip(tmp_path):
    done = pytest_on(SKIPS, tmp_path, CI="")
    assert done.returncode in (0, 5)  # 5: pytest ran no test at all
    assert "4 skipped" in done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_readme_names_only_targets_that_exist():
    readme = (ROOT / "README.md").read_text()
    for target in ("lab", "test"):
        assert f"make {target}" in readme
        command = ["make", "--dry-run", target]
        assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
