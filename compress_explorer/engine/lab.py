"""The work of a distillation lab, as jobs made of steps: opening a teacher, measuring its rivals, training students."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from compress_explorer.engine.batches import batch_in_order
from compress_explorer.engine.compress import compress
from compress_explorer.engine.device import Device, device_of
from compress_explorer.engine.distillation.distill import distilling
from compress_explorer.engine.distillation.distilling import curve_split
from compress_explorer.engine.distillation.grid import Surface
from compress_explorer.engine.distillation.result import Distillation, footprint
from compress_explorer.engine.distillation.students import StudentDesign
from compress_explorer.engine.distillation.surface import surfacing
from compress_explorer.engine.distillation.teaching import logits_of
from compress_explorer.engine.evaluate import check_fit, evaluate, evaluation_mode
from compress_explorer.engine.labels import are_class_indices
from compress_explorer.engine.task import Task
from compress_explorer.engine.training.plan import Plan
from compress_explorer.methods.distillation.catalogue import distillation_loss
from compress_explorer.spec.distillation import DistillationProgress, SurfaceFrame
from compress_explorer.spec.errors import DataError
from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.recipe import Step

EXAMPLES = 60
"""How many test samples a lab shows."""

RIVALS: tuple[tuple[Literal["pruned", "quantized"], Step], ...] = (
    *(("pruned", Step("magnitude", sparsity=sparsity)) for sparsity in (0.5, 0.8, 0.9, 0.95, 0.98)),
    *(("quantized", Step("integer", bits=bits)) for bits in (8, 6, 4, 3, 2)),
)
"""What the teacher is compressed by, for comparison with its students."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """A teacher that is open.

    Attributes:
        model: the network.
        task: its data.
        classes: their names.
        file: bytes of its file.
        inputs: the examples, [n, ...], the one of which the teacher is least certain first.
        labels: of the examples, int64 [n].
        logits: the teacher's for the examples, [n, classes].
    """

    model: nn.Module
    task: Task
    classes: tuple[str, ...]
    file: int
    inputs: Tensor
    labels: Tensor
    logits: Tensor

    @property
    def split(self) -> str:
        """What learning curves are measured on."""
        return curve_split(self.task)


@dataclass(frozen=True)
class Measured:
    """The teacher's evaluation on a split."""

    evaluation: Evaluation


@dataclass(frozen=True, eq=False)
class Cell:
    """The students of one cell of a surface, measured like those of an ordinary training."""

    found: Distillation


@dataclass(frozen=True)
class Rival:
    """The teacher compressed otherwise, with bytes and accuracy of the result."""

    kind: Literal["pruned", "quantized"]
    step: Step
    file: int
    evaluation: Evaluation


def opening(source: Callable[[], tuple[nn.Module, Task]]) -> Iterator[Teacher]:
    """Opens a teacher.

    Raises:
        CompressExplorerError: when the model or its data cannot be used.
    """
    model, task = source()
    check_fit(model, task)
    yield _teacher(model, task)


def measuring(teacher: Teacher, device: Device = "auto") -> Iterator[Measured | Rival]:
    """Measures a teacher, on test and on the split of the curves; then its rivals, one a step."""
    model, task = teacher.model, teacher.task
    for split in dict.fromkeys(("test", teacher.split)):
        yield Measured(evaluate(model, task, split, device=device))
    for kind, step in RIVALS:
        compressed = compress(model, step, task)
        # The module, not the compressed model: the baseline would be measured each time.
        yield Rival(kind, step, compressed.size().file, evaluate(compressed.model, task, device=device))


def _teacher(model: nn.Module, task: Task) -> Teacher:
    samples = task.test
    if not are_class_indices(samples.targets):
        raise DataError("A distillation lab needs class indices as targets, shape [n], e.g. y.long().")
    inputs, labels = batch_in_order(samples, range(min(EXAMPLES, len(samples))), device_of(model))
    with evaluation_mode(model), torch.no_grad():
        logits = logits_of(model(inputs), "teacher").cpu()
    logarithms = torch.log_softmax(logits.double(), dim=1)
    order = (logarithms.exp() * logarithms).sum(dim=1).argsort(stable=True)  # minus the entropy: the largest first
    names = task.classes or tuple(map(str, range(logits.shape[1])))
    file = footprint(model, task).file_bytes
    return Teacher(model, task, names, file, inputs.cpu()[order], labels.cpu()[order], logits[order])


def training(
    teacher: Teacher,
    student: StudentDesign,
    loss: str,
    values: Mapping[str, Any],
    plan: Plan,
    seeds: Sequence[int],
    device: Device = "auto",
) -> Iterator[DistillationProgress | Distillation]:
    """Trains pairs of students; yields after every step, and at last the result.

    Raises:
        CompressExplorerError: when the loss, its values or the data do not fit, or a training diverges.
    """
    taught = distillation_loss(loss).taught_by == "teacher"
    run = distilling(
        teacher.model if taught else None,
        student,
        teacher.task,
        loss=loss,
        plan=plan,
        seeds=seeds,
        device=device,
        **values,
    )
    try:
        yield from run
        yield run.result()
    finally:
        run.close()


def surface(
    teacher: Teacher,
    student: StudentDesign,
    temperatures: Sequence[float],
    alphas: Sequence[float],
    plan: Plan,
    seeds: Sequence[int],
    device: Device = "auto",
) -> Iterator[SurfaceFrame | Surface]:
    """Trains a student for each temperature, alpha and seed, all together; yields after every step, of all.

    At last it yields the students.
    """
    run = surfacing(
        teacher.model,
        student,
        teacher.task,
        temperatures=temperatures,
        alphas=alphas,
        seeds=seeds,
        plan=plan,
        device=device,
    )
    try:
        yield from run
        yield run.result()
    finally:
        run.close()


def measuring_cells(cells: Sequence[tuple[Surface, float, float]]) -> Iterator[Cell]:
    """Measures the students of some cells, one a step: of each its surface, temperature and alpha."""
    for trained, temperature, alpha in cells:
        yield Cell(trained.distillation(temperature, alpha))
