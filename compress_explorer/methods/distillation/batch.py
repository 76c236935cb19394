"""What a loss of distillation is told about one batch."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """One batch, as the student and the teacher see it.

    Attributes:
        student: the student's logits, [n, classes]; gradients flow through them.
        teacher: the teacher's logits, [n, classes], without gradients.
        labels: class indices, int64 [n].
        student_features: the output of the student's chosen layer, [n, ...]; None where a loss needs none.
        teacher_features: the same of the teacher, without gradients.
        places: which samples of the train split these are, int64 [n]; None where it does not matter.
        beside: what is trained or kept beside the student, such as a regressor; None where there is nothing.
    """

    student: Tensor
    teacher: Tensor
    labels: Tensor
    student_features: Tensor | None = None
    teacher_features: Tensor | None = None
    places: Tensor | None = None
    beside: nn.Module | None = None

    def features(self) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's features, which the engine gives to every loss that declares them."""
        assert self.student_features is not None
        assert self.teacher_features is not None
        return self.student_features, self.teacher_features
