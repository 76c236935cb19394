"""The entropy coders of values and of position gaps, by name."""

import numpy as np
from numpy.typing import NDArray

from compress_explorer.engine import huffman, rans
from compress_explorer.spec.size import Coding


def stream_bytes(coding: Coding, counts: NDArray[np.int64]) -> int:
    """Bytes of a coded stream of symbols with these counts, code table included; 0 for an empty one.

    Exactly the length of what `encode_stream` makes of them, in whatever order they come.
    """
    return huffman.stream_bytes(counts) if coding == "huffman" else rans.stream_bytes(counts)


def encode_stream(coding: Coding, symbols: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """The coded stream, code table first, of symbols of `bits` bits, 1 to 8."""
    encode = huffman.encode_stream if coding == "huffman" else rans.encode_stream
    return encode(symbols, 2**bits)


def decode_stream(coding: Coding, data: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """The inverse of `encode_stream` for `count` symbols.

    Raises:
        ValueError: when the stream is damaged; the message goes on after its name.
    """
    decode = huffman.decode_stream if coding == "huffman" else rans.decode_stream
    return decode(data, 2**bits, count)
