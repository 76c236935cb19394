"""The metric sample by sample, and after how many samples it is looked at."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FIRST_LOOK = 256

LARGEST_LOOK = 2048
"""After so many samples at most the scores so far are looked at."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The metric, sample by sample, on the first samples of a split's fixed order.

    Attributes:
        scores: float32 [count].
        predictions: int64 [count], the largest logit's index, or None where outputs are no logits.
    """

    scores: Tensor
    predictions: Tensor | None

    def __len__(self) -> int:
        """How many samples were measured."""
        return len(self.scores)

    def first(self, count: int) -> "Scores":
        """The same for the first `count` samples only."""
        return Scores(self.scores[:count], None if self.predictions is None else self.predictions[:count])


NOTHING = Scores(torch.empty(0), torch.empty(0, dtype=torch.int64))
"""No sample measured yet."""


def next_look(seen: int) -> int:
    """How many samples are measured when the scores are looked at again: 256, 512, 1024, 2048, then every 2048."""
    if seen < FIRST_LOOK:
        return FIRST_LOOK
    if seen < LARGEST_LOOK:
        return 1 << seen.bit_length()
    return (seen // LARGEST_LOOK + 1) * LARGEST_LOOK


def looks_before(total: int) -> int:
    """How often the scores are looked at before all of `total` samples are measured."""
    seen, looks = next_look(0), 0
    while seen < total:
        seen, looks = next_look(seen), looks + 1
    return looks


def joined(parts: Sequence[Scores]) -> Scores:
    """The scores of samples that were measured one part after the other."""
    predictions = [part.predictions for part in parts if part.predictions is not None]
    complete = len(predictions) == len(parts)
    return Scores(torch.cat([part.scores for part in parts]), torch.cat(predictions) if complete else None)
