"""One student under training, with all that its checkpoint must keep."""

from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from compress_explorer.engine.device import device_of
from compress_explorer.engine.distillation.features import run_with_features
from compress_explorer.engine.distillation.teaching import Teaching
from compress_explorer.engine.training.loop import Loss, Progress, train
from compress_explorer.engine.training.plan import Plan
from compress_explorer.methods.distillation.batch import Batch
from compress_explorer.spec.distillation import Curve, DistillationLoss
from compress_explorer.spec.parameter import Value


class Trainee(nn.Module):
    """A student, what is trained or kept beside it, and its curve: all that the training's checkpoint holds."""

    losses: Tensor
    accuracies: Tensor

    def __init__(self, student: nn.Module, beside: nn.Module | None, epochs: int) -> None:
        """Takes a student of its own, which will be trained in place."""
        super().__init__()
        self.student, self.beside = student, beside
        self.register_buffer("losses", torch.zeros(epochs, dtype=torch.float64))
        self.register_buffer("accuracies", torch.full((epochs,), torch.nan, dtype=torch.float64))

    def curve(self) -> Curve:
        """The curve of the complete epochs."""
        done = int((~self.accuracies.isnan()).sum())
        return Curve(tuple(self.losses[:done].tolist()), tuple(self.accuracies[:done].tolist()))


def hard_loss(trainee: Trainee, lesson: Teaching) -> Loss:
    """Cross-entropy with the labels, as a function of the samples' places."""
    device = device_of(trainee)

    def loss(chosen: Tensor) -> Tensor:
        inputs, labels = (_rows(tensor, chosen, device) for tensor in (lesson.inputs, lesson.labels))
        return functional.cross_entropy(trainee.student(inputs), labels)

    return loss


def distillation_loss_of(
    trainee: Trainee, lesson: Teaching, declared: DistillationLoss, values: dict[str, Value], layer: str | None
) -> Loss:
    """The declared loss, as a function of the samples' places."""
    device = device_of(trainee)
    assert lesson.logits is not None
    logits = lesson.logits

    def loss(chosen: Tensor) -> Tensor:
        # The student first: its dropout then draws what it draws when it learns from hard labels.
        outputs, features = run_with_features(trainee.student, _rows(lesson.inputs, chosen, device), layer)
        batch = Batch(
            student=outputs,
            teacher=_rows(logits, chosen, device),
            labels=_rows(lesson.labels, chosen, device),
            student_features=features,
            teacher_features=None if lesson.features is None else _rows(lesson.features, chosen, device),
            places=chosen.to(device),
            beside=trainee.beside,
        )
        found: Tensor = declared.apply(batch, **values)
        return found

    return loss


def _rows(tensor: Tensor, chosen: Tensor, device: torch.device) -> Tensor:
    return tensor.index_select(0, chosen.to(tensor.device)).to(device)


def learn(
    trainee: Trainee,
    loss: Loss,
    plan: Plan,
    samples: int,
    measure: Callable[[nn.Module], float],
    checkpoint: Path | None,
) -> Generator[Progress, None, None]:
    """Trains in place, yields after every step, and keeps the curve; after each epoch the student is measured.

    Raises:
        TrainingError: when the loss becomes NaN or infinite.
    """
    per_epoch = plan.steps_per_epoch(samples)
    with closing(train(trainee, loss, plan, samples, checkpoint=checkpoint)) as steps:
        for progress in steps:
            epoch = (progress.step - 1) // per_epoch
            trainee.losses[epoch] += progress.loss / per_epoch
            if progress.step % per_epoch == 0:
                trainee.accuracies[epoch] = measure(trainee.student)
            yield progress
