"""The surface of temperatures and alphas, beside the loop that trains one student after the other."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import compress_explorer as ce
from benchmarks.curves import timed
from benchmarks.duel import Row

TEMPERATURES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0)
ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SEEDS = (0, 1, 2)
PLAN = ce.TrainingPlan(epochs=20, batch_size=64, learning_rate=5e-3)


def loop(
    teacher: nn.Module, build: Callable[[], nn.Module], task: ce.Task, cells: list[tuple[float, float, int]]
) -> list[tuple[nn.Module, float]]:
    """What one writes: AdamW, a cosine, the same batches; the teacher's logits are computed once.

    Returns:
        Each cell's student and its accuracy on the validation split, measured after each epoch.
    """
    train, validation = task.split("train"), task.split("validation")
    with torch.no_grad():
        logits = teacher(train.inputs)
    loader = DataLoader(TensorDataset(validation.inputs, validation.targets), batch_size=256)
    return [one(build, cell, train, logits, loader) for cell in cells]


def one(
    build: Callable[[], nn.Module],
    cell: tuple[float, float, int],
    train: ce.Split,
    logits: torch.Tensor,
    loader: DataLoader[Any],
) -> tuple[nn.Module, float]:
    """One student, and its last accuracy."""
    temperature, alpha, seed = cell
    torch.manual_seed(seed)
    student, accuracy = build(), 0.0
    optimiser = torch.optim.AdamW(student.parameters(), lr=PLAN.learning_rate, weight_decay=0)
    per_epoch = len(train) // PLAN.batch_size
    steps = per_epoch * PLAN.epochs
    for epoch in range(PLAN.epochs):
        student.train()
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        for place in range(per_epoch):
            step = epoch * per_epoch + place
            optimiser.param_groups[0]["lr"] = PLAN.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            chosen = order[place * PLAN.batch_size :][: PLAN.batch_size]
            answers = student(train.inputs[chosen])
            soft = functional.kl_div(
                functional.log_softmax(answers / temperature, 1),
                functional.softmax(logits[chosen] / temperature, 1),
                reduction="batchmean",
            )
            hard = functional.cross_entropy(answers, train.targets[chosen])
            optimiser.zero_grad()
            (alpha * temperature**2 * soft + (1 - alpha) * hard).backward()
            optimiser.step()
        accuracy = right(student, loader) / len(loader.dataset)  # type: ignore[arg-type]
    return student, accuracy


def right(student: nn.Module, loader: DataLoader[Any]) -> int:
    """How many samples the student finds."""
    student.eval()
    with torch.no_grad():
        return sum(int((student(inputs).argmax(1) == targets).sum()) for inputs, targets in loader)


def run() -> list[Row]:
    """A grid of 8 temperatures, 6 alphas and 3 seeds on the digits, once; a perceptron and a convolutional student."""
    teacher, task = ce.load("digits-mlp")
    return [contest(teacher, task, build, name) for name, build in students(task)]


def students(task: ce.Task) -> list[tuple[str, Callable[[], nn.Module]]]:
    """Perceptrons of one and of two hidden layers, and one whose forward pass is its own (run by torch.func.vmap)."""
    return [
        ("64-16-10", ce.student(task, width=16, depth=1)),
        ("64-32-32-10", ce.student(task, width=32, depth=2)),
        ("64-16-10, own forward", lambda: Own()),
    ]


class Own(nn.Module):
    """A perceptron that is no Sequential."""

    def __init__(self) -> None:
        """Two layers."""
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits [n, 10] of inputs [n, 64]."""
        answers: torch.Tensor = self.last(functional.relu(self.first(inputs)))
        return answers


def contest(teacher: nn.Module, task: ce.Task, build: Callable[[], nn.Module], name: str) -> Row:
    """All students at once, and one by one; each run once, after a short warm-up."""
    cells = [(t, a, s) for t in TEMPERATURES for a in ALPHAS for s in SEEDS]
    loop(teacher, build, task, cells[:2])
    ce.surface(teacher, build, task, temperatures=(2.0,), alphas=(0.5,), plan=PLAN)
    ours, found = timed(
        lambda: ce.surface(teacher, build, task, temperatures=TEMPERATURES, alphas=ALPHAS, seeds=SEEDS, plan=PLAN)
    )
    other, expected = timed(lambda: loop(teacher, build, task, cells))
    weights = max(
        float((mine - theirs).detach().abs().max())
        for cell, (student, _) in zip(cells, expected, strict=True)
        for mine, theirs in zip(found.student(*cell).parameters(), student.parameters(), strict=True)
    )
    accuracies = torch.tensor(found.frame.accuracies).flatten() - torch.tensor([value for _, value in expected])
    answers = (
        f"largest difference of a weight {weights:.1g}, of an accuracy {100 * float(accuracies.abs().max()):.2g} points"
    )
    return Row(f"{len(cells)} students", f"digits, {name}", ours, other, None, answers)
