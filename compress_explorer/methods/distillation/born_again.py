"""Self-distillation: earlier generations of the student teach later ones."""

from torch import Tensor

from compress_explorer.methods.distillation import kd
from compress_explorer.methods.distillation.batch import Batch
from compress_explorer.spec.distillation import DistillationLoss
from compress_explorer.spec.parameter import Parameter


def apply(
    batch: Batch,
    *,
    generations: int = 2,  # noqa: ARG001 how often the engine repeats it
    temperature: float = 4.0,
    alpha: float = 0.9,
) -> Tensor:
    """The loss of `kd`; the teacher's logits are those of the generation before."""
    return kd.apply(batch, temperature=temperature, alpha=alpha)


LOSS = DistillationLoss(
    name="self",
    label="Born-again students",
    family="Without a teacher or data",
    summary="The student on hard labels teaches the same network anew, that one the next, and so on. Every generation "
    "begins from the same weights, so that the teacher makes the whole difference; in the paper each draws its own.",
    formula="L_g = α T² KL(softmax(z_{g−1}/T) ‖ softmax(z_g/T)) + (1 − α) CE(z_g, y),  z_0: on hard labels",
    source="Furlanello et al. 2018 (arXiv 1805.04770)",
    parameters=(
        Parameter(
            name="generations",
            label="Generations",
            kind="integer",
            default=2,
            minimum=1,
            maximum=20,
            soft_maximum=5,
            help="How many students teach one after the other, after the one on hard labels.",
        ),
        kd.TEMPERATURE,
        kd.ALPHA,
    ),
    taught_by="itself",
    apply=apply,
)
