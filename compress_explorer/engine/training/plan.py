"""How long and how fast a network is trained, as data."""

import math
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from compress_explorer.spec.errors import ParameterError

OPTIMISERS = ("sgd", "adam")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Epochs, batches and learning rate of one training.

    Attributes:
        epochs: passes over the samples, 1 or more.
        batch_size: samples per step; the last incomplete batch of an epoch is dropped, unless it is the only one.
        optimiser: ``"sgd"`` (Nesterov momentum 0.9) or ``"adam"`` (AdamW: its weight decay is decoupled).
        learning_rate: the peak; above 0.
        weight_decay: the optimiser's, on every parameter; 0 or more.
        warm_up: the fraction of all steps, 0 to 1, in which the learning rate rises in a line.
        decay: after the rise, ``"cosine"`` down to 0, or ``"constant"``.
        seed: of the samples' order and of whatever the model draws, such as dropout.

    Raises:
        ParameterError: when a value is of the wrong type or out of its range.
    """

    epochs: int = 10
    batch_size: int = 64
    optimiser: Literal["sgd", "adam"] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warm_up: float = 0.0
    decay: Literal["cosine", "constant"] = "cosine"
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks every value."""
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ParameterError(f"{name}={value!r} must be a whole number of {least} or more.")
        for name in ("learning_rate", "weight_decay", "warm_up"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ParameterError(f"{name}={value!r} must be a finite number of 0 or more.")
        if self.learning_rate == 0:
            raise ParameterError("learning_rate=0 trains nothing. Pass a number above 0, e.g. 0.001.")
        if self.warm_up > 1:
            raise ParameterError(f"warm_up={self.warm_up!r} is a fraction of all steps: pass 0 to 1.")
        for name, known in (("optimiser", OPTIMISERS), ("decay", ("cosine", "constant"))):
            if getattr(self, name) not in known:
                raise ParameterError(f"{name}={getattr(self, name)!r} must be one of {', '.join(known)}.")

    def steps_per_epoch(self, samples: int) -> int:
        """How many batches an epoch over so many samples has."""
        return max(1, samples // self.batch_size)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step number `step`, from 0, of `steps` in all."""
        rise = self.warm_up * steps
        if step < rise:
            return self.learning_rate * (step + 1) / (math.floor(rise) + 1)
        if self.decay == "constant" or steps <= rise:
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))

    def order(self, epoch: int, samples: int) -> Tensor:
        """The samples' order in epoch number `epoch`, from 0: int64 [samples], a function of seed and epoch alone."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        return torch.randperm(samples, generator=generator)

    def make_optimiser(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""
        if self.optimiser == "adam":
            # In one pass over the parameters: on a CPU a sixth of the time of the default, and the same numbers but
            # for rounding.
            return torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)
        return torch.optim.SGD(
            parameters, lr=self.learning_rate, momentum=0.9, nesterov=True, weight_decay=self.weight_decay
        )

    def to_json(self) -> dict[str, int | float | str]:
        """Every value by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def check_plan(plan: Plan) -> Plan:
    """The plan, when it is one.

    Raises:
        ParameterError: when it is something else, such as a number of epochs.
    """
    if not isinstance(plan, Plan):
        raise ParameterError(f"plan={plan!r} must be a TrainingPlan, e.g. TrainingPlan(epochs=10).")
    return plan
