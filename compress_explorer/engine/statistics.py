"""Intervals for a metric and for its paired difference to a baseline."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

import torch
from torch import Tensor

from compress_explorer.spec.evaluation import Interval

CONFIDENCE = 0.95


def z_value(confidence: float = CONFIDENCE) -> float:
    """The two-sided standard normal quantile, 1.96 for 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(right: float, count: int, confidence: float = CONFIDENCE) -> Interval:
    """The score interval of a proportion (Wilson 1927).

    Args:
        right: how many of the samples are right.
        count: how many samples there are, at least 1.
        confidence: the two-sided confidence.
    """
    z = z_value(confidence)
    share = right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    # Where none or all are right one end is the share itself, but for rounding.
    return Interval(max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), confidence)


def mean_interval(scores: Tensor, confidence: float = CONFIDENCE) -> Interval:
    """The interval of the mean score in the population: Wilson for scores of 0 and 1, else normal.

    Args:
        scores: one score a sample, [n] with n >= 1.
        confidence: the two-sided confidence.
    """
    values = scores.to(torch.float64)
    if bool(((values == 0) | (values == 1)).all()):
        return wilson(float(values.sum()), len(values), confidence)
    mean = float(values.mean())
    half = z_value(confidence) * float(values.std(correction=0)) / math.sqrt(len(values))
    return Interval(mean - half, mean + half, confidence)


def paired_interval(differences: Tensor, confidence: float = CONFIDENCE) -> Interval:
    """The interval of the mean paired difference in the population.

    For differences of scores of 0 and 1 that of `difference_of_proportions`, else normal.

    Args:
        differences: score minus baseline's score on the same sample, [n] with n >= 1.
        confidence: the two-sided confidence.
    """
    values = differences.to(torch.float64)
    count = len(values)
    if bool(((values == 0) | (values.abs() == 1)).all()):
        return difference_of_proportions(int((values > 0).sum()), int((values < 0).sum()), count, confidence)
    mean = float(values.mean())
    half = z_value(confidence) * float(values.std(correction=0)) / math.sqrt(count)
    return Interval(mean - half, mean + half, confidence)


def on_split(population: Interval, mean: float, count: int, total: int) -> Interval:
    """The interval of a mean on the whole split, from that in the population.

    What is measured already is known: with n of N samples, drawn without replacement, the standard error is
    sqrt((N - n)/(N - 1)) of that for the population (the finite population correction: Cochran, Sampling Techniques,
    3rd ed. 1977, section 2.6).

    Args:
        population: of the mean, from the samples so far.
        mean: of the samples so far.
        count: how many they are.
        total: how many samples the split has, at least `count`.
    """
    if count >= total:
        return Interval(mean, mean, population.confidence)
    centre = (population.low + population.high) / 2
    half = population.half_width * math.sqrt((total - count) / (total - 1))
    return Interval(centre - half, centre + half, population.confidence)


def difference_of_proportions(gained: int, lost: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """The interval of the difference of two proportions on the same samples (Bonett & Price 2012).

    With b samples gained and c lost of n the difference is (b - c)/n and its standard error
    sqrt(b + c - (b - c)^2/n)/n. That normal interval is too narrow where few samples differ: it covers the truth in
    88 % of cases, not 95 %, where five of 256 are lost on average, and has no width where none differs. One gain and
    one loss more, of two samples more, mend that (J. Educ. Behav. Stat. 37(4), 479-488); where many differ they
    hardly matter.

    Args:
        gained: samples that are right now and were wrong before.
        lost: samples that are wrong now and were right before.
        count: all samples, at least 1.
        confidence: the two-sided confidence.
    """
    gained, lost, count = gained + 1, lost + 1, count + 2
    centre = (gained - lost) / count
    half = z_value(confidence) * math.sqrt(gained + lost - (gained - lost) ** 2 / count) / count
    return Interval(centre - half, centre + half, confidence)


def t_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Student's interval of the mean of independent, normally distributed values: mean ± t s / √n.

    Args:
        values: at least two.
        confidence: the two-sided confidence.
    """
    mean = fmean(values)
    half = t_value(len(values) - 1, confidence) * stdev(values) / math.sqrt(len(values))
    return Interval(mean - half, mean + half, confidence)


def t_value(degrees: int, confidence: float = CONFIDENCE) -> float:
    """The two-sided quantile of Student's t distribution, 4.303 for 2 degrees of freedom and 0.95."""
    low, high = 0.0, 1.0
    while _t_within(high, degrees) < confidence:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _t_within(middle, degrees) < confidence else (low, middle)
    return high


def _t_within(t: float, degrees: int) -> float:
    """P(|T| <= t): the finite sums of Abramowitz & Stegun 1964, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(degrees))
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for power in range(2 + odd, degrees + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (power - 1) / power
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total
