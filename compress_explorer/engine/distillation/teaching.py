"""What a student learns from: inputs, labels and the teacher's answers to them, computed once."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compress_explorer.engine.device import device_of, full_precision
from compress_explorer.engine.distillation.features import run_with_features
from compress_explorer.engine.evaluate import BATCH, evaluation_mode
from compress_explorer.engine.labels import check_labels
from compress_explorer.engine.task import Split
from compress_explorer.spec.errors import DataError, ModelError
from compress_explorer.spec.parameter import Value

NO_LABEL = -100
"""Of noise. Cross-entropy ignores it, so that no loss can learn from it."""


@dataclass(frozen=True, eq=False)
class Teaching:
    """What is taught: one row a sample.

    Attributes:
        inputs: [n, ...].
        labels: class indices, int64 [n]; NO_LABEL where there is none.
        logits: the teacher's, float [n, classes]; None where labels alone are taught.
        features: of the teacher's chosen layer, [n, ...]; None without one.
    """

    inputs: Tensor
    labels: Tensor
    logits: Tensor | None = None
    features: Tensor | None = None

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.inputs)


def labelled(train: Split) -> Teaching:
    """The train split, without a teacher."""
    return Teaching(train.inputs, train.targets.to(torch.int64))


def noise(train: Split, values: Mapping[str, Value], seed: int) -> Teaching:
    """Normally distributed noise of the shape and number of the train split's inputs; of these nothing else is used.

    Raises:
        DataError: when the inputs are whole numbers, such as words.
    """
    if not train.inputs.is_floating_point():
        raise DataError(f"Noise can stand for floating-point inputs, not for {train.inputs.dtype}. Take another loss.")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(train.inputs.shape, generator=generator)
    inputs = (float(values["mean"]) + float(values["deviation"]) * drawn).to(train.inputs.dtype)
    return Teaching(inputs, torch.full((len(train),), NO_LABEL))


def answered(lesson: Teaching, teacher: nn.Module, layer: str | None = None) -> Teaching:
    """The same samples with the teacher's answers to them: each is shown to it once.

    Args:
        lesson: the samples.
        teacher: runs in evaluation mode; its mode and weights stay as they are.
        layer: whose outputs are kept as features; None: none.

    Raises:
        DataError: when it does not take the inputs.
        ModelError: when its answers are no logits [n, classes], or not finite.
    """
    logits: list[Tensor] = []
    features: list[Tensor] = []
    with evaluation_mode(teacher), torch.no_grad(), full_precision(device_of(teacher)):
        for part in torch.split(lesson.inputs, BATCH):
            outputs, kept = run_with_features(teacher, part.to(device_of(teacher)), layer)
            logits.append(logits_of(outputs, "teacher").cpu())
            if kept is not None:
                features.append(kept.cpu())
    answers = torch.cat(logits)
    if not bool(torch.isfinite(answers).all()):
        raise ModelError("The teacher's logits hold NaN or infinite values. Repair or retrain it.")
    return Teaching(lesson.inputs, lesson.labels, answers, torch.cat(features) if features else None)


def logits_of(outputs: object, role: str) -> Tensor:
    """The outputs, when they are logits.

    Raises:
        ModelError: when they are not of shape [n, classes] with two classes or more.
    """
    if isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] > 1 and outputs.is_floating_point():
        return outputs
    returned = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
    raise ModelError(
        f"The {role} must return logits of shape [n, classes] with two classes or more, not {returned}. "
        "Wrap it in a module that does."
    )


def check_networks(teacher: nn.Module | None, student: nn.Module, train: Split) -> None:
    """Tries two samples, so that networks and data that do not fit each other are found at once.

    Raises:
        DataError: when a network does not take the inputs, or a label is out of range.
        ModelError: when a network returns no logits, or both do not know the same number of classes.
    """
    classes = _classes(student, "student", train)
    if teacher is not None and (known := _classes(teacher, "teacher", train)) != classes:
        raise ModelError(
            f"The teacher tells {known} classes apart and the student {classes}. Give the student {known} outputs, "
            "in the teacher's order of classes."
        )
    check_labels(train.targets, classes)


def _classes(model: nn.Module, role: str, train: Split) -> int:
    inputs = train.inputs[:2].to(device_of(model))
    with evaluation_mode(model), torch.no_grad():
        try:
            outputs = model(inputs)
        except Exception as error:
            raise DataError(
                f"The {role} cannot take inputs of shape {tuple(inputs.shape)}: {type(error).__name__}: {error}. "
                "Check that the task's data have the shape and dtype that it needs."
            ) from error
    return int(logits_of(outputs, role).shape[1])
