"""A line in a notebook that says how far a long call is; in scripts there is none."""

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 1.0
"""Seconds after which a call counts as long."""


def with_progress_line(call: Callable[P, T]) -> Callable[P, T]:
    """The same function, which in a notebook shows its progress when it takes long, unless it is given `progress`.

    Args:
        call: takes `progress=`, a function that is called with (done, total).
    """

    @functools.wraps(call)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        if "progress" in kwargs or not in_notebook():
            return call(*args, **kwargs)
        line = ProgressLine(call.__name__)
        try:
            return call(*args, **{**kwargs, "progress": line.tell})  # type: ignore[arg-type] # mypy does not know `call`
        finally:
            line.end()

    return told


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")  # where it was not imported, nobody is in a notebook
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


class ProgressLine:
    """One line of text in the output of the cell that runs, e.g. "sweep: 3 of 10". It stays as it was at the end."""

    def __init__(self, name: str) -> None:
        """Shows `name` and how far it is, as soon as it takes long."""
        self._name, self._text = name, f"{name} …"
        self._shown: Any = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(PATIENCE, self._show)
        self._timer.daemon = True
        self._timer.start()

    def tell(self, done: int, total: int) -> None:
        """Says how far the call is."""
        with self._lock:
            self._text = f"{self._name}: {done:,} of {total:,}"
            if self._shown is not None:
                self._shown.update({"text/plain": self._text}, raw=True)

    def end(self) -> None:
        """The call is over: nothing is shown any more that was not yet."""
        self._timer.cancel()

    def _show(self) -> None:
        from IPython.display import display  # scripts do without

        with self._lock:
            shown = display({"text/plain": self._text}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
            self._shown = shown
