"""Which weights a step treats, and with which values: its layers, less those left out, with those set apart."""

from collections.abc import Mapping
from dataclasses import dataclass

from compress_explorer.engine.layers import Inventory, WeightSite
from compress_explorer.methods import catalogue
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Step

LEFT_OUT = "the step leaves this layer out"


@dataclass(frozen=True)
class Target:
    """Sites that a step treats with the same values; a method for the whole model sees them together."""

    values: Mapping[str, Value]
    sites: tuple[WeightSite, ...]


def targets(inventory: Inventory, step: Step) -> tuple[tuple[Target, ...], tuple[WeightSite, ...]]:
    """The targets of a step, in the order of their first site, and the sites that it names and leaves out.

    Of several overrides that name a layer, the last counts.

    Raises:
        CompressExplorerError: when the step's method, parameter, value or layers are not valid.
    """
    method = catalogue.method(step.method)
    common = method.complete(dict(step.values))
    own: dict[str, Mapping[str, Value] | None] = {}
    for pattern, changes in step.overrides:
        for site in inventory.match((pattern,)):
            own[site.name] = None if changes is None else method.complete({**common, **dict(changes)})
    groups: dict[tuple[tuple[str, Value], ...], list[WeightSite]] = {}
    left_out = []
    for site in inventory.match(step.layers):
        values = own.get(site.name, common)
        if values is None:
            left_out.append(site)
        else:
            groups.setdefault(tuple(values.items()), []).append(site)
    return tuple(Target(dict(values), tuple(sites)) for values, sites in groups.items()), tuple(left_out)
