"""Tells what the user does with a control from what the program does with it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Wishes:
    """Passes the changes of controls on, but for those made while the controls are set from a state."""

    def __init__(self) -> None:
        """Nobody sets a control yet."""
        self._setter: int | None = None

    @contextmanager
    def showing(self) -> Iterator[None]:
        """While controls are set from the state, what this thread changes is no wish of the user's."""
        self._setter = threading.get_ident()
        try:
            yield
        finally:
            self._setter = None

    def passed_to(self, action: Callable[..., None], *arguments: str) -> Callable[[dict[str, Any]], None]:
        """An observer of a control's value that calls `action(*arguments, value)` for each of the user's wishes."""

        def observe(change: dict[str, Any]) -> None:
            if self._setter != threading.get_ident():
                action(*arguments, change["new"])

        return observe
