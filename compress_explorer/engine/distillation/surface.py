"""Students for a whole grid of temperatures and alphas, trained together in one run."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from compress_explorer.engine.device import Device, device_of, full_precision, on_device, resolve
from compress_explorer.engine.distillation.beginnings import Student, check_seeds, initial
from compress_explorer.engine.distillation.distilling import curve_split
from compress_explorer.engine.distillation.grid import Surface, place_of
from compress_explorer.engine.distillation.stacked import Stack
from compress_explorer.engine.distillation.teaching import Teaching, answered, check_networks, labelled
from compress_explorer.engine.evaluate import BATCH, scores_from
from compress_explorer.engine.task import Task, accuracy, check_task
from compress_explorer.engine.training.plan import Plan, check_plan
from compress_explorer.methods.distillation.kd import ALPHA, TEMPERATURE, soft_loss
from compress_explorer.spec.distillation import Curve, Grid, SurfaceFrame
from compress_explorer.spec.errors import ModelError, ParameterError, TrainingError
from compress_explorer.spec.parameter import Parameter

TEMPERATURES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0)
ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def surface(
    teacher: nn.Module,
    student: Student,
    task: Task,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    alphas: Sequence[float] = ALPHAS,
    seeds: Sequence[int] = (0, 1, 2),
    plan: Plan | None = None,
    device: Device = "auto",
) -> Surface:
    """Trains a student by knowledge distillation for every temperature, alpha and seed, all at once.

    Each becomes what ``distill(..., loss="kd", temperature=..., alpha=...)`` makes of it: the same initial weights, the
    same batches, the same optimiser. Sums are taken in another order, so that weights differ in their last bits, which
    training carries on: on the digits after five epochs by a millionth in a 64-16-10 perceptron, by up to 0.005 in a
    64-32-32-10 one, and no validation accuracy differs. Weights with next to no effect, such as a bias before a batch
    normalization, have no gradient but rounding errors, which Adam magnifies:
    these may differ, what the student computes does not.

    Args:
        teacher: a network that returns logits; it sees every sample of the train split once.
        student: as for `distill`; without dropout.
        task: as for `distill`.
        temperatures: the grid's first axis, different numbers above 0.
        alphas: its second axis, different numbers from 0 to 1; alpha 0 is hard labels alone.
        seeds: its third axis, different whole numbers of 0 or more.
        plan: epochs, batches, learning rate; its seed is replaced by each of `seeds`. None: ``TrainingPlan()``.
        device: as for `distill`.

    Raises:
        ParameterError: when a value is not allowed, or there is no such device.
        ModelError: when teacher and student do not fit, or students cannot be trained side by side.
        DataError: when the task has no train split or does not fit.
        TrainingError: when a student's loss becomes NaN or infinite; it names the cell.
    """
    run = surfacing(
        teacher, student, task, temperatures=temperatures, alphas=alphas, seeds=seeds, plan=plan, device=device
    )
    for _ in run:
        pass
    return run.result()


def surfacing(
    teacher: nn.Module,
    student: Student,
    task: Task,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    alphas: Sequence[float] = ALPHAS,
    seeds: Sequence[int] = (0, 1, 2),
    plan: Plan | None = None,
    device: Device = "auto",
) -> "Surfacing":
    """`surface`, step by step: an iterator of `SurfaceFrame`, one a step; its metric is renewed after each epoch.

    Takes and raises what `surface` does; what can be checked before the training is checked at once.
    """
    axes = [_axis(parameter, values) for parameter, values in ((TEMPERATURE, temperatures), (ALPHA, alphas))]
    chosen = check_seeds(seeds)
    plan = check_plan(Plan() if plan is None else plan)
    check_task(task)
    train = task.split("train")
    if not isinstance(teacher, nn.Module):
        raise ModelError(f"The teacher must be a torch.nn.Module, not {type(teacher).__name__}.")
    first = initial(student, chosen[0])
    place = resolve(device, first)
    check_networks(teacher, first, train)
    cells = len(axes[0]) * len(axes[1])
    empty = _grid(torch.full((len(chosen) * cells,), torch.nan), len(chosen), len(axes[0]))
    frame = SurfaceFrame(
        temperatures=axes[0],
        alphas=axes[1],
        seeds=chosen,
        step=0,
        steps=plan.epochs * plan.steps_per_epoch(len(train)),
        epoch=0,
        epochs=plan.epochs,
        split=curve_split(task),
        accuracies=empty,
        losses=empty,
    )
    networks = [network for seed in chosen for network in [initial(student, seed).to(place)] * cells]
    return Surfacing(teacher, Stack(networks, len(chosen)), place, device_of(first), task, plan, frame)


def _axis(parameter: Parameter, values: Sequence[float]) -> tuple[float, ...]:
    listed = isinstance(values, Iterable) and not isinstance(values, str)
    axis = tuple(float(parameter.validate(value)) for value in values) if listed else ()
    if not axis or len(set(axis)) < len(axis):
        raise ParameterError(f"{parameter.name}s={values!r} must be different numbers, at least one, in a list.")
    return axis


def _grid(values: Tensor, seeds: int, temperatures: int) -> Grid:
    """A number a student, in the order of seeds, temperatures, alphas -> [temperature][alpha][seed]."""
    rows = values.view(seeds, temperatures, -1).permute(1, 2, 0).tolist()
    return tuple(tuple(tuple(cell) for cell in row) for row in rows)


class Surfacing(Iterator[SurfaceFrame]):
    """A surface under way: an iterator that trains every student one step each time it is asked for the next frame.

    Not to ask pauses it, `close` ends it, and `result` gives what was trained so far, at any time.

    Attributes:
        frame: the last one.
    """

    def __init__(
        self,
        teacher: nn.Module,
        stack: Stack,
        device: torch.device,
        home: torch.device,
        task: Task,
        plan: Plan,
        frame: SurfaceFrame,
    ) -> None:
        """Takes what `surfacing` has checked: it trains on `device`, and gives students out on `home`."""
        self.frame = frame
        self._stack, self._device, self._home, self._task, self._plan = stack, device, home, task, plan
        cells = torch.tensor(list(product(frame.temperatures, frame.alphas)), device=device)
        # Of every student, to broadcast with logits [students, n, classes] and with losses [students, n].
        self._temperature = cells[:, 0].repeat(len(frame.seeds))[:, None, None]
        self._alpha = cells[:, 1].repeat(len(frame.seeds))[:, None]
        self._teacher = teacher
        self._kept: tuple[list[list[float]], list[list[float]]] = [], []  # after each epoch: losses and accuracies
        self._steps = self._run()

    def __next__(self) -> SurfaceFrame:
        """Trains one step.

        Raises:
            StopIteration: when all is trained, or after `close`.
            TrainingError: when a student's loss became NaN or infinite; all keep the weights from before the step.
        """
        return next(self._steps)

    def close(self) -> None:
        """Ends the training; `result` still gives what was trained."""
        self._steps.close()

    def student(self, temperature: float, alpha: float, seed: int) -> nn.Module:
        """A copy of one student as it is now.

        Raises:
            ParameterError: when the grid has no such cell.
        """
        return self._stack.network(place_of(self.frame, temperature, alpha, seed)).to(self._home)

    def result(self) -> Surface:
        """Copies of all students as they are now, and the last frame."""
        places = range(len(self._alpha))
        return Surface(
            frame=self.frame,
            plan=self._plan,
            students=tuple(self._stack.network(place).to(self._home) for place in places),
            curves=tuple(Curve(*(tuple(entry[place] for entry in kept) for kept in self._kept)) for place in places),
            teacher=self._teacher,
            task=self._task,
            device=self._device,
        )

    def _run(self) -> Generator[SurfaceFrame, None, None]:
        plan, samples = self._plan, len(self._task.split("train"))
        teacher = on_device(self._teacher, self._device)
        lesson = _on(answered(labelled(self._task.split("train")), teacher), self._device)
        optimiser = plan.make_optimiser(self._stack.parameters)
        per_epoch = plan.steps_per_epoch(samples)
        for epoch in range(plan.epochs):
            orders = [replace(plan, seed=seed).order(epoch, samples) for seed in self.frame.seeds]
            chosen = torch.stack(orders).to(self._device)
            total = torch.zeros(len(self._alpha), dtype=torch.float64, device=self._device)
            for place in range(per_epoch):
                batch = chosen[:, place * plan.batch_size : (place + 1) * plan.batch_size]
                total += self._step(optimiser, lesson, batch)
                step = self.frame.step + 1
                self.frame = replace(self.frame, step=step)
                if step % per_epoch == 0:
                    self.frame = self._renewed(total / per_epoch)
                yield self.frame

    def _step(self, optimiser: torch.optim.Optimizer, lesson: Teaching, chosen: Tensor) -> Tensor:
        """One step of every student; `chosen` are the places of each seed's batch, int64 [seeds, n]. Their losses."""
        for group in optimiser.param_groups:
            group["lr"] = self._plan.rate(self.frame.step, self.frame.steps)
        optimiser.zero_grad(set_to_none=True)
        with torch.enable_grad(), full_precision(self._device):
            found = self._losses(lesson, chosen)
            losses = found.detach()
            if not bool(torch.isfinite(losses).all()):
                raise self._diverged(losses)
            # Each student's gradient is that of its own loss: no other depends on its weights.
            found.sum().backward()  # type: ignore[no-untyped-call] # torch has no annotation for it
        optimiser.step()
        return losses

    def _losses(self, lesson: Teaching, chosen: Tensor) -> Tensor:
        """The loss of `kd` of every student, [students]."""
        assert lesson.logits is not None
        # Classes before samples: with ten classes in the last axis a CPU takes 25 times as long for the softmax.
        outputs = self._stack.run(lesson.inputs[chosen], training=True).mT.contiguous()
        members = len(outputs) // len(chosen)
        teacher = lesson.logits[chosen].mT.repeat_interleave(members, dim=0)
        labels = lesson.labels[chosen].repeat_interleave(members, dim=0)
        soft = soft_loss(outputs, teacher, self._temperature, dim=1)
        hard = functional.cross_entropy(outputs, labels, reduction="none")
        return (self._alpha * soft + (1 - self._alpha) * hard).mean(dim=1)

    def _diverged(self, losses: Tensor) -> TrainingError:
        frame, place = self.frame, int(torch.nonzero(~torch.isfinite(losses))[0])
        cells = list(product(frame.seeds, frame.temperatures, frame.alphas))
        seed, temperature, alpha = cells[place]
        return TrainingError(
            f"The loss of temperature={temperature:g}, alpha={alpha:g}, seed {seed} became {float(losses[place])} at "
            f"step {frame.step + 1}. Lower learning_rate={self._plan.learning_rate}, or raise "
            f"warm_up={self._plan.warm_up}."
        )

    def _renewed(self, losses: Tensor) -> SurfaceFrame:
        """The frame after an epoch, every student measured."""
        frame, seeds, temperatures = self.frame, len(self.frame.seeds), len(self.frame.temperatures)
        accuracies = self._measured()
        for kept, values in zip(self._kept, (losses, accuracies), strict=True):
            kept.append(values.tolist())
        return replace(
            frame,
            epoch=frame.epoch + 1,
            accuracies=_grid(accuracies, seeds, temperatures),
            losses=_grid(losses.cpu(), seeds, temperatures),
        )

    def _measured(self) -> Tensor:
        """The metric of every student, float64 [students]."""
        split = self._task.split(self.frame.split)
        total = torch.zeros(len(self._alpha), dtype=torch.float64)
        with torch.no_grad(), full_precision(self._device):
            for inputs, targets in zip(
                torch.split(split.inputs, BATCH), torch.split(split.targets, BATCH), strict=True
            ):
                shown = inputs.to(self._device).expand(len(self.frame.seeds), *inputs.shape)
                outputs = self._stack.run(shown, training=False)
                total += self._scores(outputs, targets.to(self._device))
        return total / len(split)

    def _scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of the batch's scores of every student, float64 [students]."""
        if self._task.metric is accuracy:
            return (outputs.argmax(dim=2) == targets).sum(dim=1).double().cpu()
        sums = [scores_from(self._task, answers, targets).scores.double().sum() for answers in outputs]
        return torch.stack(sums)


def _on(lesson: Teaching, device: torch.device) -> Teaching:
    logits = None if lesson.logits is None else lesson.logits.to(device)
    return Teaching(lesson.inputs.to(device), lesson.labels.to(device), logits)
