"""The range coder: round trips, its foretold length, and its length beside that of an independent coder."""

from itertools import permutations

import constriction
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from compress_explorer.engine.rans import (
    STATE_BYTES,
    TOTAL,
    decode_stream,
    encode_stream,
    frequencies,
    pack_table,
    stream_bytes,
    table_bytes,
    unpack_table,
)

count_lists = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 10**6)), min_size=1, max_size=256).map(
    lambda counts: np.array(counts, dtype=np.int64)
)
# Few distinct symbols as well as many, evenly and unevenly.
symbol_lists = st.one_of(
    st.lists(st.integers(0, 255), max_size=500),
    st.lists(st.sampled_from([0] * 30 + [1, 7, 255]), max_size=500),
    st.integers(0, 3000).map(lambda count: [9] * count),
).map(lambda symbols: np.array(symbols, dtype=np.uint8))


def constrictions_bytes(symbols: np.ndarray, frequency: np.ndarray) -> int:
    """The length of the same symbols in constriction's stack coder with the same probabilities, without a table."""
    used = np.flatnonzero(frequency)
    model = constriction.stream.model.Categorical(frequency[used] / TOTAL, perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(np.searchsorted(used, symbols).astype(np.int32), model)
    assert (used[coder.decode(model, len(symbols))] == symbols).all()
    coder.encode_reverse(np.searchsorted(used, symbols).astype(np.int32), model)
    return 4 * len(coder.get_compressed())


@given(symbol_lists)
def test_every_stream_decodes_and_has_the_foretold_length(symbols: np.ndarray):
    data = encode_stream(symbols, 256)
    assert len(data) == stream_bytes(np.bincount(symbols, minlength=256))
    assert decode_stream(data, 256, len(symbols)).tolist() == symbols.tolist()


@pytest.mark.parametrize(
    "shares",
    [
        pytest.param(np.full(256, 1 / 256), id="even"),
        pytest.param(np.exp(-np.abs(np.arange(64) - 31) / 8), id="like weights"),
        pytest.param(0.92 ** np.arange(32), id="like gaps"),
        pytest.param(np.array([1.0, 1e-4]), id="extremely skewed"),
        pytest.param(np.array([1.0, *[1e-6] * 255]), id="one and 255 rare ones"),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 100, 40_000])
def test_the_length_is_within_bytes_of_constrictions(shares: np.ndarray, count: int):
    symbols = np.random.default_rng(count).choice(len(shares), count, p=shares / shares.sum()).astype(np.uint8)
    frequency = frequencies(np.bincount(symbols, minlength=len(shares)))
    data = encode_stream(symbols, len(shares))
    assert decode_stream(data, len(shares), count).tolist() == symbols.tolist()
    if np.count_nonzero(frequency) < 2:
        assert len(data) == table_bytes(frequency) + STATE_BYTES  # constriction refuses an alphabet of one
        return
    # Its state is between one and two words of 32 bits, ours always has six bytes.
    assert abs(len(data) - table_bytes(frequency) - constrictions_bytes(symbols, frequency)) <= 6


def test_a_push_by_hand():
    # Two symbols of frequency 2048, c = 0 and c = 2048, onto x = 2^32, a multiple of 2048. The last one, 0, goes first:
    # x = 2^32 / 2048 * 4096 + 0; then 1: x = 2^33 / 2048 * 4096 + 2048.
    data = encode_stream(np.array([1, 0], dtype=np.uint8), 2)
    state = 2**34 + 2048
    # 12 bits each for 2048: a length of 12 in 4 bits, then eleven zeros.
    assert data.tolist() == [0xCC, 0, 0, 0, *state.to_bytes(6, "little")]


def test_an_empty_stream_takes_nothing():
    assert stream_bytes(np.zeros(16, dtype=np.int64)) == 0
    data = encode_stream(np.empty(0, dtype=np.uint8), 16)
    assert len(data) == len(decode_stream(data, 16, 0)) == 0


@given(count_lists)
def test_frequencies_keep_every_symbol_and_add_up(counts: np.ndarray):
    if not counts.any():
        return
    frequency = frequencies(counts)
    assert frequency.sum() == TOTAL
    assert ((frequency > 0) == (counts > 0)).all()
    packed = pack_table(frequency)
    assert len(packed) == table_bytes(frequency)
    assert unpack_table(np.append(packed, np.uint8(255)), len(counts)).tolist() == frequency.tolist()


def bits_of(counts: np.ndarray, frequency: np.ndarray) -> float:
    used = counts > 0
    return float(counts[used] @ np.log2(TOTAL / frequency[used]))


@given(st.lists(st.integers(1, 10**5), min_size=2, max_size=6).map(np.array))
def test_no_exchange_between_two_symbols_makes_the_stream_shorter(counts: np.ndarray):
    frequency = frequencies(counts)
    shortest = bits_of(counts, frequency)
    for one, other in permutations(range(len(counts)), 2):
        changed = frequency.copy()
        changed[one] += 1
        changed[other] -= 1
        if changed[other]:
            assert bits_of(counts, changed) >= shortest - 1e-6


def test_the_length_comes_close_to_the_entropy():
    counts = np.round(1e6 * scipy.stats.laplace.pdf(np.arange(64), 31, 8)).astype(np.int64)
    bound = counts.sum() * scipy.stats.entropy(counts, base=2) / 8
    payload = stream_bytes(counts) - table_bytes(frequencies(counts))
    assert bound < payload < 1.0001 * bound + 8


def test_a_million_symbols_come_back():
    symbols = np.random.default_rng(0).binomial(63, 0.5, 10**6).astype(np.uint8)
    data = encode_stream(symbols, 64)
    assert len(data) == stream_bytes(np.bincount(symbols, minlength=64))
    assert (decode_stream(data, 64, len(symbols)) == symbols).all()


GOOD = encode_stream(np.array([3, 1, 3, 3, 0] * 40, dtype=np.uint8), 4)


@pytest.mark.parametrize(
    ("data", "count", "message"),
    [
        (GOOD[:1], 200, "table of frequencies is cut off"),
        (GOOD[:3], 200, "table of frequencies is cut off"),
        (np.zeros(20, dtype=np.uint8), 200, "add up to 0"),
        (GOOD[:-3], 200, "is cut off"),
        (GOOD[:-2], 200, "fewer symbols"),
        (GOOD, 199, "does not end"),
        (GOOD, 201, "fewer symbols"),
        (GOOD, 10**9, "fewer symbols"),
        (np.append(GOOD, np.array([1, 0], dtype=np.uint8)), 200, "does not end"),
        (GOOD, 0, "does not end"),
        (GOOD[:0], 200, "cut off"),
    ],
)
def test_damaged_streams_are_refused(data: np.ndarray, count: int, message: str):
    with pytest.raises(ValueError, match=message):
        decode_stream(data, 4, count)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_gives_symbols_or_the_error_and_nothing_else(place: int, change: int):
    data = GOOD.copy()
    data[place] ^= change
    try:
        assert len(decode_stream(data, 4, 200)) == 200
    except ValueError:
        return


@given(symbol_lists, st.randoms())
@settings(max_examples=30)
def test_the_order_of_symbols_does_not_change_the_length(symbols: np.ndarray, random):
    shuffled = symbols.tolist()
    random.shuffle(shuffled)
    assert len(encode_stream(np.array(shuffled, dtype=np.uint8), 256)) == len(encode_stream(symbols, 256))
