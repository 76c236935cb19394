"""Clipping at a percentile against numpy's quantile and torch's own quantizer."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.methods import integer
from compress_explorer.methods.code import Code
from compress_explorer.methods.integer_percentile import apply
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal, present

schemes = pytest.mark.parametrize("scheme", ["symmetric", "affine"])
PERCENTILES = [50.0, 97.3, 99.9, 100.0]


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def groups_of(weight: Tensor, granularity: str, group_size: int) -> list[Tensor]:
    channels = [weight.flatten()] if granularity == "tensor" else list(weight)
    size = group_size if granularity == "group" else weight.numel()
    return [group for channel in channels for group in channel.split(size)]


def ends(values: np.ndarray, percentile: float, scheme: str) -> tuple[float, float]:
    """The ends of the range by numpy, zero included."""
    values = values.astype(np.float64)
    if scheme == "symmetric":
        clip = np.quantile(np.abs(values), percentile / 100)
        return -clip, clip
    low, high = np.quantile(values, [(1 - percentile / 100) / 2, (1 + percentile / 100) / 2])
    return min(low, 0.0), max(high, 0.0)


@schemes
@pytest.mark.parametrize(("granularity", "group_size"), [("tensor", 1), ("channel", 1), ("group", 7)])
@pytest.mark.parametrize("percentile", [50.0, 97.3])
@pytest.mark.parametrize(
    "name", ["single", "odd", "one-zero-channel", "negative-only", "zeros", "ties", "tiny", "huge"]
)
def test_scales_are_those_of_numpys_quantiles(name, percentile, granularity, group_size, scheme):
    weight = WEIGHTS[name]
    code = quantize(weight, percentile=percentile, granularity=granularity, group_size=group_size, scheme=scheme)
    steps = 7 if scheme == "symmetric" else 15
    for group, scale in zip(
        groups_of(weight, granularity, group_size), present(code.scale).flatten().tolist(), strict=True
    ):
        low, high = ends(group.numpy(), percentile, scheme)
        expected = (high if scheme == "symmetric" else high - low) / steps
        assert scale == pytest.approx(expected or 1.0, rel=1e-6)


@schemes
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_are_clipped_and_rounded_like_by_torch(bits, scheme):
    weight = normal(40, 300)
    code = quantize(weight, bits=bits, percentile=97.0, scheme=scheme)
    lowest = -(2 ** (bits - 1) - 1) if scheme == "symmetric" else 0
    highest = 2 ** (bits - 1) - 1 if scheme == "symmetric" else 2**bits - 1
    low, high = ends(weight.numpy(), 97.0, scheme)
    scale = (high if scheme == "symmetric" else high - low) / highest
    zero = 0 if scheme == "symmetric" else round(-low / scale)
    expected = torch.fake_quantize_per_tensor_affine(weight, scale, zero, lowest, highest)
    clear = ((weight / scale).frac().abs() - 0.5).abs() > 1e-4
    torch.testing.assert_close(code.decode()[clear], expected[clear], rtol=1e-5, atol=0)
    assert not bool((code.decode().abs() > max(-low, high) * 1.0001 + scale / 2).any())


@schemes
def test_pruned_weights_are_left_out(scheme):
    weight, kept = half_kept(normal(6, 200))
    kept[3] = False
    weight = torch.where(kept, weight, 0.0)
    code = apply(weight, kept, percentile=90.0, granularity="channel", scheme=scheme)
    for row, mask, scale in zip(weight, kept, present(code.scale)[:, 0].tolist(), strict=True):
        low, high = ends(row[mask].numpy(), 90.0, scheme) if mask.any() else (0.0, 0.0)
        steps = 7 if scheme == "symmetric" else 15
        assert scale == pytest.approx((high if scheme == "symmetric" else high - low) / steps or 1.0, rel=1e-6)


def test_by_hand():
    """Of the magnitudes 0, 1, 2, 3, 100 the 75th percentile is 3."""
    code = quantize(torch.tensor([[0.0, -1.0, 2.0, -3.0, 100.0]]), bits=3, percentile=75.0)
    assert present(code.scale).item() == 1.0
    assert code.decode().tolist() == [[0.0, -1.0, 2.0, -3.0, 3.0]]


@schemes
@given(weight=matrices(), bits=st.integers(1, 8), granularity=st.sampled_from(["tensor", "channel", "group"]))
def test_all_weights_are_the_integer_method(scheme, weight, bits, granularity):
    values = {"bits": bits, "scheme": scheme, "granularity": granularity, "group_size": 5}
    code = quantize(weight, percentile=100.0, **values)
    expected = integer.apply(weight, all_kept(weight), **values)
    assert torch.equal(code.decode(), expected.decode())
