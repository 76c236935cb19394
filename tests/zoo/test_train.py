"""The training script: schedule, augmentation, resumption, the files it writes."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from compress_explorer.spec.errors import CompressExplorerError
from compress_explorer.zoo import pack, train
from compress_explorer.zoo.augment import random_flip, random_shift
from compress_explorer.zoo.cards import read_card
from compress_explorer.zoo.datasets import fashion_validation_indices
from compress_explorer.zoo.training import TRAININGS

DIGITS = TRAININGS["digits-mlp"]


def images(count=50, size=6):
    return torch.randint(1, 256, (count, 2, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def shifted(image, down, right):
    result = torch.zeros_like(image)
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            if 0 <= row - down < image.shape[1] and 0 <= column - right < image.shape[2]:
                result[:, row, column] = image[:, row - down, column - right]
    return result


def test_each_image_is_shifted_within_bounds_and_every_shift_occurs():
    batch = images(300)
    found = set()
    for before, after in zip(batch, random_shift(batch, 1, torch.Generator().manual_seed(0)), strict=True):
        matches = [
            (down, right)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if torch.equal(shifted(before, down, right), after)
        ]
        assert len(matches) == 1
        found.add(matches[0])
    assert len(found) == 9


def test_about_half_of_the_images_are_mirrored():
    batch = images(400)
    after = random_flip(batch, torch.Generator().manual_seed(0))
    mirrored = [torch.equal(new, old.flip(-1)) for new, old in zip(after, batch, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(after, batch, strict=True)]
    assert all(one != other for one, other in zip(mirrored, kept, strict=True))
    assert 160 < sum(mirrored) < 240


def test_the_rate_rises_to_the_peak_and_falls_to_zero():
    training = replace(DIGITS, learning_rate=1.0, warm_up=0.25)
    rates = [train.learning_rate(training, step, 1_000) for step in range(1_000)]
    assert rates[0] == pytest.approx(0.002)
    assert rates[124] == pytest.approx(0.498)
    assert max(rates) == pytest.approx(1, abs=1e-2)
    assert np.argmax(rates) in (249, 250)
    assert rates[625] == pytest.approx(0.5, abs=2e-3)  # half-way down the cosine
    assert rates[-1] < 1e-5
    assert (np.diff(rates[250:]) < 0).all()


def test_a_resumed_training_gives_the_weights_of_one_that_never_stopped(tmp_path, monkeypatch):
    training = replace(DIGITS, epochs=3)
    data = train.training_data("digits", None)
    whole = train.fit("a", training, data, tmp_path).state_dict()

    saved = train.save_checkpoint
    calls = []

    def save_twice_then_stop(*arguments):
        calls.append(arguments)
        saved(*arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "save_checkpoint", save_twice_then_stop)
    with pytest.raises(KeyboardInterrupt):
        train.fit("b", training, data, tmp_path)
    assert (tmp_path / "b.checkpoint").exists()
    resumed = train.fit("b", training, data, tmp_path).state_dict()
    assert len(calls) == 3
    assert not (tmp_path / "b.checkpoint").exists()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    model = nn.Linear(2, 2)
    optimiser = train.optimiser_for(model, DIGITS)
    path = tmp_path / "a.checkpoint"
    train.save_checkpoint(path, model, optimiser, DIGITS, 1)
    assert train.resume(path, model, optimiser, DIGITS) == 1
    with pytest.raises(CompressExplorerError, match="another training"):
        train.resume(path, model, optimiser, replace(DIGITS, epochs=99))


def test_the_script_writes_weights_and_card(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", "digits-mlp", "--epochs", "3", "--out", str(tmp_path)])
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # the test run keeps its threads
    train.main()
    card = read_card(tmp_path / "digits-mlp.json")
    assert card.training == replace(DIGITS, epochs=3)
    assert card.command == "python -m compress_explorer.zoo.train digits-mlp --epochs 3 --out OUT"
    assert card.torch == torch.__version__
    written = json.loads((tmp_path / "digits-mlp.json").read_text())
    assert written["test_accuracy"] == card.test_correct / 500
    assert f"test {card.test_accuracy:.4f}" in capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} == {"digits-mlp.json", "digits-mlp.safetensors"}


def test_the_seed_decides_everything(tmp_path):
    training = replace(DIGITS, epochs=1)
    data = train.training_data("digits", None)
    states = [train.fit("a", replace(training, seed=seed), data, tmp_path).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(states[0]["fc1.weight"], states[1]["fc1.weight"])
    assert not torch.equal(states[0]["fc1.weight"], states[2]["fc1.weight"])


def test_fashion_without_the_full_set_says_what_to_do(tmp_path):
    for folder in (None, tmp_path):
        with pytest.raises(CompressExplorerError, match=r"fashion_mnist\.npz.*--data"):
            train.training_data("fashion", folder)


def test_fashion_trains_on_the_official_set_without_its_validation_images(tmp_path):
    # Every image of this stand-in for the official set holds its own index.
    stand_in = np.arange(60_000, dtype=np.uint32).view(np.uint8).reshape(60_000, 2, 2)
    np.savez(tmp_path / "fashion_mnist.npz", x_train=stand_in, y_train=np.zeros(60_000, np.uint8))
    images = train.training_data("fashion", tmp_path).train.images
    trained = set(images.reshape(-1, 4).view(np.uint32).ravel().tolist())
    assert set(range(60_000)) - trained == set(fashion_validation_indices().tolist())


def test_an_unknown_optimiser_is_named():
    with pytest.raises(CompressExplorerError, match=r"no optimiser 'adam'.*Did you mean 'adamw'"):
        train.optimiser_for(nn.Linear(1, 1), replace(DIGITS, optimiser="adam"))


def test_packing_writes_the_same_bytes_every_time(tmp_path):
    random = np.random.default_rng(0)
    for name in ("mnist", "fashion_mnist"):
        content = {}
        for part, count in (("train", 12_000), ("test", 100)):
            content[f"x_{part}"] = random.integers(0, 256, (count, 3, 3), dtype=np.uint8)
            content[f"y_{part}"] = (np.arange(count) % 10).astype(np.uint8)
        pack.write_npz(tmp_path / f"{name}.npz", content)
    for out in ("a", "b"):
        (tmp_path / out).mkdir()
        pack.pack(tmp_path, tmp_path / out)
    files = ["fashion-test.npz", "fashion-train.npz", "mnist-test.npz", "mnist-train.npz"]
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == files
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with np.load(tmp_path / "a" / "fashion-train.npz") as packed, np.load(tmp_path / "fashion_mnist.npz") as full:
        assert np.bincount(packed["labels"]).tolist() == [1_000] * 10
        assert np.array_equal(packed["images"], full["x_train"][packed["official_indices"]])
