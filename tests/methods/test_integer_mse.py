"""The search for the clipping range of least squared error against trying all of them in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from torch import Tensor

from compress_explorer.methods import integer, integer_mse
from compress_explorer.methods.code import Code
from compress_explorer.methods.integer_mse import apply
from tests.methods.cases import WEIGHTS, all_kept, matrices, normal, present, sqnr_db
from tests.methods.test_integer_percentile import groups_of

schemes = pytest.mark.parametrize("scheme", ["symmetric", "affine"])


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def squared_error(weight: Tensor, code: Code) -> float:
    return float((weight.double() - code.decode().double()).square().sum())


def brute(values: np.ndarray, bits: int, scheme: str) -> tuple[float, np.ndarray]:
    """The full range's scale, and the squared error at i/200 of it for i = 1..200, in float64."""
    values = values.astype(np.float64)
    low, high = min(values.min(), 0), max(values.max(), 0)
    if scheme == "symmetric":
        lowest, highest = -(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1
        scale, zero = max(-low, high) / highest, 0
    else:
        lowest, highest = 0, 2**bits - 1
        scale = (high - low) / highest
        zero = np.round(-low / scale) if scale else 0
    step = (scale or 1.0) * np.arange(1, 201)[:, None] / 200
    decoded = step * (np.clip(np.round(values / step) + zero, lowest, highest) - zero)
    return scale, np.square(values - decoded).sum(axis=1)


@schemes
@pytest.mark.parametrize(("granularity", "group_size", "bits"), [("tensor", 1, 4), ("channel", 1, 2), ("group", 7, 3)])
@pytest.mark.parametrize(
    "name", ["single", "odd", "one-zero-channel", "negative-only", "zeros", "ties", "tiny", "huge", "outlier"]
)
def test_no_candidate_is_better(name, bits, granularity, group_size, scheme):
    weight = WEIGHTS[name]
    code = quantize(weight, bits=bits, granularity=granularity, group_size=group_size, scheme=scheme)
    groups = groups_of(weight, granularity, group_size)
    decoded = groups_of(code.decode(), granularity, group_size)
    for group, result, scale in zip(groups, decoded, present(code.scale).flatten().tolist(), strict=True):
        full, errors = brute(group.numpy(), bits, scheme)
        error = float((group.double() - result.double()).square().sum())
        assert error <= errors.min() * (1 + 1e-4) + 1e-10 * float(group.double().square().sum())
        if full:
            place = scale / full * 200
            assert place == pytest.approx(round(place), rel=1e-5)
            assert 1 <= round(place) <= 200


@schemes
@pytest.mark.parametrize("bits", [1, 3, 5, 8])
def test_the_choice_is_that_of_the_brute_search(bits, scheme):
    if bits == 1 and scheme == "symmetric":
        return  # two's complement; its search is covered by the next test
    for seed in range(2):
        weight = normal(20, 200, seed=seed)
        full, errors = brute(weight.numpy().ravel(), bits, scheme)
        scale = present(quantize(weight, bits=bits, scheme=scheme).scale).item()
        assert scale == pytest.approx(full * (errors.argmin() + 1) / 200, rel=1e-6)


@schemes
@given(weight=matrices(), bits=st.integers(1, 8), granularity=st.sampled_from(["tensor", "channel", "group"]))
def test_the_error_is_never_larger_than_without_clipping(scheme, weight, bits, granularity):
    values = {"bits": bits, "scheme": scheme, "granularity": granularity, "group_size": 5}
    full = squared_error(weight, integer.apply(weight, all_kept(weight), **values))
    assert squared_error(weight, quantize(weight, **values)) <= full * (1 + 1e-4)


def test_by_hand():
    """2 bits: levels -c, 0, c. The weights of size 1 outnumber the 2; c = 1.06 has the least error, (97 + .94²)..."""
    weight = torch.tensor([[1.0, -1.0] * 8 + [2.0]])
    code = quantize(weight, bits=2)  # 16 (c - 1)² + (2 - c)² is least at c = 18/17 = 1.059, of the grid at 1.06
    assert present(code.scale).item() == pytest.approx(1.06)


def test_of_equal_errors_the_widest_range_wins():
    assert present(quantize(torch.tensor([[0.0, 7.0, -7.0]]), bits=4).scale).item() == 1.0


@pytest.mark.parametrize("together", [50, 400])
def test_large_and_many_weights_are_searched_in_pieces(together, monkeypatch):
    """More weights than are worked on at once, in one group or in several: the same choice as by brute force."""
    monkeypatch.setattr(integer_mse, "_CHUNK", together)
    weight = normal(6, 150)
    for granularity in ("tensor", "channel"):
        code = quantize(weight, granularity=granularity)
        for group, scale in zip(groups_of(weight, granularity, 1), present(code.scale).flatten().tolist(), strict=True):
            full, errors = brute(group.numpy(), 4, "symmetric")
            assert scale == pytest.approx(full * (errors.argmin() + 1) / 200, rel=1e-6)


def test_normal_weights_are_clipped_where_theory_says():
    """The step of least expected error for 15 levels, by integration over the normal density."""
    x = np.linspace(-7, 7, 20_001)
    density = stats.norm.pdf(x) * (x[1] - x[0])

    def noise(step: float) -> float:
        return float(((x - step * np.clip(np.round(x / step), -7, 7)) ** 2 * density).sum())

    best = optimize.minimize_scalar(noise, bounds=(0.2, 0.6), method="bounded")
    weight = normal(300, 1000)
    code = quantize(weight, bits=4)
    assert present(code.scale).item() == pytest.approx(best.x, rel=0.03)
    assert sqnr_db(weight, code.decode()) == pytest.approx(-10 * np.log10(best.fun), abs=0.05)
