"""A distillation under way: pairs of students, trained step by step."""

import copy
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from compress_explorer.engine.device import device_of, on_device
from compress_explorer.engine.distillation.beginnings import Student, initial, seeded
from compress_explorer.engine.distillation.features import feature_shapes
from compress_explorer.engine.distillation.result import Distillation, Pair, footprint, trained
from compress_explorer.engine.distillation.teaching import Teaching, answered, labelled, noise
from compress_explorer.engine.distillation.trainee import (
    Trainee,
    distillation_loss_of,
    hard_loss,
    learn,
)
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.fingerprint import training_fingerprint
from compress_explorer.engine.task import Task
from compress_explorer.engine.training.plan import Plan
from compress_explorer.spec.distillation import Arm, Curve, DistillationLoss, DistillationProgress
from compress_explorer.spec.errors import TrainingError
from compress_explorer.spec.parameter import Value

Key = tuple[int, Arm, int]
"""(seed, arm, generation) of one student."""


def curve_split(task: Task) -> str:
    """The split that curves are measured on: validation, or test where there is none."""
    return "test" if task.validation is None else "validation"


@dataclass(frozen=True, eq=False)
class DistillationSetting:
    """The arguments of `distill`, checked; `device` is where to train, `home` where students come from and go to."""

    teacher: nn.Module | None
    student: Student
    task: Task
    loss: DistillationLoss
    values: dict[str, Value]
    plan: Plan
    seeds: tuple[int, ...]
    layers: tuple[str, str] | None
    checkpoint: Path | None
    device: torch.device
    home: torch.device

    @property
    def generations(self) -> int:
        """How many students each seed's teaching takes: 1 but in self-distillation."""
        return int(self.values["generations"]) if self.loss.taught_by == "itself" else 1

    @cached_property
    def labels(self) -> Teaching:
        """The train split."""
        return labelled(self.task.split("train"))

    @cached_property
    def lesson(self) -> Teaching:
        """What the teacher teaches, computed once."""
        assert self.teacher is not None
        teacher = on_device(self.teacher, self.device)
        train = self.task.split("train")
        shown = noise(train, self.values, self.plan.seed) if self.loss.inputs == "noise" else self.labels
        return answered(shown, teacher, self.layers[1] if self.layers else None)

    @property
    def steps(self) -> int:
        """Steps of one student."""
        return self.plan.epochs * self.plan.steps_per_epoch(len(self.task.split("train")))


class Distilling(Iterator[DistillationProgress]):
    """A distillation under way: an iterator that trains one step each time it is asked for the next.

    Not to ask pauses it. `close` ends it and writes the checkpoints, if there is a folder for them. `result` gives
    what was trained so far, at any time. Between two steps nothing runs: it is not to be used by two threads at once.
    """

    def __init__(self, setting: DistillationSetting) -> None:
        """Takes what `distilling` has checked."""
        self._setting = setting
        self._trainees: dict[Key, Trainee] = {}
        self._done: dict[Key, int] = {}
        self._steps = self._run()

    def __next__(self) -> DistillationProgress:
        """Trains one step.

        Raises:
            StopIteration: when all is trained, or after `close`.
            TrainingError: when the loss became NaN or infinite.
        """
        return next(self._steps)

    def close(self) -> None:
        """Ends the training; `result` still gives what was trained."""
        self._steps.close()

    def result(self) -> Distillation:
        """The students as they are now, copied and measured; of seeds that were begun with both students.

        Raises:
            TrainingError: when no pair was begun yet.
        """
        setting, pairs = self._setting, []
        for seed in setting.seeds:
            taught = [key for key in self._trainees if key[:2] == (seed, "distilled")]
            if taught and (seed, "hard", 1) in self._trainees:
                pairs.append(self._pair(seed, self._trainees[max(taught)], self._trainees[seed, "hard", 1]))
        if not pairs:
            raise TrainingError("No pair of students was trained yet. Ask the iterator for its next step first.")
        teacher = setting.teacher
        return Distillation(
            loss=setting.loss.name,
            values=setting.values,
            plan=setting.plan,
            layers=setting.layers,
            pairs=tuple(pairs),
            teacher=None if teacher is None else trained(teacher, Curve(), setting.task, device=setting.device),
            teacher_footprint=None if teacher is None else footprint(teacher, setting.task),
            student_footprint=footprint(pairs[0].hard.model, setting.task),
            curve_split=curve_split(setting.task),
            finished=sum(self._done.values()) == self._all_steps,
        )

    def _pair(self, seed: int, taught: Trainee, hard: Trainee) -> Pair:
        task, device, home = self._setting.task, self._setting.device, self._setting.home
        models = [copy.deepcopy(trainee.student).eval().to(home) for trainee in (taught, hard)]
        return Pair(
            seed,
            trained(models[0], taught.curve(), task, baseline=models[1], device=device),
            trained(models[1], hard.curve(), task, device=device),
        )

    @property
    def _all_steps(self) -> int:
        return self._setting.steps * len(self._setting.seeds) * (1 + self._setting.generations)

    def _run(self) -> Generator[DistillationProgress, None, None]:
        for seed in self._setting.seeds:
            hard = self._train((seed, "hard", 1), self._setting.labels)
            if self._setting.loss.taught_by == "itself":
                yield from hard
                yield from self._generations(seed)
            else:
                yield from _in_turn([self._train((seed, "distilled", 1), self._setting.lesson), hard])

    def _generations(self, seed: int) -> Generator[DistillationProgress, None, None]:
        """Each generation is taught by the one before, the first one by the student on hard labels."""
        before: Key = (seed, "hard", 1)
        for generation in range(1, self._setting.generations + 1):
            lesson = answered(self._setting.labels, self._trainees[before].student)
            before = (seed, "distilled", generation)
            yield from self._train(before, lesson)

    def _train(self, key: Key, lesson: Teaching) -> Generator[DistillationProgress, None, None]:
        """Trains one student; yields after each step."""
        setting, (seed, arm, generation) = self._setting, key
        plan = replace(setting.plan, seed=seed)
        trainee, loss = self._begin(key, lesson)
        file = self._file(key, trainee, lesson)
        split, curve, epoch = curve_split(setting.task), Curve(), -1
        steps = learn(
            trainee,
            loss,
            plan,
            len(lesson),
            lambda student: evaluate(student, setting.task, split, device=device_of(student)).value,
            file,
        )
        with closing(steps):
            try:
                for progress in steps:
                    self._done[key] = progress.step
                    if progress.epoch != epoch:
                        curve, epoch = trainee.curve(), progress.epoch
                    yield DistillationProgress(
                        seed=seed,
                        arm=arm,
                        generation=generation,
                        step=progress.step,
                        steps=progress.steps,
                        epoch=progress.epoch,
                        epochs=plan.epochs,
                        loss=progress.loss,
                        curve=curve,
                        fraction=sum(self._done.values()) / self._all_steps,
                    )
            except TrainingError as error:
                learned = "the teacher" if arm == "distilled" else "hard labels"
                raise TrainingError(f"Seed {seed}, the student that learns from {learned}: {error}") from error
        self._done[key] = setting.steps  # also of a student whose checkpoint says that it was complete

    def _begin(self, key: Key, lesson: Teaching) -> tuple[Trainee, Callable[[torch.Tensor], torch.Tensor]]:
        """The student before its training, and its loss."""
        setting, (seed, arm, _) = self._setting, key
        student = initial(setting.student, seed).to(setting.device)
        beside = None
        if arm == "distilled" and setting.loss.prepare is not None:
            shapes: list[tuple[int, ...]] = []
            if setting.layers is not None:
                inputs = lesson.inputs[:2].to(device_of(student))
                assert lesson.features is not None
                shapes = [feature_shapes(student, inputs)[setting.layers[0]], tuple(lesson.features.shape[1:])]
            with seeded(seed):
                beside = setting.loss.prepare(*shapes, len(lesson), **setting.values)
            beside = beside.to(device_of(student))
        trainee = self._trainees[key] = Trainee(student, beside, setting.plan.epochs)
        if arm == "hard":
            return trainee, hard_loss(trainee, lesson)
        layer = setting.layers[0] if setting.layers else None
        return trainee, distillation_loss_of(trainee, lesson, setting.loss, setting.values, layer)

    def _file(self, key: Key, trainee: Trainee, lesson: Teaching) -> Path | None:
        """The student's checkpoint, named after all that its training depends on."""
        setting, (seed, arm, generation) = self._setting, key
        if setting.checkpoint is None:
            return None
        how = (setting.loss.name, sorted(setting.values.items()), setting.layers) if arm == "distilled" else ()
        tensors = [lesson.inputs, lesson.labels, *trainee.student.state_dict().values()]
        tensors += [tensor for tensor in (lesson.logits, lesson.features) if tensor is not None]
        name = training_fingerprint((how, setting.plan.to_json(), seed), *tensors)
        return setting.checkpoint / f"seed-{seed}-{arm}-{generation}-{name}.checkpoint"


def _in_turn(
    trainings: Sequence[Generator[DistillationProgress, None, None]],
) -> Generator[DistillationProgress, None, None]:
    """An epoch of each in turn."""
    with ExitStack() as stack:
        waiting = deque(stack.enter_context(closing(steps)) for steps in trainings)
        while waiting:
            steps = waiting.popleft()
            for progress in steps:
                yield progress
                if progress.step * progress.epochs % progress.steps == 0:
                    waiting.append(steps)
                    break
