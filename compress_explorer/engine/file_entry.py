"""Reads how a compressed file's header describes its tensors, and trusts nothing in it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch

from compress_explorer.engine.form import FLOAT_ZERO_BITS
from compress_explorer.engine.matrix import Layout
from compress_explorer.methods.code import Grid
from compress_explorer.methods.coded_scale import SCALE_FORMATS, ScaleFormat
from compress_explorer.methods.formats import FORMATS as WEIGHT_FORMATS
from compress_explorer.spec.errors import FileFormatError
from compress_explorer.spec.size import Coding

FLOATS = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
}
GRIDS = ("integer", "power-of-two", "codebook", "vectors", *WEIGHT_FORMATS)
ROWS = ("tensor", "channel")


@dataclass(frozen=True)
class Style:
    """What tensors of the file have in common: see `form`.

    Attributes:
        dtype: of the decoded tensor.
        axis: of the layout.
        groups: of the layout.
        quantized: how codes are read, or None for plain floats.
        coding: the coder of gaps and values, or None.
    """

    dtype: torch.dtype
    axis: int
    groups: int
    quantized: "Quantized | None"
    coding: Coding | None


@dataclass(frozen=True)
class Quantized:
    """How codes are read: see `methods.code.Code`.

    Attributes:
        grid: what codes stand for.
        bits: of a code.
        offset: of an integer code.
        group: columns that share a scale, or None for all.
        scales: None; "tensor": one row of scales; "channel": one for each channel.
        scale_format: of scales of 8 bits; None: float32.
        zero_bits: width of a stored zero point, 32 for floats, or None.
        codebooks: like `scales`.
        levels: of a codebook; 0 without.
        dimension: the weights of a row that share a code: 1, but for vectors.
    """

    grid: Grid
    bits: int
    offset: int
    group: int | None
    scales: str | None
    scale_format: ScaleFormat | None
    zero_bits: int | None
    codebooks: str | None
    levels: int
    dimension: int


@dataclass(frozen=True)
class Entry:
    """The description of one treated tensor: see `form`.

    Attributes:
        name: its name in the model's state.
        layout: its shape and matrix form.
        dtype: its dtype.
        positions: how the file says where the stored weights are.
        width: bits of a gap; 0 unless positions are relative.
        entries: the number of gaps when positions are relative, else 0.
        quantized: how codes are read, or None for plain floats.
        coding: the coder of gaps and values, or None.
        coded: the bytes of the coded gaps and of the values; zeros where there are none.
    """

    name: str
    layout: Layout
    dtype: torch.dtype
    positions: Literal["none", "bitmask", "relative"]
    width: int
    entries: int
    quantized: Quantized | None
    coding: Coding | None
    coded: tuple[int, int]

    @property
    def weights(self) -> int:
        """The number of elements."""
        return math.prod(self.layout.shape)

    @property
    def values(self) -> int:
        """The number of values where all are stored."""
        dimension = 1 if self.quantized is None else self.quantized.dimension
        return self.layout.channels * -(-self.layout.columns // dimension)


def damaged(what: str) -> FileFormatError:
    """The error for a compressed file that contradicts itself."""
    return FileFormatError(f"It is damaged: {what}. Save the model again.")


def read_entry(name: str, entry: object, styles: Sequence[Style]) -> Entry:
    """What a header says of one treated tensor.

    Raises:
        FileFormatError: when it contradicts itself.
    """
    if not isinstance(entry, list) or not 2 <= len(entry) <= 6:
        raise damaged(f"{name} is described by {str(entry)[:60]!r}")
    style = styles[_whole(name, entry[1], "style", 0, len(styles) - 1)]
    places, coded = _coded(name, entry[2:], style.coding)
    positions, width, entries = _positions(name, places)
    if style.quantized is None and positions == "none":
        raise damaged(f"{name} is described, but has neither codes nor positions")
    layout = _layout(name, entry[0], style)
    if style.quantized is not None and style.quantized.dimension > layout.columns:
        raise damaged(f"{name} has vectors of {style.quantized.dimension} in rows of {layout.columns} weights")
    return Entry(
        name=name,
        layout=layout,
        dtype=style.dtype,
        positions=positions,
        width=width,
        entries=entries,
        quantized=style.quantized,
        coding=style.coding,
        coded=coded,
    )


def _layout(name: str, shape: object, style: Style) -> Layout:
    if not isinstance(shape, list) or not 1 <= len(shape) <= 16:
        raise damaged(f"{name} has no shape")
    for size in shape:
        _whole(name, size, "a size", 1, 2**62)
    if style.axis == 1 and (len(shape) < 2 or shape[0] % style.groups):
        raise damaged(f"{name} has the shape {shape} with {style.groups} groups")
    return Layout(tuple(shape), style.axis, style.groups)


def _coded(name: str, entry: Sequence[object], coding: Coding | None) -> tuple[Sequence[object], tuple[int, int]]:
    """What describes the positions, and the bytes of the coded gaps and of the values that stand behind it."""
    if coding is None:
        return entry, (0, 0)
    if len(entry) not in (1, 4):  # of all values, or of a relative index
        raise damaged(f"{name} is coded, but has positions {str(entry)[:60]!r}")
    gaps = _whole(name, entry[2], "bytes of gaps", 0, 2**62) if len(entry) == 4 else 0
    return entry[: len(entry) // 2], (gaps, _whole(name, entry[-1], "bytes of values", 0, 2**62))


def _positions(name: str, entry: Sequence[object]) -> tuple[Literal["none", "bitmask", "relative"], int, int]:
    """Format, bits of a gap and the number of entries."""
    match entry:
        case []:
            return "none", 0, 0
        case ["mask"]:
            return "bitmask", 0, 0
        case [width, entries]:
            width = _whole(name, width, "a gap width", 1, 8)
            return "relative", width, _whole(name, entries, "a number of entries", 0, 2**62)
    raise damaged(f"{name} has positions {str(entry)[:60]!r}")


def read_style(name: str, style: Mapping[str, Any]) -> Style:
    """What a header says that several tensors have in common.

    Raises:
        FileFormatError: when it contradicts itself.
    """
    dtype, axis = style.get("dtype"), _whole(name, style.get("axis", 0), "axis", 0, 1)
    if not isinstance(dtype, str) or dtype not in FLOATS:
        raise damaged(f"{name} has the dtype {dtype!r}, not one of {', '.join(FLOATS)}")
    coding = style.get("coding")
    if coding is not None and coding not in get_args(Coding):
        raise damaged(f"{name} has the coding {str(coding)[:60]!r}, not one of {', '.join(get_args(Coding))}")
    return Style(
        dtype=FLOATS[dtype],
        axis=axis,
        groups=_whole(name, style.get("groups", 1), "groups", 1, 2**62 if axis else 1),
        quantized=_quantized(name, style) if "grid" in style else None,
        coding=coding,
    )


def _quantized(name: str, style: Mapping[str, Any]) -> Quantized:
    grid, group, zero_bits = style["grid"], style.get("group"), style.get("zero_bits")
    if grid not in GRIDS:
        raise damaged(f"{name} has the grid {str(grid)[:60]!r}, not one of {', '.join(GRIDS)}")
    scales, codebooks = _rows(name, style, "scales"), _rows(name, style, "codebooks")
    scale_format = style.get("scale_format")
    if scale_format is not None and scale_format not in tuple(SCALE_FORMATS):
        raise damaged(f"{name} has the scale format {str(scale_format)[:60]!r}, not one of {', '.join(SCALE_FORMATS)}")
    if scales is None and (zero_bits is not None or scale_format is not None):
        raise damaged(f"{name} has zero points or a scale format without scales")
    if (grid in ("codebook", "vectors")) != (codebooks is not None):
        raise damaged(f"{name} lacks a codebook, or has one that its grid does not use")
    if grid == "vectors" and (codebooks != "tensor" or scales is not None or group is not None):
        raise damaged(f"{name} has vectors with scales, with groups or with a codebook for each channel")
    return Quantized(
        grid=cast(Grid, grid),
        bits=_whole(name, style.get("bits"), "bits", *_widths(grid)),
        offset=_whole(name, style.get("offset", 0), "offset", -(2**15), 2**15),
        group=None if group is None else _whole(name, group, "group", 1, 2**62),
        scales=scales,
        scale_format=cast(ScaleFormat | None, scale_format),
        zero_bits=_zero_bits(name, zero_bits),
        codebooks=codebooks,
        levels=0 if codebooks is None else _whole(name, style.get("levels"), "levels", 1, 256),
        dimension=_whole(name, style.get("dimension"), "dimension", 1, 256) if grid == "vectors" else 1,
    )


def _widths(grid: str) -> tuple[int, int]:
    """The smallest and the largest width of a grid's codes."""
    if grid in WEIGHT_FORMATS:
        return WEIGHT_FORMATS[grid].bits, WEIGHT_FORMATS[grid].bits
    return 2 if grid == "power-of-two" else 1, 8


def _zero_bits(name: str, bits: object) -> int | None:
    if bits is None or (type(bits) is int and bits == FLOAT_ZERO_BITS):
        return bits
    return _whole(name, bits, "zero_bits", 1, 8)


def _rows(name: str, style: Mapping[str, Any], key: str) -> str | None:
    rows = style.get(key)
    if rows is None or rows in ROWS:
        return rows
    raise damaged(f"{name} has {key} {str(rows)[:60]!r}, not one of {', '.join(ROWS)}")


def _whole(name: str, value: object, what: str, lowest: int, highest: int) -> int:
    if type(value) is not int or not lowest <= value <= highest:
        raise damaged(f"{name} has {what} {str(value)[:60]!r}")
    return value
