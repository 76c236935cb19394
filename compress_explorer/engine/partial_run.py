"""Runs a network from some layer on: what comes before is computed once for many changes of that layer."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from compress_explorer.engine.follow import followed

Values = dict[fx.Node, Any]
"""What was computed so far and is still needed."""


@dataclass(frozen=True, eq=False)
class Program:
    """A network as a list of calls.

    Attributes:
        model: the network, in evaluation mode.
        nodes: its calls in their order; the first is the input, the last the output.
        done_with: for each node the values that no later one needs.
    """

    model: nn.Module
    nodes: tuple[fx.Node, ...]
    done_with: tuple[tuple[fx.Node, ...], ...]

    def first_call(self, modules: Collection[str]) -> int:
        """The first node that calls one of these modules, or reads a tensor of theirs; else the last node."""
        for place, node in enumerate(self.nodes):
            target = str(node.target)
            if (node.op == "call_module" and target in modules) or (
                node.op == "get_attr" and target.rpartition(".")[0] in modules
            ):
                return place
        return len(self.nodes) - 1

    def step(self, place: int, values: Values, exchanged: Mapping[str, nn.Module]) -> None:
        """Computes one node and forgets what is no longer needed.

        Args:
            place: the node's.
            values: all that it needs; its own value is added.
            exchanged: modules that stand for those of the same name.
        """
        node = self.nodes[place]
        args, kwargs = (fx.map_arg(part, values.__getitem__) for part in (node.args, node.kwargs))
        values[node] = self._value(node, args, kwargs, exchanged)
        for past in self.done_with[place]:
            values.pop(past, None)

    def finish(self, place: int, values: Values, exchanged: Mapping[str, nn.Module]) -> Any:
        """The output, computed from node `place` on; `values` is used up."""
        for later in range(place, len(self.nodes)):
            self.step(later, values, exchanged)
        return values[self.nodes[-1]]

    def _value(self, node: fx.Node, args: Any, kwargs: Any, exchanged: Mapping[str, nn.Module]) -> Any:
        target = str(node.target)
        if node.op == "output":
            return args[0]
        if node.op == "get_attr":
            owner, _, name = target.rpartition(".")
            return getattr(self._module(owner, exchanged), name)
        if node.op == "call_module":
            return self._module(target, exchanged)(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def _module(self, name: str, exchanged: Mapping[str, nn.Module]) -> nn.Module:
        return exchanged[name] if name in exchanged else self.model.get_submodule(name)


def program_of(model: nn.Module, inputs: Tensor) -> Program | None:
    """The program of `model`; None where there is none that computes the very same, from each of its layers on.

    So it is where the forward function decides by numbers, or a later layer changes in place what an earlier one gave.

    Args:
        model: in evaluation mode.
        inputs: a batch.
    """
    graph = followed(model)
    if graph is None:
        return None
    nodes = tuple(graph.nodes)
    if [node.op for node in nodes].count("placeholder") != 1 or nodes[0].op != "placeholder":
        return None
    program = Program(model, nodes, _done_with(nodes))
    with torch.no_grad():
        try:
            computed = program.finish(1, {nodes[0]: inputs}, {})
        except Exception:  # noqa: BLE001 -- e.g. what was traced does not fit these inputs
            return None
        expected = model(inputs)
        same = isinstance(computed, Tensor) and isinstance(expected, Tensor) and torch.equal(computed, expected)
        return program if same and not _overwrites(program, inputs[:1]) else None


def _overwrites(program: Program, inputs: Tensor) -> bool:
    """Whether running on from some layer changes values that running on from another would need."""
    values: Values = {program.nodes[0]: inputs}
    for place, node in enumerate(program.nodes[1:], start=1):
        if node.op in ("call_module", "get_attr"):
            before = _versions(values)
            program.finish(place, dict(values), {})
            if _versions(values) != before:
                return True
        program.step(place, values, {})
    return False


def _versions(values: Values) -> list[int]:
    """A count of the changes that were made in place to each tensor."""
    return [value._version for value in values.values() if isinstance(value, Tensor)]


def _done_with(nodes: tuple[fx.Node, ...]) -> tuple[tuple[fx.Node, ...], ...]:
    """For each node the values that it is the last to use."""
    last: dict[fx.Node, int] = {}
    for place, node in enumerate(nodes):
        for used in node.all_input_nodes:
            last[used] = place
    found: list[list[fx.Node]] = [[] for _ in nodes]
    for node, place in last.items():
        found[place].append(node)
    return tuple(map(tuple, found))
