"""The order in which samples are measured: every prefix holds the classes in their shares."""

import heapq

import torch
from torch import Tensor


def stratified_order(targets: Tensor) -> Tensor:
    """A fixed shuffled order, int64 [n]: of the first m samples m n_c / n are of class c, give or take less than one.

    The j-th sample of a class with n_c of the n samples must stand at one of the places
    floor(j n / n_c) .. ceil((j + 1) n / n_c) - 1; taking at each place the sample whose last place comes first keeps
    them all (the fair schedule of Baruah et al. 1996, Algorithmica 15, for one processor).

    Args:
        targets: class indices, whole numbers [n]; for any other targets the order is a plain shuffle.
    """
    count = len(targets)
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    if targets.ndim != 1 or targets.is_floating_point() or targets.is_complex():
        return shuffled
    first, last = _places(targets.to("cpu", torch.int64)[shuffled])
    arriving = torch.argsort(first, stable=True).tolist()
    first_places, last_places = first.tolist(), last.tolist()
    waiting: list[tuple[int, int]] = []
    order, arrived = [], 0
    for place in range(count):
        while arrived < count and first_places[arriving[arrived]] <= place:
            sample = arriving[arrived]
            heapq.heappush(waiting, (last_places[sample], sample))
            arrived += 1
        order.append(heapq.heappop(waiting)[1])
    return shuffled[torch.tensor(order, dtype=torch.int64)]


def _places(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last place at which each sample may stand, int64 [n]."""
    _, classes, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    by_class = torch.argsort(classes, stable=True)
    starts = torch.cumsum(counts, 0) - counts
    rank = torch.empty_like(by_class)
    rank[by_class] = torch.arange(len(labels)) - starts[classes[by_class]]
    size = counts[classes]
    return rank * len(labels) // size, -((rank + 1) * -len(labels) // size) - 1
