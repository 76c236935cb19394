"""NF4 against bitsandbytes, and with double quantization."""

import bitsandbytes.functional as bnb
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress_explorer.methods.code import Code
from compress_explorer.methods.formats import DYNAMIC8
from compress_explorer.methods.nf4 import apply
from tests.methods.bitsandbytes_oracle import assert_same_codes
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal, present, sqnr_db

TOO_SMALL = {"subnormal"}  # the oracle divides by at least 1e-38


def quantize(weight: torch.Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("block_size", [32, 64, 256])
@pytest.mark.parametrize("shape", [(16, 256), (7, 300), (3, 64), (40, 1)], ids=str)
def test_codes_and_scales_are_those_of_bitsandbytes(shape, block_size):
    weight = normal(*shape)
    assert_same_codes(quantize(weight, block_size=block_size), weight, "nf4", block_size)


@pytest.mark.parametrize("name", [name for name in WEIGHTS if name not in TOO_SMALL])
def test_edge_cases_are_those_of_bitsandbytes(name):
    assert_same_codes(quantize(WEIGHTS[name]), WEIGHTS[name], "nf4", 64)


def test_a_whole_tensor_decodes_as_in_bitsandbytes():
    weight = normal(16, 256)
    packed, state = bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    decoded = quantize(weight).decode()
    torch.testing.assert_close(decoded, bnb.dequantize_4bit(packed, state), rtol=1e-6, atol=0)


def test_by_hand():
    # s = 2; halves of the levels' distances: 0.0398 between 0 and the first positive level.
    code = quantize(torch.tensor([[2.0, -2.0, 0.0, 0.07, 0.09, -1.0]]), block_size=8)
    assert code.codes.tolist() == [[15, 0, 7, 7, 8, 2]]
    assert present(code.scale).tolist() == [[2.0]]


def test_doubly_quantized_scales_are_those_of_bitsandbytes():
    weight = normal(64, 1024) * (1 + normal(64, 1, seed=3).abs())  # 1024 scales: 4 blocks
    _, state = bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)
    code = quantize(weight, scales="double")
    coded = code.coded_scale
    assert coded is not None
    assert coded.constants[0].item() == pytest.approx(state.offset.item(), rel=1e-6)
    torch.testing.assert_close(coded.constants[1:], state.state2.absmax, rtol=1e-5, atol=0)
    # The oracle looks codes up in a coarse table, and is now and then one off the nearest.
    theirs = state.absmax.view(64, 16)
    assert (coded.codes == theirs).float().mean() > 0.9
    assert ((coded.codes.int() - theirs.int()).abs() <= 1).all()
    absmax = present(quantize(weight).scale)
    their_scale = DYNAMIC8.decode(theirs) * state.state2.absmax.repeat_interleave(256).view(64, 16) + state.offset
    assert (present(code.scale) - absmax).square().sum() <= (their_scale - absmax).square().sum()
    assert torch.equal(code.codes, quantize(weight).codes)


def test_double_quantization_costs_little_accuracy():
    weight = normal(64, 1024)
    plain, double = (sqnr_db(weight, quantize(weight, scales=scales).decode()) for scales in ("float32", "double"))
    assert plain - 0.1 < double < plain


@given(weight=matrices(), block_size=st.integers(1, 40))
def test_idempotent_bounded_and_zero_is_zero(weight, block_size):
    decoded = quantize(weight, block_size=block_size).decode()
    assert torch.equal(quantize(decoded, block_size=block_size).decode(), decoded)
    assert (decoded.abs() <= weight.abs().amax()).all()
    zeros = decoded[weight == 0]
    assert (zeros == 0).all()
    assert not torch.signbit(zeros).any()


@given(weight=matrices(largest=1e3))
def test_a_block_size_of_one_keeps_every_weight(weight):
    """Each weight is then its own scale, up to sign: levels 1 and -1."""
    assert torch.equal(quantize(weight, block_size=1).decode(), weight + 0.0)


def test_smaller_blocks_have_less_error():
    weight = normal(64, 1024)
    errors = [sqnr_db(weight, quantize(weight, block_size=size).decode()) for size in (1024, 256, 64, 16)]
    assert errors == sorted(errors)


@pytest.mark.parametrize("scales", ["float32", "double"])
def test_pruned_weights_stay_zero(scales):
    weight, kept = half_kept(normal(5, 137))
    decoded = apply(weight, kept, scales=scales).decode()
    assert (decoded[~kept] == 0).all()
    assert not torch.signbit(decoded[~kept]).any()
