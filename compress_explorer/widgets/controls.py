"""The control of a parameter, built from its declaration."""

import math

import ipywidgets

from compress_explorer.spec.parameter import Parameter, Value


def control(parameter: Parameter, value: Value) -> ipywidgets.Widget:
    """A slider or menu whose `value` is the parameter's, in Python and, for numbers, in the browser.

    Args:
        parameter: the declaration.
        value: where it stands; allowed by the declaration, not necessarily a position of the slider.
    """
    if parameter.kind == "choice":
        made = ipywidgets.Dropdown(options=parameter.choices, value=value, **_common(parameter))
    elif parameter.scale == "log2":
        made = _log_slider(parameter, float(value))
    elif math.isinf(_high(parameter)):
        made = ipywidgets.IntText(value=int(value), **_common(parameter))
    else:
        made = _linear_slider(parameter, value)
    made.add_class(f"ce-param-{parameter.name}")
    return made


def _common(parameter: Parameter) -> dict[str, str]:
    return {"description": parameter.label, "description_tooltip": parameter.help, "tooltip": parameter.help}


def _low(parameter):
    return parameter.minimum if parameter.soft_minimum is None else parameter.soft_minimum


def _high(parameter):
    return parameter.maximum if parameter.soft_maximum is None else parameter.soft_maximum


def _log_slider(parameter, value):
    return ipywidgets.FloatLogSlider(
        value=value, base=2, min=math.log2(_low(parameter)), max=math.log2(_high(parameter)), step=parameter.step,
        readout_format=".4g", continuous_update=True, **_common(parameter),
    )


def _linear_slider(parameter, value):
    kind = ipywidgets.IntSlider if parameter.kind == "integer" else ipywidgets.FloatSlider
    form = "d" if parameter.kind == "integer" else (".1%" if parameter.unit == "%" else ".3g")
    return kind(value=value, min=_low(parameter), max=_high(parameter), step=parameter.step, readout_format=form,
                continuous_update=True, **_common(parameter))
