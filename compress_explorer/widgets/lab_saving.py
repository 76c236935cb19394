"""Saves a student of a lab: which one, under which name, and what is told of it in its file."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from compress_explorer.engine.distillation.result import Distillation, Pair
from compress_explorer.engine.distillation.student_file import design_path, save_student
from compress_explorer.engine.distillation.students import StudentDesign
from compress_explorer.figures import text
from compress_explorer.spec.errors import ParameterError
from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.widgets.lab_state import LabState


@dataclass(frozen=True, eq=False)
class Shown:
    """The students that a lab shows.

    Attributes:
        state: of the lab.
        result: the students.
        design: what builds each of them.
        code: what gives them without a lab.
    """

    state: LabState
    result: Distillation
    design: StudentDesign
    code: str

    def save(self, path: str | os.PathLike[str] | None, seed: int | None) -> tuple[Path, str]:
        """Writes one distilled student; returns its path, and in words what was written.

        Raises:
            ParameterError: when no student has that seed.
            OSError: when a file cannot be written.
        """
        pair, why = chosen(self.result, seed)
        where = free_path(self.state, pair.seed) if path is None else path
        written = save_student(pair.distilled.model, self.design, where, self._about(pair))
        size = text.in_bytes(written.stat().st_size)
        return written, f"Saved {written} ({size}; {why}), and beside it how it was made."

    def _about(self, pair: Pair) -> dict[str, Any]:
        """How a student was trained and what was measured of it, for its file."""
        evaluations = (pair.distilled.validation, pair.distilled.test)
        return {
            "teacher": self.state.teacher,
            "loss": self.result.loss,
            "values": self.result.values,
            "plan": replace(self.result.plan, seed=pair.seed).to_json(),
            "measured": {found.split: _measured(found) for found in evaluations if found},
            "code": self.code,
        }


def chosen(result: Distillation, seed: int | None) -> tuple[Pair, str]:
    """The pair whose distilled student is saved, and in words why.

    Args:
        result: the students.
        seed: of the pair; None: the best on validation, of equals the first; the first where there is no validation.

    Raises:
        ParameterError: when no student has that seed.
    """
    if seed is not None:
        pairs = [pair for pair in result.pairs if pair.seed == seed]
        if not pairs:
            known = ", ".join(str(pair.seed) for pair in result.pairs)
            raise ParameterError(f"seed={seed!r} is none of the trained students' seeds: {known}.")
        return pairs[0], f"seed {seed}"
    measured = [(pair.distilled.validation.value, pair) for pair in result.pairs if pair.distilled.validation]
    if not measured:
        first = result.pairs[0]
        return first, f"seed {first.seed}, the first"
    best = max(measured, key=lambda entry: entry[0])[1]
    return best, f"seed {best.seed}, the best on validation" if len(measured) > 1 else f"seed {best.seed}"


def _measured(evaluation: Evaluation) -> dict[str, float]:
    """A metric with its 95 % interval and the number of samples."""
    return {
        "value": evaluation.value,
        "low": evaluation.interval.low,
        "high": evaluation.interval.high,
        "count": evaluation.count,
    }


def free_path(state: LabState, seed: int, taken: Callable[[Path], bool] = Path.exists) -> Path:
    """A path in the current folder, named after teacher and student, at which neither of its files is yet."""
    teacher = re.sub(r"[^\w-]", "_", state.teacher)
    name = f"{teacher}-student-{state.kind}-{state.width}x{state.depth}-{state.loss}-seed{seed}"
    paths = (Path(f"{name}{'' if number == 1 else f'-{number}'}.safetensors") for number in count(1))
    return next(path for path in paths if not taken(path) and not taken(design_path(path)))
