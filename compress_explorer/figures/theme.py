"""One look for all figures: colours that colour-blind people can tell apart, large type, light and dark.

Colours are those of M. Okabe and K. Ito, "Color Universal Design" (2008). What a trace means has one colour in
both modes; what differs between light and dark (text, grid) stands in a template, set once a figure.
"""

from typing import Any, Literal

import plotly.graph_objects as go

Mode = Literal["light", "dark"]

BEFORE = "#56B4E9"
"""Sky blue: the uncompressed network, in every figure."""
AFTER = "#D55E00"
"""Vermilion: the compressed network, in every figure."""
HARD = "#009E73"
"""Bluish green: a student that learned from hard labels alone."""
PEER = "#CC79A7"
"""Reddish purple: another way to the same end, for comparison."""
NEUTRAL = "#8A8F98"
"""Grey: what belongs to neither."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', Arial, sans-serif"
FONT_SIZE = 14

_TEXT = {"light": "#24292F", "dark": "#E6E8EB"}
_GRID = {"light": "#E4E7EB", "dark": "#3A3F46"}
_LINE = {"light": "#9AA1AB", "dark": "#6B727C"}
_HOVER = {"light": "#FFFFFF", "dark": "#24282D"}


def translucent(colour: str, opacity: float) -> str:
    """The CSS colour of `colour` ("#RRGGBB") at an opacity of 0 to 1."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def template(mode: Mode) -> dict[str, Any]:
    """The plotly template of one mode, as plain data."""
    axis = {
        "gridcolor": _GRID[mode],
        "linecolor": _LINE[mode],
        "zerolinecolor": _GRID[mode],
        "tickcolor": "rgba(0,0,0,0)",
        "automargin": True,
        "ticks": "outside",
        "ticklen": 5,
        "tickangle": 0,
        "title": {"standoff": 8},
    }
    return {
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "size": FONT_SIZE, "color": _TEXT[mode]},
            "hoverlabel": {
                "bgcolor": _HOVER[mode],
                "bordercolor": _LINE[mode],
                "font": {"family": FONT, "size": FONT_SIZE + 1, "color": _TEXT[mode]},
            },
            "xaxis": axis,
            "yaxis": axis,
        }
    }


_TEMPLATES = {mode: go.layout.Template(template(mode)) for mode in ("light", "dark")}


def new_figure(traces: list[Any], layout: dict[str, Any]) -> go.Figure:
    """A figure in the light template with the margins that all figures share.

    Args:
        traces: its traces, the first one drawn first.
        layout: plotly layout properties beside those that are common.
    """
    common = {
        "template": _TEMPLATES["light"],
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": False,
        "uirevision": "keep",
    }
    return go.Figure(data=traces, layout={**common, **layout})


def themed(figure: go.Figure, mode: Mode) -> go.Figure:
    """A copy of `figure` in the colours of `mode`, e.g. for a dark page."""
    copy = go.Figure(figure)
    copy.layout.template = _TEMPLATES[mode]
    return copy


def either_template() -> dict[str, Any]:
    """A plotly template that reads on light and dark backgrounds alike, for figures that cannot follow the mode."""
    grey = "#767C86"  # a contrast above 4 to white and to black
    axis = {"gridcolor": translucent(grey, 0.25), "linecolor": grey, "zerolinecolor": translucent(grey, 0.5)}
    layout = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": FONT_SIZE, "color": grey},
        "xaxis": {**axis, "automargin": True},
        "yaxis": {**axis, "automargin": True},
        "margin": {"t": 40, "b": 60},
    }
    return {"layout": layout}
