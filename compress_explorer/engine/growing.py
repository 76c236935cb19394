"""The scores of one network, measured as far as they are asked for."""

from collections.abc import Callable, Iterator

from torch import nn

from compress_explorer.engine.evaluate import measure
from compress_explorer.engine.scores import NOTHING, Scores
from compress_explorer.engine.task import Task


class GrowingScores:
    """The scores of a network on a split: each sample is measured when it is first asked for, and once.

    Attributes:
        known: the scores so far.
        total: how many samples the split has.
    """

    def __init__(self, model: nn.Module, task: Task, split: str) -> None:
        """Measures nothing yet.

        Args:
            model: in evaluation mode; it must not change.
            task: the data and the metric.
            split: "train", "validation" or "test".
        """
        self.known: Scores = NOTHING
        self.total = len(task.split(split))
        self._begin: Callable[[], Iterator[Scores]] = lambda: measure(
            model, task, split, known=self.known, looks=_after_every_batch
        )
        self._steps: Iterator[Scores] | None = None

    def first(self, count: int) -> Scores:
        """The scores of the first `count` samples, or of all where there are fewer.

        Raises:
            DataError: when the data do not fit the model or the metric.
        """
        count = min(count, self.total)
        while len(self.known) < count:
            steps = self._begin() if self._steps is None else self._steps
            self._steps = None  # a step that raises cannot be gone on with
            self.known = next(steps)
            self._steps = steps if len(self.known) < self.total else None
        return self.known.first(count)

    def looks(self, next_look: Callable[[int], int]) -> Iterator[Scores]:
        """Yields the scores at each look, the last time all of them; `next_look` gives it from how many were seen."""
        seen = 0
        while seen < self.total:
            seen = min(next_look(seen), self.total)
            yield self.first(seen)


def _after_every_batch(seen: int) -> int:
    return seen + 1
