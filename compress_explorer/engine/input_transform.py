"""A module that divides and rounds what a layer is fed, before the layer computes with it."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from compress_explorer.methods.input_change import InputQuantizer
from compress_explorer.methods.uniform import UniformGrid, uniform_grid

NAME = "input_transform"
"""Under this name the layer holds its transform."""

AXES = {nn.Linear: -1, nn.Conv1d: -2, nn.Conv2d: -3}
"""The axis of the features in a layer's input, from its end."""


class InputTransform(nn.Module):
    """Divides each feature of a layer's input by a scale, then rounds to evenly spaced levels; either may be absent.

    Rounding passes gradients through unchanged where a value was not clipped (the straight-through estimator).

    Attributes:
        axis: of the features in the input, from its end: -1 for a linear layer, -3 for a two-dimensional convolution.
        bits: width of a rounded value, or None where nothing is rounded.
        scheme: "symmetric" or "affine"; None where nothing is rounded.
        dynamic: whether each input vector (a token, or a sample of a convolution) has levels of its own.
        divide: buffer, float32 [features], or None.
        scale: buffer, float32 [1]; None where the levels are dynamic or nothing is rounded.
        zero_point: buffer, uint8 [1]; None for 0.
    """

    divide: Tensor | None
    scale: Tensor | None
    zero_point: Tensor | None

    def __init__(self, axis: int, *, divide: Tensor | None = None, quantizer: InputQuantizer | None = None) -> None:
        """Makes a transform; it shares no memory with its arguments."""
        super().__init__()
        grid = None if quantizer is None else quantizer.grid
        self.axis = axis
        self.bits = None if quantizer is None else quantizer.bits
        self.scheme = None if quantizer is None else quantizer.scheme
        self.dynamic = quantizer is not None and grid is None
        zero_point = None if grid is None or grid.zero_point is None else grid.zero_point.to(torch.uint8)
        self.register_buffer("divide", _copied(divide))
        self.register_buffer("scale", _copied(None if grid is None else grid.scale))
        self.register_buffer("zero_point", _copied(zero_point))

    @property
    def quantizer(self) -> InputQuantizer | None:
        """How it rounds; None where it does not."""
        if self.bits is None or self.scheme is None:
            return None
        grid = None
        if self.scale is not None:
            # The ends of the numbers follow from bits and scheme, whatever the range.
            ends = uniform_grid(torch.zeros(1), torch.zeros(1), self.bits, self.scheme)
            zero_point = None if self.zero_point is None else self.zero_point.float()
            grid = UniformGrid(self.scale, zero_point, ends.lowest, ends.highest)
        return InputQuantizer(bits=self.bits, scheme=self.scheme, grid=grid)

    def forward(self, given: Tensor) -> Tensor:
        """The input that the layer computes with, of the same shape and dtype."""
        given = self.divided(given)
        quantizer = self.quantizer
        if quantizer is None or given.numel() == 0:
            return given
        rounded = _fixed(given.float(), quantizer.grid) if quantizer.grid else self._own_levels(given.float())
        return rounded.to(given.dtype)

    def divided(self, given: Tensor) -> Tensor:
        """The input with each feature divided by its scale, before it is rounded."""
        if self.divide is None:
            return given
        return given / self.divide.to(given.dtype).reshape(-1, *[1] * (-self.axis - 1))

    def _own_levels(self, given: Tensor) -> Tensor:
        vectors = given.reshape(-1, math.prod(given.shape[self.axis :]))
        assert self.bits is not None
        assert self.scheme is not None
        with torch.no_grad():
            grid = uniform_grid(vectors.amin(dim=1), vectors.amax(dim=1), self.bits, self.scheme)
            zero_point = torch.zeros_like(grid.scale) if grid.zero_point is None else grid.zero_point
        return torch.fake_quantize_per_channel_affine(
            vectors, grid.scale, zero_point.int(), 0, grid.lowest, grid.highest
        ).reshape(given.shape)

    def extra_repr(self) -> str:
        """What it does, for `print(module)`."""
        parts = [] if self.divide is None else [f"divide=[{len(self.divide)}]"]
        if self.bits is not None:
            parts.append(f"bits={self.bits}, {self.scheme}, {'dynamic' if self.dynamic else 'static'}")
        return ", ".join(parts)


def _copied(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _fixed(given: Tensor, grid: UniformGrid) -> Tensor:
    zero_point = torch.zeros_like(grid.scale) if grid.zero_point is None else grid.zero_point
    return torch.fake_quantize_per_tensor_affine(given, grid.scale, zero_point.int(), grid.lowest, grid.highest)


def transform_input(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The forward pre-hook of a layer with an `InputTransform`: passes its input through that."""
    transform = getattr(layer, NAME)
    if given:
        return (transform(given[0]), *given[1:]), named
    return given, {**named, "input": transform(named["input"])}


def transform_of(layer: nn.Module) -> InputTransform | None:
    """The transform that the layer has, or None."""
    transform = getattr(layer, NAME, None)
    return transform if isinstance(transform, InputTransform) else None


def buffers_of(network: nn.Module) -> frozenset[str]:
    """The names of the buffers of all transforms in the network's state."""
    modules = network.named_modules(remove_duplicate=False)
    return frozenset(
        f"{path}.{name}"
        for path, module in modules
        if isinstance(module, InputTransform)
        for name, _ in module.named_buffers()
    )


def attach(layer: nn.Module, transform: InputTransform) -> None:
    """Gives the layer a transform of its input, in the place of one that it has."""
    if transform_of(layer) is None:
        layer.register_forward_pre_hook(transform_input, with_kwargs=True)
    setattr(layer, NAME, transform)


def blank(layer: nn.Module, divided: bool, bits: int | None, scheme: str, *, dynamic: bool) -> InputTransform:
    """A transform that fits the layer and has the right form, into which values can be loaded."""
    weight = layer.get_parameter("weight")
    features = weight.shape[1] * getattr(layer, "groups", 1)
    one = torch.ones(1)
    quantizer = None
    if bits is not None:
        quantizer = InputQuantizer(
            bits=bits, scheme=scheme, grid=None if dynamic else uniform_grid(-one, one, bits, scheme)
        )
    divide = torch.ones(features) if divided else None
    return InputTransform(AXES[type(layer)], divide=divide, quantizer=quantizer).to(weight.device)


def cannot_transform(layer: nn.Module) -> str | None:
    """Why a layer's input cannot be transformed, in words that go on after "it ..."; None when it can."""
    if type(layer) not in AXES:
        known = ", ".join(kind.__name__ for kind in AXES)
        return f"is {type(layer).__name__}; the inputs of {known} can be treated"
    if hasattr(layer, NAME) and transform_of(layer) is None:
        return f"has an attribute {NAME!r} of its own"
    return None
