"""One parameter of a recipe varied over the whole model: a frame for every position of its slider."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Histogram:
    """Weights counted in bins, before and after compression, on one axis.

    Attributes:
        edges: the bins' bounds, one more than there are bins.
        before: counts of the uncompressed weights, a bin each; they sum to the weight count.
        after: counts of the compressed weights that are not exactly zero, a bin each.
        zeros_before: how many uncompressed weights are exactly zero (they are counted in `before` too).
        zeros_after: how many compressed weights are exactly zero; with `after` they sum to the weight count.
        levels: the values that quantized weights can take; empty where there are none or they differ by channel.
        threshold: the magnitude below which weights were pruned; None when none were by magnitude.
    """

    edges: tuple[float, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    zeros_before: int
    zeros_after: int
    levels: tuple[float, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True)
class LayerError:
    """What compression did to the values of one tensor.

    Attributes:
        name: the tensor.
        signal: sum of w^2 over its weights.
        noise: sum of (w - w_hat)^2.
        largest: max |w - w_hat|.
        weights: the number of weights.
    """

    name: str
    signal: float
    noise: float
    largest: float
    weights: int


@dataclass(frozen=True)
class Frame:
    """Everything that one slider position shows, except the accuracy, which takes time.

    Attributes:
        value: the parameter's value.
        exact: False while it comes from the index (counts near a cut are then approximate).
        file: bytes of the compressed file.
        zeros: fraction of exact zeros among the treated weights.
        histogram: of the chosen layer, or of all treated weights.
        errors: one entry a weight tensor, treated or not.
        layer_bytes: (tensor, packed bytes), one entry a stored weight tensor.
        layer_zeros: (tensor, fraction of exact zeros).
        breakdown: (part, bytes): where the file's bytes go; sums to `file`.
    """

    value: Value
    exact: bool
    file: int
    zeros: float
    histogram: Histogram
    errors: tuple[LayerError, ...]
    layer_bytes: tuple[tuple[str, int], ...]
    layer_zeros: tuple[tuple[str, float], ...]
    breakdown: tuple[tuple[str, int], ...]

    @property
    def sqnr(self) -> float:
        """Signal to quantization noise, 10 log10(sum w^2 / sum (w - w_hat)^2), in dB; infinite without error."""
        signal = sum(error.signal for error in self.errors)
        noise = sum(error.noise for error in self.errors)
        if noise == 0:
            return math.inf
        return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


@dataclass(frozen=True)
class Sweep:
    """One parameter varied over the whole model.

    Attributes:
        recipe: the recipe in which the parameter is varied.
        step: which of its steps holds the parameter.
        parameter: the parameter's name.
        values: its values, one a point of the curve.
        frames: one entry a value; None where it is not known yet.
        evaluations: one entry a value; None where it was not measured yet.
        baseline_file: bytes of the uncompressed model's file.
        baseline: the uncompressed model's evaluation; None while unknown.
    """

    recipe: Recipe
    step: int
    parameter: str
    values: tuple[Value, ...]
    frames: tuple[Frame | None, ...] = field(repr=False)  # histograms: pages of numbers
    evaluations: tuple[Evaluation | None, ...]
    baseline_file: int
    baseline: Evaluation | None

    def to_frame(self) -> "pd.DataFrame":
        """A pandas table with one row a value: size, times smaller, zeros, SQNR and the metric with its interval.

        What is not known yet is missing (NaN).
        """
        import pandas as pd  # takes a third of a second to import

        rows = [
            {self.parameter: value, **self._sizes(frame), **_metric(evaluation)}
            for value, frame, evaluation in zip(self.values, self.frames, self.evaluations, strict=True)
        ]
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        """How a notebook shows it: as the table of `to_frame`."""
        return str(self.to_frame().to_html(index=False, float_format="{:.4g}".format))

    def _sizes(self, frame: Frame | None) -> dict[str, float]:
        if frame is None:
            return {}
        return {
            "file_bytes": frame.file,
            "times_smaller": self.baseline_file / frame.file,
            "zeros": frame.zeros,
            "sqnr_db": frame.sqnr,
        }


def _metric(evaluation: Evaluation | None) -> dict[str, float | int | None]:
    if evaluation is None:
        return {}
    return {
        "metric": evaluation.value,
        "low": evaluation.interval.low,
        "high": evaluation.interval.high,
        "difference": evaluation.difference,
        "samples": evaluation.count,
    }
