"""Every loss of distillation, in the order of the menus."""

from typing import TYPE_CHECKING

from compress_explorer.methods.distillation import (
    attention_transfer,
    born_again,
    crd,
    data_free,
    dkd,
    fitnets,
    kd,
    literal,
)
from compress_explorer.methods.table import table
from compress_explorer.spec.distillation import DistillationLoss
from compress_explorer.spec.errors import unknown

if TYPE_CHECKING:
    import pandas as pd

LOSSES: tuple[DistillationLoss, ...] = (
    kd.LOSS,
    dkd.LOSS,
    fitnets.LOSS,
    attention_transfer.LOSS,
    crd.LOSS,
    born_again.LOSS,
    data_free.LOSS,
    literal.KD,
    literal.TEMPERATURE_LITERAL,
)


def distillation_loss(name: str) -> DistillationLoss:
    """The loss called `name`.

    Raises:
        UnknownNameError: when there is none; it suggests the nearest name.
    """
    for loss in LOSSES:
        if loss.name == name:
            return loss
    raise unknown("distillation loss", name, [loss.name for loss in LOSSES])


def losses_table() -> "pd.DataFrame":
    """One row a loss: name, label, family, summary, parameters (ranges, defaults), formula, source."""
    return table(LOSSES)
