"""How a compressed model lies in its file: the bytes of every tensor, the header, and the exact sizes.

The file is a safetensors file: 8 bytes that hold the header's length, the header (JSON with each array's name,
dtype, shape and place), and the arrays' bytes without gaps. Every tensor is one array under its own name. Those
that were left alone stand as they are. A treated one is an array of bytes: its positions, then its values, scales,
zero points and codebook, as far as it has them; each part begins at a whole byte, floats are little-endian.

The header's metadata hold one text, JSON: {"version", "recipe", "styles", "tensors", "aliases", "edits"}; the last
two where there are any. "edits" are the changes of the network's structure, see `edits`. "tensors" maps the
name of each treated tensor to [shape, style], [shape, style, "mask"] or [shape, style, gap width, entries]: no
positions, a bitmask, or a relative index. Where a coder was used, the bytes of a relative index's coded gaps and of the
values follow: see `engine.coding`. A style, an index into "styles", is what tensors have in common:

    dtype       of the decoded tensor
    grid, bits, offset, group, levels    of the codes, see `methods.code.Code`; plain floats have none. Left out:
                offset 0, and a group that is a whole row
    scales, codebooks    "tensor" or "channel": whether there is one row of them or one for each channel
    dimension   of vectors: the weights of a row that share a code. Only codes of vectors with a present weight are
                stored; gaps then have no values, and the largest always stands for a filler
    scale_format    of scales of 8 bits, see `methods.coded_scale`: their codes, then their float32 constants, stand
                in the place of float32 scales
    zero_bits   width of a packed zero point; 32 for floats
    axis, groups    of the layout, where the output channels are not the first axis
    coding      "huffman" or "rans" where gaps and values are coded. The largest gap then always stands for a filler
                that has no value. Plain floats are not coded, but their gaps are
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from compress_explorer.engine.coding import stream_bytes
from compress_explorer.engine.contents import Contents
from compress_explorer.engine.edits import Edit, edit_to_json
from compress_explorer.engine.packing import packed_bytes
from compress_explorer.engine.positions import best_width, gap_counts, span_of
from compress_explorer.engine.safetensors_size import Array, compact, header_bytes
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.methods.code import Code
from compress_explorer.spec.recipe import Recipe
from compress_explorer.spec.size import Coding

FORMAT_VERSION = 3
"""3: vectors as a grid. 2: number formats as grids, and scales of 8 bits. An older file is a new one without these."""

METADATA_KEY = "compress_explorer"
FLOAT_ZERO_BITS = 32
"""The width of a zero point that is a float32, not a packed whole number."""

Part = Literal["values", "positions", "scales", "zero_points", "codebook"]
"""See `spec.size.PARTS`."""


@dataclass(frozen=True, eq=False)
class Form:
    """The form in which the file holds one tensor.

    Attributes:
        contents: what is to be stored.
        positions: "none": all weights in order; "bitmask": a bit for each weight, then the present ones;
            "relative": the gaps between the present ones, see `engine.positions`.
        width: bits of a gap; 0 unless positions are relative.
        entries: the number of gaps when positions are relative, else 0.
        coding: the coder of values and gaps, or None.
    """

    contents: Contents
    positions: Literal["none", "bitmask", "relative"]
    width: int
    entries: int
    coding: Coding | None = None

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

    @cached_property
    def value_bytes(self) -> int:
        """Bytes of the values."""
        if self.coding is not None:
            return self._coded_value_bytes(self.coding)
        count = self.contents.values if self.positions == "none" else self.contents.held_count
        if self.positions == "relative" and not self.contents.vectors:
            count = self.entries
        return packed_bytes(count, self.contents.bits)

    def _coded_value_bytes(self, coding: Coding) -> int:
        contents = self.contents
        if self.stored.code is None:
            return packed_bytes(contents.count, contents.bits)
        counts = contents.all_counts if self.positions == "none" else contents.held_counts
        return stream_bytes(coding, counts)

    @cached_property
    def position_bytes(self) -> int:
        """Bytes of the positions."""
        if self.coding is not None and self.positions == "relative":
            return stream_bytes(self.coding, gap_counts(self.contents.runs, self.width))
        if self.positions == "bitmask":
            return packed_bytes(self.contents.weights, 1)
        return packed_bytes(self.entries, self.width)

    @property
    def payload(self) -> int:
        """Bytes of values and positions."""
        return self.value_bytes + self.position_bytes

    @cached_property
    def parts(self) -> dict[Part, int]:
        """The bytes of every part; together those of `array`."""
        return {"values": self.value_bytes, "positions": self.position_bytes, **side_parts(self.stored.code)}

    @property
    def array(self) -> Array:
        """The array of the file that holds this tensor."""
        name, values = self.stored.name, self.stored.values
        if self.as_it_is:
            return Array(name, values.dtype, tuple(values.shape))
        return Array(name, torch.uint8, (sum(self.parts.values()),))

    def style(self) -> dict[str, Any]:
        """What the header says of this tensor and of others like it, as plain data for JSON."""
        layout, code = self.stored.layout, self.stored.code
        style: dict[str, Any] = {"dtype": str(self.stored.values.dtype).removeprefix("torch.")}
        if layout.axis:
            style |= {"axis": layout.axis, "groups": layout.groups}
        if self.coding is not None:
            style["coding"] = self.coding
        if code is None:
            return style
        style |= {"grid": code.grid, "bits": code.bits}
        if code.offset:
            style["offset"] = code.offset
        if code.group_size < layout.columns:
            style["group"] = code.group_size
        if code.scale is not None:
            style["scales"] = "tensor" if len(code.scale) == 1 else "channel"
        if code.coded_scale is not None:
            style["scale_format"] = code.coded_scale.format
        if code.zero_point is not None:
            style["zero_bits"] = zero_point_bits(code.zero_point, code.bits)
        if code.codebook is not None:
            style["codebooks"] = "tensor" if len(code.codebook) == 1 else "channel"
            style["levels"] = code.codebook.shape[1]
        if code.grid == "vectors":
            style["dimension"] = code.dimension
        return style

    def describe(self, style: int) -> list[Any]:
        """What the header says of this tensor alone, as plain data for JSON.

        Args:
            style: the index of its style.
        """
        entry: list[Any] = [list(self.stored.layout.shape), style]
        if self.positions == "bitmask":
            entry.append("mask")
        if self.positions == "relative":
            entry += [self.width, self.entries]
        if self.coding is not None:
            entry += [self.position_bytes, self.value_bytes] if self.positions == "relative" else [self.value_bytes]
        return entry


def choose_form(stored: StoredTensor) -> Form:
    """The smallest form for a tensor; of equals the simplest. Tensors that were left alone stay as they are.

    Quantized values may take the plain form only if the weights that were pruned have a code for zero. Coded forms
    are considered where a step asks for them; a tensor of plain floats without zeros has none.
    """
    contents = Contents(stored)
    plain = Form(contents, "none", 0, 0)
    if not stored.treated:
        return plain
    width, entries = best_width(contents.runs, contents.gap_bits, contents.zero_level)
    forms = [Form(contents, "bitmask", 0, 0), Form(contents, "relative", width, entries)]
    if contents.plain:
        forms.insert(0, plain)
    if stored.coding is not None:
        forms += coded_forms(contents, width, stored.coding)
    return min(forms, key=lambda form: form.payload)


def coded_forms(contents: Contents, width: int, coding: Coding) -> list[Form]:
    """The coded forms of a treated tensor: all values where that is possible; gaps of `width` bits, present values.

    Plain floats are never coded: of theirs, the gaps alone are.
    """
    gaps = contents.runs.total + contents.runs.fillers(span_of(width, zero_level=False))
    forms = [Form(contents, "relative", width, gaps, coding)]
    if contents.plain and contents.stored.code is not None:
        forms.insert(0, Form(contents, "none", 0, 0, coding))
    return forms


def side_parts(code: Code | None) -> dict[Part, int]:
    """Bytes of what stands beside values and positions: scales, zero points and codebook."""
    if code is None:
        return {"scales": 0, "zero_points": 0, "codebook": 0}
    zero_points = 0
    if code.zero_point is not None:
        zero_points = packed_bytes(code.zero_point.numel(), zero_point_bits(code.zero_point, code.bits))
    scales = 0 if code.scale is None else 4 * code.scale.numel()
    return {
        "scales": scales if code.coded_scale is None else code.coded_scale.bytes,
        "zero_points": zero_points,
        "codebook": 0 if code.codebook is None else 4 * code.codebook.numel(),
    }


def zero_point_bits(zero_point: Tensor, bits: int) -> int:
    """Bits of a stored zero point: 32 for floats; of whole numbers as many as a code where all fit, else 8."""
    if zero_point.is_floating_point():
        return FLOAT_ZERO_BITS
    return bits if int(zero_point.max()) < 2**bits else 8


def metadata(
    forms: Iterable[Form], recipe: Recipe, aliases: Mapping[str, str], edits: Iterable[Edit] = ()
) -> dict[str, str]:
    """The header's metadata, see above: one key, because the library writes several in random order.

    Args:
        forms: how each tensor is stored.
        recipe: what made them.
        aliases: other names of stored tensors in the model's state: alias -> the name that is stored.
        edits: how the network's structure was changed.
    """
    styles: list[dict[str, Any]] = []
    tensors: dict[str, list[Any]] = {}
    for form in forms:
        if form.as_it_is:
            continue
        style = form.style()
        if style not in styles:
            styles.append(style)
        tensors[form.stored.name] = form.describe(styles.index(style))
    content: dict[str, Any] = {"version": FORMAT_VERSION, "recipe": recipe.to_dict()}
    content |= {"styles": styles, "tensors": tensors}
    if aliases:
        content["aliases"] = dict(aliases)
    if listed := [edit_to_json(edit) for edit in edits]:
        content["edits"] = listed
    return {METADATA_KEY: compact(content)}


def file_bytes(
    stored: Iterable[StoredTensor], recipe: Recipe, aliases: Mapping[str, str], edits: Iterable[Edit] = ()
) -> int:
    """The size of the file that `file.save` would write, exactly, without writing or encoding anything.

    Args:
        stored: every tensor of the model, each once.
        recipe: what made them.
        aliases: other names of stored tensors: alias -> the name that is stored.
        edits: how the network's structure was changed.
    """
    forms = [choose_form(tensor) for tensor in stored]
    arrays = [form.array for form in forms]
    return header_bytes(arrays, metadata(forms, recipe, aliases, edits)) + sum(array.bytes for array in arrays)
