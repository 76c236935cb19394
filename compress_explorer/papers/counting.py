"""Who is right about which test images: one network, and two networks on the same images."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compress_explorer.engine.statistics import difference_of_proportions
from compress_explorer.engine.task import Split
from compress_explorer.spec.evaluation import Interval


@torch.inference_mode()
def right(model: nn.Module, split: Split) -> Tensor:
    """Which samples the model, in evaluation mode, classifies correctly: bool [n]."""
    model.eval()
    answers = torch.cat([model(batch).argmax(1) for batch in torch.split(split.inputs, 500)])
    return answers == split.targets


@dataclass(frozen=True)
class Pair:
    """Two networks on the same images.

    Attributes:
        gained: images that the second has right and the first had wrong.
        lost: the other way round.
        images: all.
    """

    gained: int
    lost: int
    images: int

    @classmethod
    def of(cls, before: Tensor, after: Tensor) -> "Pair":
        """Counts; both are bool [n]."""
        return cls(int((after & ~before).sum()), int((before & ~after).sum()), len(before))

    @property
    def change(self) -> float:
        """How much larger the second network's error is, as a fraction of the images."""
        return (self.lost - self.gained) / self.images

    @property
    def interval(self) -> Interval:
        """Of `change`: that of `difference_of_proportions`."""
        return difference_of_proportions(self.lost, self.gained, self.images)

    @property
    def p_value(self) -> float:
        """McNemar's exact two-sided test: the chance of so uneven a split of the discordant images, were it even."""
        count, least = self.gained + self.lost, min(self.gained, self.lost)
        tail = sum(math.comb(count, index) for index in range(least + 1))
        return float(min(1.0, 2 * tail / 2**count))
