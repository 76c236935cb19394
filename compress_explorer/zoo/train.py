"""Train a bundled network: ``python -m compress_explorer.zoo.train NAME [--data DIR]``.

DIR holds the full sets that are not bundled: ``fashion_mnist.npz`` for the Fashion-MNIST networks, and for
CIFAR-10 what `cifar10.load` takes. MNIST and digits need none. The script writes the network's weights and its
card. A run that was stopped goes on from its last whole epoch. With one version of PyTorch, on one thread of one
machine, a seed gives the same weights every time.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from compress_explorer.spec.errors import DataError, FileFormatError, unknown
from compress_explorer.zoo import cifar10, datasets
from compress_explorer.zoo.augment import random_flip, random_shift
from compress_explorer.zoo.cards import Card, write_card
from compress_explorer.zoo.catalogue import FOLDER
from compress_explorer.zoo.datasets import Labelled
from compress_explorer.zoo.networks import ARCHITECTURES
from compress_explorer.zoo.tasks import DEFINITIONS, images_tensor
from compress_explorer.zoo.training import TRAININGS, Training
from compress_explorer.zoo.weights import load_into, save


@dataclass(frozen=True, eq=False)
class Data:
    """What a training uses: every training sample, and the task's own validation and test splits."""

    train: Labelled
    validation: Labelled
    test: Labelled


def training_data(name: str, folder: Path | None) -> Data:
    """Return the data of the task `name`; its training part holds no sample of its validation split.

    Raises:
        DataError: when `folder` is needed and lacks the file.
    """
    source = partial(cifar10.load, source=folder) if name == "cifar10" else DEFINITIONS[name].source
    train = _fashion_train(folder) if name == "fashion" else source("train")
    return Data(train, source("validation"), source("test"))


def _fashion_train(folder: Path | None) -> Labelled:
    path = (folder or Path()) / "fashion_mnist.npz"
    if folder is None or not path.is_file():
        raise DataError(
            f"Training on Fashion-MNIST needs the full set as {path} with arrays x_train and y_train. "
            "Pass its folder with --data."
        )
    with np.load(path, allow_pickle=False) as arrays:
        official = Labelled(arrays["x_train"], arrays["y_train"])
    return official.at(datasets.fashion_training_indices())


def learning_rate(training: Training, step: int, steps: int) -> float:
    """Return the rate of step `step` of `steps`: a linear rise to the peak, then half a cosine to zero."""
    progress = (step + 0.5) / steps
    if progress < training.warm_up:
        return training.learning_rate * progress / training.warm_up
    fallen = (progress - training.warm_up) / (1 - training.warm_up)
    return training.learning_rate * (1 + math.cos(math.pi * fallen)) / 2


def optimiser_for(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Return the optimiser that `training` names."""
    rate, decay = training.learning_rate, training.weight_decay
    if training.optimiser == "sgd":
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=decay)
    if training.optimiser == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    raise unknown("optimiser", training.optimiser, ("sgd", "adamw"))


def batches(part: Labelled, training: Training, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch's normalised, augmented batches in an order that only seed and epoch decide."""
    generator = Generator().manual_seed(training.seed * 1_000 + epoch)
    images, labels = images_tensor(part.images), torch.from_numpy(part.labels.astype(np.int64))
    order = torch.randperm(len(labels), generator=generator)
    for start in range(0, len(order) - training.batch_size + 1, training.batch_size):
        chosen = order[start : start + training.batch_size]
        batch = images[chosen]
        if training.shift:
            batch = random_shift(batch, training.shift, generator)
        if training.flip:
            batch = random_flip(batch, generator)
        yield DEFINITIONS[training.data].normalisation.apply(batch), labels[chosen]


def train_epoch(
    model: nn.Module, optimiser: torch.optim.Optimizer, part: Labelled, training: Training, epoch: int
) -> float:
    """Train `model` for one epoch in place and return its mean loss."""
    model.train()
    per_epoch = len(part.labels) // training.batch_size
    total = 0.0
    for index, (inputs, targets) in enumerate(batches(part, training, epoch)):
        rate = learning_rate(training, epoch * per_epoch + index, training.epochs * per_epoch)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        loss = functional.cross_entropy(model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total += loss.item()
    return total / per_epoch


@torch.inference_mode()
def count_correct(model: nn.Module, part: Labelled, data: str) -> int:
    """Return how many samples of `part` the model, in evaluation mode, classifies correctly."""
    model.eval()
    images, labels = images_tensor(part.images), torch.from_numpy(part.labels.astype(np.int64))
    correct = 0
    for start in range(0, len(labels), 250):
        inputs = DEFINITIONS[data].normalisation.apply(images[start : start + 250])
        correct += int((model(inputs).argmax(1) == labels[start : start + 250]).sum())
    return correct


def fit(name: str, training: Training, data: Data, out: Path) -> nn.Module:
    """Train the network from its seed, or from the checkpoint in `out`, to the last epoch.

    Raises:
        FileFormatError: when the checkpoint is of another training.
    """
    torch.manual_seed(training.seed)
    model = ARCHITECTURES[training.architecture]()
    if training.keep_initial:
        save(model, out / f"{name}.initial.safetensors")
    # Convolutions are up to three times faster in this order of memory. (Making each weight contiguous in it is not
    # the same: with one input channel both orders look alike, and the slow one is kept.)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = optimiser_for(model, training)
    checkpoint = out / f"{name}.checkpoint"
    for epoch in range(resume(checkpoint, model, optimiser, training), training.epochs):
        began = time.perf_counter()
        loss = train_epoch(model, optimiser, data.train, training, epoch)
        save_checkpoint(checkpoint, model, optimiser, training, epoch + 1)
        accuracy = count_correct(model, data.validation, training.data) / len(data.validation.labels)
        seconds = time.perf_counter() - began
        figures = f"loss {loss:.4f}  validation {accuracy:.4f}  {seconds:.1f} s"
        print(f"{name} epoch {epoch + 1:3d}  {figures}", flush=True)
    checkpoint.unlink(missing_ok=True)
    return model


def save_checkpoint(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, training: Training, epochs: int
) -> None:
    """Write what `resume` reads. A run stopped meanwhile leaves the checkpoint before."""
    state = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "training": asdict(training),
        "epochs": epochs,
    }
    unfinished = path.with_suffix(".unfinished")
    torch.save(state, unfinished)
    unfinished.replace(path)


def resume(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, training: Training) -> int:
    """Put `model` and `optimiser` where the checkpoint left them and return its number of epochs; 0 without one.

    Raises:
        FileFormatError: when the checkpoint is of another training.
    """
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)  # tensors and numbers alone, nothing is executed
    if state["training"] != asdict(training):
        raise FileFormatError(f"{path} is the checkpoint of another training. Delete it to start afresh.")
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["epochs"])


def make(name: str, training: Training, folder: Path | None, out: Path, command: str) -> Card:
    """Train the network `name`, write its weights and card into `out`, and return the card.

    The card's figures are those of the written file, read again.
    """
    data = training_data(training.data, folder)
    save(fit(name, training, data, out), out / f"{name}.safetensors")
    model = ARCHITECTURES[training.architecture]()
    load_into(model, out / f"{name}.safetensors")
    card = Card(
        name=name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        training=training,
        train_size=len(data.train.labels),
        validation_size=len(data.validation.labels),
        test_size=len(data.test.labels),
        validation_correct=count_correct(model, data.validation, training.data),
        test_correct=count_correct(model, data.test, training.data),
        command=command,
        torch=torch.__version__,
    )
    write_card(card, out / f"{name}.json")
    return card


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train a network of the zoo.")
    parser.add_argument("name", choices=list(TRAININGS))
    parser.add_argument("--data", type=Path, help="folder with the full data sets")
    parser.add_argument("--epochs", type=int, help="instead of the table's number")
    parser.add_argument("--seed", type=int, help="instead of the table's")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    given = {key: getattr(arguments, key) for key in ("epochs", "seed") if getattr(arguments, key) is not None}
    training = replace(TRAININGS[arguments.name], **given)
    arguments.out.mkdir(parents=True, exist_ok=True)
    card = make(arguments.name, training, arguments.data, arguments.out, command_line(sys.argv[1:]))
    print(f"{card.name}: validation {card.validation_accuracy:.4f}, test {card.test_accuracy:.4f}")


def command_line(arguments: list[str]) -> str:
    """Return the command with `arguments`, its folders replaced by their names in capitals."""
    shown, after = ["python -m compress_explorer.zoo.train"], ""
    for argument in arguments:
        shown.append({"--data": "DIR", "--out": "OUT"}.get(after, argument))
        after = argument
    return " ".join(shown)


if __name__ == "__main__":
    main()
