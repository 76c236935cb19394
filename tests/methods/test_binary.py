"""Binary weights against torchao's greedy quantizer and against plain numpy."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchao.prototype.parq.quant.lsbq import LSBQuantizer

from compress_explorer.methods.binary import apply
from compress_explorer.methods.code import Code
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal, present, sqnr_db

granularities = pytest.mark.parametrize("granularity", ["tensor", "channel"])


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def by_numpy(row: np.ndarray, kept: np.ndarray, bits: int) -> np.ndarray:
    """The residual rule for one channel, in float64: what each weight becomes."""
    residual = row.astype(np.float64)
    for _ in range(bits):
        alpha = np.abs(residual[kept]).mean() if kept.any() else 0.0
        residual = residual - alpha * np.where(residual >= 0, 1.0, -1.0)
    return row - residual


@granularities
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_agrees_with_torchao(bits, granularity):
    for name, weight in WEIGHTS.items():
        with case(name):
            code = quantize(weight, bits=bits, granularity=granularity)
            decoded, levels = LSBQuantizer().quantize(weight, bits, dim=1 if granularity == "channel" else None)
            # Where a residual is zero but for rounding its sign is a matter of the order of additions.
            scale = float(weight.abs().max())
            torch.testing.assert_close(
                present(code.codebook).sort(dim=1).values,
                levels.reshape(present(code.codebook).shape),
                rtol=1e-5,
                atol=1e-6 * scale,
            )
            settled = (code.decode() - decoded).abs() <= 1e-5 * scale
            ambiguous = (weight - code.decode()).abs() - (weight - decoded).abs()
            assert (ambiguous[~settled].abs() <= 1e-5 * scale).all()
            assert bits > 1 or settled.all()


@granularities
@pytest.mark.parametrize("bits", [1, 2, 3])
def test_agrees_with_numpy_on_pruned_weights(bits, granularity):
    weight, kept = half_kept(normal(6, 40))
    kept[3] = False
    weight = torch.where(kept, weight, 0.0)
    decoded = apply(weight, kept, bits=bits, granularity=granularity).decode()
    if granularity == "tensor":
        expected = by_numpy(weight.numpy().ravel(), kept.numpy().ravel(), bits).reshape(weight.shape)
    else:
        rows = [by_numpy(row, mask, bits) for row, mask in zip(weight.numpy(), kept.numpy(), strict=True)]
        expected = np.stack(rows)
    np.testing.assert_allclose(decoded[kept].numpy(), expected[kept.numpy()], rtol=1e-5)
    assert granularity == "tensor" or (decoded[3] == 0).all()


# By hand.


def test_one_bit_by_hand():
    code = quantize(torch.tensor([[1.0, -3.0, 0.0], [0.5, 0.5, -0.5]]))
    third = float(np.float32(4 / 3))
    assert present(code.codebook).tolist() == [[-third, third], [-0.5, 0.5]]
    assert code.codes.tolist() == [[1, 0, 1], [1, 1, 0]]  # the sign of zero is +1


def test_the_sign_of_negative_zero_is_positive_too():
    code = quantize(torch.tensor([[-0.0, 0.0, -1.0, 1.0]]))
    assert code.codes.tolist() == [[1, 1, 0, 1]]
    assert code.decode().tolist() == [[0.5, 0.5, -0.5, 0.5]]


def test_two_bits_by_hand():
    weight = torch.tensor([[4.0, -2.0, 1.0, -1.0]])  # alpha_1 = 2, residuals 2, 0, -1, 1, alpha_2 = 1
    code = quantize(weight, bits=2)
    assert present(code.codebook).tolist() == [[-3.0, -1.0, 1.0, 3.0]]
    assert code.codes.tolist() == [[3, 1, 2, 1]]
    assert code.decode().tolist() == [[3.0, -1.0, 1.0, -1.0]]


def test_means_are_taken_over_the_kept_weights():
    weight = torch.tensor([[3.0, 0.0, -1.0, 0.0]])
    kept = weight != 0
    assert present(apply(weight, kept).codebook).tolist() == [[-2.0, 2.0]]
    assert present(quantize(weight).codebook).tolist() == [[-1.0, 1.0]]


# Properties.


@granularities
@given(weight=matrices())
def test_one_bit_is_idempotent(granularity, weight):
    decoded = quantize(weight, granularity=granularity).decode()
    assert torch.equal(quantize(decoded, granularity=granularity).decode(), decoded)


@given(weight=matrices(), change=st.sampled_from([0.5, 0.9, 0.99, 1.01, 1.1, 2.0]))
def test_no_other_alpha_has_a_smaller_error(weight, change):
    decoded = quantize(weight, granularity="tensor").decode().double()
    error, other = ((weight.double() - decoded * factor).square().sum() for factor in (1.0, change))
    assert error <= other * (1 + 1e-6)


@granularities
@given(weight=matrices(largest=1e15))
def test_each_bit_lowers_the_squared_error(granularity, weight):
    errors = [
        (weight.double() - quantize(weight, bits=bits, granularity=granularity).decode().double()).square().sum()
        for bits in range(1, 5)
    ]
    rounding = 1e-10 * weight.double().square().sum()
    assert all(more <= fewer + rounding for fewer, more in itertools.pairwise(errors))


def test_signal_to_noise_of_normal_weights():
    """Mean magnitude sqrt(2 / pi): the noise is 1 - 2 / pi of the signal, 4.40 dB."""
    weight = normal(1000, 1000)
    assert sqnr_db(weight, quantize(weight, granularity="tensor").decode()) == pytest.approx(4.40, abs=0.02)
