"""SmoothQuant, AWQ and cross-layer equalization, against loops written from the papers' formulas."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from compress_explorer.methods import awq, bias_correction, cross_layer_equalization, integer, smoothquant
from compress_explorer.methods.evidence import InputStatistics, LayerBefore, Pair
from tests.methods.cases import all_kept, half_kept, inputs_like, matrices, normal, present, statistics_of


def windowed(inputs: Tensor, window: int) -> InputStatistics:
    """Statistics of input vectors, float64 [g, m, n], whose neighbouring columns see one channel."""
    return InputStatistics(**{**vars(statistics_of(inputs)), "window": window})


# SmoothQuant.


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize(("groups", "window"), [(1, 1), (1, 3), (2, 3), (4, 1)])
def test_scales_are_those_of_the_formula(groups, window, alpha):
    channels, features = 4 * groups, 2
    weight = normal(channels, features * window)
    inputs = inputs_like(features * window, groups=groups)
    found = present(smoothquant.apply(weight, all_kept(weight), windowed(inputs, window), alpha=alpha).divide)
    for feature in range(groups * features):
        group, own = divmod(feature, features)
        columns = range(own * window, (own + 1) * window)
        rows = range(group * 4, (group + 1) * 4)
        largest_input = max(abs(float(value)) for column in columns for value in inputs[group, :, column])
        largest_weight = max(abs(float(weight[row, column])) for row in rows for column in columns)
        assert float(found[feature]) == pytest.approx(largest_input**alpha / largest_weight ** (1 - alpha), rel=1e-5)


def test_half_way_the_peaks_of_input_and_weights_become_equal():
    weight, inputs = normal(6, 8), inputs_like(8)
    scale = present(smoothquant.apply(weight, all_kept(weight), statistics_of(inputs), alpha=0.5).divide).double()
    torch.testing.assert_close(inputs[0].abs().amax(0) / scale, (weight * scale).abs().amax(0), rtol=1e-5, atol=0)


def test_features_that_are_always_zero_or_meet_zeros_are_left_alone():
    weight, inputs = normal(6, 4), inputs_like(4)
    weight[:, 1], inputs[:, :, 2] = 0, 0
    scale = present(smoothquant.apply(weight, all_kept(weight), statistics_of(inputs)).divide)
    assert scale[1] == scale[2] == 1
    assert scale[0] != 1


@given(weight=matrices(), alpha=st.floats(0, 1))
def test_scales_are_positive_and_finite(weight, alpha):
    statistics = statistics_of(inputs_like(weight.shape[1]))
    scale = present(smoothquant.apply(weight, all_kept(weight), statistics, alpha=alpha).divide)
    assert scale.shape == (weight.shape[1],)
    assert ((scale >= 1e-5) & (scale <= 1e5)).all()


# AWQ.


def searched(weight: Tensor, inputs: Tensor, bits: int, group_size: int, points: int) -> tuple[float, list[float]]:
    """The least mean squared error of the output over the grid of exponents, and all of them, by a plain loop.

    Args:
        inputs: float64 [m, n].
    """
    magnitude = inputs.abs().mean(dim=0)
    errors = []
    for point in range(points):
        scale = magnitude ** (point / points)
        scale = scale / math.sqrt(float(scale.max()) * float(scale.min()))
        decoded = torch.zeros_like(weight, dtype=torch.float64)
        for row in range(len(weight)):
            for start in range(0, weight.shape[1], group_size):
                group = weight[row, start : start + group_size].double() * scale[start : start + group_size]
                step = float(group.abs().max()) / (2 ** (bits - 1) - 1)
                decoded[row, start : start + group_size] = (group / step).round() * step
        output = inputs @ (decoded / scale - weight.double()).T
        errors.append(float(output.square().sum(dim=1).mean()))
    return min(errors), errors


@pytest.mark.parametrize(("bits", "group_size"), [(3, 4), (4, 16), (2, 5)])
def test_the_output_error_is_the_least_of_the_grid(bits, group_size):
    weight, inputs = normal(5, 12), inputs_like(12, vectors=40)
    inputs[:, :, 3] *= 20
    change = awq.apply(weight, all_kept(weight), statistics_of(inputs), bits=bits, group_size=group_size)
    assert change.code is not None
    scale = present(change.divide)
    output = inputs[0] @ (change.code.decode().double() / scale - weight.double()).T
    least, errors = searched(weight, inputs[0], bits, group_size, 20)
    assert float(output.square().sum(dim=1).mean()) == pytest.approx(least, rel=1e-3)
    assert least < errors[0]  # scaling helps here


def test_the_error_that_is_compared_is_the_mean_square_of_the_output():
    difference = normal(6, 4).double()
    inputs = inputs_like(4, groups=2)
    outputs = torch.cat([inputs[0] @ difference[:3].T, inputs[1] @ difference[3:].T], dim=1)
    expected = float(outputs.square().sum(dim=1).mean())
    assert awq.output_error(difference, statistics_of(inputs)) == pytest.approx(expected)


def test_one_point_is_rounding_to_the_nearest():
    weight = normal(5, 12)
    change = awq.apply(weight, all_kept(weight), statistics_of(inputs_like(12)), points=1, group_size=4)
    plain = integer.apply(weight, all_kept(weight), bits=4, granularity="group", group_size=4)
    assert change.code is not None
    assert torch.equal(present(change.divide), torch.ones(12))
    assert torch.equal(change.code.codes, plain.codes)


def test_awq_copes_with_pruned_weights_and_dead_inputs():
    weight, kept = half_kept(normal(4, 10))
    inputs = inputs_like(10)
    inputs[:, :, 4] = 0
    for given_inputs in (inputs, torch.zeros_like(inputs)):
        change = awq.apply(weight, kept, statistics_of(given_inputs), group_size=5)
        assert change.code is not None
        assert torch.isfinite(change.code.decode()).all()
        assert (present(change.divide) > 0).all()


# Cross-layer equalization.


def scaled(weights: list[Tensor], pairs: list[Pair], iterations: int) -> list[Tensor]:
    scales = cross_layer_equalization.apply(
        weights, [all_kept(entry) for entry in weights], pairs, iterations=iterations
    )
    return [weight * rows[:, None] * columns for weight, (rows, columns) in zip(weights, scales, strict=True)]


def test_one_round_makes_both_ranges_the_geometric_mean():
    first, second = normal(6, 5), normal(4, 6, seed=1)
    one, other = scaled([first, second], [Pair(0, 1)], 1)
    expected = (first.abs().amax(1) * second.abs().amax(0)).sqrt()
    torch.testing.assert_close(one.abs().amax(1), expected)
    torch.testing.assert_close(other.abs().amax(0), expected)


def test_rounds_even_out_a_chain_of_layers():
    weights = [normal(5, 5, seed=seed) * torch.logspace(-1, 1, 5)[:, None] for seed in range(3)]
    pairs = [Pair(0, 1), Pair(1, 2)]
    after = scaled(weights, pairs, 1000)
    for first, second in itertools.pairwise(after):
        torch.testing.assert_close(first.abs().amax(1), second.abs().amax(0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_groups_and_kernels_share_the_scale_of_their_channel(groups):
    """A convolution behind another, depthwise too: the layers' function on real inputs stays."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 6, 1, bias=False), nn.Conv2d(6, 12, 2, groups=groups, bias=False)
    inputs = torch.randn(2, 3, 5, 5)
    expected = second(first(inputs).relu())
    matrices = [layer.weight.detach().reshape(len(layer.weight), -1) for layer in (first, second)]
    after = scaled(matrices, [Pair(0, 1, groups=groups, window=4)], 3)
    assert not torch.allclose(after[0], matrices[0])
    for layer, matrix in zip((first, second), after, strict=True):
        layer.weight.data = matrix.reshape(layer.weight.shape)
    torch.testing.assert_close(second(first(inputs).relu()), expected, rtol=1e-4, atol=1e-5)


def test_dead_channels_keep_their_scale():
    first, second = normal(3, 4), normal(2, 3, seed=1)
    first[0], second[:, 1] = 0, 0
    (rows, _), (_, columns) = cross_layer_equalization.apply(
        [first, second], [all_kept(first), all_kept(second)], [Pair(0, 1)]
    )
    assert rows[0] == rows[1] == 1
    assert (columns[:, :2] == 1).all()
    assert rows[2] != 1


# Bias correction.


@pytest.mark.parametrize("groups", [1, 3])
def test_the_shift_is_the_mean_difference_of_the_outputs(groups):
    before, inputs = normal(6, 5), inputs_like(5, groups=groups)
    weight = before.round()
    shift = bias_correction.apply(weight, all_kept(weight), LayerBefore(weight=before, inputs=statistics_of(inputs)))
    for channel in range(6):
        own = inputs[channel * groups // 6]
        lost = (own @ before[channel].double()).mean() - (own @ weight[channel].double()).mean()
        assert float(shift[channel]) == pytest.approx(float(lost), rel=1e-9, abs=1e-12)
