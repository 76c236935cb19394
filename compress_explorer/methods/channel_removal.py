"""What the methods that remove channels share: how many stay, and which."""

import torch
from torch import Tensor

from compress_explorer.spec.parameter import Parameter

SPARSITY = Parameter(
    name="sparsity",
    label="Channels removed",
    kind="float",
    default=0.3,
    minimum=0.0,
    maximum=1.0,
    soft_maximum=0.95,
    step=0.01,
    unit="%",
    help="The fraction of channels that is removed; at least one of each layer stays.",
)

ROUND_TO = Parameter(
    name="round_to",
    label="Multiple of",
    kind="integer",
    default=1,
    minimum=1,
    maximum=1024,
    soft_maximum=32,
    scale="log2",
    unit="channels",
    help="How many channels stay in a layer is rounded up to a multiple of this: hardware likes 8, 16 or 32.",
)


def rounded_up(staying: int, channels: int, round_to: int) -> int:
    """How many of `channels` stay: the next multiple of `round_to`, 1 at least, all at most."""
    return min(channels, -(-max(staying, 1) // round_to) * round_to)


def staying(channels: int, sparsity: float, round_to: int) -> int:
    """How many channels stay: all but round(sparsity * channels), rounded up as `rounded_up` says."""
    return rounded_up(channels - round(sparsity * channels), channels, round_to)


def keep_best(scores: Tensor, count: int) -> Tensor:
    """The mask of the `count` channels of highest score, bool [channels]; among equals those that come last stay."""
    order = torch.sort(scores, stable=True).indices
    keep = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    keep[order[len(scores) - count :]] = True
    return keep
