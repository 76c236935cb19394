"""The menu of methods: by family, and by words of their name, idea, formula or source."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from compress_explorer.spec.method import Method

ALL_FAMILIES = "all families"


class MethodMenu(ipywidgets.VBox):
    """A menu that a family and a search narrow. The method in use always stays in it, so narrowing changes nothing."""

    def __init__(self, methods: Sequence[Method], chosen: Callable[[str], None]) -> None:
        """Offers `methods`, in their order; calls `chosen` with a name when the user picks another one."""
        self._methods, self._chosen = tuple(methods), chosen
        self._current = self._methods[0].name
        self._filler: int | None = None
        families = list(dict.fromkeys(method.family for method in self._methods))
        self.family = ipywidgets.Dropdown(description="Family", options=[ALL_FAMILIES, *families])
        self.family.add_class("ce-family")
        self.search = ipywidgets.Text(placeholder="search", continuous_update=True)
        self.search.add_class("ce-search")
        self.search.tooltip = "Shows only methods with these words in their name, summary, formula or source"
        self.found = ipywidgets.HTML()
        self.found.add_class("ce-found")
        self.method = ipywidgets.Dropdown(description="Method")
        self.method.add_class("ce-method")
        self._fill()
        self.family.observe(self._narrowed, "value")
        self.search.observe(self._narrowed, "value")
        self.method.observe(self._picked, "value")
        narrow = ipywidgets.HBox([self.family, self.search])
        narrow.add_class("ce-narrow")
        super().__init__([self.method, narrow, self.found])
        self.add_class("ce-methods")

    def show(self, name: str) -> None:
        """Sets the menu to a method without reporting it."""
        self._current = name
        self._fill()

    def _narrowed(self, _change: dict[str, Any]) -> None:
        self._fill()

    def _picked(self, change: dict[str, Any]) -> None:
        if self._filler != threading.get_ident():
            self._chosen(change["new"])

    def _fill(self) -> None:
        """Offers what matches. New options make a menu pick the first of them: what this thread does is no pick."""
        matching = [method for method in self._methods if self._matches(method)]
        offered = [method for method in self._methods if method in matching or method.name == self._current]
        options = [(method.label, method.name) for method in offered]
        self.found.value = _counted(len(matching), len(self._methods))
        self._filler = threading.get_ident()
        try:
            if list(self.method.options) != options:
                self.method.options = options
            self.method.value = self._current
        finally:
            self._filler = None

    def _matches(self, method: Method) -> bool:
        words = self.search.value.lower().split()
        text = " ".join([method.name, method.label, method.family, method.summary, method.formula, method.source])
        in_family = self.family.value in (ALL_FAMILIES, method.family)
        return in_family and all(word in text.lower() for word in words)


def _counted(matching: int, count: int) -> str:
    """How many methods the menu was narrowed to, in words."""
    if matching == count:
        return f"{count} methods"
    return f"{matching or 'none'} of {count} methods {'matches' if matching < 2 else 'match'}"
