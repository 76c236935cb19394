"""What the temperature does to one answer of a teacher."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from compress_explorer.spec.distillation import Softened
from compress_explorer.spec.errors import DataError, ParameterError


def softened(logits: Tensor | Sequence[float], temperatures: Sequence[float]) -> Softened:
    """One example's logits at each of the temperatures: probabilities, entropy in bits, probability outside the top.

    softmax(v/T) (Hinton et al. 2015, Eq. 1): at T = 1 the network's own probabilities, at T → ∞ equal ones, at T → 0
    all on the largest logit.

    Args:
        logits: of one example, [classes], at least two, finite.
        temperatures: each above 0.

    Raises:
        DataError: when `logits` are not one row of at least two finite numbers.
        ParameterError: when a temperature is not above 0, or there is none.
    """
    row = torch.as_tensor(logits).detach().to("cpu", torch.float64)
    if row.ndim != 1 or len(row) < 2 or not bool(torch.isfinite(row).all()):
        raise DataError(f"softened needs one example's finite logits, shape [classes], not {tuple(row.shape)}.")
    grid = np.asarray(temperatures, dtype=np.float64)
    if grid.ndim != 1 or len(grid) == 0 or not bool((np.isfinite(grid) & (grid > 0)).all()):
        raise ParameterError(f"temperatures={temperatures!r} must be finite numbers above 0, at least one.")
    logarithms = torch.log_softmax(row / torch.from_numpy(grid)[:, None], dim=1)
    probabilities = logarithms.exp()
    # What has probability 0 adds nothing; 0 · log 0 would be NaN.
    terms = torch.where(probabilities > 0, probabilities * logarithms, 0.0)
    top = torch.zeros_like(probabilities, dtype=torch.bool)
    top[:, row.argmax()] = True
    return Softened(
        temperatures=grid,
        probabilities=probabilities.numpy(),
        entropy=(-terms.sum(dim=1) / np.log(2)).abs().numpy(),
        dark=probabilities.masked_fill(top, 0.0).sum(dim=1).numpy(),
    )
