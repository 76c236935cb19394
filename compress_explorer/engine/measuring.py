"""On what a model is measured, and when an estimate is precise enough to stop."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from compress_explorer.engine.growing import GrowingScores
from compress_explorer.engine.scores import FIRST_LOOK, Scores, next_look
from compress_explorer.engine.summary import summarize, summarize_look, summarize_stopped
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
        baseline: the baseline's scores, measured as far as the variants are.
        precision: the half-width, of the interval of the difference on the whole split, at which to stop; None: never.
    """

    task: Task
    split: str
    baseline: GrowingScores
    precision: float | None

    @property
    def total(self) -> int:
        """How many samples the split has."""
        return self.baseline.total

    def summary(self, scores: Scores) -> Evaluation:
        """The evaluation on the samples so far."""
        amount_to = summarize_look if self.precision is None else summarize_stopped
        return amount_to(scores, self.baseline.first(len(scores)), self.total, self.split)

    def next_look(self, seen: int) -> int:
        """After how many samples the evaluation is looked at next."""
        return next_look(seen) if self.precision is None else seen + FIRST_LOOK

    def evaluation(self, looks: Iterator[Scores]) -> Evaluation:
        """The evaluation at the first of the looks that is enough."""
        return next(filter(self.is_enough, map(self.summary, looks)))

    def unchanged(self) -> Evaluation:
        """The evaluation of what computes the same as the baseline."""
        return self.evaluation(self.baseline.looks(self.next_look))

    def uncompressed(self) -> Evaluation:
        """The baseline's own evaluation, on as many samples as the variant that needed most."""
        return summarize(self.baseline.known, None, self.total, self.split)

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
