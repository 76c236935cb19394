"""What a surface found: students for every temperature, alpha and seed, and each cell of it as a distillation."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from compress_explorer.engine.distillation.result import Distillation, Footprint, Pair, Trained, footprint, trained
from compress_explorer.engine.task import Task
from compress_explorer.engine.training.plan import Plan
from compress_explorer.spec.distillation import Curve, SurfaceFrame
from compress_explorer.spec.errors import DataError, ParameterError, TrainingError

HARD_LABELS = 0.0
"""The alpha at which the teacher has no part."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Students for every temperature, alpha and seed.

    Attributes:
        frame: the grid, with the metric of every student.
        plan: of every training; the seed in it is replaced by each student's own.
        students: in evaluation mode, in the order of seeds, temperatures, alphas.
        curves: how each of them learned, in the same order.
        teacher: of all of them.
        task: they learned from its train split.
        device: where they were trained, and are measured.
    """

    frame: SurfaceFrame
    plan: Plan
    students: tuple[nn.Module, ...]
    curves: tuple[Curve, ...]
    teacher: nn.Module
    task: Task
    device: torch.device

    def student(self, temperature: float, alpha: float, seed: int) -> nn.Module:
        """The student of one cell and seed, which `evaluate` and `compress` take as it is.

        Raises:
            ParameterError: when the grid has no such cell.
        """
        return self.students[place_of(self.frame, temperature, alpha, seed)]

    def best(self) -> tuple[float, float]:
        """Temperature and alpha of the cell with the highest mean on the validation split; of equals the first.

        It was the best of many, so that its accuracy on validation is an optimistic one: report that on test.

        Raises:
            DataError: when the task has no validation split. A choice on test would make its accuracy there untrue.
            TrainingError: when no epoch is complete.
        """
        frame = self.frame
        if frame.split != "validation":
            raise DataError("A best cell is chosen on the validation split, and the task has none. Give it one.")
        if frame.epoch == 0:
            raise TrainingError("No epoch of the surface is complete yet, so that no cell is the best. Train on.")
        row, column = frame.best()
        return frame.temperatures[row], frame.alphas[column]

    def distillation(self, temperature: float, alpha: float) -> Distillation:
        """The students of one cell beside those on hard labels alone, measured like the students of `distill`.

        Those on hard labels are the surface's at this temperature and alpha 0, where the teacher has no part.

        Raises:
            ParameterError: when the grid has no such cell, or no alpha 0.
        """
        frame = self.frame
        if HARD_LABELS not in frame.alphas:
            raise ParameterError(
                f"alphas={frame.alphas!r} hold no 0, so that no student learned from hard labels alone. Add alpha 0."
            )
        pairs = tuple(self._pair(temperature, alpha, seed) for seed in frame.seeds)
        teacher, teacher_footprint = self._teacher
        return Distillation(
            loss="kd",
            values={"temperature": float(temperature), "alpha": float(alpha)},
            plan=self.plan,
            layers=None,
            pairs=pairs,
            teacher=teacher,
            teacher_footprint=teacher_footprint,
            student_footprint=footprint(pairs[0].hard.model, self.task),
            curve_split=frame.split,
            finished=frame.step == frame.steps,
        )

    @cached_property
    def _teacher(self) -> tuple[Trained, Footprint]:
        """The teacher measured, once for all cells."""
        return trained(self.teacher, Curve(), self.task, device=self.device), footprint(self.teacher, self.task)

    def _pair(self, temperature: float, alpha: float, seed: int) -> Pair:
        distilled, hard = (place_of(self.frame, temperature, entry, seed) for entry in (alpha, HARD_LABELS))
        student, baseline = self.students[distilled], self.students[hard]
        return Pair(
            seed,
            trained(student, self.curves[distilled], self.task, baseline=baseline, device=self.device),
            trained(baseline, self.curves[hard], self.task, device=self.device),
        )


def place_of(frame: SurfaceFrame, temperature: float, alpha: float, seed: int) -> int:
    """The place of a student in the order of seeds, temperatures, alphas.

    Raises:
        ParameterError: when the grid has no such cell.
    """
    place = 0
    for name, value, axis in (
        ("seed", seed, frame.seeds),
        ("temperature", temperature, frame.temperatures),
        ("alpha", alpha, frame.alphas),
    ):
        if value not in axis:
            raise ParameterError(f"{name}={value!r} is not in the grid: {', '.join(f'{entry:g}' for entry in axis)}.")
        place = place * len(axis) + axis.index(value)
    return place
