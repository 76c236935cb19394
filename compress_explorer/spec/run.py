"""A recipe with its results."""

from dataclasses import dataclass

from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.inventory import Skipped
from compress_explorer.spec.recipe import Recipe
from compress_explorer.spec.size import SizeReport


@dataclass(frozen=True)
class Run:
    """What one recipe did to one model.

    Attributes:
        model: the model's name.
        recipe: every value filled in.
        size: the size in every accounting.
        evaluation: the metric with its interval and the paired difference to the baseline.
        skipped: the tensors that no step treated, with the reason.
    """

    model: str
    recipe: Recipe
    size: SizeReport
    evaluation: Evaluation
    skipped: tuple[Skipped, ...]
