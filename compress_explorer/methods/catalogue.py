"""All compression methods, in the order of the menus."""

from typing import TYPE_CHECKING

from compress_explorer.methods import (
    binary,
    huffman,
    integer,
    magnitude,
    magnitude_global,
    power_of_two,
    random,
    rans,
)
from compress_explorer.spec.errors import unknown
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter
from compress_explorer.spec.recipe import Step

if TYPE_CHECKING:
    import pandas as pd

METHODS: tuple[Method, ...] = (
    random.METHOD,
    magnitude.METHOD,
    magnitude_global.METHOD,
    integer.METHOD,
    power_of_two.METHOD,
    binary.METHOD,
    huffman.METHOD,
    rans.METHOD,
)


def method(name: str) -> Method:
    """The method called `name`.

    Raises:
        UnknownNameError: when there is none; the message suggests the nearest.
    """
    for candidate in METHODS:
        if candidate.name == name:
            return candidate
    raise unknown("method", name, [candidate.name for candidate in METHODS])


def complete(step: Step) -> Step:
    """The same step with every parameter's value: the given ones validated, the others at their defaults.

    Raises:
        UnknownNameError: when the method or one of the parameters does not exist.
        ParameterError: when a value is not allowed.
    """
    return step.replace(**method(step.method).complete(dict(step.values)))


def methods_table() -> "pd.DataFrame":
    """One row a method: name, label, family, summary, parameters (ranges, defaults), formula, source."""
    import pandas as pd  # takes a third of a second to import

    rows = [
        {
            "name": entry.name,
            "label": entry.label,
            "family": entry.family,
            "summary": entry.summary,
            "parameters": "; ".join(_describe(parameter) for parameter in entry.parameters),
            "formula": entry.formula,
            "source": entry.source,
        }
        for entry in METHODS
    ]
    return pd.DataFrame(rows)


def _describe(parameter: Parameter) -> str:
    return f"{parameter.name}: {parameter.bounds()} (default {parameter.default})"
