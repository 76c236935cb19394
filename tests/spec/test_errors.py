"""Errors that name the thing, the value and the remedy."""

import inspect

import pytest

from compress_explorer.spec import errors
from compress_explorer.spec.errors import CompressExplorerError, UnknownNameError, nearest, unknown

METHODS = ["random", "magnitude", "magnitude-global", "integer", "power-of-two", "binary"]


def test_every_error_is_a_value_error_of_the_package():
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert len(kinds) == 7
    assert all(issubclass(kind, CompressExplorerError) and issubclass(kind, ValueError) for kind in kinds)
    assert all(inspect.getdoc(kind) for kind in kinds)


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("magnitud", "magnitude"),
        ("Magnitude", "magnitude"),
        ("INTEGER", "integer"),
        ("int", "integer"),
        ("magnitude_global", "magnitude-global"),
        ("power of two", "power-of-two"),
        ("bianry", "binary"),
        ("distillation", None),
        ("", None),
    ],
)
def test_the_nearest_name(name, close):
    assert nearest(name, METHODS) == close


def test_nothing_is_near_among_nothing():
    assert nearest("a", []) is None


def test_an_unknown_name_suggests_and_lists():
    error = unknown("method", "magnitud", METHODS)
    assert isinstance(error, UnknownNameError)
    assert str(error) == (
        "There is no method 'magnitud'. Did you mean 'magnitude'? "
        "Known: binary, integer, magnitude, magnitude-global, power-of-two, random."
    )


def test_without_a_near_name_it_lists_alone():
    assert str(unknown("split", "x", ["test"])) == "There is no split 'x'. Known: test."
    assert str(unknown("split", "x", [])) == "There is no split 'x'. Known: none."


def test_long_lists_are_cut():
    text = str(unknown("layer", "zzz", [f"layer{number:03}" for number in range(100)]))
    assert text.endswith("layer029, ....")
    assert "layer030" not in text


@pytest.mark.parametrize("name", [None, 3, ("a",), b"test"])
def test_what_is_no_name_is_unknown_too(name):
    assert repr(name) in str(unknown("layer", name, ["3.weight"]))
