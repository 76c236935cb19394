"""Applies methods that change what stands beside the weights: inputs, scales between layers, biases, statistics."""

from collections.abc import Mapping
from typing import Any

from compress_explorer.engine.context import Context
from compress_explorer.engine.correct import correct_biases, recalibrate
from compress_explorer.engine.equalize import equalize
from compress_explorer.engine.evidence import evidence
from compress_explorer.engine.input_change import change_inputs, first_obstacle
from compress_explorer.engine.input_values import input_values
from compress_explorer.engine.targets import Target
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.spec.method import Method


def treat_beside(work: Workpiece, method: Method, target: Target, context: Context) -> Workpiece:
    """The workpiece after a method whose result is "inputs", "scales" or "state".

    Raises:
        DataError: when it needs data and there are none.
        ModelError: when the model has nothing that the method treats.
    """
    if method.needs == "batches":
        return recalibrate(work, method, target, context)
    if method.result == "scales":
        return equalize(work, method, target, context)
    known = _known(work, method, target, context)
    return (change_inputs if method.result == "inputs" else correct_biases)(work, method, target, known, context)


def _known(work: Workpiece, method: Method, target: Target, context: Context) -> Mapping[str, Any]:
    """What the method needs to know of each site; in words why that cannot be known."""
    reasons: dict[str, Any] = {site.name: None for site in target.sites}
    if method.result == "inputs":
        reasons = {site.name: first_obstacle(work, method, site) for site in target.sites}
    sites = [site for site in target.sites if reasons[site.name] is None]
    if not method.needs_data or not sites:
        return reasons
    samples = int(target.values["samples"])
    gathered: Mapping[str, Any] = (
        input_values(work, method.name, sites, samples, context)
        if method.needs == "values"
        else evidence(work, method, sites, samples, context)
    )
    return {**reasons, **gathered}
