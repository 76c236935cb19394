"""Distillation without data: the student learns the teacher's answers to noise."""

from torch import Tensor

from compress_explorer.methods.distillation.batch import Batch
from compress_explorer.methods.distillation.kd import TEMPERATURE, soft_loss
from compress_explorer.spec.distillation import DistillationLoss
from compress_explorer.spec.parameter import Parameter


def apply(
    batch: Batch,
    *,
    temperature: float = 4.0,
    mean: float = 0.0,  # noqa: ARG001 these two make the engine's noise
    deviation: float = 1.0,  # noqa: ARG001
) -> Tensor:
    """Gives T² KL(softmax(v/T) ‖ softmax(z/T)), the mean over a batch of noise, in nats; no label is used.

    Args:
        batch: logits of both.
        temperature: T > 0.
        mean: of the noise.
        deviation: of the noise.
    """
    return soft_loss(batch.student, batch.teacher, temperature).mean()


LOSS = DistillationLoss(
    name="data-free",
    label="Noise in place of data",
    family="Without a teacher or data",
    summary="The student learns the teacher's answers to normally distributed noise, as many as the train split has "
    "samples; it sees neither its inputs nor its labels.",
    formula="L = T² KL(softmax(v(ε)/T) ‖ softmax(z(ε)/T)),  ε ~ N(μ, σ²)",
    source="The plainest of data-free distillation; compare Lopes, Fenu & Starner 2017 (arXiv 1710.07535)",
    parameters=(
        TEMPERATURE,
        Parameter(
            name="mean",
            label="Mean of the noise",
            kind="float",
            default=0.0,
            minimum=-1e4,
            maximum=1e4,
            soft_minimum=-1.0,
            soft_maximum=1.0,
            step=0.1,
            help="Of every input; 0 is the mean of normalised data.",
        ),
        Parameter(
            name="deviation",
            label="Deviation of the noise",
            kind="float",
            default=1.0,
            minimum=1e-6,
            maximum=1e4,
            soft_minimum=0.1,
            soft_maximum=3.0,
            step=0.1,
            help="Its standard deviation; 1 is that of normalised data.",
        ),
    ),
    inputs="noise",
    apply=apply,
)
