"""Rounding by lot: right on average, never further than the next level."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.methods import integer
from compress_explorer.methods.code import Code
from compress_explorer.methods.stochastic import apply
from tests.methods.cases import all_kept, matrices, normal, present
from tests.methods.test_integer import spread

schemes = pytest.mark.parametrize("scheme", ["symmetric", "affine"])


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def test_the_mean_over_many_seeds_is_the_weight():
    """2,000 draws of 200 weights: a level up has the probability p = frac(w/s), of standard error √(p(1 - p)/2000).

    The largest of 200 deviations of a fair draw exceeds 4.5 standard errors once in 700 times.
    """
    weight = normal(4, 50)
    draws = torch.stack([quantize(weight, bits=3, seed=seed).decode().double() for seed in range(2000)])
    scale = present(quantize(weight, bits=3).scale).double()
    share = (weight / scale) - (weight / scale).floor()
    error = scale * (share * (1 - share) / 2000).sqrt()
    deviation = (draws.mean(dim=0) - weight).abs()
    assert (deviation <= 4.5 * error + 1e-6).all()
    assert deviation.max() > 0.1 * error.max()  # and it is a draw


def test_the_noise_is_that_of_independent_draws():
    """The variance is s² p (1 - p): s²/6 on average over an even spread, twice the s²/12 of rounding to nearest."""
    weight = torch.linspace(-1, 1, 100_001)[None]
    code = quantize(weight, bits=4)
    noise = (weight - code.decode()).double().square().mean().item()
    assert noise == pytest.approx((1 / 7) ** 2 / 6, rel=0.01)


@schemes
@given(weight=matrices(), bits=st.integers(2, 8), granularity=st.sampled_from(["tensor", "channel", "group"]))
def test_each_weight_goes_to_a_neighbouring_level(scheme, weight, bits, granularity):
    values = {"bits": bits, "scheme": scheme, "granularity": granularity, "group_size": 5}
    code = quantize(weight, **values)
    expected = integer.apply(weight, all_kept(weight), **values)
    assert torch.equal(present(code.scale), present(expected.scale))
    rounding = 2**-20 * weight.abs().max()
    assert ((code.decode() - weight).abs() <= spread(code, present(code.scale)) + rounding).all()
    assert int((code.codes.int() - expected.codes.int()).abs().max()) <= 1


@schemes
@given(weight=matrices(), bits=st.integers(1, 8), seed=st.integers(0, 1000))
def test_zero_stays_zero(scheme, weight, bits, seed):
    assert (quantize(weight, bits=bits, scheme=scheme, seed=seed).decode()[weight == 0] == 0).all()


@given(bits=st.integers(2, 8), seed=st.integers(0, 1000))
def test_weights_on_a_level_stay(bits, seed):
    highest = 2 ** (bits - 1) - 1
    weight = torch.arange(-highest, highest + 1, dtype=torch.float32)[None] / 4
    assert torch.equal(quantize(weight, bits=bits, seed=seed).decode(), weight)


def test_seeds_differ_and_repeat():
    weight = normal(20, 30)
    draws = {tuple(quantize(weight, bits=3, seed=seed).codes.flatten().tolist()) for seed in range(20)}
    assert len(draws) == 20
    assert torch.equal(quantize(weight, bits=3, seed=5).codes, quantize(weight, bits=3, seed=5).codes)
