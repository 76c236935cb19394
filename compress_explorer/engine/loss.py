"""The loss that gradients are taken of: the task's own, or the one that fits its targets."""

from torch import Tensor
from torch.nn import functional

from compress_explorer.engine.labels import are_class_indices, check_labels
from compress_explorer.engine.task import Task
from compress_explorer.spec.errors import DataError


def task_loss(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of a batch: the task's, else cross-entropy for logits and class indices, else the mean squared error.

    Raises:
        DataError: when the task has no loss, and outputs and targets are neither; or when its loss is no number.
    """
    if task.loss is None:
        return loss_of(outputs, targets)
    found = task.loss(outputs, targets)
    if not isinstance(found, Tensor) or found.numel() != 1:
        shape = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise DataError(f"The loss of task {task.name!r} must return one number, the mean over the batch, not {shape}.")
    return found.reshape(())


def loss_of(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy for logits and class indices, else the mean squared error.

    Raises:
        DataError: when outputs and targets are neither.
    """
    if isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] > 1 and are_class_indices(targets):
        check_labels(targets, outputs.shape[1])
        return functional.cross_entropy(outputs, targets.long())
    if isinstance(outputs, Tensor) and outputs.shape == targets.shape and targets.is_floating_point():
        return functional.mse_loss(outputs, targets)
    returned = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
    raise DataError(
        f"Gradients need a loss: logits [n, classes] with class indices, or outputs and targets of one shape. The "
        f"model returns {returned} for targets {tuple(targets.shape)} {str(targets.dtype).removeprefix('torch.')}. "
        "Pass Task(..., loss=a callable (outputs, targets) -> one number)."
    )
