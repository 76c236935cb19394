"""The zoo's tasks: normalised float32 tensors and class names over the arrays of `datasets` and `cifar10`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compress_explorer.engine.task import Split, Task
from compress_explorer.spec.errors import DataError, unknown
from compress_explorer.zoo import cifar10, datasets
from compress_explorer.zoo.datasets import Labelled
from compress_explorer.zoo.splits import Bytes


@dataclass(frozen=True)
class Normalisation:
    """What turns stored bytes into a network's inputs: ``(bytes / scale - mean) / std``, per channel."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, images: Tensor) -> Tensor:
        """Return float32 of the same shape as the uint8 `images`, ``[n, channels, ...]``.

        With one mean and one standard deviation the second axis may be anything, such as features.
        """
        shape = (1, len(self.mean)) + (1,) * (images.ndim - 2)
        mean, std = (torch.tensor(values, dtype=torch.float32).view(shape) for values in (self.mean, self.std))
        return (images.to(torch.float32) / self.scale - mean) / std


@dataclass(frozen=True)
class Definition:
    """What a task is made of.

    Attributes:
        title: shown to the user.
        classes: names of the classes, in the order of the labels.
        normalisation: from stored bytes to inputs.
        sizes: samples of each part, known without decoding anything.
        source: returns a part, ``"train"``, ``"validation"`` or ``"test"``, as bytes.
    """

    title: str
    classes: tuple[str, ...]
    normalisation: Normalisation
    sizes: dict[str, int]
    source: Callable[[str], Labelled]


_NUMERALS = tuple("0123456789")
_GARMENTS = ("T-shirt/top", "trouser", "pullover", "dress", "coat")
_SHOES_AND_OTHERS = ("sandal", "shirt", "sneaker", "bag", "ankle boot")

# Means and standard deviations are those of each official training set's pixels, to four digits.
DEFINITIONS: dict[str, Definition] = {
    "digits": Definition(
        title="scikit-learn digits",
        classes=_NUMERALS,
        normalisation=Normalisation(16, (0.0,), (1.0,)),
        sizes={"train": 1_097, "validation": 200, "test": 500},
        source=datasets.digits,
    ),
    "mnist": Definition(
        title="MNIST",
        classes=_NUMERALS,
        normalisation=Normalisation(255, (0.1307,), (0.3081,)),
        sizes={"train": 55_000, "validation": 5_000, "test": 10_000},
        source=datasets.mnist,
    ),
    "fashion": Definition(
        title="Fashion-MNIST",
        classes=(*_GARMENTS, *_SHOES_AND_OTHERS),
        normalisation=Normalisation(255, (0.2860,), (0.3530,)),
        sizes={"train": 8_000, "validation": 2_000, "test": 10_000},
        source=datasets.fashion,
    ),
    "cifar10": Definition(
        title="CIFAR-10",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        normalisation=Normalisation(255, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        sizes={"train": 45_000, "validation": 5_000, "test": 10_000},
        source=cifar10.load,
    ),
}


def task(name: str, data: Path | None = None) -> Task:
    """Return the task called `name`: digits, mnist, fashion or cifar10. Nothing is decoded before it is used.

    Args:
        name: a key of `DEFINITIONS`.
        data: for CIFAR-10 alone, a local copy instead of a download; see `cifar10.load`.

    Raises:
        UnknownNameError: for any other name.
        DataError: when `data` is given for a task whose data are bundled.
    """
    if name not in DEFINITIONS:
        raise unknown("task", name, DEFINITIONS)
    definition = DEFINITIONS[name]
    source = definition.source
    if data is not None:
        if name != "cifar10":
            raise DataError(f"The data of task {name!r} are bundled; leave data={str(data)!r} out.")
        source = partial(cifar10.load, source=data)

    def split(part: str) -> Split:
        # A function with a name: a task can be pickled.
        return Split.lazy(partial(_tensors, source, part, definition.normalisation), definition.sizes[part])

    return Task(
        name=definition.title,
        train=split("train"),
        validation=split("validation"),
        test=split("test"),
        classes=definition.classes,
    )


def images_tensor(images: Bytes) -> Tensor:
    """Return uint8 images as a tensor; ``[n, height, width]`` gains its channel axis."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    return tensor[:, None] if tensor.ndim == 3 else tensor


def _tensors(source: Callable[[str], Labelled], part: str, normalisation: Normalisation) -> tuple[Tensor, Tensor]:
    found = source(part)
    return normalisation.apply(images_tensor(found.images)), torch.from_numpy(found.labels.astype(np.int64))
