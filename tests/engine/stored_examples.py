"""Stored tensors for the tests of sizes and files, made from codes directly: no engine, no method."""

import math

import torch
from torch import Tensor

from compress_explorer.engine.matrix import Layout
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.methods.code import Code
from compress_explorer.methods.coded_scale import SCALE_FORMATS, CodedScale, ScaleFormat, constants_of
from compress_explorer.methods.formats import FORMATS, WeightFormat

FORMAT_GRIDS: dict[str, tuple[WeightFormat, ScaleFormat | None]] = {
    "nf4": ("nf4", None),
    "fp8": ("fp8-e5m2", None),
    "mx": ("fp6-e3m2", "e8m0"),
    "nvfp4": ("fp4-e2m1", "e4m3"),
    "double": ("nf4", "double"),
}
"""Number formats, and how their scales are stored."""

GRIDS = ("float", "integer", "affine", "shifted", "power-of-two", "codebook", "signs", *FORMAT_GRIDS)
"""Those whose values stand for one weight each; "vectors" is another."""


def plain(name: str, values: Tensor) -> StoredTensor:
    """A tensor that was left alone."""
    return StoredTensor(name=name, values=values, layout=Layout(tuple(values.shape) or (1,)))


def stored(
    name: str, layout: Layout, kept: Tensor | None, code: Code | None, dtype: torch.dtype, matrix: Tensor
) -> StoredTensor:
    """A treated tensor whose values are those of its code, or of `matrix` where there is none."""
    values = matrix if code is None else code.decode()
    if kept is not None:
        values = torch.where(kept, values, 0.0)
    return StoredTensor(name=name, values=layout.from_matrix(values).to(dtype), layout=layout, kept=kept, code=code)


def random_code(grid: str, bits: int, channels: int, columns: int, group_size: int, seed: int) -> Code | None:
    """Random codes with random scales, every code possible; None for "float". A format has its own bits."""
    if grid == "float":
        return None
    if grid in FORMAT_GRIDS:
        return random_format_code(*FORMAT_GRIDS[grid], channels, columns, group_size, seed)
    if grid == "vectors":
        return random_vectors(bits, channels, columns, min(1 + seed % 9, columns), seed)
    generator = torch.Generator().manual_seed(seed)
    groups = math.ceil(columns / group_size)
    highest = {"power-of-two": 2**bits - 2, "integer": max(2**bits - 2, 1), "signs": 1}.get(grid, 2**bits - 1)
    bits = 1 if grid == "signs" else bits
    codes = torch.randint(0, highest + 1, (channels, columns), generator=generator, dtype=torch.uint8)
    scale = torch.rand(channels, groups, generator=generator) + 0.01
    if grid in ("codebook", "signs"):
        levels = torch.randn(channels, highest + 1, generator=generator)
        if grid == "codebook":
            levels[:, seed % (highest + 1)] = 0.0
        return Code(codes=codes, bits=bits, grid="codebook", codebook=levels, group_size=columns)
    if grid == "affine":
        zero_point = torch.randint(0, 2**bits, scale.shape, generator=generator, dtype=torch.uint8)
        return Code(codes=codes, bits=bits, grid="integer", scale=scale, zero_point=zero_point, group_size=group_size)
    if grid == "shifted":
        zero_point = 2**bits * torch.rand(scale.shape, generator=generator) - 0.3
        return Code(codes=codes, bits=bits, grid="integer", scale=scale, zero_point=zero_point, group_size=group_size)
    if grid == "power-of-two":
        return Code(codes=codes, bits=bits, grid="power-of-two", scale=scale, group_size=group_size)
    offset = -(2 ** (bits - 1) - 1) if bits > 1 else -1
    return Code(codes=codes, bits=bits, grid="integer", offset=offset, scale=scale, group_size=group_size)


def random_vectors(bits: int, channels: int, columns: int, dimension: int, seed: int) -> Code:
    """Random codes of vectors, in some of which a number is zero."""
    generator = torch.Generator().manual_seed(seed)
    levels = 2**bits - seed % 2
    codebook = torch.randn(1, levels, dimension, generator=generator)
    codebook[torch.rand(codebook.shape, generator=generator) < 0.1] = 0.0
    codes = torch.randint(0, levels, (channels, math.ceil(columns / dimension)), generator=generator)
    return Code(codes=codes.to(torch.uint8), bits=bits, grid="vectors", codebook=codebook, group_size=columns)


def random_format_code(
    grid: WeightFormat, scale_format: ScaleFormat | None, channels: int, columns: int, group_size: int, seed: int
) -> Code:
    """Random codes of a number format, with random scales of about 1."""
    generator = torch.Generator().manual_seed(seed)
    groups = math.ceil(columns / group_size)

    def draw(codes: Tensor, *shape: int) -> Tensor:
        return codes[torch.randint(0, len(codes), shape, generator=generator)]

    scale, coded = torch.rand(channels, groups, generator=generator) + 0.01, None
    if scale_format is not None:
        near_one = {"e8m0": (0.25, 4.0), "e4m3": (0.25, 4.0), "double": (-1.0, 1.0)}[scale_format]
        levels = SCALE_FORMATS[scale_format].levels
        codes = ((levels >= near_one[0]) & (levels <= near_one[1])).nonzero().flatten().to(torch.uint8)
        constants = torch.rand(constants_of(scale_format, scale.numel()), generator=generator) + 0.01
        coded = CodedScale(codes=draw(codes, channels, groups), format=scale_format, constants=constants)
        scale = coded.decode()
    return Code(
        codes=draw(FORMATS[grid].used, channels, columns),
        bits=FORMATS[grid].bits,
        grid=grid,
        scale=scale,
        coded_scale=coded,
        group_size=group_size,
    )


def example(
    grid: str,
    bits: int,
    density: float | None,
    *,
    layout: Layout,
    dtype: torch.dtype = torch.float32,
    group_size: int = 32,
    seed: int = 0,
    name: str = "weight",
) -> StoredTensor:
    """A random stored tensor; `density` is the expected share of kept weights, None for no pruning."""
    generator = torch.Generator().manual_seed(seed + 1)
    shape = (layout.channels, layout.columns)
    kept = None if density is None else torch.rand(shape, generator=generator) < density
    code = random_code(grid, bits, *shape, group_size, seed)
    return stored(name, layout, kept, code, dtype, torch.randn(shape, generator=generator).to(dtype))


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal in shape, dtype and every bit."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    integers = whole[first.element_size()]
    return torch.equal(first.contiguous().view(integers), second.contiguous().view(integers))
