"""The 4-bit floats of bitsandbytes against bitsandbytes."""

import bitsandbytes.functional as bnb
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress_explorer.methods import nf4
from compress_explorer.methods.code import Code
from compress_explorer.methods.fp4 import apply
from tests.methods.bitsandbytes_oracle import assert_same_codes
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal, sqnr_db

TOO_SMALL = {"subnormal"}  # the oracle divides by at least 1e-38


def quantize(weight: torch.Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("block_size", [32, 64, 256])
@pytest.mark.parametrize("shape", [(16, 256), (7, 300), (3, 64), (40, 1)], ids=str)
def test_codes_and_scales_are_those_of_bitsandbytes(shape, block_size):
    weight = normal(*shape)
    assert_same_codes(quantize(weight, block_size=block_size), weight, "fp4", block_size)


@pytest.mark.parametrize("name", [name for name in WEIGHTS if name not in TOO_SMALL])
def test_edge_cases_are_those_of_bitsandbytes(name):
    assert_same_codes(quantize(WEIGHTS[name]), WEIGHTS[name], "fp4", 64)


def test_a_whole_tensor_decodes_as_in_bitsandbytes():
    weight = normal(16, 256)
    packed, state = bnb.quantize_4bit(weight, blocksize=64, quant_type="fp4")
    torch.testing.assert_close(quantize(weight).decode(), bnb.dequantize_4bit(packed, state), rtol=1e-6, atol=0)


def test_by_hand():
    # s = 12, so that levels are 0, 1/16, 2, 3, 4, 6, 8 and 12.
    weight = torch.tensor([[12.0, 0.03, 0.04, -0.04, 1.0, 1.1, 2.6, 3.6, 5.1, 6.9, 7.1, -9.9, -10.1, 0.0]])
    expected = [[12.0, 0.0, 0.0625, -0.0625, 0.0625, 2.0, 3.0, 4.0, 6.0, 6.0, 8.0, -8.0, -12.0, 0.0]]
    torch.testing.assert_close(quantize(weight).decode(), torch.tensor(expected))


@given(weight=matrices(), block_size=st.integers(1, 40))
def test_idempotent_odd_and_zero_is_zero(weight, block_size):
    decoded = quantize(weight, block_size=block_size).decode()
    assert torch.equal(quantize(decoded, block_size=block_size).decode(), decoded)
    assert torch.equal(quantize(-weight, block_size=block_size).decode(), -decoded)
    assert not torch.signbit(decoded[weight == 0]).any()


def test_normal_weights_are_better_served_by_nf4():
    weight = normal(64, 1024)
    normal_float = nf4.apply(weight, all_kept(weight)).decode()
    assert sqnr_db(weight, quantize(weight).decode()) < sqnr_db(weight, normal_float) - 1


@pytest.mark.parametrize("scales", ["float32", "double"])
def test_pruned_weights_stay_zero(scales):
    weight, kept = half_kept(normal(5, 137))
    decoded = apply(weight, kept, scales=scales).decode()
    assert (decoded[~kept] == 0).all()
    assert not torch.signbit(decoded[~kept]).any()
