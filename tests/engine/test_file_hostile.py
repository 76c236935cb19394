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
from tests.engine.hostile import check_flipped
from tests.engine.stored_examples import example, plain

GOOD = to_bytes(
    [
        example("integer", 4, 0.1, layout=Layout((10, 40)), group_size=16, name="int"),
        example("affine", 3, None, layout=Layout((4, 6)), group_size=6, name="affine"),
        example("shifted", 3, None, layout=Layout((4, 6)), group_size=6, name="shifted"),
        example("codebook", 3, 0.5, layout=Layout((6, 8, 3, 3), axis=1, groups=2), name="book"),
        example("power-of-two", 4, 1.0, layout=Layout((5, 5)), group_size=5, name="power"),
        example("signs", 1, 0.05, layout=Layout((20, 30)), name="signs"),
        example("float", 32, 0.1, layout=Layout((10, 40)), name="float"),
        example("nf4", 4, None, layout=Layout((4, 6)), group_size=3, name="nf4"),
        example("mx", 6, None, layout=Layout((4, 6)), group_size=3, name="mx"),
        example("nvfp4", 4, 0.1, layout=Layout((10, 40)), group_size=16, name="nv"),
        example("double", 4, None, layout=Layout((4, 200)), group_size=3, name="double"),
        example("vectors", 3, 0.3, layout=Layout((6, 20)), seed=3, name="vectors"),
        example("vectors", 3, None, layout=Layout((6, 20)), seed=3, name="every"),
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


def put(*path: str | int, value: object) -> Callable[[dict[str, Any], dict[str, Tensor]], None]:
    """A change of one entry of the metadata."""

    def change(content: Any, _: dict[str, Tensor]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def style(tensor: str, key: str, value: object) -> Callable[[dict[str, Any], dict[str, Tensor]], None]:
    """A change of a tensor's style."""

    def change(content: dict[str, Any], _: dict[str, Tensor]) -> None:
        content["styles"][content["tensors"][tensor][1]][key] = value

    return change


def array(name: str, value: Tensor | None) -> Callable[[dict[str, Any], dict[str, Tensor]], None]:
    """A change of one array; None takes it out."""

    def change(_: dict[str, Any], arrays: dict[str, Tensor]) -> None:
        del arrays[name]
        if value is not None:
            arrays[name] = value

    return change


def last_bytes(name: str, count: int, value: int) -> Callable[[dict[str, Any], dict[str, Tensor]], None]:
    """A change of the byte that stands `count` before an array's end."""

    def change(_: dict[str, Any], arrays: dict[str, Tensor]) -> None:
        arrays[name][-count] = value

    return change


def test_the_unchanged_file_loads():
    state = from_bytes(rebuilt(lambda *_: None)).state
    assert state.keys() == {"int", "affine", "shifted", "book", "power", "signs", "float", "bias", "tied"} | {
        "nf4",
        "mx",
        "nv",
        "double",
        "vectors",
        "every",
    }
    header = json.loads(GOOD[8:HEADER_END])
    entries = json.loads(header["__metadata__"][METADATA_KEY])["tensors"]
    assert entries["book"][2:] == ["mask"]
    assert len(entries["int"]) == len(entries["float"]) == 4
    assert len(entries["affine"]) == 2


BYTES = torch.zeros(3, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("version", value=4), "version 4; this package reads versions 1 to 3. Update"),
        (put("version", value=0), "version 0"),
        (put("version", value=True), "version True"),
        (put("version", value=2.0), "version 2.0"),
        (put("version", value=None), "version None"),
        (put("tensors", value=[]), "list of tensors"),
        (put("styles", value={}), "list of styles"),
        (put("styles", 0, value=7), "a style is missing or no mapping"),
        (put("tensors", "int", value=7), "int is described by '7'"),
        (put("tensors", "int", value=[[10, 40]]), "int is described by"),
        (put("tensors", "int", 1, value=99), "int has style '99'"),
        (put("tensors", "int", 1, value=-1), "int has style '-1'"),
        (put("tensors", "nothing", value=[[3, 1], 0]), "nothing is missing"),
        (put("recipe", value={"version": 1, "steps": 3}), "not a recipe"),
        (put("recipe", value=None), "recipe"),
        (put("aliases", value={"tied": "nothing"}), "'tied' cannot be another name of 'nothing'"),
        (put("aliases", value={"int": "affine"}), "'int' cannot be another name"),
        (put("aliases", value={"tied": 4}), "alias"),
        (put("tensors", "int", 0, value=[2**31, 2**31]), "weights cannot come out of"),
        (put("tensors", "affine", 0, value=[2**14, 2**14]), "affine needs more bytes"),
        (put("tensors", "book", 0, value=[2**14, 2**13]), "book needs more bytes"),
        (put("tensors", "int", 0, value=[10**30, 2]), "int has a size"),
        (put("tensors", "int", 0, value=[-10, -40]), "int has a size '-10'"),
        (put("tensors", "int", 0, value=[10, 40.0]), "int has a size '40.0'"),
        (put("tensors", "int", 0, value=[True, 400]), "int has a size 'True'"),
        (put("tensors", "int", 0, value=[]), "has no shape"),
        (put("tensors", "int", 0, value="10x40"), "has no shape"),
        (put("tensors", "int", 0, value=[1] * 17), "has no shape"),
        (put("tensors", "int", 0, value=[10, 50]), "int needs more bytes"),
        (put("tensors", "int", 0, value=[10, 10]), "groups of 16 in rows of 10"),
        (put("tensors", "int", 0, value=[10, 33]), "position beyond its 330 weights"),
        (put("tensors", "int", 3, value=7), "bytes too many"),
        (put("tensors", "int", 3, value=7000), "needs more bytes"),
        (put("tensors", "int", 3, value=-7), "int has a number of entries '-7'"),
        (put("tensors", "int", 3, value="7"), "int has a number of entries '7'"),
        (put("tensors", "int", 2, value=9), "int has a gap width '9'"),
        (put("tensors", "int", 2, value=["mask"]), "int has a gap width"),
        (put("tensors", "affine", value=[[4, 6], 1, "everywhere"]), "affine has positions"),
        (put("tensors", "float", value=[[10, 40], 6]), "neither codes nor positions"),
        (style("int", "bits", 9), "bits '9'"),
        (style("int", "bits", None), "bits 'None'"),
        (style("int", "bits", 3), "bytes too many"),
        (style("int", "group", 0), "group '0'"),
        (style("int", "group", 2**61), "groups of"),
        (style("int", "group", 40), "bytes too many"),
        (style("int", "offset", 10**9), "offset"),
        (style("int", "grid", "hexagonal"), "grid 'hexagonal'"),
        (style("int", "grid", {}), "grid"),
        (style("int", "grid", "codebook"), "lacks a codebook"),
        (style("int", "dtype", "int64"), "dtype 'int64'"),
        (style("int", "dtype", ["float32"]), "dtype"),
        (style("int", "scales", "row"), "scales 'row', not one of tensor, channel"),
        (style("int", "scales", ["tensor"]), "scales"),
        (style("int", "scales", "tensor"), "bytes too many"),
        (style("affine", "zero_bits", 9), "zero_bits '9'"),
        (style("affine", "zero_bits", 8), "needs more bytes"),
        (style("affine", "zero_bits", 32), "needs more bytes"),
        (style("affine", "zero_bits", 16), "zero_bits '16'"),
        (style("affine", "zero_bits", 32.0), "zero_bits '32.0'"),
        (style("affine", "scales", None), "zero points or a scale format without scales"),
        (style("shifted", "zero_bits", 8), "bytes too many"),
        (style("shifted", "zero_bits", None), "bytes too many"),
        (style("shifted", "scales", None), "zero points or a scale format without scales"),
        (style("book", "axis", 2), "axis '2'"),
        (style("book", "groups", 5), "with 5 groups"),
        (style("book", "groups", 0), "groups '0'"),
        (style("book", "axis", 0), "groups '2'"),
        (style("book", "levels", 300), "levels '300'"),
        (style("book", "levels", 9), "book needs more bytes"),
        (style("book", "codebooks", None), "lacks a codebook"),
        (style("power", "bits", 1), "bits '1'"),
        (style("nf4", "grid", "nf5"), "grid 'nf5', not one of integer,"),
        (style("nf4", "grid", "e8m0"), "grid 'e8m0'"),
        (style("nf4", "grid", "fp6-e2m3"), "bits '4'"),
        (style("nf4", "bits", 3), "bits '3'"),
        (style("nf4", "codebooks", "tensor"), "one that its grid does not use"),
        (style("nf4", "grid", "fp4"), "the code 8, which stands for no number"),
        (style("nf4", "scale_format", "e8m0"), "bytes too many"),
        (style("nf4", "scale_format", "double"), "bytes too many"),
        (style("mx", "scale_format", "e5m3"), "scale format 'e5m3', not one of e8m0, e4m3, double"),
        (style("mx", "scale_format", ["e8m0"]), "scale format"),
        (style("mx", "scale_format", {}), "scale format"),
        (style("mx", "scale_format", None), "needs more bytes"),
        (style("mx", "scale_format", "e4m3"), "mx has the scale 127, which stands for no number"),
        (style("mx", "scales", None), "scale format without scales"),
        (style("mx", "scales", "tensor"), "bytes too many"),
        (style("nv", "scale_format", "e8m0"), "bytes too many"),
        (style("double", "scale_format", "e8m0"), "double has the scale 255, which stands for no number"),
        (style("double", "group", 1), "needs more bytes"),
        (style("vectors", "dimension", 0), "dimension '0'"),
        (style("vectors", "dimension", 257), "dimension '257'"),
        (style("vectors", "dimension", None), "dimension 'None'"),
        (style("vectors", "dimension", 4.0), "dimension '4.0'"),
        (style("vectors", "dimension", 21), "vectors of 21 in rows of 20 weights"),
        (style("vectors", "dimension", 20), "needs more bytes"),
        (style("vectors", "dimension", 1), "bytes too many|needs more bytes"),
        (style("vectors", "levels", 8), "needs more bytes"),
        (style("vectors", "levels", 6), "bytes too many"),
        (style("vectors", "bits", 9), "bits '9'"),
        (style("vectors", "codebooks", "channel"), "with a codebook for each channel"),
        (style("vectors", "codebooks", None), "lacks a codebook"),
        (style("vectors", "scales", "tensor"), "vectors with scales"),
        (style("vectors", "group", 4), "with groups"),
        (style("vectors", "grid", "codebook"), "bytes too many|needs more bytes"),
        (style("int", "grid", "vectors"), "lacks a codebook"),
        (put("tensors", "every", 0, value=[2**14, 2**14]), "every needs more bytes"),
        (put("tensors", "every", 0, value=[6, 24]), "every needs more bytes"),
        (array("every", torch.full((12 + 7 * 4 * 4,), 255, dtype=torch.uint8)), "code 7, but only 7 levels"),
        (last_bytes("mx", 8, 255), "mx has the scale 255, which stands for no number"),
        (last_bytes("nv", 5, 127), "nv has the scale 127, which stands for no number"),
        (last_bytes("nv", 5, 128), "nv has the scale 128, which stands for no number"),
        (array("mx", torch.full((18 + 8,), 0b10000010, dtype=torch.uint8)), "the code 32, which stands for no number"),
        (array("int", None), "int is missing"),
        (array("int", BYTES), "int needs more bytes than the 3"),
        (array("int", torch.zeros(3)), "int is torch.float32"),
        (array("int", torch.zeros(3, 3, dtype=torch.uint8)), "not a row of bytes"),
        (array("affine", torch.tensor(3, dtype=torch.uint8)), "not a row of bytes"),
        (array("power", torch.full((13 + 20,), 255, dtype=torch.uint8)), "code 15, but only 15 levels"),
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


def test_a_code_beyond_the_codebook():
    # 432 weights of 3 bits in 16 channels: a mask, codes, and 16 books of eight levels; here, of seven.
    good = safetensors.torch.load(GOOD)["book"]
    kept = int(np.unpackbits(good[:54].numpy()).sum())
    assert len(good) == 54 + -(-kept * 3 // 8) + 16 * 8 * 4

    def change(content: dict[str, Any], arrays: dict[str, Tensor]) -> None:
        content["styles"][content["tensors"]["book"][1]]["levels"] = 7
        arrays["book"] = good[: -16 * 4].clone()

    with pytest.raises(FileFormatError, match="book has the code 7, but only 7 levels"):
        from_bytes(rebuilt(change))


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_older_version_loads(version: int):
    """It is one of today's without number formats and scale formats, or without vectors."""
    old = safetensors.torch.load(GOOD)

    def change(content: dict[str, Any], _: dict[str, Tensor]) -> None:
        content["version"] = version

    state = from_bytes(rebuilt(change)).state
    assert torch.equal(state["bias"], old["bias"])
    assert torch.equal(state["int"], from_bytes(GOOD).state["int"])


def test_constants_that_are_no_numbers_harm_nothing_else():
    """Scales of any kind may be NaN or infinite, as float32 scales may: the weights then are."""
    state = from_bytes(rebuilt(last_bytes("nv", 1, 0x7F))).state
    assert torch.equal(state["int"], from_bytes(GOOD).state["int"])
    assert state["nv"].shape == (10, 40)


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
    check_flipped(GOOD, flips)


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
