"""What a distillation found: trained students, their figures, and whether the teacher helped."""

import html
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from torch import nn

from compress_explorer.engine.copying import tensors_of
from compress_explorer.engine.cost import cost
from compress_explorer.engine.device import Device
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.layers import inspect_model
from compress_explorer.engine.safetensors_size import plain_file_bytes
from compress_explorer.engine.statistics import t_interval
from compress_explorer.engine.task import Task
from compress_explorer.engine.training.plan import Plan
from compress_explorer.spec.cost import Cost
from compress_explorer.spec.distillation import Comparison, Curve
from compress_explorer.spec.errors import DataError
from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.parameter import Value

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Footprint:
    """What a network costs: `file_bytes` of its own safetensors file, and `cost`, its parameters and work a sample."""

    file_bytes: int
    cost: Cost


def footprint(model: nn.Module, task: Task) -> Footprint:
    """Bytes and work of a network, in the accounting of `compress` (its baseline's file) and `cost`."""
    aliases = {alias for alias, _ in inspect_model(model).aliases}
    state = {name: tensor for name, tensor in tensors_of(model).items() if name not in aliases}
    return Footprint(plain_file_bytes(state), cost(model, task))


@dataclass(frozen=True, eq=False)
class Trained:
    """One student.

    Attributes:
        model: the network, in evaluation mode; it is the result's own, `evaluate` and `compress` take it as it is.
        curve: how it learned.
        validation: on the validation split; None where the task has none.
        test: on the test split. Of a distilled student both hold the paired difference to the student on hard labels.
    """

    model: nn.Module
    curve: Curve
    validation: Evaluation | None
    test: Evaluation


@dataclass(frozen=True, eq=False)
class Pair:
    """The two students of one seed: the same initial weights, the same batches in the same order.

    Attributes:
        seed: of both.
        distilled: taught by the teacher; in self-distillation the last generation.
        hard: trained by cross-entropy with the labels alone.
    """

    seed: int
    distilled: Trained
    hard: Trained


def trained(
    model: nn.Module, curve: Curve, task: Task, baseline: nn.Module | None = None, *, device: Device
) -> Trained:
    """A student with its evaluations, which are measured on `device`."""
    splits = ("test",) if task.validation is None else ("test", "validation")
    found = {split: evaluate(model, task, split, baseline=baseline, device=device) for split in splits}
    return Trained(model, curve, found.get("validation"), found["test"])


@dataclass(frozen=True, eq=False)
class Distillation:
    """Students that learned from a teacher, beside the same students on hard labels, for every seed.

    Attributes:
        loss: the name of the loss.
        values: its parameters.
        plan: of every training; the seed in it is replaced by each pair's own.
        layers: (student's layer, teacher's layer) whose features were compared; None where none were.
        pairs: one a seed that was begun.
        teacher: the teacher's evaluations and curve (empty); None in self-distillation.
        teacher_footprint: its bytes and work; None likewise.
        student_footprint: those of each student.
        curve_split: the split of the curves' accuracies.
        finished: whether every student has made all of its steps.
    """

    loss: str
    values: dict[str, Value]
    plan: Plan
    layers: tuple[str, str] | None
    pairs: tuple[Pair, ...]
    teacher: Trained | None
    teacher_footprint: Footprint | None
    student_footprint: Footprint
    curve_split: str
    finished: bool

    def comparison(self, split: str = "test") -> Comparison:
        """Distilled minus hard labels over the seeds, with Student's interval of its mean.

        Args:
            split: "test" or "validation".

        Raises:
            DataError: when the students were not measured on that split.
        """
        measured = [(_on(pair.distilled, split), _on(pair.hard, split)) for pair in self.pairs]
        differences = tuple(distilled.value - hard.value for distilled, hard in measured)
        several = len(differences) > 1
        return Comparison(
            split=split,
            differences=differences,
            mean=fmean(differences),
            deviation=stdev(differences) if several else None,
            interval=t_interval(differences) if several else None,
        )

    @property
    def verdict(self) -> str:
        """What the test split says of distillation, in a sentence with its numbers."""
        begun = "" if self.finished else "Training is not finished. "
        return begun + self.comparison().verdict

    def to_frame(self) -> "pd.DataFrame":
        """A pandas table with one row a student: seed, how it learned, epochs, the metric and its interval."""
        import pandas as pd  # takes a third of a second to import

        return pd.DataFrame(
            {
                "seed": pair.seed,
                "student": name,
                "epochs": len(student.curve.losses),
                "validation": None if student.validation is None else student.validation.value,
                "test": student.test.value,
                "low": student.test.interval.low,
                "high": student.test.interval.high,
                "file_bytes": self.student_footprint.file_bytes,
                "macs": self.student_footprint.cost.macs,
            }
            for pair in self.pairs
            for name, student in (("distilled", pair.distilled), ("hard labels", pair.hard))
        )

    def _repr_html_(self) -> str:
        """How a notebook shows it: the verdict, and the table of `to_frame`."""
        table = self.to_frame().to_html(index=False, float_format="{:.4g}".format)
        return f"<div>{html.escape(self.verdict)}</div>{table}"


def _on(student: Trained, split: str) -> Evaluation:
    found = {"test": student.test, "validation": student.validation}.get(split)
    if found is None:
        raise DataError(f"The students were not measured on split={split!r}. Take 'test', or give the task that split.")
    return found
