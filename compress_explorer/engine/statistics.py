"""Intervals for a metric and for its paired difference to a baseline."""

import math
from statistics import NormalDist

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
    return Interval(max(0.0, centre - half), min(1.0, centre + half), confidence)


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

    With b samples gained and c lost of n: (b - c)/n with standard error sqrt(b + c - (b - c)^2/n)/n. Where no sample
    differs that error is zero although the population's need not be; the half width is then the largest rate of
    differing samples that n equal ones do not contradict, 1 - (1 - confidence)^(1/n), close to 3/n.

    Args:
        differences: score minus baseline's score on the same sample, [n] with n >= 1.
        confidence: the two-sided confidence.
    """
    values = differences.to(torch.float64)
    count = len(values)
    mean = float(values.mean())
    if not bool(values.any()):
        half = 1 - (1 - confidence) ** (1 / count)
    else:
        half = z_value(confidence) * float(values.std(correction=0)) / math.sqrt(count)
    return Interval(mean - half, mean + half, confidence)
