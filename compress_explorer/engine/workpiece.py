"""A model between two steps of a recipe. Frozen: a step makes a new one."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from compress_explorer.engine.copying import copy_with, tensors_of
from compress_explorer.engine.edits import Edit
from compress_explorer.engine.layers import Inventory, inspect_model
from compress_explorer.engine.weights import AllWeights, Weights, original_weights


@dataclass(frozen=True, eq=False)
class Origin:
    """What became of one weight tensor of the original model.

    Attributes:
        parts: the names of the tensors that now stand for it.
        dense: gives it back in its original matrix form, from the present weights.
    """

    parts: tuple[str, ...]
    dense: Callable[[AllWeights], Weights]


@dataclass(frozen=True, eq=False, kw_only=True)
class Workpiece:
    """A model with all that the steps so far have made of it.

    Attributes:
        model: the network's present structure, in evaluation mode. It is private and never changed; where its
            own tensors differ from `state` and `weights`, those count.
        inventory: its tensors.
        state: every tensor by its name, in the model's own shape and dtype: biases and buffers as the steps left
            them, weights before they were pruned and quantized.
        weights: the weight matrices, by the name of their site.
        origins: what became of each weight tensor of the original model, by its original name.
        treated: the sites that some step has treated.
        refused: why the last step that named a site left it alone.
        edits: how the structure of `model` came out of the original's.
        memo: what was gathered about this model for methods that need more than weights.
    """

    model: nn.Module
    inventory: Inventory
    state: Mapping[str, Tensor]
    weights: AllWeights
    origins: Mapping[str, Origin]
    treated: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    edits: tuple[Edit, ...] = ()
    memo: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def with_weights(self, changed: AllWeights, state: Mapping[str, Tensor] | None = None) -> "Workpiece":
        """These weights, and tensors of the state, exchanged; their sites count as treated."""
        return replace(
            self,
            state={**self.state, **(state or {})},
            weights={**self.weights, **changed},
            treated=self.treated | changed.keys(),
            memo={},
        )

    def with_refused(self, reasons: Mapping[str, str]) -> "Workpiece":
        """The same with the sites that a step named and could not treat."""
        return replace(self, refused={**self.refused, **reasons}) if reasons else self

    def seen(self) -> AllWeights:
        """The weights in terms of the original model: one entry for each of its weight tensors."""
        return {name: origin.dense(self.weights) for name, origin in self.origins.items()}


def is_unchanged(work: Workpiece, original: Workpiece) -> bool:
    """Whether the steps left every tensor and the structure as they were, so that both compute the same."""
    if work.edits or work.state.keys() != original.state.keys():
        return False
    same_state = all(work.state[name] is tensor for name, tensor in original.state.items())
    return same_state and all(
        torch.equal(work.weights[name].matrix, entry.matrix) for name, entry in original.weights.items()
    )


def open_model(model: nn.Module) -> Workpiece:
    """The workpiece that the first step begins with: a copy of `model`.

    Raises:
        ModelError: when it cannot be compressed or copied.
    """
    inventory = inspect_model(model)
    own = tensors_of(model)
    # Its own weights are given to the copy: so a copy that would not take them is found out.
    copied = copy_with(model, {site.name: own[site.name] for site in inventory.sites}, inventory)
    state = tensors_of(copied)
    return Workpiece(
        model=copied,
        inventory=inventory,
        state=state,
        weights=original_weights(state, inventory),
        origins={site.name: _itself(site.name) for site in inventory.sites},
    )


def _itself(name: str) -> Origin:
    return Origin((name,), lambda weights: weights[name])
