"""The Stage's JavaScript as one module.

Its source is a handful of plain ES modules in `static/`. A widget's module is a single text without imports of files,
so they are joined here: each file after those it imports, `import` lines and `export` keywords left out.
"""

import re
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(async )?function|const|let|class)", re.MULTILINE)


def joined(entry: str) -> str:
    """The module `entry` of `static/` with everything that it imports, its own exports kept."""
    order: list[str] = []
    _visit(entry, order)
    parts = [_body(name, keep_exports=name == entry) for name in order]
    return "\n".join(parts)


@cache
def stage_module() -> str:
    """The Stage's module: `export default` is what a widget needs, `mount` and `loadPlotly` what a plain page needs."""
    return joined("stage.js")


@cache
def stage_styles() -> str:
    """The style sheets of the Stage and of what stands round it."""
    return _source("stage.css") + _source("root.css")


def _visit(name: str, order: list[str]) -> None:
    """Puts the imports of a file, then the file, into `order`."""
    if name in order:
        return
    for imported in _IMPORT.findall(_source(name)):
        _visit(imported, order)
    order.append(name)


def _source(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _body(name: str, *, keep_exports: bool) -> str:
    """A file's text without imports and, unless they are kept, without exports."""
    text = _IMPORT.sub("", _source(name))
    return text if keep_exports else _EXPORT.sub("", text)
