"""Analytic clipping against published ratios, scipy's root finder and numerical integration."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats
from torch import Tensor

from compress_explorer.methods.aciq import LAPLACE_BELOW, apply, laplace_ratio, normal_ratio, preview
from compress_explorer.methods.code import Code
from compress_explorer.methods.weight_index import WeightIndex
from tests.methods.cases import all_kept, half_kept, matrices, normal, present


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def laplace(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).laplace(size=(1, count)).astype(np.float32))


@pytest.mark.parametrize(("bits", "ratio"), [(2, 2.83), (3, 3.90), (4, 5.03)])
def test_published_ratios_of_laplace_weights(bits, ratio):
    assert laplace_ratio(bits) == pytest.approx(ratio, abs=0.011)


@pytest.mark.parametrize(("bits", "ratio"), [(2, 1.71), (3, 2.15), (4, 2.56)])
def test_published_ratios_of_normal_weights(bits, ratio):
    assert normal_ratio(bits) == pytest.approx(ratio, abs=0.011)


@pytest.mark.parametrize("bits", range(2, 9))
def test_ratios_solve_the_equations(bits):
    root = optimize.brentq(lambda x: -2 * math.exp(-x) + 2 * x / (3 * 4**bits), 0.1, 15, xtol=1e-13)
    assert laplace_ratio(bits) == pytest.approx(root, rel=1e-9)
    root = optimize.brentq(
        lambda x: 2 * x * stats.norm.sf(x) - 2 * stats.norm.pdf(x) + x / (3 * 4**bits), 0.1, 15, xtol=1e-13
    )
    assert normal_ratio(bits) == pytest.approx(root, rel=1e-9)


@pytest.mark.parametrize(("ratio", "density"), [(laplace_ratio, stats.laplace.pdf), (normal_ratio, stats.norm.pdf)])
@pytest.mark.parametrize("bits", [2, 4, 7])
def test_ratios_minimize_the_noise_by_numerical_integration(bits, ratio, density):
    def noise(clip: float) -> float:
        tail = integrate.quad(lambda x: (x - clip) ** 2 * density(x), clip, 40)[0]
        return 2 * tail + clip**2 / (3 * 4**bits)

    best = optimize.minimize_scalar(noise, bounds=(0.5, 15), method="bounded", options={"xatol": 1e-6}).x
    assert ratio(bits) == pytest.approx(best, rel=1e-3)


def test_the_likelier_distribution_by_log_likelihood():
    """The border between the two: fitted by maximum likelihood, both are as likely."""
    scale, deviation = LAPLACE_BELOW, 1.0
    assert -math.log(2 * scale) - 1 == pytest.approx(-math.log(2 * math.pi * deviation**2) / 2 - 0.5)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("name", ["laplace", "normal"])
def test_each_distribution_is_recognized_and_clipped_by_its_own_ratio(name, bits):
    weight = 0.05 * (laplace(30_000) if name == "laplace" else normal(1, 30_000))
    values = weight.double().numpy()
    clip = laplace_ratio(bits) * np.abs(values).mean() if name == "laplace" else normal_ratio(bits) * values.std()
    scale = min(clip, np.abs(values).max()) / (2 ** (bits - 1) - 1)
    likelier = quantize(weight, bits=bits)
    assert present(likelier.scale).item() == pytest.approx(scale, rel=1e-2)
    assert torch.equal(likelier.decode(), quantize(weight, bits=bits, distribution=name).decode())


def test_by_hand():
    """Mean magnitude 1: Laplace weights are clipped at 3.90, and 3 bits have 3 steps on either side."""
    weight = torch.tensor([[0.5] * 15 + [8.5]])
    code = quantize(weight, bits=3, distribution="laplace")
    assert present(code.scale).item() == pytest.approx(3.8972 / 3, rel=1e-4)
    assert code.codes.tolist() == [[3] * 15 + [6]]


def test_pruned_weights_are_left_out_of_the_means():
    weight, kept = half_kept(normal(6, 200))
    code = apply(weight, kept, distribution="normal", granularity="channel")
    for row, scale in zip(
        [row[mask] for row, mask in zip(weight, kept, strict=True)], present(code.scale), strict=True
    ):
        clip = min(2.5592 * float(row.double().square().mean().sqrt()), float(row.abs().max()))
        assert scale.item() == pytest.approx(clip / 7, rel=1e-3)


@given(weight=matrices(), bits=st.integers(2, 8), granularity=st.sampled_from(["tensor", "channel", "group"]))
def test_the_range_never_exceeds_the_weights(weight, bits, granularity):
    code = quantize(weight, bits=bits, granularity=granularity, group_size=5)
    assert float(code.decode().abs().max()) <= float(weight.abs().max()) * (1 + 1e-6)
    assert (code.decode()[weight == 0] == 0).all()


@pytest.mark.parametrize("distribution", ["likelier", "laplace", "normal"])
def test_the_preview_has_the_methods_scale(distribution):
    for weight in (normal(50, 60), laplace(5000), torch.zeros(3, 4)):
        (entry,) = preview([WeightIndex.build(weight)], distribution=distribution) or []
        scale = present(quantize(weight, distribution=distribution).scale).item()
        assert np.diff(entry.levels) == pytest.approx(scale, rel=1e-6)
