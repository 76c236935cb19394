"""Power-of-two quantization against an exhaustive search over the levels."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.methods.code import Code, power_of_two_levels
from compress_explorer.methods.power_of_two import apply
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal, present, sqnr_db

BITS = range(2, 9)
granularities = pytest.mark.parametrize("granularity", ["tensor", "channel"])


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def nearest_power(largest: float) -> int:
    """The exponent of the power of two nearest to `largest`, the upper one when halfway; by trying them all."""
    exponents = range(-149, 128)
    return min(exponents, key=lambda exponent: (abs(2.0**exponent - largest), -exponent))


def nearest_levels(row: np.ndarray, bits: int) -> np.ndarray:
    """Every weight's nearest level, the larger magnitude when halfway, by trying them all in float64."""
    weights = row.astype(np.float64)
    largest = np.abs(weights).max()
    if largest == 0:
        return np.zeros_like(weights)
    top = nearest_power(largest)
    magnitudes = [2.0**exponent for exponent in range(top, top - 2 ** (bits - 1) + 1, -1)]
    # argmin takes the first of equal distances: larger magnitudes come first.
    levels = np.array([sign * magnitude for magnitude in magnitudes for sign in (1, -1)] + [0.0])
    return levels[np.abs(weights[:, None] - levels).argmin(axis=1)]


def expected(weight: Tensor, bits: int, granularity: str) -> np.ndarray:
    rows = weight.reshape(1, -1) if granularity == "tensor" else weight
    return np.concatenate([nearest_levels(row, bits) for row in rows.numpy()]).reshape(weight.shape)


@granularities
@pytest.mark.parametrize("bits", BITS)
def test_every_weight_goes_to_the_nearest_level(bits, granularity):
    for name, weight in WEIGHTS.items():
        with case(name):
            decoded = quantize(weight, bits=bits, granularity=granularity).decode()
            assert np.array_equal(decoded.numpy().astype(np.float64), expected(weight, bits, granularity))


@granularities
@given(weight=matrices(), bits=st.integers(2, 8))
def test_arbitrary_weights_go_to_the_nearest_level(granularity, weight, bits):
    decoded = quantize(weight, bits=bits, granularity=granularity).decode()
    assert np.array_equal(decoded.numpy().astype(np.float64), expected(weight, bits, granularity))


@pytest.mark.parametrize("exponent", [-149, -148, -127, -126, -125, -20, -1, 0, 1, 20, 126, 127])
def test_cuts_are_exact_to_the_last_bit(exponent):
    """1.5 * 2^e goes up, its lower neighbour down; a logarithm rounds both up."""
    cut = np.float32(1.5 * 2.0**exponent)
    weight = torch.tensor([[np.nextafter(cut, np.float32(0)), cut, np.nextafter(cut, np.float32(np.inf))]])
    decoded = quantize(weight, bits=8).decode().numpy().astype(np.float64)
    assert np.array_equal(decoded, expected(weight, 8, "tensor"))


def test_by_hand():
    weight = torch.tensor([[1.0, 0.75, 0.74, 0.375, 0.37, 0.125, 0.12, -0.6, 0.0]])
    code = quantize(weight, bits=3)  # e_max = 0, three exponents: 1, 1/2, 1/4
    assert code.decode().tolist() == [[1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.0, -0.5, 0.0]]
    assert code.codes.tolist() == [[1, 1, 2, 2, 3, 3, 0, 5, 0]]
    assert present(code.scale).item() == 1.0


@pytest.mark.parametrize(("largest", "level"), [(1.49, 1.0), (1.5, 2.0), (0.2, 0.25), (0.18, 0.125)], ids=str)
def test_two_bits_are_one_level_each_way(largest, level):
    code = quantize(torch.tensor([[largest, -largest, 0.49 * level, 0.5 * level]]), bits=2)
    assert code.decode().tolist() == [[level, -level, 0.0, level]]


@pytest.mark.parametrize("bits", BITS)
def test_levels_are_exact_powers_of_two(bits):
    levels = power_of_two_levels(bits).numpy()
    count = 2 ** (bits - 1) - 1
    powers = np.ldexp(np.float32(1), -np.arange(count))
    assert np.array_equal(levels, np.concatenate([[0], powers, -powers]))


def test_the_largest_float_does_not_overflow():
    largest = float(np.finfo(np.float32).max)
    assert quantize(torch.tensor([[largest, -largest]])).decode().tolist() == [[2.0**127, -(2.0**127)]]


@granularities
@given(weight=matrices(), bits=st.integers(2, 8))
def test_idempotent_odd_and_scaling_with_powers_of_two(granularity, weight, bits):
    decoded = quantize(weight, bits=bits, granularity=granularity).decode()
    assert torch.equal(quantize(decoded, bits=bits, granularity=granularity).decode(), decoded)
    assert torch.equal(quantize(-weight, bits=bits, granularity=granularity).decode(), -decoded)
    assert torch.equal(quantize(4 * weight, bits=bits, granularity=granularity).decode(), 4 * decoded)


@granularities
@given(weight=matrices())
def test_each_bit_lowers_every_single_error(granularity, weight):
    """The levels of fewer bits are among those of more."""
    errors = [(weight - quantize(weight, bits=bits, granularity=granularity).decode()).abs() for bits in BITS]
    assert all((more <= fewer).all() for fewer, more in itertools.pairwise(errors))


def test_pruned_weights_change_nothing_and_stay_zero():
    weight, kept = half_kept(normal(5, 37))
    code = apply(weight, kept, bits=5)
    assert (code.decode()[~kept] == 0).all()
    assert torch.equal(code.codes, quantize(weight, bits=5).codes)


def test_nearest_level_beats_rounding_the_exponent_and_cutting_it_off():
    """Signal to noise of N(0, 0.05) weights: 14.2 dB; by round(log2|w|) 13.8 dB; by floor(log2|w|) only 10.0 dB.

    Cutting off keeps only 72 % of the sum of magnitudes.
    """
    weight = 0.05 * normal(1000, 1000)
    exponent = weight.abs().log2()
    assert sqnr_db(weight, quantize(weight, bits=8).decode()) == pytest.approx(14.2, abs=0.05)
    assert sqnr_db(weight, weight.sign() * exponent.round().exp2()) == pytest.approx(13.8, abs=0.05)
    assert sqnr_db(weight, weight.sign() * exponent.floor().exp2()) == pytest.approx(10.0, abs=0.05)
    assert (exponent.floor().exp2().sum() / weight.abs().sum()).item() == pytest.approx(0.72, abs=0.005)
