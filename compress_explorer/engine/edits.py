"""Changes of a network's structure as plain data, in memory and in a file's header.

Every edit makes the network smaller, but for one number a feature where inputs are divided: no list of edits can take
much more memory than the network itself.
"""

import math
from dataclasses import astuple, dataclass
from typing import Any

from compress_explorer.spec.errors import FileFormatError


@dataclass(frozen=True)
class Factored:
    """A linear layer or convolution becomes two: `layer`.0 to `rank` channels without a bias, `layer`.1 from there.

    Of a convolution the first has the kernel, stride and padding, the second is 1x1.
    """

    layer: str
    rank: int


@dataclass(frozen=True)
class Tucker:
    """A convolution becomes three: 1x1 to `inputs` channels, the kernel from these to `outputs`, 1x1 from there.

    They are `layer`.0, .1 and .2; only the last has the bias.
    """

    layer: str
    outputs: int
    inputs: int


@dataclass(frozen=True)
class Resized:
    """A layer has fewer `outputs` and `inputs`. Those of a normalization or a depthwise convolution are the same."""

    layer: str
    outputs: int
    inputs: int


@dataclass(frozen=True)
class Transformed:
    """A layer has an `input_transform`: it is fed what that makes of its input, see `input_transform.InputTransform`.

    Attributes:
        layer: its name.
        divided: 1 where each feature is divided by a scale, else 0.
        bits: of a rounded value; 0 where nothing is rounded.
        affine: 1 where levels are affine, 0 where they are symmetric.
        dynamic: 1 where each vector has levels of its own, else 0.
    """

    layer: str
    divided: int
    bits: int
    affine: int
    dynamic: int


Edit = Factored | Tucker | Resized | Transformed
KINDS: dict[str, type[Edit]] = {
    "factored": Factored,
    "tucker": Tucker,
    "resized": Resized,
    "transformed": Transformed,
}
BOUNDS: dict[str, tuple[tuple[int, float], ...]] = {
    "factored": ((1, math.inf),),
    "tucker": ((1, math.inf), (1, math.inf)),
    "resized": ((1, math.inf), (1, math.inf)),
    "transformed": ((0, 1), (0, 8), (0, 1), (0, 1)),
}
"""The smallest and largest numbers of an edit, in its own order."""


def edit_to_json(edit: Edit) -> list[Any]:
    """An edit as plain data for JSON: its kind, the layer and the numbers, e.g. ["factored", "fc1", 50]."""
    return [type(edit).__name__.lower(), *astuple(edit)]


def edit_from_json(data: object) -> Edit:
    """The edit that `edit_to_json` wrote.

    Raises:
        FileFormatError: when `data` is none.
    """
    match data:
        case [str(kind), str(layer), *numbers] if kind in KINDS:
            whole = [number for number in numbers if type(number) is int]
            bounds = BOUNDS[kind]
            if len(whole) == len(numbers) == len(bounds) and all(
                lowest <= number <= highest for number, (lowest, highest) in zip(whole, bounds, strict=True)
            ):
                return KINDS[kind](layer, *whole)
    raise FileFormatError(f"It is damaged: {str(data)[:60]!r} is no edit of a network. Save the model again.")
