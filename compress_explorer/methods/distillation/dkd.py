"""Decoupled knowledge distillation: what the teacher says of the right class, and of the others, weighted apart."""

import torch
from torch import Tensor
from torch.nn import functional

from compress_explorer.methods.distillation.batch import Batch
from compress_explorer.methods.distillation.kd import TEMPERATURE
from compress_explorer.spec.distillation import DistillationLoss
from compress_explorer.spec.parameter import Parameter


def parts(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """The two parts of KL(p ‖ q) = TCKD + (1 - p_y) NCKD for softened probabilities p (teacher) and q (student).

    Args:
        student: logits, [n, classes].
        teacher: logits, [n, classes].
        labels: class indices y, int64 [n].
        temperature: T > 0.

    Returns:
        TCKD [n], the divergence of (p_y, 1 - p_y) from (q_y, 1 - q_y); NCKD [n], that of the other classes'
        probabilities among themselves (Zhao et al. 2022); p_y [n]. Nats, without the factor T².
    """
    right = functional.one_hot(labels, student.shape[1]).bool()
    q, others_q = _split(student / temperature, right)
    p, others_p = _split(teacher / temperature, right)
    target = functional.kl_div(q, p, reduction="none", log_target=True).sum(dim=1)
    other = functional.kl_div(others_q, others_p, reduction="none", log_target=True).sum(dim=1)
    return target, other, p[:, 0].exp()


def _split(logits: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of (p_y, 1 - p_y), [n, 2], and of the other classes' probabilities among themselves, [n, classes - 1].

    By log-sum-exp: 1 - p_y of a teacher that is sure would be 0 in float32, and its logarithm infinite.
    """
    others = logits[~right].view(len(logits), -1)
    binary = torch.stack([logits[right], others.logsumexp(dim=1)], dim=1)
    return functional.log_softmax(binary, dim=1), functional.log_softmax(others, dim=1)


def apply(batch: Batch, *, temperature: float = 4.0, alpha: float = 1.0, beta: float = 8.0) -> Tensor:
    """Gives CE(z, y) + T² (alpha TCKD + beta NCKD), the mean over the batch, in nats.

    Args:
        batch: logits of both, and labels.
        temperature: T > 0.
        alpha: the weight of what is said of the right class, 0 or more.
        beta: the weight of what is said of the other classes, 0 or more.
    """
    target, other, _ = parts(batch.student, batch.teacher, batch.labels, temperature)
    softened = temperature**2 * (alpha * target + beta * other).mean()
    return functional.cross_entropy(batch.student, batch.labels) + softened


LOSS = DistillationLoss(
    name="dkd",
    label="Decoupled KD",
    family="Logits",
    summary="Splits the divergence into what the teacher says of the right class and of the others among themselves.",
    formula="L = CE(z, y) + T² (α TCKD + β NCKD),  KL = TCKD + (1 − p_y) NCKD",
    source="Zhao, Cui, Song, Qiu & Liang 2022 (arXiv 2203.08679)",
    parameters=(
        TEMPERATURE,
        Parameter(
            name="alpha",
            label="Alpha",
            kind="float",
            default=1.0,
            minimum=0.0,
            maximum=1e4,
            soft_maximum=4.0,
            step=0.25,
            help="The weight of the right class's probability against all others.",
        ),
        Parameter(
            name="beta",
            label="Beta",
            kind="float",
            default=8.0,
            minimum=0.0,
            maximum=1e4,
            soft_maximum=16.0,
            step=0.5,
            help="The weight of the other classes' probabilities among themselves.",
        ),
    ),
    apply=apply,
)
