"""Ranges of a layer's input, against torchao's observers, numpy and exhaustive search."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor
from torchao.quantization.pt2e.observer import MinMaxObserver, MovingAverageMinMaxObserver

from compress_explorer.methods import activations, activations_dynamic
from compress_explorer.methods.evidence import InputValues
from compress_explorer.methods.uniform import UniformGrid
from tests.methods.cases import all_kept, matrices, normal, present, values_of

WEIGHT = normal(3, 4)

INPUTS: dict[str, Tensor] = {
    "both-signs": normal(40, 25),
    "behind-relu": normal(40, 25, seed=1).relu(),
    "negative": -normal(10, 9, seed=2).abs() - 1,
    "outlier": torch.cat([normal(20, 10, seed=3), torch.tensor([[50.0] + [0.1] * 9])]),
    "one-sample": normal(1, 30, seed=4),
    "one-value": torch.tensor([[0.7]]),
    "constant": torch.full((4, 4), 2.5),
}


def grid_of(values: InputValues, **settings: object) -> UniformGrid:
    change = activations.apply(WEIGHT, all_kept(WEIGHT), values, **settings)  # type: ignore[arg-type]
    assert change.divide is None
    assert change.code is None
    assert change.quantizer is not None
    assert change.quantizer.grid is not None
    return change.quantizer.grid


def rounded(values: Tensor, grid: UniformGrid) -> Tensor:
    """The nearest level of each value, by torch."""
    zero_point = torch.zeros(1) if grid.zero_point is None else grid.zero_point
    return torch.fake_quantize_per_tensor_affine(
        values.reshape(1, -1), grid.scale, zero_point.int(), grid.lowest, grid.highest
    )


def check_against(observer: Any, inputs: Tensor, grid: UniformGrid) -> None:
    for sample in inputs:
        observer(sample)
    scale, zero_point = observer.calculate_qparams()
    torch.testing.assert_close(grid.scale, scale, rtol=1e-5, atol=0)
    assert (0 if grid.zero_point is None else int(grid.zero_point)) == int(zero_point)


def options(bits: int, scheme: str) -> dict[str, object]:
    """torchao's words for our scheme."""
    if scheme == "affine":
        ends = {"dtype": torch.uint8, "qscheme": torch.per_tensor_affine, "quant_min": 0, "quant_max": 2**bits - 1}
    else:
        highest = 2 ** (bits - 1) - 1
        ends = {"dtype": torch.int8, "qscheme": torch.per_tensor_symmetric, "quant_min": -highest, "quant_max": highest}
    return ends


settings = pytest.mark.parametrize(
    ("name", "bits", "scheme"),
    [(name, bits, scheme) for name in INPUTS for bits in (2, 5, 8) for scheme in ("affine", "symmetric")],
)


@settings
def test_min_max_agrees_with_torchao(name, bits, scheme):
    grid = grid_of(values_of(INPUTS[name]), bits=bits, scheme=scheme)
    check_against(MinMaxObserver(**options(bits, scheme)), INPUTS[name], grid)


@settings
def test_the_moving_average_agrees_with_torchao(name, bits, scheme):
    """Sample by sample; its averaging constant is 1 minus our momentum."""
    for momentum in (0.0, 0.5, 0.9):
        found = grid_of(values_of(INPUTS[name]), bits=bits, scheme=scheme, observer="moving-average", momentum=momentum)
        observer = MovingAverageMinMaxObserver(averaging_constant=1 - momentum, **options(bits, scheme))
        check_against(observer, INPUTS[name], found)


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.9, 100.0])
def test_percentiles_are_those_of_numpy(name, percentile):
    values = INPUTS[name].double().numpy()
    symmetric = grid_of(values_of(INPUTS[name]), scheme="symmetric", observer="percentile", percentile=percentile)
    high = np.percentile(np.abs(values), percentile)
    assert float(symmetric.scale) == pytest.approx(high / 127, rel=1e-5) or high == 0
    affine = grid_of(values_of(INPUTS[name]), observer="percentile", percentile=percentile)
    low, high = (min(np.percentile(values, 100 - percentile), 0), max(np.percentile(values, percentile), 0))
    assert float(affine.scale) == pytest.approx((high - low) / 255, rel=1e-5) or high == low
    expected_zero = round(-low / float(affine.scale))
    assert abs(float(present(affine.zero_point)) - expected_zero) <= (0 if percentile in (99.9, 100.0) else 1)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize("name", ["both-signs", "behind-relu", "outlier", "one-value", "constant"])
def test_the_least_squared_error_is_that_of_a_search_over_all_ranges(name, scheme, bits):
    values = INPUTS[name]
    found = grid_of(values_of(values), bits=bits, scheme=scheme, observer="mse")
    errors = []
    for part in range(1, 101):
        clipped = InputValues(low=values.min()[None] * part / 100, high=values.max()[None] * part / 100, values=values)
        grid = grid_of(clipped, bits=bits, scheme=scheme)
        errors.append(float((rounded(values, grid).double() - values.flatten().double()).square().sum()))
    error = float((rounded(values, found).double() - values.flatten().double()).square().sum())
    assert error == pytest.approx(min(errors), rel=1e-4, abs=1e-10)


def test_an_outlier_is_clipped_by_least_squares_but_not_by_min_max():
    inputs = torch.cat([normal(100, 100), torch.tensor([[30.0] + [0.0] * 99])])
    clipped, whole = (grid_of(values_of(inputs), bits=3, observer=observer) for observer in ("mse", "min-max"))
    assert float(clipped.scale) < float(whole.scale) / 2


def test_ranges_of_zeros_have_the_scale_one():
    for observer in ("min-max", "moving-average", "percentile", "mse"):
        grid = grid_of(values_of(torch.zeros(3, 4)), observer=observer)
        assert float(grid.scale) == 1
        assert not rounded(torch.zeros(5), grid).any()


@given(inputs=matrices(largest=1e20))
def test_zero_is_a_level_and_no_value_in_the_range_moves_by_more_than_a_step(inputs):
    for scheme in ("affine", "symmetric"):
        grid = grid_of(values_of(inputs), bits=4, scheme=scheme)
        assert float(rounded(torch.zeros(1), grid)) == 0
        moved = (rounded(inputs, grid).double() - inputs.flatten().double()).abs().max()
        assert float(moved) <= float(grid.scale) * (1 + 1e-5)


def test_dynamic_quantization_looks_at_nothing():
    change = activations_dynamic.apply(WEIGHT, all_kept(WEIGHT), bits=3, scheme="symmetric")
    assert change.quantizer is not None
    assert (change.quantizer.bits, change.quantizer.scheme, change.quantizer.grid) == (3, "symmetric", None)
    assert change.divide is None
