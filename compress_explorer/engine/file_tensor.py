"""One tensor to the arrays of the file that hold it, and back."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress_explorer.engine.contents import zero_codes
from compress_explorer.engine.file_header import Entry, Quantized, damaged
from compress_explorer.engine.form import Form, zero_point_bits
from compress_explorer.engine.packing import pack, packed_bytes, unpack
from compress_explorer.engine.positions import decode_gaps, encode_gaps, run_lengths
from compress_explorer.methods.code import Code


def encode(form: Form) -> list[Tensor]:
    """The arrays that hold a tensor, one for each of `form.sections()`, in that order.

    They share no memory with the tensor.
    """
    stored, contents = form.stored, form.contents
    if not stored.treated:
        return [stored.values.detach().cpu().clone(memory_format=torch.contiguous_format)]
    taken, positions = _positions(form)
    if stored.code is not None:
        codes = contents.codes if taken is None else contents.codes[taken]
        return [torch.from_numpy(pack(codes, stored.code.bits)), *positions, *_side(stored.code)]
    # Zeros of pruned floats are written as +0.0.
    matrix = stored.layout.to_matrix(stored.values.detach().cpu())
    present = torch.from_numpy(contents.present).reshape(matrix.shape)
    values = torch.where(present, matrix, torch.zeros((), dtype=matrix.dtype))
    if taken is None:
        return [stored.layout.from_matrix(values).contiguous()]
    return [values.reshape(-1)[torch.from_numpy(taken)], *positions]


def _positions(form: Form) -> tuple[NDArray[np.int64] | None, list[Tensor]]:
    """Which weights the entries hold, None for all of them, and the array of positions."""
    present, zero_level = form.contents.present, form.contents.zero_level
    if form.positions == "none":
        return None, []
    if form.positions == "bitmask":
        return np.flatnonzero(present), [torch.from_numpy(np.packbits(present))]
    gaps = encode_gaps(run_lengths(present), form.width, zero_level)
    taken, _ = decode_gaps(gaps, form.width, zero_level)
    return taken, [torch.from_numpy(pack(gaps, form.width))]


def _side(code: Code) -> list[Tensor]:
    """Scales, zero points and codebook, as far as the code has them."""
    arrays = []
    if code.scale is not None:
        arrays.append(_float32(code.scale))
    if code.zero_point is not None:
        zero_points = code.zero_point.cpu().numpy().reshape(-1)
        arrays.append(torch.from_numpy(pack(zero_points, zero_point_bits(code.zero_point, code.bits))))
    if code.codebook is not None:
        arrays.append(_float32(code.codebook))
    return arrays


def _float32(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()


def decode(entry: Entry, arrays: Mapping[str, Tensor]) -> Tensor:
    """The tensor that a description and the file's arrays stand for: the inverse of `encode`.

    Raises:
        FileFormatError: when an array is missing, or is not what the description says.
    """
    return _decode_floats(entry, arrays) if entry.quantized is None else _decode_codes(entry, arrays)


def _decode_floats(entry: Entry, arrays: Mapping[str, Tensor]) -> Tensor:
    values = _array(entry, "values", arrays)
    if entry.positions == "none" or not values.is_floating_point():
        raise damaged(f"{entry.name} has {values.dtype} values and positions {entry.positions!r}")
    index, _ = _places(entry, arrays, zero_level=True)
    _check_length(entry, "values", values, len(index))
    flat = torch.zeros(entry.weights, dtype=values.dtype)
    flat[torch.from_numpy(index)] = values
    return entry.layout.from_matrix(flat.reshape(entry.layout.channels, -1)).contiguous()


def _decode_codes(entry: Entry, arrays: Mapping[str, Tensor]) -> Tensor:
    quantized, layout = entry.quantized, entry.layout
    assert quantized is not None
    code = _empty_code(entry, quantized, arrays)
    index, holds_value = _places(entry, arrays, zero_codes(code) is not None)
    codes = _packed(entry, "codes", arrays, len(index), quantized.bits)
    _check_codes(entry, codes, code)
    flat = np.zeros(entry.weights, dtype=np.uint8)
    present = np.zeros(entry.weights, dtype=np.bool_)
    flat[index[holds_value]] = codes[holds_value]
    present[index[holds_value]] = True
    shape = (layout.channels, layout.columns)
    matrix = replace(code, codes=torch.from_numpy(flat).reshape(shape)).decode()
    matrix = torch.where(torch.from_numpy(present).reshape(shape), matrix, 0.0)
    return layout.from_matrix(matrix).to(quantized.dtype).contiguous()


def _places(
    entry: Entry, arrays: Mapping[str, Tensor], zero_level: bool
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Which weight each entry stands for, and whether it holds a value: see `positions.decode_gaps`."""
    if entry.positions == "relative":
        gaps = _packed(entry, "gaps", arrays, entry.entries, entry.width)
        index, holds_value = decode_gaps(gaps, entry.width, zero_level)
        if len(index) and index[-1] >= entry.weights:
            raise damaged(f"{entry.name} has a position beyond its {entry.weights} weights")
        return index, holds_value
    if entry.positions == "bitmask":
        index = np.flatnonzero(_packed(entry, "mask", arrays, entry.weights, 1))
    else:
        index = np.arange(entry.weights)
    return index, np.ones(len(index), dtype=np.bool_)


def _empty_code(entry: Entry, quantized: Quantized, arrays: Mapping[str, Tensor]) -> Code:
    """The scales, zero points and codebook of a tensor, without its codes."""
    channels, groups = entry.layout.channels, -(-entry.layout.columns // quantized.group_size)
    scale = zero_point = codebook = None
    if entry.section("scale") in arrays:
        scale = _table(entry, "scale", arrays, channels)
        if scale.shape[1] != groups:
            raise damaged(f"{entry.name} has {scale.shape[1]} scales a row for {groups} groups")
    if quantized.zero_bits is not None:
        if scale is None or quantized.grid == "codebook":
            raise damaged(f"{entry.name} has zero points without scales")
        packed = _packed(entry, "zero", arrays, scale.numel(), quantized.zero_bits)
        zero_point = torch.from_numpy(packed).reshape(scale.shape)
    if quantized.grid == "codebook":
        codebook = _table(entry, "codebook", arrays, channels)
    return Code(
        codes=torch.empty(channels, 0, dtype=torch.uint8),
        bits=quantized.bits,
        grid=quantized.grid,
        offset=quantized.offset,
        codebook=codebook,
        scale=scale,
        zero_point=zero_point,
        group_size=quantized.group_size,
    )


def _check_codes(entry: Entry, codes: NDArray[np.uint8], code: Code) -> None:
    levels = 2**code.bits
    if code.grid == "power-of-two":
        levels -= 1
    if code.codebook is not None:
        levels = code.codebook.shape[1]
    highest = int(codes.max(initial=0))
    if highest >= levels:
        raise damaged(f"{entry.name} has the code {highest}, but only {levels} levels")


def _array(entry: Entry, suffix: str, arrays: Mapping[str, Tensor]) -> Tensor:
    name = entry.section(suffix)
    if name not in arrays:
        raise damaged(f"{name} is missing")
    return arrays[name]


def _check_length(entry: Entry, suffix: str, array: Tensor, length: int) -> None:
    if array.shape != (length,):
        raise damaged(f"{entry.section(suffix)} has the shape {tuple(array.shape)} instead of ({length},)")


def _packed(entry: Entry, suffix: str, arrays: Mapping[str, Tensor], count: int, bits: int) -> NDArray[np.uint8]:
    array = _array(entry, suffix, arrays)
    if array.dtype != torch.uint8:
        raise damaged(f"{entry.section(suffix)} is {array.dtype}, not packed bytes")
    _check_length(entry, suffix, array, packed_bytes(count, bits))
    return unpack(array.numpy(), count, bits)


def _table(entry: Entry, suffix: str, arrays: Mapping[str, Tensor], channels: int) -> Tensor:
    """A float32 table with one row, or one for each channel."""
    array = _array(entry, suffix, arrays)
    if array.dtype != torch.float32 or array.ndim != 2 or array.shape[0] not in {1, channels} or not array.numel():
        raise damaged(f"{entry.section(suffix)} is {array.dtype} {tuple(array.shape)} for {channels} channels")
    return array
