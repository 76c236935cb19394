"""Iterative magnitude pruning with rewinding: the search for winning tickets (Frankle & Carbin)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compress_explorer.engine.context import Context
from compress_explorer.engine.device import device_of
from compress_explorer.engine.evaluate import BATCH, check_fit, scores_of
from compress_explorer.engine.evidence import calibration_split
from compress_explorer.engine.loss import task_loss
from compress_explorer.engine.matrix import as_float32_matrix
from compress_explorer.engine.rebuild import network_of
from compress_explorer.engine.rescale import with_aliases
from compress_explorer.engine.summary import summarize
from compress_explorer.engine.task import Task, check_task
from compress_explorer.engine.training.loop import train
from compress_explorer.engine.training.plan import Plan, check_plan
from compress_explorer.engine.training.trainee import Trainee
from compress_explorer.engine.training.treat import loss_on
from compress_explorer.engine.weights import Weights
from compress_explorer.engine.workpiece import Workpiece, open_model
from compress_explorer.methods.evidence import say_nothing
from compress_explorer.methods.sparsity import keep_largest, pruning_scores
from compress_explorer.spec.errors import ParameterError
from compress_explorer.spec.evaluation import Evaluation

NAME = "lottery-ticket"
LENET_PLAN = Plan(epochs=5, batch_size=60, optimiser="adam", learning_rate=1.2e-3, decay="constant")
"""Optimiser, rate and batches of the paper's LeNet-300-100 (Fig. 2), for a tenth of its 50,000 steps on MNIST."""
LOOK_EVERY = 100
"""Steps between two looks at the validation loss, as in the paper."""


@dataclass(frozen=True, eq=False)
class TicketTraining:
    """One training of a network with a fixed mask.

    Attributes:
        start: every tensor of the state before the training; pruned weights are zero.
        model: the network after the training, in evaluation mode.
        losses: (steps done, mean validation loss), at the beginning and at each look.
        early_stop: the steps done at the look with the smallest validation loss, the first of equals: the paper's
            measure of how fast a network learns.
        early: the test metric with the weights of that look.
        validation: the metric on the validation split at the end.
        test: the metric on the test split at the end.
    """

    start: Mapping[str, Tensor]
    model: nn.Module
    losses: tuple[tuple[int, float], ...]
    early_stop: int
    early: Evaluation
    validation: Evaluation
    test: Evaluation


@dataclass(frozen=True, eq=False)
class TicketRound:
    """One round: the network that a mask leaves, trained from its rewound weights.

    Attributes:
        number: from 0, the dense network, on.
        sparsity: the fraction of the prunable weights that the mask sets to zero.
        kept: the mask of each weight tensor, bool in its own shape, by its name.
        ticket: trained from the rewound weights.
        reinitialised: trained with the same mask from other initial weights; None where that was not asked for.
    """

    number: int
    sparsity: float
    kept: Mapping[str, Tensor]
    ticket: TicketTraining
    reinitialised: TicketTraining | None


def lottery_ticket(
    initial_model: nn.Module,
    task: Task,
    *,
    rounds: int = 10,
    rate: float = 0.2,
    output_rate: float | None = None,
    rewind_to: int = 0,
    plan: Plan = LENET_PLAN,
    look_every: int = LOOK_EVERY,
    reinitialise: bool = False,
    progress: Callable[[str], None] = say_nothing,
) -> Iterator[TicketRound]:
    """Looks for a winning ticket: trains, drops the smallest weights of each layer, rewinds the others, and again.

    Yields round 0, the dense network, and then one round after each pruning; not to ask for the next ends the search.

    Args:
        initial_model: with its weights from before training, e.g. `load_initial("lenet-300-100")`; not changed.
        task: with train, validation and test split.
        rounds: how often to prune, 0 or more.
        rate: the fraction of the weights left in a layer that a round drops, 0 to 1.
        output_rate: that of the last weight tensor; None: half of `rate`, as in the paper.
        rewind_to: 0: weights are reset to the initial ones; k: to those of the dense training after k steps, from
            which on the training goes over the rest of its steps.
        plan: of every training.
        look_every: steps between two looks at the validation loss.
        reinitialise: also train each mask from other initial weights: those of each weight tensor in random order.
        progress: called with progress in words after each step of training; it may raise to stop.

    Raises:
        ParameterError: when a number is out of its range.
        DataError: when a split is missing, or the data do not fit the model.
        TrainingError: when a training diverges.

    Source: Frankle & Carbin 2019 (arXiv 1803.03635) §1-2, iterative pruning; rewinding to step k: Frankle et al. 2020
    (arXiv 1912.05671).
    """
    check_task(task)
    work = open_model(initial_model)
    split = calibration_split(NAME, Context(task=task))
    task.split("validation")
    steps = check_plan(plan).epochs * plan.steps_per_epoch(len(split))
    _check(rounds=(rounds, 0, None), rewind_to=(rewind_to, 0, steps - 1), look_every=(look_every, 1, None))
    _check_rates(rate=rate)
    last_rate = rate / 2 if output_rate is None else output_rate
    _check_rates(output_rate=last_rate)
    check_fit(initial_model, task)
    # Only now: the errors above shall come with the call, not with the first round.
    search = _Search(task, plan, look_every, progress)
    return _rounds(work, search, rounds, (rate, last_rate), rewind_to, reinitialise=reinitialise)


def _check(**given: tuple[int, int, int | None]) -> None:
    for name, (value, least, most) in given.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < least or (most is not None and value > most):
            allowed = f"of {least} or more" if most is None else f"from {least} to {most}, the training's last step"
            raise ParameterError(f"{name}={value!r} must be a whole number {allowed}.")


def _check_rates(**given: float) -> None:
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ParameterError(f"{name}={value!r} is a fraction of the weights that are left: pass 0 to 1.")


@dataclass(frozen=True, eq=False)
class _Search:
    """What all trainings of a search share."""

    task: Task
    plan: Plan
    look_every: int
    progress: Callable[[str], None]


def _rounds(
    work: Workpiece, search: _Search, rounds: int, rates: tuple[float, float], rewind_to: int, *, reinitialise: bool
) -> Iterator[TicketRound]:
    prunable = [site.name for site in work.inventory.sites if work.model.get_parameter(site.name).requires_grad]
    kept = {name: work.weights[name].mask for name in prunable}
    rewound = dict(work.state)
    for number in range(rounds + 1):
        name = f"round {number} of {rounds}"
        ticket, trained, passed = _train(_masked(work, rewound, kept), prunable, search, name, rewind_to, number > 0)
        if number == 0:
            rewound = passed
        other = None
        if reinitialise:
            drawn = _shuffled(work, search.plan.seed + number)
            other, _, _ = _train(_masked(work, drawn, kept), prunable, search, f"{name}, other weights", 0, False)
        layouts = {site.name: site.layout for site in work.inventory.sites}
        total = sum(mask.numel() for mask in kept.values())
        yield TicketRound(
            number=number,
            sparsity=1 - sum(int(mask.sum()) for mask in kept.values()) / max(total, 1),
            kept={name: layouts[name].from_matrix(mask) for name, mask in kept.items()},
            ticket=ticket,
            reinitialised=other,
        )
        kept = {
            name: _pruned(as_float32_matrix(trained[name], layouts[name]), mask, rates[name == prunable[-1]])
            for name, mask in kept.items()
        }


def _pruned(matrix: Tensor, kept: Tensor, rate: float) -> Tensor:
    """The mask without the smallest of the weights that are left, so many as `rate` says, to the nearest."""
    left = int(kept.sum())
    return keep_largest(pruning_scores(matrix, kept), kept.numel() - left + round(rate * left)).view_as(kept)


def _masked(work: Workpiece, state: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> Workpiece:
    """The network with the tensors of `state`, and without the weights that are not kept."""
    weights = {
        site.name: Weights(as_float32_matrix(state[site.name], site.layout), dtype=state[site.name].dtype)
        for site in work.inventory.sites
    }
    return work.with_weights(weights | {name: weights[name].pruned(mask) for name, mask in kept.items()}, state)


def _shuffled(work: Workpiece, seed: int) -> dict[str, Tensor]:
    """The initial state with the values of each weight tensor in random order."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for site in work.inventory.sites:
        tensor = work.state[site.name]
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        drawn[site.name] = tensor.flatten()[order].view_as(tensor)
    return {**work.state, **with_aliases(work, drawn)}


def _train(
    work: Workpiece, prunable: list[str], search: _Search, name: str, rewind_to: int, rewound: bool
) -> tuple[TicketTraining, Mapping[str, Tensor], dict[str, Tensor]]:
    """Trains a network; also returns its state afterwards, and that after `rewind_to` steps.

    Args:
        work: the network with its mask.
        prunable: the weights that have one.
        search: how to train.
        name: of the training, for the progress.
        rewind_to: the step whose state is returned.
        rewound: whether the weights are those after this step already, so that the training begins there.
    """
    start = {key: tensor.clone() for key, tensor in network_of(work).state_dict().items()}
    trainee = Trainee(work, dict.fromkeys(prunable))
    context = Context(task=search.task)
    split = calibration_split(NAME, context)
    steps = train(
        trainee,
        loss_on(trainee, context, NAME),
        search.plan,
        len(split),
        before_step=trainee.before_step,
        after_step=trainee.after_step,
        begin=rewind_to if rewound else 0,
    )
    network = trainee.network
    passed = _state(network)
    losses, best = [(rewind_to if rewound else 0, _validation_loss(network, search.task))], passed
    for progress in steps:
        search.progress(f"{name}: step {progress.step:,} of {progress.steps:,}, loss {progress.loss:.3g}")
        if progress.step == rewind_to:
            passed = _state(network)
        if progress.step % search.look_every == 0 or progress.step == progress.steps:
            losses.append((progress.step, _validation_loss(network, search.task)))
            if losses[-1][1] < min(loss for _, loss in losses[:-1]):
                best = _state(network)
    trained = _state(network)
    early_stop = min(losses, key=lambda look: look[1])[0]
    network.load_state_dict(best)
    early = _evaluation(network, search.task, "test")
    network.load_state_dict(trained)
    training = TicketTraining(
        start=start,
        model=network.eval(),
        losses=tuple(losses),
        early_stop=early_stop,
        early=early,
        validation=_evaluation(network, search.task, "validation"),
        test=_evaluation(network, search.task, "test"),
    )
    return training, trained, passed


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _evaluation(network: nn.Module, task: Task, split: str) -> Evaluation:
    return summarize(scores_of(network.eval(), task, split), None, len(task.split(split)), split)


def _validation_loss(network: nn.Module, task: Task) -> float:
    """The mean loss on the validation split."""
    split = task.split("validation")
    network.eval()
    total = 0.0
    with torch.no_grad():
        for inputs, targets in zip(torch.split(split.inputs, BATCH), torch.split(split.targets, BATCH), strict=True):
            device = device_of(network)
            total += float(task_loss(task, network(inputs.to(device)), targets.to(device))) * len(inputs)
    return total / len(split)
