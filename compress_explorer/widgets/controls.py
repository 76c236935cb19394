"""The control of a parameter, built from its declaration."""

from collections.abc import Mapping
from typing import Any

import ipywidgets

from compress_explorer.spec.parameter import Parameter, Value
from compress_explorer.widgets.sliders import ExactFloatSlider, ExactIntSlider, ExactLogSlider

MANY = 1000
"""A whole number whose range is so many times its slider's is typed: a slider could not reach most of it."""


def control(parameter: Parameter, value: Value) -> ipywidgets.ValueWidget:
    """A slider, number field or menu whose `value` is the parameter's, in Python and, for numbers, in the browser.

    Args:
        parameter: the declaration.
        value: where it stands; allowed by the declaration, not necessarily a position of the slider.
    """
    made = _control(parameter, value)
    made.add_class(f"ce-param-{parameter.name}")
    return made


def _control(parameter: Parameter, value: Value) -> ipywidgets.ValueWidget:
    words: dict[str, Any] = {"description": _label(parameter), "tooltip": parameter.help}
    if parameter.kind == "choice":
        return ipywidgets.Dropdown(options=parameter.choices, value=value, **words)
    number = float(value)
    if parameter.scale != "linear":
        return ExactLogSlider(parameter, number, readout_format="d" if parameter.kind == "integer" else ".3", **words)
    if parameter.kind == "float":
        return ExactFloatSlider(parameter, number, readout_format=".1%" if parameter.unit == "%" else ".4", **words)
    if _reaches_far(parameter):
        low, high = int(parameter.minimum), int(parameter.maximum)
        return ipywidgets.BoundedIntText(value=int(value), min=low, max=high, **words)
    return ExactIntSlider(parameter, int(value), readout_format="d", **words)


def _label(parameter: Parameter) -> str:
    """The label with its unit, unless the readout shows that or the label says it."""
    unit = parameter.unit
    said = unit in ("", "%") or unit.removesuffix("s") in parameter.label.lower()
    return parameter.label if said else f"{parameter.label} ({unit})"


def _reaches_far(parameter: Parameter) -> bool:
    """Whether a slider could reach only a small part of what is allowed, as of a seed."""
    top = parameter.soft_maximum
    return top is not None and parameter.maximum - parameter.minimum >= MANY * (top - parameter.minimum)


def exchange(
    box: ipywidgets.Box, old: Mapping[str, ipywidgets.ValueWidget], new: Mapping[str, ipywidgets.ValueWidget]
) -> None:
    """Shows the controls `new` in `box`, and frees those that stood there."""
    box.children = tuple(new.values())
    for widget in old.values():
        widget.unobserve_all()
        widget.close()
