"""Students to distil into: small networks of a wanted width and depth, counted before they are trained."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

from compress_explorer.engine.distillation.result import Footprint, footprint
from compress_explorer.engine.own_draws import own_draws
from compress_explorer.engine.task import Task, check_task
from compress_explorer.spec.errors import DataError, ParameterError

KINDS = ("mlp", "conv")

LARGEST = 2**20
"""Most inputs and most classes of a student that a file tells of: more would be asked for by a damaged file alone."""


@dataclass(frozen=True)
class StudentDesign:
    """A network that is not built yet: call it to build one, with fresh random weights.

    Attributes:
        kind: "mlp": hidden layers with ReLU; "conv": 3x3 convolutions with ReLU, the first two with stride 2, and the
            mean over all places.
        shape: of one input.
        classes: the number of logits.
        width: units or channels of each hidden layer.
        depth: hidden layers; 0 gives a linear classifier.
        file_bytes: bytes of its safetensors file.
        parameters: their number.
        macs: multiply-accumulates for one sample.
    """

    kind: str
    shape: tuple[int, ...]
    classes: int
    width: int
    depth: int
    file_bytes: int
    parameters: int
    macs: int

    def __call__(self) -> nn.Module:
        """A network with weights drawn from torch's random numbers."""
        return _build(self.kind, self.shape, self.classes, self.width, self.depth)


def student(task: Task, *, width: int = 16, depth: int = 1, kind: Literal["mlp", "conv"] = "mlp") -> StudentDesign:
    """Designs a student for a task, and counts it.

    Args:
        task: gives the shape of the inputs and the number of classes.
        width: units or channels of each hidden layer, 1 to 4096.
        depth: hidden layers, 0 (a linear classifier) to 16; of "conv" 1 or more.
        kind: "mlp", or "conv" for images [channels, height, width].

    Raises:
        ParameterError: when a value is out of its bounds, or `kind` is unknown.
        DataError: when "conv" meets inputs that are no images, or the number of classes is not known.
    """
    check_task(task)
    _check(kind, width, depth)
    split = task.train or task.test
    shape, classes = tuple(split.inputs.shape[1:]), len(task.classes)
    if not classes:
        if split.targets.is_floating_point() or split.targets.ndim != 1:
            raise DataError("The number of classes is not known: the targets are no class indices. Pass classes=.")
        classes = int(split.targets.max()) + 1
    _check_shape(kind, shape)
    counted = _count(kind, shape, classes, width, depth, task)
    return StudentDesign(
        kind=kind,
        shape=shape,
        classes=classes,
        width=width,
        depth=depth,
        file_bytes=counted.file_bytes,
        parameters=counted.cost.parameters,
        macs=counted.cost.macs,
    )


def built(kind: str, shape: tuple[int, ...], classes: int, *, width: int, depth: int) -> nn.Module:
    """The network of a design that is told by its numbers, as a file tells it.

    Raises:
        ParameterError: when a number is out of its bounds.
        DataError: when "conv" meets a shape that is no image's.
    """
    _check(kind, width, depth)
    for name, value in (("classes", classes), *(("shape", size) for size in shape)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
            raise ParameterError(f"{name}={value!r} must be a whole number from 1 to {LARGEST}.")
    if torch.Size(shape).numel() > LARGEST:
        raise ParameterError(f"shape={shape!r} has more than {LARGEST} numbers.")
    _check_shape(kind, shape)
    return _build(kind, shape, classes, width, depth)


def _check(kind: str, width: int, depth: int) -> None:
    if kind not in KINDS:
        raise ParameterError(f"kind={kind!r} must be one of {', '.join(KINDS)}.")
    least = 1 if kind == "conv" else 0
    for name, value, low, high in (("width", width, 1, 4096), ("depth", depth, least, 16)):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ParameterError(f"{name}={value!r} must be a whole number from {low} to {high}.")


def _check_shape(kind: str, shape: tuple[int, ...]) -> None:
    if kind == "conv" and len(shape) != 3:
        raise DataError(f"kind='conv' needs images [channels, height, width]; the inputs are {shape}. Take kind='mlp'.")


def _count(kind: str, shape: tuple[int, ...], classes: int, width: int, depth: int, task: Task) -> Footprint:
    with own_draws():
        return footprint(_build(kind, shape, classes, width, depth), task)


def _build(kind: str, shape: tuple[int, ...], classes: int, width: int, depth: int) -> nn.Module:
    layers: list[nn.Module] = []
    if kind == "conv":
        channels = [shape[0], *[width] * depth]
        for place, (before, after) in enumerate(pairwise(channels)):
            layers += [nn.Conv2d(before, after, 3, stride=2 if place < 2 else 1, padding=1), nn.ReLU()]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]
        return nn.Sequential(*layers)
    units = [torch.Size(shape).numel(), *[width] * depth]
    if len(shape) != 1:
        layers.append(nn.Flatten())
    for before, after in pairwise(units):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(units[-1], classes))
