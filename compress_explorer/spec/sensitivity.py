"""One parameter of a method varied in one layer at a time: which layers can be compressed, and how far."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Step

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Sensitivity:
    """What a method does to the metric when it treats a single layer, every other one being left as it is.

    Attributes:
        step: the method, its parameters at the first of the values.
        parameter: the parameter that is varied.
        values: its values.
        layers: the names of the weight tensors, in the model's order.
        evaluations: one row a layer, one entry a value; each with its paired difference to the baseline.
        reasons: why a layer has no row, by its name: the method cannot treat it.
        baseline: the uncompressed model's evaluation.
    """

    step: Step
    parameter: str
    values: tuple[Value, ...]
    layers: tuple[str, ...]
    evaluations: tuple[tuple[Evaluation, ...], ...]
    reasons: tuple[tuple[str, str], ...]
    baseline: Evaluation

    def to_frame(self) -> "pd.DataFrame":
        """A pandas table: one row a layer and value, with the metric, its difference and that one's interval."""
        import pandas as pd  # takes a third of a second to import

        rows = [
            {"layer": layer, self.parameter: value, **_figures(evaluation)}
            for layer, row in zip(self.layers, self.evaluations, strict=True)
            for value, evaluation in zip(self.values, row, strict=True)
        ]
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        """How a notebook shows it: as the table of `to_frame`."""
        return str(self.to_frame().to_html(index=False, float_format="{:.4g}".format))


def _figures(evaluation: Evaluation) -> dict[str, float | int | None]:
    interval = evaluation.difference_interval
    return {
        "metric": evaluation.value,
        "difference": evaluation.difference,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "samples": evaluation.count,
    }
