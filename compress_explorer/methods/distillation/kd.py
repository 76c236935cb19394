"""Knowledge distillation: softened probabilities of the teacher, and hard labels."""

from torch import Tensor
from torch.nn import functional

from compress_explorer.methods.distillation.batch import Batch
from compress_explorer.spec.distillation import DistillationLoss
from compress_explorer.spec.parameter import Parameter

TEMPERATURE = Parameter(
    name="temperature",
    label="Temperature",
    kind="float",
    default=4.0,
    minimum=1e-3,
    maximum=1e4,
    soft_minimum=1.0,
    soft_maximum=20.0,
    step=0.5,
    unit="T",
    help="Logits are divided by it: the higher, the more the teacher's small probabilities count.",
)

ALPHA = Parameter(
    name="alpha",
    label="Alpha",
    kind="float",
    default=0.9,
    minimum=0.0,
    maximum=1.0,
    step=0.05,
    help="The weight of the teacher's softened probabilities; the hard labels have the rest.",
)


def soft_loss(student: Tensor, teacher: Tensor, temperature: float | Tensor, dim: int = -1) -> Tensor:
    """T² KL(softmax(v/T) ‖ softmax(z/T)) of each sample, in nats.

    Its gradient with respect to z is T (q - p), with the softened probabilities q of the student and p of the
    teacher; for T far above all logits it tends to (z - v)/N, where those have mean 0 and there are N classes (Hinton
    et al. 2015, Eq. 2 and 4, times the T² of their section 2).

    Args:
        student: logits z, [..., classes].
        teacher: logits v, the same shape.
        temperature: T > 0; a tensor must broadcast with the logits.
        dim: the axis of the classes, when it is not the last.

    Returns:
        [...], without the axis of the classes.
    """
    softened = functional.log_softmax(student / temperature, dim=dim)
    target = functional.log_softmax(teacher / temperature, dim=dim)
    return (functional.kl_div(softened, target, reduction="none", log_target=True) * temperature**2).sum(dim=dim)


def apply(batch: Batch, *, temperature: float = 4.0, alpha: float = 0.9) -> Tensor:
    """Gives alpha T² KL(softmax(v/T) ‖ softmax(z/T)) + (1 - alpha) CE(z, y), the mean over the batch, in nats.

    Args:
        batch: logits of both, and labels.
        temperature: T > 0; of the first term alone.
        alpha: the weight of the first term, 0 to 1; at 0 the teacher has no part.
    """
    soft = soft_loss(batch.student, batch.teacher, temperature).mean()
    return alpha * soft + (1 - alpha) * functional.cross_entropy(batch.student, batch.labels)


LOSS = DistillationLoss(
    name="kd",
    label="Knowledge distillation",
    family="Logits",
    summary="The student learns the teacher's softened probabilities and, with a smaller weight, the hard labels.",
    formula="L = α T² KL(softmax(v/T) ‖ softmax(z/T)) + (1 − α) CE(z, y)",
    source="Hinton, Vinyals & Dean 2015 (arXiv 1503.02531) §2",
    parameters=(TEMPERATURE, ALPHA),
    apply=apply,
)
