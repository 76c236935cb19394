"""A small classification task and networks for it, made on the spot."""

import functools

import torch
from torch import Tensor, nn

from compress_explorer.engine.task import Split, Task

CLASSES = 5


def samples(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noisy points around one centre a class, of unequal class sizes; float32 [count, 8], int64 [count]."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, 8, generator=torch.Generator().manual_seed(99))
    labels = torch.multinomial(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]), count, replacement=True, generator=generator)
    return centres[labels] + 1.2 * torch.randn(count, 8, generator=generator), labels


def task(test: int = 3000, validation: int = 700) -> Task:
    """A task whose test split takes several batches."""
    return Task(name="points", test=Split(*samples(test)), validation=Split(*samples(validation, seed=1)))


def network(seed: int = 0) -> nn.Sequential:
    """Batch normalization with statistics of its own, dropout, and weights that classify rather well."""
    model = _untrained()
    model.load_state_dict(_trained(seed))
    return model.eval()


def _untrained() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.5), nn.Linear(24, CLASSES))


@functools.cache
def _trained(seed: int) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _untrained()
        inputs, labels = samples(2000, seed=2)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def correct(model: nn.Module, inputs: Tensor, labels: Tensor) -> int:
    """The number of samples that a plain loop over batches of 100 finds right."""
    right = 0
    was_training = {name: module.training for name, module in model.named_modules()}
    model.eval()
    with torch.no_grad():
        for start in range(0, len(labels), 100):
            outputs = model(inputs[start : start + 100])
            right += int((outputs.argmax(1) == labels[start : start + 100]).sum())
    for name, module in model.named_modules():
        module.training = was_training[name]
    return right
