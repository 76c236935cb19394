"""Batches of a split's samples."""

import torch
from torch import Tensor

from compress_explorer.engine.task import Split


def batch_of(samples: Split, chosen: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """The inputs and targets of the chosen samples.

    Args:
        samples: where they are taken from.
        chosen: int64 [n], their places.
        device: where they are wanted.
    """
    inputs, targets = (data.to(device) for data in samples.chosen(chosen))
    return inputs, targets


def batch_in_order(samples: Split, places: range, device: torch.device) -> tuple[Tensor, Tensor]:
    """The inputs and targets of neighbours in the split's fixed order.

    Args:
        samples: where they are taken from.
        places: in that order.
        device: where they are wanted.
    """
    inputs, targets = (data.to(device) for data in samples.in_order(places))
    return inputs, targets
