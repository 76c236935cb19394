"""What every method of the catalogue must keep, whatever it does."""

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.methods.catalogue import METHODS
from compress_explorer.methods.code import Code
from compress_explorer.methods.coded_scale import SCALE_FORMATS, constants_of
from compress_explorer.methods.evidence import BatchMoments, InputStatistics, LayerBefore, Pair
from compress_explorer.methods.formats import FORMATS
from compress_explorer.methods.values import Values
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter, Value
from tests.case import case
from tests.methods.cases import (
    WEIGHTS,
    all_kept,
    gradient_statistics_of,
    gradients_like,
    half_kept,
    inputs_like,
    matrices,
    normal,
    statistics_of,
    values_of,
)

PRUNERS = [method for method in METHODS if method.result == "mask"]
QUANTIZERS = [method for method in METHODS if method.result == "code"]
REVALUERS = [method for method in METHODS if method.result == "values"]


def by_name(methods: list[Method]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("method", methods, ids=lambda method: method.name)


FIXED: dict[str, list[Value]] = {"iterations": [5], "samples": [128]}
"""Parameters that change how long a method works and little else, or that the engine reads."""


def few_values(parameter: Parameter) -> list[Value]:
    """The ends of a parameter's slider, its default, and of a choice all."""
    if parameter.name in FIXED:
        return FIXED[parameter.name]
    positions = parameter.positions()
    return list(positions) if parameter.kind == "choice" else [positions[0], parameter.default, positions[-1]]


def settings_of(method: Method) -> list[dict[str, Value]]:
    """Every combination of the choices with, one number at a time, a few values of the numbers that have an effect."""
    names = [parameter.name for parameter in method.parameters if parameter.kind == "choice"]
    grids = [few_values(method.parameter(name)) for name in names]
    fixed = {parameter.name: FIXED[parameter.name][0] for parameter in method.parameters if parameter.name in FIXED}
    found: dict[tuple[Value, ...], dict[str, Value]] = {}
    for values in itertools.product(*grids):
        base = method.complete(dict(zip(names, values, strict=True)) | fixed)
        for setting in [base, *(base | {name: value} for name, value in numbers_of(method, base))]:
            found[tuple(setting.values())] = setting
    return list(found.values())


def numbers_of(method: Method, base: dict[str, Value]) -> Iterator[tuple[str, Value]]:
    """A few values of each number that has an effect beside the choices of `base`."""
    for parameter in method.parameters:
        if parameter.kind == "choice" or parameter.name == "samples":
            continue
        if parameter.when is None or base[parameter.when[0]] in parameter.when[1]:
            yield from ((parameter.name, value) for value in few_values(parameter))


@functools.cache
def statistics_for(columns: int) -> InputStatistics:
    return statistics_of(inputs_like(columns))


def known_of(method: Method, weight: Tensor) -> list[Any]:
    """What the method needs beside the weights, one entry or none."""
    makers: dict[str, Callable[[], Any]] = {
        "inputs": lambda: statistics_for(weight.shape[1]),
        "gradients": lambda: gradient_statistics_of(gradients_like(weight)),
        "values": lambda: values_of(inputs_like(weight.shape[1])[0]),
        "before": lambda: LayerBefore(weight=weight * 1.01, inputs=statistics_for(weight.shape[1])),
        "scales": lambda: normal(len(weight), 2, seed=3),
        "window": lambda: next(size for size in (3, 2, 5, 1) if weight.shape[1] % size == 0),
        "batches": lambda: BatchMoments(mean=normal(3, 4).double(), variance=normal(3, 4).double().square()),
    }
    return [makers[method.needs]()] if method.needs in makers else []


def run(method: Method, weight: Tensor, kept: Tensor, values: dict[str, Value]) -> Any:
    """The method's result for one tensor, whatever its scope; for the pair of it and its transpose."""
    values = {name: value for name, value in values.items() if name != "samples"}  # the engine alone reads it
    if method.needs == "pairs":
        return method.apply([weight, weight.T], [kept, kept.T], [Pair(first=0, second=1)], **values)
    arguments = [weight, kept, *known_of(method, weight)]
    if method.scope == "model":
        return method.apply(*[[argument] for argument in arguments], **values)[0]
    return method.apply(*arguments, **values)


def for_each_result(method: Method, check: Callable[[Tensor, Tensor, dict[str, Value], Any], None]) -> None:
    """Checks the result for every edge case, half pruned and not, in every setting.

    The inputs and the global random state must stay as they are. A failure names the case.
    """
    for name, weights in WEIGHTS.items():
        for pruned, (weight, kept) in {"half": half_kept(weights), "none": (weights, all_kept(weights))}.items():
            before, random_state = (weight.clone(), kept.clone()), torch.get_rng_state()
            for values in settings_of(method):
                with case(name, f"{pruned} pruned", values):
                    check(weight, kept, values, run(method, weight, kept, values))
            with case(name, f"{pruned} pruned"):
                assert torch.equal(weight, before[0])
                assert torch.equal(kept, before[1])
                assert torch.equal(torch.get_rng_state(), random_state)


@by_name([method for method in METHODS if method.result not in ("mask", "channels", "factors", "code", "values")])
def test_neither_the_input_nor_the_global_random_state_changes(method):
    """`for_each_result` sees to it, for the methods of the tests below too."""

    def check(_: object, __: object, ___: object, result: object) -> None:
        assert all(torch.isfinite(tensor).all() for tensor in tensors_in(result))

    for_each_result(method, check)


@by_name(PRUNERS)
def test_a_mask_is_a_new_subset_of_the_kept_weights(method):
    def check(weight: Tensor, kept: Tensor, _: object, mask: Tensor) -> None:
        assert (mask.dtype, mask.shape) == (torch.bool, weight.shape)
        assert mask.data_ptr() != kept.data_ptr()
        assert not (mask & ~kept).any()

    for_each_result(method, check)


@by_name([method for method in METHODS if method.result == "channels"])
def test_channels_are_a_mask_with_at_least_one_left(method):
    def check(weight: Tensor, _: object, __: object, keep: Tensor) -> None:
        assert (keep.dtype, keep.shape) == (torch.bool, (len(weight),))
        assert keep.any()

    for_each_result(method, check)


@by_name([method for method in METHODS if method.result == "factors"])
def test_factors_are_finite_and_give_the_shape_of_the_weight(method):
    def check(weight: Tensor, _: object, __: object, factors: Any) -> None:
        dense = factors.dense()
        assert (dense.dtype, dense.shape) == (torch.float32, weight.shape)
        assert torch.isfinite(dense).all()

    for_each_result(method, check)


@by_name(QUANTIZERS)
def test_a_code_is_well_formed_and_finite(method):
    def check(weight: Tensor, _: object, values: dict[str, Value], code: Code) -> None:
        decoded = code.decode()
        columns = -(-weight.shape[1] // code.dimension)
        assert (code.codes.dtype, code.codes.shape) == (torch.uint8, (len(weight), columns))
        assert (decoded.dtype, decoded.shape) == (torch.float32, weight.shape)
        assert 1 <= code.bits <= 8
        assert code.bits == values.get("bits", code.bits)
        assert torch.isin(code.codes, codes_in_use(code)).all()
        assert torch.isfinite(decoded).all()
        assert tables_fit(code)

    for_each_result(method, check)


def codes_in_use(code: Code) -> Tensor:
    """The codes that have a level, uint8 [levels]."""
    if code.grid in FORMATS:
        return FORMATS[code.grid].used
    levels = 2**code.bits - (code.grid == "power-of-two")
    return torch.arange(levels if code.codebook is None else code.codebook.shape[1], dtype=torch.uint8)


def tables_fit(code: Code) -> bool:
    """Whether scales, zero points and codebooks have the shapes and types that `Code` promises."""
    channels, columns = code.decode().shape
    groups = -(-columns // code.group_size)
    per_group = [table for table in (code.scale, code.zero_point) if table is not None]
    shapes_fit = all(table.shape in {(1, groups), (channels, groups)} for table in per_group)
    types_fit = (code.scale is None or code.scale.dtype == torch.float32) and (
        code.zero_point is None or code.zero_point.dtype in (torch.uint8, torch.float32)
    )
    return shapes_fit and types_fit and codebook_fits(code) and coded_scale_fits(code)


def codebook_fits(code: Code) -> bool:
    """Whether there is a codebook exactly where the grid asks for one, for all channels or each."""
    if code.codebook is None:
        return code.grid not in ("codebook", "vectors")
    if code.grid == "vectors":
        (rows, levels, dimension), columns = code.codebook.shape, code.group_size
        without = code.scale is None and code.zero_point is None and code.coded_scale is None
        small = rows == 1 and levels <= 2**code.bits and dimension <= columns
        return small and code.codebook.dtype == torch.float32 and without
    rows, levels = code.codebook.shape
    right_type = code.codebook.dtype == torch.float32
    return code.grid == "codebook" and rows in {1, len(code.codes)} and levels <= 2**code.bits and right_type


def coded_scale_fits(code: Code) -> bool:
    """Whether the scales are those that their 8-bit form stands for, where there is one."""
    coded = code.coded_scale
    if coded is None:
        return True
    return (
        code.scale is not None
        and torch.equal(coded.decode(), code.scale)
        and (coded.codes.dtype, coded.constants.dtype) == (torch.uint8, torch.float32)
        and coded.constants.shape == (constants_of(coded.format, coded.codes.numel()),)
        and bool(torch.isin(coded.codes, SCALE_FORMATS[coded.format].used).all())
    )


@by_name(QUANTIZERS)
@given(weight=matrices(), data=st.data())
def test_no_more_distinct_values_share_a_scale_than_codes_exist(method, weight, data):
    values = data.draw(st.sampled_from(settings_of(method)))
    code = run(method, weight, all_kept(weight), values)
    decoded = code.decode()
    shared = all(table is None or len(table) == 1 for table in (code.scale, code.codebook))
    rows = [decoded] if shared else list(decoded)
    groups = [group for row in rows for group in row.split(code.group_size, dim=-1)]
    assert all(group.unique().numel() <= 2**code.bits * code.dimension for group in groups)


@by_name(list(METHODS))
@given(weight=matrices(), data=st.data())
@settings(max_examples=40)
def test_the_same_call_gives_the_same_result(method, weight, data):
    values = data.draw(st.sampled_from(settings_of(method)))
    one, other = (run(method, weight, all_kept(weight), values) for _ in range(2))
    assert all(torch.equal(first, second) for first, second in zip(tensors_in(one), tensors_in(other), strict=True))
    assert not isinstance(one, str) or one == other


def tensors_in(result: Any) -> list[Tensor]:
    """All tensors of a method's result, whatever it is."""
    if isinstance(result, Code):
        return [result.decode()]
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, list | tuple):
        return [tensor for entry in result for tensor in tensors_in(entry)]
    return tensors_in(list(vars(result).values())) if is_dataclass(result) else []


@by_name(REVALUERS)
def test_new_values_are_finite_and_zero_where_pruned(method):
    def check(weight: Tensor, kept: Tensor, _: object, found: Values) -> None:
        assert (found.matrix.dtype, found.matrix.shape) == (torch.float32, weight.shape)
        assert (found.kept.dtype, found.kept.shape) == (torch.bool, weight.shape)
        assert torch.isfinite(found.matrix).all()
        assert not (found.kept & ~kept).any()
        assert not found.matrix[~found.kept].any()

    for_each_result(method, check)
