"""Closes a widget with all that it contains; `Widget.close` alone closes one model only."""

import ipywidgets


def close_tree(widget: ipywidgets.Widget) -> None:
    """Closes `widget`, its children, and their layouts and styles."""
    for child in getattr(widget, "children", ()):
        close_tree(child)
    for part in ("layout", "style"):
        found = getattr(widget, part, None)
        if isinstance(found, ipywidgets.Widget):
            found.close()
    widget.unobserve_all()
    widget.close()
