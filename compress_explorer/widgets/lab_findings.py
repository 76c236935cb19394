"""What a lab has found so far, and how that looks at a state: plain data, no widget."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from compress_explorer.engine.distillation.grid import Surface
from compress_explorer.engine.distillation.result import Distillation
from compress_explorer.engine.distillation.surface import ALPHAS, TEMPERATURES
from compress_explorer.engine.lab import Measured, Rival, Teacher
from compress_explorer.figures.learning_curves import Curves
from compress_explorer.figures.picture import data_uri, pixels_of
from compress_explorer.figures.softened import Example
from compress_explorer.figures.students import Mark
from compress_explorer.methods.distillation.softened import softened
from compress_explorer.spec.distillation import Arm, Curve, DistillationProgress, SurfaceFrame
from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.widgets.lab_film import Trained, View
from compress_explorer.widgets.lab_state import SURFACE_LOSS, LabState, cell_of, surface_setting


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that the worker has told of one teacher; replaced, never edited.

    Attributes:
        teacher: None while it is not open.
        measured: its evaluation by split.
        rivals: the teacher compressed otherwise.
        curves_of: the setting of the newest training; None: none was begun.
        curves: of its students.
        trained: the result of each finished training, by its setting; the newest last.
        surfaces: of which an epoch is complete, by the setting that it was trained with.
        grids: the students of each finished surface, by the same setting.
        of_surface: the settings in `trained` whose students are a surface's.
    """

    teacher: Teacher | None = None
    measured: Mapping[str, Evaluation] = field(default_factory=dict)
    rivals: tuple[Rival, ...] = ()
    curves_of: LabState | None = None
    curves: Curves = field(default_factory=dict)
    trained: Mapping[LabState, Distillation] = field(default_factory=dict)
    surfaces: Mapping[LabState, SurfaceFrame] = field(default_factory=dict)
    grids: Mapping[LabState, Surface] = field(default_factory=dict)
    of_surface: frozenset[LabState] = frozenset()

    def with_teacher_news(self, news: object) -> "Findings":
        """After news of the opening of a teacher."""
        if isinstance(news, Teacher):
            return replace(self, teacher=news)
        if isinstance(news, Measured):
            return replace(self, measured={**self.measured, news.evaluation.split: news.evaluation})
        assert isinstance(news, Rival)
        return replace(self, rivals=(*self.rivals, news))

    def with_begun(self, setting: LabState) -> "Findings":
        """A training begins: its curves are empty."""
        return replace(self, curves_of=setting, curves={})

    def with_training_news(self, news: object) -> "Findings":
        """After news of the training in hand."""
        if isinstance(news, DistillationProgress):
            known = self.curves.get((news.arm, news.seed), Curve())
            # Of a later generation the curve begins anew.
            if news.curve == known:
                return self
            return replace(self, curves={**self.curves, (news.arm, news.seed): news.curve})
        assert isinstance(news, Distillation)
        assert self.curves_of is not None
        return replace(self, trained=self._with(self.curves_of, news), of_surface=self.of_surface - {self.curves_of})

    def _with(self, setting: LabState, students: Distillation) -> dict[LabState, Distillation]:
        """All that is trained with these students, the newest last."""
        others = {known: found for known, found in self.trained.items() if known != setting}
        return {**others, setting: students}

    def with_surface(self, setting: LabState, frame: SurfaceFrame) -> "Findings":
        """After a step of a surface."""
        known = self.surfaces.get(setting)
        if frame.epoch == 0 or (known is not None and known.epoch == frame.epoch and known.step < frame.step):
            return self
        return replace(self, surfaces={**self.surfaces, setting: frame})

    def with_grid(self, setting: LabState, surface: Surface) -> "Findings":
        """After a surface is finished."""
        return replace(self, grids={**self.grids, setting: surface})

    def with_cell(self, setting: LabState, students: Distillation) -> "Findings":
        """After the students of a surface's cell were measured."""
        return replace(self, trained=self._with(setting, students), of_surface=self.of_surface | {setting})

    def with_curves_of(self, setting: LabState) -> "Findings":
        """With the curves of students that are trained. Not to be called while others are being trained."""
        pairs = self.trained[setting].pairs
        curves: dict[tuple[Arm, int], Curve] = {}
        for pair in pairs:
            curves |= {("distilled", pair.seed): pair.distilled.curve, ("hard", pair.seed): pair.hard.curve}
        return replace(self, curves_of=setting, curves=curves)


def progress_of(news: DistillationProgress | SurfaceFrame | Distillation) -> tuple[str, float]:
    """How far a training is: in words, and as a fraction of 1."""
    if isinstance(news, Distillation):
        return "", 1.0
    epoch = f"epoch {min(news.epoch + 1, news.epochs)} of {news.epochs}"
    if isinstance(news, SurfaceFrame):
        return f"surface, {epoch}", news.step / news.steps
    return f"seed {news.seed + 1}, {epoch}", news.fraction


def verdict_of(found: Findings, state: LabState) -> str:
    """What was found of the state's students, in words; "" before they are trained."""
    result = found.trained.get(state.setting)
    if result is None:
        return ""
    return f"{result.verdict} Students of the surface." if state.setting in found.of_surface else result.verdict


def view(found: Findings, state: LabState, key: str, file: int | None) -> View:
    """What the Stage shows of the findings at a state.

    Args:
        found: of the state's teacher.
        state: where the controls stand.
        key: of the film.
        file: bytes of the file of the student that the state describes.
    """
    shown = found.curves_of or state
    positions = _positions(state)
    teacher = found.teacher
    on_curve = None if teacher is None else found.measured.get(teacher.split)
    return View(
        key=key,
        parameter=state.temperature_declaration.name,
        positions=positions,
        classes=() if teacher is None else teacher.classes,
        example=None if teacher is None else example(teacher, state.example, positions),
        curves=found.curves,
        curves_of="" if found.curves_of is None else found.curves_of.loss_words,
        seeds=tuple(range(shown.seeds)),
        epochs=shown.epochs,
        teacher=None if on_curve is None else on_curve.value,
        surface=found.surfaces.get(surface_setting(state)),
        charted=_charted(found, state),
        alpha=state.alpha,
        marks=_marks(found),
        file=file,
        teacher_file=None if teacher is None else teacher.file,
        trained=tuple(_trained_at(found, state, position) for position in positions),
    )


def example(teacher: Teacher, place: int, positions: tuple[float, ...]) -> Example:
    """One example with the teacher's answer at every temperature."""
    place = min(place, len(teacher.inputs) - 1)
    logits = teacher.logits[place]
    return Example(
        picture=data_uri(pixels_of(teacher.inputs[place].numpy())),
        label=teacher.classes[int(teacher.labels[place])],
        softened=softened(logits, positions),
        hard=softened(logits, [1.0]).probabilities[0],
    )


def _positions(state: LabState) -> tuple[float, ...]:
    """The slider's positions, and where it stands when that is none of them."""
    declared = {float(position) for position in state.temperature_declaration.positions()}
    return tuple(sorted(declared | {state.temperature}))


def _trained_at(found: Findings, state: LabState, temperature: float) -> Trained | None:
    """The students of a state with this temperature."""
    at = state.with_value("temperature", temperature) if state.own_temperature else state
    result = found.trained.get(at.setting)
    if result is None:
        return None
    return Trained(tuple(pair.distilled.test.value for pair in result.pairs), result.comparison("test"))


def _charted(found: Findings, state: LabState) -> frozenset[tuple[int, int]]:
    """The cells of the state's surface whose students stand in the chart, by the indices of temperature and alpha."""
    base = surface_setting(state)
    same = (entry for entry in found.trained if entry.loss == SURFACE_LOSS and surface_setting(entry) == base)
    cells = map(cell_of, same)
    return frozenset(
        (TEMPERATURES.index(temperature), ALPHAS.index(alpha))
        for temperature, alpha in cells
        if temperature in TEMPERATURES and alpha in ALPHAS
    )


def _marks(found: Findings) -> tuple[Mark, ...]:
    """Every network that was measured on the test split."""
    marks = []
    if found.teacher is not None and "test" in found.measured:
        marks.append(_single("teacher", "", found.teacher.file, found.measured["test"]))
    for rival in found.rivals:
        values = ", ".join(f"{name} {value:g}" for name, value in rival.step.values if isinstance(value, int | float))
        marks.append(_single(rival.kind, f"({rival.step.method}, {values})", rival.file, rival.evaluation))
    for setting, result in found.trained.items():
        for kind, accuracies in (
            ("distilled", [pair.distilled.test.value for pair in result.pairs]),
            ("hard", [pair.hard.test.value for pair in result.pairs]),
        ):
            words = setting.student_words
            words = words if setting not in found.of_surface else f"{words}, of the surface"
            words = f"({setting.loss_words}; {words})" if kind == "distilled" else f"({words})"
            mean = float(np.mean(accuracies))
            file = result.student_footprint.file_bytes
            marks.append(Mark(kind, words, file, mean, min(accuracies), max(accuracies)))  # type: ignore[arg-type]
    return tuple(marks)


def _single(kind: str, words: str, file: int, evaluation: Evaluation) -> Mark:
    return Mark(kind, words, file, evaluation.value, evaluation.interval.low, evaluation.interval.high)  # type: ignore[arg-type]
