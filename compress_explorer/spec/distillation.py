"""Distillation as data: the declaration of a loss, curves, the comparison over seeds, softened probabilities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from compress_explorer.spec.evaluation import Interval
from compress_explorer.spec.parameter import Parameter, Value, complete

Arm = Literal["distilled", "hard"]
"""How a student learned: from the teacher, or from hard labels alone."""

Grid = tuple[tuple[tuple[float, ...], ...], ...]
"""A number for each [temperature][alpha][seed]."""


@dataclass(frozen=True, kw_only=True)
class DistillationLoss:
    """One loss by which a student learns from a teacher, and its declared parameters.

    Attributes:
        name: what `distill` calls it, e.g. "kd".
        label: its name in menus.
        family: the group it stands in: "Logits", "Features", "Without a teacher or data", "As written (article)".
        summary: what it does, in one sentence.
        formula: its definition in one line of plain Unicode mathematics; z are the student's logits, v the teacher's,
            y the label.
        source: the paper and equation it follows.
        parameters: its settings, in the order of their controls.
        features: whether it compares the outputs of a layer of each network.
        maps: whether those must be maps, [n, channels, height, width].
        taught_by: "teacher", or "itself": an earlier generation of the student.
        inputs: what the student sees: the "train" split, or "noise".
        goes_wrong: of a formula as written, what is wrong with it, in words; else "".
        apply: the function: (`methods.distillation.batch.Batch`, **values) -> the loss, a scalar.
        prepare: makes what is trained or kept beside the student, such as a regressor: (features of one sample of the
            student and of the teacher, number of samples, **values) -> a module; None: nothing is.
    """

    name: str
    label: str
    family: str
    summary: str
    formula: str
    source: str
    parameters: tuple[Parameter, ...]
    features: bool = False
    maps: bool = False
    taught_by: Literal["teacher", "itself"] = "teacher"
    inputs: Literal["train", "noise"] = "train"
    goes_wrong: str = ""
    apply: Callable[..., Any] = field(repr=False)
    prepare: Callable[..., Any] | None = field(default=None, repr=False)

    def complete(self, values: Mapping[str, object]) -> dict[str, Value]:
        """Every parameter's value: the given ones validated, the others at their defaults.

        Raises:
            UnknownNameError: when a given name is not a parameter.
            ParameterError: when a value is not allowed.
        """
        return complete(self.parameters, values, self.name)


@dataclass(frozen=True)
class Curve:
    """How one student learned.

    Attributes:
        losses: the mean loss of each complete epoch's batches. Those of different losses are not comparable.
        accuracies: the metric on the curve's split after each complete epoch.
    """

    losses: tuple[float, ...] = ()
    accuracies: tuple[float, ...] = ()


@dataclass(frozen=True)
class DistillationProgress:
    """Where a distillation is after a step.

    Attributes:
        seed: whose students are being trained.
        arm: which of the two students of this seed made the step.
        generation: 1 but in self-distillation, where each generation teaches the next.
        step: steps of this student that are done.
        steps: of this student, in all.
        epoch: its complete epochs.
        epochs: of this student, in all.
        loss: of this step's batch, before the step.
        curve: of this student, up to its last complete epoch.
        fraction: of all steps of all students, how many are done, 0 to 1.
    """

    seed: int
    arm: Arm
    generation: int
    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    curve: Curve
    fraction: float


@dataclass(frozen=True)
class Comparison:
    """Distilled students beside the same students on hard labels, paired by their seeds.

    Attributes:
        split: the split on which both were measured.
        differences: distilled minus hard labels, a seed each, as fractions of 1 for accuracy.
        mean: their mean.
        deviation: their standard deviation (n - 1); None of a single seed.
        interval: the 95 % interval of the mean by Student's t with n - 1 degrees of freedom,
            mean ± t · deviation / √n; None of a single seed. It is about other seeds, on these same samples.
    """

    split: str
    differences: tuple[float, ...]
    mean: float
    deviation: float | None
    interval: Interval | None

    @property
    def outcome(self) -> Literal["better", "worse", "noise", "one seed"]:
        """What the interval says of distillation; "noise" where it holds 0."""
        if self.interval is None:
            return "one seed"
        if self.interval.low <= 0 <= self.interval.high:
            return "noise"
        return "better" if self.mean > 0 else "worse"

    @property
    def verdict(self) -> str:
        """One sentence with the numbers."""
        mean = f"{100 * self.mean:+.2f} points"
        if self.interval is None:
            return f"One seed: {mean} on {self.split}; no spread is known. Pass at least three seeds."
        spread = (
            f"the 95 % t interval of {len(self.differences)} paired seeds is "
            f"{100 * self.interval.low:+.2f} to {100 * self.interval.high:+.2f}"
        )
        if self.outcome == "noise":
            return f"Noise: {mean} on {self.split}, but {spread}: no difference is shown."
        return f"Distillation is {self.outcome}: {mean} on {self.split}; {spread}."


@dataclass(frozen=True)
class SurfaceFrame:
    """A grid of temperatures and alphas while its students are trained, all at once.

    Attributes:
        temperatures: the grid's first axis.
        alphas: its second axis.
        seeds: its third axis.
        step: steps done; a step trains every student.
        steps: in all.
        epoch: complete epochs.
        epochs: in all.
        split: the split of the metric.
        accuracies: the metric after the last complete epoch, [temperature][alpha][seed]; NaN before the first.
        losses: the mean loss of that epoch's batches, likewise. Those of different cells are not comparable.
    """

    temperatures: tuple[float, ...]
    alphas: tuple[float, ...]
    seeds: tuple[int, ...]
    step: int
    steps: int
    epoch: int
    epochs: int
    split: str
    accuracies: Grid
    losses: Grid

    def means(self) -> npt.NDArray[np.float64]:
        """The metric's mean over the seeds, [temperatures, alphas]."""
        return np.asarray(np.mean(self.accuracies, axis=2))

    def best(self) -> tuple[int, int]:
        """The cell of the highest mean, by the indices of temperature and alpha; of equals the first."""
        means = self.means()
        row, column = np.unravel_index(int(means.argmax()), means.shape)
        return int(row), int(column)


@dataclass(frozen=True, eq=False)
class Softened:
    """One example's logits, softened by a grid of temperatures: a frame each.

    Attributes:
        temperatures: float64 [n].
        probabilities: softmax(logits / T), float64 [n, classes].
        entropy: of each row, in bits, 0 to log2 of the number of classes.
        dark: of each row, the probability of all classes but the most probable one, 0 to 1 - 1 / classes. The name
            alludes to Hinton's "dark knowledge", what a teacher tells by its answers' small probabilities; this
            measure of it is ours.
    """

    temperatures: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    entropy: npt.NDArray[np.float64]
    dark: npt.NDArray[np.float64]
