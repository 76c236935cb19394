"""Microscaling formats against torchao, and by hand."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchao.prototype.mx_formats.config import ScaleCalculationMode
from torchao.prototype.mx_formats.constants import DTYPE_FP6_E2M3, DTYPE_FP6_E3M2
from torchao.prototype.mx_formats.mx_tensor import to_dtype, to_mx

from compress_explorer.methods.code import Code
from compress_explorer.methods.formats import FORMATS
from compress_explorer.methods.mx import ELEMENTS, apply
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal, present, sqnr_db

ORACLE = {
    "mxfp4": torch.float4_e2m1fn_x2,
    "mxfp6-e2m3": DTYPE_FP6_E2M3,
    "mxfp6-e3m2": DTYPE_FP6_E3M2,
    "mxfp8-e4m3": torch.float8_e4m3fn,
    "mxfp8-e5m2": torch.float8_e5m2,
}
ROUNDINGS = ("floor", "rceil", "ceil", "even")


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def torchao(weight: Tensor, name: str, rounding: str) -> tuple[Tensor, Tensor]:
    """Exponents [channels, groups] and decoded weights; the last block of a row is filled up with zeros."""
    padded = torch.nn.functional.pad(weight, (0, -weight.shape[1] % 32)).contiguous()
    scale, data = to_mx(padded, ORACLE[name], 32, ScaleCalculationMode(rounding))
    decoded = to_dtype(data, scale, ORACLE[name], 32, torch.float32)
    return scale.view(torch.uint8).int() - 127, decoded[:, : weight.shape[1]]


def exponents(code: Code) -> Tensor:
    assert code.coded_scale is not None
    assert code.coded_scale.format == "e8m0"
    return code.coded_scale.codes.int() - 127


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("name", ORACLE)
@pytest.mark.parametrize("shape", [(16, 256), (7, 300), (3, 32), (5, 1)], ids=str)
def test_scales_and_weights_are_those_of_torchao(shape, name, rounding):
    weight = normal(*shape) * torch.exp2(4 * normal(shape[0], 1, seed=1))
    code = quantize(weight, format=name, rounding=rounding)
    scale, decoded = torchao(weight, name, rounding)
    assert torch.equal(exponents(code), scale)
    assert torch.equal(code.decode(), decoded)


@pytest.mark.parametrize("case", [name for name in WEIGHTS if name != "subnormal"])
def test_edge_cases_are_those_of_torchao(case):
    """But for blocks of zeros, which have the exponent 0 here, and subnormal numbers, where torchao's scale is off."""
    weight = WEIGHTS[case]
    for name, rounding in itertools.product(ORACLE, ROUNDINGS):
        code = quantize(weight, format=name, rounding=rounding)
        scale, decoded = torchao(weight, name, rounding)
        assert ((exponents(code) == scale) | (present(code.scale) == 1)).all()
        assert torch.equal(code.decode(), decoded)


@given(weight=matrices(max_side=40), name=st.sampled_from(list(ORACLE)), rounding=st.sampled_from(ROUNDINGS))
def test_arbitrary_weights_are_those_of_torchao(weight, name, rounding):
    weight = weight.where(weight.abs() > 1e-30, 0.0)
    expected = torchao(weight, name, rounding)[1]
    assert torch.equal(quantize(weight, format=name, rounding=rounding).decode(), expected)


@pytest.mark.parametrize(
    ("largest", "expected"),
    [  # of E2M1: largest 6, largest power 4; half a unit of its mantissa is 0.25
        (6.0, {"floor": 0, "rceil": 0, "ceil": 1, "even": 0}),
        (6.01, {"floor": 0, "rceil": 1, "ceil": 1, "even": 0}),
        (6.99, {"floor": 0, "rceil": 1, "ceil": 1, "even": 0}),
        (7.0, {"floor": 0, "rceil": 1, "ceil": 1, "even": 1}),
        (8.0, {"floor": 1, "rceil": 1, "ceil": 1, "even": 1}),
        (4.0, {"floor": 0, "rceil": 0, "ceil": 0, "even": 0}),
        (3.0, {"floor": -1, "rceil": -1, "ceil": 0, "even": -1}),
    ],
)
def test_exponents_by_hand(largest, expected):
    weight = torch.tensor([[0.5, -largest, 1.0]])
    assert {mode: int(exponents(quantize(weight, rounding=mode))) for mode in ROUNDINGS} == expected


def test_by_hand():
    # Floor: 7.5 has the exponent 0, is beyond 6 and cut off; halves go to the even code: 2.5 to 2, 3.5 to 4, 5 to 4.
    weight = torch.tensor([[7.5, 2.5, 3.5, 5.0, 0.25, -0.75, 0.26]])
    assert quantize(weight).decode().tolist() == [[6.0, 2.0, 4.0, 4.0, 0.0, -1.0, 0.5]]


@given(weight=matrices(), name=st.sampled_from(list(ORACLE)), block_size=st.integers(1, 40))
def test_blocks_of_any_size_have_the_exponent_of_the_definition(weight, name, block_size):
    number_format = FORMATS[ELEMENTS[name]]
    code = quantize(weight, format=name, rounding="floor", block_size=block_size)
    for row, found in zip(weight, exponents(code), strict=True):
        for block, exponent in zip(row.split(code.group_size), found, strict=True):
            largest = float(block.abs().max())
            if largest > 2.0**-100:
                floor = math.frexp(largest)[1] - math.frexp(number_format.largest)[1]
                assert exponent == floor


@given(weight=matrices(), name=st.sampled_from(list(ORACLE)), rounding=st.sampled_from(["ceil", "rceil"]))
def test_nothing_is_cut_off_by_rounding_up(weight, name, rounding):
    code = quantize(weight, format=name, rounding=rounding)
    within = present(code.scale) * FORMATS[ELEMENTS[name]].largest
    largest = torch.stack([block.abs().amax(dim=1) for block in weight.split(code.group_size, dim=1)], dim=1)
    assert (largest <= within).all()


@given(weight=matrices(), name=st.sampled_from(list(ORACLE)))
def test_odd_and_scaling_with_powers_of_two(weight, name):
    weight = weight.where(weight.abs() > 1e-30, 0.0)
    decoded = quantize(weight, format=name).decode()
    assert torch.equal(quantize(-weight, format=name).decode(), -decoded)
    assert torch.equal(quantize(4 * weight, format=name).decode(), 4 * decoded)


def test_more_bits_have_less_error():
    weight = normal(64, 1024)
    ratios = [sqnr_db(weight, quantize(weight, format=name).decode()) for name in ("mxfp4", "mxfp6-e2m3", "mxfp8-e4m3")]
    assert ratios[0] + 6 < ratios[1]
    # E2M3 and E4M3 have the same mantissa: a block of normal weights seldom needs the wider range.
    assert ratios[1] < ratios[2] + 1


def test_pruned_weights_stay_zero():
    weight, kept = half_kept(normal(5, 137))
    decoded = apply(weight, kept).decode()
    assert (decoded[~kept] == 0).all()
    assert not torch.signbit(decoded[~kept]).any()
