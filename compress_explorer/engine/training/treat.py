"""The steps of a recipe that train the network."""

from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass

from torch import Tensor

from compress_explorer.engine.batches import batch_of
from compress_explorer.engine.context import Context
from compress_explorer.engine.device import device_of
from compress_explorer.engine.evidence import calibration_split
from compress_explorer.engine.loss import task_loss
from compress_explorer.engine.targets import Target
from compress_explorer.engine.training.held import Held
from compress_explorer.engine.training.hold import hold
from compress_explorer.engine.training.loop import Loss, Progress, train
from compress_explorer.engine.training.plan import Plan
from compress_explorer.engine.training.trainee import Trainee
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods.gradual import cubic_sparsity
from compress_explorer.methods.training import Growth, Training
from compress_explorer.spec.errors import CompressExplorerError, DataError
from compress_explorer.spec.method import Method

MOST_PAUSED = 2
"""Trainings of one model that were stopped on the way and are remembered; each holds the network a few times."""


@dataclass(frozen=True, eq=False)
class Session:
    """A training that may be paused between two steps.

    Attributes:
        trainee: the network under training.
        steps: trains it on.
        refused: why weights of named sites stay as they are.
    """

    trainee: Trainee
    steps: Generator[Progress, None, None]
    refused: dict[str, str]


def train_target(work: Workpiece, method: Method, target: Target, context: Context) -> Workpiece:
    """The workpiece after a training. The context is told after each step of the optimiser, and may stop it.

    Weights and biases of the named layers are trained, and whatever stands in no layer with weights, such as
    normalizations. A training that was stopped goes on where it was when the same step is applied to `work` again.

    Raises:
        DataError: when there is no train split, no loss fits the task, or the model cannot take the samples.
        TrainingError: when there is nothing to train, or the loss becomes NaN or infinite.
    """
    sessions: OrderedDict[Hashable, Session] = work.memo.setdefault("trainings", OrderedDict())
    key = (method.name, tuple(target.values.items()), tuple(site.name for site in target.sites))
    if key not in sessions:
        sessions[key] = _begin(work, method, target, context)
        while len(sessions) > MOST_PAUSED:
            sessions.popitem(last=False)
    session = sessions[key]
    while True:
        try:
            progress = next(session.steps, None)
        except BaseException:
            del sessions[key]
            raise
        if progress is None:
            break
        context.tell(_words(method, progress, int(target.values["epochs"])))
    del sessions[key]
    return session.trainee.finished(work, {site.name for site in target.sites}).with_refused(session.refused)


def _words(method: Method, progress: Progress, epochs: int) -> str:
    """How far a training is; what matters most comes first, for where there is little room."""
    epoch, done = min(progress.epoch + 1, epochs), progress.step / progress.steps
    return (
        f"{method.name} {done:.0%}: epoch {epoch} of {epochs}, step {progress.step:,} of {progress.steps:,}, "
        f"loss {progress.loss:.3g}"
    )


def _begin(work: Workpiece, method: Method, target: Target, context: Context) -> Session:
    """The training before its first step."""
    split = calibration_split(method.name, context)
    first = work.weights[target.sites[0].name]
    training: Training = method.apply(first.matrix, first.mask, **target.values)
    free: dict[str, Held | None] = {}
    refused: dict[str, str] = {}
    for site in target.sites:
        found = hold(work, site, training)
        if isinstance(found, str):
            refused[site.name] = found
        else:
            free[site.name] = found
    trainee = Trainee(work, free)
    _leave_alone(trainee, work, target)
    plan = Plan(
        epochs=training.epochs,
        batch_size=training.batch_size,
        optimiser=training.optimiser,
        learning_rate=training.learning_rate,
        seed=training.seed,
    )
    steps = train(
        trainee,
        loss_on(trainee, context, method.name),
        plan,
        len(split),
        before_step=trainee.before_step,
        after_step=_after_step(trainee, training.growth, training.epochs * plan.steps_per_epoch(len(split))),
    )
    return Session(trainee, steps, refused)


def _after_step(trainee: Trainee, growth: Growth | None, steps: int) -> Callable[[], None]:
    """What is done after each step of the optimiser."""
    if growth is None:
        return trainee.after_step
    last = max(1, int(growth.until * steps))
    every = min(growth.every, last)
    last -= last % every
    done = 0

    def prune() -> None:
        nonlocal done
        done += 1
        if done % every == 0 and done <= last:
            trainee.prune(cubic_sparsity(done, last, growth.sparsity))
        trainee.after_step()

    return prune


def _leave_alone(trainee: Trainee, work: Workpiece, target: Target) -> None:
    """Freezes the biases and other parameters of layers with weights that the step does not name."""
    network = trainee.network
    named = {name.rpartition(".")[0] for site in target.sites for name in (site.name, *site.aliases)}
    others = {name.rpartition(".")[0] for site in work.inventory.sites for name in (site.name, *site.aliases)} - named
    for layer in others:
        for parameter in network.get_submodule(layer).parameters(recurse=False):
            parameter.requires_grad_(False)


def loss_on(trainee: Trainee, context: Context, method: str) -> Loss:
    """The loss of a network on samples of the train split, given by their places.

    Raises:
        DataError: when there is no train split.
    """
    split, task = calibration_split(method, context), context.task
    assert task is not None

    def loss(chosen: Tensor) -> Tensor:
        inputs, targets = batch_of(split, chosen, device_of(trainee.network))
        return task_loss(task, _outputs(lambda: trainee(inputs), inputs), targets)

    return loss


def _outputs(call: Callable[[], Tensor], inputs: Tensor) -> Tensor:
    try:
        return call()
    except CompressExplorerError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        one = " Batch normalization needs more than one sample in a batch." if len(inputs) == 1 else ""
        raise DataError(
            f"The network cannot be trained on a batch of shape {tuple(inputs.shape)}: {type(error).__name__}: "
            f"{error}.{one} Check the train split and batch_size."
        ) from error
