"""The formulas as some texts write them, and what they do: figures to be seen in a lesson."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.methods import power_of_two, power_of_two_literal, round_literal
from tests.methods.cases import WEIGHTS, all_kept, matrices, normal, present, sqnr_db

SMALL = 0.05 * normal(1000, 1000)
"""Weights as a trained layer has them."""


def rounded(weight: Tensor, **values: object) -> Tensor:
    return round_literal.apply(weight, all_kept(weight), **values).decode()  # type: ignore[arg-type]


def powers(weight: Tensor, **values: object) -> Tensor:
    return power_of_two_literal.apply(weight, all_kept(weight), **values).decode()  # type: ignore[arg-type]


# round(W).


def test_weights_of_a_trained_layer_all_become_zero():
    decoded = rounded(SMALL)
    assert not decoded.any()
    assert sqnr_db(SMALL, decoded) == 0


def test_even_weights_from_zero_to_one_keep_six_decibel():
    """5 dB at least by theory: signal 1/3, noise 1/12, so 6.02 dB."""
    weight = torch.rand(1000, 1000, generator=torch.Generator().manual_seed(0))
    assert sqnr_db(weight, rounded(weight)) == pytest.approx(6.02, abs=0.03)


@given(weight=matrices(), bits=st.integers(1, 8))
def test_rounding_is_that_of_numpy_as_far_as_the_bits_reach(weight, bits):
    expected = np.clip(np.round(weight.numpy()), -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)
    np.testing.assert_array_equal(rounded(weight, bits=bits).numpy(), expected)


def test_rounding_stores_no_scale():
    code = round_literal.apply(SMALL, all_kept(SMALL))
    assert (code.scale, code.zero_point, code.codebook, code.offset) == (None, None, None, -128)


# sign(w)·2^⌊log2 w⌋.


@pytest.mark.parametrize("name", [name for name in WEIGHTS if name != "subnormal"])
@pytest.mark.parametrize("negatives", ["lost", "magnitude"])
def test_powers_are_those_of_the_formula(name, negatives):
    """By numpy's log2 in float64, away from powers of two, near which it errs; NaN and 2^-∞ shown as zero."""
    weight = WEIGHTS[name].double().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.log2(weight if negatives == "lost" else np.abs(weight))
        expected = np.sign(weight) * 2.0 ** np.floor(exponent)
        clear = ~(np.abs(exponent - np.round(exponent)) < 1e-9) | (exponent == np.round(exponent))
    decoded = powers(WEIGHTS[name], negatives=negatives).numpy()
    np.testing.assert_array_equal(decoded[clear], np.nan_to_num(expected)[clear])


def test_half_of_the_weights_have_no_logarithm():
    assert float(SMALL.log2().isnan().double().mean()) == pytest.approx(0.5, abs=0.002)
    decoded = powers(SMALL)
    assert torch.equal(decoded == 0, SMALL <= 0)
    assert torch.isfinite(decoded).all()


def test_the_floor_of_magnitudes_loses_what_rounding_keeps():
    """10.0 dB, against 14.2 dB of the nearest power; the floor keeps 72 % of the sum of magnitudes."""
    floor = powers(SMALL, negatives="magnitude")
    nearest = power_of_two.apply(SMALL, all_kept(SMALL), bits=8).decode()
    assert sqnr_db(SMALL, floor) == pytest.approx(10.0, abs=0.05)
    assert sqnr_db(SMALL, nearest) == pytest.approx(14.2, abs=0.05)
    assert float(floor.abs().sum() / SMALL.abs().sum()) == pytest.approx(0.72, abs=0.005)


def test_powers_by_hand():
    weight = torch.tensor([[1.0, 1.99, -1.99, 0.5, 0.49, -0.25, 0.0, -0.0]])
    assert powers(weight).tolist() == [[1.0, 1.0, 0.0, 0.5, 0.25, 0.0, 0.0, 0.0]]
    assert powers(weight, negatives="magnitude").tolist() == [[1.0, 1.0, -1.0, 0.5, 0.25, -0.25, 0.0, 0.0]]
    # 2 bits hold one exponent, 3 bits three: what is smaller becomes zero.
    assert powers(weight, negatives="magnitude", bits=2).tolist() == [[1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    assert powers(weight, bits=3).tolist() == [[1.0, 1.0, 0.0, 0.5, 0.25, 0.0, 0.0, 0.0]]


@given(weight=matrices(), bits=st.integers(2, 8), negatives=st.sampled_from(["lost", "magnitude"]))
def test_powers_are_idempotent_and_never_larger(weight, bits, negatives):
    decoded = powers(weight, bits=bits, negatives=negatives)
    assert torch.equal(powers(decoded, bits=bits, negatives=negatives), decoded)
    assert (decoded.abs() <= weight.abs()).all()


def test_all_negative_weights_leave_nothing():
    weight = -normal(4, 9).abs() - 0.1
    code = power_of_two_literal.apply(weight, all_kept(weight))
    assert present(code.scale).item() == 1.0
    assert not code.decode().any()
