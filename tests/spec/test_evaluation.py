"""Intervals and evaluations as data."""

from dataclasses import FrozenInstanceError, replace

import pytest

from compress_explorer.spec.evaluation import Evaluation, Interval

EVALUATION = Evaluation(value=0.9, interval=Interval(0.88, 0.92), count=100, total=400, split="test")


def test_half_width_is_half_the_distance_of_the_ends():
    assert Interval(0.25, 0.75).half_width == 0.25
    assert Interval(-0.5, 0.25).half_width == 0.375
    assert Interval(0, 1).confidence == 0.95


@pytest.mark.parametrize(
    ("other", "overlap"),
    [
        ((0.5, 0.6), True),
        ((0.4, 0.5), True),
        ((0.7, 0.9), True),
        ((0.1, 0.8), True),
        ((0.1, 0.49), False),
        ((0.71, 0.8), False),
    ],
)
def test_intervals_that_touch_overlap(other, overlap):
    first, second = Interval(0.5, 0.7), Interval(*other)
    assert first.overlaps(second) == overlap
    assert second.overlaps(first) == overlap


def test_an_evaluation_is_exact_when_all_samples_were_used():
    assert not EVALUATION.exact
    assert replace(EVALUATION, count=400).exact


@pytest.mark.parametrize(
    ("low", "high", "within"),
    [(-0.01, 0.01, True), (0.0, 0.02, True), (-0.02, 0.0, True), (0.001, 0.02, False), (-0.02, -0.001, False)],
)
def test_within_noise_is_whether_the_paired_interval_holds_zero(low, high, within):
    assert replace(EVALUATION, difference=0.0, difference_interval=Interval(low, high)).within_noise == within


def test_within_noise_needs_a_baseline():
    with pytest.raises(ValueError, match=r"no baseline; pass baseline= to evaluate"):
        _ = EVALUATION.within_noise


def test_results_are_frozen():
    with pytest.raises(FrozenInstanceError):
        EVALUATION.value = 1.0  # type: ignore[misc]
    assert replace(EVALUATION) == EVALUATION
    assert hash(EVALUATION) == hash(replace(EVALUATION))
