"""What scores amount to: the metric and its difference to the baseline, with the intervals they deserve."""

from compress_explorer.engine.scores import Scores, looks_before
from compress_explorer.engine.statistics import CONFIDENCE, mean_interval, on_split, paired_interval
from compress_explorer.spec.evaluation import Evaluation

STOPPED_BY_WIDTH = 0.96
"""The confidence of an interval whose width decided when to stop, so that it holds with 95 %.

Stopped when it is narrow enough, an interval is met more often where chance made it narrow. That costs up to one point
(simulated in tests/engine/test_repeated_looks.py); the value itself has no part in when to stop, and so the looks need
not share the error."""


def summarize(
    scores: Scores, baseline: Scores | None, total: int, split: str, confidence: float = CONFIDENCE
) -> Evaluation:
    """The evaluation that `scores` amount to, paired with the baseline's on the same samples.

    Args:
        scores: of the model, on at least one sample.
        baseline: of the uncompressed model on at least as many samples of the same order, or None.
        total: how many samples the split has.
        split: its name.
        confidence: of the intervals.
    """
    count = len(scores)
    difference = difference_interval = whole = flips = None
    if baseline is not None:
        paired = scores.scores - baseline.scores[:count]
        difference, difference_interval = float(paired.double().mean()), paired_interval(paired, confidence)
        whole = on_split(difference_interval, difference, count, total)
        if scores.predictions is not None and baseline.predictions is not None:
            flips = float((scores.predictions != baseline.predictions[:count]).double().mean())
    return Evaluation(
        value=float(scores.scores.double().mean()),
        interval=mean_interval(scores.scores, confidence),
        count=count,
        total=total,
        split=split,
        difference=difference,
        difference_interval=difference_interval,
        difference_on_split=whole,
        flips=flips,
    )


def summarize_look(scores: Scores, baseline: Scores, total: int, split: str) -> Evaluation:
    """`summarize` for one of the `looks_before` the whole split is measured, or for the whole split.

    Whoever looks at an estimate again and again, and stops when it pleases, meets a wrong interval more often than
    one time in twenty. So the intervals of the looks share the error among them (Bonferroni): all of them together hold
    with 95 %, at whichever one stops.
    """
    looks = looks_before(total) if len(scores) < total else 1
    return summarize(scores, baseline, total, split, 1 - (1 - CONFIDENCE) / looks)


def summarize_stopped(scores: Scores, baseline: Scores, total: int, split: str) -> Evaluation:
    """`summarize` for measuring that stops when the interval is narrow enough, see `STOPPED_BY_WIDTH`."""
    return summarize(scores, baseline, total, split, STOPPED_BY_WIDTH if len(scores) < total else CONFIDENCE)
