"""Batches of a split's samples, where the model is."""

import torch
from torch import Tensor, nn

from compress_explorer.engine.task import Split


def batch_of(samples: Split, chosen: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """The inputs and targets of the chosen samples.

    Args:
        samples: where they are taken from.
        chosen: int64 [n], their places.
        device: where they are wanted.
    """
    # index_select copies rows five times as fast as inputs[chosen].
    inputs, targets = (
        data.index_select(0, chosen.to(data.device)).to(device) for data in (samples.inputs, samples.targets)
    )
    return inputs, targets


def device_of(model: nn.Module) -> torch.device:
    """Where the parameters of a model are; the CPU when it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
