"""What both tests of damaged files do."""

from collections.abc import Sequence

from torch import Tensor

from compress_explorer.engine.file import from_bytes
from compress_explorer.spec.errors import FileFormatError


def check_flipped(good: bytes, flips: Sequence[tuple[int, int]]) -> None:
    """A file with other bytes at some places is read or refused with the error; nothing else happens."""
    data = bytearray(good)
    for place, value in flips:
        data[place] = value
    try:
        state = from_bytes(bytes(data)).state
    except FileFormatError:
        return
    assert all(isinstance(tensor, Tensor) for tensor in state.values())
