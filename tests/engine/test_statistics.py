"""Intervals against scipy, statsmodels, counts by hand, and simulated coverage."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.stats import binomtest, norm
from statsmodels.stats.proportion import proportion_confint

from compress_explorer.engine.statistics import (
    difference_of_proportions,
    mean_interval,
    paired_interval,
    t_interval,
    t_value,
    wilson,
    z_value,
)

COUNTS = [(right, count) for count in (1, 2, 7, 256, 1024, 10_000) for right in {0, 1, count // 3, count - 1, count}]


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_z_is_the_normal_quantile(confidence):
    assert z_value(confidence) == pytest.approx(norm.ppf(0.5 + confidence / 2), abs=1e-12)


def test_t_is_the_quantile_of_scipy_and_its_interval_that_of_a_t_test():
    for degrees in (*range(1, 13), 29, 100):
        for confidence in (0.5, 0.95, 0.999):
            expected = stats.t.ppf(0.5 + confidence / 2, degrees)
            assert t_value(degrees, confidence) == pytest.approx(expected, rel=1e-10), (degrees, confidence)
    for values in ([0.1, -0.2], [0.01, 0.02, 0.04, -0.01]):
        interval = t_interval(values)
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high)), values
    assert t_interval([0.25] * 3).half_width == 0


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("right", "count"), COUNTS)
def test_wilson_agrees_with_scipy_and_statsmodels(right, count, confidence):
    interval = wilson(right, count, confidence)
    expected = binomtest(right, count).proportion_ci(confidence, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    low, high = proportion_confint(right, count, alpha=1 - confidence, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-12)
    assert 0 <= interval.low <= right / count <= interval.high <= 1
    assert interval.confidence == confidence


def scores(gained: int, lost: int, count: int) -> torch.Tensor:
    """Paired differences of correctness."""
    return torch.tensor([1.0] * gained + [-1.0] * lost + [0.0] * (count - gained - lost))


def plain_error(gained: int, lost: int, count: int) -> float:
    """The standard error sqrt(b + c - (b - c)^2 / n) / n."""
    return math.sqrt(gained + lost - (gained - lost) ** 2 / count) / count


def test_the_plain_error_of_forty_disagreements_in_ten_thousand():
    assert plain_error(20, 20, 10_000) == pytest.approx(0.00063246, abs=1e-8)  # 0.063 percentage points
    # It is the standard error of the mean difference itself.
    assert float(scores(20, 20, 10_000).std(correction=0)) / 100 == pytest.approx(plain_error(20, 20, 10_000))
    # Unpaired, two accuracies of 98.4 % would be known to 0.177 points.
    assert math.sqrt(2 * 0.984 * 0.016 / 10_000) == pytest.approx(0.00177, abs=1e-5)


@pytest.mark.parametrize(
    ("gained", "lost", "count"), [(20, 20, 10_000), (0, 40, 10_000), (3, 17, 1024), (0, 1, 256), (0, 0, 256), (5, 0, 5)]
)
def test_the_paired_interval_has_one_gain_and_one_loss_more(gained, lost, count):
    interval = paired_interval(scores(gained, lost, count))
    assert interval == difference_of_proportions(gained, lost, count)
    centre, half = (gained - lost) / (count + 2), 1.959964 * plain_error(gained + 1, lost + 1, count + 2)
    assert (interval.low, interval.high) == pytest.approx((centre - half, centre + half), abs=1e-7)
    assert interval.low <= (gained - lost) / count <= interval.high


def test_with_many_disagreements_it_is_the_plain_normal_interval():
    interval = paired_interval(scores(250, 400, 10_000))
    assert interval.half_width == pytest.approx(1.959964 * plain_error(250, 400, 10_000), rel=2e-3)
    assert (interval.low + interval.high) / 2 == pytest.approx(-0.015, abs=1e-5)


@pytest.mark.parametrize("count", [1, 256, 1024, 10_000])
def test_where_nothing_differs_the_interval_is_about_three_samples_wide(count):
    interval = paired_interval(torch.zeros(count))
    assert interval.low == -interval.high
    assert interval.high == pytest.approx(2.77 / (count + 2), rel=1e-2)
    assert paired_interval(torch.zeros(count, dtype=torch.float64)) == interval


@pytest.mark.parametrize("count", [256, 1024, 2500, 10_000])
@pytest.mark.parametrize(
    ("gain", "loss"),
    [
        (0, 0.001),
        (0, 0.004),
        (0, 0.01),
        (0, 0.02),
        (0.002, 0.01),
        (0.01, 0.01),
        (0.001, 0.001),
        (0.02, 0.05),
        (0.05, 0.3),
    ],
)
def test_the_paired_interval_covers_the_truth_as_often_as_it_says(gain, loss, count):
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(count, [gain, loss, 1 - gain - loss], size=4000)
    pairs, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
    covered = 0
    for (gained, lost), number in zip(pairs.tolist(), times.tolist(), strict=True):
        interval = difference_of_proportions(gained, lost, count)
        covered += number * (interval.low <= gain - loss <= interval.high)
    assert covered / 4000 > 0.93


@pytest.mark.parametrize("count", [256, 1024, 10_000])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.98, 0.992])
def test_wilson_covers_the_truth_as_often_as_it_says(share, count):
    drawn, times = np.unique(np.random.default_rng(2).binomial(count, share, size=4000), return_counts=True)
    inside = [interval.low <= share <= interval.high for interval in (wilson(int(right), count) for right in drawn)]
    assert times[inside].sum() / 4000 > 0.93


@pytest.mark.parametrize("count", [256, 1024])
def test_the_interval_of_a_metric_that_is_not_binary_covers_its_mean(count):
    rng = np.random.default_rng(3)
    drawn = torch.tensor(rng.exponential(size=(1000, count)))
    for interval_of in (mean_interval, paired_interval):
        intervals = [interval_of(row) for row in drawn]
        covered = sum(interval.low <= 1 <= interval.high for interval in intervals)
        assert covered / 1000 > 0.92


def test_the_interval_of_a_metric_that_is_not_binary_is_normal():
    values = torch.tensor([0.25, 0.5, 0.75, 2.0])
    interval = mean_interval(values)
    error = float(np.std([0.25, 0.5, 0.75, 2.0])) / 2
    assert (interval.low, interval.high) == pytest.approx(
        (0.875 - 1.959964 * error, 0.875 + 1.959964 * error), abs=1e-6
    )
    assert paired_interval(values) == interval


def test_binary_scores_of_any_type_get_the_wilson_interval():
    for dtype in (torch.float32, torch.float64, torch.bool, torch.int64):
        assert mean_interval(torch.tensor([1, 0, 1, 1]).to(dtype)) == wilson(3, 4)
