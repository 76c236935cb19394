import math

import pytest

from compress_explorer.figures import text
from compress_explorer.spec.evaluation import Evaluation, Interval


def measured(difference: float | None, low: float = 0.0, high: float = 0.0) -> Evaluation:
    interval = None if difference is None else Interval(low, high)
    return Evaluation(0.9821, Interval(0.9795, 0.9847), 10_000, 10_000, "test", difference, interval)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (27_449, "27.4 KB"),
        (1_066_640, "1,066.6 KB"),
        (9_999_999, "10,000.0 KB"),
        (10_000_000, "10.0 MB"),
        (44_700_000, "44.7 MB"),
    ],
)
def test_bytes_in_words(count, words):
    assert text.in_bytes(count) == words


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (1_066_640, 27_420, "38.9x smaller"),
        (1000, 500, "2.00x smaller"),
        (1_000_000, 1000, "1,000x smaller"),
        (1000, 1500, "1.50x larger"),
        (1000, 1002, "same size"),
    ],
)
def test_ratio_in_words(before, after, words):
    assert text.ratio(before, after) == words


@pytest.mark.parametrize(
    ("number", "words"), [(0.4, "+0.40"), (-0.121, "−0.12"), (0, "0.00"), (-0.001, "0.00"), (-12, "−12.00")]
)
def test_signs_are_real_ones_and_zero_has_none(number, words):
    assert text.signed(number) == words


def test_an_evaluation_in_words():
    lost = measured(-0.0012, -0.0018, -0.0006)
    assert text.percent(lost.value) == "98.21 %"
    assert text.half_width(lost) == "± 0.26"
    assert text.difference(lost) == "−0.12 ± 0.06 points"
    assert text.verdict(lost) == ""


def test_within_noise_is_said_when_the_paired_interval_holds_zero():
    assert text.verdict(measured(-0.0002, -0.0006, 0.0002)) == "within noise"
    assert text.verdict(measured(None)) == ""
    assert text.difference(measured(None)) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [(31.42, "31.4 dB"), (-3.0, "−3.0 dB"), (math.inf, "no error"), (-math.inf, "−∞ dB"), (math.nan, text.NOTHING)],
)
def test_decibels_in_words(value, words):
    assert text.decibels(value) == words


def test_names_are_shown_and_not_interpreted():
    assert text.escape("<b>x</b> & $y$\n<a href='z'>") == ("&lt;b&gt;x&lt;/b&gt; &amp; &#36;y&#36; &lt;a href='z'&gt;")


def test_long_names_keep_both_ends():
    assert text.shorten("fc1.weight", 10) == "fc1.weight"
    short = text.shorten("encoder.layers.11.attention.weight", 20)
    assert len(short) == 20
    assert short.startswith("encoder.la")
    assert short.endswith("on.weight")
