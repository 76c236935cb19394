"""Frames of every slider position from the index alone, without a pass over the weights.

Counts near a cut are approximate: the index resolves magnitudes to 2^-7 of their size. Zeros of pruning to a sparsity
are exact (those of one cut for all layers in total, to one weight a layer). A position that was measured shows its
exact frame instead.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from compress_explorer.engine.bench import WHOLE_MODEL, Bench, View
from compress_explorer.engine.frame import MOST_LEVELS, axis_up_to
from compress_explorer.engine.preview_regions import Regions
from compress_explorer.engine.preview_size import plain_bytes, preview_sizes
from compress_explorer.engine.targets import targets
from compress_explorer.methods import catalogue
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.weight_index import Integers
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe
from compress_explorer.spec.sweep import Frame, Histogram, LayerError

SMALLEST = 2.0**-133
"""Magnitudes below are zero to the index."""

UNTOUCHED = ScalarMap(cuts=np.empty(0), levels=np.array([np.nan]))
"""The map that leaves every weight as it is."""


def preview_maps(bench: Bench, recipe: Recipe) -> dict[str, ScalarMap] | None:
    """What a recipe of a single step does to each weight by its value.

    None where its method depends on more, or where the step leaves all layers out.
    """
    if len(recipe) != 1:
        return None
    step = recipe.steps[0]
    method = catalogue.method(step.method)
    if method.preview is None:
        return None
    found: dict[str, ScalarMap] = {}
    for target in targets(bench.original.inventory, step)[0]:
        names = [site.name for site in target.sites]
        maps = method.preview([bench.index(name) for name in names], **target.values)
        if maps is None:
            return None
        found |= dict(zip(names, maps, strict=True))
    return found or None


def largest_level(maps: Iterable[Mapping[str, ScalarMap] | None]) -> float:
    """The largest magnitude among the levels of all positions; 0 when there are none."""
    levels = [entry.levels for position in maps for entry in (position or {}).values()]
    return float(np.nanmax(np.abs(np.concatenate([np.empty(0), *levels])), initial=0.0))


def preview_view(bench: Bench, layer: str, largest: float = 0.0) -> View:
    """`Bench.view` without a pass over the weights: the same axis, but weights near a bin's bound may be off by one."""
    bench.check_layer(layer)
    shown = bench.layers if layer == WHOLE_MODEL else (layer,)
    indices = [bench.index(name) for name in shown]
    axis = axis_up_to(max([largest, *(index.amax for index in indices)]))
    counts = np.sum([Regions.of(index, [UNTOUCHED]).histogram(axis.edges)[0] for index in indices], axis=0)
    counts[len(counts) // 2] += sum(index.zeros for index in indices)
    return View(layer, shown, axis, counts)


def preview_frames(
    bench: Bench, values: Sequence[Value], maps: Sequence[dict[str, ScalarMap]], view: View, header: int
) -> list[Frame]:
    """The frames that `maps` amount to, computed layer by layer for all positions at once.

    Args:
        bench: the opened model.
        values: the parameter's values, one a position.
        maps: what the step does to each tensor it treats, one entry a position: to the same tensors at each.
        view: the weights that the histograms count.
        header: the bytes of the file's header.
    """
    if not maps:
        return []
    weights = {site.name: site.weights for site in bench.original.inventory.sites}
    regions = {name: Regions.of(bench.index(name), [entry.get(name, UNTOUCHED) for entry in maps]) for name in weights}
    zeros = {name: regions[name].zeros() for name in weights}
    treated = sum(weights[name] for name in maps[0])
    return [
        Frame(
            value=value,
            exact=False,
            file=sizes.file,
            zeros=lost / treated,
            histogram=histogram,
            errors=errors,
            layer_bytes=sizes.layer_bytes,
            layer_zeros=tuple(zip(weights, shares, strict=True)),
            breakdown=sizes.breakdown,
        )
        for value, sizes, lost, histogram, errors, shares in zip(
            values,
            preview_sizes(weights, zeros, maps, plain_bytes(bench.original), header),
            np.sum([zeros[name] for name in maps[0]], axis=0).tolist(),
            _histograms(regions, zeros, maps, view),
            zip(*(_errors(name, regions[name]) for name in weights), strict=True),
            zip(*((zeros[name] / weights[name]).tolist() for name in weights), strict=True),
            strict=True,
        )
    ]


def with_before(frame: Frame, before: Sequence[int]) -> Frame:
    """The frame beside other counts of the uncompressed weights."""
    return replace(frame, histogram=replace(frame.histogram, before=tuple(before)))


def _errors(name: str, regions: Regions) -> list[LayerError]:
    """What the maps do to the values of one tensor, one entry a position."""
    signal, count = regions.index.sum_of_squares, regions.index.count
    noise, largest = regions.noise().tolist(), regions.largest_error().tolist()
    return [LayerError(name, signal, *entry, count) for entry in zip(noise, largest, strict=True)]


def _histograms(
    regions: Mapping[str, Regions], zeros: Mapping[str, Integers], maps: Sequence[Mapping[str, ScalarMap]], view: View
) -> list[Histogram]:
    """The histogram of each position."""
    edges, before = tuple(view.axis.edges.tolist()), tuple(view.before.tolist())
    after = np.sum([regions[name].histogram(view.axis.edges) for name in view.shown], axis=0).tolist()
    zeros_before = sum(regions[name].index.zeros for name in view.shown)
    zeros_after = np.sum([zeros[name] for name in view.shown], axis=0).tolist()
    shown = [[entry[name] for name in view.shown if name in entry] for entry in maps]
    return [
        Histogram(
            edges=edges,
            before=before,
            after=tuple(counts),
            zeros_before=zeros_before,
            zeros_after=lost,
            levels=_levels(entries),
            threshold=_threshold(entries),
        )
        for counts, lost, entries in zip(after, zeros_after, shown, strict=True)
    ]


def _levels(maps: Sequence[ScalarMap]) -> tuple[float, ...]:
    """The union of the levels that quantized weights can take; none when they are more than MOST_LEVELS."""
    union = np.unique(np.concatenate([np.empty(0), *(entry.levels for entry in maps if entry.bits)]))
    union = union[~np.isnan(union)]
    return tuple(union.tolist()) if len(union) <= MOST_LEVELS else ()


def _threshold(maps: Sequence[ScalarMap]) -> float | None:
    """The common cut of a pruning; None when the tensors have different ones."""
    cuts = {float(entry.cuts[-1]) for entry in maps if entry.bits is None and len(entry.cuts)}
    # What the index cannot tell from zero was pruned before.
    return max(cuts) if len(cuts) == 1 and max(cuts) > SMALLEST else None
