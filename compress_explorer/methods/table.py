"""Declarations as a table to read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress_explorer.spec.distillation import DistillationLoss
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter

if TYPE_CHECKING:
    import pandas as pd


def table(entries: Sequence[Method | DistillationLoss]) -> "pd.DataFrame":
    """One row an entry: name, label, family, summary, parameters (ranges, defaults), formula, source."""
    import pandas as pd  # takes a third of a second to import

    rows = [
        {
            "name": entry.name,
            "label": entry.label,
            "family": entry.family,
            "summary": entry.summary,
            "parameters": "; ".join(_describe(parameter) for parameter in entry.parameters),
            "formula": entry.formula,
            "source": entry.source,
        }
        for entry in entries
    ]
    return pd.DataFrame(rows)


def _describe(parameter: Parameter) -> str:
    return f"{parameter.name}: {parameter.bounds()} (default {parameter.default})"
