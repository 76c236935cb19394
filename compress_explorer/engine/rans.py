"""rANS: asymmetric numeral systems with a range of numbers for every symbol, and the exact length of its stream.

Source: Duda, "Asymmetric numeral systems: entropy coding combining speed of Huffman coding with compression rate of
arithmetic coding", arXiv 1311.2540, its range variant; Townsend, "A tutorial on the range variant of asymmetric numeral
systems", arXiv 2001.09186.

A symbol s of frequency f (of M = 4096 in all, those before it taking the first c) is pushed onto a number x:
x becomes (x // f) M + c + x mod f, which is nearly x M / f: log2(M / f) bits longer. x stays in 2^32..2^48 - 1: before
a push that would leave this range, its lowest 16 bits move to the stream. Symbols are pushed last to first, and so
popped first to last.

The stream is the table of frequencies, x in six bytes, then the words of 16 bits in the order in which they are
needed, all little-endian. A push makes x longer by log2(M / f) + e bits, 0 <= e <= log2(1 + (M - f) / 2^32), because
x >= 2^32 f / M then; so the words are at most floor(sum (log2(M / f) + max e) / 16). The stream is filled up with zero
words to just that number, nearly always by none, and its length follows from the counts of the symbols alone.
"""

import math
from array import array

import numpy as np
from numpy.typing import NDArray

from compress_explorer.engine.packing import pack, packed_bytes, unpack

PRECISION = 12
TOTAL = 2**PRECISION
"""What the frequencies add up to."""

WORD = 16
LOWEST = 2**32
STATE_BYTES = 6
LENGTH_BITS = 4
"""Bits that tell how many bits a frequency has: 0 to 13."""


def frequencies(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The whole frequencies, adding up to `TOTAL`, that make the stream of symbols with these counts shortest.

    Args:
        counts: int64 [symbols], up to 4096 of them, how often each symbol occurs; not all zero.

    Returns:
        int64 [symbols]; 1 or more for every symbol that occurs, 0 for the others.
    """
    # A first guess: rare symbols get the least, the others share the rest.
    rare = (counts > 0) & (counts * TOTAL < counts.sum())
    share = np.where(rare, 0, counts) * ((TOTAL - rare.sum()) / counts[~rare].sum())
    result: NDArray[np.int64] = np.maximum(np.rint(share).astype(np.int64), counts > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        while True:
            gain = np.where(counts > 0, counts * np.log2((result + 1) / result), -np.inf)
            loss = np.where(result > 1, counts * np.log2(result / (result - 1)), np.inf)
            spare = TOTAL - int(result.sum())
            # The length is a convex function of each frequency: where no exchange of one helps, none does.
            if spare == 0 and gain.max() <= loss.min() * (1 + 1e-12):
                return result
            if spare >= 0:
                result[gain.argmax()] += 1
            if spare <= 0:
                result[loss.argmin()] -= 1


def table_bytes(frequency: NDArray[np.int64]) -> int:
    """Bytes of a table of frequencies: see `pack_table`."""
    lengths = _bit_lengths(frequency)
    return packed_bytes(len(lengths), LENGTH_BITS) + (int(np.maximum(lengths - 1, 0).sum()) + 7) // 8


def pack_table(frequency: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The table: how many bits each frequency has, in 4 bits, then those bits without the first, which is 1."""
    lengths = _bit_lengths(frequency)
    place = lengths[:, None] - 2 - np.arange(PRECISION)
    bits = (frequency[:, None] >> np.maximum(place, 0)) & 1
    return np.concatenate([pack(lengths.astype(np.uint8), LENGTH_BITS), np.packbits(bits[place >= 0].astype(np.uint8))])


def unpack_table(data: NDArray[np.uint8], symbols: int) -> NDArray[np.int64]:
    """The inverse of `pack_table`; `data` may go on behind the table.

    Raises:
        ValueError: when these bytes are no table of this many symbols.
    """
    begin = packed_bytes(symbols, LENGTH_BITS)
    if len(data) < begin:
        raise ValueError("its table of frequencies is cut off")
    lengths = unpack(data[:begin], symbols, LENGTH_BITS).astype(np.int64)
    below = np.maximum(lengths - 1, 0)
    bits = np.unpackbits(data[begin : begin + packed_bytes(int(below.sum()), 1)])
    if len(bits) < below.sum():
        raise ValueError("its table of frequencies is cut off")
    frequency = (lengths > 0).astype(np.int64)
    ends = np.cumsum(below)
    for place in range(int(below.max(initial=0))):
        longer = place < below
        frequency[longer] = 2 * frequency[longer] + bits[(ends - below)[longer] + place]
    if frequency.sum() != TOTAL:
        raise ValueError(f"its frequencies add up to {frequency.sum()}, not to {TOTAL}")
    return frequency


def stream_bytes(counts: NDArray[np.int64]) -> int:
    """Bytes of the stream that `encode_stream` makes of symbols with these counts, table included; 0 for none."""
    if not counts.any():
        return 0
    frequency = frequencies(counts)
    return table_bytes(frequency) + STATE_BYTES + WORD // 8 * _words(counts, frequency)


def encode_stream(symbols: NDArray[np.uint8], alphabet: int) -> NDArray[np.uint8]:
    """The stream of these symbols, table included.

    Args:
        symbols: uint8 [n], each below `alphabet`.
        alphabet: the number of different symbols, 1 to 256.

    Returns:
        uint8 [stream_bytes(counts of the symbols)].
    """
    counts = np.bincount(symbols, minlength=alphabet)
    if len(symbols) == 0:
        return np.empty(0, dtype=np.uint8)
    frequency = frequencies(counts)
    state, words = _push_all(symbols, frequency)
    stream = np.zeros(_words(counts, frequency), dtype="<u2")
    stream[: len(words)] = words[::-1]
    beginning = np.frombuffer(state.to_bytes(STATE_BYTES, "little"), dtype=np.uint8)
    return np.concatenate([pack_table(frequency), beginning, stream.view(np.uint8)])


def decode_stream(data: NDArray[np.uint8], alphabet: int, count: int) -> NDArray[np.uint8]:
    """The inverse of `encode_stream`. Its time and memory are bounded by the stream's length and `count`.

    Args:
        data: uint8, the stream.
        alphabet: the number of different symbols.
        count: how many symbols were encoded.

    Returns:
        uint8 [count].

    Raises:
        ValueError: when this is not a stream of so many symbols.
    """
    if count == 0 and len(data) == 0:
        return np.empty(0, dtype=np.uint8)
    frequency = unpack_table(data, alphabet)
    stream = data[table_bytes(frequency) :]
    if len(stream) < STATE_BYTES or len(stream) % 2:
        raise ValueError("it is cut off")
    state = int.from_bytes(stream[:STATE_BYTES].tobytes(), "little")
    words = stream[STATE_BYTES:].view("<u2")
    if frequency.max() == TOTAL:  # a symbol alone takes no bits
        symbols, state, used = np.full(count, frequency.argmax(), dtype=np.uint8), state, 0
    else:
        symbols, state, used = _pop_all(state, words, frequency, count)
    if state != LOWEST or words[used:].any():
        raise ValueError("it does not end where it should")
    return symbols


def _push_all(symbols: NDArray[np.uint8], frequency: NDArray[np.int64]) -> tuple[int, NDArray[np.uint16]]:
    """The last state, and the words in the order in which they left it."""
    of, start = frequency.tolist(), (np.cumsum(frequency) - frequency).tolist()
    limit = [entry << (WORD + 32 - PRECISION) for entry in of]
    rest = [TOTAL - entry for entry in of]
    state, words = LOWEST, array("H")
    for symbol in symbols[::-1].tobytes():
        if state >= limit[symbol]:
            words.append(state & 0xFFFF)
            state >>= WORD
        # (x // f) M + c + x mod f with x mod f = x - (x // f) f
        state += state // of[symbol] * rest[symbol] + start[symbol]
    return state, np.frombuffer(words, dtype=np.uint16) if words else np.empty(0, dtype=np.uint16)


def _pop_all(
    state: int, words: NDArray[np.uint16], frequency: NDArray[np.int64], count: int
) -> tuple[NDArray[np.uint8], int, int]:
    """`count` symbols, the state that they leave and the number of words that they took.

    Every symbol makes the state smaller, so that a stream which promises more than it holds soon ends.
    """
    symbol_at = np.repeat(np.arange(len(frequency), dtype=np.uint8), frequency)
    start = np.cumsum(frequency) - frequency
    of = frequency[symbol_at].tolist()
    beyond = (np.arange(TOTAL) - start[symbol_at]).tolist()
    following = words.tolist()
    used, slots, low = 0, array("H"), TOTAL - 1
    for _ in range(count):
        slot = state & low
        slots.append(slot)
        state = (state >> PRECISION) * of[slot] + beyond[slot]
        if state < LOWEST:
            if used == len(following):
                raise ValueError("it holds fewer symbols than it should")
            state = state << WORD | following[used]
            used += 1
    return symbol_at[np.frombuffer(slots, dtype=np.uint16)], state, used


def _words(counts: NDArray[np.int64], frequency: NDArray[np.int64]) -> int:
    """The number of words: see above."""
    used = frequency > 0
    longest = np.log2(TOTAL / frequency[used]) + (TOTAL - frequency[used]) / LOWEST * math.log2(math.e)
    return int(np.dot(counts[used], longest) // WORD)


def _bit_lengths(frequency: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits of each frequency, 0 for 0: the exponent of frexp, exact for numbers this small."""
    return np.frexp(frequency.astype(np.float64))[1].astype(np.int64)
