"""What each step did to the one before: workpieces compared, in terms of the original tensors."""

import torch

from compress_explorer.engine.targets import targets
from compress_explorer.engine.weights import Weights
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.spec.inventory import Skipped
from compress_explorer.spec.recipe import Step
from compress_explorer.spec.report import StepReport


def step_report(step: Step, before: Workpiece, after: Workpiece) -> StepReport:
    """What `step` made of `before`, which became `after`."""
    old, new = before.seen(), after.seen()
    treated = tuple(name for name in old if old[name] is not new[name])
    quantized = tuple(name for name in treated if old[name].code is not None)
    kept = tuple(name for name in quantized if new[name].code is old[name].code)
    lost = tuple(name for name in quantized if new[name].code is None)
    return StepReport(
        step=step,
        treated=treated,
        left_alone=_left_alone(step, before, after, treated),
        weights=sum(old[name].matrix.numel() for name in treated),
        zeros_before=sum(_zeros(old[name]) for name in treated),
        zeros_kept=sum(_common_zeros(old[name], new[name]) for name in treated),
        zeros_after=sum(_zeros(new[name]) for name in treated),
        codes_kept=kept,
        codes_replaced=tuple(name for name in quantized if name not in kept + lost),
        codes_lost=lost,
    )


def _left_alone(step: Step, before: Workpiece, after: Workpiece, treated: tuple[str, ...]) -> tuple[Skipped, ...]:
    found, left_out = targets(before.inventory, step)
    named = [site for target in found for site in target.sites] + list(left_out)
    return tuple(
        Skipped(site.name, after.refused[site.name])
        for site in named
        if (site.origin or site.name) not in treated and site.name in after.refused
    )


def _zeros(entry: Weights) -> int:
    return entry.matrix.numel() - int(torch.count_nonzero(entry.matrix))


def _common_zeros(old: Weights, new: Weights) -> int:
    return int(((old.matrix == 0) & (new.matrix == 0)).sum())
