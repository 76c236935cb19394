"""From a workpiece back to a network, and to what of it has to be stored."""

import torch
from torch import Tensor, nn

from compress_explorer.engine.copying import copy_with
from compress_explorer.engine.matrix import Layout
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.engine.weights import Weights
from compress_explorer.engine.workpiece import Workpiece


def network_of(work: Workpiece) -> nn.Module:
    """A network of its own, in evaluation mode, that computes with what the steps left."""
    own = work.model.state_dict()
    values = {entry.name: entry.values for entry in stored_tensors(work)}
    replaced = {name: tensor for name, tensor in values.items() if tensor.data_ptr() != own[name].data_ptr()}
    return copy_with(work.model, replaced, work.inventory)


def stored_tensors(work: Workpiece) -> tuple[StoredTensor, ...]:
    """The stored form of every tensor, shared ones once, in the order of the state."""
    sites = {site.name: site for site in work.inventory.sites}
    aliases = dict(work.inventory.aliases)
    return tuple(
        _stored(name, tensor, sites[name].layout, work.weights[name], name in work.treated)
        if name in sites
        else StoredTensor(name=name, values=tensor, layout=_plain_layout(tensor))
        for name, tensor in work.state.items()
        if name not in aliases
    )


def _stored(name: str, tensor: Tensor, layout: Layout, entry: Weights, changed: bool) -> StoredTensor:
    """Pruned weights that are not quantized keep their bits exactly, float64 included."""
    if entry.code is not None or (entry.kept is not None and tensor.dtype == entry.matrix.dtype):
        values = layout.from_matrix(entry.matrix).to(tensor.dtype)
    elif entry.kept is not None:
        values = torch.where(layout.from_matrix(entry.kept), tensor, torch.zeros((), dtype=tensor.dtype))
    else:
        values = tensor
    return StoredTensor(
        name=name,
        values=values,
        layout=layout,
        kept=entry.kept,
        code=entry.code,
        changed=changed,
        coding=entry.coding,
    )


def _plain_layout(tensor: Tensor) -> Layout:
    return Layout(tuple(tensor.shape) or (1,))
