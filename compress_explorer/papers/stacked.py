"""Several 784-300-100-10 networks trained at once: one batched product a layer in place of many small ones."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

WIDTHS = (784, 300, 100, 10)


class StackedLeNet(nn.Module):
    """LeNet-300-100 as often as there are seeds, with masks, and the best weights each has had.

    Attributes:
        weights: of each layer, [networks, inputs, outputs].
        biases: of each layer, [networks, 1, outputs].
    """

    curve: Tensor
    step: Tensor

    def __init__(self, networks: int, looks: int) -> None:
        """Builds the networks with weights of zero.

        Args:
            networks: how many.
            looks: how often the validation loss will be looked at.
        """
        super().__init__()
        shapes = [(networks, *pair) for pair in pairwise(WIDTHS)]
        self.weights = nn.ParameterList([torch.zeros(shape) for shape in shapes])
        self.biases = nn.ParameterList([torch.zeros(networks, 1, shape[-1]) for shape in shapes])
        for layer, shape in enumerate(shapes):
            self.register_buffer(f"gone_{layer}", torch.zeros(shape, dtype=torch.bool))
            self.register_buffer(f"best_weight_{layer}", torch.zeros(shape))
            self.register_buffer(f"best_bias_{layer}", torch.zeros(networks, 1, shape[-1]))
        self.register_buffer("curve", torch.full((networks, looks), torch.inf))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits [networks, n, 10] of inputs [networks, n, 784]."""
        hidden = inputs
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < len(self.weights) - 1:
                hidden = hidden.relu()
        return hidden

    def gone(self, layer: int) -> Tensor:
        """Which weights of a layer were pruned, bool [networks, inputs, outputs]."""
        return self.get_buffer(f"gone_{layer}")

    @torch.no_grad()
    def start(self, weights: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
        """Puts in initial weights and masks; biases are 0."""
        for layer, (weight, mask) in enumerate(zip(weights, masks, strict=True)):
            self.gone(layer).copy_(~mask)
            self.weights[layer].copy_(weight * mask)
            self.biases[layer].zero_()

    @torch.no_grad()
    def keep_zeros(self) -> None:
        """Sets pruned weights to zero again."""
        for layer, weight in enumerate(self.weights):
            weight.masked_fill_(self.gone(layer), 0.0)

    @torch.no_grad()
    def look(self, place: int, losses: Tensor) -> None:
        """Remembers each network's validation loss [networks]; where it is its lowest so far, its weights too."""
        better = losses < self.curve.min(dim=1).values
        self.curve[:, place] = losses
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            self.get_buffer(f"best_weight_{layer}")[better] = weight[better]
            self.get_buffer(f"best_bias_{layer}")[better] = bias[better]

    @torch.no_grad()
    def take_best(self) -> None:
        """Goes back to the weights with which each network's validation loss was lowest: early stopping."""
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            weight.copy_(self.get_buffer(f"best_weight_{layer}"))
            bias.copy_(self.get_buffer(f"best_bias_{layer}"))


def glorot_normal(seeds: Sequence[int], draw: int = 0) -> list[Tensor]:
    """Initial weights of each layer, [seeds, inputs, outputs]: normal, variance 2 / (inputs + outputs).

    Source: Glorot & Bengio 2010, Eq. 12's variance.

    Args:
        seeds: one a network.
        draw: the number of the draw: another gives other weights to the same seeds.
    """
    found = []
    for layer, (inputs, outputs) in enumerate(pairwise(WIDTHS)):
        deviation = math.sqrt(2 / (inputs + outputs))
        drawn = [
            torch.randn(inputs, outputs, generator=torch.Generator().manual_seed(10_000 * draw + 100 * seed + layer))
            for seed in seeds
        ]
        found.append(deviation * torch.stack(drawn))
    return found
