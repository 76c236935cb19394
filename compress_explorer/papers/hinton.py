"""Distillation on MNIST: Hinton, Vinyals & Dean 2015 (arXiv 1503.02531), section 3.

A teacher of two layers of 1,200 units, with dropout and images shifted by up to two pixels, teaches students of two
layers of 800 units without either. Smaller than in the paper: fewer epochs, 55,000 training images (5,000 are
kept for validation), and no weight constraints on the teacher.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from compress_explorer.engine.statistics import z_value
from compress_explorer.engine.training.loop import Loss
from compress_explorer.engine.training.plan import Plan
from compress_explorer.methods.distillation.batch import Batch
from compress_explorer.methods.distillation.kd import apply as kd
from compress_explorer.papers.counting import Pair
from compress_explorer.papers.parts import Parts, fresh
from compress_explorer.papers.record import Record
from compress_explorer.papers.rows import Row, errors_of_one, of_test, over_seeds
from compress_explorer.spec.evaluation import Interval
from compress_explorer.zoo.augment import random_shift
from compress_explorer.zoo.datasets import Labelled, mnist
from compress_explorer.zoo.tasks import DEFINITIONS, images_tensor

NORMALISATION = DEFINITIONS["mnist"].normalisation


@dataclass(frozen=True)
class Settings:
    """Everything the results depend on.

    Attributes:
        teacher_width: units of each of the teacher's two hidden layers.
        student_width: those of a student.
        teacher_epochs: passes of the teacher over the training images.
        student_epochs: those of a student over all training images.
        absent_epochs: those of a student whose transfer set lacks digits.
        batch_size: images of one step.
        learning_rate: Adam's peak; it falls to 0 along a cosine.
        temperature: of the softened probabilities.
        alpha: the weight of the softened probabilities; the labels have the rest.
        shift: pixels by which the teacher's images are shifted at most.
        dropout: of the teacher's inputs and of its hidden units.
        seeds: of the students; that of the teacher is 0.
        bias_step: between the biases that are tried.
        bias_end: the largest of them.
        images: how many training images are used; None: all.
    """

    teacher_width: int = 1200
    student_width: int = 800
    teacher_epochs: int = 60
    student_epochs: int = 20
    absent_epochs: int = 20
    batch_size: int = 250
    learning_rate: float = 1e-3
    temperature: float = 20.0
    alpha: float = 1.0
    shift: int = 2
    dropout: tuple[float, float] = (0.2, 0.5)
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    bias_step: float = 0.1
    bias_end: float = 20.0
    images: int | None = None


@dataclass(frozen=True, eq=False)
class Digits:
    """Images of one split: bytes, normalised inputs, labels."""

    raw: Tensor
    inputs: Tensor
    labels: Tensor

    @classmethod
    def of(cls, part: Labelled, count: int | None = None) -> "Digits":
        """The first `count` images of a split; None: all."""
        raw = images_tensor(part.images)[:count]
        return cls(raw, NORMALISATION.apply(raw), torch.from_numpy(part.labels).to(torch.int64)[:count])

    def of_classes(self, kept: Callable[[Tensor], Tensor]) -> "Digits":
        """The images whose label `kept` takes."""
        chosen = kept(self.labels)
        return Digits(self.raw[chosen], self.inputs[chosen], self.labels[chosen])


def perceptron(width: int, dropout: tuple[float, float] | None = None) -> nn.Module:
    """A 784-width-width-10 perceptron with ReLU, and dropout where rates for inputs and hidden units are given."""
    layers: list[nn.Module] = [nn.Flatten()]
    if dropout:
        layers.append(nn.Dropout(dropout[0]))
    for inputs in (784, width):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout[1]))
    return nn.Sequential(*layers, nn.Linear(width, 10))


def teacher_loss(model: nn.Module, train: Digits, shift: int) -> Loss:
    """Cross-entropy on shifted images; the training loop seeds what is drawn."""

    def loss(chosen: Tensor) -> Tensor:
        shifted = random_shift(train.raw[chosen], shift, torch.default_generator)
        return functional.cross_entropy(model(NORMALISATION.apply(shifted)), train.labels[chosen])

    return loss


def student_loss(model: nn.Module, train: Digits, taught: Tensor | None, settings: Settings) -> Loss:
    """Cross-entropy, or with the teacher's logits [n, 10] the loss of knowledge distillation."""

    def loss(chosen: Tensor) -> Tensor:
        outputs, labels = model(train.inputs[chosen]), train.labels[chosen]
        if taught is None:
            return functional.cross_entropy(outputs, labels)
        batch = Batch(student=outputs, teacher=taught[chosen], labels=labels)
        return kd(batch, temperature=settings.temperature, alpha=settings.alpha)

    return loss


@torch.inference_mode()
def logits_of(model: nn.Module, digits: Digits) -> Tensor:
    """The logits of the network, in evaluation mode: [n, 10]."""
    return torch.cat([model(batch) for batch in torch.split(digits.inputs, 1000)]).clone()


def plan(settings: Settings, epochs: int, seed: int) -> Plan:
    """How a network is trained."""
    return Plan(epochs=epochs, batch_size=settings.batch_size, learning_rate=settings.learning_rate, seed=seed)


def run(settings: Settings, parts: Parts) -> dict[str, Any]:
    """Trains the teacher and, for every seed, the students; returns counts of errors on test, as plain data."""
    train, validation, test = (
        Digits.of(mnist(part), settings.images if part == "train" else None) for part in ("train", "validation", "test")
    )
    teacher = fresh(lambda: perceptron(settings.teacher_width, settings.dropout), 0)
    loss = teacher_loss(teacher, train, settings.shift)
    parts.train("teacher", teacher, loss, plan(settings, settings.teacher_epochs, 0), len(train.labels))
    students = {
        "plain": (train, False),
        "distilled": (train, True),
        "without-3": (train.of_classes(lambda labels: labels != 3), True),
        "only-7-8": (train.of_classes(lambda labels: (labels == 7) | (labels == 8)), True),
    }
    logits: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
    for name, (transfer, taught) in students.items():
        answers = logits_of(teacher, transfer) if taught else None
        epochs = settings.student_epochs if transfer is train else settings.absent_epochs
        for seed in settings.seeds:
            student = fresh(partial(perceptron, settings.student_width), seed)
            loss, steps = (
                student_loss(student, transfer, answers, settings),
                plan(settings, epochs, seed),
            )
            parts.train(f"{name}-{seed}", student, loss, steps, len(transfer.labels))
            logits[name, seed] = (logits_of(student, validation), logits_of(student, test))
    return {
        "images": len(test.labels),
        "teacher": errors(logits_of(teacher, test), test),
        "changes": changes([(logits["plain", seed][1], logits["distilled", seed][1]) for seed in settings.seeds], test),
        "students": [
            {
                "seed": seed,
                "plain": errors(logits["plain", seed][1], test),
                "distilled": errors(logits["distilled", seed][1], test),
                **discordant(logits["plain", seed][1], logits["distilled", seed][1], test),
                "without_3": with_biases(*logits["without-3", seed], validation, test, (3,), settings, sign=1),
                "only_7_8": with_biases(*logits["only-7-8", seed], validation, test, (7, 8), settings, sign=-1),
            }
            for seed in settings.seeds
        ],
    }


def errors(logits: Tensor, digits: Digits) -> int:
    """How many images are classified wrongly."""
    return int((logits.argmax(1) != digits.labels).sum())


def discordant(before: Tensor, after: Tensor, digits: Digits) -> dict[str, int]:
    """How many images are right after and were wrong before, and the other way round."""
    pair = Pair.of(before.argmax(1) == digits.labels, after.argmax(1) == digits.labels)
    return {"gained": pair.gained, "lost": pair.lost}


def changes(pairs: Sequence[tuple[Tensor, Tensor]], digits: Digits) -> dict[str, int]:
    """By how many more students an image was lost than gained, in pairs (before, after): the images of each number."""
    total = torch.zeros(len(digits.labels), dtype=torch.int64)
    for before, after in pairs:
        total += (before.argmax(1) == digits.labels).long() - (after.argmax(1) == digits.labels).long()
    return {str(value): int((total == value).sum()) for value in sorted(set(total.tolist()))}


def with_biases(
    validation_logits: Tensor,
    test_logits: Tensor,
    validation: Digits,
    test: Digits,
    classes: tuple[int, ...],
    settings: Settings,
    sign: int,
) -> dict[str, Any]:
    """Test errors, in all and on `classes`, as the biases of `classes` are moved.

    Args:
        validation_logits: of the student, on validation.
        test_logits: of the student, on test.
        validation: the images on which a bias may be chosen.
        test: those on which the errors are counted.
        classes: whose biases are moved, all by as much.
        settings: which biases are tried.
        sign: 1 to raise them, -1 to lower them.

    Returns:
        The errors without a change; with the bias that is best on test, which is how the paper chose; and with
        that which is best on validation. Of equally good ones the smallest.
    """
    grid = [sign * settings.bias_step * step for step in range(round(settings.bias_end / settings.bias_step) + 1)]
    chosen = {
        "none": 0.0,
        "by_test": min(grid, key=lambda bias: errors(moved(test_logits, classes, bias), test)),
        "by_validation": min(grid, key=lambda bias: errors(moved(validation_logits, classes, bias), validation)),
    }
    of_classes = torch.isin(test.labels, torch.tensor(classes))
    found = {}
    for name, bias in chosen.items():
        wrong = moved(test_logits, classes, bias).argmax(1) != test.labels
        found[name] = {"bias": bias, "errors": int(wrong.sum()), "on_classes": int(wrong[of_classes].sum())}
    return found


def moved(logits: Tensor, classes: tuple[int, ...], bias: float) -> Tensor:
    """The logits after `bias` was added to the biases of `classes`."""
    changed = logits.clone()
    changed[:, list(classes)] += bias
    return changed


def rows(record: Record) -> Sequence[Row]:
    """The results beside the paper's: its section 3."""
    found, students = record.results, record.results["students"]
    pairs = [Pair(entry["gained"], entry["lost"], found["images"]) for entry in students]

    def mean(what: str, paper: str, key: str, choice: str, value: str) -> Row:
        return over_seeds(what, paper, [entry[key][choice][value] for entry in students], "errors")

    without, only = "without_3", "only_7_8"
    rate = found["images"] / 100
    return [
        errors_of_one("teacher", "67 errors", found["teacher"], found["images"]),
        over_seeds("student, labels alone", "146 errors", [entry["plain"] for entry in students], "errors"),
        over_seeds("student, distilled", "74 errors", [entry["distilled"] for entry in students], "errors"),
        over_seeds("distilled − labels alone", "−72 errors", [pair.lost - pair.gained for pair in pairs], "errors"),
        of_students("– the same, for these students", "−72 errors", found["changes"], len(students)),
        of_test("McNemar's test, the largest p of the seeds", max(pair.p_value for pair in pairs)),
        mean("never shown a 3", "206 errors", without, "none", "errors"),
        mean("– of these on 3s", "133 errors", without, "none", "on_classes"),
        mean("– bias of 3 raised, chosen on test as in the paper", "109 errors", without, "by_test", "errors"),
        mean("– of these on 3s", "14 errors", without, "by_test", "on_classes"),
        over_seeds("– that bias", "+3.5", [entry[without]["by_test"]["bias"] for entry in students], "added"),
        mean("– bias of 3 raised, chosen on validation", "", without, "by_validation", "errors"),
        mean("– of these on 3s", "", without, "by_validation", "on_classes"),
        *(
            over_seeds(what, paper, [entry[only][choice]["errors"] / rate for entry in students], "% error")
            for what, paper, choice in (
                ("shown 7s and 8s alone", "47.3 %", "none"),
                ("– biases of 7 and 8 lowered, chosen on test as in the paper", "13.2 %", "by_test"),
                ("– biases of 7 and 8 lowered, chosen on validation", "", "by_validation"),
            )
        ),
    ]


def of_students(what: str, paper: str, changed: dict[str, int], students: int) -> Row:
    """The mean change in the number of errors of these students, over other test images."""
    values = torch.tensor([int(value) for value, count in changed.items() for _ in range(count)]).double()
    mean, deviation = float(values.mean()), float(values.std())
    scale = len(values) / students
    half = z_value() * deviation / math.sqrt(len(values))
    return Row(
        what, paper, scale * mean, Interval(scale * (mean - half), scale * (mean + half)), "errors", "test images"
    )
