"""What every method of the catalogue must keep, whatever it does."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.methods.catalogue import METHODS
from compress_explorer.methods.code import Code
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter, Value
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices

PRUNERS = [method for method in METHODS if method.result == "mask"]
QUANTIZERS = [method for method in METHODS if method.result == "code"]


def by_name(methods: list[Method]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("method", methods, ids=lambda method: method.name)


def few_values(parameter: Parameter) -> list[Value]:
    """The ends of a parameter's slider, its default, and of a choice all."""
    positions = parameter.positions()
    return list(positions) if parameter.kind == "choice" else [positions[0], parameter.default, positions[-1]]


def settings_of(method: Method) -> list[dict[str, Value]]:
    """Every combination of a few values of each parameter."""
    names = [parameter.name for parameter in method.parameters]
    grids = [few_values(parameter) for parameter in method.parameters]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*grids)]


def run(method: Method, weight: Tensor, kept: Tensor, values: dict[str, Value]) -> Any:
    """The method's result for one tensor, whatever its scope."""
    if method.scope == "model":
        return method.apply([weight], [kept], **values)[0]
    return method.apply(weight, kept, **values)


@by_name(list(METHODS))
@pytest.mark.parametrize("name", WEIGHTS)
def test_neither_the_input_nor_the_global_random_state_changes(name, method):
    weight, kept = half_kept(WEIGHTS[name])
    weight_before, kept_before = weight.clone(), kept.clone()
    random_state = torch.get_rng_state()
    for values in settings_of(method):
        run(method, weight, kept, values)
    assert torch.equal(weight, weight_before)
    assert torch.equal(kept, kept_before)
    assert torch.equal(torch.get_rng_state(), random_state)


@by_name(PRUNERS)
@pytest.mark.parametrize("name", WEIGHTS)
def test_a_mask_is_a_new_subset_of_the_kept_weights(name, method):
    for weight, kept in (half_kept(WEIGHTS[name]), (WEIGHTS[name], all_kept(WEIGHTS[name]))):
        for values in settings_of(method):
            mask = run(method, weight, kept, values)
            assert (mask.dtype, mask.shape) == (torch.bool, weight.shape)
            assert mask.data_ptr() != kept.data_ptr()
            assert not (mask & ~kept).any()


@by_name(QUANTIZERS)
@pytest.mark.parametrize("name", WEIGHTS)
def test_a_code_is_well_formed_and_finite(name, method):
    for weight, kept in (half_kept(WEIGHTS[name]), (WEIGHTS[name], all_kept(WEIGHTS[name]))):
        for values in settings_of(method):
            code = run(method, weight, kept, values)
            decoded = code.decode()
            assert (code.codes.dtype, code.codes.shape) == (torch.uint8, weight.shape)
            assert (decoded.dtype, decoded.shape) == (torch.float32, weight.shape)
            assert code.bits == values["bits"]
            assert int(code.codes.max()) < 2**code.bits
            assert torch.isfinite(decoded).all()
            assert tables_fit(code)


def tables_fit(code: Code) -> bool:
    """Whether scales, zero points and codebooks have the shapes and types that `Code` promises."""
    channels, columns = code.codes.shape
    groups = -(-columns // code.group_size)
    per_group = [table for table in (code.scale, code.zero_point) if table is not None]
    shapes_fit = all(table.shape in {(1, groups), (channels, groups)} for table in per_group)
    book_fits = code.codebook is None or code.codebook.shape in {(1, 2**code.bits), (channels, 2**code.bits)}
    types_fit = (code.scale is None or code.scale.dtype == torch.float32) and (
        code.zero_point is None or code.zero_point.dtype == torch.uint8
    )
    return shapes_fit and book_fits and types_fit and (code.grid == "codebook") == (code.codebook is not None)


@by_name(QUANTIZERS)
@given(weight=matrices(), data=st.data())
def test_no_more_distinct_values_share_a_scale_than_codes_exist(method, weight, data):
    values = data.draw(st.sampled_from(settings_of(method)))
    code = run(method, weight, all_kept(weight), values)
    decoded = code.decode()
    rows = [decoded] if values["granularity"] == "tensor" else list(decoded)
    groups = [group for row in rows for group in row.split(code.group_size, dim=-1)]
    assert all(group.unique().numel() <= 2**code.bits for group in groups)


@by_name(list(METHODS))
@given(weight=matrices(), data=st.data())
def test_the_same_call_gives_the_same_result(method, weight, data):
    values = data.draw(st.sampled_from(settings_of(method)))
    one, other = (run(method, weight, all_kept(weight), values) for _ in range(2))
    if isinstance(one, Code):
        one, other = one.decode(), other.decode()
    assert one == other if isinstance(one, str) else torch.equal(one, other)
