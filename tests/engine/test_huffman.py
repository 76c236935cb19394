import heapq
import math

import numpy as np
import pytest
import scipy.stats
from dahuffman import HuffmanCodec
from hypothesis import given
from hypothesis import strategies as st

from compress_explorer.engine.huffman import (
    canonical_codes,
    code_lengths,
    decode,
    encode,
    entropy,
    stream_bytes,
    table_bytes,
)

count_lists = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 10**6)), min_size=1, max_size=256).map(
    lambda counts: np.array(counts, dtype=np.int64)
)
symbol_lists = st.lists(st.integers(0, 255), min_size=1, max_size=400).map(
    lambda symbols: np.array(symbols, dtype=np.uint8)
)


def bits_of(counts: np.ndarray) -> int:
    return int(counts @ code_lengths(counts).astype(np.int64))


def test_the_textbook_code_by_hand():
    # Cormen et al., Introduction to Algorithms, section 16.3: a:45 b:13 c:12 d:16 e:9 f:5 -> 224 bits.
    lengths = code_lengths(np.array([45, 13, 12, 16, 9, 5]))
    assert lengths.tolist() == [1, 3, 3, 3, 4, 4]
    assert bits_of(np.array([45, 13, 12, 16, 9, 5])) == 224


def test_canonical_words_of_rfc_1951():
    # The example of section 3.2.2: symbols A to H with lengths (3, 3, 3, 3, 3, 2, 4, 4).
    words = canonical_codes(np.array([3, 3, 3, 3, 3, 2, 4, 4], dtype=np.uint8))
    assert words.tolist() == [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]


def test_entropy_by_hand():
    assert entropy(np.array([1, 1, 1, 1])) == 2.0
    assert entropy(np.array([2, 1, 1, 0])) == 1.5
    assert entropy(np.array([7])) == 0.0
    assert entropy(np.array([0, 0])) == 0.0


@given(count_lists)
def test_entropy_equals_scipys(counts: np.ndarray):
    expected = scipy.stats.entropy(counts, base=2) if counts.any() else 0.0
    assert entropy(counts) == pytest.approx(expected, abs=1e-9)


@given(count_lists)
def test_total_length_equals_dahuffmans_and_the_sum_of_merges(counts: np.ndarray):
    frequencies = {symbol: int(count) for symbol, count in enumerate(counts) if count}
    if len(frequencies) < 2:
        assert code_lengths(counts).sum() == len(frequencies)
        return
    # Naming a symbol as the end of file keeps dahuffman from adding one.
    table = HuffmanCodec.from_frequencies(frequencies, eof=next(iter(frequencies))).get_code_table()
    assert bits_of(counts) == sum(table[symbol][0] * count for symbol, count in frequencies.items())
    heap, merged = list(frequencies.values()), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        pair = heapq.heappop(heap) + heapq.heappop(heap)
        merged += pair
        heapq.heappush(heap, pair)
    assert bits_of(counts) == merged


@given(count_lists)
def test_kraft_and_shannon(counts: np.ndarray):
    lengths = code_lengths(counts)
    assert ((lengths > 0) == (counts > 0)).all()
    used = lengths[lengths > 0]
    if len(used) > 1:
        assert sum(2.0 ** -used.astype(float)) == pytest.approx(1.0)
        mean = bits_of(counts) / counts.sum()
        assert entropy(counts) - 1e-9 <= mean < entropy(counts) + 1


@given(symbol_lists)
def test_the_size_is_that_of_a_real_stream_that_decodes(symbols: np.ndarray):
    counts = np.bincount(symbols, minlength=256)
    lengths = code_lengths(counts)
    data = encode(symbols, lengths)
    assert stream_bytes(counts) == table_bytes(lengths) + len(data)
    assert decode(data, lengths, len(symbols)).tolist() == symbols.tolist()


def test_words_of_very_different_lengths_decode():
    # Fibonacci counts give the longest words: 1, 2, ..., 24 bits.
    counts = np.array([1, 1])
    while len(counts) < 25:
        counts = np.append(counts, counts[-1] + counts[-2])
    lengths = code_lengths(counts)
    assert lengths.max() == 24
    symbols = np.random.default_rng(0).permutation(np.repeat(np.arange(25), 40)).astype(np.uint8)
    assert decode(encode(symbols, lengths), lengths, len(symbols)).tolist() == symbols.tolist()


def test_a_code_table_by_hand():
    assert table_bytes(np.array([1, 2, 3, 3], dtype=np.uint8)) == 1 + 1  # 4 lengths of 2 bits
    assert table_bytes(np.array([4] * 16, dtype=np.uint8)) == 1 + 6  # 16 lengths of 3 bits
    assert stream_bytes(np.zeros(16, dtype=np.int64)) == 0


def test_gaussian_codes_come_close_to_the_high_rate_entropy():
    # H = h(X) - log2 s for a fine step s, with h = log2(sigma sqrt(2 pi e)) for a Gaussian.
    weights = np.random.default_rng(3).normal(0, 0.05, 400_000)
    step = np.abs(weights).max() / 127
    codes = np.clip(np.round(weights / step), -127, 127).astype(int) + 127
    counts = np.bincount(codes, minlength=256)
    predicted = math.log2(0.05 * math.sqrt(2 * math.pi * math.e)) - math.log2(step)
    assert entropy(counts) == pytest.approx(predicted, abs=0.005)
    assert bits_of(counts) / len(codes) == pytest.approx(predicted, abs=0.05)
