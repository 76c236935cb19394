"""Frames of every slider position from the index alone, without a pass over the weights.

Counts near a cut are approximate: the index resolves magnitudes to 2^-7 of their size. Zeros of pruning to a sparsity
are exact (those of one cut for all layers in total, to one weight a layer). A position that was measured shows its
exact frame instead.
"""

from collections.abc import Sequence

import numpy as np

from compress_explorer.engine.bench import Bench, View
from compress_explorer.engine.frame import BINS, MOST_LEVELS
from compress_explorer.engine.targets import targets
from compress_explorer.methods import catalogue
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.weight_index import WeightIndex
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe
from compress_explorer.spec.size import SizeReport
from compress_explorer.spec.sweep import Frame, Histogram, LayerError

SMALLEST = 2.0**-133
"""Magnitudes below are zero to the index."""


def preview_maps(bench: Bench, recipe: Recipe) -> dict[str, ScalarMap] | None:
    """What a recipe of a single step does to each weight by its value; None where its method depends on more."""
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
    return found


def largest_level(maps: dict[str, ScalarMap] | None) -> float:
    """The largest magnitude among the levels; 0 when there are none."""
    if not maps:
        return 0.0
    return max(float(np.nanmax(np.abs(entry.levels), initial=0.0)) for entry in maps.values())


def preview_frame(bench: Bench, value: Value, maps: dict[str, ScalarMap], view: View, size: SizeReport) -> Frame:
    """The frame that `maps` amount to.

    Args:
        bench: the opened model.
        value: the parameter's value.
        maps: what the step does to each tensor it treats.
        view: the weights that the histogram counts.
        size: an exact size of the same model, for the parts of the file that the step does not touch.
    """
    sites = {site.name: site.weights for site in bench.original.inventory.sites}
    baseline = {tensor.name: tensor.baseline for tensor in size.tensors}
    zeros = {name: _zeros(bench.index(name), maps.get(name)) for name in sites}
    parts = {name: _parts(sites[name], zeros[name], maps[name], baseline[name] // sites[name]) for name in maps}
    untouched = sum(count for name, count in baseline.items() if name not in maps)
    file = size.header + untouched + sum(sum(entry) for entry in parts.values())
    treated = sum(sites[name] for name in maps)
    values, places, tables = (sum(entry[part] for entry in parts.values()) for part in range(3))
    return Frame(
        value=value,
        exact=False,
        file=file,
        zeros=sum(zeros[name] for name in maps) / treated,
        histogram=_histogram(bench, maps, view, zeros),
        errors=tuple(_error(name, bench.index(name), maps.get(name)) for name in sites),
        layer_bytes=tuple((name, sum(parts[name]) if name in parts else baseline[name]) for name in sites),
        layer_zeros=tuple((name, zeros[name] / sites[name]) for name in sites),
        breakdown=(
            ("values", values),
            ("positions", places),
            ("scales", tables),
            ("zero_points", 0),
            ("codebook", 0),
            ("left alone", untouched),
            ("header", size.header),
        ),
    )


def _regions(index: WeightIndex, entry: ScalarMap) -> np.ndarray:
    """How many weights fall into each region of the map, int64 [regions]."""
    return np.diff(_whole(index.count_below(entry.cuts)), prepend=0, append=index.count)


def _whole(counts: np.ndarray) -> np.ndarray:
    """The nearest whole numbers, halves upwards on both sides of zero: to the even one, a threshold would lose one."""
    return np.floor(counts + 0.5 + 1e-6).astype(np.int64)


def _zeros(index: WeightIndex, entry: ScalarMap | None) -> int:
    if entry is None:
        return index.zeros
    zero = entry.levels == 0
    lost = int(_regions(index, entry)[zero].sum())
    return lost if zero.any() else (index.zeros if np.isnan(entry.levels).any() else 0)


def _parts(weights: int, zeros: int, entry: ScalarMap, float_bytes: int) -> tuple[int, int, int]:
    """Bytes of values, positions and tables: the smallest of plain, bitmask and relative index (geometric gaps)."""
    bits = float_bytes * 8 if entry.bits is None else entry.bits
    kept = weights - zeros
    if kept == 0:
        return 0, 0, entry.table_bytes
    forms = [(weights * bits, 0), (kept * bits, weights)]
    lost = zeros / weights
    for width in range(1, 9):
        filler = lost**2**width
        if 0 < filler < 1:
            entries = kept * (1 + filler / (1 - filler))
            forms.append((int(entries * bits), int(entries * width)))
    values, places = min(forms, key=sum)
    return -(-values // 8), -(-places // 8), entry.table_bytes


def _histogram(bench: Bench, maps: dict[str, ScalarMap], view: View, zeros: dict[str, int]) -> Histogram:
    after = np.zeros(BINS, dtype=np.int64)
    for name in view.shown:
        after += _counts_after(bench.index(name), maps.get(name), view)
    return Histogram(
        edges=tuple(view.axis.edges.tolist()),
        before=tuple(view.before.tolist()),
        after=tuple(after.tolist()),
        zeros_before=sum(bench.index(name).zeros for name in view.shown),
        zeros_after=sum(zeros[name] for name in view.shown),
        levels=_levels([maps[name] for name in view.shown if name in maps]),
        threshold=_threshold([maps[name] for name in view.shown if name in maps]),
    )


def _counts_after(index: WeightIndex, entry: ScalarMap | None, view: View) -> np.ndarray:
    """Counts of the nonzero weights after the map, int64 [BINS]."""
    edges = view.axis.edges.copy()
    edges[0], edges[-1] = -np.inf, np.inf
    if entry is None:
        counts = np.diff(_whole(index.count_below(edges)))
        counts[BINS // 2] -= index.zeros
        return counts
    regions = _regions(index, entry)
    counts = np.zeros(BINS, dtype=np.int64)
    bounds = np.concatenate([[-np.inf], entry.cuts, [np.inf]])
    for region in np.flatnonzero(np.isnan(entry.levels)):
        inside = np.clip(edges, bounds[region], bounds[region + 1])
        counts += np.diff(_whole(index.count_below(inside)))
        if bounds[region] < 0 < bounds[region + 1]:
            counts[BINS // 2] -= index.zeros
    fixed = ~np.isnan(entry.levels) & (entry.levels != 0)
    places = np.clip(np.searchsorted(view.axis.edges, entry.levels[fixed], side="right") - 1, 0, BINS - 1)
    np.add.at(counts, places, regions[fixed])
    return counts


def _levels(maps: Sequence[ScalarMap]) -> tuple[float, ...]:
    union = sorted({float(level) for entry in maps for level in entry.levels if not np.isnan(level) and entry.bits})
    return tuple(union) if len(union) <= MOST_LEVELS else ()


def _threshold(maps: Sequence[ScalarMap]) -> float | None:
    """The common cut of a pruning; None when the tensors have different ones."""
    cuts = {float(entry.cuts[-1]) for entry in maps if entry.bits is None and len(entry.cuts)}
    # What the index cannot tell from zero was pruned before.
    return max(cuts) if len(cuts) == 1 and max(cuts) > SMALLEST else None


def _error(name: str, index: WeightIndex, entry: ScalarMap | None) -> LayerError:
    """Sum over regions of S2 - 2 c S1 + c^2 n."""
    if entry is None:
        return LayerError(name, index.sum_of_squares, 0.0, 0.0, index.count)
    fixed = ~np.isnan(entry.levels)
    level = np.where(fixed, entry.levels, 0.0)
    # Not in whole numbers: half a weight at a level far from zero would be more than all of the noise.
    counts = np.diff(index.count_below(entry.cuts), prepend=0, append=index.count)
    first = np.diff(index.sum_below(entry.cuts), prepend=0, append=index.sum)
    second = np.diff(index.sumsq_below(entry.cuts), prepend=0, append=index.sum_of_squares)
    noise = float(np.maximum(second - 2 * level * first + level**2 * counts, 0)[fixed].sum())
    return LayerError(name, index.sum_of_squares, noise, _largest_error(index, entry), index.count)


def _largest_error(index: WeightIndex, entry: ScalarMap) -> float:
    """The largest distance of a region's ends from its level, the outer regions ending at the extreme weights."""
    ends = np.clip(np.concatenate([[-np.inf], entry.cuts, [np.inf]]), index.minimum, index.maximum)
    distance = np.maximum(np.abs(ends[:-1] - entry.levels), np.abs(ends[1:] - entry.levels))
    occupied = (_regions(index, entry) > 0) & ~np.isnan(entry.levels)
    return float(distance[occupied].max(initial=0.0))
