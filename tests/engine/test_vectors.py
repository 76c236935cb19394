"""Codes that stand for neighbouring weights together: their size, their file, and product quantization in recipes."""

import math
from typing import get_args

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import compress_explorer as ce
from compress_explorer.engine.coding import encode_stream
from compress_explorer.engine.contents import zero_codes
from compress_explorer.engine.file import from_bytes, to_bytes
from compress_explorer.engine.form import file_bytes
from compress_explorer.engine.frame import levels
from compress_explorer.engine.matrix import Layout
from compress_explorer.engine.positions import encode_gaps, run_lengths
from compress_explorer.engine.size import index_bits, tensor_size
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.engine.weights import Weights
from compress_explorer.methods.code import Code
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.size import ACCOUNTINGS, Coding
from tests.engine.stored_examples import example, same_bits, stored

examples = st.builds(
    lambda bits, density, channels, columns, dtype, seed: example(
        "vectors", bits, density, layout=Layout((channels, columns)), dtype=dtype, seed=seed
    ),
    bits=st.integers(2, 8),
    density=st.sampled_from([None, 0.0, 0.02, 0.1, 0.5, 0.95, 1.0]),
    channels=st.integers(1, 12),
    columns=st.integers(1, 60),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
    seed=st.integers(0, 10**6),
)


def vectors(*rows: list[int], bits: int, columns: int, levels: int, dimension: int = 4) -> Code:
    """Codes of vectors without a zero in them."""
    book = torch.arange(1.0, 1 + levels * dimension).reshape(1, levels, dimension)
    codes = torch.tensor(rows, dtype=torch.uint8)
    return Code(codes=codes, bits=bits, grid="vectors", codebook=book, group_size=columns)


def code_of(tensor: StoredTensor) -> Code:
    assert tensor.code is not None
    return tensor.code


# By hand.


def test_a_codebook_and_some_bits_for_each_subvector():
    """Two rows of 10 weights, three codes each, of 3 bits: 18 bits; five vectors of four floats."""
    code = vectors([0, 1, 4], [2, 3, 4], bits=3, columns=10, levels=5)
    size = tensor_size(stored("w", Layout((2, 10)), None, code, torch.float32, torch.empty(0)))
    assert dict(size.parts) == {"values": 3, "positions": 0, "scales": 0, "zero_points": 0, "codebook": 5 * 4 * 4}
    assert size.bytes() == 83
    assert (size.bits, size.weights, size.zeros, size.position_format) == (3, 20, 0, "none")


def test_pruned_weights_are_told_by_positions_and_only_vectors_in_use_have_codes():
    """One row of 32 weights, eight codes of 8 bits; weights 1, 2 and 30 are left: of vectors 0 and 7."""
    kept = torch.zeros(1, 32, dtype=torch.bool)
    kept[0, [1, 2, 30]] = True
    code = vectors(list(range(8)), bits=8, columns=32, levels=8)
    tensor = stored("w", Layout((1, 32)), kept, code, torch.float32, torch.empty(0))
    size, book = tensor_size(tensor), 8 * 4 * 4
    sizes = {name: bytes - book for name, bytes in size.accountings}
    assert sizes["bitmask"] == 4 + 2
    assert sizes["csr"] == math.ceil(3 * 5 / 8) + 4 * 2 + 2
    assert sizes["coo"] == math.ceil(3 * 5 / 8) + 2
    # Gaps 1, 0, 27: of 3 bits, 27 = 3 * 7 + 6 with three fillers, 18 bits; of 4, one filler, 16 bits; of 5, none.
    assert sizes["relative"] == 2 + 2
    assert size.position_format == "relative-4"
    assert size.bytes() == book + 4
    entropy = 32 * scipy.stats.entropy([3, 29], base=2) + 2 * scipy.stats.entropy([1, 1], base=2)
    assert sizes["entropy"] == pytest.approx(entropy / 8)


def test_no_code_stands_for_zero():
    """Zeros within a vector are told by positions, also where a whole one is zero."""
    code = vectors([0, 1], bits=1, columns=8, levels=2)
    code.codebook[0, 0] = 0.0  # type: ignore[index]
    assert zero_codes(code) is None


def test_the_size_of_a_layer_that_is_large_is_two_bits_a_weight():
    """256 vectors of 4: 8 bits for 4 weights, and 4,096 bytes of codebook (Stock et al. 2020 have 2,048 in float16)."""
    model = nn.Linear(512, 1024, bias=False)
    size = ce.compress(model, Step("product-quantization", iterations=1)).size().tensors[0]
    assert size.bytes() == 1024 * 512 / 4 + 256 * 4 * 4


# Against independent counts and encoders.


def not_zero(tensor: StoredTensor) -> np.ndarray:
    """Bool [channels, n]."""
    return np.asarray(tensor.layout.to_matrix(tensor.values).double().numpy() != 0)


def used(tensor: StoredTensor) -> np.ndarray:
    """The codes of which a weight is not zero, one row and one code after the other."""
    code, found = code_of(tensor), []
    for row, codes in zip(not_zero(tensor), code.codes.tolist(), strict=True):
        found += [number for place, number in enumerate(codes) if row[code.dimension * place :][: code.dimension].any()]
    return np.array(found, dtype=np.uint8)


def no_negative_zero(tensor: StoredTensor) -> bool:
    """A -0.0 counts as present, but not in the counts here."""
    return not bool((torch.signbit(tensor.values) & (tensor.values == 0)).any())


@given(examples)
@settings(max_examples=150, deadline=None)
def test_accountings_are_those_of_independent_counts(tensor: StoredTensor):
    assume(no_negative_zero(tensor))
    size, code, codes, present = tensor_size(tensor), code_of(tensor), used(tensor), not_zero(tensor).ravel()
    book = 4 * code.codebook.numel()  # type: ignore[union-attr]
    values, count = math.ceil(len(codes) * code.bits / 8), int(present.sum())
    assert size.part("codebook") == book
    assert size.bytes("bitmask") == len(np.packbits(present)) + values + book
    assert size.bytes("coo") == math.ceil(count * index_bits(size.weights) / 8) + values + book
    gaps = {width: encode_gaps(run_lengths(present), width, zero_level=False) for width in range(1, 9)}
    assert size.bytes("relative") == min(math.ceil(len(gaps[w]) * w / 8) for w in gaps) + values + book
    bits = size.weights * scipy.stats.entropy([count, size.weights - count], base=2)
    if len(codes):
        bits += len(codes) * scipy.stats.entropy(np.bincount(codes), base=2)
    plain = tensor.kept is None or bool(tensor.kept.all())
    if plain:
        bits = min(bits, code.codes.numel() * scipy.stats.entropy(np.bincount(code.codes.numpy().ravel()), base=2))
    assert size.bytes("entropy") == pytest.approx(bits / 8 + book)
    smallest = [size.bytes("bitmask"), size.bytes("relative")]
    smallest += [math.ceil(code.codes.numel() * code.bits / 8) + book] if plain else []
    assert size.bytes() == min(smallest)
    assert sum(bytes for _, bytes in size.parts) == size.bytes()
    assert tuple(name for name, _ in size.accountings) == ACCOUNTINGS


@pytest.mark.parametrize("coding", get_args(Coding))
@given(tensor=examples)
@settings(max_examples=60, deadline=None)
def test_coded_files_come_back_and_are_as_long_as_their_streams(coding: Coding, tensor: StoredTensor):
    assume(no_negative_zero(tensor))
    coded = StoredTensor(**{**vars(tensor), "coding": coding})
    data = to_bytes([coded], Recipe(), {})
    assert len(data) == file_bytes([coded], Recipe(), {})
    assert same_bits(from_bytes(data).state["weight"], tensor.values)
    code, size = code_of(tensor), tensor_size(coded)
    present = not_zero(tensor).ravel()
    streams = [
        len(encode_stream(coding, encode_gaps(run_lengths(present), width, zero_level=False), width))
        + len(encode_stream(coding, used(tensor), code.bits))
        for width in range(1, 9)
    ]
    if tensor.kept is None or bool(tensor.kept.all()):
        streams.append(len(encode_stream(coding, code.codes.numpy().ravel(), code.bits)))
    assert size.bytes(coding) - size.part("codebook") in streams
    assert size.bytes() <= size.bytes(coding)


# In recipes.


class Network(nn.Module):
    """A convolution, a grouped one, a transposed one, and a linear layer whose row four does not divide."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, bias=False)
        self.grouped = nn.Conv2d(8, 6, 3, groups=2)
        self.up = nn.ConvTranspose2d(6, 5, 2)
        self.last = nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.up(self.grouped(self.first(images).relu()).relu()).mean(dim=(2, 3)))


def network() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network().eval()


SHARED = Step("product-quantization", clusters=16)
PRUNED = Step("magnitude", sparsity=0.7)
RECIPES = {
    "alone": Recipe(SHARED),
    "pruned before": Recipe([PRUNED, SHARED]),
    "pruned after": Recipe([SHARED, PRUNED]),
    "huffman": Recipe([SHARED, Step("huffman")]),
    "pruned and rans": Recipe([PRUNED, SHARED, Step("rans")]),
    "n-m and huffman": Recipe([Step("n-m"), SHARED, Step("huffman")]),
    "whole kernels": Recipe(Step("product-quantization", dimension=9, clusters=8)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_file_is_as_long_as_reported_and_brings_every_weight_back(name, tmp_path):
    compressed = ce.compress(network(), RECIPES[name])
    path = compressed.save(tmp_path / "model.safetensors")
    assert path.stat().st_size == compressed.size().file
    loaded = ce.load_compressed(path, network())
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert all(same_bits(loaded.state_dict()[key], value) for key, value in compressed.model.state_dict().items())
    assert torch.equal(loaded(images), compressed.model(images))


@pytest.mark.parametrize("name", ["pruned before", "pruned after", "n-m and huffman"])
def test_pruned_weights_stay_exactly_zero(name):
    compressed = ce.compress(network(), RECIPES[name])
    for entry in compressed.stored:
        if entry.code is not None:
            assert entry.kept is not None
            assert not entry.layout.to_matrix(entry.values)[~entry.kept].any()
    pruner = next(report for report in compressed.steps if report.zeros_after)
    assert compressed.steps[-1].zeros_after == pruner.zeros_after


def test_steps_say_what_became_of_zeros_and_codes():
    after = ce.compress(network(), RECIPES["pruned before"]).steps[1]
    assert after.zeros_kept == after.zeros_before == after.zeros_after
    pruned = ce.compress(network(), RECIPES["pruned after"]).steps[1]
    assert "4 tensors keep their codes" in pruned.sentence()
    again = ce.compress(network(), Recipe([SHARED, Step("integer", bits=4)])).steps[1]
    assert "4 tensors get new codes" in again.sentence()


def test_coding_makes_the_file_of_unevenly_used_codewords_smaller():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Linear(256, 256, bias=False)
        nn.init.trunc_normal_(model.weight, std=0.02)
    with torch.no_grad():
        model.weight[torch.rand(256, 256, generator=torch.Generator().manual_seed(1)) < 0.8] = 0.0
    plain, coded = (ce.compress(model, Recipe(steps)).size() for steps in ([SHARED], [SHARED, Step("huffman")]))
    assert coded.file < plain.file
    assert coded.tensors[0].coding == "huffman"


@pytest.mark.parametrize(("clusters", "dimension", "shown"), [(4, 3, True), (64, 4, True), (128, 4, False)])
def test_levels_are_all_numbers_of_the_codebook_where_they_are_not_too_many(clusters, dimension, shown):
    model = nn.Linear(120, 30, bias=False)
    step = Step("product-quantization", clusters=clusters, dimension=dimension, iterations=2)
    entry = ce.compress(model, step).stored[0]
    matrix = entry.layout.to_matrix(entry.values)
    found = levels({"weight": Weights(matrix, code=entry.code)})
    numbers = set(code_of(entry).codebook.flatten().tolist())  # type: ignore[union-attr]
    assert set(found) == (numbers if shown else set())
    assert not shown or set(matrix.flatten().tolist()) <= numbers
