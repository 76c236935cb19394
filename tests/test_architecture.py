"""The layers of the code: who imports whom, and what stays out of scripts that show nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import compress_explorer

ROOT = Path(compress_explorer.__file__).parent
INTERFACE = ("plotly", "ipywidgets", "anywidget", "traitlets", "IPython", "matplotlib")

ALLOWED = {
    "spec": {"spec"},
    "methods": {"methods", "spec"},
    "engine": {"engine", "methods", "spec"},
    "zoo": {"zoo", "engine", "spec"},
    "papers": {"papers", "zoo", "engine", "methods", "spec"},
    "figures": {"figures", "spec"},
    "widgets": {"widgets", "figures", "engine", "methods", "spec"},
}
"""What each layer may import of the package. The package itself and its command line stand above all."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported(module: str) -> set[str]:
    """The modules of the package that `module` imports anywhere, functions included; not for type checkers alone."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    for_checkers = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_checkers:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in FILES else node.module)
    return found


IMPORTS = {module: {name for name in imported(module) if name in FILES} for module in FILES}


def test_the_graph_is_read():
    assert len(FILES) > 60
    assert "compress_explorer.methods.catalogue" in IMPORTS["compress_explorer.engine.steps"]
    assert "compress_explorer.methods.integer" in IMPORTS["compress_explorer.methods.catalogue"]
    assert "compress_explorer.widgets.explorer" in IMPORTS["compress_explorer.explore"]


@pytest.mark.parametrize("name", ALLOWED)
def test_imports_go_one_way(name):
    members = [module for module in FILES if module.startswith(f"compress_explorer.{name}.")]
    assert members
    for module in members:
        for target in IMPORTS[module]:
            assert target.split(".")[1] in ALLOWED[name], f"{module} imports {target}"


def test_every_folder_has_its_place():
    folders = {module.split(".")[1] for module in FILES if module.count(".") >= 2}
    assert folders == set(ALLOWED)


def test_the_imports_have_no_cycle():
    order: list[str] = []
    state: dict[str, str] = {}

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert state.get(module) != "open", f"a cycle: {' -> '.join([*path, module])}"
        if module in state:
            return
        state[module] = "open"
        for target in sorted(IMPORTS[module]):
            visit(target, (*path, module))
        state[module] = "done"
        order.append(module)

    for module in FILES:
        visit(module, ())
    assert sorted(order) == sorted(FILES)


@pytest.mark.parametrize("name", ["spec", "figures"])
def test_data_and_figures_know_no_torch(name):
    for module, path in FILES.items():
        if module.startswith(f"compress_explorer.{name}"):
            source = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(source):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not any(entry.split(".")[0] == "torch" for entry in names), module


def loaded_after(code: str) -> set[str]:
    """The top-level modules of a fresh interpreter after it ran `code`."""
    program = f"import sys\n{code}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    return set(done.stdout.split())


def import_all(*layers: str) -> str:
    modules = [m for m in FILES if m.split(".")[1:2] and m.split(".")[1] in layers]
    return "\n".join(f"import {module}" for module in modules)


def test_engine_methods_spec_and_zoo_load_no_interface():
    loaded = loaded_after(import_all("engine", "methods", "spec", "zoo", "papers"))
    assert "torch" in loaded
    assert loaded.isdisjoint(INTERFACE)


def test_a_script_of_the_engine_loads_no_interface():
    loaded = loaded_after(
        "import torch, compress_explorer as ce\n"
        "task = ce.Task(name='t', test=ce.Split(torch.randn(20, 4), torch.arange(20) % 2))\n"
        "ce.evaluate(ce.compress(torch.nn.Linear(4, 2), ce.Step('integer', bits=4)), task)\n"
        "ce.sweep(torch.nn.Linear(4, 2), task, 'magnitude', sparsity=[0.5])"
    )
    assert "torch" in loaded
    assert loaded.isdisjoint({*INTERFACE, "pandas", "sklearn", "scipy"})
