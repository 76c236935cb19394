"""Recipes that code the file: its exact size, its way back, and coded files that are not what they should be."""

import json
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress_explorer.engine.coding import decode_stream, encode_stream
from compress_explorer.engine.compress import compress
from compress_explorer.engine.file import from_bytes, load, to_bytes
from compress_explorer.engine.form import METADATA_KEY, choose_form, file_bytes
from compress_explorer.engine.huffman import canonical_codes
from compress_explorer.engine.matrix import Layout
from compress_explorer.engine.size import tensor_size
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.methods import integer, magnitude
from compress_explorer.spec.errors import FileFormatError
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.size import Coding
from tests.engine.hostile import check_flipped
from tests.engine.stored_examples import GRIDS, example, same_bits

CODINGS: tuple[Coding, ...] = get_args(Coding)
every_coding = pytest.mark.parametrize("coding", CODINGS)


def coded(tensor: StoredTensor, coding: Coding) -> StoredTensor:
    return replace(tensor, coding=coding)


def skewed(coding: Coding | None, *, sparsity: float = 0.8, bits: int = 6, name: str = "w") -> StoredTensor:
    """12,000 quantized weights of a Gaussian, the right half much smaller, so that zeros cluster."""
    weight = torch.randn(60, 200, generator=torch.Generator().manual_seed(2))
    weight[:, 100:] *= 0.05
    kept = magnitude.apply(weight, torch.ones_like(weight, dtype=torch.bool), sparsity=sparsity)
    code = integer.apply(torch.where(kept, weight, 0.0), kept, bits=bits)
    values = torch.where(kept, code.decode(), 0.0)
    return StoredTensor(name=name, values=values, layout=Layout((60, 200)), kept=kept, code=code, coding=coding)


@every_coding
@given(
    grid=st.sampled_from(GRIDS),
    bits=st.integers(2, 8),
    density=st.one_of(st.none(), st.floats(0, 1)),
    rows=st.integers(1, 9),
    columns=st.integers(1, 400),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=80, deadline=None)
def test_any_coded_tensor_comes_back_from_a_file_of_the_foretold_size(
    coding: Coding, grid: str, bits: int, density: float | None, rows: int, columns: int, dtype: torch.dtype, seed: int
):
    plain = example(grid, bits, density, layout=Layout((rows, columns)), group_size=columns, dtype=dtype, seed=seed)
    tensor = coded(plain, coding)
    data = to_bytes([tensor], Recipe(), {})
    assert len(data) == file_bytes([tensor], Recipe(), {})
    assert same_bits(from_bytes(data).state["weight"], tensor.values)
    before, after = tensor_size(plain), tensor_size(tensor)
    assert after.bytes() == min(before.bytes(), before.bytes(coding))
    assert (after.coding is None) == (before.bytes() <= before.bytes(coding))


@every_coding
def test_the_file_of_a_real_recipe_is_what_the_accounting_says(coding: Coding, tmp_path: Path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    steps = [Step("magnitude", sparsity=0.92), Step("integer", bits=6)]
    packed = compress(model, Recipe(steps))
    smaller = compress(model, Recipe([*steps, Step(coding)]))
    path = smaller.save(tmp_path / "model.safetensors")
    size = smaller.size()
    assert size.file == os.path.getsize(path) == sum(size.breakdown().values())
    assert size.total() == sum(min(t.bytes(), t.bytes(coding)) for t in packed.size().tensors if t.treated) + 4 * 410
    assert size.file < 0.9 * packed.size().file
    state = load(path).state
    for name, tensor in packed.model.state_dict().items():
        assert torch.equal(state[name], tensor)  # the weights are those without coding
    assert [tensor.name for tensor in size.tensors if tensor.coding == coding][:1] == ["0.weight"]


@every_coding
def test_dense_weights_of_that_size_come_back(coding: Coding):
    codes = np.random.default_rng(0).binomial(63, 0.5, 266_200).astype(np.uint8)
    data = encode_stream(coding, codes, 6)
    assert len(data) < 266_200 * 6 / 8
    assert (decode_stream(coding, data, 6, len(codes)) == codes).all()


@every_coding
def test_plain_floats_stay_as_they_are_and_say_why(coding: Coding):
    model = nn.Linear(40, 30)
    compressed = compress(model, Step(coding))
    assert not any(tensor.treated for tensor in compressed.stored)
    assert compressed.size().total() == 4 * 30 * 41
    assert torch.equal(compressed.stored[0].values, model.weight)
    reasons = {entry.name: entry.reason for entry in compressed.skipped}
    assert "plain floats" in reasons["weight"]


@every_coding
def test_pruned_floats_have_their_gaps_coded(coding: Coding):
    model = nn.Linear(300, 100)
    steps = [Step("magnitude", sparsity=0.9)]
    packed, smaller = (compress(model, Recipe(recipe)).size() for recipe in (steps, [*steps, Step(coding)]))
    before, after = packed.tensors[0], smaller.tensors[0]
    assert after.coding == coding
    assert after.part("values") == 4 * 3000  # a packed relative index has fillers
    assert after.part("positions") < before.part("positions")


def test_steps_behind_a_coding_step_are_coded_and_the_last_coder_counts():
    model = nn.Linear(300, 100)
    first = compress(model, Recipe([Step("huffman"), Step("magnitude", sparsity=0.8), Step("integer", bits=5)]))
    last = compress(model, Recipe([Step("magnitude", sparsity=0.8), Step("integer", bits=5), Step("huffman")]))
    assert first.size().tensors == last.size().tensors
    twice = compress(model, Recipe([Step("rans"), Step("magnitude", sparsity=0.8), Step("huffman")]))
    assert twice.stored[0].coding == "huffman"


def test_a_coding_step_names_its_layers():
    model = nn.Sequential(nn.Linear(300, 100), nn.Linear(100, 50))
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    compressed = compress(model, Recipe([Step("integer", bits=8), Step("rans", layers="0.*")]))
    assert [tensor.coding for tensor in compressed.size().tensors] == ["rans", None, None, None]


def test_a_huffman_file_holds_what_its_description_says():
    """Reads a file with safetensors, JSON and characters of bits alone."""
    tensor = skewed("huffman", bits=4)
    data = to_bytes([tensor], Recipe(), {})
    described = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"][METADATA_KEY])
    (rows, columns), style, width, entries, gap_bytes, value_bytes = described["tensors"]["w"]
    assert described["styles"][style]["coding"] == "huffman"
    array = safetensors.torch.load(data)["w"].numpy().tobytes()

    def symbols(stream: bytes, bits: int, count: int) -> list[int]:
        digits = "".join(f"{byte:08b}" for byte in stream)
        each, digits = int(digits[:8], 2), digits[8:]
        lengths = [int(digits[each * place : each * (place + 1)], 2) for place in range(2**bits)]
        digits = digits[-(-each * 2**bits // 8) * 8 :]
        words = canonical_codes(np.array(lengths, dtype=np.uint8)).tolist()
        table = {
            f"{word:0{size}b}": symbol for symbol, (word, size) in enumerate(zip(words, lengths, strict=True)) if size
        }
        found: list[int] = []
        word = ""
        for digit in digits:
            word += digit
            if word in table and len(found) < count:
                found.append(table[word])
                word = ""
        assert len(found) == count
        return found

    gaps = symbols(array[:gap_bytes], width, entries)
    codes = iter(symbols(array[gap_bytes : gap_bytes + value_bytes], 4, sum(gap < 2**width - 1 for gap in gaps)))
    scale = np.frombuffer(array[gap_bytes + value_bytes :], dtype="<f4")[0]
    values, place = np.zeros(rows * columns, dtype=np.float32), -1
    for gap in gaps:
        place += gap
        if gap < 2**width - 1:
            place += 1
            values[place] = scale * np.float32(next(codes) - 7)
    assert values.reshape(rows, columns).tolist() == tensor.values.tolist()


GOOD = to_bytes(
    [
        skewed("huffman", name="h"),
        skewed("rans", name="r"),
        coded(example("float", 32, 0.1, layout=Layout((50, 80)), name="f"), "rans"),
        skewed("rans", sparsity=0.0, bits=8, name="d"),
    ],
    Recipe(),
    {},
)


def rebuilt(name: str, place: int, value: object, **style: object) -> bytes:
    """The good file with one entry of a tensor's description and of its style changed."""
    content = json.loads(json.loads(GOOD[8 : 8 + int.from_bytes(GOOD[:8], "little")])["__metadata__"][METADATA_KEY])
    entry: list[Any] = content["tensors"][name]
    entry[place : place + 1] = [value]
    content["styles"][entry[1]] |= style
    return safetensors.torch.save(safetensors.torch.load(GOOD), metadata={METADATA_KEY: json.dumps(content)})


def described(name: str) -> list[Any]:
    content = json.loads(json.loads(GOOD[8 : 8 + int.from_bytes(GOOD[:8], "little")])["__metadata__"][METADATA_KEY])
    return content["tensors"][name]


def test_the_good_file_is_coded_throughout():
    assert [len(described(name)) for name in "hrfd"] == [6, 6, 6, 3]


def more(name: str, place: int, change: int) -> Callable[[], bytes]:
    return lambda: rebuilt(name, place, described(name)[place] + change)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: rebuilt("h", 0, described("h")[0], coding="zip"), "coding 'zip'"),
        (lambda: rebuilt("h", 0, described("h")[0], coding=["rans"]), "coding"),
        (lambda: rebuilt("h", 0, described("h")[0], coding=None), "h has positions|h is described"),
        (lambda: rebuilt("h", 0, described("h")[0], coding="rans"), "h has a coded stream"),
        (lambda: rebuilt("r", 0, described("r")[0], coding="huffman"), "r has a coded stream"),
        (lambda: rebuilt("h", 3, 12_001), "12001 gaps in 12000 weights"),
        (lambda: rebuilt("h", 3, 2**62), "gaps in 12000 weights"),
        (more("h", 3, -9), "h has a coded stream"),
        (more("r", 3, 1), "r has a coded stream"),
        (more("r", 3, -1), "r has a coded stream"),
        (more("h", 4, 1), "h has a coded stream"),
        (more("h", 4, -1), "h has a coded stream"),
        (more("r", 5, -2), "r has a coded stream"),
        (more("f", 4, 2), "f has a coded stream"),
        (more("d", 2, -1), "d has a coded stream"),
        (lambda: rebuilt("d", 2, -1), "bytes of values '-1'"),
        (lambda: rebuilt("d", 2, 10**9), "needs more bytes"),
        (lambda: rebuilt("h", 4, "many"), "bytes of gaps 'many'"),
        (lambda: rebuilt("d", 0, [2**13, 2**13]), "d has a coded stream"),
        (lambda: rebuilt("d", 0, [2**20, 2**13]), "cannot come out of"),
        (lambda: rebuilt("d", 2, "mask"), "bytes of values 'mask'"),
    ],
)
def test_coded_files_that_contradict_themselves_are_refused(data: Callable[[], bytes], message: str):
    content = data()
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=message):
            from_bytes(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 2^26 weights, which a file may promise, have places of 8 bytes; of 2^33 weights or 2^62 gaps nothing is made.
    assert peak < 2**30


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([0, 0, 0, 0], "none of a Huffman code"),
        ([1, 1, 1, 0], "none of a Huffman code"),
        ([2, 2, 2, 0], "none of a Huffman code"),
        ([60, 60, 1, 0], "none of a Huffman code"),
    ],
)
def test_a_table_that_is_no_code_is_refused(lengths: list[int], message: str):
    data = np.array([8, *lengths, 0, 0], dtype=np.uint8)
    with pytest.raises(ValueError, match=message):
        decode_stream("huffman", data, 2, 9)


@pytest.mark.parametrize("data", [[], [0], [9, 1], [3], [1, 0]])
def test_a_huffman_stream_without_a_table_is_refused(data: list[int]):
    with pytest.raises(ValueError, match=r"cut off|none of a Huffman code"):
        decode_stream("huffman", np.array(data, dtype=np.uint8), 2, 1)


@every_coding
@pytest.mark.parametrize("count", [0, 1, 7, 3000])
def test_a_symbol_alone_and_none_at_all_come_back(coding: Coding, count: int):
    symbols = np.full(count, 200, dtype=np.uint8)
    data = encode_stream(coding, symbols, 8)
    assert decode_stream(coding, data, 8, count).tolist() == symbols.tolist()
    assert (len(data) == 0) == (count == 0)


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_flipped_bytes_give_a_file_or_the_error_and_nothing_else(flips: list[tuple[int, int]]):
    check_flipped(GOOD, flips)


def test_of_equal_sizes_the_packed_form_is_taken():
    even = torch.arange(4, dtype=torch.uint8).repeat(1, 50)
    tensor = example("integer", 8, None, layout=Layout((1, 200)), group_size=200)
    assert tensor.code is not None
    code = replace(tensor.code, codes=even, bits=2, offset=1)
    form = choose_form(replace(tensor, values=code.decode(), code=code, coding="huffman"))
    assert (form.coding, form.payload) == (None, 50)
