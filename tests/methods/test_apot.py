"""Additive powers of two against levels enumerated from the definition, and exhaustive searches."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.methods import power_of_two
from compress_explorer.methods.apot import apply
from compress_explorer.methods.code import Code
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal, present, sqnr_db

BITS = range(3, 8)
granularities = pytest.mark.parametrize("granularity", ["tensor", "channel"])


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def unit_levels(bits: int) -> np.ndarray:
    """All levels for γ = 1: for an even number of bits without the sign, the formula of the paper.

    p_i of {0, 2^-i, 2^-(i+n), 2^-(i+2n)}; otherwise the sets that the authors list, for 3 and 5 bits.
    """
    n = (bits - 1) // 2
    if bits % 2:
        terms = [[0.0] + [2.0 ** -(i + step * n) for step in range(3)] for i in range(n)]
    else:
        terms = {
            4: [[0, 1 / 2, 1 / 4, 1 / 16], [0, 1 / 8]],
            6: [[0, 1 / 2, 1 / 8, 1 / 64], [0, 1 / 4, 1 / 16, 1 / 128], [0, 1 / 32]],
        }[bits]
    sums = np.array([sum(choice) for choice in itertools.product(*terms)])
    return np.unique(np.concatenate([-sums, sums])) / sums.max()


def distance_to_levels(weight: np.ndarray, gamma: np.ndarray, bits: int) -> np.ndarray:
    return np.abs(weight[:, :, None] - gamma[:, None, None] * unit_levels(bits)).min(axis=2)


def gammas(code: Code) -> np.ndarray:
    """γ of every row, float64 [channels]."""
    return np.broadcast_to(present(code.scale).double().numpy()[:, 0], (len(code.codes),))


def assert_nearest(weight: Tensor, code: Code) -> None:
    exact, gamma = weight.double().numpy(), gammas(code)
    error = np.abs(exact - code.decode().double().numpy())
    assert (error <= distance_to_levels(exact, gamma, code.bits) + 1e-6 * gamma[:, None]).all()


@pytest.mark.parametrize("clipping", ["max", "least-squares"])
@granularities
@pytest.mark.parametrize("name", [name for name in WEIGHTS if name != "subnormal"])
def test_every_weight_goes_to_the_nearest_level(name, granularity, clipping):
    for bits in BITS:
        code = quantize(WEIGHTS[name], bits=bits, granularity=granularity, clipping=clipping)
        assert_nearest(WEIGHTS[name], code)


@granularities
@given(weight=matrices(), bits=st.integers(3, 7))
def test_arbitrary_weights_go_to_the_nearest_level_below_the_largest(granularity, weight, bits):
    code = quantize(weight, bits=bits, granularity=granularity)
    rows = weight.abs().amax(dim=1, keepdim=True) if granularity == "channel" else weight.abs().amax().view(1, 1)
    assert torch.equal(present(code.scale), torch.where(rows > 0, rows, 1.0))
    assert_nearest(weight, code)


@pytest.mark.parametrize("bits", BITS)
def test_all_levels_are_reached_by_their_own_codes(bits):
    levels = unit_levels(bits)
    assert len(levels) == 2**bits - 1
    code = quantize(torch.from_numpy(levels).float()[None], bits=bits)
    np.testing.assert_allclose(code.decode()[0].numpy(), levels, rtol=1e-6)
    assert code.codes.unique().numel() == len(levels)


def test_by_hand():
    # Levels of 4 bits for γ = 10: 0, 1, 2, 3, 4, 6, 8, 10.
    weight = torch.tensor([[10.0, 0.4, -0.6, 5.1, -4.9, 8.9, 9.1, 0.0]])
    code = quantize(weight)
    torch.testing.assert_close(code.decode(), torch.tensor([[10.0, 0, -1, 6, -4, 8, 10, 0]]))
    assert code.codes.tolist() == [[7, 0, 9, 5, 12, 6, 7, 0]]
    # Of 3 bits: 0, 1/4, 1/2, 1.
    torch.testing.assert_close(
        quantize(torch.tensor([[8.0, 3.1, -2.9, 0.9, 6.1]]), bits=3).decode(), torch.tensor([[8.0, 4, -2, 0, 8]])
    )


def squared_error(weight: np.ndarray, gamma: float, bits: int) -> float:
    return float(np.square(distance_to_levels(weight[None], np.array([gamma]), bits)).sum())


def best_of_assignments(weight: np.ndarray, bits: int) -> float:
    """The least squared error of a factor for any of the assignments that 256 values of γ make."""
    levels = unit_levels(bits)
    errors = []
    for gamma in np.abs(weight).max() * np.arange(1, 257) / 128:
        assigned = levels[np.abs(weight[:, None] - gamma * levels).argmin(axis=1)]
        _, residual, *_ = np.linalg.lstsq(assigned[:, None], weight, rcond=None)
        errors.append(float(residual[0]) if len(residual) else float(np.square(weight).sum()))
    return min(errors)


@granularities
@pytest.mark.parametrize("bits", [3, 4, 6])
@pytest.mark.parametrize("name", ["odd", "outlier", "one-row", "ties", "tiny", "huge"])
def test_least_squares_is_the_best_of_its_assignments(name, bits, granularity):
    weight = WEIGHTS[name]
    rows = (weight if granularity == "channel" else weight.reshape(1, -1)).double().numpy()
    decoded = quantize(weight, bits=bits, clipping="least-squares", granularity=granularity).decode()
    errors = np.square(rows - decoded.double().numpy().reshape(rows.shape)).sum(axis=1)
    for row, error in list(zip(rows, errors, strict=True))[:3]:
        assert error <= (1 + 1e-5) * best_of_assignments(row, bits) + 1e-9 * np.square(row).sum()


@pytest.mark.parametrize("bits", [3, 4, 7])
def test_least_squares_of_many_weights_is_the_best_of_a_fine_grid(bits):
    weight = normal(20, 100)
    code = quantize(weight, bits=bits, clipping="least-squares")
    row = weight.double().numpy().ravel()
    best = min(squared_error(row, gamma, bits) for gamma in np.abs(row).max() * np.linspace(0.2, 2, 100))
    assert np.square(row - code.decode().double().numpy().ravel()).sum() <= 1.001 * best


@granularities
@given(weight=matrices(largest=1e6), bits=st.integers(3, 7))
def test_least_squares_is_no_worse_than_the_largest_weight(granularity, weight, bits):
    def error(clipping: str) -> float:
        decoded = quantize(weight, bits=bits, clipping=clipping, granularity=granularity).decode()
        return float((weight.double() - decoded.double()).square().sum())

    assert error("least-squares") <= error("max") * (1 + 1e-5) + 1e-10 * float(weight.double().square().sum())


@granularities
@given(weight=matrices(), bits=st.integers(3, 7))
def test_idempotent_odd_and_scaling(granularity, weight, bits):
    decoded = quantize(weight, bits=bits, granularity=granularity).decode()
    assert torch.equal(quantize(decoded, bits=bits, granularity=granularity).decode(), decoded)
    assert torch.equal(quantize(-weight, bits=bits, granularity=granularity).decode(), -decoded)
    assert torch.equal(quantize(4 * weight, bits=bits, granularity=granularity).decode(), 4 * decoded)


def test_finer_near_the_ends_than_powers_alone():
    weight = normal(100, 1000)
    for bits in (4, 5, 6):
        powers = power_of_two.apply(weight, all_kept(weight), bits=bits).decode()
        assert sqnr_db(weight, quantize(weight, bits=bits).decode()) > sqnr_db(weight, powers) + 2


def test_pruned_weights_stay_zero_and_change_nothing():
    weight, kept = half_kept(normal(5, 37))
    for clipping in ("max", "least-squares"):
        code = apply(weight, kept, clipping=clipping)
        assert (code.decode()[~kept] == 0).all()
        assert torch.equal(code.codes, quantize(weight, clipping=clipping).codes)
