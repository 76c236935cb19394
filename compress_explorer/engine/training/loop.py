"""The one training loop: step by step, so that whoever runs it can show, pause, cancel and resume it."""

import copy
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress_explorer.engine.device import device_of, full_precision
from compress_explorer.engine.own_draws import StepDraws
from compress_explorer.engine.training.plan import Plan
from compress_explorer.spec.errors import FileFormatError, TrainingError

Loss = Callable[[Tensor], Tensor]
"""Takes the places of a batch's samples, int64 [n]; returns the loss of the model under training on them."""


@dataclass(frozen=True)
class Progress:
    """Where a training is after a step.

    Attributes:
        step: steps done.
        steps: steps in all.
        epoch: epochs that are complete.
        loss: of this step's batch, before the step.
    """

    step: int
    steps: int
    epoch: int
    loss: float


def do_nothing() -> None:
    """What is done before and after a step by default."""


def train(
    model: nn.Module,
    loss: Loss,
    plan: Plan,
    samples: int,
    *,
    before_step: Callable[[], None] = do_nothing,
    after_step: Callable[[], None] = do_nothing,
    checkpoint: Path | None = None,
    begin: int = 0,
) -> Generator[Progress, None, None]:
    """Trains `model` in place; yields after every step.

    Not to ask for the next step pauses it; to close the iterator ends it, and writes the checkpoint. Between two steps
    the model may be evaluated: each step sets it to training mode anew. The result depends on the model's initial
    weights, the loss and the plan alone, and not on whether the training was interrupted.

    Args:
        model: private to the caller; its parameters that require gradients are trained.
        loss: of a batch, given by the places of its samples.
        plan: epochs, batches, learning rate.
        samples: how many there are.
        before_step: called between the gradients and the step of the optimiser, which leaves alone whatever has no
            gradient then, e.g. to mask gradients.
        after_step: called after each step of the optimiser, e.g. to set pruned weights to zero again.
        checkpoint: a file that is written after each epoch and at the end, and from which training goes on when it
            is there; None: none.
        begin: the step to begin with, when the weights are those of a training after so many steps.

    Raises:
        TrainingError: when the loss becomes NaN or infinite; the model then has the last weights from between two
            epochs whose loss was finite.
        FileFormatError: when the checkpoint is of another training.
    """
    optimiser = plan.make_optimiser(_trained(model))
    per_epoch = plan.steps_per_epoch(samples)
    steps = plan.epochs * per_epoch
    first = max(begin, _resume(checkpoint, model, optimiser, plan))
    draws = StepDraws(plan.seed, device_of(model))
    good, kept, step = copy.deepcopy(model.state_dict()), first, first
    try:
        for epoch in range(first // per_epoch, plan.epochs):
            batches = torch.split(plan.order(epoch, samples), plan.batch_size)
            for place in range(step % per_epoch, per_epoch):
                candidate = copy.deepcopy(model.state_dict()) if place == 0 else None
                # What the model draws, e.g. by dropout, depends on seed and step: so a training that went on after an
                # interruption is the one that was not interrupted. The caller's random state stays as it was.
                with draws.of(step):
                    value = _step(model, loss, batches[place], optimiser, plan.rate(step, steps), before_step)
                if not math.isfinite(value):
                    raise _diverged(value, step, kept, per_epoch, plan)
                if candidate is not None:  # a finite loss shows that these weights are sound
                    good, kept = candidate, step
                after_step()
                step += 1
                yield Progress(step, steps, step // per_epoch, value)
            _save(checkpoint, model, optimiser, plan, step)
    except TrainingError:
        model.load_state_dict(good)
        raise
    except GeneratorExit:
        _save(checkpoint, model, optimiser, plan, step)
        raise


def _trained(model: nn.Module) -> list[nn.Parameter]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise TrainingError(
            f"{type(model).__name__} has no parameter that requires a gradient, so there is nothing to train. "
            "Call requires_grad_() on those that shall learn."
        )
    return parameters


def _step(
    model: nn.Module,
    loss: Loss,
    chosen: Tensor,
    optimiser: torch.optim.Optimizer,
    rate: float,
    before_step: Callable[[], None],
) -> float:
    """One step of the optimiser, unless the loss is not finite; returns the loss."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    model.train()
    optimiser.zero_grad(set_to_none=True)
    with torch.enable_grad(), full_precision(device_of(model)):
        found = loss(chosen)
        value = float(found.detach())
        if math.isfinite(value):
            found.backward()  # type: ignore[no-untyped-call] # torch has no annotation for it
            before_step()
            optimiser.step()
    return value


def _diverged(value: float, step: int, kept: int, per_epoch: int, plan: Plan) -> TrainingError:
    weights = f"after step {kept}" if kept else "from before the training"
    return TrainingError(
        f"The loss became {value} at step {step + 1} (epoch {step // per_epoch + 1} of {plan.epochs}). The weights "
        f"kept are those {weights}. Lower learning_rate={plan.learning_rate}, or raise warm_up={plan.warm_up}."
    )


def _save(path: Path | None, model: nn.Module, optimiser: torch.optim.Optimizer, plan: Plan, step: int) -> None:
    """Writes what `_resume` reads. A program that is ended meanwhile leaves the checkpoint before."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    state = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "plan": plan.to_json(),
        "step": step,
    }
    torch.save(state, unfinished)
    unfinished.replace(path)


def _resume(path: Path | None, model: nn.Module, optimiser: torch.optim.Optimizer, plan: Plan) -> int:
    """Puts model and optimiser where the checkpoint left them; returns the steps done, 0 without one."""
    if path is None or not path.exists():
        return 0
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)  # nothing is executed
        same = state["plan"] == plan.to_json()
        if same:
            model.load_state_dict(state["model"])
            optimiser.load_state_dict(state["optimiser"])
    except Exception as error:
        raise FileFormatError(
            f"{path} is no checkpoint of this training: {type(error).__name__}: {error}. Delete it to start afresh."
        ) from error
    if not same:
        raise FileFormatError(
            f"{path} is the checkpoint of another training, {state['plan']}. Delete it to start afresh."
        )
    return int(state["step"])
