"""Every bundled network does what its card says."""

import os
import subprocess
import sys

import pytest
import torch

from compress_explorer import zoo
from compress_explorer.spec.errors import CompressExplorerError
from compress_explorer.zoo import catalogue
from compress_explorer.zoo.networks import ARCHITECTURES, LeNet300100
from compress_explorer.zoo.training import TRAININGS

THRESHOLDS = {
    "digits-mlp": 0.96,
    "lenet-300-100": 0.982,
    "lenet-5": 0.991,
    "resnet-fashion": 0.92,
    "depthwise-fashion": 0.91,
    "vit-fashion": 0.88,
    "resnet20-cifar10": 0.90,
}
TRAIN_SIZES = {"digits": 1_097, "mnist": 55_000, "fashion": 58_000, "cifar10": 45_000}
OFFLINE = [name for name in zoo.names() if TRAININGS[name].data != "cifar10"]


@torch.inference_mode()
def count_correct(model, split):
    outputs = torch.cat([model(inputs) for inputs in split.inputs.split(500)])
    return int((outputs.argmax(1) == split.targets).sum())


@pytest.mark.parametrize("name", OFFLINE)
def test_fresh_evaluation_equals_the_card(name):
    model, task = zoo.load(name)
    card = zoo.card(name)
    assert count_correct(model, task.test) == card.test_correct
    assert count_correct(model, task.split("validation")) == card.validation_correct


@pytest.mark.parametrize("name", zoo.names())
def test_card_is_true_to_the_network(name):
    card = zoo.card(name)
    model, task = zoo.load(name)
    assert card.name == name
    assert card.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert card.training == TRAININGS[name]
    assert card.train_size == TRAIN_SIZES[card.training.data]
    assert (card.validation_size, card.test_size) == (len(task.split("validation")), len(task.test))
    assert card.test_accuracy >= THRESHOLDS[name]
    assert card.command.startswith(f"python -m compress_explorer.zoo.train {name}")


@pytest.mark.parametrize("name", zoo.names())
def test_networks_are_in_evaluation_mode_and_independent_of_each_other(name):
    first, _ = zoo.load(name)
    second, _ = zoo.load(name)
    assert not any(module.training for module in first.modules())
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    assert all(bool(parameter.any()) for parameter in second.parameters())


def test_known_sizes():
    assert zoo.card("lenet-300-100").parameters == 266_610
    assert zoo.card("lenet-5").parameters == 431_080
    weights = sum(p.numel() for p in zoo.load("lenet-5")[0].parameters() if p.ndim > 1)
    assert weights == 430_500


def test_every_file_belongs_to_a_network():
    expected = {f"{name}.{suffix}" for name in zoo.names() for suffix in ("json", "safetensors")}
    expected |= {f"{name}.initial.safetensors" for name in zoo.names() if TRAININGS[name].keep_initial}
    assert {file.name for file in catalogue.FOLDER.iterdir() if file.suffix in (".json", ".safetensors")} == expected


def test_loading_leaves_the_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    zoo.load("lenet-300-100")
    assert torch.equal(torch.rand(3), expected)


def test_initial_weights_are_those_of_the_seed_and_not_the_trained_ones():
    initial, trained = zoo.load_initial("lenet-300-100").state_dict(), zoo.load("lenet-300-100")[0].state_dict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TRAININGS["lenet-300-100"].seed)
        fresh = LeNet300100().state_dict()
    assert initial.keys() == trained.keys()
    for name in initial:
        assert torch.equal(initial[name], fresh[name])
        assert not torch.equal(initial[name], trained[name])


def test_initial_weights_that_were_not_kept():
    with pytest.raises(CompressExplorerError, match="were not kept"):
        zoo.load_initial("lenet-5")


@pytest.mark.parametrize("function", [zoo.load, zoo.card, zoo.load_initial])
def test_an_unknown_name_suggests_the_nearest(function):
    with pytest.raises(CompressExplorerError, match=r"no model 'lenet5'.*Did you mean 'lenet-5'"):
        function("lenet5")


def test_every_training_has_its_architecture():
    assert {training.architecture for training in TRAININGS.values()} == set(ARCHITECTURES)


def test_opening_a_network_is_offline_and_decodes_only_what_is_used():
    script = """
import socket
def refuse(*_):
    raise AssertionError("the network was used")
socket.socket.connect = socket.getaddrinfo = refuse
from compress_explorer import zoo
from compress_explorer.zoo import datasets
for name in zoo.names():
    zoo.load(name)
assert datasets.bundled.cache_info().currsize == 0, "data were decoded for nothing"
_, task = zoo.load("lenet-300-100")
assert task.test.inputs.shape == (10_000, 1, 28, 28)
assert datasets.bundled.cache_info().currsize == 1, "more than the test split was decoded"
"""
    environment = {key: value for key, value in os.environ.items() if key != "COMPRESS_EXPLORER_DATA"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=120)
