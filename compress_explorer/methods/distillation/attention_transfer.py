"""Attention transfer: the student looks where the teacher looks."""

from torch import Tensor, nn
from torch.nn import functional

from compress_explorer.methods.distillation.batch import Batch
from compress_explorer.methods.distillation.fitnets import Shape, same_places
from compress_explorer.spec.distillation import DistillationLoss
from compress_explorer.spec.errors import ParameterError
from compress_explorer.spec.parameter import Parameter


def prepare(
    student: Shape,
    teacher: Shape,
    samples: int,  # noqa: ARG001 these three are what every loss gets
    *,
    variant: str = "code",  # noqa: ARG001
    weight: float = 1000.0,  # noqa: ARG001
) -> nn.Module:
    """Nothing is trained beside the student; only checks that both layers return maps.

    Raises:
        ParameterError: when one does not.
    """
    if len(student) != 3 or len(teacher) != 3:
        raise ParameterError(
            f"Attention transfer needs maps [channels, height, width]: the student's features are {student}, the "
            f"teacher's {teacher} for one sample. Name other layers with layers=(student's, teacher's), or take "
            "'fitnets'."
        )
    return nn.Identity()


def attention(maps: Tensor) -> Tensor:
    """Q/‖Q‖₂ with Q = Σ_c A_c² at each place: [n, channels, height, width] -> [n, height · width]."""
    return functional.normalize(maps.square().sum(dim=1).flatten(1), dim=1)


def attention_loss(student: Tensor, teacher: Tensor, variant: str = "code") -> Tensor:
    """How far the student's attention is from the teacher's.

    Args:
        student: maps, [n, channels, height, width].
        teacher: maps of the same height and width, of any number of channels.
        variant: "paper": ‖Q_s/‖Q_s‖ − Q_t/‖Q_t‖‖₂, the mean over the batch (Zagoruyko & Komodakis 2017, Eq. 2 with
            p = 2); "code": the square of each place's difference, the mean over batch and places, as their
            program has it.
    """
    difference = attention(student) - attention(teacher)
    return difference.norm(dim=1).mean() if variant == "paper" else difference.square().mean()


def apply(batch: Batch, *, variant: str = "code", weight: float = 1000.0) -> Tensor:
    """Gives CE(z, y) + weight · `attention_loss`, without the paper's factor ½ of the weight.

    Args:
        batch: the student's logits, labels, and maps of both; larger ones are averaged to the smaller's places.
        variant: "code" or "paper".
        weight: 0 or more.
    """
    student, teacher = same_places(*batch.features())
    transfer = attention_loss(student, teacher, variant)
    return functional.cross_entropy(batch.student, batch.labels) + weight * transfer


LOSS = DistillationLoss(
    name="attention-transfer",
    label="Attention transfer",
    family="Features",
    summary="The student learns at which places of the image the teacher's maps are large.",
    formula="L = CE(z, y) + β · mean (Q_s/‖Q_s‖₂ − Q_t/‖Q_t‖₂)²,  Q = Σ_c A_c²;  paper: β · ‖…‖₂",
    source="Zagoruyko & Komodakis 2017 (arXiv 1612.03928) Eq. 2; by default as in their program",
    parameters=(
        Parameter(
            name="variant",
            label="Variant",
            kind="choice",
            default="code",
            choices=("code", "paper"),
            help="The paper's norm, or the mean square that the authors' program computes.",
        ),
        Parameter(
            name="weight",
            label="Weight of the attention",
            kind="float",
            default=1000.0,
            minimum=0.0,
            maximum=1e6,
            soft_maximum=2000.0,
            step=50.0,
            help="How much attention counts beside the hard labels; of the paper's variant far less is enough.",
        ),
    ),
    features=True,
    maps=True,
    apply=apply,
    prepare=prepare,
)
