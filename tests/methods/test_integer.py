"""Uniform quantization against torchao's affine primitives, and by hand."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchao.quantization.quant_primitives import (
    MappingType,
    choose_qparams_affine,
    dequantize_affine,
    quantize_affine,
)

from compress_explorer.methods.code import Code
from compress_explorer.methods.integer import apply
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, matrices, normal, present, sqnr_db

GRANULARITIES = [("tensor", 1), ("channel", 1), ("group", 1), ("group", 7), ("group", 1000)]
granularities = pytest.mark.parametrize(
    ("granularity", "group_size"), GRANULARITIES, ids=["tensor", "channel", "group-1", "group-7", "group-1000"]
)
schemes = pytest.mark.parametrize("scheme", ["symmetric", "affine"])


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def spread(code: Code, per_group: Tensor) -> Tensor:
    """One number a group, as one number a weight."""
    rows, columns = code.codes.shape
    return per_group.repeat_interleave(code.group_size, dim=1)[:, :columns].expand(rows, columns)


@dataclass(frozen=True)
class Quantized:
    """What an oracle made of a matrix: one scale and zero point a group, in order, and one number a weight."""

    scale: Tensor
    zero_point: Tensor
    numbers: Tensor
    decoded: Tensor


def by_torchao(weight: Tensor, bits: int, scheme: str, granularity: str, group_size: int) -> Quantized:
    """The same quantization by torchao.

    Every group becomes a row, padded with zeros, which change no range: torchao wants groups of one size, and takes
    a block of one single weight for the whole tensor. Its SYMMETRIC divides the largest magnitude by
    (quant_max - quant_min) / 2, which is 2^(b-1) - 1 only when these are symmetric themselves.
    """
    channels = [weight.flatten()] if granularity == "tensor" else list(weight)
    size = group_size if granularity == "group" else weight.numel()
    groups = [group for channel in channels for group in channel.split(size)]
    rows = torch.nn.functional.pad(pad_sequence(groups, batch_first=True), (0, 1))
    limit = 2 ** (bits - 1) - 1
    low, high = (-limit, limit) if scheme == "symmetric" else (0, 2**bits - 1)
    kind = MappingType.SYMMETRIC if scheme == "symmetric" else MappingType.ASYMMETRIC
    dtype = torch.int8 if scheme == "symmetric" else torch.uint8
    block = (1, rows.shape[1])
    scale, zero_point = choose_qparams_affine(rows, kind, block, dtype, low, high)
    numbers = quantize_affine(rows, block, scale, zero_point, dtype, low, high)
    decoded = dequantize_affine(numbers, block, scale, zero_point, dtype, low, high)

    def as_matrix(table: Tensor) -> Tensor:
        parts = [row[: len(group)] for row, group in zip(table, groups, strict=True)]
        return torch.cat(parts).reshape(weight.shape)

    return Quantized(scale.flatten(), zero_point.flatten().int(), as_matrix(numbers).int(), as_matrix(decoded))


@granularities
@schemes
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_agrees_with_torchao(bits, scheme, granularity, group_size):
    for name, weight in WEIGHTS.items():
        with case(name):
            code = quantize(weight, bits=bits, scheme=scheme, granularity=granularity, group_size=group_size)
            oracle = by_torchao(weight, bits, scheme, granularity, group_size)
            used = present(code.scale) != 1  # torchao gives a group of zeros the smallest normal number as its scale
            torch.testing.assert_close(present(code.scale)[used], oracle.scale[used.flatten()], rtol=2**-22, atol=0)
            if scheme == "affine":
                assert torch.equal(present(code.zero_point).flatten().int(), oracle.zero_point)
            numbers = code.codes.int() + code.offset
            # torchao multiplies by 1 / scale: a quotient within rounding of a half may go the other way.
            quotient = weight / spread(code, present(code.scale))
            clear = (quotient - quotient.floor() - 0.5).abs() > 1e-6 * quotient.abs().clamp(min=1)
            assert torch.equal(numbers[clear], oracle.numbers[clear])
            assert int((numbers - oracle.numbers).abs().max()) <= 1
            torch.testing.assert_close(code.decode()[clear], oracle.decoded[clear], rtol=2**-21, atol=0)


# By hand.


def test_symmetric_by_hand():
    code = quantize(torch.tensor([[-3.0, -1.0, 0.4, 2.0]]), bits=3)
    assert present(code.scale).item() == 1.0
    assert (code.offset, code.codes.tolist()) == (-3, [[0, 2, 3, 5]])
    assert code.decode().tolist() == [[-3.0, -1.0, 0.0, 2.0]]


def test_halves_round_to_even():
    code = quantize(torch.tensor([[3.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]]), bits=3)
    assert code.decode().tolist() == [[3.0, 0.0, 2.0, 2.0, 0.0, -2.0, -2.0]]


def test_affine_by_hand():
    code = quantize(torch.tensor([[-1.0, 0.0, 0.9, 2.0]]), bits=2, scheme="affine")
    assert present(code.scale).item() == 1.0
    assert present(code.zero_point).item() == 1
    assert code.codes.tolist() == [[0, 1, 2, 3]]
    assert code.decode().tolist() == [[-1.0, 0.0, 1.0, 2.0]]


@pytest.mark.parametrize(("sign", "zero_point"), [(1, 0), (-1, 3)], ids=["positive", "negative"])
def test_affine_range_of_one_sided_weights_begins_at_zero(sign, zero_point):
    code = quantize(sign * torch.tensor([[1.5, 2.0, 3.0]]), bits=2, scheme="affine")
    assert present(code.scale).item() == 1.0
    assert present(code.zero_point).item() == zero_point
    assert code.decode().tolist() == [[sign * 2.0, sign * 2.0, sign * 3.0]]


def test_one_bit_symmetric_is_twos_complement():
    code = quantize(torch.tensor([[-2.0, -0.9, -1.1, 0.0, 2.0]]), bits=1)
    assert (present(code.scale).item(), code.offset) == (2.0, -1)
    assert code.decode().tolist() == [[-2.0, 0.0, -2.0, 0.0, 0.0]]


def test_one_bit_affine_of_unit_range_is_plain_rounding():
    """Uniform weights in 0..1, rounded to whole numbers: noise 1/12, signal 1/3, so 6.02 dB."""
    weight = torch.rand(1, 100_000, generator=torch.Generator().manual_seed(0))
    weight[0, 0] = 1.0
    code = quantize(weight, bits=1, scheme="affine")
    assert torch.equal(code.decode(), weight.round())
    assert sqnr_db(weight, code.decode()) == pytest.approx(6.02, abs=0.05)


def test_groups_by_hand_with_a_short_last_group():
    weight = torch.tensor([[1.0, -2.0, 8.0, 4.0, 0.5], [0.0, 0.0, 3.0, -6.0, 7.0]])
    code = quantize(weight, bits=2, granularity="group", group_size=2)
    assert present(code.scale).tolist() == [[2.0, 8.0, 0.5], [1.0, 6.0, 7.0]]  # a group of zeros has the scale 1
    # 1/2, 4/8 and 3/6 are halves: they go to the even number, 0.
    assert code.decode().tolist() == [[0.0, -2.0, 8.0, 0.0, 0.5], [0.0, 0.0, 0.0, -6.0, 7.0]]


def test_a_group_longer_than_the_channel_is_the_channel():
    weight = normal(4, 10)
    group = quantize(weight, bits=4, granularity="group", group_size=128)
    channel = quantize(weight, bits=4, granularity="channel")
    assert group.group_size == 10
    assert torch.equal(present(group.scale), present(channel.scale))
    assert torch.equal(group.codes, channel.codes)


def test_each_channel_is_quantized_as_a_tensor_of_its_own():
    weight = normal(5, 37) * torch.tensor([1e-3, 1.0, 10.0, 0.1, 5.0])[:, None]
    rows = [quantize(row[None], bits=5, scheme="affine").decode() for row in weight]
    assert torch.equal(quantize(weight, bits=5, scheme="affine", granularity="channel").decode(), torch.cat(rows))


@schemes
@pytest.mark.parametrize("bits", range(1, 9))
def test_zeros_and_constants_have_finite_scales(bits, scheme):
    for value in (0.0, 1.0, -1.0, 1e-45, -1e-38, 1e38):
        code = quantize(torch.full((2, 6), value), bits=bits, scheme=scheme)
        assert torch.isfinite(present(code.scale)).all()
        assert (present(code.scale) > 0).all()
        assert torch.isfinite(code.decode()).all()
    assert (quantize(torch.zeros(2, 6), bits=bits, scheme=scheme).decode() == 0).all()


# Properties.


@granularities
@schemes
@given(weight=matrices(), bits=st.integers(2, 8))
def test_error_is_at_most_half_a_step(scheme, granularity, group_size, weight, bits):
    code = quantize(weight, bits=bits, scheme=scheme, granularity=granularity, group_size=group_size)
    step = spread(code, present(code.scale)).double()
    # A rounded affine zero point moves the range by half a step, which an end weight is off at most besides.
    allowed = step * (0.5 if scheme == "symmetric" else 1.0)
    rounding = 2**-20 * weight.double().abs().max()
    error = (weight.double() - code.decode().double()).abs()
    assert (error <= allowed + rounding).all()
    inside = (code.codes > 0) & (code.codes < 2**bits - 1)
    assert (error[inside] <= step[inside] / 2 + rounding).all()


@granularities
@schemes
@given(weight=matrices(), bits=st.integers(1, 8))
def test_zero_stays_zero(scheme, granularity, group_size, weight, bits):
    code = quantize(weight, bits=bits, scheme=scheme, granularity=granularity, group_size=group_size)
    assert (code.decode()[weight == 0] == 0).all()


@granularities
@given(weight=matrices(), bits=st.integers(2, 8))
def test_symmetric_is_idempotent_and_odd(granularity, group_size, weight, bits):
    code = quantize(weight, bits=bits, granularity=granularity, group_size=group_size)
    again = quantize(code.decode(), bits=bits, granularity=granularity, group_size=group_size)
    assert torch.equal(again.codes, code.codes)
    torch.testing.assert_close(present(again.scale), present(code.scale), rtol=2**-22, atol=0)
    mirrored = quantize(-weight, bits=bits, granularity=granularity, group_size=group_size)
    assert torch.equal(mirrored.decode(), -code.decode())


@given(weight=matrices(), bits=st.integers(1, 8))
def test_affine_is_idempotent_when_both_ends_are_in_use(weight, bits):
    code = quantize(weight, bits=bits, scheme="affine")
    # A zero point from a tie can leave the last code unused: the second range is then shorter.
    assume(int(code.codes.min()) == 0 or int(present(code.zero_point).item()) == 0)
    assume(int(code.codes.max()) == 2**bits - 1 or int(present(code.zero_point).item()) == 2**bits - 1)
    again = quantize(code.decode(), bits=bits, scheme="affine")
    assert torch.equal(again.codes, code.codes)


@given(weight=matrices(), factor=st.sampled_from([2.0, 0.25, 2.0**-20]), bits=st.integers(1, 8))
def test_codes_do_not_change_when_all_weights_are_scaled_by_a_power_of_two(weight, factor, bits):
    assume(not ((weight != 0) & (weight.abs() < 1e-25)).any())
    one, other = (quantize(entry, bits=bits, scheme="affine") for entry in (weight, weight * factor))
    assert torch.equal(one.codes, other.codes)


# Known figures on normal weights.


@schemes
def test_each_bit_lowers_the_error(scheme):
    weight = normal(100, 1000)
    ratios = [sqnr_db(weight, quantize(weight, bits=bits, scheme=scheme).decode()) for bits in range(2, 9)]
    assert ratios == sorted(ratios)
    # One bit more halves the step: 6.02 dB, once the step is small against the weights.
    assert ratios[-1] - ratios[-2] == pytest.approx(6.02, abs=0.2)


def test_finer_granularity_lowers_the_error():
    weight = normal(64, 512) * (0.1 + torch.arange(64.0)[:, None])
    ratios = [
        sqnr_db(weight, quantize(weight, bits=4, granularity=granularity, group_size=32).decode())
        for granularity in ("tensor", "channel", "group")
    ]
    assert ratios == sorted(ratios)


def test_entropy_of_eight_bit_codes_is_differential_entropy_less_log_of_the_step():
    """High-rate theory: H = h(X) - log2 s, with h = log2(2 pi e) / 2 for unit normal weights."""
    code = quantize(normal(1000, 1000), bits=8)
    shares = torch.bincount(code.codes.flatten().int()).double() / code.codes.numel()
    shares = shares[shares > 0]
    entropy = -(shares * shares.log2()).sum().item()
    theory = 0.5 * torch.log2(torch.tensor(2 * torch.pi * torch.e)).item() - present(code.scale).log2().item()
    assert entropy == pytest.approx(theory, abs=0.01)
