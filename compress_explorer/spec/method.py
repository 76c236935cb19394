"""The declaration of a compression method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from compress_explorer.spec.errors import unknown
from compress_explorer.spec.parameter import Parameter, Value


@dataclass(frozen=True, kw_only=True)
class Method:
    """One compression algorithm and its declared parameters.

    Attributes:
        name: how recipes call it, e.g. "magnitude".
        label: its name in menus.
        family: the group it stands in, e.g. "Pruning".
        summary: what it does, in one sentence.
        formula: its definition in one line of plain Unicode mathematics.
        source: the paper and equation it follows.
        parameters: its settings, in the order of their controls.
        scope: "tensor": `apply` treats one weight matrix; "model": it needs all of them at once.
        apply: the function. For scope "tensor" it takes (weight [channels, n], kept [channels, n] bool, **values);
            for scope "model", lists of these, one entry a tensor. It returns a bool mask of the weights to keep
            (pruning) or a `Code` (quantization), or a list of them.
        preview: for methods that map each weight by its value alone: (one index a tensor, **values) -> one
            `ScalarMap` a tensor, so that every slider position is known without a pass over the weights; else None.
    """

    name: str
    label: str
    family: str
    summary: str
    formula: str
    source: str
    parameters: tuple[Parameter, ...]
    scope: Literal["tensor", "model"]
    apply: Callable[..., Any] = field(repr=False)
    preview: Callable[..., Any] | None = field(default=None, repr=False)

    def parameter(self, name: str) -> Parameter:
        """The parameter called `name`.

        Raises:
            UnknownNameError: when there is none.
        """
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise unknown(f"parameter of {self.name}", name, [parameter.name for parameter in self.parameters])

    def complete(self, values: Mapping[str, object]) -> dict[str, Value]:
        """Every parameter's value: the given ones validated, the others at their defaults.

        Raises:
            UnknownNameError: when a given name is not a parameter.
            ParameterError: when a value is not allowed.
        """
        for name in values:
            self.parameter(name)
        return {
            parameter.name: parameter.validate(values.get(parameter.name, parameter.default))
            for parameter in self.parameters
        }
