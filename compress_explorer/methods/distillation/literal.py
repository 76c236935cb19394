"""Two formulas of distillation as an introductory article writes them, to show by their results what they lack."""

from torch import Tensor
from torch.nn import functional

from compress_explorer.methods.distillation.batch import Batch
from compress_explorer.methods.distillation.kd import ALPHA, TEMPERATURE
from compress_explorer.spec.distillation import DistillationLoss
from compress_explorer.spec.parameter import Parameter

SOURCE = "As written in introductory articles; compare Hinton, Vinyals & Dean 2015 (arXiv 1503.02531) §2"

REFERENCE = Parameter(
    name="reference",
    label="T₀",
    kind="float",
    default=1.0,
    minimum=1e-3,
    maximum=1e4,
    soft_minimum=1.0,
    soft_maximum=20.0,
    step=0.5,
    unit="T",
    help="The temperature that the formula divides by.",
)


def kd(batch: Batch, *, alpha: float = 0.9) -> Tensor:
    """Gives (1 - alpha) · mean(-v) + alpha · KL of raw logits, KL_div(v, z) = Σ z (log z - v), the mean per element.

    The first term holds the teacher's logits alone: it is constant in the student, its gradient 0. The second hands
    raw logits to `kl_div`, which wants logarithms of probabilities first and probabilities second: teacher's logits v
    in the place of the former, the student's z in that of the latter, where a negative one has no logarithm. Such
    elements are NaN, so the loss is NaN as soon as one of the student's logits is negative.

    Args:
        batch: logits of both.
        alpha: the weight of the second term, 0 to 1.
    """
    constant = (-batch.teacher).mean()
    # The mean by hand: torch warns of its own reduction="mean", which also divides by the number of classes.
    divergence = functional.kl_div(batch.teacher, batch.student, reduction="none").mean()
    return (1 - alpha) * constant + alpha * divergence


def temperature(batch: Batch, *, temperature: float = 4.0, reference: float = 1.0) -> Tensor:
    """Gives mean(-v) + T/T₀ · KL(softmax(v/T) ‖ softmax(z/T)), the mean over the batch, in nats.

    The first term is constant in the student, its gradient 0: no label is learned from. The second's gradient shrinks
    as 1/T, for that of the softened KL shrinks as 1/T² and the factor gives back one T only.

    Args:
        batch: logits of both.
        temperature: T > 0.
        reference: T₀ > 0.
    """
    softened = functional.log_softmax(batch.student / temperature, dim=1)
    target = functional.softmax(batch.teacher / temperature, dim=1)
    divergence = functional.kl_div(softened, target, reduction="batchmean")
    return (-batch.teacher).mean() + temperature / reference * divergence


KD = DistillationLoss(
    name="kd-literal",
    label="KD as written",
    family="As written (article)",
    summary="The formula taken by its word: a term that is constant in the student, and the divergence of raw logits. "
    "A lesson, no method; “Knowledge distillation” is the proper form.",
    formula="L = (1 − α) · mean(−v) + α · KL_div(v, z)",
    source=SOURCE,
    parameters=(ALPHA,),
    goes_wrong="mean(−v) holds the teacher's logits alone: its gradient is 0, so no label is learned from. "
    "KL_div(v, z) gets raw logits in the place of probabilities, the student's as the target: of a negative one there "
    "is no logarithm, and the loss is NaN from the first step.",
    apply=kd,
)

TEMPERATURE_LITERAL = DistillationLoss(
    name="temperature-literal",
    label="Temperature as written",
    family="As written (article)",
    summary="The formula taken by its word: T/T₀ before the divergence, and a term that is constant in the student. "
    "A lesson, no method; “Knowledge distillation” is the proper form.",
    formula="L = mean(−v) + T/T₀ · KL(softmax(v/T) ‖ softmax(z/T))",
    source=SOURCE,
    parameters=(TEMPERATURE, REFERENCE),
    goes_wrong="mean(−v) holds the teacher's logits alone: its gradient is 0, so no label is learned from. "
    "The softened gradient shrinks as 1/T² and T/T₀ gives back one T only, so the higher the temperature, the slower "
    "the student learns with SGD; the proper factor is T². Adam, which rescales gradients, hides that.",
    apply=temperature,
)
