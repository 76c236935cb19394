"""Tasks: a data set, its splits and its metric."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compress_explorer.engine.labels import check_labels
from compress_explorer.engine.order import stratified_order
from compress_explorer.engine.own_draws import own_draws
from compress_explorer.spec.errors import CompressExplorerError, DataError, unknown

MOST_COPIED = 2**28
"""Bytes of inputs of which a second copy is kept, in the order in which they are measured."""

Metric = Callable[[Tensor, Tensor], Tensor]
"""(outputs [n, ...], targets [n, ...]) -> one score per sample [n]; higher is better."""

TaskLoss = Callable[[Tensor, Tensor], Tensor]
"""(outputs [n, ...], targets [n, ...]) -> the mean loss, one number; lower is better."""


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Top-1 correctness: 1.0 where the largest logit is the label, else 0.0.

    Args:
        outputs: logits, [n, classes].
        targets: class indices, [n].

    Raises:
        DataError: when `outputs` is not [n, classes] or a label is outside 0..classes-1.
    """
    return (predicted(outputs, targets) == targets.to(torch.int64)).to(torch.float32)


def predicted(outputs: Tensor, targets: Tensor) -> Tensor:
    """The index of each sample's largest logit, int64 [n].

    Args:
        outputs: logits, [n, classes].
        targets: class indices, [n].

    Raises:
        DataError: when `outputs` is not [n, classes] or a label is outside 0..classes-1.
    """
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape[0] != targets.shape[0]:
        returned = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise DataError(
            f"Accuracy needs logits of shape [n, classes] for {targets.shape[0]} labels, but the model returned "
            f"{returned}. Wrap it in a module that returns its logits, or pass metric=, a callable "
            "(outputs, targets) -> one score per sample."
        )
    check_labels(targets, outputs.shape[1])
    return outputs.argmax(dim=1)


class Split:
    """The samples of one split: `inputs` [n, ...] and `targets` [n, ...], loaded when first asked for."""

    def __init__(self, inputs: Any, targets: Any) -> None:
        """Takes tensors or arrays.

        Raises:
            DataError: when they are empty, not as many, not numbers, or the inputs hold NaN.
        """
        checked = _checked(inputs, targets)
        self._size = len(checked[0])
        self._loader: Callable[[], tuple[Any, Any]] | None = None
        self._tensors: tuple[Tensor, Tensor] | None = checked

    @classmethod
    def lazy(cls, loader: Callable[[], tuple[Any, Any]], size: int) -> "Split":
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
            inputs, targets = _checked(*_call(self._loader))
            if len(inputs) != self._size:
                raise DataError(
                    f"The split promised {self._size} samples and its loader returned {len(inputs)}. "
                    "Pass the right size to Split.lazy."
                )
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

    @cached_property
    def order(self) -> Tensor:
        """The fixed order in which samples are measured, int64 [n], the same for every setting: `stratified_order`."""
        return stratified_order(self.targets)

    def in_order(self, places: range) -> tuple[Tensor, Tensor]:
        """The inputs and targets at neighbouring places of `order`."""
        if self._ordered is not None:
            inputs, targets = self._ordered
            return inputs[places.start : places.stop], targets[places.start : places.stop]
        return self.chosen(self.order[places.start : places.stop])

    @cached_property
    def _ordered(self) -> tuple[Tensor, Tensor] | None:
        """All samples in order, where a second copy of them is small: they are measured for every setting."""
        return self.chosen(self.order) if self.inputs.nbytes <= MOST_COPIED else None

    def chosen(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs and targets of the chosen samples, int64 [n], their places."""
        # index_select copies rows five times as fast as inputs[chosen].
        inputs, targets = (data.index_select(0, chosen.to(data.device)) for data in self._load())
        return inputs, targets

    def __len__(self) -> int:
        """The number of samples, known without loading them."""
        return self._size

    def __repr__(self) -> str:
        """Number of samples only: a split may be large or not loaded yet."""
        return f"Split({self._size} samples)"


def _call(loader: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    try:
        inputs, targets = loader()
    except CompressExplorerError:
        raise
    except Exception as error:
        raise DataError(
            f"The data could not be loaded: {type(error).__name__}: {error}. "
            "The loader of Split.lazy must return a pair (inputs, targets)."
        ) from error
    return inputs, targets


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
        loss: what is made small in training; None: cross-entropy for class indices, else the mean squared error.

    Raises:
        DataError: when a split is not a Split (`as_split` makes one), or the metric cannot be called.
    """

    name: str
    test: Split
    validation: Split | None = None
    train: Split | None = None
    metric: Metric = accuracy
    classes: tuple[str, ...] = ()
    loss: TaskLoss | None = None

    def __post_init__(self) -> None:
        """Checks the types."""
        for name in ("test", "validation", "train"):
            split = getattr(self, name)
            if not isinstance(split, Split) and (split is not None or name == "test"):
                raise DataError(f"{name}= must be a Split, not {_described(split)}. Write {name}=Split(x, y).")
        if not callable(self.metric):
            raise DataError(
                f"metric= must be a callable (outputs, targets) -> one score per sample, not {_described(self.metric)}."
            )

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


def check_task(task: object) -> None:
    """Checks that `task` is one.

    Raises:
        DataError: when it is not.
    """
    if not isinstance(task, Task):
        raise DataError(f"task must be a Task, not {_described(task)}. Write Task(name=..., test=Split(x, y)).")


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
        return Split(*data)
    if isinstance(data, torch.utils.data.DataLoader):
        return _collect(data, name)
    if isinstance(data, torch.utils.data.Dataset):
        return _collect(torch.utils.data.DataLoader(data, batch_size=256), name)
    raise DataError(
        f"{name}= needs a pair (x, y) of tensors or arrays, a Dataset or a DataLoader, not {_described(data)}."
    )


def _described(value: object) -> str:
    if isinstance(value, tuple | list) and 0 < len(value) <= 4:
        return f"a {type(value).__name__} of {', '.join(type(part).__name__ for part in value)}"
    return type(value).__name__


def _is_array(value: Any) -> bool:
    """Tensors, arrays, and what turns into one: pandas columns and tables."""
    return hasattr(value, "__array__")


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    array = np.asarray(value)
    # torch wants the machine's byte order, and memory that may be written.
    array = np.require(array, dtype=array.dtype.newbyteorder("="), requirements=["C", "W"])
    try:
        return torch.as_tensor(array)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"An array of dtype {array.dtype} cannot become a tensor of numbers. Encode words and objects as numbers, "
            "labels as 0, 1, 2 ..."
        ) from error


def _collect(loader: Iterable[Any], name: str) -> Split:
    batches: list[tuple[Tensor, Tensor]] = []
    # A loader draws a seed from the global random state, if only for workers that it does not start.
    with own_draws():
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
    shapes = {(tuple(x.shape[1:]), tuple(y.shape[1:])) for x, y in batches}
    if len(shapes) > 1:
        first, second = sorted(shapes, key=str)[:2]
        raise DataError(f"The {name} samples differ in shape: {first} and {second}. Pad or crop them to one shape.")
    return Split(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))


def _checked(given_inputs: Any, given_targets: Any) -> tuple[Tensor, Tensor]:
    inputs, targets = _tensor(given_inputs), _tensor(given_targets)
    if inputs.ndim == 0 or targets.ndim == 0:
        raise DataError(
            f"Inputs {tuple(inputs.shape)} and targets {tuple(targets.shape)} must each have an axis of samples."
        )
    if len(inputs) != len(targets):
        raise DataError(f"There are {len(inputs)} inputs and {len(targets)} targets; they must be as many.")
    if len(inputs) == 0:
        raise DataError(f"The data set is empty: inputs {tuple(inputs.shape)}. Pass at least one sample.")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        raise DataError("The inputs hold NaN or infinite values. Clean them first, e.g. with torch.nan_to_num.")
    return inputs, targets
