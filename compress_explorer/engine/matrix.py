"""Weights of any layer as matrices [output channels, weights of one channel], and back."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """How a weight tensor maps to a matrix with one row an output channel.

    Attributes:
        shape: the tensor's own shape.
        axis: the axis of the output channels: 0, or 1 for transposed convolutions.
        groups: of a transposed convolution: its weight is [in, out / groups, ...], and the output channels of
            each group have their own slice of the input axis. 1 otherwise.
    """

    shape: tuple[int, ...]
    axis: int = 0
    groups: int = 1

    @property
    def channels(self) -> int:
        """The number of rows."""
        return self.shape[self.axis] * self.groups

    def to_matrix(self, tensor: Tensor) -> Tensor:
        """The tensor as a contiguous matrix [channels, n] of the same dtype."""
        if self.axis == 0:
            return tensor.reshape(self.shape[0], -1).contiguous()
        split = tensor.reshape(self.groups, self.shape[0] // self.groups, *self.shape[1:])
        return split.transpose(1, 2).reshape(self.channels, -1).contiguous()

    def from_matrix(self, matrix: Tensor) -> Tensor:
        """The inverse of `to_matrix`."""
        if self.axis == 0:
            return matrix.reshape(self.shape)
        inner = self.shape[0] // self.groups
        split = matrix.reshape(self.groups, self.shape[1], inner, *self.shape[2:])
        return split.transpose(1, 2).reshape(self.shape)

    @property
    def columns(self) -> int:
        """The number of weights in one row."""
        return math.prod(self.shape) // self.channels


def as_float32_matrix(tensor: Tensor, layout: Layout) -> Tensor:
    """A float32 copy of `tensor` in matrix form; never shares memory with it."""
    return layout.to_matrix(tensor.detach()).to(torch.float32, copy=True)
