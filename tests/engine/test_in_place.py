"""Activations in place: the same numbers, nothing overwritten that is still read, hooks still called."""

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

import compress_explorer as ce
from compress_explorer.engine.follow import layer_graph
from compress_explorer.engine.in_place import with_activations_in_place
from compress_explorer.engine.inference_copy import fast_form
from tests.case import case

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Applied(nn.Module):
    """A convolution, and a function of what it gives."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.function = nn.Conv2d(3, 4, 3, padding=1), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


def in_place(model: nn.Module) -> tuple[nn.Module, list[bool]]:
    """What became of the model, and which of its activations are computed in place, in their order."""
    graph = layer_graph(model)
    fast = with_activations_in_place(model, graph)
    modules = dict(model.named_modules())
    flags = [
        bool(node.kwargs.get("inplace") or getattr(modules.get(str(node.target)), "inplace", False))
        for node in graph.nodes
        if (node.op == "call_module" and not isinstance(modules[str(node.target)], nn.Conv2d | nn.Identity))
        or (node.op == "call_function" and "relu" in str(node.target))
    ]
    return fast, flags


def test_only_what_nothing_else_reads_is_overwritten():
    cases: dict[str, tuple[Callable[[Tensor], Tensor], list[bool]]] = {
        "alone": (functional.relu, [True]),
        "with a slope": (lambda y: functional.leaky_relu(y, 0.3), [True]),
        "sum": (lambda y: functional.relu(y + 1) * y, [True]),
        "read again": (lambda y: functional.relu(y) + y, [False]),
        "read twice": (lambda y: functional.relu(y) + functional.relu(y), [False, False]),
        "a view": (lambda y: functional.relu(y.flatten(1)), [False]),
        "one after the other": (lambda y: functional.relu(functional.relu(y) - 1), [True, True]),
    }
    for name, (function, expected) in cases.items():
        with case(name), torch.no_grad():
            model = Applied(function).eval()
            wanted, given = model(X), X.clone()
            fast, flags = in_place(model)
            assert flags == expected
            assert torch.equal(fast(given), wanted)
            assert torch.equal(given, X)


def test_the_input_is_never_overwritten():
    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return functional.relu(x)

    model = nn.Sequential(nn.Identity(), nn.ReLU())
    for network in (First(), model):
        given = X.clone()
        in_place(network)[0](given)
        assert torch.equal(given, X)


def test_an_activation_that_is_called_twice_is_in_place_only_where_both_calls_allow_it():
    class Twice(nn.Module):
        def __init__(self, is_read_again: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.act, self.is_read_again = nn.Conv2d(3, 3, 1), nn.ReLU(), is_read_again

        def forward(self, x: Tensor) -> Tensor:
            first = self.act(self.conv(x))
            second = self.conv(first)
            result: Tensor = self.act(second)
            return result + second if self.is_read_again else result

    for is_read_again in (False, True):
        model = Twice(is_read_again).eval()
        with torch.no_grad():
            wanted = model(X)
            assert torch.equal(in_place(model)[0](X), wanted)
        assert model.act.inplace is not is_read_again


def test_hooks_are_called_and_see_what_they_saw():
    kept: list[Tensor] = []
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Conv2d(4, 2, 1), nn.ReLU()).eval()
    for hooked in ("0", "0.0", "0.1", ""):
        with case(hooked), torch.no_grad():
            wanted = [module(X) for module in (model, model.get_submodule("0.0"), model[0])]
            kept.clear()
            handle = model.get_submodule(hooked).register_forward_hook(lambda _m, _x, y: kept.append(y))
            fast = fast_form(model, X)
            kept.clear()
            assert torch.allclose(fast(X), wanted[0], atol=1e-6)
            handle.remove()
            expected = wanted[{"": 0, "0.0": 1}.get(hooked, 2)]
            assert len(kept) == 1
            torch.testing.assert_close(kept[0], expected)


def test_the_networks_of_the_zoo_are_computed_in_place_with_the_same_answers():
    for name, activations in (("resnet-fashion", 7), ("depthwise-fashion", 11)):
        with case(name):
            model, task = ce.load(name)
            inputs, _ = task.test.in_order(range(64))
            fast = fast_form(model.eval(), inputs[:4])
            assert isinstance(fast, fx.GraphModule)
            assert sum("inplace" in node.kwargs for node in fast.graph.nodes) == activations
            with torch.no_grad():
                expected, found = model(inputs), fast(inputs)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
            assert torch.equal(found.argmax(1), expected.argmax(1))


class Otherwise(nn.Module):
    """Computes something else than what is written down when it is followed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.conv(x))
        return y if isinstance(x, Tensor) else 2 * y


def test_what_does_not_agree_is_not_used():
    model = Otherwise().eval()
    fast = fast_form(model, X)
    assert isinstance(fast, Otherwise)
    with torch.no_grad():
        torch.testing.assert_close(fast(X), model(X))
