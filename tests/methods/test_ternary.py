"""Ternary weights against trying every threshold, torchao's optimum, and figures of theory."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torchao.prototype.parq.quant.lsbq import LSBQuantizer

from compress_explorer.methods.code import Code
from compress_explorer.methods.ternary import apply
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal, sqnr_db

granularities = pytest.mark.parametrize("granularity", ["tensor", "channel"])


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def squared_error(weight: Tensor, decoded: Tensor) -> float:
    return float((weight.double() - decoded.double()).square().sum())


def brute(values: np.ndarray) -> float:
    """The least squared error over every number k of the largest magnitudes, each with the α that suits it best."""
    magnitudes = np.sort(np.abs(values.astype(np.float64)))[::-1]
    rest = (magnitudes**2).sum()
    return min(
        rest,
        *(
            np.square(m := magnitudes[:k]).sum() - k * m.mean() ** 2 + rest - np.square(m).sum()
            for k in range(1, magnitudes.size + 1)
        ),
    )


@granularities
def test_no_threshold_has_a_smaller_error_than_the_best(granularity):
    for name, weight in WEIGHTS.items():
        with case(name):
            decoded = quantize(weight, threshold="best", granularity=granularity).decode()
            rows = [weight.flatten()] if granularity == "tensor" else list(weight)
            least = sum(brute(row.numpy()) for row in rows)
            assert squared_error(weight, decoded) <= least * (1 + 1e-6) + 1e-12 * float(weight.double().square().sum())


@pytest.mark.parametrize("seed", range(6))
def test_the_best_is_twice_torchaos_level(seed):
    """Its ternary quantizer finds the v that is half the mean of the magnitudes above v, and so half the best α.

    But it then takes v itself, not 2v, as the level, and rounds at v/2, not at v. (torchao 0.18.0)
    """
    weight = normal(6, 31, seed=seed) ** (1 + 2 * (seed % 2))
    code = quantize(weight, threshold="best")
    decoded, levels = LSBQuantizer(optimal=True).quantize(weight, 0)
    magnitudes, half = weight.abs(), float(levels.max())
    assert 2 * half == pytest.approx(float(magnitudes[magnitudes > half].mean()), rel=1e-5)
    assert squared_error(weight, code.decode()) < squared_error(weight, decoded)
    repaired = torch.where(magnitudes > half, 2 * half * weight.sign(), 0.0)
    assert squared_error(weight, code.decode()) <= squared_error(weight, repaired) * (1 + 1e-6)


@granularities
@pytest.mark.parametrize("factor", [0.0, 0.7, 0.75, 1.0, 5.0])
def test_a_factor_by_numpy(factor, granularity):
    for name, weight in WEIGHTS.items():
        with case(name):
            decoded = quantize(weight, factor=factor, granularity=granularity).decode().numpy()
            rows = weight.numpy().reshape(1, -1) if granularity == "tensor" else weight.numpy()
            for row, result in zip(rows.astype(np.float64), decoded.reshape(rows.shape), strict=True):
                delta = factor * np.abs(row).mean()
                large = np.abs(row) > delta
                alpha = np.abs(row[large]).mean() if large.any() else 0.0
                near = np.abs(np.abs(row) - delta) <= 1e-12 * delta  # equal magnitudes, whose mean is themselves
                np.testing.assert_allclose(result[~near], (alpha * np.sign(row) * large)[~near], rtol=1e-5, atol=1e-44)


def test_by_hand():
    """Mean magnitude 2; .75 of it is 1.5; the mean of 4 and 2.5 is 3.25. Best: S²/k is 16, 21.1, 20.0, 16."""
    weight = torch.tensor([[4.0, -2.5, 1.25, -0.25]])
    code = quantize(weight)
    assert code.decode().tolist() == [[3.25, -3.25, 0.0, 0.0]]
    assert (code.bits, code.offset, code.codes.tolist()) == (2, -1, [[2, 0, 1, 1]])
    assert quantize(weight, factor=0.5).decode().tolist()[0] == pytest.approx([7.75 / 3, -7.75 / 3, 7.75 / 3, 0.0])
    assert torch.equal(quantize(weight, threshold="best").decode(), code.decode())
    assert quantize(weight, factor=2.0).decode().tolist() == [[0.0] * 4]  # 4 does not exceed 4


def test_means_are_taken_over_the_kept_weights():
    weight, kept = half_kept(normal(6, 100))
    expected = quantize(weight[kept][None]).decode()[0]
    assert torch.equal(apply(weight, kept).decode()[kept], expected)
    assert (apply(weight, kept).decode()[~kept] == 0).all()


def test_the_greatest_and_not_the_least_is_the_optimum():
    """Where the paper prints argmin: the least S²/k would be a far worse choice."""
    weight = normal(50, 60)
    best = quantize(weight, threshold="best")
    magnitudes = weight.abs().flatten().sort(descending=True).values.double()
    objective = magnitudes.cumsum(0) ** 2 / torch.arange(1, 3001)
    error = float(magnitudes.square().sum() - objective.min())
    assert squared_error(weight, best.decode()) == pytest.approx(float(magnitudes.square().sum() - objective.max()))
    assert error > 2 * squared_error(weight, best.decode())


def test_laplace_weights_are_best_cut_at_their_mean_magnitude():
    """With E|w| = 1 the error is 2 - (Δ + 1)² e^-Δ: least at Δ = 1, with 5.78 dB; Δ = .75 has 5.58 dB."""
    weight = torch.from_numpy(np.random.default_rng(0).laplace(size=(1, 400_000)).astype(np.float32))
    best = quantize(weight, threshold="best").decode()
    assert sqnr_db(weight, best) == pytest.approx(5.78, abs=0.04)
    assert sqnr_db(weight, quantize(weight, factor=0.75).decode()) == pytest.approx(5.58, abs=0.04)
    assert float(weight[best != 0].abs().min()) == pytest.approx(1.0, abs=0.05)


@granularities
@given(weight=matrices(), factor=st.floats(0, 3))
def test_the_best_is_never_worse_than_a_factor(granularity, weight, factor):
    best = quantize(weight, threshold="best", granularity=granularity).decode()
    other = quantize(weight, factor=factor, granularity=granularity).decode()
    rounding = 1e-6 * float(weight.double().square().sum())
    assert squared_error(weight, best) <= squared_error(weight, other) + rounding


@given(weight=matrices())
def test_the_best_is_idempotent(weight):
    decoded = quantize(weight, threshold="best").decode()
    assume(bool(decoded.any()))
    torch.testing.assert_close(quantize(decoded, threshold="best").decode(), decoded, rtol=1e-6, atol=0)
