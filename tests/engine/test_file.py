"""Compressed files: exact size, exact content, nothing half-written."""

import json
import os
import stat
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compress_explorer.engine.file import from_bytes, load, load_into, save, to_bytes
from compress_explorer.engine.form import METADATA_KEY, file_bytes
from compress_explorer.engine.matrix import Layout, as_float32_matrix
from compress_explorer.engine.safetensors_size import DTYPES, plain_file_bytes
from compress_explorer.engine.size import size_report, tensor_size
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.methods import magnitude
from compress_explorer.methods.catalogue import method
from compress_explorer.methods.code import Code
from compress_explorer.spec.errors import ModelError
from compress_explorer.spec.recipe import Recipe, Step
from tests.case import case
from tests.engine.recipes import QUANTIZER_STEPS, step_id
from tests.engine.stored_examples import GRIDS, example, plain, same_bits, stored

ROOT = Path(__file__).parents[2]
RECIPE = Recipe([Step("magnitude", sparsity=0.9), Step("integer", layers=["fc*"], bits=4)])
LAYOUTS = {
    "linear": Layout((30, 41)),
    "one weight": Layout((1, 1)),
    "conv": Layout((8, 3, 5, 5)),
    "transposed": Layout((6, 5, 3, 3), axis=1),
    "grouped transposed": Layout((8, 3, 2, 2), axis=1, groups=4),
    "vector": Layout((17,)),
}


def check_round_trip(tensors: list[StoredTensor], path: Path, aliases: dict[str, str] | None = None) -> None:
    """Saves and loads; the size must be as foretold and every bit as it was."""
    aliases = aliases or {}
    assert save(path, tensors, RECIPE, aliases) == path
    report = size_report(tensors, RECIPE, aliases, {tensor.name: tensor.values for tensor in tensors})
    assert os.path.getsize(path) == file_bytes(tensors, RECIPE, aliases) == report.file
    assert sum(report.breakdown().values()) == report.file
    loaded = load(path)
    assert loaded.recipe == RECIPE
    assert loaded.aliases == aliases
    assert loaded.state.keys() == {tensor.name for tensor in tensors} | aliases.keys()
    for tensor in tensors:
        assert same_bits(loaded.state[tensor.name], tensor.values), tensor.name
    for alias, name in aliases.items():
        assert loaded.state[alias] is loaded.state[name]


@pytest.mark.parametrize("grid", [*GRIDS, "vectors"])
def test_every_bit_comes_back(grid: str, tmp_path: Path):
    widths = [(torch.float32, bits) for bits in (2, 5, 8)]
    for dtype, bits in [*widths, (torch.float16, 5), (torch.bfloat16, 2), (torch.float64, 8)]:
        tensors = [
            example(grid, bits, density, layout=layout, dtype=dtype, group_size=7, seed=bits, name=f"{key} {density}")
            for key, layout in LAYOUTS.items()
            for density in (None, 0.0, 0.03, 0.6)
        ]
        with case(dtype, bits):
            check_round_trip(tensors, tmp_path / "model.safetensors")


@given(
    grid=st.sampled_from([*GRIDS, "vectors"]),
    bits=st.integers(2, 8),
    density=st.one_of(st.none(), st.floats(0, 1)),
    rows=st.integers(1, 9),
    columns=st.integers(1, 400),
    group=st.integers(1, 500),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=150, deadline=None)
def test_any_tensor_comes_back(
    grid: str, bits: int, density: float | None, rows: int, columns: int, group: int, seed: int
):
    tensor = example(grid, bits, density, layout=Layout((rows, columns)), group_size=min(group, columns), seed=seed)
    data = to_bytes([tensor], Recipe(), {})
    assert len(data) == file_bytes([tensor], Recipe(), {})
    assert same_bits(from_bytes(data).state["weight"], tensor.values)


@pytest.mark.parametrize("sparsity", [0.0, 0.92, 1.0])
def test_the_methods_own_codes_come_back(sparsity: float, tmp_path: Path):
    torch.manual_seed(0)
    tensors = []
    for name, layout in LAYOUTS.items():
        for step in QUANTIZER_STEPS:
            key, quantize, values = step_id(step), method(step.method).apply, dict(step.values)
            weight = as_float32_matrix(torch.randn(layout.shape), layout)
            kept = magnitude.apply(weight, torch.ones_like(weight, dtype=torch.bool), sparsity=sparsity)
            code = quantize(torch.where(kept, weight, 0.0), kept, **values)
            tensors.append(stored(f"{name} {key}", layout, kept, code, torch.float32, weight))
            # Pruned after quantization: codes of pruned weights are not zero.
            code = quantize(weight, torch.ones_like(kept), **values)
            tensors.append(stored(f"{name} {key} first", layout, kept, code, torch.float32, weight))
    check_round_trip(tensors, tmp_path / "model.safetensors")


def test_every_kind_of_buffer_and_name_comes_back(tmp_path: Path):
    tensors = [plain(f"buffer of {dtype}", torch.arange(5).to(dtype)) for dtype in DTYPES]
    tensors += [
        plain("scalar", torch.tensor(7)),
        plain("empty", torch.zeros(0, 3)),
        plain("not finite", torch.tensor([float("nan"), float("-inf"), -0.0])),
        plain("a view", torch.arange(12.0).reshape(3, 4).t()),
        plain('λ "quoted" \\ \n \t \x01 \x7f 🙂', torch.ones(2)),
        example("integer", 3, 0.4, layout=Layout((4, 5)), name='ключ "\\\x02'),
    ]
    tensors += [plain(f"weight{suffix}", torch.ones(3)) for suffix in (":codes", ".scale", "")]
    check_round_trip(tensors, tmp_path / "model.safetensors")


def test_tensors_that_share_memory_are_stored_each(tmp_path: Path):
    flat = torch.arange(10.0)
    check_round_trip([plain("a", flat[:6]), plain("b", flat[4:])], tmp_path / "model.safetensors")


def test_codes_that_vanish_in_half_precision_come_back(tmp_path: Path):
    # 2^-30 is no float16: codes of non-zero levels become zeros, negative ones -0.0.
    codes = torch.arange(15, dtype=torch.uint8).repeat(1, 40)
    code = Code(codes=codes, bits=4, grid="power-of-two", scale=torch.tensor([[2.0**-22]]), group_size=codes.shape[1])
    tensor = stored("w", Layout(tuple(codes.shape)), None, code, torch.float16, torch.empty(0))
    assert torch.signbit(tensor.values[tensor.values == 0]).any()
    check_round_trip([tensor], tmp_path / "model.safetensors")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_negative_zeros_that_were_not_pruned_come_back(share: float, tmp_path: Path):
    torch.manual_seed(0)
    layout = Layout((20, 30))
    kept = torch.rand(20, 30) < share
    matrix = torch.randn(20, 30)
    matrix[:, ::3] = -0.0
    tensor = stored("w", layout, kept, None, torch.float32, matrix)
    assert torch.signbit(tensor.values[tensor.values == 0]).any()
    check_round_trip([tensor], tmp_path / "model.safetensors")


def test_aliases_are_stored_once(tmp_path: Path):
    weight = example("integer", 4, 0.1, layout=Layout((20, 30)), name="embedding.weight")
    check_round_trip([weight], tmp_path / "tied.safetensors", {"head.weight": "embedding.weight"})
    alone = file_bytes([weight], RECIPE, {})
    assert file_bytes([weight], RECIPE, {"head.weight": "embedding.weight"}) - alone < 80


def test_the_file_holds_what_its_description_says(tmp_path: Path):
    """Reads a file with safetensors, JSON and Python's whole numbers alone."""
    path = tmp_path / "model.safetensors"
    tensor = example("integer", 5, 0.05, layout=Layout((4, 500)), group_size=500)
    save(path, [tensor], RECIPE, {})
    with safetensors.safe_open(path, framework="pt") as file:
        described = json.loads(file.metadata()[METADATA_KEY])
        data = bytes(file.get_tensor("weight").tolist())
    shape, style, width, entries = described["tensors"]["weight"]
    assert described["version"] == 3
    assert Recipe.from_dict(described["recipe"]) == RECIPE
    assert described["styles"][style] == {
        "dtype": "float32", "grid": "integer", "bits": 5, "offset": -15, "scales": "channel"
    }  # fmt: skip

    def numbers(start: int, bits: int) -> tuple[list[int], int]:
        end = start + -(-entries * bits // 8)
        digits = f"{int.from_bytes(data[start:end], 'big'):0{8 * (end - start)}b}"
        return [int(digits[bits * place : bits * (place + 1)], 2) for place in range(entries)], end

    gaps, start = numbers(0, width)
    codes, start = numbers(start, 5)
    scales = struct.unpack("<4f", data[start:])
    values, place = [0.0] * 2000, -1
    for gap, code in zip(gaps, codes, strict=True):
        place += gap + 1
        values[place] = (code - 15) * scales[place // 500]
    assert torch.tensor(values).reshape(shape).tolist() == tensor.values.tolist()


def test_a_header_grows_by_little_for_every_tensor():
    tensors = [
        example("affine", 4, 0.1, layout=Layout((16, 160)), name=f"layers.{place}.weight") for place in range(10, 30)
    ]
    nine, ten = (file_bytes(tensors[:count], RECIPE, {}) for count in (9, 10))
    payload = tensor_size(tensors[9]).bytes()
    assert ten - nine - payload < 140


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 12), max_size=3)),
        max_size=8,
    )
)
@settings(deadline=None)
def test_the_baselines_file_is_foretold_exactly(state: dict[str, tuple[torch.dtype, list[int]]]):
    tensors = {name: torch.zeros(shape, dtype=dtype) for name, (dtype, shape) in state.items()}
    assert plain_file_bytes(tensors) == len(safetensors.torch.save(tensors))


def test_a_dtype_without_a_place_in_the_format_is_named():
    with pytest.raises(ModelError, match=r"phase is torch\.complex128.*Convert"):
        file_bytes([plain("phase", torch.ones(2, dtype=torch.complex128))], Recipe(), {})


@pytest.mark.parametrize("first_byte", [0x80, 0x50])
def test_a_file_whose_length_looks_like_a_pickles_start_loads(first_byte: int, tmp_path: Path):
    # The first byte is the lowest of the header's length.
    for padding in range(0, 256, 8):
        tensor = plain("w" * (padding + 1), torch.ones(2))
        data = to_bytes([tensor], RECIPE, {})
        if data[0] == first_byte:
            break
    assert data[0] == first_byte
    check_round_trip([tensor], tmp_path / "model.safetensors")


def test_values_that_are_not_those_of_the_codes_are_refused(tmp_path: Path):
    good = example("integer", 4, None, layout=Layout((4, 4)))
    bad = StoredTensor(name="w", values=good.values + 1, layout=good.layout, code=good.code)
    with pytest.raises(ModelError, match="w would be read back"):
        save(tmp_path / "model.safetensors", [bad], Recipe(), {})
    assert good.code is not None
    worse = StoredTensor(
        name="w", values=good.values, layout=good.layout, code=replace(good.code, scale=torch.ones(4, 3))
    )
    with pytest.raises(ModelError, match="contradict themselves"):
        save(tmp_path / "model.safetensors", [worse], Recipe(), {})
    assert list(tmp_path.iterdir()) == []


def some_bytes() -> bytes:
    weights = [example("affine", 3, 0.1, layout=Layout((9, 40)), name=name) for name in "ba"]
    return to_bytes([*weights, plain("c", torch.ones(2))], RECIPE, {"d": "c"})


def test_equal_models_give_equal_files_in_every_process():
    # Another process has other hash seeds.
    script = "import sys; from tests.engine import test_file; sys.stdout.buffer.write(test_file.some_bytes())"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, cwd=ROOT)
    assert other.stdout == some_bytes()


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "model.safetensors"
    save(path, [plain("a", torch.ones(3))], RECIPE, {})
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(path, [plain("a", torch.zeros(3))], RECIPE, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saving_onto_a_folder_leaves_nothing_behind(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        save(folder, [plain("a", torch.ones(3))], RECIPE, {})
    assert list(tmp_path.iterdir()) == [folder]
    file = tmp_path / "file"
    file.touch()
    for path, kind in ((tmp_path / "missing" / "model", FileNotFoundError), (file / "model", OSError)):
        with pytest.raises(kind, match=r"Cannot be written: .*Pass a path in a folder that is there") as caught:
            save(path, [plain("a", torch.ones(3))], RECIPE, {})
        assert caught.value.filename == str(path), "the path that was given, not that of a draft"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_file_is_as_readable_as_any_other(tmp_path: Path):
    other = tmp_path / "other"
    other.touch()
    path = save(tmp_path / "model.safetensors", [plain("a", torch.ones(3))], RECIPE, {})
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


class Tied(nn.Module):
    """An embedding whose weight is also the head's, with a buffer."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, width)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, 10)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.embedding(tokens)))


def saved_tied(path: Path) -> dict[str, Tensor]:
    """Saves a Tied with a quantized, pruned weight; returns the state that it should have when loaded."""
    state = Tied().state_dict()
    weight = example("integer", 4, 0.5, layout=Layout((10, 6)), name="embedding.weight")
    state["embedding.weight"] = state["head.weight"] = weight.values
    rest = [plain(name, tensor) for name, tensor in state.items() if name not in {"embedding.weight", "head.weight"}]
    save(path, [weight, *rest], RECIPE, {"head.weight": "embedding.weight"})
    return state


def test_loading_into_a_model_gives_a_copy_that_computes_the_same(tmp_path: Path):
    state = saved_tied(tmp_path / "tied.safetensors")
    model = Tied().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loaded = load_into(tmp_path / "tied.safetensors", model)
    assert all(same_bits(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert isinstance(loaded, Tied)
    assert loaded.head.weight is loaded.embedding.weight
    assert all(same_bits(loaded.state_dict()[name], tensor) for name, tensor in state.items())
    expected = Tied().eval()
    expected.load_state_dict(state)
    tokens = torch.arange(10)
    assert torch.equal(loaded(tokens), expected(tokens))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(6, 10), r"holds no bias, weight\..*Pass a model of the architecture"),
        (Tied(width=7), r"is \(10, 6\) in the file and \(10, 7\) in the model"),
        (Tied().double(), r"torch\.float32 in the file and torch\.float64 in the model"),
        (nn.Sequential(), r"the model has no embedding\.weight, .* \.\.\."),
    ],
)
def test_loading_into_another_architecture_is_refused(model: nn.Module, message: str, tmp_path: Path):
    saved_tied(tmp_path / "tied.safetensors")
    with pytest.raises(ModelError, match=message) as error:
        load_into(tmp_path / "tied.safetensors", model)
    assert "tied.safetensors" in str(error.value)
