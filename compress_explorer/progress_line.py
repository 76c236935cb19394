"""A line in a notebook that says how far a long call is; in scripts there is none."""

import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 1.0
"""Seconds after which a call counts as long."""

BETWEEN = 0.1
"""Seconds between two texts, at least: more often nobody can read them."""


def with_progress_line(call: Callable[P, T]) -> Callable[P, T]:
    """The same function, which in a notebook shows its progress when it takes long, unless it is given `progress`.

    Args:
        call: takes `progress=`, a function that is called with (done, total), or with words.
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
        self._name, self._text, self._last = name, f"{name} …", 0.0
        self._shown: Any = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(PATIENCE, self._show)
        self._timer.daemon = True
        self._timer.start()

    def tell(self, *said: str | int) -> None:
        """Says how far the call is: (done, total), or words."""
        words = " of ".join(f"{entry:,}" if isinstance(entry, int) else entry for entry in said)
        with self._lock:
            self._text = f"{self._name}: {words}"
            if time.monotonic() - self._last > BETWEEN:
                self._update()

    def end(self) -> None:
        """The call is over: what was said last stays, and nothing is shown that was not yet."""
        self._timer.cancel()
        with self._lock:
            self._update()

    def _update(self) -> None:
        if self._shown is not None:
            self._shown.update({"text/plain": self._text}, raw=True)
            self._last = time.monotonic()

    def _show(self) -> None:
        from IPython.display import display  # scripts do without

        with self._lock:
            shown = display({"text/plain": self._text}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
            self._shown = shown
