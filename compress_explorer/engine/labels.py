"""Class indices: what they are, and whether they fit a model."""

import torch
from torch import Tensor

from compress_explorer.spec.errors import DataError


def are_class_indices(targets: Tensor) -> bool:
    """Whether `targets` are whole numbers of shape [n]."""
    return targets.ndim == 1 and not targets.is_floating_point() and not targets.is_complex()


def check_labels(targets: Tensor, classes: int) -> None:
    """Checks that `targets` are class indices 0..classes-1.

    Raises:
        DataError: when they are not whole numbers [n], or one is out of range; it names the first.
    """
    if not are_class_indices(targets):
        raise DataError(
            f"Accuracy needs class indices as whole numbers, shape [n]; the targets are "
            f"{str(targets.dtype).removeprefix('torch.')} {tuple(targets.shape)}. Convert them, e.g. y.long(), or pass "
            "metric=, a callable (outputs, targets) -> one score per sample."
        )
    numbers = targets.to(torch.int64)
    if int(numbers.min()) < 0 or int(numbers.max()) >= classes:
        first = int(torch.nonzero((numbers < 0) | (numbers >= classes))[0])
        raise DataError(
            f"Label {int(numbers[first])} is out of range: the model has {classes} outputs, "
            f"so labels must be 0 to {classes - 1}. Map the labels to these, or pass the model that knows them."
        )
