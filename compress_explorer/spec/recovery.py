"""What accuracy a compressed model has at once, and what it gets back by which means."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress_explorer.spec.evaluation import Evaluation, Interval
from compress_explorer.spec.recipe import Recipe
from compress_explorer.spec.size import SizeReport

if TYPE_CHECKING:
    import pandas as pd

ONE_SHOT = "One-shot"
"""The name of the point that nothing was done for after compression."""


@dataclass(frozen=True)
class RecoveryPoint:
    """A compressed model with what was done to get accuracy back.

    Attributes:
        name: `ONE_SHOT`, or what was done in words, e.g. "Fine-tuning".
        recipe: all steps, those that bring accuracy back behind the others; every value filled in.
        size: in every accounting.
        evaluation: of the metric, paired with the uncompressed model.
        gain: mean of (score - one-shot score) on the same samples; None of the one-shot point itself.
        gain_interval: where that paired difference lies in the population; None where there is none.
    """

    name: str
    recipe: Recipe
    size: SizeReport
    evaluation: Evaluation
    gain: float | None = None
    gain_interval: Interval | None = None

    @property
    def gain_within_noise(self) -> bool:
        """Whether nothing may have been gained or lost against the one-shot point; true of that point itself."""
        return self.gain_interval is None or self.gain_interval.low <= 0 <= self.gain_interval.high


@dataclass(frozen=True)
class Recovery:
    """One recipe's model as it is, and after each means that brings accuracy back.

    Attributes:
        split: what was measured on.
        baseline: the uncompressed model's evaluation; None when it was stopped before that was known.
        points: the one-shot model first; fewer than asked for when it was stopped.
        complete: whether every point is there.
    """

    split: str
    baseline: Evaluation | None
    points: tuple[RecoveryPoint, ...]
    complete: bool

    @property
    def best(self) -> RecoveryPoint | None:
        """The point of highest metric, of equals the first; None when there is none."""
        return max(self.points, key=lambda point: point.evaluation.value, default=None)

    def to_frame(self) -> "pd.DataFrame":
        """A pandas table with one row a point: the metric with its interval, the differences, and the file's bytes."""
        import pandas as pd  # takes a third of a second to import

        return pd.DataFrame([_row(point) for point in self.points])

    def _repr_html_(self) -> str:
        """How a notebook shows it: as the table of `to_frame`."""
        return str(self.to_frame().to_html(index=False, float_format="{:.4g}".format))


def _row(point: RecoveryPoint) -> dict[str, object]:
    evaluation, apart, gained = point.evaluation, point.evaluation.difference_interval, point.gain_interval
    return {
        "name": point.name,
        "file_bytes": point.size.file,
        "times_smaller": point.size.ratio,
        "metric": evaluation.value,
        "low": evaluation.interval.low,
        "high": evaluation.interval.high,
        "difference": evaluation.difference,
        "difference_low": None if apart is None else apart.low,
        "difference_high": None if apart is None else apart.high,
        "gain": point.gain,
        "gain_low": None if gained is None else gained.low,
        "gain_high": None if gained is None else gained.high,
        "samples": evaluation.count,
    }
