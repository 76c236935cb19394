"""Half-quadratic quantization against quanto's optimizer."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optimum.quanto import qint2, qint4
from optimum.quanto.library.extensions import get_extension
from optimum.quanto.tensor.optimizers import HqqOptimizer
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.hqq import apply
from tests.methods.cases import all_kept, half_kept, matrices, normal, present


def unpack(packed: Tensor, bits: int) -> Tensor:
    """Numbers of 2 or 4 bits out of bytes: what quanto would compile a C++ extension for, in two minutes."""
    return torch.cat([(packed >> place) & (2**bits - 1) for place in range(0, 8, bits)])


get_extension("quanto_cpp")._lib = SimpleNamespace(unpack=unpack)


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def mean_error(weight: Tensor, code: Code) -> float:
    return float((weight.double() - code.decode().double()).abs().mean())


@pytest.mark.parametrize("kind", [qint2, qint4], ids=["2-bits", "4-bits"])
@pytest.mark.parametrize(
    ("scale", "values"),
    [
        (1.0, {}),
        (0.05, {}),
        (1.0, {"norm": 0.5, "beta": 100.0}),
        (0.05, {"norm": 1.0, "beta": 50.0, "iterations": 5}),
        (3.0, {"iterations": 1}),
    ],
    ids=str,
)
def test_agrees_with_quanto(scale, values, kind):
    for seed in range(3):
        weight = scale * normal(8, 192, seed=seed)
        groups = weight.reshape(-1, 64)
        given_names = {"norm": "lp_norm", "beta": "beta", "iterations": "iters"}
        settings = {given_names[name]: value for name, value in values.items()}
        oracle_scale, oracle_shift = HqqOptimizer(**settings).optimize(groups, kind, 0)
        code = quantize(weight, bits=kind.bits, group_size=64, **values)
        torch.testing.assert_close(present(code.scale).reshape(-1, 1), oracle_scale, rtol=1e-6, atol=0)
        shift = (present(code.zero_point) * present(code.scale)).reshape(-1, 1)
        torch.testing.assert_close(shift, oracle_shift, rtol=1e-5, atol=1e-6 * scale)


def test_without_iterations_the_levels_span_the_weights():
    """From 1 to 4 in three steps; zero is no level."""
    code = quantize(torch.tensor([[1.0, 2.2, 2.9, 4.0]]), bits=2, iterations=0)
    assert (present(code.scale).item(), present(code.zero_point).item()) == (1.0, -1.0)
    assert code.decode().tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_one_step_by_hand():
    """Errors of .1 shrink to nothing, for .1^-.3 / 10 is more: the zero point moves by the mean error, .06.

    Of errors of .2 there remain .2 - .2^-.3 / 10 = .0379; only the rest counts, 3 * .1621 / 5 = .0972.
    """
    code = quantize(torch.tensor([[1.0, 2.1, 2.1, 2.1, 4.0]]), bits=2, iterations=1)
    assert present(code.zero_point).item() == pytest.approx(-1.06)
    assert code.decode().tolist()[0] == pytest.approx([1.06, 2.06, 2.06, 2.06, 4.06])
    code = quantize(torch.tensor([[1.0, 2.2, 2.2, 2.2, 4.0]]), bits=2, iterations=1)
    assert present(code.zero_point).item() == pytest.approx(-1.0972, abs=1e-4)


def test_pruned_weights_are_left_out():
    weight, kept = half_kept(normal(6, 200))
    kept[3] = False
    weight = torch.where(kept, weight, 0.0)
    code = apply(weight, kept, granularity="tensor")
    alone = quantize(weight[kept][None], granularity="tensor")
    torch.testing.assert_close(present(code.scale), present(alone.scale))
    torch.testing.assert_close(present(code.zero_point), present(alone.zero_point))
    torch.testing.assert_close(code.decode()[kept], alone.decode()[0])
    rows = apply(weight, kept, granularity="channel")
    assert (present(rows.scale)[3].item(), present(rows.zero_point)[3].item()) == (1.0, 0.0)


def test_a_short_last_group_is_not_filled_up_with_zeros():
    weight = 5 + normal(3, 70)
    code = quantize(weight, group_size=64, iterations=0)
    for row, scale in zip(weight, present(code.scale), strict=True):
        assert scale[1].item() == pytest.approx(float(row[64:].max() - row[64:].min()) / 15)


@given(
    weight=matrices(largest=1e15), bits=st.integers(1, 8), granularity=st.sampled_from(["tensor", "channel", "group"])
)
def test_the_mean_error_is_never_larger_than_at_the_start(weight, bits, granularity):
    values = {"bits": bits, "granularity": granularity, "group_size": 5}
    start, end = (mean_error(weight, quantize(weight, **values, iterations=count)) for count in (0, 20))
    assert end <= start * (1 + 1e-5) + 1e-7 * float(weight.abs().max())


@pytest.mark.parametrize("value", [0.25, -1.7, 0.0])
def test_a_constant_is_exact(value):
    assert torch.equal(quantize(torch.full((2, 70), value)).decode(), torch.full((2, 70), value))


def test_outliers_are_paid_for_by_few():
    """Where a thousandth of the weights is far out, most come closer than by plain rounding to the same range."""
    weight = 0.1 * normal(40, 500)
    weight[:, 0] *= 10
    start = (weight - quantize(weight, granularity="tensor", bits=3, iterations=0).decode()).abs()
    end = (weight - quantize(weight, granularity="tensor", bits=3).decode()).abs()
    assert end.median() < start.median()
