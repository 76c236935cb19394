"""What panels of controls are made of: buttons, and errors in words."""

import html
from collections.abc import Callable

import ipywidgets

ERROR_CLASS = "ce-error"


def button(icon: str, tooltip: str, css_class: str, action: Callable[[], None], words: str = "") -> ipywidgets.Button:
    """A button with an icon, or with words beside it."""
    widget = ipywidgets.Button(icon=icon, description=words, tooltip=tooltip, layout={"width": "auto"})
    widget.add_class(css_class)
    widget.on_click(lambda _: action())
    return widget


def error_area() -> ipywidgets.HTML:
    """Where errors are shown, empty."""
    widget = ipywidgets.HTML()
    widget.add_class(ERROR_CLASS)
    return widget


def error_html(error: BaseException) -> str:
    """An error and its causes in words; escaped."""
    lines: list[str] = []
    current: BaseException | None = error
    while current is not None and len(lines) < 4:
        prefix = "" if not lines else "caused by "
        lines.append(f"{prefix}<b>{type(current).__name__}</b>: {html.escape(str(current))}")
        current = current.__cause__
    return "<div role='alert'>" + "<br>".join(lines) + "</div>"


def about_html(summary: str, formula: str, source: str, warning: str = "") -> str:
    """What a method or loss does, what is wrong with it where something is, its formula and source; escaped."""
    wrong = f"<div class='ce-warning'>{html.escape(warning)}</div>" if warning else ""
    return (
        f"<div>{html.escape(summary)}</div>{wrong}"
        f"<details><summary>Formula and source</summary><div class='ce-formula'>{html.escape(formula)}</div>"
        f"<div>{html.escape(source)}</div></details>"
    )
