"""On what a model is measured, and when an estimate is precise enough to stop."""

import math
from dataclasses import dataclass

from compress_explorer.engine.scores import FIRST_LOOK, Scores, next_look
from compress_explorer.engine.summary import summarize_look, summarize_stopped
from compress_explorer.engine.task import Task
from compress_explorer.spec.errors import ParameterError
from compress_explorer.spec.evaluation import Evaluation, Interval

OF_THE_DIFFERENCE = 0.05
"""A large difference need only be known to a twentieth of itself."""


def check_precision(precision: float | None) -> None:
    """Checks the half-width that a caller asks for.

    Raises:
        ParameterError: when it is not positive.
    """
    if precision is None:
        return
    if isinstance(precision, bool) or not isinstance(precision, (int, float)) or not 0 < precision < math.inf:
        raise ParameterError(
            f"precision={precision!r} must be a positive half-width in the metric's unit, e.g. 0.005 for half a point "
            "of accuracy, or None to measure all samples."
        )


@dataclass(frozen=True, eq=False)
class Measuring:
    """On what, and how far, a model, or variants of it, are measured.

    Attributes:
        task: the data and the metric.
        split: its name.
        baseline: the baseline's scores on the whole split.
        precision: the half-width, of the interval of the difference on the whole split, at which to stop; None: never.
    """

    task: Task
    split: str
    baseline: Scores
    precision: float | None

    @property
    def total(self) -> int:
        """How many samples the split has."""
        return len(self.baseline)

    def summary(self, scores: Scores) -> Evaluation:
        """The evaluation on the samples so far."""
        summarize = summarize_look if self.precision is None else summarize_stopped
        return summarize(scores, self.baseline, self.total, self.split)

    def next_look(self, seen: int) -> int:
        """After how many samples the evaluation is looked at next."""
        return next_look(seen) if self.precision is None else seen + FIRST_LOOK

    def is_enough(self, evaluation: Evaluation) -> bool:
        """Whether no further samples are needed."""
        return evaluation.exact or (self.precision is not None and _is_precise(evaluation, self.precision))


def _is_precise(evaluation: Evaluation, precision: float) -> bool:
    assert evaluation.difference_on_split is not None
    assert evaluation.difference is not None
    return is_narrow(evaluation.difference_on_split, evaluation.difference, precision)


def is_narrow(interval: Interval, difference: float, precision: float) -> bool:
    """Whether a difference is known to `precision`, or to a twentieth of itself."""
    return interval.half_width <= max(precision, OF_THE_DIFFERENCE * abs(difference))
