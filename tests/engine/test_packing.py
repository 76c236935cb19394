import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress_explorer.engine.packing import pack, packed_bytes, unpack


def test_three_bit_numbers_by_hand():
    # 101 001 11|1 000 ... -> 10100111 10000000
    packed = pack(np.array([5, 1, 7, 0], dtype=np.uint8), 3)
    assert packed.tolist() == [0b10100111, 0b10000000]


@pytest.mark.parametrize(("count", "bits", "expected"), [(0, 5, 0), (1, 1, 1), (8, 1, 1), (9, 1, 2), (3, 5, 2)])
def test_packed_bytes(count: int, bits: int, expected: int):
    assert packed_bytes(count, bits) == expected


@given(st.integers(1, 8), st.data())
def test_unpack_inverts_pack_and_the_size_is_as_promised(bits: int, data: st.DataObject):
    numbers = np.array(data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=70)), dtype=np.uint8)
    packed = pack(numbers, bits)
    assert len(packed) == packed_bytes(len(numbers), bits)
    assert unpack(packed, len(numbers), bits).tolist() == numbers.tolist()


@given(st.integers(1, 8), st.data())
def test_pack_is_the_big_endian_number_that_python_writes(bits: int, data: st.DataObject):
    numbers = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=30))
    digits = "".join(f"{number:0{bits}b}" for number in numbers)
    digits = digits.ljust(packed_bytes(len(numbers), bits) * 8, "0")
    expected = int(digits, 2).to_bytes(len(digits) // 8, "big")
    assert pack(np.array(numbers, dtype=np.uint8), bits).tobytes() == expected


def test_packing_does_not_share_memory():
    numbers = np.arange(10, dtype=np.uint8)
    assert not np.shares_memory(numbers, pack(numbers, 8))
    assert not np.shares_memory(numbers, unpack(numbers, 10, 8))
