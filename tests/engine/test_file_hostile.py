"""Files that are not what they should be: each gives a FileFormatError that names the file, none runs code."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import example as with_example
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.engine.file import from_bytes, load, to_bytes
from compress_explorer.engine.form import METADATA_KEY
from compress_explorer.engine.matrix import Layout
from compress_explorer.spec.errors import FileFormatError
from compress_explorer.spec.recipe import Recipe, Step
from tests.engine.stored_examples import example, plain

GOOD = to_bytes(
    [
        example("integer", 4, 0.1, layout=Layout((10, 40)), group_size=16, name="int"),
        example("affine", 3, None, layout=Layout((4, 6)), group_size=6, name="affine"),
        example("codebook", 3, 0.5, layout=Layout((6, 8, 3, 3), axis=1, groups=2), name="book"),
        example("power-of-two", 4, 1.0, layout=Layout((5, 5)), group_size=5, name="power"),
        example("signs", 1, 0.05, layout=Layout((20, 30)), name="signs"),
        example("float", 32, 0.1, layout=Layout((10, 40)), name="float"),
        plain("bias", torch.ones(10)),
    ],
    Recipe([Step("magnitude", sparsity=0.5)]),
    {"tied": "int"},
)
HEADER_END = 8 + int.from_bytes(GOOD[:8], "little")


def rebuilt(change: Callable[[dict[str, Any], dict[str, Tensor]], None]) -> bytes:
    """The good file with its metadata and arrays changed, but a sound safetensors file."""
    header = json.loads(GOOD[8:HEADER_END])
    content = json.loads(header["__metadata__"][METADATA_KEY])
    arrays = safetensors.torch.load(GOOD)
    change(content, arrays)
    return safetensors.torch.save(arrays, metadata={METADATA_KEY: json.dumps(content)})


def put(*path: str, value: object) -> Callable[[dict[str, Any], dict[str, Tensor]], None]:
    """A change of one entry of the metadata."""

    def change(content: dict[str, Any], _: dict[str, Tensor]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def array(name: str, value: Tensor | None) -> Callable[[dict[str, Any], dict[str, Tensor]], None]:
    """A change of one array; None takes it out."""

    def change(_: dict[str, Any], arrays: dict[str, Tensor]) -> None:
        del arrays[name]
        if value is not None:
            arrays[name] = value

    return change


def test_the_unchanged_file_loads():
    state = from_bytes(rebuilt(lambda *_: None)).state
    assert state.keys() == {"int", "affine", "book", "power", "signs", "float", "bias", "tied"}
    header = json.loads(GOOD[8:HEADER_END])
    entries = json.loads(header["__metadata__"][METADATA_KEY])["tensors"]
    forms = {name: entry.get("positions", "none") for name, entry in entries.items()}
    assert forms["book"] == "bitmask"
    assert forms["int"].startswith("relative")
    assert forms["power"] == forms["affine"] == "none"


BYTES = torch.zeros(3, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("version", value=2), "version 2; this package reads version 1. Update"),
        (put("version", value=None), "version None"),
        (put("tensors", value=[]), "list of tensors"),
        (put("tensors", "int", value=7), "int is missing or no mapping"),
        (put("recipe", value={"version": 1, "steps": 3}), "not a recipe"),
        (put("recipe", value=None), "recipe"),
        (put("aliases", value={"tied": "nothing"}), "'tied' cannot be another name of 'nothing'"),
        (put("aliases", value={"int": "affine"}), "'int' cannot be another name"),
        (put("aliases", value={"tied": 4}), "alias"),
        (put("tensors", "int", "shape", value=[2**31, 2**31]), "weights cannot come out of"),
        (put("tensors", "int", "shape", value=[10**30, 2]), "has the shape"),
        (put("tensors", "int", "shape", value=[-10, -40]), "has the shape"),
        (put("tensors", "int", "shape", value=[10, 40.0]), "has the shape"),
        (put("tensors", "int", "shape", value=[True, 400]), "has the shape"),
        (put("tensors", "int", "shape", value=[]), "has no shape"),
        (put("tensors", "int", "shape", value=[1] * 17), "has no shape"),
        (put("tensors", "int", "shape", value=[10, 50]), "3 scales a row for 4 groups"),
        (put("tensors", "int", "shape", value=[10, 33]), "position beyond its 330 weights"),
        (put("tensors", "int", "entries", value=7), "int:gaps has the shape"),
        (put("tensors", "int", "entries", value=-7), "entries -7"),
        (put("tensors", "int", "entries", value="7"), "entries '7'"),
        (put("tensors", "int", "positions", value="relative-9"), "positions 'relative-9'"),
        (put("tensors", "int", "positions", value=["bitmask"]), "positions"),
        (put("tensors", "int", "positions", value="bitmask"), "int:mask is missing"),
        (put("tensors", "int", "bits", value=9), "bits 9"),
        (put("tensors", "int", "bits", value=0), "bits 0"),
        (put("tensors", "int", "bits", value=5), "int:codes has the shape"),
        (put("tensors", "int", "group", value=0), "group 0"),
        (put("tensors", "int", "group", value=40), "3 scales a row for 1 groups"),
        (put("tensors", "int", "offset", value=10**9), "offset"),
        (put("tensors", "int", "grid", value="hexagonal"), "grid 'hexagonal'"),
        (put("tensors", "int", "grid", value={}), "grid"),
        (put("tensors", "int", "grid", value="codebook"), "int:codebook is missing"),
        (put("tensors", "int", "dtype", value="int64"), "dtype 'int64'"),
        (put("tensors", "int", "dtype", value=["float32"]), "dtype"),
        (put("tensors", "affine", "zero_bits", value=9), "zero_bits 9"),
        (put("tensors", "affine", "zero_bits", value=8), "affine:zero has the shape"),
        (put("tensors", "affine", "group", value=2), "1 scales a row for 3 groups"),
        (put("tensors", "book", "axis", value=2), "axis 2"),
        (put("tensors", "book", "groups", value=5), "5 groups along axis 1"),
        (put("tensors", "book", "groups", value=0), "groups 0"),
        (put("tensors", "book", "axis", value=0), "along axis 0"),
        (put("tensors", "power", "bits", value=1), "bits 1"),
        (put("tensors", "float", "positions", value="none"), "positions 'none'"),
        (array("int:codes", None), "int:codes is missing"),
        (array("int:codes", BYTES), "int:codes has the shape"),
        (array("int:gaps", torch.zeros(3)), "int:gaps is torch.float32, not packed bytes"),
        (array("int:scale", torch.ones(2, 3)), "int:scale is torch.float32"),
        (array("int:scale", torch.ones(10, 3, dtype=torch.float16)), "int:scale is torch.float16"),
        (array("int:scale", torch.ones(30)), "int:scale"),
        (array("int:scale", torch.ones(10, 0)), "int:scale"),
        (array("affine:scale", None), "zero points without scales"),
        (array("affine:zero", None), "affine:zero is missing"),
        (array("book:codebook", torch.zeros(1, 2)), r"has the code \d, but only 2 levels"),
        (array("power:codes", torch.full((13,), 255, dtype=torch.uint8)), "code 15, but only 15 levels"),
        (array("float:values", torch.ones(3)), "float:values has the shape"),
        (array("float:values", torch.ones(3, dtype=torch.int32)), "int32 values"),
    ],
)
def test_a_file_that_contradicts_itself(
    change: Callable[[dict[str, Any], dict[str, Tensor]], None], message: str, tmp_path: Path
):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(rebuilt(change))
    with pytest.raises(FileFormatError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)


def test_a_scale_table_of_one_row_serves_all_channels():
    table = safetensors.torch.load(GOOD)["int:scale"]
    state = from_bytes(rebuilt(array("int:scale", table[:1].clone()))).state
    assert state["int"].shape == (10, 40)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "3", "{}", "[" * 100_000, '{"version": ' + "9" * 5000 + "}"])
def test_metadata_that_is_no_description(text: str):
    data = safetensors.torch.save({"a": torch.ones(2)}, metadata={METADATA_KEY: text})
    with pytest.raises(FileFormatError):
        from_bytes(data)


def test_another_safetensors_file_is_recognized(tmp_path: Path):
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "other.safetensors", metadata)
        with pytest.raises(FileFormatError, match=r"no compressed model.*load_file"):
            load(tmp_path / "other.safetensors")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_a_pickle_is_refused_and_never_run(tmp_path: Path):
    trap = tmp_path / "exploded"
    path = tmp_path / "model.safetensors"
    for write in (
        lambda: torch.save({"weight": torch.ones(2), "bomb": Bomb(trap)}, path),
        lambda: path.write_bytes(pickle.dumps(Bomb(trap))),
        lambda: path.write_bytes(pickle.dumps(Bomb(trap), protocol=0)),
    ):
        write()
        with pytest.raises(FileFormatError, match=r"model\.safetensors"):
            load(path)
        assert not trap.exists()
    pickle.loads(pickle.dumps(Bomb(trap)))
    assert trap.exists(), "the bomb must be live, or this test shows nothing"


def test_torch_save_is_named_with_the_remedy(tmp_path: Path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "model.pt")
    with pytest.raises(FileFormatError, match=r"It is a pickle.*weights_only=True"):
        load(tmp_path / "model.pt")


def test_every_truncation_is_noticed():
    for end in [*range(0, len(GOOD), 7), len(GOOD) - 1]:
        with pytest.raises(FileFormatError, match="damaged, cut off or of another kind"):
            from_bytes(GOOD[:end])
    with pytest.raises(FileFormatError):
        from_bytes(GOOD + b"\0")


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 2**62]}},
        {"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}},
        {"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {METADATA_KEY: 3}},
        [],
    ],
)
def test_a_header_of_lies(header: object):
    text = json.dumps(header).encode()
    with pytest.raises(FileFormatError):
        from_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(FileFormatError):
        from_bytes((2**63).to_bytes(8, "little") + text + bytes(8))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes):
    with pytest.raises(FileFormatError):
        from_bytes(data)


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@with_example([(0, 255)])
@settings(max_examples=400, deadline=None)
def test_flipped_bytes_give_a_file_or_the_error_and_nothing_else(flips: list[tuple[int, int]]):
    data = bytearray(GOOD)
    for place, value in flips:
        data[place] = value
    try:
        state = from_bytes(bytes(data)).state
    except FileFormatError:
        return
    assert all(isinstance(tensor, Tensor) for tensor in state.values())


@given(st.lists(st.tuples(st.integers(0, HEADER_END - 1), st.sampled_from(b'0123456789{}[]",:-abcu')), max_size=3))
@settings(max_examples=400, deadline=None)
def test_a_scribbled_header_gives_a_file_or_the_error_and_nothing_else(flips: list[tuple[int, int]]):
    data = bytearray(GOOD)
    for place, value in flips:
        data[place] = value
    try:
        loaded = from_bytes(bytes(data))
    except FileFormatError:
        return
    assert sum(np.prod(tensor.shape) for tensor in loaded.state.values()) < 10**6
