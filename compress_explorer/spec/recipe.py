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
        layers: patterns of tensor names, as in `fnmatch`; ("*",) is all of them.
    """

    method: str
    values: tuple[tuple[str, Value], ...]
    layers: tuple[str, ...]

    def __init__(self, method: str, /, layers: str | Iterable[str] = ("*",), **values: Value) -> None:
        """Makes a step, e.g. `Step("magnitude", sparsity=0.9)` or `Step("integer", layers="fc1.*", bits=4)`."""
        patterns = (layers,) if isinstance(layers, str) or not isinstance(layers, Iterable) else tuple(layers)
        if not patterns:
            raise ParameterError(f"Step {method!r} names no layers. Leave layers= out to treat them all.")
        if not all(isinstance(pattern, str) for pattern in patterns):
            raise ParameterError(f"layers={layers!r} must be patterns of tensor names, e.g. 'fc1.*'.")
        object.__setattr__(self, "method", method)
        object.__setattr__(self, "values", tuple(sorted((name, plain(value)) for name, value in values.items())))
        object.__setattr__(self, "layers", patterns)

    def replace(self, **values: Value) -> "Step":
        """The same step with some values changed."""
        return Step(self.method, layers=self.layers, **{**dict(self.values), **values})

    def __repr__(self) -> str:
        """The Python expression that makes this step."""
        parts = [repr(self.method)]
        if self.layers != ("*",):
            parts.append(f"layers={self.layers!r}")
        parts += [f"{name}={value!r}" for name, value in self.values]
        return f"Step({', '.join(parts)})"


@dataclass(frozen=True, init=False)
class Recipe:
    """An ordered tuple of steps. The empty recipe leaves the model as it is."""

    steps: tuple[Step, ...]

    def __init__(self, steps: Iterable[Step] | Step = ()) -> None:
        """Makes a recipe of `steps`, applied first to last."""
        entries = (steps,) if isinstance(steps, Step) else tuple(steps)
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
            "steps": [
                {"method": step.method, "layers": list(step.layers), "values": dict(step.values)} for step in self.steps
            ],
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
            return cls(Step(entry["method"], layers=entry["layers"], **entry["values"]) for entry in data["steps"])
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
