"""Sizes against hand-computed cases and independent encoders."""

import math
from typing import get_args

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compress_explorer.engine.coding import decode_stream, encode_stream
from compress_explorer.engine.contents import Contents, count_zeros, zero_codes
from compress_explorer.engine.matrix import Layout
from compress_explorer.engine.positions import best_width, decode_gaps, encode_gaps, run_lengths
from compress_explorer.engine.size import index_bits, main_format, size_report, tensor_size
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.methods.catalogue import complete, method
from compress_explorer.methods.code import Code
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.size import ACCOUNTINGS, PARTS, Coding
from tests.engine.stored_examples import GRIDS, example, plain, stored

examples = st.builds(
    lambda grid, bits, density, channels, columns, group, dtype, seed: example(
        grid,
        bits,
        density,
        layout=Layout((channels, columns)),
        dtype=dtype,
        group_size=min(group, columns),
        seed=seed,
    ),
    grid=st.sampled_from(GRIDS),
    bits=st.integers(2, 8),
    density=st.sampled_from([None, 0.0, 0.02, 0.1, 0.5, 0.95, 1.0]),
    channels=st.integers(1, 12),
    columns=st.integers(1, 60),
    group=st.integers(1, 64),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
    seed=st.integers(0, 10**6),
)


def by_hand(code: Code | None, kept: torch.Tensor | None, matrix: torch.Tensor) -> dict[str, float]:
    layout = Layout(tuple(matrix.shape))
    return dict(tensor_size(stored("w", layout, kept, code, torch.float32, matrix)).accountings)


def test_pruned_floats_by_hand():
    kept = torch.zeros(4, 20, dtype=torch.bool)
    kept.view(-1)[[0, 9, 10, 79]] = True
    matrix = torch.full((4, 20), 1.5)
    sizes = by_hand(None, kept, matrix)
    assert sizes["dense"] == 80 * 4
    assert sizes["bitmask"] == 10 + 16
    assert sizes["csr"] == 16 + math.ceil(4 * 5 / 8) + 4 * 5  # values, 5-bit columns (20 of them), 5 row starts
    assert sizes["coo"] == 16 + math.ceil(4 * 7 / 8)  # 7 bits tell 80 places apart
    # Runs of zeros: 0, 8, 0, 68. At 7 bits no filler: 4 * 7 bits; at 4 bits, 4 fillers (68 = 4 * 16 + 4).
    assert sizes["relative"] == 16 + 4
    assert sizes["packed"] == 16 + 4
    h = scipy.stats.entropy([4, 76], base=2)
    assert sizes["entropy"] == pytest.approx((80 * h + 4 * 32) / 8)
    # Gaps at 7 bits are 0, 8, 0, 68: codes of 1, 2 and 2 bits, 6 bits in all; a table of 128 lengths of 2 bits.
    assert sizes["huffman"] == 16 + (1 + 32) + 1
    # In rANS: frequencies 2048, 1024, 1024; a table of 128 lengths of 4 bits and 11 + 10 + 10 bits; a state of 6 bytes.
    # The 6 bits of the gaps fit into the state.
    assert sizes["rans"] == 16 + (64 + 4) + 6


def test_quantized_with_scales_and_zero_points_by_hand():
    # 2 channels of 10 weights, groups of 4: 3 scales a channel, zero points packed at 3 bits.
    code = Code(
        codes=torch.arange(20, dtype=torch.uint8).reshape(2, 10) % 8,
        bits=3,
        grid="integer",
        scale=torch.ones(2, 3),
        zero_point=torch.full((2, 3), 4, dtype=torch.uint8),
        group_size=4,
    )
    size = tensor_size(stored("w", Layout((2, 10)), None, code, torch.float32, torch.empty(2, 10)))
    assert dict(size.parts) == {
        "values": 8,  # 20 * 3 bits
        "positions": 0,
        "scales": 24,
        "zero_points": 3,  # 6 * 3 bits
        "codebook": 0,
    }
    assert size.bytes("packed") == 35
    assert size.bits == 3
    assert size.zeros == 3 - 1  # code 4 occurs at 4 and 12, and 20 is the first beyond the end
    assert size.bytes("dense") == size.baseline == 80
    assert size.position_format == "none"


@pytest.mark.parametrize(
    ("step", "scales", "values"),
    [
        # 4 rows of 100 weights; blocks of 64 leave 2 scales a row, of 32 leave 4, of 16 leave 7.
        (Step("nf4"), 8 * 4, 200),
        (Step("nf4", scales="double"), 8 * 1 + 4 + 4, 200),  # a byte each, one mean, one factor for up to 256
        (Step("nf4", scales="double", block_size=1), 400 + 4 + 2 * 4, 200),
        (Step("mx"), 16 * 1, 200),
        (Step("mx", format="mxfp6-e2m3"), 16 * 1, 300),
        (Step("mx", format="mxfp8-e5m2"), 16 * 1, 400),
        (Step("nvfp4"), 28 * 1 + 4, 200),
        (Step("fp8"), 4, 400),
        (Step("fp8", granularity="channel"), 4 * 4, 400),
        (Step("apot", bits=5), 4, 250),
    ],
)
def test_number_formats_by_hand(step: Step, scales: int, values: int):
    weight = torch.randn(4, 100, generator=torch.Generator().manual_seed(0))
    step = complete(step)
    code = method(step.method).apply(weight, torch.ones_like(weight, dtype=torch.bool), **dict(step.values))
    size = tensor_size(stored("w", Layout((4, 100)), None, code, torch.float32, weight))
    parts = dict(size.parts)
    assert (parts["scales"], parts["zero_points"], parts["codebook"]) == (scales, 0, 0)
    assert size.bytes("packed") <= values + scales  # less only where zeros are left out
    assert parts["values"] + parts["positions"] <= values
    if parts["positions"] == 0:
        assert parts["values"] == values


@pytest.mark.parametrize(
    ("step", "bits"),
    [
        (Step("nf4"), 4.5),
        (Step("nf4", scales="double"), 4 + 8 / 64 + 32 / (64 * 256)),  # QLoRA: 0.127 bits
        (Step("mx"), 4.25),
        (Step("mx", format="mxfp6-e3m2"), 6.25),
        (Step("nvfp4"), 4.5),
    ],
)
def test_published_bits_a_weight(step: Step, bits: float):
    weight = torch.randn(64, 4096, generator=torch.Generator().manual_seed(0))
    step = complete(step)
    code = method(step.method).apply(weight, torch.ones_like(weight, dtype=torch.bool), **dict(step.values))
    size = tensor_size(stored("w", Layout((64, 4096)), None, code, torch.float32, weight))
    assert dict(size.parts)["values"] == code.bits * weight.numel() / 8
    assert size.bytes("packed") * 8 / weight.numel() == pytest.approx(bits, abs=2e-4)  # 4 bytes for the tensor


def test_deep_compressions_worked_example():
    # Section 3: 16 weights of 32 bits shared by 4 clusters: 16 * 32 / (16 * 2 + 4 * 32) = 3.2.
    code = Code(
        codes=torch.arange(16, dtype=torch.uint8).reshape(4, 4) % 4,
        bits=2,
        grid="codebook",
        codebook=torch.tensor([[-1.0, 0.0, 1.5, 2.0]]),
        group_size=4,
    )
    sizes = by_hand(code, None, torch.empty(4, 4))
    assert sizes["dense"] / sizes["packed"] == 3.2


def test_untouched_tensors_cost_their_dtype_in_every_accounting():
    for values in (torch.ones(7), torch.ones(7, dtype=torch.bfloat16), torch.tensor(3), torch.zeros(0)):
        size = tensor_size(plain("bias", values))
        expected = values.numel() * values.element_size()
        assert [size.bytes(accounting) for accounting in ACCOUNTINGS] == [expected] * len(ACCOUNTINGS)
        assert not size.treated
        assert size.baseline == expected
        assert size.bits == 8 * values.element_size()


def test_negative_zeros_are_zeros():
    values = torch.tensor([0.0, -0.0, 1.0, -1.0, float("nan")])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert count_zeros(values.to(dtype)) == 2
    assert count_zeros(torch.tensor([0, 3, -1])) == 1
    assert count_zeros(torch.tensor([True, False])) == 1
    assert count_zeros(torch.tensor([0j, 1j])) == 1


def test_a_zero_level_is_used_like_pruning_where_that_is_smaller():
    # Nothing was pruned, but 90 % of the 8-bit codes stand for zero.
    codes = torch.full((10, 100), 127, dtype=torch.uint8)
    codes[:, ::10] = 200
    code = Code(codes=codes, bits=8, grid="integer", offset=-127, scale=torch.ones(1, 1), group_size=100)
    size = tensor_size(stored("w", Layout((10, 100)), None, code, torch.float32, torch.empty(10, 100)))
    assert size.zeros == 900
    assert size.position_format == "relative-4"
    assert size.bytes() == 100 + 50 + 4


def test_without_a_level_for_zero_pruned_weights_need_positions():
    kept = torch.ones(4, 64, dtype=torch.bool)
    signs = Code(
        codes=torch.ones(4, 64, dtype=torch.uint8),
        bits=1,
        grid="codebook",
        codebook=torch.tensor([[-1.0, 1.0]]),
        group_size=64,
    )
    full = tensor_size(stored("w", Layout((4, 64)), kept, signs, torch.float32, torch.empty(4, 64)))
    assert (full.position_format, full.bytes()) == ("none", 32 + 8)
    kept[0, 0] = False
    pruned = tensor_size(stored("w", Layout((4, 64)), kept, signs, torch.float32, torch.empty(4, 64)))
    assert pruned.position_format == "bitmask"
    assert pruned.bytes() == 32 + 32 + 8


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ({"grid": "integer", "bits": 4, "offset": -7}, [[7]]),
        ({"grid": "integer", "bits": 4, "offset": 3}, None),
        ({"grid": "integer", "bits": 4, "zero_point": torch.tensor([[3, 15]], dtype=torch.uint8)}, [[3, 15]]),
        ({"grid": "integer", "bits": 4, "zero_point": torch.tensor([[3, 16]], dtype=torch.uint8)}, None),
        ({"grid": "power-of-two", "bits": 4}, [[0]]),
        ({"grid": "codebook", "bits": 2, "codebook": torch.tensor([[1.0, 0.0], [0.0, 2.0]])}, [[1], [0]]),
        ({"grid": "codebook", "bits": 2, "codebook": torch.tensor([[1.0, 0.0], [1.0, 2.0]])}, None),
        ({"grid": "codebook", "bits": 2, "codebook": torch.tensor([[1.0, -0.0]])}, None),
    ],
)
def test_codes_of_zero(code: dict, expected: list | None):
    found = zero_codes(Code(codes=torch.zeros(2, 8, dtype=torch.uint8), group_size=4, **code))
    assert (found if found is None else found.tolist()) == expected


@given(examples)
@settings(max_examples=200, deadline=None)
def test_parts_and_accountings_agree(tensor: StoredTensor):
    size = tensor_size(tensor)
    assert tuple(part for part, _ in size.parts) == PARTS
    assert tuple(accounting for accounting, _ in size.accountings) == ACCOUNTINGS
    assert sum(bytes for _, bytes in size.parts) == size.bytes("packed")
    assert size.zeros == int((tensor.values == 0).sum())
    if tensor.treated:
        assert size.bytes("packed") <= min(size.bytes("bitmask"), size.bytes("relative"))
        assert size.bytes("entropy") <= size.bytes("bitmask")
        form = size.position_format
        if form == "bitmask":
            assert size.bytes("packed") == size.bytes("bitmask")
        if form.startswith("relative"):
            assert size.bytes("packed") == size.bytes("relative")
        if form == "none":
            side = size.bytes("packed") - size.part("values")
            assert size.part("values") == math.ceil(size.weights * size.bits / 8)
            assert size.bytes("entropy") <= size.bytes("packed")
            assert side == size.part("scales") + size.part("zero_points") + size.part("codebook")


@given(examples)
@settings(max_examples=100, deadline=None)
def test_csr_coo_and_bitmask_equal_independent_encoders(tensor: StoredTensor):
    assume(tensor.treated)
    size = tensor_size(tensor)
    dense = Layout(tuple(tensor.values.shape)).to_matrix(tensor.values).double().numpy()
    csr = scipy.sparse.csr_matrix(dense)
    assume(csr.nnz == Contents(tensor).count)  # a -0.0 is stored, but dropped by scipy
    side = size.part("scales") + size.part("zero_points") + size.part("codebook")
    values = math.ceil(csr.nnz * size.bits / 8) + side
    column_bits = math.ceil(math.log2(dense.shape[1]))
    assert size.bytes("csr") == values + math.ceil(len(csr.indices) * column_bits / 8) + 4 * len(csr.indptr)
    assert size.bytes("coo") == values + math.ceil(csr.nnz * math.ceil(math.log2(dense.size)) / 8)
    assert size.bytes("bitmask") == values + len(np.packbits(dense != 0))


@pytest.mark.parametrize("coding", get_args(Coding))
@given(tensor=examples.filter(lambda tensor: tensor.code is not None))
@settings(max_examples=100, deadline=None)
def test_a_coded_size_is_that_of_streams_that_decode(coding: Coding, tensor: StoredTensor):
    contents, size = Contents(tensor), tensor_size(tensor)
    side = size.part("scales") + size.part("zero_points") + size.part("codebook")

    def stream(symbols: np.ndarray, bits: int) -> int:
        data = encode_stream(coding, symbols, bits)
        assert decode_stream(coding, data, bits, len(symbols)).tolist() == symbols.tolist()
        return len(data)

    width, _ = best_width(contents.runs, contents.bits, contents.zero_level)
    gaps = encode_gaps(run_lengths(contents.present), width, zero_level=False)
    positions, holds_value = decode_gaps(gaps, width, zero_level=False)
    assert positions[holds_value].tolist() == np.flatnonzero(contents.present).tolist()
    sizes = [stream(gaps, width) + stream(contents.codes[contents.present], contents.bits)]
    if contents.plain:
        sizes.append(stream(contents.codes, contents.bits))
    assert size.bytes(coding) == min(sizes) + side


@given(examples.filter(lambda tensor: tensor.code is not None))
@settings(max_examples=100, deadline=None)
def test_the_entropy_equals_scipys(tensor: StoredTensor):
    contents, size = Contents(tensor), tensor_size(tensor)
    side = size.part("scales") + size.part("zero_points") + size.part("codebook")
    kept = contents.codes[contents.present]
    bits = size.weights * scipy.stats.entropy([len(kept), size.weights - len(kept)], base=2)
    if len(kept):
        bits += len(kept) * scipy.stats.entropy(np.bincount(kept), base=2)
    if contents.plain:
        bits = min(bits, size.weights * scipy.stats.entropy(np.bincount(contents.codes), base=2))
    assert size.bytes("entropy") == pytest.approx(bits / 8 + side)


@pytest.mark.parametrize(("count", "bits"), [(0, 0), (1, 0), (2, 1), (3, 2), (784, 10), (1024, 10), (1025, 11)])
def test_index_bits(count: int, bits: int):
    assert index_bits(count) == bits


def test_a_report_sums_its_tensors():
    weight = example("integer", 4, 0.3, layout=Layout((30, 40)), name="fc.weight")
    bias = plain("fc.bias", torch.ones(30))
    baseline = {"fc.weight": torch.ones(30, 40), "fc.bias": torch.ones(30), "tied": torch.ones(30, 40)}
    report = size_report([weight, bias], Recipe(), {"tied": "fc.weight"}, baseline)
    assert report.total() == tensor_size(weight).bytes() + 120
    assert report.file == report.header + report.total()
    breakdown = report.breakdown()
    assert sum(breakdown.values()) == report.file
    assert breakdown["left alone"] == 120
    assert breakdown["header"] == report.header
    assert report.baseline_format == "float32"
    assert report.weights == 1230


def test_the_main_format_is_that_of_most_bytes():
    state = {"a": torch.ones(9, dtype=torch.float16), "b": torch.ones(2, dtype=torch.int64)}
    assert main_format(state) == "float16"
