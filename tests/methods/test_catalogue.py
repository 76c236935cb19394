"""The catalogue: each declaration against its function, and the look-up by name."""

import inspect

import pytest

from compress_explorer.methods.catalogue import METHODS, complete, method, methods_table
from compress_explorer.spec.errors import ParameterError, UnknownNameError
from compress_explorer.spec.recipe import Step

every_method = pytest.mark.parametrize("entry", METHODS, ids=lambda entry: entry.name)


def keywords(function) -> dict[str, object]:
    """The keyword-only parameters of a function and their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {entry.name: entry.default for entry in parameters if entry.kind is entry.KEYWORD_ONLY}


@every_method
def test_functions_take_what_is_declared_with_the_same_defaults(entry):
    declared = {parameter.name: parameter.default for parameter in entry.parameters if parameter.name != "samples"}
    assert keywords(entry.apply) == declared
    if entry.preview is not None:
        assert keywords(entry.preview) == declared


@every_method
def test_functions_take_weights_and_mask_by_position(entry):
    positional = [
        parameter.name
        for parameter in inspect.signature(entry.apply).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    known = {"nothing": [], "inputs": ["statistics"], "gradients": ["statistics"]}.get(entry.needs, [entry.needs])
    assert positional == ["weight" if entry.scope == "tensor" else "weights", "kept", *known]


@every_method
def test_every_word_that_a_user_reads_is_there(entry):
    assert entry.apply.__doc__
    for text in (entry.name, entry.label, entry.family, entry.summary, entry.formula, entry.source):
        assert text.strip()
    for parameter in entry.parameters:
        assert parameter.label.strip()
        assert parameter.help.endswith(".")


@every_method
def test_defaults_and_slider_positions_are_allowed(entry):
    for parameter in entry.parameters:
        assert parameter.validate(parameter.default) == parameter.default
        positions = parameter.positions()
        assert len(positions) >= 2
        assert len(set(positions)) == len(positions)
        assert all(parameter.validate(position) == position for position in positions)
        if parameter.name != "seed":
            assert parameter.default in positions


@every_method
def test_conditions_name_another_choice_of_the_method(entry):
    for parameter in entry.parameters:
        if parameter.when is not None:
            other, values = parameter.when
            assert set(values) <= set(entry.parameter(other).choices)


def test_names_are_unique():
    assert len({entry.name for entry in METHODS}) == len(METHODS)


def test_methods_are_found_by_name():
    assert all(method(entry.name) is entry for entry in METHODS)


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no method 'magnitud'.*Did you mean 'magnitude'"):
        method("magnitud")


def test_complete_fills_in_defaults_and_keeps_what_is_given():
    step = complete(Step("integer", layers="fc1.*", bits=4))
    assert step.layers == ("fc1.*",)
    assert dict(step.values) == {"bits": 4, "granularity": "tensor", "group_size": 128, "scheme": "symmetric"}
    assert complete(step) == step


def test_complete_makes_steps_equal_that_do_the_same():
    assert complete(Step("magnitude")) == complete(Step("magnitude", sparsity=0.5))
    assert complete(Step("random", sparsity=1, seed=3.0)) == complete(Step("random", sparsity=1.0, seed=3))


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (Step("intger"), UnknownNameError, "Did you mean 'integer'"),
        (Step("integer", bit=4), UnknownNameError, "Did you mean 'bits'"),
        (Step("integer", bits=9), ParameterError, "bits=9 is out of bounds. Allowed: 1 to 8"),
        (Step("integer", bits=2.5), ParameterError, "bits must be a whole number"),
        (Step("integer", scheme="afine"), ParameterError, "Did you mean 'affine'"),
        (Step("integer", group_size=0), ParameterError, "1 or more"),
        (Step("power-of-two", bits=1), ParameterError, "2 to 8"),
        (Step("power-of-two", granularity="group"), ParameterError, "tensor, channel"),
        (Step("magnitude", sparsity=1.5), ParameterError, "0 to 1"),
        (Step("magnitude", sparsity=float("nan")), ParameterError, "must be a number"),
        (Step("magnitude", sparsity="half"), ParameterError, "must be a number"),
        (Step("random", seed=-1), ParameterError, "out of bounds"),
    ],
    ids=str,
)
def test_complete_refuses_what_is_not_allowed(step, error, message):
    with pytest.raises(error, match=message):
        complete(step)


def test_the_table_has_a_row_for_every_method():
    table = methods_table()
    assert list(table["name"]) == [entry.name for entry in METHODS]
    assert list(table.columns) == ["name", "label", "family", "summary", "parameters", "formula", "source"]
    row = table.set_index("name").loc["power-of-two"]
    assert row["parameters"] == "bits: 2 to 8 (default 4); granularity: tensor, channel (default tensor)"
