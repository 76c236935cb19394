"""Data in every form that users have them, and data that cannot be used."""

import random
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from compress_explorer.engine.labels import check_labels
from compress_explorer.engine.task import Split, Task, accuracy, as_split
from compress_explorer.spec.errors import DataError

INPUTS = torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(600) % 4


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(zip(INPUTS, LABELS, strict=True))


class Plain(Dataset[tuple[np.ndarray, int]]):
    """Arrays and whole numbers of Python."""

    def __len__(self) -> int:
        return 600

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return INPUTS[index].numpy(), int(LABELS[index])


FORMS = {
    "tensors": lambda: (INPUTS, LABELS),
    "list-of-two": lambda: [INPUTS, LABELS],
    "arrays": lambda: (INPUTS.numpy(), LABELS.numpy()),
    "tensor-and-array": lambda: (INPUTS, LABELS.numpy()),
    "pandas": lambda: (pd.DataFrame(INPUTS.numpy()), pd.Series(LABELS.numpy())),
    "dataset": lambda: TensorDataset(INPUTS, LABELS),
    "plain-dataset": Plain,
    "stream": Stream,
    "loader": lambda: DataLoader(TensorDataset(INPUTS, LABELS), batch_size=77),
    "split": lambda: Split(INPUTS, LABELS),
    "lazy-split": lambda: Split.lazy(lambda: (INPUTS, LABELS), 600),
    "big-endian": lambda: (INPUTS.numpy().astype(">f4"), LABELS.numpy().astype(">i8")),
    "backwards": lambda: (INPUTS.numpy()[::-1].copy()[::-1], LABELS.numpy()[::-1].copy()[::-1]),
    "with-gradient": lambda: (INPUTS.clone().requires_grad_(), LABELS),
}


@pytest.mark.parametrize("name", FORMS)
def test_data_are_taken_in_every_usual_form(name):
    split = as_split(FORMS[name](), "test")
    assert len(split) == 600
    assert torch.equal(split.inputs, INPUTS)
    assert torch.equal(split.targets, LABELS)
    assert not split.inputs.requires_grad


def test_arrays_that_may_not_be_written_are_copied():
    inputs = INPUTS.numpy().copy()
    inputs.flags.writeable = False
    assert torch.equal(as_split((inputs, LABELS), "test").inputs, INPUTS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.int32, np.int64, np.bool_])
def test_labels_of_every_whole_number_type_are_compared_rightly(dtype):
    labels = (LABELS.numpy() % 2).astype(dtype)
    split = as_split((INPUTS, labels), "test")
    outputs = torch.stack([1 - LABELS % 2, LABELS % 2], dim=1).float()
    assert bool(accuracy(outputs, split.targets).all())
    assert sorted(split.order.tolist()) == list(range(600))


def test_a_lazy_split_loads_once_and_only_when_asked():
    calls = []
    split = Split.lazy(lambda: (calls.append(1), (INPUTS, LABELS))[1], 600)  # type: ignore[func-returns-value]
    assert (len(split), repr(split), calls) == (600, "Split(600 samples)", [])
    assert split.inputs is split.inputs
    assert len(split.targets) == 600
    assert calls == [1]


@pytest.mark.parametrize("shuffle", [False, True])
def test_reading_a_loader_leaves_the_random_state_alone(shuffle):
    torch.manual_seed(5)
    states = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].tolist(), random.getstate()  # noqa: NPY002
    as_split(DataLoader(TensorDataset(INPUTS, LABELS), batch_size=100, shuffle=shuffle), "test")
    as_split(TensorDataset(INPUTS, LABELS), "test")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]


# Data that cannot be used.


class Failing(Dataset[tuple[Tensor, Tensor]]):
    def __len__(self) -> int:
        return 600

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 300:
            raise OSError("image 300 is damaged")
        return INPUTS[index], LABELS[index]


class Uneven(Dataset[tuple[Tensor, Tensor]]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(3 + index // 2), LABELS[index]


class Dicts(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"image": INPUTS[index], "label": LABELS[index], "id": LABELS[index]}


NOT_USABLE = {
    "nothing": (None, ["test=", "pair (x, y)", "not NoneType"]),
    "inputs-alone": (INPUTS, ["test=", "pair (x, y)", "not Tensor"]),
    "three": ((INPUTS, LABELS, LABELS), ["pair (x, y)", "a tuple of Tensor, Tensor, Tensor"]),
    "lists": (([1.0, 2.0], [0, 1]), ["pair (x, y)", "a tuple of list, list"]),
    "path": ("data.npz", ["pair (x, y)", "not str"]),
    "different-counts": ((INPUTS, LABELS[:-1]), ["600 inputs", "599 targets", "as many"]),
    "empty": ((INPUTS[:0], LABELS[:0]), ["empty", "(0, 3)", "at least one sample"]),
    "scalar": ((torch.tensor(1.0), LABELS[:1]), ["axis of samples", "()", "(1,)"]),
    "nan": ((INPUTS / 0 * 0, LABELS), ["NaN or infinite", "nan_to_num"]),
    "infinite": ((INPUTS.double() / 0, LABELS), ["NaN or infinite", "nan_to_num"]),
    "words": ((INPUTS, np.array(["cat", "dog"] * 300)), ["dtype <U3", "0, 1, 2"]),
    "objects": ((np.array([{}] * 600), LABELS), ["dtype object", "as numbers"]),
    "empty-dataset": (TensorDataset(INPUTS[:0], LABELS[:0]), ["test loader gave no batch", "at least one sample"]),
    "failing-loader": (DataLoader(Failing(), batch_size=100), ["test loader", "OSError", "3 batches", "image 300"]),
    "failing-dataset": (Failing(), ["test loader", "OSError", "1 batches", "image 300", "pair (x, y)"]),
    "dicts": (Dicts(), ["test loader", "ValueError", "0 batches", "pair (x, y)"]),
    "inputs-dataset": (TensorDataset(INPUTS), ["test loader", "pair (x, y)"]),
    "uneven": (DataLoader(Uneven(), batch_size=2), ["test samples differ in shape", "((3,), ())", "((4,), ())", "Pad"]),
}


@pytest.mark.parametrize("name", NOT_USABLE)
def test_data_that_cannot_be_used_say_why(name):
    data, parts = NOT_USABLE[name]
    with pytest.raises(DataError) as caught:
        as_split(data, "test")
    for part in parts:
        assert part in str(caught.value)


def test_the_cause_of_a_loaders_error_is_kept():
    with pytest.raises(DataError) as caught:
        as_split(Failing(), "train")
    assert isinstance(caught.value.__cause__, OSError)


def raising() -> tuple[Tensor, Tensor]:
    raise ConnectionError("no route")


def refusing() -> tuple[Tensor, Tensor]:
    raise DataError("Bring your own.")


@pytest.mark.parametrize(
    ("loader", "size", "parts"),
    [
        (raising, 600, ["could not be loaded", "ConnectionError: no route", "pair (inputs, targets)"]),
        (refusing, 600, ["Bring your own."]),
        (lambda: INPUTS, 600, ["could not be loaded", "pair (inputs, targets)"]),
        (lambda: (INPUTS, LABELS), 599, ["promised 599", "returned 600", "right size"]),
        (lambda: (INPUTS, LABELS[:5]), 600, ["600 inputs", "5 targets"]),
    ],
    ids=["raises", "own-error", "no-pair", "wrong-size", "different-counts"],
)
def test_a_lazy_split_that_cannot_be_loaded_says_why(loader, size, parts):
    with pytest.raises(DataError) as caught:
        _ = Split.lazy(loader, size).inputs
    for part in parts:
        assert part in str(caught.value)


def test_a_lazy_split_can_be_tried_again():
    answers = iter([raising, lambda: (INPUTS, LABELS)])
    split = Split.lazy(lambda: next(answers)(), 600)
    with pytest.raises(DataError):
        _ = split.inputs
    assert torch.equal(split.inputs, INPUTS)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"test": (INPUTS, LABELS)}, ["test= must be a Split", "a tuple of Tensor, Tensor", "test=Split(x, y)"]),
        ({"test": None}, ["test= must be a Split", "NoneType"]),
        ({"test": Split(INPUTS, LABELS), "train": INPUTS}, ["train= must be a Split", "Tensor"]),
        ({"test": Split(INPUTS, LABELS), "metric": "accuracy"}, ["metric=", "callable", "str"]),
    ],
    ids=["pair", "none", "train", "metric"],
)
def test_a_task_of_the_wrong_parts_says_which(given, parts):
    with pytest.raises(DataError) as caught:
        Task(name="t", **given)
    for part in parts:
        assert part in str(caught.value)


# Accuracy.


def test_accuracy_by_hand():
    outputs = torch.tensor([[0.1, 0.9], [2.0, -1.0], [0.0, 0.5]])
    assert accuracy(outputs, torch.tensor([1, 1, 1])).tolist() == [1.0, 0.0, 1.0]


def test_the_first_of_equal_logits_wins():
    assert accuracy(torch.zeros(2, 3), torch.tensor([0, 1])).tolist() == [1.0, 0.0]


def test_labels_at_both_ends_are_in_range():
    check_labels(torch.tensor([0, 2], dtype=torch.uint8), 3)
    with pytest.raises(DataError, match="Label 3 is out of range: the model has 3 outputs, so labels must be 0 to 2"):
        check_labels(torch.tensor([0, 3, 9], dtype=torch.uint8), 3)
