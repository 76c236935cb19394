"""Trains students by distillation and by hard labels, pair by pair: to the end, or step by step."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from compress_explorer.engine.device import Device, device_of, resolve
from compress_explorer.engine.distillation.beginnings import Student, check_seeds, initial
from compress_explorer.engine.distillation.distilling import DistillationSetting, Distilling
from compress_explorer.engine.distillation.features import checked_layer
from compress_explorer.engine.distillation.result import Distillation
from compress_explorer.engine.distillation.teaching import check_networks
from compress_explorer.engine.task import Task, check_task
from compress_explorer.engine.training.plan import Plan, check_plan
from compress_explorer.methods.distillation.catalogue import distillation_loss
from compress_explorer.spec.distillation import DistillationLoss
from compress_explorer.spec.errors import ModelError, ParameterError
from compress_explorer.spec.parameter import Value


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
    device: Device = "auto",
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
        device: where to train and to measure; "auto": on the GPU when there is one, else where the student is. The same
            initial weights and batches on every device, but sums in another order. Students come back where they
            were, or where they are built; the teacher stays where it is.
        **values: the loss's parameters, such as temperature=4 and alpha=0.9.

    Raises:
        UnknownNameError: when there is no such loss, parameter or layer.
        ParameterError: when a value is not allowed, or there is no such device.
        ModelError: when teacher and student do not fit each other or the loss.
        DataError: when the task has no train split or does not fit.
        TrainingError: when a loss becomes NaN or infinite.
        FileFormatError: when a checkpoint is damaged.
    """
    run = distilling(
        teacher,
        student,
        task,
        loss=loss,
        plan=plan,
        seeds=seeds,
        layers=layers,
        checkpoint=checkpoint,
        device=device,
        **values,
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
    device: Device = "auto",
    **values: Value,
) -> Distilling:
    """`distill`, step by step: an iterator of `DistillationProgress` that can be paused, cancelled and resumed.

    Takes and raises what `distill` does; what can be checked before the training is checked at once.
    """
    declared = distillation_loss(loss)
    completed = declared.complete(values)
    check_task(task)
    chosen_plan = check_plan(Plan() if plan is None else plan)
    train = task.split("train")
    first = initial(student, check_seeds(seeds)[0])
    place = resolve(device, first)
    if declared.taught_by == "itself" and teacher is not None:
        raise ParameterError(f"loss={loss!r} takes no teacher: earlier students teach. Pass None in its place.")
    if declared.taught_by == "teacher" and not isinstance(teacher, nn.Module):
        raise ModelError(f"The teacher must be a torch.nn.Module, not {type(teacher).__name__}.")
    check_networks(teacher, first, train)
    if layers is not None and not declared.features:
        raise ParameterError(f"loss={loss!r} compares no layers. Leave layers={layers!r} out.")
    chosen = _layers(teacher, first, task, layers, declared) if teacher is not None and declared.features else None
    return Distilling(
        DistillationSetting(
            teacher=teacher,
            student=student,
            task=task,
            loss=declared,
            values=completed,
            plan=chosen_plan,
            seeds=tuple(seeds),
            layers=chosen,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            device=place,
            home=device_of(first),
        )
    )


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
