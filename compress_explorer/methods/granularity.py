"""Which weights share a scale: the whole tensor, an output channel, or a group of neighbours in a channel."""

import torch
from torch import Tensor

from compress_explorer.spec.parameter import Parameter


def granularity_parameter(*choices: str, default: str) -> Parameter:
    """The declaration of a quantizer's granularity: which of "tensor", "channel", "group" it offers."""
    return Parameter(
        name="granularity",
        label="One scale per",
        kind="choice",
        default=default,
        choices=choices,
        help="Which weights share a scale. Finer: smaller error, more bytes for scales.",
    )


def columns_per_scale(weight: Tensor, granularity: str, group_size: int) -> int:
    """How many neighbouring columns of `weight` [channels, n] share a scale; at most n."""
    return min(group_size, weight.shape[1]) if granularity == "group" else weight.shape[1]


def to_blocks(weight: Tensor, granularity: str, columns: int) -> Tensor:
    """The weights with all that share a scale along the last axis: [rows, groups, size].

    The last group of a channel is padded with zeros to `columns`. For "tensor" rows and groups are 1.
    """
    channels, width = weight.shape
    if granularity == "tensor":
        return weight.reshape(1, 1, -1)
    padded = torch.nn.functional.pad(weight, (0, -width % columns)) if width % columns else weight
    return padded.reshape(channels, -1, columns)


def from_blocks(blocks: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `to_blocks`: the matrix [channels, n], without the padding."""
    return blocks.reshape(shape[0], -1)[:, : shape[1]].contiguous()
