"""What stands behind a quantized weight while a network is trained: the tensors that learn in its place.

Each module's forward function gives the matrix that the network computes with; the gradient of that matrix flows back
to the module's parameters. Pruned weights are zero in it, and pass no gradient on.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from compress_explorer.engine.weights import Weights
from compress_explorer.methods.code import Code

LEAST_FACTOR = 2.0**-10
"""The smallest factor of a scale that is trained: a scale neither becomes zero nor changes its sign."""


class Held(nn.Module, ABC):
    """What the modules of this file share: a weight before the training, and what is quantized of it afterwards."""

    def __init__(self, entry: Weights) -> None:
        """Begins with the weights of `entry`, which are quantized."""
        super().__init__()
        self.entry = entry

    @abstractmethod
    def code(self) -> Code:
        """The code as it is now; its tensors may be part of a graph."""

    def forward(self) -> Tensor:
        """The matrix that the network computes with, float32 [channels, n]."""
        return self.masked(self.code().decode())

    def masked(self, matrix: Tensor) -> Tensor:
        """The matrix with zeros where weights were pruned."""
        return matrix if self.entry.kept is None else torch.where(self.entry.kept, matrix, 0.0)

    def constrain(self) -> None:
        """Called after each step of the optimiser."""

    def finished(self) -> Weights:
        """The weights after the training."""
        with torch.no_grad():
            return self.entry.quantized(detached(self.code()))


class SharedCodebook(Held):
    """Trains the values that codes stand for; which weights share them stays.

    The gradient of a value is the sum of the gradients of its weights (Deep Compression, Eq. 3).
    """

    def __init__(self, entry: Weights) -> None:
        """Begins with the codebook of `entry`."""
        super().__init__(entry)
        assert entry.code is not None
        assert entry.code.codebook is not None
        self._fixed = entry.code
        self.codebook = nn.Parameter(entry.code.codebook.clone())

    def code(self) -> Code:
        """The same codes with the codebook as it is now."""
        return replace(self._fixed, codebook=self.codebook)


class SharedScale(Held):
    """Trains the scales that codes are multiplied by; the codes stay."""

    def __init__(self, entry: Weights) -> None:
        """Begins with the scales of `entry`."""
        super().__init__(entry)
        assert entry.code is not None
        assert entry.code.scale is not None
        self._fixed = entry.code
        self.scale = RelativeScale(entry.code.scale)

    def code(self) -> Code:
        """The same codes with the scales as they are now."""
        return replace(self._fixed, scale=self.scale())

    def constrain(self) -> None:
        """Keeps the scales above zero."""
        self.scale.constrain()


class RelativeScale(nn.Module):
    """A scale in units of its value at the beginning, so that optimisers of any kind take steps that fit its size.

    A step of plain gradient descent moves the scale as if it were the parameter itself. Adam, whose steps are as large
    as its learning rate whatever the gradient, moves it by that fraction of itself.
    """

    def __init__(self, scale: Tensor) -> None:
        """Begins at `scale`, float32, positive."""
        super().__init__()
        self.register_buffer("first", scale.clone())
        self.first: Tensor
        self.factor = nn.Parameter(torch.ones_like(scale))

    def forward(self) -> Tensor:
        """The scale as it is now, shaped like at the beginning."""
        scale: Tensor = _InUnitsOf.apply(self.factor, self.first)  # type: ignore[no-untyped-call] # torch's own
        return scale

    def constrain(self) -> None:
        """Keeps the scale above zero."""
        with torch.no_grad():
            self.factor.clamp_(min=LEAST_FACTOR)


class _InUnitsOf(torch.autograd.Function):
    """factor * unit, with the gradient divided by the unit: then -lr * gradient * unit is the scale's own step."""

    @staticmethod
    def forward(ctx: Any, factor: Tensor, unit: Tensor) -> Tensor:
        ctx.save_for_backward(unit)
        return factor * unit

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (unit,) = ctx.saved_tensors
        return gradient / unit, None


def detached(code: Code) -> Code:
    """The code with tensors that belong to no graph and to nobody else."""
    tables = {
        name: table.detach().clone()
        for name in ("codebook", "scale", "zero_point")
        if (table := getattr(code, name)) is not None
    }
    return replace(code, **tables)


def shares(code: Code) -> type[SharedCodebook] | type[SharedScale] | None:
    """What of a code can be trained while its codes stay: its codebook, else its float32 scales; None where neither."""
    if code.codebook is not None:
        return SharedCodebook
    return SharedScale if code.scale is not None and code.coded_scale is None else None
