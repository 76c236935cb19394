"""FitNets: the student's features are led to the teacher's by way of a regressor."""

from torch import Tensor, nn
from torch.nn import functional

from compress_explorer.methods.distillation.batch import Batch
from compress_explorer.spec.distillation import DistillationLoss
from compress_explorer.spec.errors import ParameterError
from compress_explorer.spec.parameter import Parameter

Shape = tuple[int, ...]


def prepare(student: Shape, teacher: Shape, samples: int, *, weight: float = 100.0) -> nn.Module:  # noqa: ARG001
    """The regressor r, trained with the student: linear for vectors, a 1x1 convolution for maps.

    Args:
        student: shape of one sample's features, [d] or [channels, height, width].
        teacher: likewise.
        samples: has no effect.
        weight: has no effect.

    Raises:
        ParameterError: when one is a vector and the other maps, or they are neither.
    """
    if len(student) == len(teacher) == 1:
        return nn.Linear(student[0], teacher[0])
    if len(student) == len(teacher) == 3:
        return nn.Conv2d(student[0], teacher[0], 1)
    raise ParameterError(
        f"FitNets needs two layers of vectors or two of maps: the student's features are {student}, the teacher's "
        f"{teacher} for one sample. Name others with layers=(student's, teacher's)."
    )


def hint_loss(regressed: Tensor, teacher: Tensor) -> Tensor:
    """½ ‖u_h − r(v_g)‖² of each element, the mean over the elements and the batch (Romero et al. 2015).

    The paper sums over the elements; with their mean the weight does not depend on the layer's width.

    Args:
        regressed: the student's features behind the regressor, [n, ...].
        teacher: the teacher's, the same shape.
    """
    return 0.5 * (teacher - regressed).square().mean()


def apply(batch: Batch, *, weight: float = 100.0) -> Tensor:
    """Gives CE(z, y) + weight · ½ mean (u_h − r(v_g))², in one stage.

    The paper trains in two: the hint up to the guided layer first, then the whole student by distillation. Maps of
    different height and width are averaged over places down to the smaller of both.

    Args:
        batch: the student's logits, labels, features of both, and the regressor beside.
        weight: 0 or more.
    """
    student, teacher = same_places(*batch.features())
    assert batch.beside is not None
    hint = hint_loss(batch.beside(student), teacher)
    return functional.cross_entropy(batch.student, batch.labels) + weight * hint


def same_places(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Maps [n, channels, height, width] averaged down to the smaller height and width of both; vectors as they are."""
    if student.ndim != 4 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    height, width = (min(pair) for pair in zip(student.shape[2:], teacher.shape[2:], strict=True))
    pooled = [functional.adaptive_avg_pool2d(maps, (height, width)) for maps in (student, teacher)]
    return pooled[0], pooled[1]


LOSS = DistillationLoss(
    name="fitnets",
    label="FitNets hint",
    family="Features",
    summary="A layer of the student, behind a regressor that is trained with it, learns the values of a layer of the "
    "teacher.",
    formula="L = CE(z, y) + β · ½ ‖u_h − r(v_g)‖²",
    source="Romero et al. 2015 (arXiv 1412.6550); in one stage, weight as in RepDistiller",
    parameters=(
        Parameter(
            name="weight",
            label="Weight of the hint",
            kind="float",
            default=100.0,
            minimum=0.0,
            maximum=1e6,
            soft_maximum=200.0,
            step=5.0,
            help="How much the features count beside the hard labels.",
        ),
    ),
    features=True,
    apply=apply,
    prepare=prepare,
)
