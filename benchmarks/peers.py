"""One task each, beside the library that one would take for it today: same network, data and setting."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lobotomizer
import numpy as np
import torch_pruning
from optimum.quanto import freeze, qint8, quantize
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn.utils import prune
from torchao.quantization import Int8WeightOnlyConfig, quantize_

import compress_explorer as ce
from benchmarks.duel import Row, duel

Answer = Callable[[Any, Any], str]


@dataclass(frozen=True)
class Peer:
    """One task by us and by a library.

    Attributes:
        name: the library and the task.
        network: the zoo's.
        ours: takes network and task.
        theirs: takes the same.
        answers: how the two results compare, in words.
    """

    name: str
    network: str
    ours: Callable[[nn.Module, ce.Task], Any]
    theirs: Callable[[nn.Module, ce.Task], Any]
    answers: Answer


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The weights of linear and convolutional layers, decoded."""
    kinds = (nn.Linear, nn.Conv2d)
    found = {name: module.weight for name, module in model.named_modules() if isinstance(module, kinds)}
    return {
        name: (weight.dequantize() if hasattr(weight, "dequantize") else weight).detach().float()
        for name, weight in found.items()
    }


def largest_apart(ours: Any, theirs: Any) -> str:
    """The largest difference of any weight, of the largest weight."""
    mine, other = weights_of(ours), weights_of(theirs)
    assert mine.keys() == other.keys()
    apart = max(float((mine[name] - other[name]).abs().max() / other[name].abs().max()) for name in mine)
    return f"weights differ by {100 * apart:.2g} % of the largest at most"


def pruned(model: nn.Module, _task: ce.Task) -> nn.Module:
    """Half of the weights of each layer, with torch."""
    network = copy.deepcopy(model)
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            prune.l1_unstructured(module, "weight", amount=0.5)
            prune.remove(module, "weight")
    return network


def quantized_by_torchao(model: nn.Module, _task: ce.Task) -> nn.Module:
    """8 bits a weight, one scale a channel."""
    network = copy.deepcopy(model)
    quantize_(network, Int8WeightOnlyConfig())
    return network


def quantized_by_quanto(model: nn.Module, _task: ce.Task) -> nn.Module:
    """8 bits a weight, one scale a channel."""
    network = copy.deepcopy(model)
    quantize(network, weights=qint8)
    freeze(network)
    return network


def narrowed(model: nn.Module, task: ce.Task) -> nn.Module:
    """30 % of the channels of each layer removed, by torch-pruning."""
    network = copy.deepcopy(model)
    last = list(weights_of(network))[-1]
    torch_pruning.pruner.BasePruner(
        network,
        task.test.inputs[:1],
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.3,
        ignored_layers=[network.get_submodule(last)],
    ).step()
    return network


def by_lobotomizer(model: nn.Module, _task: ce.Task) -> nn.Module:
    """Half of the weights of each layer, through its pipeline."""
    stage = lobotomizer.Prune(method="l1_unstructured", sparsity=0.5)
    network: nn.Module = lobotomizer.Pipeline([stage]).run(copy.deepcopy(model)).model
    return network


def compressed(method: str, **values: Any) -> Callable[[nn.Module, ce.Task], nn.Module]:
    """One step of ours, as a module."""
    return lambda model, task: ce.compress(model, ce.Step(method, ("*",), None, **values), task).model


def clustered(model: nn.Module, _task: ce.Task) -> float:
    """The squared error of 16 clusters of the first layer, from a linear start, by scikit-learn."""
    weight = next(iter(weights_of(model).values())).flatten().numpy()[:, None]
    start = np.linspace(weight.min(), weight.max(), 16)[:, None]
    return float(KMeans(16, init=start, n_init=1, tol=0, max_iter=1000, algorithm="lloyd").fit(weight).inertia_)


def clustered_by_us(model: nn.Module, task: ce.Task) -> float:
    """The same, of the first layer alone."""
    name, weight = next(iter(weights_of(model).items()))
    step = ce.Step("k-means", (f"{name}.weight",), None, clusters=16)
    return float((weights_of(ce.compress(model, step, task).model)[name] - weight).double().square().sum())


def macs(ours: Any, theirs: Any) -> str:
    """How much work the two networks are, in millions of multiply-accumulates."""
    task = ce.load("resnet-fashion")[1]
    mine, other = (ce.cost(network, task).macs / 1e6 for network in (ours, theirs))
    return f"{mine:.2f} and {other:.2f} million multiply-accumulates"


PEERS = (
    Peer("torch.nn.utils.prune, half of each layer", "lenet-300-100", compressed("magnitude"), pruned, largest_apart),
    Peer("lobotomizer, half of each layer", "lenet-300-100", compressed("magnitude"), by_lobotomizer, largest_apart),
    Peer(
        "torchao, 8 bits a channel",
        "lenet-300-100",
        compressed("integer", bits=8, granularity="channel"),
        quantized_by_torchao,
        largest_apart,
    ),
    Peer(
        "optimum-quanto, 8 bits a channel",
        "lenet-300-100",
        compressed("integer", bits=8, granularity="channel"),
        quantized_by_quanto,
        largest_apart,
    ),
    Peer(
        "torch-pruning, 30 % of the channels",
        "resnet-fashion",
        compressed("remove-filters", sparsity=0.3),
        narrowed,
        macs,
    ),
    Peer(
        "scikit-learn KMeans, 16 clusters of the first layer",
        "lenet-300-100",
        clustered_by_us,
        clustered,
        lambda ours, theirs: f"squared error {ours:.4f} and {theirs:.4f}",
    ),
)


def row(peer: Peer) -> Row:
    """One task, timed in turn."""
    model, task = ce.load(peer.network)
    own, others, spread, mine, other = duel(lambda: peer.ours(model, task), lambda: peer.theirs(model, task))
    return Row(peer.name, peer.network, own, others, spread, peer.answers(mine, other))


def run() -> list[Row]:
    """Every task."""
    return [row(peer) for peer in PEERS]
