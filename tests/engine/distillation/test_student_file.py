"""Students in files: read back by safetensors alone, and by us; what is damaged or foreign is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import compress_explorer as ce
from compress_explorer.spec.errors import DataError, FileFormatError, ModelError
from tests.case import case
from tests.engine.distillation.networks import images, task


def designs() -> list[tuple[ce.StudentDesign, ce.Task]]:
    return [
        (ce.student(task(), width=6, depth=2), task()),
        (ce.student(task(), depth=0), task()),
        (ce.student(images(), width=3, depth=2), images()),
        (ce.student(images(), width=4, depth=3, kind="conv"), images()),
    ]


def test_a_student_comes_back_bit_by_bit_and_its_file_has_the_bytes_it_was_counted_with(tmp_path):
    for place, (design, given) in enumerate(designs()):
        with case(place):
            network = design()
            random = torch.random.get_rng_state()
            path = ce.save_student(network, design, tmp_path / f"{place}.x.safetensors", {"seed": 3, "name": "a<b"})
            assert path.stat().st_size == design.file_bytes
            plain = load_file(path)
            assert plain.keys() == network.state_dict().keys()
            assert all(torch.equal(plain[name], tensor) for name, tensor in network.state_dict().items())
            back = ce.load_student(path)
            assert torch.equal(torch.random.get_rng_state(), random)
            assert not back.training
            assert all(parameter.requires_grad for parameter in back.parameters())
            inputs = given.test.inputs
            assert torch.equal(back(inputs), network.eval()(inputs))
            assert json.loads((tmp_path / f"{place}.x.json").read_text())["about"] == {"seed": 3, "name": "a<b"}
            assert {entry.suffix for entry in tmp_path.iterdir()} == {".safetensors", ".json"}
    with pytest.raises(ModelError, match=r"another network than Linear: '0\.bias' is nothing in place of"):
        ce.save_student(nn.Linear(8, 5), designs()[0][0], tmp_path / "wrong")
    design = designs()[0][0]
    for about in ({"loss": float("nan")}, {"of": object()}):
        with pytest.raises(DataError, match="about= holds what JSON cannot"):
            ce.save_student(design(), design, tmp_path / "wrong", about)
    assert not list(tmp_path.glob("wrong*"))


def test_what_is_no_student_is_refused_with_the_remedy(tmp_path):
    design = ce.student(task(), width=6)
    path = ce.save_student(design(), design, tmp_path / "student.safetensors")
    beside = tmp_path / "student.json"
    weights, sound = path.read_bytes(), beside.read_text()

    def changed(**values: object) -> str:
        content = json.loads(sound)
        return json.dumps({**content, "design": {**content["design"], **values}})

    cases: list[tuple[Path, bytes, str]] = [
        (path, weights[:-8], "cannot be read.*damaged"),
        (path, b"PK\x03\x04 a pickle", "cannot be read.*pickles can run code"),
        (beside, b"{", "no design of a student"),
        (beside, b"[]", "no design of a student"),
        (beside, b"[" * 100_000, "no design of a student"),
        (beside, sound.replace('"version": 1', '"version": 2').encode(), "version 2"),
        (beside, changed(width=7).encode(), r"holds another network than student.json tells: '0\.bias' is \(6,\)"),
        (beside, changed(width="6").encode(), r"width='6' .* 4096\. Save"),
        (beside, changed(shape=[2**20, 2**20]).encode(), "shape="),
        (beside, changed(shape=None).encode(), "no design of a student"),
        (beside, changed(classes=-1).encode(), "classes=-1"),
        (beside, changed(kind="conv").encode(), "needs images"),
        (beside, changed(kind="os.system").encode(), "mlp, conv"),
    ]
    for place, content, words in cases:
        with case(words):
            path.write_bytes(weights)
            beside.write_text(sound)
            place.write_bytes(content)
            with pytest.raises(FileFormatError, match=words):
                ce.load_student(path)
    for place in (path, beside):
        path.write_bytes(weights)
        beside.write_text(sound)
        place.unlink()
        with pytest.raises(FileFormatError, match=rf"{place.name} is missing"):
            ce.load_student(path)
    with pytest.raises(FileFormatError, match="is a folder"):
        ce.load_student(tmp_path)


def test_a_folder_in_place_of_a_file_is_refused_before_anything_is_written(tmp_path):
    design = ce.student(task(), width=6)
    (tmp_path / "students").mkdir()
    for path in (tmp_path / "students", f"{tmp_path / 'students'}/", ""):
        with case(path), pytest.raises(IsADirectoryError, match=r"is a folder.*student\.safetensors"):
            ce.save_student(design(), design, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["students"]
