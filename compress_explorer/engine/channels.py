"""Steps that remove channels from a network: its layers become smaller, in the file and in every computation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from compress_explorer.engine.channel_groups import channel_groups
from compress_explorer.engine.context import Context
from compress_explorer.engine.cut import ChannelGroup, Cut, cuts_of, edits_of, left_of
from compress_explorer.engine.layers import WeightSite
from compress_explorer.engine.rebuild import stored_tensors
from compress_explorer.engine.restructure import Replacement, restructure
from compress_explorer.engine.targets import Target
from compress_explorer.engine.weights import AllWeights, Weights
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.spec.method import Method

NOT_TRACED = "the network does not use it on the example input, or in a way that cannot be followed"


def remove_channels(work: Workpiece, method: Method, target: Target, context: Context) -> Workpiece:
    """The workpiece without the output channels of the target's layers that `method` does not keep.

    What reads them loses those inputs; what shares them (layers that are added, depthwise convolutions,
    normalizations) loses them too. A group of channels is left alone, and said why, unless all layers that compute
    it are the target's. The network's own inputs and outputs stay as they are.

    Raises:
        ModelError: when the network cannot be traced.
    """
    found = channel_groups(work, context)
    reasons = {site.name: found.reasons.get(_layer(site.name), NOT_TRACED) for site in target.sites}
    groups: list[ChannelGroup] = []
    for group in found.groups:
        sites = _sites(work, group)
        others = [name for name in sites if name not in reasons]
        reason = None
        if not sites:
            continue
        if others:
            reason = f"shares its channels with {others[0]}, which the step leaves out or sets apart"
        elif method.needs == "scales" and not _norms(work, group):
            reason = "has no batch normalization with scales behind it"
        else:
            groups.append(group)
        reasons |= {name: reason or "" for name in sites if name in reasons}
    work = work.with_refused({name: reason for name, reason in reasons.items() if reason})
    if not groups:
        return work
    keeps = list(zip(groups, _apply(work, method, target, groups), strict=True))
    # What loses nothing has been treated all the same.
    work = work.with_weights({name: work.weights[name] for group in groups for name in _sites(work, group)})
    cuts = cuts_of(work.model, keeps)
    return _removed(work, cuts) if cuts else work


def _apply(work: Workpiece, method: Method, target: Target, groups: list[ChannelGroup]) -> list[Tensor]:
    """Which channels of each group stay, bool [channels]."""
    columns = [[_filters(work, group, kept) for group in groups] for kept in (False, True)]
    if method.needs == "scales":
        columns.append([_scales(work, group) for group in groups])
    with torch.no_grad():
        if method.scope == "model":
            return list(method.apply(*columns, **target.values))
        return [method.apply(*row, **target.values) for row in zip(*columns, strict=True)]


def _filters(work: Workpiece, group: ChannelGroup, kept: bool) -> Tensor:
    """All weights that compute a group's channels, one row a channel, or which of them are kept."""
    parts = []
    for link in group.links:
        name = f"{link.layer}.weight" if link.layer else "weight"
        if link.side == "outputs" and name in work.weights:
            entry = work.weights[name]
            parts.append((entry.mask if kept else entry.matrix)[link.places[link.channels.argsort()]])
    return torch.cat(parts, dim=1)


def _norms(work: Workpiece, group: ChannelGroup) -> list[Tensor]:
    """The scales of the batch normalizations that a group passes, by channel."""
    return [
        work.state[f"{link.layer}.weight"].float()[link.places[link.channels.argsort()]]
        for link in group.links
        if isinstance(work.model.get_submodule(link.layer), nn.modules.batchnorm._BatchNorm)
        and f"{link.layer}.weight" in work.state
    ]


def _scales(work: Workpiece, group: ChannelGroup) -> Tensor:
    """The scales, float32 [channels, normalizations]."""
    return torch.stack(_norms(work, group), dim=1)


def _removed(work: Workpiece, cuts: dict[str, Cut]) -> Workpiece:
    values = {entry.name: entry.values for entry in stored_tensors(work)}
    replacements, masks = {}, {}
    for site in work.inventory.sites:
        entry = cuts.get(_layer(site.name))
        if entry is not None:
            replacements[site.name] = Replacement((site.name,), _dense(site, entry))
            kept = work.weights[site.name].kept
            if kept is not None:
                masks[site.name] = entry.of(site.layout.from_matrix(kept)).flatten(1)
    return restructure(work, edits_of(cuts), left_of(cuts, values), replacements, masks)


def _dense(site: WeightSite, entry: Cut) -> Callable[[AllWeights], Weights]:
    """Gives the weights in their places of before, with zeros, as if pruned, where channels were removed."""
    shape = site.layout.shape
    left = (len(entry.outputs), shape[1] if entry.inputs is None else len(entry.inputs), *shape[2:])

    def dense(weights: AllWeights) -> Weights:
        now = weights[site.name]
        matrix, kept = (
            site.layout.to_matrix(entry.scattered(part.reshape(left), shape)) for part in (now.matrix, now.mask)
        )
        return Weights(matrix, kept, dtype=now.dtype)

    return dense


def _sites(work: Workpiece, group: ChannelGroup) -> list[str]:
    """The names of the weights that compute a group's channels."""
    names = [f"{layer}.weight" if layer else "weight" for layer in group.layers]
    return [name for name in names if name in work.weights]


def _layer(name: str) -> str:
    return name.rpartition(".")[0]
