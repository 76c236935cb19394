"""Recipes: which methods, with which values, on which layers, in which order."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compress_explorer.spec.errors import FileFormatError, ParameterError
from compress_explorer.spec.parameter import Value, plain

FORMAT_VERSION = 1


@dataclass(frozen=True, init=False)
class Step:
    """A method with values and the layers it is applied to.

    Attributes:
        method: the method's name.
        values: (parameter, value) pairs, sorted by name. Parameters left out take their defaults.
        layers: patterns of tensor or layer names, as in `fnmatch`, or of layer types, e.g. "Conv2d"; ("*",) is all.
        overrides: (pattern, values) of layers that are set apart: the (name, value) pairs that differ there,
            sorted, or None where the step leaves the layer out. Of several that name a layer, the last counts.
    """

    method: str
    values: tuple[tuple[str, Value], ...]
    layers: tuple[str, ...]
    overrides: tuple[tuple[str, tuple[tuple[str, Value], ...] | None], ...] = ()

    def __init__(
        self,
        method: str,
        /,
        layers: str | Iterable[str] = ("*",),
        overrides: Mapping[str, Mapping[str, Value] | None] | None = None,
        **values: Value,
    ) -> None:
        """Makes a step.

        For example `Step("magnitude", sparsity=0.9)`, `Step("integer", layers="fc1.*", bits=4)` or
        `Step("magnitude", sparsity=0.9, overrides={"fc1": {"sparsity": 0.95}, "fc3": None})`.
        """
        patterns = (layers,) if isinstance(layers, str) or not isinstance(layers, Iterable) else tuple(layers)
        if not patterns:
            raise ParameterError(f"Step {method!r} names no layers. Leave layers= out to treat them all.")
        if not all(isinstance(pattern, str) for pattern in patterns):
            raise ParameterError(f"layers={layers!r} must be patterns of tensor names, e.g. 'fc1.*'.")
        object.__setattr__(self, "method", method)
        object.__setattr__(self, "values", _pairs(values))
        object.__setattr__(self, "layers", patterns)
        object.__setattr__(self, "overrides", _overrides(overrides or {}))

    def replace(self, **values: Value) -> "Step":
        """The same step with some values changed."""
        return Step(self.method, layers=self.layers, overrides=self._sets(), **{**dict(self.values), **values})

    def _sets(self) -> dict[str, dict[str, Value] | None]:
        return {pattern: None if pairs is None else dict(pairs) for pattern, pairs in self.overrides}

    def with_override(self, pattern: str, values: Mapping[str, Value] | None) -> "Step":
        """The same step with the layers of `pattern` set to `values`, or left out (None)."""
        sets = {**self._sets(), pattern: values}
        return Step(self.method, layers=self.layers, overrides=sets, **dict(self.values))

    def without_override(self, pattern: str) -> "Step":
        """The same step without what was set apart for `pattern`."""
        sets = {other: entry for other, entry in self._sets().items() if other != pattern}
        return Step(self.method, layers=self.layers, overrides=sets, **dict(self.values))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is set apart is left out where nothing is."""
        data = {"method": self.method, "layers": list(self.layers), "values": dict(self.values)}
        return {**data, "overrides": self._sets()} if self.overrides else data

    def __repr__(self) -> str:
        """The Python expression that makes this step."""
        parts = [repr(self.method)]
        if self.layers != ("*",):
            parts.append(f"layers={self.layers!r}")
        if self.overrides:
            parts.append(f"overrides={self._sets()!r}")
        parts += [f"{name}={value!r}" for name, value in self.values]
        return f"Step({', '.join(parts)})"


def _pairs(values: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted((name, plain(value)) for name, value in values.items()))


def _overrides(
    overrides: Mapping[str, Mapping[str, Value] | None],
) -> tuple[tuple[str, tuple[tuple[str, Value], ...] | None], ...]:
    wanted = "a mapping from a pattern of layers to the values that differ there, or None to leave them out"
    if not isinstance(overrides, Mapping):
        raise ParameterError(f"overrides={overrides!r} must be {wanted}.")
    for pattern, values in overrides.items():
        if not isinstance(pattern, str) or not isinstance(values, Mapping | None):
            raise ParameterError(f"overrides={{{pattern!r}: {values!r}}} must be {wanted}.")
    return tuple((pattern, None if values is None else _pairs(values)) for pattern, values in overrides.items())


@dataclass(frozen=True, init=False)
class Recipe:
    """An ordered tuple of steps. The empty recipe leaves the model as it is."""

    steps: tuple[Step, ...]

    def __init__(self, steps: Iterable[Step] | Step = ()) -> None:
        """Makes a recipe of `steps`, applied first to last."""
        entries = (steps,) if isinstance(steps, Step) or not isinstance(steps, Iterable) else tuple(steps)
        for entry in entries:
            if not isinstance(entry, Step):
                raise ParameterError(
                    f"A recipe is made of steps, not {type(entry).__name__}: {entry!r}. Use Step(...)."
                )
        object.__setattr__(self, "steps", entries)

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        """The steps, first to last."""
        return iter(self.steps)

    def __repr__(self) -> str:
        """The Python expression that makes this recipe."""
        return f"Recipe([{', '.join(map(repr, self.steps))}])"

    def replace(self, index: int, step: Step) -> "Recipe":
        """The same recipe with one step exchanged."""
        return Recipe([*self.steps[:index], step, *self.steps[index + 1 :]])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` reads it back."""
        return {
            "version": FORMAT_VERSION,
            "steps": [step.to_dict() for step in self.steps],
        }

    def to_json(self) -> str:
        """This recipe as JSON text."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Recipe":
        """The recipe that `to_dict` wrote.

        Raises:
            FileFormatError: when `data` is not a recipe, or comes from a newer version.
        """
        try:
            if data["version"] != FORMAT_VERSION:
                raise FileFormatError(
                    f"This recipe has version {data['version']!r}; this package reads version {FORMAT_VERSION}. "
                    "Update the package."
                )
            return cls(
                Step(entry["method"], layers=entry["layers"], overrides=entry.get("overrides"), **entry["values"])
                for entry in data["steps"]
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(f"This is not a recipe: {error!r}. Expected what Recipe.to_dict() gives.") from error

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """The recipe that `to_json` wrote.

        Raises:
            FileFormatError: when `text` is not a recipe.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise FileFormatError(f"This recipe is not JSON: {error}.") from error
        if not isinstance(data, dict):
            raise FileFormatError(f"This is not a recipe but a {type(data).__name__}.")
        return cls.from_dict(data)
