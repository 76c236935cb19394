"""Applies corrections to what is no weight: biases, and running statistics of batch normalizations."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from compress_explorer.engine.context import Context
from compress_explorer.engine.evidence import calibration_split
from compress_explorer.engine.layers import WeightSite
from compress_explorer.engine.matrix import as_float32_matrix
from compress_explorer.engine.rebuild import network_of
from compress_explorer.engine.rescale import with_aliases
from compress_explorer.engine.targets import Target
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods.evidence import BatchMoments, LayerBefore
from compress_explorer.spec.errors import DataError, ModelError
from compress_explorer.spec.method import Method

BATCH = 128
"""Samples of one batch whose mean and variance count."""

BIAS_ONLY = "its weights stay as they are: the step treats its bias"
STATISTICS_ONLY = "its weights stay as they are: the step treats running statistics"


def correct_biases(
    work: Workpiece, method: Method, target: Target, known: Mapping[str, Any], context: Context
) -> Workpiece:
    """The workpiece whose biases are corrected for what the steps before did to the weights.

    Args:
        work: the model as the steps before left it.
        method: with the result "state" and the need "before".
        target: the weights of the layers.
        known: statistics of each site's input, or in words why there are none.
        context: who is told the progress.
    """
    refused: dict[str, str] = {}
    changed: dict[str, Tensor] = {}
    for done, site in enumerate(target.sites, start=1):
        context.tell(f"{method.label}: layer {done} of {len(target.sites)}")
        found = known[site.name] if isinstance(known[site.name], str) else _no_bias(work, site)
        if found is not None:
            refused[site.name] = found
            continue
        entry, bias = work.weights[site.name], _bias_of(site)
        layer = LayerBefore(weight=before(work, site), inputs=known[site.name])
        shift = method.apply(entry.matrix, entry.mask, layer)
        changed[bias] = (work.state[bias].double() + shift).to(work.state[bias].dtype)
        refused[site.name] = BIAS_ONLY
    return _with_state(work, changed).with_refused(refused)


def before(work: Workpiece, site: WeightSite) -> Tensor:
    """A site's weights before they were rounded and pruned, float32 [channels, n]."""
    return as_float32_matrix(work.state[site.name], site.layout)


def _bias_of(site: WeightSite) -> str:
    return f"{site.name.removesuffix('weight')}bias"


def _no_bias(work: Workpiece, site: WeightSite) -> str | None:
    bias, aliases = _bias_of(site), dict(work.inventory.aliases)
    if bias not in work.state:
        return "has no bias that could be corrected"
    # A layer under several names has its bias under as many; a bias that others use too has more.
    if aliases.get(bias, bias) != bias or len(work.inventory.aliases_of(bias)) != len(site.aliases):
        return "its bias is shared with another layer"
    return None


def _with_state(work: Workpiece, changed: Mapping[str, Tensor]) -> Workpiece:
    """The workpiece with tensors of the state exchanged; they no longer count as left alone."""
    skipped = tuple(entry for entry in work.inventory.skipped if entry.name not in changed)
    return replace(
        work.with_weights({}, with_aliases(work, changed)), inventory=replace(work.inventory, skipped=skipped)
    )


def recalibrate(work: Workpiece, method: Method, target: Target, context: Context) -> Workpiece:
    """The workpiece whose batch normalizations have the running statistics of calibration samples.

    All batch normalizations of the network are treated, whichever layers the step names. While their statistics
    are gathered each normalizes by those of the batch, as in training; all else is in evaluation mode.

    Raises:
        DataError: when there is no train split, or statistics are not finite on it.
        ModelError: when the model has no batch normalization with running statistics.
    """
    split = calibration_split(method.name, context)
    network = network_of(work)
    norms = {name: module for name, module in network.named_modules() if _is_tracking(module)}
    if not norms:
        raise ModelError(
            f"{type(work.model).__name__} has no batch normalization with running statistics, and method "
            f"{method.name!r} treats nothing else. Leave the step out."
        )
    chosen = split.order[: int(target.values["samples"])]
    batches = [split.inputs[batch] for batch in _batches(chosen)]
    found = _moments(network, norms, batches, context)
    changed: dict[str, Tensor] = {}
    for name, moments in found.items():
        scale = torch.ones(moments.mean.shape[1], 1)
        mean, variance = method.apply(scale, torch.ones_like(scale, dtype=torch.bool), moments)
        for leaf, values in (("running_mean", mean), ("running_var", variance)):
            tensor = f"{name}.{leaf}" if name else leaf
            changed[tensor] = values.to(work.state[tensor])
    reasons = {site.name: STATISTICS_ONLY for site in target.sites}
    return _with_state(work, changed).with_refused(reasons)


def _is_tracking(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None


def _batches(chosen: Tensor) -> list[Tensor]:
    """The samples in batches of BATCH; a last one of a single sample, which has no variance, joins the one before."""
    batches = list(torch.split(chosen, BATCH))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _moments(
    network: nn.Module, norms: Mapping[str, nn.Module], batches: list[Tensor], context: Context
) -> dict[str, BatchMoments]:
    """What each normalization computes over each batch; `network` is private, and is changed."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    means: dict[str, list[Tensor]] = {name: [] for name in norms}
    variances: dict[str, list[Tensor]] = {name: [] for name in norms}
    handles: list[RemovableHandle] = []

    def observe(name: str, norm: nn.Module) -> None:
        def look(norm: nn.Module, _given: object, _returned: object) -> None:
            means[name].append(norm.get_buffer("running_mean").to("cpu", torch.float64, copy=True))
            variances[name].append(norm.get_buffer("running_var").to("cpu", torch.float64, copy=True))

        handles.append(norm.register_forward_hook(look, prepend=True))

    for name, norm in norms.items():
        assert isinstance(norm, _BatchNorm)
        norm.momentum = 1.0  # so that the running statistics are those of the last batch
        norm.train()
        observe(name, norm)
    try:
        with torch.no_grad():
            for done, batch in enumerate(batches):
                context.tell(f"recalibrating: batch {done + 1} of {len(batches)}")
                _forward(network, batch.to(device))
    finally:
        for handle in handles:
            handle.remove()
    used = {name: (torch.stack(means[name]), torch.stack(variances[name])) for name in norms if means[name]}
    for name, (mean, variance) in used.items():
        if not bool(torch.isfinite(mean).all() and torch.isfinite(variance).all()):
            raise DataError(
                f"The statistics of {name} on the calibration samples are not finite. Check the train split."
            )
    return {name: BatchMoments(mean=mean, variance=variance) for name, (mean, variance) in used.items()}


def _forward(network: nn.Module, batch: Tensor) -> None:
    try:
        network(batch)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise DataError(
            "Batch statistics need more than one value per channel: take samples=2 or more calibration samples."
        ) from error
