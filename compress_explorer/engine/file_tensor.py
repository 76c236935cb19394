"""One tensor to the bytes of the file that hold it, and back."""

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress_explorer.engine.coding import decode_stream, encode_stream
from compress_explorer.engine.contents import any_of_neighbours, bit_patterns, zero_codes
from compress_explorer.engine.file_entry import Entry, Quantized, damaged
from compress_explorer.engine.form import FLOAT_ZERO_BITS, Form, zero_point_bits
from compress_explorer.engine.packing import pack, packed_bytes, unpack
from compress_explorer.engine.positions import decode_gaps, encode_gaps, run_lengths
from compress_explorer.methods.code import Code
from compress_explorer.methods.coded_scale import SCALE_FORMATS, CodedScale, constants_of
from compress_explorer.methods.formats import FORMATS, Format
from compress_explorer.spec.size import Coding

Bytes = NDArray[np.uint8]


def encode(form: Form) -> Tensor:
    """The array that holds a tensor, of the dtype and shape of `form.array`. It shares no memory with the tensor."""
    stored, contents = form.stored, form.contents
    if form.as_it_is:
        return stored.values.detach().cpu().clone(memory_format=torch.contiguous_format)
    taken, positions = _positions(form)
    if stored.code is not None:
        if contents.vectors and form.positions != "none":
            taken = contents.held
        values = [_numbers(contents.codes[taken], stored.code.bits, form.coding), *_side(stored.code)]
    else:
        patterns = stored.layout.to_matrix(bit_patterns(stored.values)).numpy()
        values = [_little_endian(patterns.reshape(-1)[taken])]
    return torch.from_numpy(np.concatenate([positions, *values]))


def _positions(form: Form) -> tuple[NDArray[np.int64] | NDArray[np.bool_] | slice, Bytes]:
    """Which weights the entries hold, and the bytes that say so."""
    present, zero_level = form.contents.present, form.contents.zero_level
    if form.positions == "none":
        return slice(None), np.empty(0, dtype=np.uint8)
    if form.positions == "bitmask":
        return np.flatnonzero(present), np.packbits(present)
    zero_level = zero_level and form.coding is None
    gaps = encode_gaps(run_lengths(present), form.width, zero_level)
    taken, holds_value = decode_gaps(gaps, form.width, zero_level)
    return taken if form.coding is None else taken[holds_value], _numbers(gaps, form.width, form.coding)


def _numbers(numbers: Bytes, bits: int, coding: Coding | None) -> Bytes:
    """Numbers of `bits` bits, packed or coded."""
    return pack(numbers, bits) if coding is None else encode_stream(coding, numbers, bits)


def _side(code: Code) -> list[Bytes]:
    """Scales, zero points and codebook, as far as the code has them."""
    parts = []
    if code.coded_scale is not None:
        parts += [code.coded_scale.codes.cpu().numpy().reshape(-1), _float32(code.coded_scale.constants)]
    elif code.scale is not None:
        parts.append(_float32(code.scale))
    if code.zero_point is not None:
        parts.append(_zero_points(code.zero_point, code.bits))
    if code.codebook is not None:
        parts.append(_float32(code.codebook))
    return parts


def _zero_points(zero_point: Tensor, bits: int) -> Bytes:
    if zero_point.is_floating_point():
        return _float32(zero_point)
    return pack(zero_point.cpu().numpy().reshape(-1), zero_point_bits(zero_point, bits))


def _float32(tensor: Tensor) -> Bytes:
    return _little_endian(bit_patterns(tensor.detach().to(torch.float32)).numpy().reshape(-1))


def _little_endian(numbers: NDArray[np.integer]) -> Bytes:
    return numbers.astype(numbers.dtype.newbyteorder("<")).view(np.uint8)


class _Reader:
    """Takes one part after another from a tensor's bytes."""

    def __init__(self, entry: Entry, array: Tensor) -> None:
        if array.dtype != torch.uint8 or array.ndim != 1:
            raise damaged(f"{entry.name} is {array.dtype} {tuple(array.shape)}, not a row of bytes")
        self._name, self._data, self._place = entry.name, array.numpy(), 0
        self.size = len(self._data)

    def take(self, count: int) -> Bytes:
        """The next `count` bytes."""
        if count > self.size - self._place:
            raise damaged(f"{self._name} needs more bytes than the {self.size} that it has")
        self._place += count
        return self._data[self._place - count : self._place]

    def packed(self, count: int, bits: int) -> Bytes:
        """The next `count` numbers of `bits` bits."""
        return unpack(self.take(packed_bytes(count, bits)), count, bits)

    def coded(self, coding: Coding, size: int, bits: int, count: int) -> Bytes:
        """`count` numbers of `bits` bits from the next `size` bytes, a coded stream."""
        try:
            return decode_stream(coding, self.take(size), bits, count)
        except ValueError as error:
            raise damaged(f"{self._name} has a coded stream of {size} bytes, but {error}") from error

    def floats(self, count: int, dtype: torch.dtype) -> Tensor:
        """The next `count` floats."""
        whole = np.dtype(f"<i{dtype.itemsize}")
        numbers = self.take(count * dtype.itemsize).copy().view(whole)
        return torch.from_numpy(numbers.astype(whole.newbyteorder("="))).view(dtype)

    def end(self) -> None:
        """Checks that nothing is left."""
        if self._place != self.size:
            raise damaged(f"{self._name} has {self.size - self._place} bytes too many")


def decode(entry: Entry, array: Tensor) -> Tensor:
    """The tensor that a description and the file's array stand for: the inverse of `encode`.

    Raises:
        FileFormatError: when the array is not what the description says.
    """
    reader = _Reader(entry, array)
    positions = _read_positions(entry, reader)
    if entry.quantized is not None and entry.quantized.grid == "vectors":
        return _decode_vectors(entry, entry.quantized, reader, positions)
    count = len(positions)
    if entry.coding is not None and entry.positions == "relative":
        count = int(np.count_nonzero(positions != 2**entry.width - 1))  # fillers have no value
    quantized = entry.quantized
    if quantized is None:
        values = reader.floats(count, entry.dtype)
        reader.end()
        index, holds_value = _places(entry, positions, zero_level=True)
        flat = torch.zeros(entry.weights, dtype=entry.dtype)
        flat[torch.from_numpy(index[holds_value])] = values
        return entry.layout.from_matrix(flat.reshape(entry.layout.channels, -1)).contiguous()
    codes, code = _read_code(entry, quantized, reader, count)
    index, holds_value = _places(entry, positions, zero_codes(code) is not None)
    if entry.coding is None:
        codes = codes[holds_value]
    matrix = _fill(entry, index[holds_value], codes, code)
    return entry.layout.from_matrix(matrix).to(entry.dtype).contiguous()


def _decode_vectors(
    entry: Entry, quantized: Quantized, reader: _Reader, positions: NDArray[np.int64] | Bytes
) -> Tensor:
    """The tensor whose codes stand for neighbouring weights together: there is one wherever any of them is present."""
    index, holds_value = _places(entry, positions, zero_level=False)
    present = np.zeros(entry.weights, dtype=np.bool_)
    present[index[holds_value]] = True
    held = any_of_neighbours(present, entry.layout.columns, quantized.dimension)
    codes, code = _read_code(entry, quantized, reader, int(np.count_nonzero(held)))
    all_codes = np.zeros(len(held), dtype=np.uint8)
    all_codes[held] = codes
    matrix = replace(code, codes=torch.from_numpy(all_codes).reshape(entry.layout.channels, -1)).decode()
    matrix = torch.where(torch.from_numpy(present).reshape(matrix.shape), matrix, 0.0)
    return entry.layout.from_matrix(matrix).to(entry.dtype).contiguous()


def _read_code(entry: Entry, quantized: Quantized, reader: _Reader, count: int) -> tuple[Bytes, Code]:
    """The codes of `count` values, and scales, zero points and codebook as a code without codes: all that is left."""
    if entry.coding is None:
        codes = reader.packed(count, quantized.bits)
    else:
        codes = reader.coded(entry.coding, entry.coded[1], quantized.bits, count)
    code = _read_tables(entry, quantized, reader)
    reader.end()
    _check_codes(entry, codes, code)
    return codes, code


def _read_positions(entry: Entry, reader: _Reader) -> NDArray[np.int64] | Bytes:
    """The gaps of a relative index, else the positions themselves; one for every stored value."""
    if entry.coding is not None and entry.positions == "relative":
        if entry.entries > entry.weights:  # before memory is taken for them
            raise damaged(f"{entry.name} has {entry.entries} gaps in {entry.weights} weights")
        return reader.coded(entry.coding, entry.coded[0], entry.width, entry.entries)
    if entry.positions == "relative":
        return reader.packed(entry.entries, entry.width)
    if entry.positions == "bitmask":
        return np.flatnonzero(reader.packed(entry.weights, 1))
    if entry.coding != "rans" and entry.values > 8 * reader.size:  # only rANS takes less than a bit
        raise damaged(f"{entry.name} needs more bytes than the {reader.size} that it has")
    return np.arange(entry.weights)


def _places(
    entry: Entry, positions: NDArray[np.int64] | Bytes, zero_level: bool
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Which weight each stored value stands for, and whether it is one: see `positions.decode_gaps`."""
    if entry.positions != "relative":
        return positions.astype(np.int64), np.ones(len(positions), dtype=np.bool_)
    zero_level = zero_level and entry.coding is None
    index, holds_value = decode_gaps(positions.astype(np.uint8), entry.width, zero_level)
    if len(index) and index[-1] >= entry.weights:
        raise damaged(f"{entry.name} has a position beyond its {entry.weights} weights")
    return index, holds_value


def _read_tables(entry: Entry, quantized: Quantized, reader: _Reader) -> Code:
    """The scales, zero points and codebook of a tensor, as a code without codes."""
    channels, columns = entry.layout.channels, entry.layout.columns
    group = quantized.group or columns
    if group > columns:
        raise damaged(f"{entry.name} has groups of {group} in rows of {columns} weights")
    scale = zero_point = codebook = None
    if quantized.scales is not None:
        shape = (1 if quantized.scales == "tensor" else channels, -(-columns // group))
        scale = _read_scales(entry, quantized, reader, shape)
        if quantized.zero_bits is not None:
            zero_point = _read_zero_points(reader, scale.numel(), quantized.zero_bits).reshape(shape)
    if quantized.codebooks is not None:
        rows = 1 if quantized.codebooks == "tensor" else channels
        vector = [quantized.dimension] if quantized.grid == "vectors" else []
        table = (rows, quantized.levels, *vector)
        codebook = reader.floats(math.prod(table), torch.float32).reshape(table)
    return Code(
        codes=torch.empty(channels, 0, dtype=torch.uint8),
        bits=quantized.bits,
        grid=quantized.grid,
        offset=quantized.offset,
        codebook=codebook,
        scale=scale,
        zero_point=zero_point,
        group_size=group,
    )


def _read_scales(entry: Entry, quantized: Quantized, reader: _Reader, shape: tuple[int, int]) -> Tensor:
    count = shape[0] * shape[1]
    if quantized.scale_format is None:
        return reader.floats(count, torch.float32).reshape(shape)
    codes = reader.packed(count, 8)
    _check_levels(entry, "scale", codes, SCALE_FORMATS[quantized.scale_format])
    constants = reader.floats(constants_of(quantized.scale_format, count), torch.float32)
    return CodedScale(
        codes=torch.from_numpy(codes).reshape(shape), format=quantized.scale_format, constants=constants
    ).decode()


def _read_zero_points(reader: _Reader, count: int, bits: int) -> Tensor:
    if bits == FLOAT_ZERO_BITS:
        return reader.floats(count, torch.float32)
    return torch.from_numpy(reader.packed(count, bits))


def _fill(entry: Entry, index: NDArray[np.int64], codes: Bytes, code: Code) -> Tensor:
    """The matrix with the decoded weights at `index`, float32 [channels, n]; zero elsewhere."""
    shape = (entry.layout.channels, entry.layout.columns)
    flat, present = np.zeros(entry.weights, dtype=np.uint8), np.zeros(entry.weights, dtype=np.bool_)
    flat[index], present[index] = codes, True
    matrix = replace(code, codes=torch.from_numpy(flat).reshape(shape)).decode()
    return torch.where(torch.from_numpy(present).reshape(shape), matrix, 0.0)


def _check_codes(entry: Entry, codes: Bytes, code: Code) -> None:
    if code.grid in FORMATS:
        _check_levels(entry, "code", codes, FORMATS[code.grid])
        return
    levels = 2**code.bits
    if code.grid == "power-of-two":
        levels -= 1
    if code.codebook is not None:
        levels = code.codebook.shape[1]
    highest = int(codes.max(initial=0))
    if highest >= levels:
        raise damaged(f"{entry.name} has the code {highest}, but only {levels} levels")


def _check_levels(entry: Entry, what: str, codes: Bytes, number_format: Format) -> None:
    unused = ~np.isin(codes, number_format.used.numpy())
    if unused.any():
        raise damaged(f"{entry.name} has the {what} {codes[unused][0]}, which stands for no number")
