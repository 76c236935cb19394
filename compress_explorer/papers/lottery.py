"""The lottery ticket hypothesis on LeNet-300-100: Frankle & Carbin 2019 (arXiv 1803.03635), section 2.

Iterative magnitude pruning with resetting: train, drop 20 % of each layer's weights (10 % of the output layer's), set
the others back to their initial values, train again. Biases stay. Adam at 0.0012, batches of 60, Glorot normal, as in
the paper; 2,748 iterations a training instead of 50,000. All seeds are trained at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from compress_explorer.engine.training.loop import Loss
from compress_explorer.engine.training.plan import Plan
from compress_explorer.papers.parts import Parts
from compress_explorer.papers.record import Record
from compress_explorer.papers.rows import Row, over_seeds
from compress_explorer.papers.stacked import StackedLeNet, glorot_normal
from compress_explorer.zoo.datasets import mnist
from compress_explorer.zoo.tasks import DEFINITIONS, images_tensor


@dataclass(frozen=True)
class Settings:
    """Everything the results depend on.

    Attributes:
        seeds: one a network; each has initial weights and an order of images of its own.
        rounds: prunings; after 15 of them 3.6 % of the weights are left.
        again: after which of them the same masks are also trained from other random weights.
        epochs: of each training; 916 iterations each.
        batch_size: images of one iteration.
        learning_rate: Adam's, constant.
        rates: the fraction of each layer's weights that a round drops.
        every: iterations between two looks at the validation loss.
        images: how many training images are used; None: all 55,000.
    """

    seeds: tuple[int, ...] = (1, 2, 3)
    rounds: int = 15
    again: tuple[int, ...] = (7, 15)
    epochs: int = 3
    batch_size: int = 60
    learning_rate: float = 1.2e-3
    rates: tuple[float, float, float] = (0.2, 0.2, 0.1)
    every: int = 100
    images: int | None = None


@dataclass(frozen=True, eq=False)
class Flat:
    """Images of one split as rows: inputs [n, 784], labels [n]."""

    inputs: Tensor
    labels: Tensor


def flat(part: str, count: int | None = None) -> Flat:
    """The first `count` images of a split of MNIST; None: all."""
    found = mnist(part)
    inputs = DEFINITIONS["mnist"].normalisation.apply(images_tensor(found.images[:count]))
    return Flat(inputs.flatten(1), torch.from_numpy(found.labels[:count]).to(torch.int64))


def run(settings: Settings, parts: Parts) -> dict[str, Any]:
    """Trains, prunes and resets round by round; returns what each round measured, as plain data.

    Of each round: the fraction of weights that is left, and of its networks ("ticket"; "again" where the same masks
    were trained from other random weights) what `measured` returns.
    """
    train, validation, test = flat("train", settings.images), flat("validation"), flat("test")
    first = glorot_normal(settings.seeds)
    masks = [torch.ones_like(weight, dtype=torch.bool) for weight in first]
    found, dense = [], torch.zeros(0)
    for done in range(settings.rounds + 1):
        entry: dict[str, Any] = {"round": done, "left": share_left(masks)}
        kinds = {"ticket": first}
        if done in settings.again:
            kinds["again"] = glorot_normal(settings.seeds, draw=done)
        for kind, start in kinds.items():
            model = trained(f"{kind}-{done}", start, masks, train, validation, settings, parts)
            if kind == "ticket":
                following = pruned(model, settings.rates)
            at_the_end = right(model, test)
            model.take_best()
            stopped = right(model, test)
            dense = stopped if done == 0 else dense
            entry[kind] = measured(model, settings, stopped, at_the_end, dense)
        masks = following
        found.append(entry)
    return {
        "images": len(test.labels),
        "iterations": settings.epochs * (len(train.labels) // settings.batch_size),
        "rounds": found,
    }


def trained(
    name: str,
    start: Sequence[Tensor],
    masks: Sequence[Tensor],
    train: Flat,
    validation: Flat,
    settings: Settings,
    parts: Parts,
) -> StackedLeNet:
    """Networks trained with these masks from these weights, all at once."""
    plan = Plan(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        decay="constant",
    )
    samples = len(train.labels)
    steps = settings.epochs * plan.steps_per_epoch(samples)
    model = StackedLeNet(len(settings.seeds), steps // settings.every)
    model.start(start, masks)
    loss = stacked_loss(model, train, settings.seeds)
    parts.train(name, model, loss, plan, samples, after_step=_after_step(model, validation, settings.every))
    return model


def stacked_loss(model: StackedLeNet, train: Flat, seeds: Sequence[int]) -> Loss:
    """The sum of the networks' losses, each on images of its own: so none has a part in another's gradient."""
    count = len(train.labels)
    own = torch.stack([torch.randperm(count, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    def loss(chosen: Tensor) -> Tensor:
        places = own[:, chosen]
        logits = model(train.inputs[places])
        return functional.cross_entropy(logits.flatten(0, 1), train.labels[places].flatten()) * len(seeds)

    return loss


def _after_step(model: StackedLeNet, validation: Flat, every: int) -> Callable[[], None]:
    def after_step() -> None:
        model.keep_zeros()
        model.step += 1
        if int(model.step) % every == 0:
            model.look(int(model.step) // every - 1, losses(model, validation))

    return after_step


@torch.inference_mode()
def losses(model: StackedLeNet, part: Flat) -> Tensor:
    """The mean cross-entropy of each network, [networks]."""
    total = torch.zeros(len(model.curve))
    for inputs, labels in zip(torch.split(part.inputs, 1000), torch.split(part.labels, 1000), strict=True):
        logits = model(inputs.expand(len(total), -1, -1))
        total += functional.cross_entropy(logits.transpose(1, 2), labels.expand(len(total), -1), reduction="none").sum(
            dim=1
        )
    return total / len(part.labels)


@torch.inference_mode()
def right(model: StackedLeNet, part: Flat) -> Tensor:
    """Which images each network classifies correctly, bool [networks, n]."""
    networks = len(model.curve)
    found = [
        model(inputs.expand(networks, -1, -1)).argmax(2) == labels
        for inputs, labels in zip(torch.split(part.inputs, 1000), torch.split(part.labels, 1000), strict=True)
    ]
    return torch.cat(found, dim=1)


@torch.no_grad()
def pruned(model: StackedLeNet, rates: Sequence[float]) -> list[Tensor]:
    """The masks without the smallest of each layer's remaining weights, network by network."""
    found = []
    for layer, (weight, rate) in enumerate(zip(model.weights, rates, strict=True)):
        mask = ~model.gone(layer)
        for own, values in zip(mask, weight, strict=True):
            left = int(own.sum())
            order = torch.where(own, values.abs(), torch.inf).flatten().argsort(stable=True)
            own.view(-1)[order[: round(rate * left)]] = False
        found.append(mask)
    return found


def share_left(masks: Sequence[Tensor]) -> float:
    """The fraction of the weights that is left; it is the same in all networks."""
    return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def measured(
    model: StackedLeNet, settings: Settings, stopped: Tensor, at_the_end: Tensor, dense: Tensor
) -> dict[str, Any]:
    """What a round's networks scored, one entry a seed.

    Args:
        model: with the curves of its training.
        settings: the experiment's.
        stopped: which test images are right with early stopping, bool [networks, n].
        at_the_end: the same with the last weights.
        dense: the same of the dense networks with early stopping.

    Returns:
        iteration: of early stopping, where the validation loss was lowest.
        errors: on test, with early stopping; errors_at_the_end: with the last weights.
        gained, lost: images that are right (wrong) with early stopping and were not in the dense network.
    """
    return {
        "iteration": ((model.curve.argmin(dim=1) + 1) * settings.every).tolist(),
        "errors": (~stopped).sum(dim=1).tolist(),
        "errors_at_the_end": (~at_the_end).sum(dim=1).tolist(),
        "gained": (stopped & ~dense).sum(dim=1).tolist(),
        "lost": (dense & ~stopped).sum(dim=1).tolist(),
    }


def rows(record: Record) -> Sequence[Row]:
    """The results beside the paper's: its Figures 1, 3 and 4, and its section 2."""
    rounds = {entry["round"]: entry for entry in record.results["rounds"]}
    dense = rounds[0]["ticket"]
    found = [
        over_seeds("dense network", "", _percent(dense["errors"], record), "% error"),
        over_seeds("dense network, iteration of early stopping", "", dense["iteration"], "iterations"),
    ]
    for done in [number for number, entry in rounds.items() if number in PAPER or "again" in entry]:
        found += _rows_of_a_round(rounds[done], dense, PAPER.get(done, {}), record)
    return found


PAPER = {
    7: {"ticket": "better", "again": "worse", "difference": "−0.5", "earlier": "−38 %"},
    9: {"ticket": "−0.3"},
    15: {"ticket": "0", "again": "worse"},
}
"""What the paper says after so many rounds."""


def _rows_of_a_round(entry: dict[str, Any], dense: dict[str, Any], paper: dict[str, str], record: Record) -> list[Row]:
    left = f"{100 * entry['left']:.1f} % left"
    found = []
    for kind, words in (("ticket", "winning ticket"), ("again", "the same masks, other weights")):
        if kind in entry:
            change = [lost - gained for lost, gained in zip(entry[kind]["lost"], entry[kind]["gained"], strict=True)]
            what = f"{left}: {words} − dense"
            found.append(over_seeds(what, paper.get(kind, ""), _percent(change, record), "points of error"))
    if "again" in entry:
        pairs = zip(entry["ticket"]["errors"], entry["again"]["errors"], strict=True)
        apart = _percent([one - other for one, other in pairs], record)
        what = f"{left}: ticket − other weights"
        found.append(over_seeds(what, paper.get("difference", ""), apart, "points of error"))
    earlier = [
        100 * (one / other - 1) for one, other in zip(entry["ticket"]["iteration"], dense["iteration"], strict=True)
    ]
    what = f"{left}: ticket's early stopping against the dense network's"
    found.append(over_seeds(what, paper.get("earlier", ""), earlier, "% of iterations"))
    return found


def _percent(counts: Sequence[int], record: Record) -> list[float]:
    return [100 * count / record.results["images"] for count in counts]
