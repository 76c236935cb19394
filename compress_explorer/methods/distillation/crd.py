"""Contrastive representation distillation: a sample's features are told from those of others, across both networks."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from compress_explorer.methods.distillation.batch import Batch
from compress_explorer.methods.distillation.fitnets import Shape
from compress_explorer.spec.distillation import DistillationLoss
from compress_explorer.spec.parameter import Parameter

DIMENSION = 128
"""Of the space that both networks' features are projected to."""

MOMENTUM = 0.5
"""How much of its old value an entry of the memory keeps."""

EPSILON = 1e-7


class Memory(nn.Module):
    """Two projections that are trained with the student, and the last embeddings of every sample of the train split.

    Buffers, so that a training's checkpoint holds them: `student` and `teacher`, [samples, DIMENSION], rows of length
    1; `normalisers` [2], the constants Z of both critics, 0 until the first batch.
    """

    student: Tensor
    teacher: Tensor
    normalisers: Tensor

    def __init__(self, student: int, teacher: int, samples: int) -> None:
        """Takes the number of features of each network and the number of samples."""
        super().__init__()
        self.project_student = nn.Linear(student, DIMENSION)
        self.project_teacher = nn.Linear(teacher, DIMENSION)
        self.register_buffer("student", functional.normalize(torch.randn(samples, DIMENSION), dim=1))
        self.register_buffer("teacher", functional.normalize(torch.randn(samples, DIMENSION), dim=1))
        self.register_buffer("normalisers", torch.zeros(2))


def prepare(
    student: Shape,
    teacher: Shape,
    samples: int,
    *,
    temperature: float = 0.07,  # noqa: ARG001 the loss's, not the memory's
    negatives: int = 256,  # noqa: ARG001
    weight: float = 0.8,  # noqa: ARG001
) -> nn.Module:
    """The projections and the memory for features of these shapes; maps are flattened."""
    return Memory(math.prod(student), math.prod(teacher), samples)


def contrast_loss(critic: Tensor, samples: int) -> Tensor:
    """Gives -(log h(positive) + Σ log (1 - h(negative))) with h = c/(c + N/M), the mean over the batch.

    Args:
        critic: exp(g_T · g_S / τ)/Z of the positive in column 0 and of N negatives behind it, [n, 1 + N].
        samples: M, the number of samples of the data set.
    """
    chance = (critic.shape[1] - 1) / samples
    positive = (critic[:, 0] / (critic[:, 0] + chance + EPSILON)).log()
    negative = (chance / (critic[:, 1:] + chance + EPSILON)).log()
    return -(positive.sum() + negative.sum()) / len(critic)


def scores(anchors: Tensor, memory: Tensor, chosen: Tensor, temperature: float) -> Tensor:
    """exp(anchor · entry / τ) of each anchor and its chosen entries, [n, k].

    Args:
        anchors: rows of length 1, [n, d].
        memory: rows of length 1, [samples, d].
        chosen: places of the entries, int64 [n, k].
        temperature: τ > 0.
    """
    return (torch.einsum("nkd,nd->nk", memory[chosen], anchors) / temperature).exp()


def renewed(memory: Tensor, places: Tensor, embeddings: Tensor) -> Tensor:
    """The memory with the entries at `places` moved towards these embeddings, and of length 1 again."""
    moved = MOMENTUM * memory[places] + (1 - MOMENTUM) * embeddings
    return memory.index_copy(0, places, functional.normalize(moved, dim=1))


def apply(batch: Batch, *, temperature: float = 0.07, negatives: int = 256, weight: float = 0.8) -> Tensor:
    """Gives CE(z, y) + weight · the contrast of both directions.

    The student's embedding of a sample is told from the remembered teacher's embeddings of other samples, and the
    teacher's from the student's. Negatives are drawn from a memory of all samples, each equally likely, as the
    authors do; the sample itself may be among them, as there. The memory is renewed after it was used.

    Args:
        batch: the student's logits, labels, features of both, places of the samples, and a `Memory` beside.
        temperature: τ > 0 of the critic, not of softened probabilities.
        negatives: N, drawn for each sample.
        weight: 0 or more.
    """
    memory, (student, teacher), places = batch.beside, batch.features(), batch.places
    assert isinstance(memory, Memory)
    assert places is not None
    count = len(memory.student)
    drawn = torch.randint(count, (len(places), negatives), device=places.device)
    chosen = torch.cat([places[:, None], drawn], dim=1)
    embedded = [
        functional.normalize(project(features.flatten(1)), dim=1)
        for project, features in ((memory.project_student, student), (memory.project_teacher, teacher))
    ]
    critics = [
        scores(embedded[0], memory.teacher, chosen, temperature),
        scores(embedded[1], memory.student, chosen, temperature),
    ]
    with torch.no_grad():
        if not bool(memory.normalisers.any()):
            memory.normalisers.copy_(torch.stack([critic.mean() * count for critic in critics]))
        constants = memory.normalisers.clone()
        memory.student.copy_(renewed(memory.student, places, embedded[0]))
        memory.teacher.copy_(renewed(memory.teacher, places, embedded[1]))
    contrast = sum((contrast_loss(critic / z, count) for critic, z in zip(critics, constants, strict=True)), start=0.0)
    return functional.cross_entropy(batch.student, batch.labels) + weight * contrast


LOSS = DistillationLoss(
    name="crd",
    label="Contrastive (CRD)",
    family="Features",
    summary="The student's features of a sample are to be told from the teacher's features of other samples, and the "
    "other way round; negatives come from a memory of the train split.",
    formula="L = CE(z, y) − β Σ [log h(T, S) + Σ_N log(1 − h(T, S_j))],  h = e^{g_T·g_S/τ}/Z ÷ (e^{g_T·g_S/τ}/Z + N/M)",
    source="Tian, Krishnan & Isola 2020 (arXiv 1910.10699); memory, momentum and Z as in their program",
    parameters=(
        Parameter(
            name="temperature",
            label="Temperature τ",
            kind="float",
            default=0.07,
            minimum=0.01,
            maximum=10.0,
            soft_maximum=0.5,
            step=0.01,
            help="Of the critic: the smaller, the more the nearest negatives count.",
        ),
        Parameter(
            name="negatives",
            label="Negatives",
            kind="integer",
            default=256,
            minimum=1,
            maximum=65536,
            soft_minimum=16,
            soft_maximum=4096,
            scale="log2",
            unit="samples",
            help="Drawn for each sample from the memory; the paper has 16,384 of 50,000 samples.",
        ),
        Parameter(
            name="weight",
            label="Weight of the contrast",
            kind="float",
            default=0.8,
            minimum=0.0,
            maximum=1e4,
            soft_maximum=2.0,
            step=0.1,
            help="How much the contrast counts beside the hard labels.",
        ),
    ),
    features=True,
    apply=apply,
    prepare=prepare,
)
