"""The graph of layers, against the one that torch.fx traces."""

import threading

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from compress_explorer.engine.follow import layer_graph


class Branching(nn.Module):
    """Functions, methods, a module that is used twice, a parameter of its own, nesting and an argument with default."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.inner = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 1), nn.Identity()))
        self.gain = nn.Parameter(torch.ones(1))
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor, scale: float = 2.0) -> Tensor:
        y = functional.relu(self.first(x)) * self.gain
        y = self.inner(y) + self.inner(y) * scale
        return self.last(torch.flatten(y.mean(dim=(2, 3)), 1))


class Deciding(nn.Module):
    """Needs to see numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


MODELS = {
    "sequential": lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
    "branching": Branching,
}


def described(graph: fx.Graph) -> list[tuple[str, str, tuple[str, ...]]]:
    """Operation, target and inputs of every node but the placeholder of an argument that has a default."""
    return [
        (node.op, str(node.target), tuple(before.name for before in node.all_input_nodes if before.name != "scale"))
        for node in graph.nodes
        if node.name != "scale"
    ]


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_is_that_of_torch_fx(name):
    model = MODELS[name]().eval()
    ours, theirs = layer_graph(model), fx.Tracer().trace(model)
    assert described(ours) == described(theirs)
    assert "forward" not in {key for module in model.modules() for key in vars(module)}


def test_what_cannot_be_followed_raises():
    with pytest.raises(fx.proxy.TraceError):
        layer_graph(Deciding())


def test_other_threads_compute_meanwhile():
    """Nothing of torch is exchanged for the time: the functions that other threads call are the same objects."""
    before = nn.Module.__call__, nn.Module.__getattr__
    seen: set[object] = set()

    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            def look() -> None:
                seen.add((nn.Module.__call__, nn.Module.__getattr__))
                seen.add(float(nn.Linear(2, 1)(torch.ones(1, 2)).isfinite()))

            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            return x + 1

    layer_graph(Watching())
    assert seen == {before, 1.0}
