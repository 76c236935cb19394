"""Trains students by distillation and by hard labels, pair by pair: to the end, or step by step."""

import copy
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from compress_explorer.engine.device import device_of
from compress_explorer.engine.distillation.features import checked_layer, feature_shapes
from compress_explorer.engine.distillation.result import Distillation, Pair, footprint, trained
from compress_explorer.engine.distillation.teaching import Teaching, answered, check_networks, labelled, noise
from compress_explorer.engine.distillation.trainee import (
    Trainee,
    distillation_loss_of,
    fingerprint,
    hard_loss,
    learn,
)
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.task import Task, check_task
from compress_explorer.engine.training.plan import Plan
from compress_explorer.methods.distillation.catalogue import distillation_loss
from compress_explorer.spec.distillation import Arm, Curve, DistillationLoss, DistillationProgress
from compress_explorer.spec.errors import ModelError, ParameterError, TrainingError
from compress_explorer.spec.parameter import Value

Student = nn.Module | Callable[[], nn.Module]
"""A network, from whose weights every seed begins, or what builds one, whose initial weights each seed draws."""

Key = tuple[int, Arm, int]
"""(seed, arm, generation) of one student."""


def distill(
    teacher: nn.Module | None,
    student: Student,
    task: Task,
    *,
    loss: str = "kd",
    plan: Plan | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    layers: tuple[str, str] | None = None,
    checkpoint: str | Path | None = None,
    **values: Value,
) -> Distillation:
    """Trains students with a teacher, and the same ones on hard labels alone, and compares them.

    For each seed both students begin from the same weights and see the same batches in the same order, so that the
    teacher makes the whole difference. The teacher sees every sample of the train split once. Neither it nor
    `student` is changed.

    Args:
        teacher: a network that returns logits; None with ``loss="self"``, where earlier students teach.
        student: a network, from whose weights every seed begins (the seed then orders the batches), or a function that
            builds one, called for each seed after its random numbers were seeded: ``lambda: Net()``, `student`.
        task: its train split is learned from, both others are measured; its labels are class indices.
        loss: a name of `distillation_losses`.
        plan: epochs, batches, learning rate; its seed is replaced by each of `seeds`. None: ``TrainingPlan()``.
        seeds: one pair of students each; a verdict needs two or more.
        layers: (layer of the student, layer of the teacher) whose outputs are compared, for losses on features; None:
            of each network the last before its last layer with weights.
        checkpoint: a folder. A call with the same arguments goes on from what an earlier one left there.
        **values: the loss's parameters, such as temperature=4 and alpha=0.9.

    Raises:
        UnknownNameError: when there is no such loss, parameter or layer.
        ParameterError: when a value is not allowed.
        ModelError: when teacher and student do not fit each other or the loss.
        DataError: when the task has no train split or does not fit.
        TrainingError: when a loss becomes NaN or infinite.
        FileFormatError: when a checkpoint is damaged.
    """
    run = distilling(
        teacher, student, task, loss=loss, plan=plan, seeds=seeds, layers=layers, checkpoint=checkpoint, **values
    )
    for _ in run:
        pass
    return run.result()


def distilling(
    teacher: nn.Module | None,
    student: Student,
    task: Task,
    *,
    loss: str = "kd",
    plan: Plan | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    layers: tuple[str, str] | None = None,
    checkpoint: str | Path | None = None,
    **values: Value,
) -> "Distilling":
    """`distill`, step by step: an iterator of `DistillationProgress` that can be paused, cancelled and resumed.

    Takes and raises what `distill` does; what can be checked before the training is checked at once.
    """
    declared = distillation_loss(loss)
    completed = declared.complete(values)
    check_task(task)
    train = task.split("train")
    first = initial(student, check_seeds(seeds)[0])
    if declared.taught_by == "itself" and teacher is not None:
        raise ParameterError(f"loss={loss!r} takes no teacher: earlier students teach. Pass None in its place.")
    if declared.taught_by == "teacher" and not isinstance(teacher, nn.Module):
        raise ModelError(f"The teacher must be a torch.nn.Module, not {type(teacher).__name__}.")
    check_networks(teacher, first, train)
    if layers is not None and not declared.features:
        raise ParameterError(f"loss={loss!r} compares no layers. Leave layers={layers!r} out.")
    chosen = _layers(teacher, first, task, layers, declared) if teacher is not None and declared.features else None
    return Distilling(
        _Setting(
            teacher=teacher,
            student=student,
            task=task,
            loss=declared,
            values=completed,
            plan=Plan() if plan is None else plan,
            seeds=tuple(seeds),
            layers=chosen,
            checkpoint=None if checkpoint is None else Path(checkpoint),
        )
    )


def initial(student: Student, seed: int) -> nn.Module:
    """A student of its own before its training: a copy of the network, or a new one drawn with this seed.

    Raises:
        ModelError: when `student` is neither a network nor what builds one, or cannot be copied.
    """
    if isinstance(student, nn.Module):
        try:
            return copy.deepcopy(student)
        except Exception as error:
            raise ModelError(
                f"{type(student).__name__} cannot be copied: {type(error).__name__}: {error}. "
                "Pass a function that builds it."
            ) from error
    with seeded(seed):
        built = student() if callable(student) else None
    if not isinstance(built, nn.Module):
        raise ModelError(
            f"The student must be a torch.nn.Module, or a function without arguments that builds one; "
            f"{type(student).__name__} gave {type(built).__name__}."
        )
    return built


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """While it runs, torch's random numbers are those of this seed; afterwards the caller's go on."""
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        torch.manual_seed(seed)
        yield


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """The seeds, when they are different whole numbers.

    Raises:
        ParameterError: when they are not, or there is none.
    """
    whole = all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        raise ParameterError(f"seeds={seeds!r} must be different whole numbers of 0 or more, e.g. (0, 1, 2).")
    return tuple(seeds)


def curve_split(task: Task) -> str:
    """The split that curves are measured on: validation, or test where there is none."""
    return "test" if task.validation is None else "validation"


def _layers(
    teacher: nn.Module, student: nn.Module, task: Task, layers: tuple[str, str] | None, loss: DistillationLoss
) -> tuple[str, str]:
    names = (None, None) if layers is None else layers
    if len(names) != 2:
        raise ParameterError(f"layers={layers!r} must be a pair (layer of the student, layer of the teacher).")
    inputs = task.split("train").inputs[:2]
    found = [
        checked_layer(model, role, name, inputs.to(device_of(model)), maps=loss.maps)
        for model, role, name in ((student, "student", names[0]), (teacher, "teacher", names[1]))
    ]
    return found[0], found[1]


@dataclass(frozen=True, eq=False)
class _Setting:
    """The arguments of `distill`, checked."""

    teacher: nn.Module | None
    student: Student
    task: Task
    loss: DistillationLoss
    values: dict[str, Value]
    plan: Plan
    seeds: tuple[int, ...]
    layers: tuple[str, str] | None
    checkpoint: Path | None

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
        train = self.task.split("train")
        shown = noise(train, self.values, self.plan.seed) if self.loss.inputs == "noise" else self.labels
        return answered(shown, self.teacher, self.layers[1] if self.layers else None)

    @property
    def steps(self) -> int:
        """Steps of one student."""
        return self.plan.epochs * self.plan.steps_per_epoch(len(self.task.split("train")))


class Distilling(Iterator[DistillationProgress]):
    """A distillation under way: an iterator that trains one step each time it is asked for the next.

    Not to ask pauses it. `close` ends it and writes the checkpoints, if there is a folder for them. `result` gives
    what was trained so far, at any time. Between two steps nothing runs: it is not to be used by two threads at once.
    """

    def __init__(self, setting: _Setting) -> None:
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
            teacher=None if teacher is None else trained(teacher, Curve(), setting.task),
            teacher_footprint=None if teacher is None else footprint(teacher, setting.task),
            student_footprint=footprint(pairs[0].hard.model, setting.task),
            curve_split=curve_split(setting.task),
            finished=sum(self._done.values()) == self._all_steps,
        )

    def _pair(self, seed: int, taught: Trainee, hard: Trainee) -> Pair:
        models = [copy.deepcopy(trainee.student).eval() for trainee in (taught, hard)]
        return Pair(
            seed,
            trained(models[0], taught.curve(), self._setting.task, baseline=models[1]),
            trained(models[1], hard.curve(), self._setting.task),
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
        student = initial(setting.student, seed)
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
        name = fingerprint((how, setting.plan.to_json(), seed), *tensors)
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
