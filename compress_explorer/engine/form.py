"""How a compressed model lies in its file: the sections of every tensor, the header, and the exact sizes.

The file is a safetensors file: 8 bytes that hold the header's length, the header, JSON with each section's
name, dtype, shape and place, and the sections' bytes without gaps. A tensor that was left alone is one
section under its own name. A treated one is several, called NAME:values, NAME:scale and so on, and what they
mean stands in the header's metadata.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor

from compress_explorer.engine.contents import Contents
from compress_explorer.engine.packing import packed_bytes
from compress_explorer.engine.positions import best_width
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.spec.errors import ModelError
from compress_explorer.spec.recipe import Recipe

FORMAT_VERSION = 1
METADATA_KEY = "compress_explorer"

Part = Literal["values", "positions", "scales", "zero_points", "codebook"]

DTYPES = (
    *(
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.uint16,
        torch.int16,
        torch.uint32,
        torch.int32,
        torch.uint64,
    ),
    *(torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
)
"""The dtypes that a file can hold."""


@dataclass(frozen=True)
class Section:
    """One named array of the file.

    Attributes:
        part: which part of the size it is.
        name: its name in the file.
        dtype: its dtype.
        shape: its shape.
    """

    part: Part
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """The bytes that it takes in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Form:
    """The form in which the file holds one tensor.

    Attributes:
        contents: what is to be stored.
        positions: "none": all weights in order; "bitmask": a bit for each weight, then the present ones;
            "relative": the gaps between the present ones, see `engine.positions`.
        width: bits of a gap; 0 unless positions are relative.
        entries: the number of stored values.
    """

    contents: Contents
    positions: Literal["none", "bitmask", "relative"]
    width: int
    entries: int

    @property
    def stored(self) -> StoredTensor:
        """The tensor."""
        return self.contents.stored

    @property
    def position_format(self) -> str:
        """The positions' format in words: "none", "bitmask" or "relative-N" with N bits for a gap."""
        return f"relative-{self.width}" if self.positions == "relative" else self.positions

    @property
    def as_it_is(self) -> bool:
        """Whether the file holds the tensor itself, in its own shape and dtype."""
        return self.stored.code is None and self.positions == "none"

    @property
    def payload(self) -> int:
        """Bytes of values and positions."""
        return self.position_bytes + packed_bytes(self.entries, self.contents.bits)

    @property
    def position_bytes(self) -> int:
        """Bytes of the positions."""
        if self.positions == "bitmask":
            return packed_bytes(self.contents.weights, 1)
        return packed_bytes(self.entries, self.width)

    def sections(self) -> tuple[Section, ...]:
        """The arrays of the file that hold this tensor."""
        name, values, code = self.stored.name, self.stored.values, self.stored.code
        if self.as_it_is:
            return (Section("values", name, values.dtype, tuple(values.shape)),)
        sections = []
        if code is None:
            sections.append(Section("values", f"{name}:values", values.dtype, (self.entries,)))
        else:
            codes = packed_bytes(self.entries, code.bits)
            sections.append(Section("values", f"{name}:codes", torch.uint8, (codes,)))
        if self.positions != "none":
            suffix = "mask" if self.positions == "bitmask" else "gaps"
            sections.append(Section("positions", f"{name}:{suffix}", torch.uint8, (self.position_bytes,)))
        return (*sections, *side_sections(self.stored))

    def describe(self) -> dict[str, Any] | None:
        """What the header says of a tensor that is not stored as it is, as plain data for JSON."""
        if self.as_it_is:
            return None
        layout, code = self.stored.layout, self.stored.code
        entry: dict[str, Any] = {"shape": list(layout.shape)}
        if layout.axis:
            entry |= {"axis": layout.axis, "groups": layout.groups}
        if self.positions != "none":
            entry["positions"] = self.position_format
        if self.positions == "relative":
            entry["entries"] = self.entries
        if code is not None:
            entry |= {"dtype": str(self.stored.values.dtype).removeprefix("torch."), "grid": code.grid}
            entry |= {"bits": code.bits, "group": code.group_size}
            if code.offset:
                entry["offset"] = code.offset
            if code.zero_point is not None:
                entry["zero_bits"] = zero_point_bits(code.zero_point, code.bits)
        return entry


def choose_form(stored: StoredTensor) -> Form:
    """The smallest form for a tensor; of equals the simplest. Tensors that were left alone stay as they are.

    Quantized values may take the plain form only if the weights that were pruned have a code for zero.
    """
    contents = Contents(stored)
    plain = Form(contents, "none", 0, contents.weights)
    if not stored.treated:
        return plain
    width, entries = best_width(contents.runs, contents.bits, contents.zero_level)
    forms = [Form(contents, "bitmask", 0, contents.count), Form(contents, "relative", width, entries)]
    if contents.plain:
        forms.insert(0, plain)
    return min(forms, key=lambda form: form.payload)


def side_sections(stored: StoredTensor) -> tuple[Section, ...]:
    """The arrays beside values and positions: scales and codebooks (float32), zero points (packed)."""
    name, code = stored.name, stored.code
    if code is None:
        return ()
    sections = []
    if code.scale is not None:
        sections.append(Section("scales", f"{name}:scale", torch.float32, tuple(code.scale.shape)))
    if code.zero_point is not None:
        if code.scale is None:
            raise ModelError(f"{name} has zero points without scales. Give its Code a scale of ones.")
        size = packed_bytes(code.zero_point.numel(), zero_point_bits(code.zero_point, code.bits))
        sections.append(Section("zero_points", f"{name}:zero", torch.uint8, (size,)))
    if code.codebook is not None:
        sections.append(Section("codebook", f"{name}:codebook", torch.float32, tuple(code.codebook.shape)))
    return tuple(sections)


def zero_point_bits(zero_point: Tensor, bits: int) -> int:
    """Bits of a stored zero point: as many as a code where all fit, else 8."""
    return bits if int(zero_point.max()) < 2**bits else 8


def metadata(forms: Iterable[Form], recipe: Recipe, aliases: Mapping[str, str]) -> dict[str, str]:
    """The header's metadata: version, recipe, treated tensors and aliases, as JSON text under one key.

    One key, because the library writes several in random order.

    Args:
        forms: how each tensor is stored.
        recipe: what made them.
        aliases: other names of stored tensors in the model's state: alias -> the name that is stored.
    """
    described = {form.stored.name: form.describe() for form in forms}
    tensors = {name: entry for name, entry in described.items() if entry is not None}
    content: dict[str, Any] = {"version": FORMAT_VERSION, "recipe": recipe.to_dict(), "tensors": tensors}
    if aliases:
        content["aliases"] = dict(aliases)
    return {METADATA_KEY: _compact(content)}


def header_bytes(sections: Sequence[Section], about: Mapping[str, str]) -> int:
    """Bytes that the safetensors library writes before the sections' own: length, JSON and its padding.

    Args:
        sections: the arrays of the file.
        about: the metadata.

    Raises:
        ModelError: when two sections have one name, or a dtype has no place in the format.
    """
    table = _dtype_table()
    header: dict[str, Any] = {"__metadata__": dict(about)} if about else {}
    for section in sections:
        if section.dtype not in table:
            raise ModelError(f"{section.name} is {section.dtype}, which a safetensors file cannot hold. Convert it.")
        if section.name in header:
            raise ModelError(f"Two tensors would be called {section.name!r} in the file. Rename one in the model.")
        header[section.name] = None
    end = 0
    # The library's order: widest dtypes first, then by name. It decides how many digits the places have.
    for section in sorted(sections, key=lambda section: (table[section.dtype][1], section.name)):
        start, end = end, end + section.bytes
        dtype, shape = table[section.dtype][0], list(section.shape)
        header[section.name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    length = len(_compact(header).encode())
    return 8 + (length + 7) // 8 * 8


def file_bytes(stored: Iterable[StoredTensor], recipe: Recipe, aliases: Mapping[str, str]) -> int:
    """The size of the file that `file.save` would write, exactly, without writing or encoding anything.

    Args:
        stored: every tensor of the model, each once.
        recipe: what made them.
        aliases: other names of stored tensors: alias -> the name that is stored.
    """
    forms = [choose_form(tensor) for tensor in stored]
    sections = [section for form in forms for section in form.sections()]
    return header_bytes(sections, metadata(forms, recipe, aliases)) + sum(section.bytes for section in sections)


def plain_file_bytes(state: Mapping[str, Tensor]) -> int:
    """The size of the safetensors file of an uncompressed state, without metadata: the baseline's file.

    Args:
        state: name -> tensor, a tied tensor under one name only.
    """
    sections = [Section("values", name, tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()]
    return header_bytes(sections, {}) + sum(section.bytes for section in sections)


def _compact(content: object) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


@lru_cache(maxsize=1)
def _dtype_table() -> dict[torch.dtype, tuple[str, int]]:
    """Of each dtype the name and the rank in the file's order, as the installed library has them."""
    empty = {str(dtype): torch.empty(0, dtype=dtype) for dtype in DTYPES}
    data = safetensors.torch.save(empty)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    by_name = {str(dtype): dtype for dtype in DTYPES}
    return {by_name[key]: (entry["dtype"], rank) for rank, (key, entry) in enumerate(header.items())}
