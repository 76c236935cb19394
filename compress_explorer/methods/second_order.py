"""What the methods that make up for their own errors share: the curvature of a layer's output error.

The output of a layer whose weights move by Δ changes by the squared error tr(Δ H Δᵀ), H the mean of x xᵀ over its
inputs: a quadratic function, whose minimum under constraints the second-order methods look for, row by row.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from compress_explorer.spec.errors import DataError
from compress_explorer.spec.parameter import Parameter

ATTEMPTS = 4


def damping_parameter() -> Parameter:
    """The declaration of the damping of a second-order method."""
    return Parameter(
        name="damping",
        label="Damping",
        kind="float",
        default=0.01,
        minimum=1e-6,
        maximum=10.0,
        soft_minimum=0.005,
        soft_maximum=0.1,
        step=0.005,
        help="Added to the diagonal of the inputs' second moment, as a fraction of its mean.",
    )


def dead_features(moment: Tensor) -> Tensor:
    """The features that were zero in every input, bool [g, n], of `moment` [g, n, n]."""
    return moment.diagonal(dim1=1, dim2=2) <= 0


def mean_curvature(moment: Tensor) -> Tensor:
    """The mean second moment of the features that were seen at all, float64 [g]; 1 where there are none."""
    alive = ~dead_features(moment)
    total = torch.where(alive, moment.diagonal(dim1=1, dim2=2), 0.0).sum(dim=1)
    return torch.where(total > 0, total / alive.sum(dim=1).clamp(min=1), 1.0)


def inverse_factor(moment: Tensor, damping: float) -> Tensor:
    """The upper triangular U with Uᵀ U = (H + λ mean(diag H) I)⁻¹, for every group.

    Its row i holds what the weights i, i + 1, ... need to know of each other once those before i are fixed:
    U_ii² is the first diagonal entry of the inverse of H over these, and U_ij / U_ii how j makes up for i.
    Where H is not positive definite even so, λ is raised tenfold, up to three times. A feature that was never seen
    (H_ii = 0) stands apart from the others, with the mean curvature of those that were.

    Args:
        moment: float64 [g, n, n], symmetric.
        damping: λ.

    Raises:
        DataError: when no damping tried makes H positive definite.
    """
    dead, mean = dead_features(moment), mean_curvature(moment)
    hessian = moment + torch.diag_embed(torch.where(dead, mean[:, None], 0.0))
    size = mean.new_full(mean.shape, damping)
    identity = torch.eye(moment.shape[1], dtype=moment.dtype, device=moment.device)
    for _ in range(ATTEMPTS):
        lower, failed = torch.linalg.cholesky_ex(hessian + (size * mean)[:, None, None] * identity)
        if not failed.any():
            factor, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not failed.any() and bool(torch.isfinite(factor).all()):
                return torch.as_tensor(factor)
        size = torch.where(failed > 0, 10 * size, size)
    raise DataError(
        f"The second moment of the inputs is not positive definite with damping={damping:g}, nor with up to "
        f"{10 ** (ATTEMPTS - 1)} times as much. Raise damping or samples, or look for NaN in what the layer is fed."
    )


def settle_columns(
    weights: Tensor, factor: Tensor, start: int, stop: int, settle: Callable[[int, Tensor], Tensor]
) -> None:
    """Gives columns their final values one after the other; the columns behind make up for each error as it arises.

    Works in place. The columns from `stop` on are updated once, at the end: the result is the same, but quicker.

    Args:
        weights: float64 [g, rows, n], the columns before `start` final.
        factor: `inverse_factor` of the inputs, [g, n, n].
        start: the first column to settle.
        stop: the column after the last.
        settle: (column, its present values [g, rows]) -> its final values.
    """
    errors = weights.new_empty(*weights.shape[:2], stop - start)
    for column in range(start, stop):
        values = weights[:, :, column].clone()
        final = settle(column, values)
        error = (values - final) / factor[:, column, column, None]
        weights[:, :, column + 1 : stop] -= error[:, :, None] * factor[:, None, column, column + 1 : stop]
        weights[:, :, column] = final
        errors[:, :, column - start] = error
    weights[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
