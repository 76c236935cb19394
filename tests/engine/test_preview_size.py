"""The estimated bytes of pruned and quantized tensors against cases computed by hand and against random masks."""

import numpy as np
import pytest

from compress_explorer.engine.positions import best_width, count_runs, relative_bytes
from compress_explorer.engine.preview_size import packed_parts
from compress_explorer.methods.scalar_map import ScalarMap

FLOATS = ScalarMap(cuts=np.empty(0), levels=np.array([np.nan]))


def codes(bits: int, table_bytes: int = 4) -> ScalarMap:
    return ScalarMap(cuts=np.empty(0), levels=np.array([1.0]), bits=bits, table_bytes=table_bytes)


def test_each_position_takes_its_smallest_form():
    zeros = np.array([0, 1000, 900, 200])
    parts = packed_parts(1000, zeros, [codes(5), codes(3), FLOATS, codes(8, 8)], float_bytes=4)
    # Plain; nothing; the relative index with gaps of 6 bits: 0.9^64 = 0.001179, so that 100 weights take 100.118
    # entries; a bitmask: 6400 + 1000 bits, while gaps of one bit take 833.33 entries of 9 bits.
    assert parts[0].tolist() == [625, 0, 401, 800]
    assert parts[1].tolist() == [0, 0, 75, 125]
    assert parts[2].tolist() == [4, 4, 0, 8]


def test_a_tensor_of_one_weight():
    assert packed_parts(1, np.array([0, 1]), [FLOATS, FLOATS], float_bytes=2).tolist() == [[2, 0], [0, 0], [0, 0]]


@pytest.mark.parametrize("lost", [0.5, 0.8, 0.9, 0.97, 0.99])
@pytest.mark.parametrize("bits", [2, 4, 8, 32])
def test_the_estimate_is_near_the_bytes_of_a_random_mask(lost, bits):
    weights = 200_000
    present = np.random.default_rng(0).random(weights) >= lost
    kept = int(present.sum())
    width, entries = best_width(count_runs(present), bits, zero_level=True)
    exact = min(weights * bits // 8, (kept * bits + weights) // 8, relative_bytes(entries, width, bits))
    estimate = packed_parts(weights, np.array([weights - kept]), [codes(bits, 0)], float_bytes=4).sum()
    assert estimate == pytest.approx(exact, rel=0.01)
