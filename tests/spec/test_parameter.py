"""Parameters: what they accept, what they refuse and the positions of their sliders."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress_explorer.spec.errors import CompressExplorerError, ParameterError
from compress_explorer.spec.parameter import Parameter

SPARSITY = Parameter(
    name="sparsity",
    label="Sparsity",
    kind="float",
    default=0.5,
    minimum=0,
    maximum=1,
    soft_maximum=0.99,
    step=0.01,
    help="The fraction of zeros.",
)
BITS = Parameter(
    name="bits", label="Bits", kind="integer", default=8, minimum=1, maximum=8, help="The width of a code."
)
SCHEME = Parameter(
    name="scheme",
    label="Scheme",
    kind="choice",
    default="symmetric",
    choices=("symmetric", "affine"),
    help="How the levels lie.",
)
GROUP = Parameter(
    name="group_size",
    label="Group size",
    kind="integer",
    default=128,
    minimum=1,
    soft_minimum=32,
    soft_maximum=256,
    scale="log2",
    help="Weights that share a scale.",
)
DAMPING = Parameter(
    name="damping",
    label="Damping",
    kind="float",
    default=0.25,
    minimum=0.0,
    soft_minimum=0.125,
    soft_maximum=1,
    step=0.5,
    scale="log2",
    help="Added to the diagonal.",
)


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (SPARSITY, 0, 0.0),
        (SPARSITY, 1, 1.0),
        (SPARSITY, 0.999, 0.999),
        (BITS, 4, 4),
        (BITS, 4.0, 4),
        (GROUP, 1, 1),
        (GROUP, 10**6, 10**6),
        (SCHEME, "affine", "affine"),
    ],
    ids=str,
)
def test_allowed_values_come_back_in_their_proper_type(parameter, value, expected):
    result = parameter.validate(value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (SPARSITY, np.float64(0.25), 0.25),
        (SPARSITY, torch.tensor(0.25), 0.25),
        (BITS, np.int64(4), 4),
        (BITS, torch.tensor(4), 4),
        (SCHEME, np.str_("affine"), "affine"),
    ],
    ids=str,
)
def test_scalars_of_numpy_and_torch_become_plain(parameter, value, expected):
    result = parameter.validate(value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        (SPARSITY, -0.01, r"sparsity=-0.01 is out of bounds. Allowed: 0 to 1."),
        (SPARSITY, 1.01, r"sparsity=1.01 is out of bounds. Allowed: 0 to 1."),
        (SPARSITY, math.nan, r"sparsity must be a number, not nan"),
        (SPARSITY, math.inf, r"sparsity must be a number, not inf"),
        (SPARSITY, "0.5", r"sparsity must be a number, not '0.5'"),
        (SPARSITY, None, r"sparsity must be a number, not None"),
        (SPARSITY, True, r"sparsity must be a number, not True"),
        (SPARSITY, [0.5], r"sparsity must be a number"),
        (SPARSITY, np.array([0.5]), r"sparsity must be a number"),
        (SPARSITY, np.bool_(True), r"sparsity must be a number, not True"),
        (BITS, 9, r"bits=9 is out of bounds. Allowed: 1 to 8."),
        (BITS, 0, r"bits=0 is out of bounds. Allowed: 1 to 8."),
        (BITS, 2.5, r"bits must be a whole number, not 2.5. Allowed: 1 to 8."),
        (GROUP, 0, r"group_size=0 is out of bounds. Allowed: 1 or more."),
        (SCHEME, "afine", r"scheme cannot be 'afine'. Did you mean 'affine'\? Allowed: symmetric, affine."),
        (SCHEME, 3, r"scheme cannot be 3. Allowed: symmetric, affine."),
    ],
    ids=str,
)
def test_what_is_not_allowed_is_refused_with_the_bounds(parameter, value, message):
    with pytest.raises(ParameterError, match=message) as caught:
        parameter.validate(value)
    assert isinstance(caught.value, CompressExplorerError)
    assert isinstance(caught.value, ValueError)


def test_linear_positions_reach_both_ends_without_rounding_noise():
    positions = SPARSITY.positions()
    assert len(positions) == 100
    assert positions[:3] == (0.0, 0.01, 0.02)
    assert positions[29] == 0.29
    assert positions[-1] == 0.99


def test_positions_of_other_kinds():
    assert BITS.positions() == (1, 2, 3, 4, 5, 6, 7, 8)
    assert all(type(value) is int for value in BITS.positions())
    assert GROUP.positions() == (32, 64, 128, 256)
    assert SCHEME.positions() == ("symmetric", "affine")
    assert DAMPING.positions() == pytest.approx((0.125, 2**-2.5, 0.25, 2**-1.5, 0.5, 2**-0.5, 1.0))
    rate = replace(DAMPING, scale="log10", minimum=1e-8, soft_minimum=1e-3, soft_maximum=0.1, step=0.25, default=0.01)
    assert rate.positions() == pytest.approx([10 ** (-3 + step / 4) for step in range(9)], rel=1e-9)
    assert rate.positions()[::4] == (0.001, 0.01, 0.1)


@given(value=st.floats(0, 1))
def test_every_number_within_the_bounds_is_allowed(value):
    assert SPARSITY.validate(value) == value


@given(value=st.floats().filter(lambda value: not 0 <= value <= 1))
def test_every_number_beyond_the_bounds_is_refused(value):
    with pytest.raises(ParameterError, match="Allowed: 0 to 1"):
        SPARSITY.validate(value)


@given(low=st.integers(-50, 50), count=st.integers(1, 200), step=st.sampled_from([0.001, 0.01, 0.05, 0.25, 1.0, 3.0]))
def test_positions_are_increasing_and_evenly_spaced(low, count, step):
    high = low + count * step
    parameter = Parameter(
        name="x", label="x", kind="float", default=low, minimum=low, maximum=high, step=step, help="A number."
    )
    positions = [float(position) for position in parameter.positions()]
    assert len(positions) == count + 1
    assert positions[0] == low
    assert positions[-1] == pytest.approx(high)
    assert all(b - a == pytest.approx(step) for a, b in itertools.pairwise(positions))
