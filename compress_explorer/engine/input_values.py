"""Gathers on the train split the values that layers are fed, for methods that fix levels of a layer's input."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from compress_explorer.engine.context import Context
from compress_explorer.engine.evidence import BATCH, calibration_split
from compress_explorer.engine.input_transform import transform_of
from compress_explorer.engine.layers import WeightSite
from compress_explorer.engine.rebuild import network_of
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods.evidence import InputValues
from compress_explorer.spec.errors import DataError

MOST_VALUES = 2**18
"""How many values of one layer's input are kept: a megabyte."""

UNUSED = "the network does not use it on the calibration samples"


def input_values(
    work: Workpiece, method: str, sites: Sequence[WeightSite], samples: int, context: Context
) -> Mapping[str, InputValues | str]:
    """The values that each site's layer is fed, divided as its transform says; none of these layers' inputs is rounded.

    Args:
        work: the model as the steps before left it.
        method: for which they are gathered.
        sites: the weights of layers whose input can be transformed.
        samples: how many of the train split's samples to look at; all where it has fewer.
        context: the data, and who is told the progress.

    Returns:
        For each site its values, or in words why there are none.

    Raises:
        DataError: when there is no train split, or a layer is fed NaN on it.
    """
    split = calibration_split(method, context)
    key = ("values", tuple(site.name for site in sites), samples)
    if key not in work.memo:
        chosen = split.order[:samples]
        batches = [split.inputs[batch] for batch in torch.split(chosen, BATCH)]
        work.memo[key] = _gather(network_of(work), sites, batches, len(chosen), context.tell)
    known: Mapping[str, InputValues | str] = work.memo[key]
    return known


class _Values:
    """What one layer was fed so far."""

    def __init__(self, name: str, samples: int) -> None:
        self._name, self._samples = name, samples
        self._lows: list[Tensor] = []
        self._highs: list[Tensor] = []
        self._values: list[Tensor] = []

    def add(self, given: Tensor) -> None:
        """Adds an input; of large ones every so many-th value, so that all samples together keep to MOST_VALUES."""
        rows = given.detach().float().reshape(given.shape[0] if given.ndim > 1 else 1, -1)
        if not bool(torch.isfinite(rows).all()):
            raise DataError(
                f"{self._name} is fed NaN or infinite values on the calibration samples. "
                "Check the train split, and what the steps before did to the model."
            )
        if rows.numel() == 0:
            return
        self._lows.append(rows.amin(dim=1).cpu())
        self._highs.append(rows.amax(dim=1).cpu())
        stride = -(-rows.numel() * self._samples // (MOST_VALUES * min(self._samples, BATCH)))
        self._values.append(rows.flatten()[::stride].cpu())

    def values(self) -> InputValues | str:
        if not self._values:
            return UNUSED
        values = torch.cat(self._values).sort().values
        return InputValues(low=torch.cat(self._lows), high=torch.cat(self._highs), values=values)


def _gather(
    network: nn.Module,
    sites: Sequence[WeightSite],
    batches: Sequence[Tensor],
    samples: int,
    tell: Callable[[str], None],
) -> dict[str, InputValues | str]:
    """Runs the batches through `network`, which is private, and is changed."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    found = {site.name: _Values(site.name, samples) for site in sites}
    handles: list[RemovableHandle] = []
    try:
        for site in sites:
            layer = network.get_submodule(site.name.rpartition(".")[0])
            transform = transform_of(layer)
            if transform is not None:
                transform.bits = None  # the levels that are to be fixed take the place of those
            handles += [_observe(layer, found[site.name])]
        with torch.no_grad():
            for done, batch in enumerate(batches):
                tell(f"calibrating: {done * BATCH:,} of {samples:,} samples")
                network(batch.to(device))
    finally:
        for handle in handles:
            handle.remove()
    return {name: values.values() for name, values in found.items()}


def _observe(layer: nn.Module, values: _Values) -> RemovableHandle:
    """Looks at the layer's input before its transform does, divided as that will divide it."""

    def look(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        value: Tensor = given[0] if given else named["input"]
        transform = transform_of(layer)
        values.add(value if transform is None else transform.divided(value))

    return layer.register_forward_pre_hook(look, prepend=True, with_kwargs=True)
