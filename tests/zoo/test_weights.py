"""Files that are damaged, foreign or dangerous."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from compress_explorer import zoo
from compress_explorer.spec.errors import CompressExplorerError
from compress_explorer.zoo import catalogue
from compress_explorer.zoo.cards import read_card
from compress_explorer.zoo.weights import load_into, save


class Bomb:
    """A pickle of it writes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def refused(model, path):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CompressExplorerError) as caught:
        load_into(model, path)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_round_trip(model, tmp_path):
    save(model, tmp_path / "a.safetensors")
    other = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    load_into(other, tmp_path / "a.safetensors")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in other.state_dict().items())


def test_a_convolution_in_channels_last_order_is_saved_as_it_is(tmp_path):
    one, other = (nn.Conv2d(3, 4, 3) for _ in range(2))
    one.weight.data = one.weight.data.contiguous(memory_format=torch.channels_last)
    save(one, tmp_path / "a.safetensors")
    load_into(other, tmp_path / "a.safetensors")
    assert torch.equal(one.weight, other.weight)


def test_missing_file(model, tmp_path):
    assert "missing" in refused(model, tmp_path / "a.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_truncated_file(model, tmp_path, keep):
    path = tmp_path / "a.safetensors"
    save(model, path)
    path.write_bytes(path.read_bytes()[:keep])
    assert "not a readable safetensors file" in refused(model, path)


@pytest.mark.parametrize("write", ["pickle", "torch.save"])
def test_a_pickle_is_named_and_not_executed(model, tmp_path, write):
    path, trace = tmp_path / "a.safetensors", tmp_path / "executed"
    if write == "pickle":
        path.write_bytes(pickle.dumps(Bomb(trace)))
    else:
        torch.save(Bomb(trace), path)
    assert "looks like a pickle" in refused(model, path)
    assert not trace.exists()


def test_missing_and_unknown_tensors_are_named(model, tmp_path):
    state = model.state_dict()
    state["2.weight"] = state.pop("0.weight")
    save_file(state, tmp_path / "a.safetensors")
    message = refused(model, tmp_path / "a.safetensors")
    assert "lacks 1 tensors, first '0.weight'" in message
    assert "1 unknown tensors, first '2.weight'" in message


@pytest.mark.parametrize(
    ("tensor", "text"),
    [(torch.zeros(3, 2), r"\(3, 2\)"), (torch.zeros(2, 3, dtype=torch.float16), "float16")],
)
def test_another_shape_or_type_is_named(model, tmp_path, tensor, text):
    save_file(model.state_dict() | {"0.weight": tensor}, tmp_path / "a.safetensors")
    with pytest.raises(CompressExplorerError, match=rf"'0.weight' is .*{text}.*not \(2, 3\) torch.float32"):
        load_into(model, tmp_path / "a.safetensors")


@pytest.fixture
def copied(tmp_path, monkeypatch):
    for suffix in ("json", "safetensors"):
        source = catalogue.FOLDER / f"digits-mlp.{suffix}"
        (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    return tmp_path


def test_a_card_naming_another_architecture_does_not_fit(copied):
    card = json.loads((copied / "digits-mlp.json").read_text())
    card["training"]["architecture"] = "lenet-5"
    (copied / "digits-mlp.json").write_text(json.dumps(card))
    with pytest.raises(CompressExplorerError, match="does not fit the architecture LeNet5"):
        zoo.load("digits-mlp")


def test_a_card_naming_no_architecture_of_the_table(copied):
    card = json.loads((copied / "digits-mlp.json").read_text())
    card["training"]["architecture"] = "os.system"
    (copied / "digits-mlp.json").write_text(json.dumps(card))
    with pytest.raises(CompressExplorerError, match=r"no architecture 'os\.system'"):
        zoo.load("digits-mlp")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "a"}'])
def test_a_damaged_card(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(CompressExplorerError, match="not a readable model card"):
        read_card(tmp_path / "a.json")
