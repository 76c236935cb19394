"""Reads the header of a compressed file, and trusts nothing in it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from compress_explorer.engine.form import FORMAT_VERSION, METADATA_KEY
from compress_explorer.engine.matrix import Layout
from compress_explorer.methods.code import Grid
from compress_explorer.spec.errors import FileFormatError
from compress_explorer.spec.recipe import Recipe

FLOATS = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
}
GRIDS: tuple[Grid, ...] = ("integer", "power-of-two", "codebook")
SUFFIXES = ("values", "codes", "mask", "gaps", "scale", "zero", "codebook")

ROOM = 2**28
WEIGHTS_PER_BYTE = 2**16
"""A file of B bytes may hold ROOM + WEIGHTS_PER_BYTE * B weights: zeros cost no bytes, but memory."""


@dataclass(frozen=True)
class Quantized:
    """How codes are read, see `methods.code.Code`; `zero_bits`: width of a stored zero point, or None."""

    dtype: torch.dtype
    grid: Grid
    bits: int
    group_size: int
    offset: int
    zero_bits: int | None


@dataclass(frozen=True)
class Entry:
    """The description of one treated tensor: see `form.Form.describe`.

    Attributes:
        name: its name in the model's state.
        layout: its shape and matrix form.
        positions: how the file says where the stored weights are.
        width: bits of a gap; 0 unless positions are relative.
        entries: the number of stored values when positions are relative, else 0.
        quantized: how codes are read, or None for floats.
    """

    name: str
    layout: Layout
    positions: Literal["none", "bitmask", "relative"]
    width: int
    entries: int
    quantized: Quantized | None

    @property
    def weights(self) -> int:
        """The number of elements."""
        return math.prod(self.layout.shape)

    def section(self, suffix: str) -> str:
        """The name of one of its arrays in the file."""
        return f"{self.name}:{suffix}"


@dataclass(frozen=True)
class Header:
    """The header's own part: recipe, treated tensors and aliases (alias -> the name that is stored)."""

    recipe: Recipe
    entries: tuple[Entry, ...]
    aliases: dict[str, str]


def read_arrays(data: bytes) -> dict[str, Tensor]:
    """The named arrays of a safetensors file.

    Raises:
        FileFormatError: when it is none, with the remedy.
    """
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        # Only now: a sound file may begin with these bytes too, which are its header's length.
        if data[:2] == b"PK" or data[:1] == b"\x80":
            raise FileFormatError(
                "It is a pickle, as torch.save writes it, and pickles can run code when they are opened. "
                "Load it with torch.load(path, weights_only=True) and compress the model anew."
            ) from None
        raise FileFormatError(
            f"It is no whole safetensors file, but damaged, cut off or of another kind ({error}). "
            "Copy or save it again."
        ) from error


def read_header(data: bytes) -> Header:
    """The header's own part of a file that `read_arrays` accepts.

    Raises:
        FileFormatError: when the file comes from elsewhere or from a newer version, or its header is damaged.
    """
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    text = header.get("__metadata__", {}).get(METADATA_KEY)
    if text is None:
        raise FileFormatError(
            "It is a safetensors file, but no compressed model. Read it with safetensors.torch.load_file(path)."
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged("its metadata are no JSON") from error
    content = _mapping(content, "its metadata")
    if content.get("version") != FORMAT_VERSION:
        raise FileFormatError(
            f"It has version {content.get('version')!r}; this package reads version {FORMAT_VERSION}. "
            "Update the package."
        )
    tensors = _mapping(content.get("tensors"), "its list of tensors")
    entries = tuple(_entry(name, _mapping(entry, name)) for name, entry in tensors.items())
    declared = sum(entry.weights for entry in entries)
    if declared > ROOM + WEIGHTS_PER_BYTE * len(data):
        raise damaged(f"{declared} weights cannot come out of {len(data)} bytes")
    aliases = _mapping(content.get("aliases", {}), "its list of aliases")
    if not all(isinstance(name, str) for name in aliases.values()):
        raise damaged("an alias names no tensor")
    return Header(Recipe.from_dict(_mapping(content.get("recipe"), "its recipe")), entries, aliases)


def damaged(what: str) -> FileFormatError:
    """The error for a compressed file that contradicts itself."""
    return FileFormatError(f"It is damaged: {what}. Save the model again.")


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise damaged(f"{what} is missing or no mapping")
    return value


def _entry(name: str, entry: Mapping[str, Any]) -> Entry:
    positions, width = _positions(name, entry.get("positions", "none"))
    return Entry(
        name=name,
        layout=_layout(name, entry),
        positions=positions,
        width=width,
        entries=_whole(name, entry, "entries", 0, 2**62) if positions == "relative" else 0,
        quantized=_quantized(name, entry) if "grid" in entry else None,
    )


def _layout(name: str, entry: Mapping[str, Any]) -> Layout:
    shape = entry.get("shape")
    if not isinstance(shape, list) or not 1 <= len(shape) <= 16:
        raise damaged(f"{name} has no shape")
    if not all(type(size) is int and 1 <= size < 2**62 for size in shape):
        raise damaged(f"{name} has the shape {shape}")
    axis = _whole(name, entry, "axis", 0, 1, default=0)
    groups = _whole(name, entry, "groups", 1, 2**62, default=1)
    if (axis == 0 and groups != 1) or (axis == 1 and (len(shape) < 2 or shape[0] % groups)):
        raise damaged(f"{name} has the shape {shape} with {groups} groups along axis {axis}")
    return Layout(tuple(shape), axis, groups)


def _positions(name: str, text: object) -> tuple[Literal["none", "bitmask", "relative"], int]:
    if text == "none":
        return "none", 0
    if text == "bitmask":
        return "bitmask", 0
    widths = {f"relative-{width}": width for width in range(1, 9)}
    if not isinstance(text, str) or text not in widths:
        raise damaged(f"{name} has positions {text!r}")
    return "relative", widths[text]


def _quantized(name: str, entry: Mapping[str, Any]) -> Quantized:
    grid, dtype = entry.get("grid"), entry.get("dtype")
    if grid not in GRIDS:
        raise damaged(f"{name} has the grid {grid!r}, not one of {', '.join(GRIDS)}")
    if not isinstance(dtype, str) or dtype not in FLOATS:
        raise damaged(f"{name} has the dtype {dtype!r}, not one of {', '.join(FLOATS)}")
    return Quantized(
        dtype=FLOATS[dtype],
        grid=cast(Grid, grid),
        bits=_whole(name, entry, "bits", 2 if grid == "power-of-two" else 1, 8),
        group_size=_whole(name, entry, "group", 1, 2**62),
        offset=_whole(name, entry, "offset", -(2**15), 2**15, default=0),
        zero_bits=_whole(name, entry, "zero_bits", 1, 8) if "zero_bits" in entry else None,
    )


def _whole(name: str, entry: Mapping[str, Any], key: str, lowest: int, highest: int, default: int | None = None) -> int:
    value = entry.get(key, default)
    if type(value) is not int or not lowest <= value <= highest:
        raise damaged(f"{name} has {key} {value!r}")
    return value
