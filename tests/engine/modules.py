"""Small modules of every layer type, with an input each, and what the inventory must say of their weights."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """A module with an input.

    Attributes:
        make: builds the module; always with the same weights.
        inputs: its positional arguments.
        channels: output channels of each weight that must be treated.
    """

    make: Callable[[], nn.Module]
    inputs: tuple[Tensor, ...]
    channels: dict[str, int]

    def module(self) -> nn.Module:
        """The module, in evaluation mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.make().eval()


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Normally distributed numbers, the same on every run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def output_of(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """All that a module returns, as one flat tensor."""
    with torch.no_grad():
        return flat(module(*inputs))


def flat(outputs: object) -> Tensor:
    """All tensors among nested outputs, one after the other."""
    if isinstance(outputs, Tensor):
        return outputs.flatten().double()
    assert isinstance(outputs, tuple)
    return torch.cat([flat(part) for part in outputs if part is not None])


class SelfAttention(nn.Module):
    """Attention with one argument each for query, key and value."""

    def __init__(self, **options: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output, _ = self.attention(query, key, value)
        return output


class Bags(nn.Module):
    """An embedding bag over two bags."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(11, 5)

    def forward(self, indices: Tensor) -> Tensor:
        return self.bag(indices, torch.tensor([0, 2]))


INDICES = torch.tensor([3, 1, 0, 10])
IMAGES = numbers(2, 4, 7, 7)
SEQUENCE = numbers(2, 6, 8)

CASES: dict[str, Case] = {
    "linear": Case(lambda: nn.Linear(6, 3), (numbers(2, 6),), {"weight": 3}),
    "conv1d": Case(lambda: nn.Conv1d(4, 6, 3), (numbers(2, 4, 9),), {"weight": 6}),
    "conv1d-grouped": Case(lambda: nn.Conv1d(4, 6, 3, groups=2), (numbers(2, 4, 9),), {"weight": 6}),
    "conv2d": Case(lambda: nn.Conv2d(4, 5, 3, bias=False), (IMAGES,), {"weight": 5}),
    "conv2d-depthwise": Case(lambda: nn.Conv2d(4, 8, 3, groups=4), (IMAGES,), {"weight": 8}),
    "conv2d-channels-last": Case(
        lambda: nn.Conv2d(4, 5, 3).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        (IMAGES,),
        {"weight": 5},
    ),
    "conv3d": Case(lambda: nn.Conv3d(2, 4, 2, groups=2), (numbers(1, 2, 4, 4, 4),), {"weight": 4}),
    "transposed1d": Case(lambda: nn.ConvTranspose1d(4, 6, 3), (numbers(2, 4, 5),), {"weight": 6}),
    "transposed2d": Case(lambda: nn.ConvTranspose2d(4, 5, 3, stride=2), (IMAGES,), {"weight": 5}),
    "transposed2d-grouped": Case(lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (IMAGES,), {"weight": 6}),
    "transposed3d-depthwise": Case(
        lambda: nn.ConvTranspose3d(3, 6, 2, groups=3), (numbers(1, 3, 3, 3, 3),), {"weight": 6}
    ),
    "embedding": Case(lambda: nn.Embedding(11, 5, padding_idx=0), (INDICES,), {"weight": 11}),
    "embedding-bag": Case(Bags, (INDICES,), {"bag.weight": 11}),
    "rnn": Case(lambda: nn.RNN(8, 5), (SEQUENCE,), {"weight_ih_l0": 5, "weight_hh_l0": 5}),
    "gru": Case(
        lambda: nn.GRU(8, 3, num_layers=2, bidirectional=True),
        (SEQUENCE,),
        {f"weight_{kind}_l{layer}{way}": 9 for kind in ("ih", "hh") for layer in (0, 1) for way in ("", "_reverse")},
    ),
    "lstm-projected": Case(
        lambda: nn.LSTM(8, 5, proj_size=3, num_layers=2, batch_first=True),
        (SEQUENCE,),
        {f"weight_{kind}_l{layer}": 3 if kind == "hr" else 20 for kind in ("ih", "hh", "hr") for layer in (0, 1)},
    ),
    "rnn-cell": Case(lambda: nn.RNNCell(8, 5), (numbers(2, 8),), {"weight_ih": 5, "weight_hh": 5}),
    "lstm-cell": Case(lambda: nn.LSTMCell(8, 5), (numbers(2, 8),), {"weight_ih": 20, "weight_hh": 20}),
    "gru-cell": Case(lambda: nn.GRUCell(8, 5), (numbers(2, 8),), {"weight_ih": 15, "weight_hh": 15}),
    "attention": Case(SelfAttention, (SEQUENCE,) * 3, {"attention.in_proj_weight": 24, "attention.out_proj.weight": 8}),
    "attention-kdim-vdim": Case(
        lambda: SelfAttention(kdim=4, vdim=6),
        (SEQUENCE, numbers(2, 6, 4), numbers(2, 6, 6)),
        {f"attention.{name}_proj_weight": 8 for name in "qkv"} | {"attention.out_proj.weight": 8},
    ),
    "transformer-encoder": Case(
        lambda: nn.TransformerEncoderLayer(8, 2, dim_feedforward=12, batch_first=True),
        (SEQUENCE,),
        {
            "self_attn.in_proj_weight": 24,
            "self_attn.out_proj.weight": 8,
            "linear1.weight": 12,
            "linear2.weight": 8,
        },
    ),
    "bilinear": Case(lambda: nn.Bilinear(3, 4, 5), (numbers(2, 3), numbers(2, 4)), {"weight": 5}),
    "one-weight": Case(lambda: nn.Linear(1, 1, bias=False), (numbers(2, 1),), {"weight": 1}),
}
"""Every layer type whose weights are treated."""
