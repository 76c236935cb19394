"""8-bit floats against ml_dtypes and gfloat."""

import gfloat
import gfloat.formats
import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.fp8 import apply
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal, present, sqnr_db

DTYPES = {3: ml_dtypes.float8_e3m4, 4: ml_dtypes.float8_e4m3fn, 5: ml_dtypes.float8_e5m2}
LARGEST = {3: 15.5, 4: 448.0, 5: 57344.0}
granularities = pytest.mark.parametrize("granularity", ["tensor", "channel"])
exponents = pytest.mark.parametrize("exponent_bits", DTYPES)


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def expected(weight: Tensor, exponent_bits: int, granularity: str) -> np.ndarray:
    """s * cast(w / s) with numpy; clamped first, for the cast does not saturate."""
    values = weight.numpy()
    amax = np.abs(values).max(axis=None if granularity == "tensor" else 1, keepdims=True).astype(np.float64)
    scale = np.where(amax > 0, np.maximum(amax / LARGEST[exponent_bits], 2.0**-126), 1).astype(np.float32)
    scaled = (values / scale).clip(-LARGEST[exponent_bits], LARGEST[exponent_bits])
    return scaled.astype(DTYPES[exponent_bits]).astype(np.float32) * scale


@granularities
@exponents
def test_values_are_those_of_ml_dtypes(exponent_bits, granularity):
    for name, weight in WEIGHTS.items():
        with case(name):
            decoded = quantize(weight, exponent_bits=exponent_bits, granularity=granularity).decode()
            assert np.array_equal(decoded.numpy(), expected(weight, exponent_bits, granularity))


@granularities
@exponents
@given(weight=matrices())
def test_arbitrary_weights_are_those_of_ml_dtypes(exponent_bits, granularity, weight):
    decoded = quantize(weight, exponent_bits=exponent_bits, granularity=granularity).decode()
    assert np.array_equal(decoded.numpy(), expected(weight, exponent_bits, granularity))


@pytest.mark.parametrize(
    ("exponent_bits", "info"), [(4, gfloat.formats.format_info_ocp_e4m3), (5, gfloat.formats.format_info_ocp_e5m2)]
)
def test_values_are_those_of_gfloat(exponent_bits, info):
    weight = normal(4, 50)
    code = quantize(weight, exponent_bits=exponent_bits)
    scaled = (weight / present(code.scale)).double().numpy().ravel()
    rounded = [gfloat.round_float(info, value, gfloat.RoundMode.TiesToEven, sat=True) for value in scaled]
    decoded = [gfloat.decode_float(info, int(value)).fval for value in code.codes.flatten()]
    assert decoded == rounded


def test_by_hand():
    # s = 1: from 256 on E4M3 has steps of 32, halves to the even one; the smallest number is 2^-9.
    weight = torch.tensor([[448.0, 271.0, 272.0, 304.0, -305.0, 2.0**-9, 2.0**-10, 1.5 * 2.0**-9]])
    assert quantize(weight).decode().tolist() == [[448.0, 256.0, 256.0, 320.0, -320.0, 2.0**-9, 0.0, 2.0**-8]]


@granularities
@given(weight=matrices(), exponent_bits=st.sampled_from([3, 4, 5]))
def test_odd_and_within_half_a_step(granularity, weight, exponent_bits):
    code = quantize(weight, exponent_bits=exponent_bits, granularity=granularity)
    decoded, mantissa = code.decode(), 7 - exponent_bits
    assert torch.equal(quantize(-weight, exponent_bits=exponent_bits, granularity=granularity).decode(), -decoded)
    smallest = 2.0 ** (2 - 2 ** (exponent_bits - 1) - mantissa)  # 2^(1 - bias - mantissa bits)
    step = torch.maximum(weight.abs() * 2.0**-mantissa, present(code.scale) * smallest)
    assert ((weight - decoded).abs() <= step * 0.5001).all()


def test_fewer_bits_of_exponent_serve_normal_weights_better():
    """And more a layer with outliers: Kuzmin et al. 2022, The Power of the Exponent."""
    weight = normal(100, 1000)
    ratios = [sqnr_db(weight, quantize(weight, exponent_bits=bits).decode()) for bits in (3, 4, 5)]
    assert ratios == sorted(ratios, reverse=True)
    weight[0, 0] = 1e5
    small = weight[1:]
    errors = [sqnr_db(small, quantize(weight, exponent_bits=bits).decode()[1:]) for bits in (3, 4, 5)]
    assert errors == sorted(errors)


def test_pruned_weights_stay_zero():
    weight, kept = half_kept(normal(5, 37))
    decoded = apply(weight, kept).decode()
    assert (decoded[~kept] == 0).all()
