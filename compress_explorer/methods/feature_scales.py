"""Scales of a layer's input features, and the columns of its weight matrix that see them."""

import torch
from torch import Tensor


def features_of(columns: Tensor, window: int, *, largest: bool) -> Tensor:
    """One number a feature from one a column: the largest, or the mean, over the columns that see it.

    Args:
        columns: [g, n].
        window: how many neighbouring columns see one feature.
        largest: whether the largest or the mean is taken.

    Returns:
        [g * n / window], in the order of the input's features.
    """
    windows = columns.reshape(-1, window)
    return windows.amax(dim=1) if largest else windows.mean(dim=1)


def magnitudes_of(weight: Tensor, groups: int, window: int) -> Tensor:
    """The largest magnitude among the weights that each feature meets, float32 [features]."""
    columns = weight.reshape(groups, -1, weight.shape[1]).abs().amax(dim=1)
    return features_of(columns, window, largest=True)


def scale_columns(weight: Tensor, features: Tensor, groups: int, window: int) -> Tensor:
    """The matrix [channels, n] whose weights are multiplied by the number of the feature that they meet.

    Args:
        weight: the matrix, [channels, n].
        features: [features], in the order of the input's features.
        groups: the rows fall into so many equal blocks, each of which sees features of its own.
        window: how many neighbouring columns see one feature.
    """
    factors = features.repeat_interleave(window).reshape(groups, 1, weight.shape[1])
    return (weight.reshape(groups, -1, weight.shape[1]) * factors).reshape(weight.shape)


def usable(scales: Tensor) -> Tensor:
    """Scales as float32 in 1e-5..1e5, and 1 where they are not finite or zero: a feature or its weights are zeros."""
    scales = torch.where(torch.isfinite(scales) & (scales > 0), scales, 1.0)
    return scales.clamp(1e-5, 1e5).float()
