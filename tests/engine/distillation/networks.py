"""A small task with a train split, a teacher and students for it."""

import torch
from torch import nn

from compress_explorer.engine.task import Split, Task
from tests.engine import tasks

TRAIN = tasks.samples(150, seed=5)


def task(**more) -> Task:
    splits = {
        "train": Split(*TRAIN),
        "validation": Split(*tasks.samples(80, seed=1)),
        "test": Split(*tasks.samples(90)),
    }
    return Task(name="points", **(splits | more))


def teacher() -> nn.Sequential:
    return tasks.network()


def student() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, tasks.CLASSES))


def dropping() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 6), nn.Dropout(0.4), nn.ReLU(), nn.Linear(6, tasks.CLASSES))


def normalised() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, tasks.CLASSES))


def images() -> Task:
    """Two classes of 1x6x6 images: a bright left or a bright right half."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 2
    inputs = torch.randn(48, 1, 6, 6, generator=generator)
    inputs[labels == 0, :, :, :3] += 1
    inputs[labels == 1, :, :, 3:] += 1
    return Task(
        name="halves", train=Split(inputs, labels), validation=Split(inputs, labels), test=Split(inputs, labels)
    )


def convolutions(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * channels, 2),
    )


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])
