"""The exact size of a safetensors file, without writing it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from compress_explorer.spec.errors import ModelError

INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)
DTYPES = (torch.bool, torch.uint8, *INTEGERS, *FLOATS, torch.complex64)
"""The dtypes that a file can hold."""


@dataclass(frozen=True)
class Array:
    """One named array of the file."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """The bytes that it takes in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


def header_bytes(arrays: Sequence[Array], about: Mapping[str, str]) -> int:
    """Bytes that the safetensors library writes before the arrays' own: length, JSON and its padding.

    Args:
        arrays: the arrays of the file, each of another name.
        about: the metadata.

    Raises:
        ModelError: when a dtype has no place in the format.
    """
    table = _dtype_table()
    for array in arrays:
        if array.dtype not in table:
            raise ModelError(f"{array.name} is {array.dtype}, which a safetensors file cannot hold. Convert it.")
    header: dict[str, Any] = {"__metadata__": dict(about)} if about else {}
    end = 0
    # The library's order: widest dtypes first, then by name. It decides how many digits the places have.
    for array in sorted(arrays, key=lambda array: (table[array.dtype][1], array.name)):
        start, end = end, end + array.bytes
        dtype, shape = table[array.dtype][0], list(array.shape)
        header[array.name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    length = len(compact(header).encode())
    return 8 + (length + 7) // 8 * 8


def plain_file_bytes(state: Mapping[str, Tensor]) -> int:
    """The size of the safetensors file of an uncompressed state, without metadata: the baseline's file.

    Args:
        state: name -> tensor, a tied tensor under one name only.
    """
    arrays = [Array(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()]
    return header_bytes(arrays, {}) + sum(array.bytes for array in arrays)


def compact(content: object) -> str:
    """JSON without spaces, as it stands in a header."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


@lru_cache(maxsize=1)
def _dtype_table() -> dict[torch.dtype, tuple[str, int]]:
    """Of each dtype the name and the rank in the file's order, as the installed library has them."""
    empty = {str(dtype): torch.empty(0, dtype=dtype) for dtype in DTYPES}
    data = safetensors.torch.save(empty)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    by_name = {str(dtype): dtype for dtype in DTYPES}
    return {by_name[key]: (entry["dtype"], rank) for rank, (key, entry) in enumerate(header.items())}
