"""The sizes of the model at many slider positions, from its zeros alone: estimates of what a file would take."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from compress_explorer.engine.contents import Contents
from compress_explorer.engine.form import Form, metadata
from compress_explorer.engine.positions import WIDTHS
from compress_explorer.engine.safetensors_size import Array, header_bytes
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.methods.weight_index import Integers
from compress_explorer.spec.recipe import Recipe


@dataclass(frozen=True)
class PreviewSize:
    """The sizes at one position, as in `Frame`: of the file, of each weight tensor, and where the bytes go."""

    file: int
    layer_bytes: tuple[tuple[str, int], ...]
    breakdown: tuple[tuple[str, int], ...]


def preview_sizes(
    weights: Mapping[str, int],
    zeros: Mapping[str, Integers],
    maps: Sequence[Mapping[str, ScalarMap]],
    baseline: Mapping[str, int],
    header: int,
) -> list[PreviewSize]:
    """The sizes at each position.

    Args:
        weights: the number of weights of each weight tensor.
        zeros: how many of them are zero, int64 [positions].
        maps: what is done to each treated tensor, the same tensors at every position.
        baseline: the bytes of every tensor of the uncompressed model.
        header: the bytes of the file's header.
    """
    treated = maps[0].keys()
    parts = {
        name: packed_parts(weights[name], zeros[name], [entry[name] for entry in maps], baseline[name] // weights[name])
        for name in treated
    }
    untouched = sum(count for name, count in baseline.items() if name not in treated)
    columns = {
        name: parts[name].sum(axis=0).tolist() if name in parts else [baseline[name]] * len(maps) for name in weights
    }
    return [
        PreviewSize(
            file=header + untouched + values + places + tables,
            layer_bytes=tuple((name, column[position]) for name, column in columns.items()),
            breakdown=(
                ("values", values),
                ("positions", places),
                ("scales", tables),
                ("zero_points", 0),
                ("codebook", 0),
                ("left alone", untouched),
                ("header", header),
            ),
        )
        for position, (values, places, tables) in enumerate(np.sum(list(parts.values()), axis=0).T.tolist())
    ]


def plain_bytes(original: Workpiece) -> dict[str, int]:
    """The bytes of every tensor of an uncompressed model, shared ones once."""
    aliases = dict(original.inventory.aliases)
    return {name: tensor.nbytes for name, tensor in original.state.items() if name not in aliases}


def preview_header(original: Workpiece, recipe: Recipe, treated: Collection[str]) -> int:
    """The bytes of the header, as if the treated tensors were floats behind a bitmask: no weight is looked at.

    Args:
        original: the uncompressed model.
        recipe: what is done to it.
        treated: the weight tensors that it treats.
    """
    sites = [site for site in original.inventory.sites if site.name in treated]
    forms = [
        Form(
            Contents(StoredTensor(name=site.name, values=original.state[site.name], layout=site.layout)),
            "bitmask",
            0,
            0,
        )
        for site in sites
    ]
    arrays = [
        Array(name, torch.uint8, (count,))
        if name in treated
        else Array(name, original.state[name].dtype, tuple(original.state[name].shape))
        for name, count in plain_bytes(original).items()
    ]
    return header_bytes(arrays, metadata(forms, recipe, dict(original.inventory.aliases)))


def packed_parts(weights: int, zeros: Integers, maps: Sequence[ScalarMap], float_bytes: int) -> Integers:
    """Bytes of values, positions and tables, int64 [3, positions]: of the smallest of the forms that a file may use.

    These are plain, a bitmask, and the relative index, whose fillers come as in a random order: the gaps geometric.

    Args:
        weights: the number of weights.
        zeros: how many of them are zero, int64 [positions].
        maps: what is done to them, one a position.
        float_bytes: bytes of a weight that is not quantized.
    """
    bits = np.array([8 * float_bytes if entry.bits is None else entry.bits for entry in maps])
    kept = weights - zeros
    forms = [(weights * bits, np.zeros_like(kept)), (kept * bits, np.full_like(kept, weights))]
    forms += [_relative_index(weights, zeros, bits, width) for width in WIDTHS]
    values, places = np.array(forms).swapaxes(0, 1)
    best = (values + places).argmin(axis=0), np.arange(len(maps))
    chosen = np.where(kept > 0, [values[best], places[best]], 0)
    return np.concatenate([-(-chosen // 8), [[entry.table_bytes for entry in maps]]])


def _relative_index(weights: int, zeros: Integers, bits: Integers, width: int) -> tuple[Integers, Integers]:
    """Bits of the values and of the gaps, both int64 [positions], with gaps of `width` bits."""
    lost = np.minimum(zeros, weights - 1) / weights  # where all are lost, nothing is stored
    filler = lost**2**width
    entries = (weights - zeros) * (1 + filler / (1 - filler))
    return (entries * bits).astype(np.int64), (entries * width).astype(np.int64)
