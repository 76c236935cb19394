"""What each step did to the one before: workpieces compared, in terms of the original tensors."""

import numpy as np
import torch

from compress_explorer.engine.contents import count_zeros
from compress_explorer.engine.edits import Transformed
from compress_explorer.engine.input_transform import buffers_of
from compress_explorer.engine.pieces import pieces
from compress_explorer.engine.targets import targets
from compress_explorer.engine.weights import Weights
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods.code import Code
from compress_explorer.spec.inventory import Skipped
from compress_explorer.spec.recipe import Step
from compress_explorer.spec.report import StepReport


def step_report(step: Step, before: Workpiece, after: Workpiece) -> StepReport:
    """What `step` made of `before`, which became `after`."""
    old, new = before.seen(), after.seen()
    treated = tuple(name for name in old if _present(before, name) != _present(after, name))
    quantized = tuple(name for name in treated if _code(before, name) is not None)
    kept = tuple(name for name in quantized if _same_codes(_code(before, name), _code(after, name)))
    lost = tuple(name for name in quantized if _code(after, name) is None)
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
        beside=_beside(before, after),
    )


def _present(work: Workpiece, name: str) -> list[Weights]:
    """What now stands for an original tensor; compared by identity: a step that leaves weights alone passes them on."""
    return [work.weights[part] for part in work.origins[name].parts]


def _code(work: Workpiece, name: str) -> Code | None:
    """The codes of what now stands for an original tensor; None where that is several tensors."""
    present = _present(work, name)
    return present[0].code if len(present) == 1 else None


def _same_codes(before: Code | None, after: Code | None) -> bool:
    """Whether the codes stayed, be it that other values stand behind them: a step that keeps them passes them on."""
    return before is not None and after is not None and before.codes is after.codes


def _beside(before: Workpiece, after: Workpiece) -> tuple[str, ...]:
    """What changed that is no weight: tensors of the state by their name, layers' inputs by the layer's."""
    weights = {site.name for site in after.inventory.sites} | buffers_of(after.model)
    common = [name for name in after.state if name in before.state and name not in weights]
    tensors = [
        name
        for name in common
        if after.state[name] is not before.state[name] and not torch.equal(after.state[name], before.state[name])
    ]
    inputs = [f"{edit.layer}.input".lstrip(".") for edit in after.edits if isinstance(edit, Transformed)]
    known = [f"{edit.layer}.input".lstrip(".") for edit in before.edits if edit in after.edits]
    return (*tensors, *(name for name in inputs if name not in known))


def _left_alone(step: Step, before: Workpiece, after: Workpiece, treated: tuple[str, ...]) -> tuple[Skipped, ...]:
    found, left_out = targets(before.inventory, step)
    named = [site for target in found for site in target.sites] + list(left_out)
    return tuple(
        Skipped(site.name, after.refused[site.name])
        for site in named
        if (site.origin or site.name) not in treated and site.name in after.refused
    )


def _zeros(entry: Weights) -> int:
    return count_zeros(entry.matrix)


def _common_zeros(old: Weights, new: Weights) -> int:
    return sum(int(np.count_nonzero((first == 0) & (second == 0))) for first, second in pieces(old.matrix, new.matrix))
