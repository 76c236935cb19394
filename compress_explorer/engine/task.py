"""Tasks: a data set, its splits and its metric."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compress_explorer.spec.errors import DataError, unknown

Metric = Callable[[Tensor, Tensor], Tensor]
"""(outputs [n, ...], targets [n, ...]) -> one score per sample [n]; higher is better."""


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Top-1 correctness: 1.0 where the largest logit is the label, else 0.0.

    Args:
        outputs: logits, [n, classes].
        targets: class indices, [n].

    Raises:
        DataError: when `outputs` is not [n, classes] or a label is outside 0..classes-1.
    """
    if outputs.ndim != 2 or outputs.shape[0] != targets.shape[0]:
        raise DataError(
            f"Accuracy needs logits of shape [n, classes] for {targets.shape[0]} labels, but the model returned "
            f"{tuple(outputs.shape)}. Pass metric=, a callable (outputs, targets) -> one score per sample."
        )
    check_labels(targets, outputs.shape[1])
    return (outputs.argmax(dim=1) == targets).to(torch.float32)


def check_labels(targets: Tensor, classes: int) -> None:
    """Checks that `targets` are class indices 0..classes-1.

    Raises:
        DataError: when they are not whole numbers [n], or one is out of range; it names the first.
    """
    if targets.ndim != 1 or targets.is_floating_point() or targets.is_complex():
        raise DataError(
            f"Accuracy needs class indices as whole numbers, shape [n]; the targets are "
            f"{str(targets.dtype).removeprefix('torch.')} {tuple(targets.shape)}. Convert them, e.g. y.long(), or pass "
            "metric=, a callable (outputs, targets) -> one score per sample."
        )
    wrong = (targets < 0) | (targets >= classes)
    if bool(wrong.any()):
        first = int(torch.nonzero(wrong)[0])
        raise DataError(
            f"Label {int(targets[first])} is out of range: the model has {classes} outputs, "
            f"so labels must be 0 to {classes - 1}."
        )


class Split:
    """The samples of one split: `inputs` [n, ...] and `targets` [n, ...], loaded when first asked for."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self._size = len(inputs)
        self._loader: Callable[[], tuple[Tensor, Tensor]] | None = None
        self._tensors: tuple[Tensor, Tensor] | None = _checked(inputs, targets)

    @classmethod
    def lazy(cls, loader: Callable[[], tuple[Tensor, Tensor]], size: int) -> "Split":
        """A split whose tensors `loader` returns; it is called once, on first use.

        Args:
            loader: returns (inputs, targets).
            size: the number of samples that `loader` will return.
        """
        split = cls.__new__(cls)
        split._size, split._loader, split._tensors = size, loader, None
        return split

    def _load(self) -> tuple[Tensor, Tensor]:
        if self._tensors is None:
            assert self._loader is not None
            inputs, targets = _checked(*self._loader())
            if len(inputs) != self._size:
                raise DataError(f"The split promised {self._size} samples and its loader returned {len(inputs)}.")
            self._tensors = inputs, targets
        return self._tensors

    @property
    def inputs(self) -> Tensor:
        """All inputs, [n, ...]."""
        return self._load()[0]

    @property
    def targets(self) -> Tensor:
        """All targets, [n, ...]."""
        return self._load()[1]

    def __len__(self) -> int:
        """The number of samples, known without loading them."""
        return self._size

    def __repr__(self) -> str:
        """Number of samples only: a split may be large or not loaded yet."""
        return f"Split({self._size} samples)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A data set with its splits and its metric.

    Attributes:
        name: shown to the user.
        test: the split that results are reported on.
        validation: the split that choices are made on, or None.
        train: the split that calibration and training use, or None.
        metric: (outputs, targets) -> one score per sample.
        classes: names of the classes; empty when there are none.
    """

    name: str
    test: Split
    validation: Split | None = None
    train: Split | None = None
    metric: Metric = accuracy
    classes: tuple[str, ...] = ()

    def split(self, name: str) -> Split:
        """The split called "train", "validation" or "test".

        Raises:
            UnknownNameError: for any other name.
            DataError: when this task has no such split.
        """
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        if name not in splits:
            raise unknown("split", name, splits)
        found = splits[name]
        if found is None:
            there = ", ".join(key for key, value in splits.items() if value is not None)
            raise DataError(f"Task {self.name!r} has no {name} split; it has {there}. Pass {name}=(x, y).")
        return found


def as_split(data: Any, name: str) -> Split:
    """Turns what a user has into a Split.

    Args:
        data: a Split; a pair (x, y) of tensors or arrays; a Dataset or a DataLoader of such pairs.
        name: which split it will be; named in errors.

    Raises:
        DataError: when it is none of these, is empty, or raises while it is read.
    """
    if isinstance(data, Split):
        return data
    if isinstance(data, tuple | list) and len(data) == 2 and all(_is_array(part) for part in data):
        return Split(_tensor(data[0]), _tensor(data[1]))
    if isinstance(data, torch.utils.data.DataLoader):
        return _collect(data, name)
    if isinstance(data, torch.utils.data.Dataset):
        return _collect(torch.utils.data.DataLoader(data, batch_size=256), name)
    raise DataError(
        f"{name}= needs a pair (x, y) of tensors or arrays, a Dataset or a DataLoader, not {type(data).__name__}."
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _tensor(value: Any) -> Tensor:
    return value.detach() if isinstance(value, Tensor) else torch.as_tensor(value)


def _collect(loader: Iterable[Any], name: str) -> Split:
    batches: list[tuple[Tensor, Tensor]] = []
    try:
        for batch in loader:
            inputs, targets = batch
            batches.append((_tensor(inputs), _tensor(targets)))
    except Exception as error:
        raise DataError(
            f"The {name} loader raised {type(error).__name__} after {len(batches)} batches: {error}. "
            "Each batch must be a pair (x, y) of tensors."
        ) from error
    if not batches:
        raise DataError(f"The {name} loader gave no batch. Pass at least one sample.")
    return Split(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))


def _checked(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) == 0:
        raise DataError(f"The data set is empty: inputs {tuple(inputs.shape)}. Pass at least one sample.")
    if len(inputs) != len(targets):
        raise DataError(f"There are {len(inputs)} inputs and {len(targets)} targets; they must be as many.")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        raise DataError("The inputs hold NaN or infinite values. Clean them first, e.g. with torch.nan_to_num.")
    return inputs.detach(), targets.detach()
