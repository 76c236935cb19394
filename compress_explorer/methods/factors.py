"""A weight tensor as a product of smaller ones."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Factors:
    """Two factors of a weight tensor [m, ...] in its matrix form [m, n].

    Attributes:
        left: float32 [m, r].
        right: float32 [r, n].
    """

    left: Tensor
    right: Tensor

    def dense(self) -> Tensor:
        """The matrix that they stand for, float32 [m, n]."""
        return self.left @ self.right


@dataclass(frozen=True, eq=False, kw_only=True)
class TuckerFactors:
    """Tucker-2 factors of a weight tensor [m, k, *kernel]: both channel axes have a factor, the kernel has none.

    Attributes:
        outputs: float32 [m, r].
        core: float32 [r, s, *kernel].
        inputs: float32 [s, k].
    """

    outputs: Tensor
    core: Tensor
    inputs: Tensor

    def dense(self) -> Tensor:
        """The tensor that they stand for, float32 [m, k, *kernel]."""
        narrow = torch.einsum("or,rs...->os...", self.outputs, self.core)
        return torch.einsum("os...,si->oi...", narrow, self.inputs)
