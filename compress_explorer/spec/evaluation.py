"""A metric's value with its uncertainty, and its paired difference to the baseline."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A two-sided interval of a stated confidence; `low` and `high` are in the metric's unit."""

    low: float
    high: float
    confidence: float = 0.95

    @property
    def half_width(self) -> float:
        """Half the distance of the two ends."""
        return (self.high - self.low) / 2

    def overlaps(self, other: "Interval") -> bool:
        """Whether the two intervals have a point in common."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Evaluation:
    """The metric of one model on one split.

    Attributes:
        value: the mean score; for accuracy, the fraction that is right.
        interval: where the metric of the population lies that the samples were drawn from
            (Wilson for scores of 0 and 1, normal otherwise).
        count: how many samples were used.
        total: how many the split has; the value is exact for the split when all were used.
        split: "train", "validation" or "test".
        difference: mean of (score - baseline's score) on the same samples; None without a baseline.
        difference_interval: where that paired difference lies in the population; None without a baseline.
        difference_on_split: where that paired difference lies on the whole split; once all samples were used, the
            difference itself. None without a baseline.
        flips: fraction of the samples on which the model's prediction differs from the baseline's; None without one,
            or where outputs and targets are no logits and class indices.
    """

    value: float
    interval: Interval
    count: int
    total: int
    split: str
    difference: float | None = None
    difference_interval: Interval | None = None
    difference_on_split: Interval | None = None
    flips: float | None = None

    @property
    def exact(self) -> bool:
        """Whether every sample of the split was used."""
        return self.count == self.total

    @property
    def within_noise(self) -> bool:
        """Whether the paired interval admits that nothing was lost or gained.

        Raises:
            ValueError: when there is no baseline to compare with.
        """
        if self.difference_interval is None:
            raise ValueError("This evaluation has no baseline; pass baseline= to evaluate().")
        return self.difference_interval.low <= 0 <= self.difference_interval.high
