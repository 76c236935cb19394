"""The bundled data are the official ones, and no split shares a sample with another."""

import hashlib
import pickle
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from compress_explorer.spec.errors import CompressExplorerError
from compress_explorer.zoo import datasets, tasks

# SHA-256 of the official sets' arrays as uint8 in C order.
OFFICIAL = {
    "mnist-train": (
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    ),
    "mnist-test": (
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    ),
    "fashion-test": (
        "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    ),
}
SOURCES = {"digits": datasets.digits, "mnist": datasets.mnist, "fashion": datasets.fashion}
PARTS = ("train", "validation", "test")


@pytest.mark.parametrize("name", OFFICIAL)
def test_whole_sets_have_the_official_digests(name):
    found = datasets.bundled(name)
    assert found.images.dtype == found.labels.dtype == np.uint8
    digests = tuple(hashlib.sha256(array.tobytes()).hexdigest() for array in (found.images, found.labels))
    assert digests == OFFICIAL[name]


@pytest.mark.parametrize("name", SOURCES)
def test_splits_have_the_promised_sizes(name):
    for part in PARTS:
        found = SOURCES[name](part)
        assert len(found.images) == len(found.labels) == tasks.DEFINITIONS[name].sizes[part]


@pytest.mark.parametrize("name", SOURCES)
def test_no_image_is_in_two_splits(name):
    images = {part: {image.tobytes() for image in SOURCES[name](part).images} for part in PARTS}
    for first, second in combinations(PARTS, 2):
        assert not images[first] & images[second]


@pytest.mark.parametrize("name", SOURCES)
def test_validation_has_the_class_shares_of_what_it_was_cut_from(name):
    train, validation = (np.bincount(SOURCES[name](part).labels, minlength=10) for part in PARTS[:2])
    shares = (train + validation) / (train + validation).sum()
    assert (np.abs(validation - validation.sum() * shares) < 1).all()


def test_splits_together_are_the_whole_set():
    whole = np.sort([image.tobytes() for image in datasets.bundled("mnist-train").images])
    parts = np.sort([image.tobytes() for part in PARTS[:2] for image in datasets.mnist(part).images])
    assert np.array_equal(whole, parts)
    digits = {tuple(row) for row in load_digits().data.astype(np.uint8)}
    assert {tuple(row) for part in PARTS for row in datasets.digits(part).images} == digits


def test_fashion_train_is_balanced():
    assert np.bincount(datasets.bundled("fashion-train").labels).tolist() == [1_000] * 10


def test_fashion_networks_never_saw_a_validation_image():
    training, validation = datasets.fashion_training_indices(), datasets.fashion_validation_indices()
    assert len(training) == 58_000
    assert len(validation) == 2_000
    assert np.array_equal(np.sort(np.concatenate([training, validation])), np.arange(60_000))
    # The indices are those of the images that the task calls its validation split.
    official, images = datasets.fashion_official_indices(), datasets.bundled("fashion-train").images
    at = {index: image.tobytes() for index, image in zip(official, images, strict=True)}
    assert {at[index] for index in validation} == {image.tobytes() for image in datasets.fashion("validation").images}


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion"])
def test_tasks_give_normalised_tensors(name):
    task = tasks.task(name)
    assert len(task.classes) == 10
    for part in PARTS:
        split = task.split(part)
        assert split.inputs.dtype == torch.float32
        assert split.targets.dtype == torch.int64
        assert split.inputs.shape == (len(split), *((64,) if name == "digits" else (1, 28, 28)))
    if name != "digits":
        assert abs(float(task.test.inputs.mean())) < 0.02
        assert abs(float(task.test.inputs.std()) - 1) < 0.02


def test_a_task_can_be_pickled_before_and_after_its_data_are_loaded():
    task = tasks.task("digits")
    before = pickle.loads(pickle.dumps(task))
    assert torch.equal(before.test.inputs, task.test.inputs)
    after = pickle.loads(pickle.dumps(task))
    assert torch.equal(after.test.targets, task.test.targets)
    assert (after.name, after.classes, len(after.split("train"))) == (task.name, task.classes, 1097)


def test_normalisation_by_hand():
    one = tasks.Normalisation(255, (0.5, 0.25), (0.5, 0.25))
    images = torch.tensor([255, 0], dtype=torch.uint8).view(1, 2, 1, 1)
    assert one.apply(images).flatten().tolist() == [1.0, -1.0]


def test_an_unknown_task_suggests_the_nearest():
    with pytest.raises(CompressExplorerError, match="Did you mean 'mnist'"):
        tasks.task("minst")


def test_a_bundled_task_takes_no_folder(tmp_path):
    with pytest.raises(CompressExplorerError, match="bundled"):
        tasks.task("mnist", tmp_path)
