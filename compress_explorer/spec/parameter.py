"""Declared parameters: one declaration gives validation, a slider or menu, a sweep and a row in the docs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compress_explorer.spec.errors import ParameterError, nearest, unknown

Value = float | int | str
"""What a parameter can hold."""


def plain(value: Any) -> Any:
    """A scalar of numpy or torch as the number of Python, which JSON and repr can write; all else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One setting of a method.

    Attributes:
        name: the keyword of the method's function, e.g. "bits".
        label: shown beside its control.
        kind: "float", "integer" or "choice".
        default: the value when none is given.
        minimum: smallest value that makes sense at all (hard bound); numbers only.
        maximum: largest value that makes sense at all (hard bound); numbers only.
        soft_minimum: where the slider begins; `minimum` when None.
        soft_maximum: where the slider ends; `maximum` when None.
        step: distance of two slider positions (on a logarithmic scale: of the exponents).
        scale: "linear"; "log2" for powers of two; "log10" for powers of ten, to ten digits.
        unit: shown behind the value, e.g. "bits"; "%" shows a fraction as per cent.
        choices: the values of a choice.
        when: (other parameter, its values) for which this one has an effect; None: always.
        help: one sentence for the tooltip.
    """

    name: str
    label: str
    kind: Literal["float", "integer", "choice"]
    default: Value
    help: str
    minimum: float = -math.inf
    maximum: float = math.inf
    soft_minimum: float | None = None
    soft_maximum: float | None = None
    step: float = 1
    scale: Literal["linear", "log2", "log10"] = "linear"
    unit: str = ""
    choices: tuple[str, ...] = ()
    when: tuple[str, tuple[str, ...]] | None = None

    def validate(self, value: object) -> Value:
        """The value in its proper type.

        Raises:
            ParameterError: when it has the wrong type or lies outside the hard bounds.
        """
        value = plain(value)
        if self.kind == "choice":
            return self._validate_choice(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ParameterError(f"{self.name} must be a number, not {value!r}. Allowed: {self.bounds()}.")
        if not self.minimum <= value <= self.maximum:
            raise ParameterError(f"{self.name}={value} is out of bounds. Allowed: {self.bounds()}.")
        if self.kind == "integer":
            if value != int(value):
                raise ParameterError(f"{self.name} must be a whole number, not {value!r}. Allowed: {self.bounds()}.")
            return int(value)
        return float(value)

    def _validate_choice(self, value: object) -> str:
        if isinstance(value, str) and value in self.choices:
            return value
        close = nearest(str(value), self.choices)
        hint = f" Did you mean {close!r}?" if close else ""
        raise ParameterError(f"{self.name} cannot be {value!r}.{hint} Allowed: {', '.join(self.choices)}.")

    def bounds(self) -> str:
        """The allowed values in words, e.g. "1 to 8"."""
        if self.kind == "choice":
            return ", ".join(self.choices)
        if math.isinf(self.maximum):
            return f"{self.minimum:g} or more"
        return f"{self.minimum:g} to {self.maximum:g}"

    def positions(self) -> tuple[Value, ...]:
        """Every position of the slider, in order; of a choice, its choices."""
        if self.kind == "choice":
            return self.choices
        low = self.minimum if self.soft_minimum is None else self.soft_minimum
        high = self.maximum if self.soft_maximum is None else self.soft_maximum
        if self.scale != "linear":
            logarithm = math.log2 if self.scale == "log2" else math.log10
            low, high = logarithm(low), logarithm(high)
        count = round((high - low) / self.step) + 1
        # The last sum may differ from the bound in its last bits.
        values = [min(round(low + index * self.step, 10), high) for index in range(count)]
        if self.scale == "log2":
            values = [2.0**value for value in values]
        if self.scale == "log10":
            values = [float(f"{10.0**value:.10g}") for value in values]
        return tuple(self.validate(int(value) if self.kind == "integer" else value) for value in values)


def find(parameters: Sequence[Parameter], name: str, owner: str) -> Parameter:
    """The parameter called `name`; `owner` is whose parameters these are.

    Raises:
        UnknownNameError: when there is none.
    """
    for parameter in parameters:
        if parameter.name == name:
            return parameter
    raise unknown(f"parameter of {owner}", name, [parameter.name for parameter in parameters])


def complete(parameters: Sequence[Parameter], values: Mapping[str, object], owner: str) -> dict[str, Value]:
    """Every parameter's value: the given ones validated, the others at their defaults.

    Raises:
        UnknownNameError: when a given name is not a parameter.
        ParameterError: when a value is not allowed.
    """
    for name in values:
        find(parameters, name, owner)
    return {
        parameter.name: parameter.validate(values.get(parameter.name, parameter.default)) for parameter in parameters
    }
