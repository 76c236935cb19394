"""Whole numbers of 1 to 8 bits, laid side by side without gaps."""

import numpy as np
from numpy.typing import NDArray


def packed_bytes(count: int, bits: int) -> int:
    """The bytes that `count` numbers of `bits` bits take: the last byte is filled up with zero bits."""
    return (count * bits + 7) // 8


def pack(numbers: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Lays numbers of `bits` bits side by side, most significant bit first.

    Args:
        numbers: uint8 [n], each below 2^bits.
        bits: 1 to 8.

    Returns:
        uint8 [ceil(n * bits / 8)]; unused bits of the last byte are zero.
    """
    if bits == 8:
        return numbers.copy()
    columns = np.unpackbits(numbers.reshape(-1, 1), axis=1)[:, 8 - bits :]
    return np.packbits(columns)


def unpack(data: NDArray[np.uint8], count: int, bits: int) -> NDArray[np.uint8]:
    """The inverse of `pack`.

    Args:
        data: uint8, at least ceil(count * bits / 8) of them.
        count: how many numbers were packed.
        bits: 1 to 8.

    Returns:
        uint8 [count].
    """
    if bits == 8:
        return data[:count].copy()
    columns = np.zeros((count, 8), dtype=np.uint8)
    columns[:, 8 - bits :] = np.unpackbits(data, count=count * bits).reshape(count, bits)
    return np.packbits(columns, axis=1).reshape(count)
