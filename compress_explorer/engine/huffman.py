"""Canonical Huffman codes, and the entropy that bounds them.

Source: Huffman, "A Method for the Construction of Minimum-Redundancy Codes", Proc. IRE 40(9), 1952; the
canonical form as in RFC 1951, section 3.2.2: codes of one length are consecutive, in the order of their
symbols, so that the lengths alone are the code table.
"""

import heapq

import numpy as np
from numpy.typing import NDArray

from compress_explorer.engine.packing import pack, packed_bytes, unpack

LONGEST = 56
"""Bits of the longest word that is read: a longer one needs more than 10^11 symbols."""

BLOCK = 2**17
"""Bytes that are decoded at a time, so that memory stays bounded."""


def entropy(counts: NDArray[np.int64]) -> float:
    """Shannon's bound in bits a symbol: H = -sum p log2 p with p = counts / sum(counts); 0 for no symbols."""
    positive = counts[counts > 0]
    if len(positive) == 0:
        return 0.0
    shares = positive / positive.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def code_lengths(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Lengths of an optimal prefix code.

    Args:
        counts: int64 [symbols], how often each symbol occurs.

    Returns:
        uint8 [symbols], bits of each symbol's code; 0 for those that never occur. A lone one takes one bit.
    """
    lengths = np.zeros(len(counts), dtype=np.uint8)
    symbols = np.flatnonzero(counts)
    if len(symbols) == 1:
        lengths[symbols] = 1
    if len(symbols) < 2:
        return lengths
    heap = [(int(counts[symbol]), leaf) for leaf, symbol in enumerate(symbols)]
    heapq.heapify(heap)
    parent = [0] * (2 * len(symbols) - 1)
    for node in range(len(symbols), len(parent)):
        first, left = heapq.heappop(heap)
        second, right = heap[0]
        parent[left] = parent[right] = node
        heapq.heapreplace(heap, (first + second, node))
    depth = [0] * len(parent)
    for node in range(len(parent) - 2, -1, -1):
        depth[node] = depth[parent[node]] + 1
    lengths[symbols] = depth[: len(symbols)]
    return lengths


def table_bytes(lengths: NDArray[np.uint8]) -> int:
    """Bytes of a canonical code table: one for the width of a length, then all lengths at that width."""
    width = int(lengths.max(initial=0)).bit_length()
    return 1 + packed_bytes(len(lengths), width)


def stream_bytes(counts: NDArray[np.int64]) -> int:
    """Bytes of a Huffman-coded stream with these symbol counts, code table included; 0 for an empty one."""
    if not counts.any():
        return 0
    lengths = code_lengths(counts)
    return table_bytes(lengths) + (int(counts @ lengths.astype(np.int64)) + 7) // 8


def canonical_codes(lengths: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The canonical code words of these lengths.

    Args:
        lengths: uint8 [symbols], from `code_lengths`.

    Returns:
        uint64 [symbols]; a symbol's word is the lowest `lengths[symbol]` bits.
    """
    words = np.zeros(len(lengths), dtype=np.uint64)
    word, previous = 0, 0
    for symbol in _canonical_order(lengths):
        length = int(lengths[symbol])
        word <<= length - previous
        words[symbol] = word
        word, previous = word + 1, length
    return words


def encode(symbols: NDArray[np.uint8], lengths: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The symbols' code words side by side.

    Args:
        symbols: uint8 [n], each with a code.
        lengths: uint8 [symbols], from `code_lengths`.

    Returns:
        uint8 [ceil(bits / 8)]; unused bits of the last byte are zero.
    """
    words = canonical_codes(lengths)
    column = np.arange(int(lengths.max(initial=0)))
    bits = []
    for block in np.split(symbols, range(BLOCK, len(symbols), BLOCK)):
        place = lengths[block].astype(np.int64)[:, None] - 1 - column
        every = (words[block][:, None] >> np.maximum(place, 0).astype(np.uint64)) & np.uint64(1)
        bits.append(every[place >= 0].astype(np.uint8))
    return np.packbits(np.concatenate(bits))


def decode(data: NDArray[np.uint8], lengths: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The inverse of `encode`.

    Args:
        data: uint8, the encoded stream.
        lengths: uint8 [symbols], the code table.
        count: how many symbols were encoded.

    Returns:
        uint8 [count].

    Raises:
        ValueError: when the stream is not of just so many symbols.
    """
    if count > 8 * len(data):
        raise ValueError("it holds fewer symbols than it should")
    symbols = np.empty(count, dtype=np.uint8)
    done, place = 0, 0
    while done < count:
        begin = place // 8
        symbol_at, following = _decode_from_every_bit(data[begin : begin + BLOCK + LONGEST // 8 + 1], lengths)
        place -= 8 * begin
        places = []
        for _ in range(count - done):
            if place >= len(following):
                break
            places.append(place)
            place = following[place]
        if not places:
            raise ValueError("it holds fewer symbols than it should")
        symbols[done : done + len(places)] = symbol_at[places]
        done, place = done + len(places), place + 8 * begin
    if (place + 7) // 8 != len(data):
        raise ValueError("it does not end where it should")
    return symbols


def _decode_from_every_bit(data: NDArray[np.uint8], lengths: NDArray[np.uint8]) -> tuple[NDArray[np.int64], list[int]]:
    """Of each bit of at most BLOCK bytes: the symbol if a code word begins there, and where the next one begins."""
    longest = int(lengths.max(initial=0))
    count = 8 * min(len(data), BLOCK)
    bits = np.concatenate([np.unpackbits(data), np.zeros(longest, dtype=np.uint8)])
    window = np.zeros(count, dtype=np.uint64)
    for offset in range(longest):
        window = (window << np.uint64(1)) | bits[offset : offset + count]
    # Canonical words, filled up on the right, ascend: the last one not above the window is its prefix.
    order = _canonical_order(lengths)
    spare = (longest - lengths[order].astype(np.int64)).astype(np.uint64)
    starts = canonical_codes(lengths)[order] << spare
    symbol_at = order[np.searchsorted(starts, window, side="right") - 1]
    return symbol_at, (np.arange(count) + lengths[symbol_at]).tolist()


def encode_stream(symbols: NDArray[np.uint8], alphabet: int) -> NDArray[np.uint8]:
    """The code table and the encoded symbols.

    Args:
        symbols: uint8 [n], each below `alphabet`.
        alphabet: the number of different symbols, 1 to 256.

    Returns:
        uint8 [stream_bytes(counts of the symbols)].
    """
    if len(symbols) == 0:
        return np.empty(0, dtype=np.uint8)
    lengths = code_lengths(np.bincount(symbols, minlength=alphabet))
    width = int(lengths.max()).bit_length()
    return np.concatenate([np.array([width], dtype=np.uint8), pack(lengths, width), encode(symbols, lengths)])


def decode_stream(data: NDArray[np.uint8], alphabet: int, count: int) -> NDArray[np.uint8]:
    """The inverse of `encode_stream`. Its time and memory are bounded by the stream's length.

    Args:
        data: uint8, the stream.
        alphabet: the number of different symbols.
        count: how many symbols were encoded.

    Returns:
        uint8 [count].

    Raises:
        ValueError: when this is not a stream of just so many symbols.
    """
    if count == 0 and len(data) == 0:
        return np.empty(0, dtype=np.uint8)
    width = int(data[0]) if len(data) else 0
    end = 1 + packed_bytes(alphabet, width)
    if not 1 <= width <= 8 or len(data) < end:
        raise ValueError("its code table is cut off")
    lengths = unpack(data[1:end], alphabet, width)
    if not _is_code(lengths):
        raise ValueError("its code table is none of a Huffman code")
    return decode(data[end:], lengths, count)


def _is_code(lengths: NDArray[np.uint8]) -> bool:
    """Whether every sequence of bits is one of code words, by Kraft's sum; a lone symbol has the word 0."""
    used = [int(length) for length in lengths[lengths > 0]]
    if max(used, default=0) > LONGEST:
        return False
    return used == [1] or sum(2 ** (LONGEST - length) for length in used) == 2**LONGEST


def _canonical_order(lengths: NDArray[np.uint8]) -> NDArray[np.int64]:
    used = np.flatnonzero(lengths)
    return used[np.argsort(lengths[used], kind="stable")]
