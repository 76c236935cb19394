"""NVFP4 against torchao, and by hand."""

import pytest
import torch
from hypothesis import given
from torch import Tensor
from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize, per_tensor_amax_to_scale

from compress_explorer.methods import mx
from compress_explorer.methods.code import Code
from compress_explorer.methods.coded_scale import CodedScale
from compress_explorer.methods.formats import FORMATS
from compress_explorer.methods.nvfp4 import apply
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal, present, sqnr_db


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def coded_scale(code: Code) -> CodedScale:
    assert code.coded_scale is not None
    assert code.coded_scale.format == "e4m3"
    return code.coded_scale


def assert_as_in_torchao(weight: Tensor) -> None:
    """The same scales; the same codes, but for weights that lie halfway up to rounding."""
    code = quantize(weight)
    padded = torch.nn.functional.pad(weight, (0, -weight.shape[1] % 16)).contiguous()
    per_tensor = per_tensor_amax_to_scale(weight.abs().max())
    scales, packed = nvfp4_quantize(padded, per_tensor_scale=per_tensor)
    assert torch.equal(coded_scale(code).constants, per_tensor[None])
    assert torch.equal(coded_scale(code).codes, scales.view(torch.uint8))
    theirs = torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)[:, : weight.shape[1]]
    theirs = theirs.where(theirs != 8, 0)  # torchao has -0
    scaled = weight.double() / present(code.scale).double().repeat_interleave(16, dim=1)[:, : weight.shape[1]]
    cuts = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0], dtype=torch.float64)
    halfway = ((scaled.abs()[:, :, None] - cuts).abs() < 1e-5).any(dim=2)
    assert ((code.codes == theirs) | halfway).all()


@pytest.mark.parametrize("shape", [(16, 256), (7, 300), (3, 16), (5, 1)], ids=str)
def test_scales_and_codes_are_those_of_torchao(shape):
    assert_as_in_torchao(normal(*shape) * torch.exp2(4 * normal(shape[0], 1, seed=1)))


# Where all weights are zero, or so small that the tensor's scale is no normal number, torchao divides by zero.
@pytest.mark.parametrize("name", [name for name in WEIGHTS if name not in ("single-zero", "zeros", "subnormal")])
def test_edge_cases_are_those_of_torchao(name):
    assert_as_in_torchao(WEIGHTS[name])


@given(weight=matrices())
def test_arbitrary_weights_are_those_of_torchao(weight):
    if weight.abs().max() > 1e-30:
        assert_as_in_torchao(weight)


def test_by_hand():
    # t = 2688 / (6 * 448) = 1; blocks of 2: their scales are 2688 / 6 = 448 and 12.4 / 6 = 2.07, in E4M3 2.
    weight = torch.tensor([[2688.0, -500.0, 12.4, 2.2]])
    code = quantize(weight, block_size=2)
    assert coded_scale(code).constants.tolist() == [1.0]
    assert present(code.scale).tolist() == [[448.0, 2.0]]
    assert code.decode().tolist() == [[2688.0, -448.0, 12.0, 2.0]]


def test_zeros_are_stored_with_usable_scales():
    code = quantize(torch.zeros(2, 40))
    assert torch.equal(code.decode(), torch.zeros(2, 40))
    assert (present(code.scale) > 0).all()
    assert (code.codes == 0).all()


@given(weight=matrices(largest=1e30))
def test_odd_and_largest_weight_nearly_kept(weight):
    decoded = quantize(weight).decode()
    assert torch.equal(quantize(-weight).decode(), -decoded)
    largest = weight.abs().max()
    if largest > 1e-30:
        torch.testing.assert_close(decoded.abs().max(), largest, rtol=1e-5, atol=0)


def test_finer_scales_than_those_of_mxfp4_have_less_error():
    weight = normal(64, 1024)
    same_blocks = mx.apply(weight, all_kept(weight), block_size=16).decode()
    assert sqnr_db(weight, quantize(weight).decode()) > sqnr_db(weight, same_blocks) + 1


def test_every_level_is_one_of_e2m1():
    weight = normal(4, 64)
    code = quantize(weight)
    units = code.decode() / present(code.scale).repeat_interleave(16, dim=1)
    assert torch.isin(units.round(decimals=4), FORMATS["fp4-e2m1"].levels).all()


def test_pruned_weights_stay_zero():
    weight, kept = half_kept(normal(5, 137))
    decoded = apply(weight, kept).decode()
    assert (decoded[~kept] == 0).all()
    assert not torch.signbit(decoded[~kept]).any()
