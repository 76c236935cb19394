"""GPTQ and AdaRound against explicit inverses, exhaustive search and rounding to nearest."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from compress_explorer.methods import adaround, gptq, integer
from compress_explorer.methods.code import Code
from compress_explorer.methods.evidence import InputStatistics
from compress_explorer.methods.uniform_codes import levels_of
from compress_explorer.spec.errors import DataError
from tests.methods.cases import all_kept, half_kept, inputs_like, normal, output_error, present, statistics_of

schemes = pytest.mark.parametrize("scheme", ["symmetric", "affine"])


def nearest(weight: Tensor, **values: object) -> Code:
    return integer.apply(weight, all_kept(weight), **{"granularity": "channel", **values})  # type: ignore[arg-type]


def naive_obq(weight: Tensor, kept: Tensor, moment: np.ndarray, code: Code, order: list[int], damping: float) -> Tensor:
    """Optimal brain quantization in a fixed order: after each column, its row and column leave the inverse.

    No Cholesky factor, no blocks: the inverse over the columns that are left is computed anew for each.
    """
    levels = levels_of(code)
    scale, lowest, highest = levels.scale.numpy(), levels.lowest.numpy(), levels.highest.numpy()
    hessian = moment + damping * np.diag(moment).mean() * np.eye(len(moment))
    values = weight.double().numpy().copy()
    for turn, column in enumerate(order):
        left = order[turn:]
        inverse = np.linalg.inv(hessian[np.ix_(left, left)])
        rounded = np.clip(np.round(values[:, column] / scale[:, column]), lowest[:, column], highest[:, column])
        final = np.where(kept[:, column].numpy(), rounded * scale[:, column], 0.0)
        error = (values[:, column] - final) / inverse[0, 0]
        values[:, left] -= error[:, None] * inverse[0]
        values[:, column] = final
    return torch.from_numpy(values)


@schemes
@pytest.mark.parametrize("pruned", [False, True], ids=["dense", "pruned"])
@pytest.mark.parametrize(("granularity", "group_size"), [("channel", 128), ("group", 5)])
@pytest.mark.parametrize("order", ["natural", "activation"])
@pytest.mark.parametrize("bits", [2, 4])
def test_gptq_agrees_with_explicit_inverses(bits, order, granularity, group_size, pruned, scheme):
    weight, kept = half_kept(normal(6, 13)) if pruned else (normal(6, 13), all_kept(normal(6, 13)))
    statistics = statistics_of(inputs_like(13) * torch.linspace(0.5, 2, 13)[torch.arange(13) * 5 % 13])
    values = {"bits": bits, "scheme": scheme, "granularity": granularity, "group_size": group_size}
    moment = statistics.moment[0].numpy()
    turns = list(range(13)) if order == "natural" else np.argsort(-np.diag(moment)).tolist()
    expected = naive_obq(weight, kept, moment, nearest(weight, **values), turns, 0.02)
    code = gptq.apply(weight, kept, statistics, order=order, damping=0.02, **values)
    torch.testing.assert_close(code.decode().double(), expected, rtol=1e-6, atol=1e-9)
    assert not code.decode()[~kept].any()


def test_blocks_change_the_speed_and_not_the_result(monkeypatch):
    weight, statistics = normal(5, 300), statistics_of(inputs_like(300, vectors=400))
    whole = gptq.apply(weight, all_kept(weight), statistics, bits=3)
    monkeypatch.setattr(gptq, "BLOCK", 7)
    small = gptq.apply(weight, all_kept(weight), statistics, bits=3)
    assert int((whole.codes != small.codes).sum()) == 0


METHODS = pytest.mark.parametrize("method", [gptq, adaround], ids=["gptq", "adaround"])


@METHODS
@schemes
def test_independent_inputs_leave_nothing_to_make_up_for(scheme, method):
    """With a diagonal second moment each weight is alone: rounding to nearest is best."""
    weight = normal(6, 20)
    statistics = replace(statistics_of(inputs_like(20)), moment=torch.diag(torch.linspace(0.5, 2, 20).double())[None])
    code = method.apply(weight, all_kept(weight), statistics, bits=3, scheme=scheme)
    assert torch.equal(code.codes, nearest(weight, bits=3, scheme=scheme).codes)


@METHODS
@schemes
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_output_changes_less_than_by_rounding_to_nearest(bits, scheme, method):
    weight, statistics = normal(16, 64), statistics_of(inputs_like(64, vectors=200))
    code = method.apply(weight, all_kept(weight), statistics, bits=bits, scheme=scheme)
    plain = output_error(weight, nearest(weight, bits=bits, scheme=scheme).decode(), statistics)
    assert output_error(weight, code.decode(), statistics) < 0.75 * plain


@METHODS
def test_each_group_of_channels_is_a_layer_of_its_own(method):
    weight, inputs = normal(6, 9), inputs_like(9, groups=3)
    together = method.apply(weight, all_kept(weight), statistics_of(inputs), bits=3)
    alone = [
        method.apply(rows, all_kept(rows), statistics_of(inputs[group : group + 1]), bits=3).decode()
        for group, rows in enumerate(weight.split(2))
    ]
    torch.testing.assert_close(together.decode(), torch.cat(alone))


@METHODS
def test_the_scale_of_the_inputs_does_not_matter(method):
    weight, inputs = normal(6, 20), inputs_like(20)
    one, other = (method.apply(weight, all_kept(weight), statistics_of(inputs * by), bits=3) for by in (1.0, 2.0**-12))
    assert torch.equal(one.codes, other.codes)


def with_dead_features() -> InputStatistics:
    inputs = inputs_like(20)
    inputs[:, :, [0, 7, 19]] = 0
    return statistics_of(inputs)


def test_gptq_sets_weights_of_dead_features_to_zero_and_treats_the_others_as_if_they_were_not_there():
    weight, statistics = normal(6, 20), with_dead_features()
    code = gptq.apply(weight, all_kept(weight), statistics, bits=8)
    assert not code.decode()[:, [0, 7, 19]].any()
    alive = [column for column in range(20) if column not in (0, 7, 19)]
    moment = statistics.moment[0].numpy()[np.ix_(alive, alive)]
    scales = nearest(weight, bits=8)
    part = replace(scales, codes=scales.codes[:, alive], group_size=17)
    expected = naive_obq(weight[:, alive], all_kept(weight[:, alive]), moment, part, list(range(17)), 0.01)
    torch.testing.assert_close(code.decode()[:, alive].double(), expected, rtol=1e-6, atol=1e-9)


def test_adaround_rounds_weights_of_dead_features_to_nearest():
    weight = normal(6, 20)
    code = adaround.apply(weight, all_kept(weight), with_dead_features(), bits=3, iterations=500)
    assert torch.equal(code.codes[:, [0, 7, 19]], nearest(weight, bits=3).codes[:, [0, 7, 19]])


@METHODS
def test_inputs_that_were_never_seen_are_no_error(method):
    weight, statistics = normal(4, 6), statistics_of(inputs_like(6) * 0)
    decoded = method.apply(weight, all_kept(weight), statistics, bits=3).decode()
    expected = torch.zeros(4, 6) if method is gptq else nearest(weight, bits=3).decode()
    assert torch.equal(decoded, expected)


# Damping.


def indefinite() -> InputStatistics:
    """No second moment at all: one eigenvalue is -1."""
    return replace(statistics_of(inputs_like(2)), moment=torch.tensor([[[1.0, 2.0], [2.0, 1.0]]]).double())


def test_damping_is_raised_until_the_second_moment_is_positive_definite():
    weight = torch.tensor([[0.9, -0.4]])
    raised = gptq.apply(weight, all_kept(weight), indefinite(), bits=3, damping=0.01)  # 0.01, 0.1, 1, 10
    enough = gptq.apply(weight, all_kept(weight), indefinite(), bits=3, damping=10.0)
    assert torch.equal(raised.codes, enough.codes)


@pytest.mark.parametrize("statistics", [indefinite(), replace(indefinite(), moment=torch.full((1, 2, 2), torch.nan))])
def test_an_error_names_damping_where_no_more_of_it_helps(statistics):
    weight = torch.tensor([[0.9, -0.4]])
    with pytest.raises(DataError, match=r"damping=0\.0001, nor with up to 1000 times"):
        gptq.apply(weight, all_kept(weight), statistics, damping=0.0001)


# AdaRound against every choice there is.


def best_rounding(weight: Tensor, statistics: InputStatistics, code: Code) -> list[float]:
    """The smallest output error of each row over all 2^n ways to round it up and down."""
    levels = levels_of(code)
    ups = torch.tensor(list(itertools.product([0.0, 1.0], repeat=weight.shape[1])), dtype=torch.float64)
    found = []
    for row, scale, low, high in zip(weight.double(), levels.scale, levels.lowest, levels.highest, strict=True):
        numbers = ((row / scale).floor() + ups).clamp(low, high)
        change = numbers * scale - row
        found.append(float(((change @ statistics.moment[0]) * change).sum(dim=1).min()))
    return found


@schemes
def test_adaround_comes_near_the_best_of_all_roundings(scheme):
    """It closes three quarters of the gap between rounding to nearest and the optimum, and never passes either."""
    reached = plain = best = 0.0
    for seed in range(3):
        weight, statistics = normal(8, 10, seed=seed), statistics_of(inputs_like(10, seed=seed))
        code = nearest(weight, bits=3, scheme=scheme)
        learned = adaround.apply(weight, all_kept(weight), statistics, bits=3, scheme=scheme).decode()
        for row, optimum in zip(range(8), best_rounding(weight, statistics, code), strict=True):
            one = slice(row, row + 1)
            error = output_error(weight[one], learned[one], statistics)
            to_nearest = output_error(weight[one], code.decode()[one], statistics)
            assert optimum * (1 - 1e-6) <= error <= to_nearest * (1 + 1e-6)
            reached, plain, best = reached + error, plain + to_nearest, best + optimum
    assert plain - reached > 0.75 * (plain - best)


def test_adaround_moves_no_weight_further_than_to_its_neighbouring_levels():
    weight, kept = half_kept(normal(8, 30))
    code = adaround.apply(weight, kept, statistics_of(inputs_like(30)), bits=4, granularity="group", group_size=7)
    steps = present(code.scale).repeat_interleave(7, dim=1)[:, :30]
    assert ((code.decode() - weight).abs() <= steps * (1 + 1e-6)).all()
    assert not code.decode()[~kept].any()


def test_more_iterations_lower_the_error():
    weight, statistics = normal(16, 64), statistics_of(inputs_like(64, vectors=200))
    errors = [
        output_error(
            weight, adaround.apply(weight, all_kept(weight), statistics, iterations=count).decode(), statistics
        )
        for count in (10, 100, 1000)
    ]
    assert errors == sorted(errors, reverse=True)
