"""Gathers on the train split what calibrated methods need: statistics of layers' inputs and of gradients."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from compress_explorer.engine.context import Context
from compress_explorer.engine.input_vectors import input_vectors, unobservable
from compress_explorer.engine.layers import WeightSite
from compress_explorer.engine.loss import task_loss
from compress_explorer.engine.rebuild import network_of
from compress_explorer.engine.task import Split, Task
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods.evidence import GradientStatistics, InputStatistics
from compress_explorer.spec.errors import DataError
from compress_explorer.spec.method import Method

BATCH = 32
"""Samples at a time: the patches of a convolution's input take many times the memory of the input."""

TOLD_EVERY = 16
"""Samples between two reports of progress where samples are taken one by one."""


def calibration_split(method: str, context: Context) -> Split:
    """The train split that `method` is calibrated on.

    Raises:
        DataError: when there is none.
    """
    if context.task is None:
        raise DataError(
            f"Method {method!r} looks at the train split of a task, and there is no task. Pass it, as in "
            "ce.compress(model, recipe, task), or ce.explore(model, test=(x, y), train=(x, y))."
        )
    if context.task.train is None:
        raise DataError(
            f"Method {method!r} looks at the train split, and task {context.task.name!r} has none. Pass train=(x, y)."
        )
    return context.task.train


def evidence(
    work: Workpiece, method: Method, sites: Sequence[WeightSite], samples: int, context: Context
) -> Mapping[str, InputStatistics | GradientStatistics | str]:
    """What `method` needs to know of each site, or in words why that cannot be known; gathered once for each question.

    Args:
        work: the model as the steps before left it.
        method: one that needs gradients, or the moments of inputs.
        sites: the weights it is to treat.
        samples: how many of the train split's samples to look at; all where it has fewer.
        context: the data, and who is told the progress.

    Raises:
        DataError: when there is no train split, or the model computes NaN on it.
    """
    split = calibration_split(method.name, context)
    key = (method.needs, tuple(site.name for site in sites), samples)
    if key not in work.memo:
        chosen = split.order[:samples]
        if method.needs == "gradients":
            assert context.task is not None  # it has the split
            work.memo[key] = _gradients(work, sites, context.task, split, chosen, context.tell)
        else:
            work.memo[key] = _inputs(work, sites, split, chosen, context.tell)
    known: Mapping[str, InputStatistics | GradientStatistics | str] = work.memo[key]
    return known


class _Moments:
    """The running sums of one site's input vectors."""

    def __init__(self, site: WeightSite) -> None:
        self._name = site.name
        self._window = site.window
        self._vectors = 0
        self._moment = self._mean = self._magnitude = self._peak = torch.empty(0)

    def add(self, vectors: Tensor) -> None:
        """Adds input vectors, float [m, g, n]."""
        by_group = vectors.detach().float().transpose(0, 1)
        moment = (by_group.transpose(1, 2) @ by_group).double()
        mean = by_group.double().sum(dim=1)
        magnitudes = by_group.abs()
        magnitude, peak = magnitudes.sum(dim=1, dtype=torch.float64), magnitudes.amax(dim=1)
        if not bool(torch.isfinite(peak).all()):
            raise DataError(
                f"{self._name} is fed NaN or infinite values on the calibration samples. "
                "Check the train split, and what the steps before did to the model."
            )
        if self._vectors:
            moment, mean = self._moment + moment, self._mean + mean
            magnitude, peak = self._magnitude + magnitude, torch.maximum(self._peak, peak)
        self._moment, self._mean, self._magnitude, self._peak = moment, mean, magnitude, peak
        self._vectors += len(vectors)

    def statistics(self, samples: int) -> InputStatistics | str:
        if not self._vectors:
            return "the network does not use it on the calibration samples"
        return InputStatistics(
            moment=self._moment / self._vectors,
            mean=self._mean / self._vectors,
            peak=self._peak,
            vectors=self._vectors,
            samples=samples,
            mean_magnitude=self._magnitude / self._vectors,
            window=self._window,
        )


def _inputs(
    work: Workpiece, sites: Sequence[WeightSite], split: Split, chosen: Tensor, tell: Callable[[str], None]
) -> dict[str, InputStatistics | str]:
    """Statistics of the input vectors of each site."""
    network = network_of(work)
    reasons = {site.name: unobservable(network, site) for site in sites}
    moments = {site.name: _Moments(site) for site in sites if reasons[site.name] is None}
    handles: list[RemovableHandle] = []
    try:
        for site in sites:
            if site.name in moments:
                handles += [
                    _observe(network.get_submodule(name.rpartition(".")[0]), site, moments[site.name])
                    for name in (site.name, *site.aliases)
                ]
        with torch.no_grad():
            for start in range(0, len(chosen), BATCH):
                tell(f"calibrating: {start:,} of {len(chosen):,} samples")
                network(split.inputs[chosen[start : start + BATCH]].to(_device(network)))
    finally:
        for handle in handles:
            handle.remove()
    found: dict[str, InputStatistics | str] = {}
    for site in sites:
        reason = reasons[site.name]
        found[site.name] = moments[site.name].statistics(len(chosen)) if reason is None else reason
    return found


def _observe(module: nn.Module, site: WeightSite, moments: _Moments) -> RemovableHandle:
    def look(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        moments.add(input_vectors(layer, given[0], site))

    return module.register_forward_pre_hook(look)


def _gradients(
    work: Workpiece, sites: Sequence[WeightSite], task: Task, split: Split, chosen: Tensor, tell: Callable[[str], None]
) -> dict[str, GradientStatistics | str]:
    """The gradient of each sample's loss, one sample at a time."""
    network = network_of(work)
    parameters = [network.get_parameter(site.name).requires_grad_(True) for site in sites]
    sums: list[Tensor | None] = [None] * len(sites)
    squares: list[Tensor | None] = [None] * len(sites)
    for done, sample in enumerate(chosen[:, None]):
        if done % TOLD_EVERY == 0:
            tell(f"gradients: {done:,} of {len(chosen):,} samples")
        with torch.enable_grad():
            device = _device(network)
            loss = task_loss(task, network(split.inputs[sample].to(device)), split.targets[sample].to(device))
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for index, gradient in enumerate(gradients):
            if gradient is not None:
                known, squared = sums[index], squares[index]
                sums[index] = gradient if known is None else known + gradient
                squares[index] = gradient.square() if squared is None else squared + gradient.square()
    return {
        site.name: _gradient_statistics(site, total, square, len(chosen))
        for site, total, square in zip(sites, sums, squares, strict=True)
    }


def _gradient_statistics(
    site: WeightSite, total: Tensor | None, squares: Tensor | None, samples: int
) -> GradientStatistics | str:
    if total is None or squares is None:
        return "the loss does not depend on it"
    mean, square = (site.layout.to_matrix(entry).float() / samples for entry in (total, squares))
    if not bool(torch.isfinite(square).all()):
        raise DataError(
            f"The gradient of {site.name} is NaN or infinite on the calibration samples. "
            "Check the train split, and what the steps before did to the model."
        )
    return GradientStatistics(mean=mean, mean_square=square, samples=samples)


def _device(network: nn.Module) -> torch.device:
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
