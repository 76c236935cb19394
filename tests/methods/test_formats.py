"""Number formats against ml_dtypes, bitsandbytes and the definitions: every code, every halfway point."""

import bitsandbytes.functional
import ml_dtypes
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.methods.coded_scale import double_quantized
from compress_explorer.methods.formats import APOT_EXPONENTS, DYNAMIC8, E8M0, FORMATS, Format

FLOATS = {
    "fp4-e2m1": ml_dtypes.float4_e2m1fn,
    "fp6-e2m3": ml_dtypes.float6_e2m3fn,
    "fp6-e3m2": ml_dtypes.float6_e3m2fn,
    "fp8-e3m4": ml_dtypes.float8_e3m4,
    "fp8-e4m3": ml_dtypes.float8_e4m3fn,
    "fp8-e5m2": ml_dtypes.float8_e5m2,
}
ALL: dict[str, Format] = {**FORMATS, "dynamic": DYNAMIC8, "e8m0": E8M0}
every_format = pytest.mark.parametrize("name", ALL)


def levels_of(entry: Format) -> np.ndarray:
    """The levels in use, increasing, float64."""
    return entry.levels[entry.used.long()].double().numpy()


def halfway_points(entry: Format) -> Tensor:
    """The float32 numbers at the middle of two levels, and their neighbours."""
    levels = levels_of(entry)
    middle = ((levels[:-1] + levels[1:]) / 2).astype(np.float32)
    return torch.from_numpy(np.concatenate([np.nextafter(middle, np.float32(s * np.inf)) for s in (-1, 1)] + [middle]))


@pytest.mark.parametrize("name", FLOATS)
def test_floats_are_those_of_ml_dtypes(name):
    entry, dtype = FORMATS[name], FLOATS[name]
    table = np.arange(2**entry.bits, dtype=np.uint8).view(dtype).astype(np.float32)
    unused = ~np.isfinite(table) | ((table == 0) & np.signbit(table))
    assert np.array_equal(np.isnan(entry.levels.numpy()), unused)
    assert np.array_equal(entry.levels.numpy()[~unused], table[~unused])
    assert entry.largest == float(ml_dtypes.finfo(dtype).max)


@pytest.mark.parametrize("name", FLOATS)
def test_rounding_is_that_of_ml_dtypes_and_saturates(name):
    entry, dtype = FORMATS[name], FLOATS[name]
    spread = torch.randn(20_000, generator=torch.Generator().manual_seed(0)) * entry.largest / 2
    values = torch.cat([spread, spread * 2.0**-6, halfway_points(entry), torch.tensor([0.0, -0.0, 1e30, -1e30])])
    # ml_dtypes gives NaN or infinity beyond the end: the oracle is asked for what is within.
    expected = values.clamp(-entry.largest, entry.largest).numpy().astype(dtype).astype(np.float32)
    decoded = entry.decode(entry.nearest(values)).numpy()
    assert np.array_equal(decoded, expected)
    assert not np.signbit(decoded[decoded == 0]).any()


@every_format
def test_codes_go_to_the_nearest_level_by_trying_all(name):
    entry = ALL[name]
    levels = levels_of(entry)
    spread = torch.randn(500, generator=torch.Generator().manual_seed(0)) * float(min(levels[-1], 4.0))
    values = torch.cat([spread, halfway_points(entry)])
    distances = np.abs(values.double().numpy()[:, None] - levels)
    codes = entry.nearest(values)
    assert torch.isin(codes, entry.used).all()
    chosen = np.abs(values.double().numpy() - entry.decode(codes).double().numpy())
    assert np.array_equal(chosen, distances.min(axis=1))
    tied = (distances == distances.min(axis=1, keepdims=True)).sum(axis=1) == 2
    even = entry.used.numpy()[:-1] % 2 != entry.used.numpy()[1:] % 2  # neighbours of which one is even
    if even.all():
        assert (codes.numpy()[tied] % 2 == 0).all()


@every_format
def test_every_level_has_its_own_code_and_comes_back(name):
    entry = ALL[name]
    assert entry.levels.shape == (2**entry.bits,)
    assert (np.diff(levels_of(entry)) > 0).all()
    assert torch.equal(entry.nearest(entry.decode(entry.used)), entry.used)
    if name in FORMATS:
        assert int((entry.levels == 0).sum()) == 1


def test_nf4_is_the_table_of_bitsandbytes_and_of_its_definition():
    levels = FORMATS["nf4"].levels
    assert torch.equal(levels, bitsandbytes.functional.get_4bit_type("nf4", device="cpu"))
    offset = 0.9677083
    positive = scipy.stats.norm.ppf(np.linspace(offset, 0.5, 9)[:-1])
    negative = -scipy.stats.norm.ppf(np.linspace(offset, 0.5, 8)[:-1])
    expected = np.sort(np.concatenate([positive, negative, [0.0]]))
    np.testing.assert_allclose(levels.numpy(), expected / expected.max(), atol=2e-7)


def test_fp4_is_the_table_of_bitsandbytes():
    table = bitsandbytes.functional.get_4bit_type("fp4", device="cpu")
    used = FORMATS["fp4"].used.long()
    assert set(used.tolist()) == set(range(16)) - {8}
    assert torch.equal(FORMATS["fp4"].levels[used], table[used])


def test_the_dynamic_map_is_that_of_bitsandbytes():
    torch.testing.assert_close(DYNAMIC8.levels, bitsandbytes.functional.create_dynamic_map(), rtol=1e-6, atol=1e-7)


def test_e8m0_is_that_of_torch():
    codes = torch.arange(256, dtype=torch.uint8)
    expected = codes.view(torch.float8_e8m0fnu).float()
    assert torch.equal(E8M0.levels[:255], expected[:255])
    assert E8M0.levels[255].isnan()


@pytest.mark.parametrize("bits", APOT_EXPONENTS)
def test_additive_powers_use_each_exponent_once_and_all_codes_but_minus_zero(bits):
    exponents = [exponent for row in APOT_EXPONENTS[bits] for exponent in row]
    assert sorted(exponents) == list(range(len(exponents)))
    assert sum(2 if len(row) == 3 else 1 for row in APOT_EXPONENTS[bits]) == bits - 1
    entry = FORMATS[f"apot-{bits}"]
    assert len(entry.used) == 2**bits - 1
    assert entry.largest == 1.0


def test_additive_powers_by_hand():
    # 0, 1, 4 or 8 sixteenths, and 0 or 2 more; the largest, ten, is 1.
    assert (FORMATS["apot-4"].levels[:8] * 10).round(decimals=5).tolist() == [0, 1, 2, 3, 4, 6, 8, 10]


@given(st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=600))
def test_double_quantization_is_within_half_a_step_and_exact_where_all_are_alike(scales: list[float]):
    scale = torch.tensor([scales])
    decoded = double_quantized(scale).decode()
    assert (decoded >= 0).all()
    mean = float(scale.double().mean())
    for start in range(0, len(scales), 256):
        block, back = scale[0, start : start + 256].double(), decoded[0, start : start + 256].double()
        factor = float((block - mean).abs().max())
        # The widest step of the map is 0.9 / 64 of the factor; at its lower end it reaches -0.993 only.
        assert (block - back).abs().max() <= factor * 0.00705 + 1e-6 * (mean + factor)
    if len(set(scales)) == 1:
        torch.testing.assert_close(decoded, scale)


@pytest.mark.parametrize("name", FORMATS)
def test_looking_up_is_the_same_as_searching(name):
    """On every bound of two codes, the numbers next to it, and many more, of both signs."""
    number_format = FORMATS[name]
    levels = number_format.levels[number_format.used.long()].double()
    halfway = ((levels[:-1] + levels[1:]) / 2).float()
    near = [torch.nextafter(halfway, torch.tensor(end)) for end in (-torch.inf, torch.inf)]
    spread = torch.randn(20_000, generator=torch.Generator().manual_seed(0)) * number_format.largest
    extremes = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38])
    values = torch.cat([halfway, *near, levels.float(), spread, spread * 1e-3, extremes])
    assert torch.equal(number_format.nearest(values), number_format._among_cuts(values))


def test_floating_point_formats_are_looked_up():
    looked_up = {name for name, entry in FORMATS.items() if entry._table is not None}
    assert {"fp4-e2m1", "fp6-e2m3", "fp6-e3m2", "fp8-e3m4", "fp8-e4m3", "fp8-e5m2"} <= looked_up
    assert "nf4" not in looked_up
