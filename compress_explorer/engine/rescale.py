"""Multiplies weights by constants that something else of the network takes back: the function stays the same."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from compress_explorer.engine.matrix import as_float32_matrix
from compress_explorer.engine.weights import AllWeights, Weights
from compress_explorer.engine.workpiece import Origin, Workpiece
from compress_explorer.spec.errors import ModelError


def rescaled(work: Workpiece, factors: Mapping[str, Tensor]) -> Workpiece:
    """The workpiece whose weights are multiplied; what is shown of them in terms of the original stays.

    Codes of weights that were quantized are given up.

    Args:
        work: the model as the steps before left it.
        factors: for each site the factor of every weight, positive, float [channels, n].

    Raises:
        ModelError: when a weight would overflow.
    """
    layouts = {site.name: site.layout for site in work.inventory.sites}
    state: dict[str, Tensor] = {}
    changed: dict[str, Weights] = {}
    for name, factor in factors.items():
        before, entry = work.state[name], work.weights[name]
        state[name] = (before.double() * layouts[name].from_matrix(factor.double())).to(before.dtype)
        if not bool(torch.isfinite(state[name]).all()):
            raise ModelError(f"{name} would overflow {before.dtype} when it is rescaled. Leave that layer out.")
        matrix = as_float32_matrix(state[name], layouts[name])
        changed[name] = Weights(torch.where(entry.mask, matrix, 0.0), entry.kept, None, entry.dtype)
    origins = {name: _undoing(origin, factors) for name, origin in work.origins.items()}
    return replace(work.with_weights(changed, with_aliases(work, state)), origins=origins)


def with_aliases(work: Workpiece, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """These tensors of the state under all of their names."""
    return {other: tensor for name, tensor in tensors.items() for other in (name, *work.inventory.aliases_of(name))}


def _undoing(origin: Origin, factors: Mapping[str, Tensor]) -> Origin:
    """The same origin when its parts were multiplied since."""
    own = {name: factors[name] for name in origin.parts if name in factors}
    return Origin(origin.parts, _undone(origin.dense, own)) if own else origin


def _undone(dense: Callable[[AllWeights], Weights], factors: Mapping[str, Tensor]) -> Callable[[AllWeights], Weights]:
    def original(weights: AllWeights) -> Weights:
        divided = {name: _divided(weights[name], factor) for name, factor in factors.items()}
        return dense({**weights, **divided})

    return original


def _divided(entry: Weights, factor: Tensor) -> Weights:
    """The weights before they were multiplied; their levels differ by column then, so that no code stands for them."""
    return replace(entry, matrix=(entry.matrix.double() / factor.double()).float(), code=None)
