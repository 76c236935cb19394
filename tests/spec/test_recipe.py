"""Steps and recipes: frozen, hashable, printable as code, readable from JSON."""

import dataclasses
import json
from keyword import iskeyword

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import compress_explorer.spec.recipe as recipe_module
from compress_explorer.spec.errors import FileFormatError, ParameterError
from compress_explorer.spec.recipe import Recipe, Step

PRUNE = Step("magnitude", sparsity=0.9)
QUANTIZE = Step("integer", layers=("fc1.*", "fc2.*"), bits=4, scheme="affine")

names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8).filter(lambda name: not iskeyword(name))
values = st.one_of(st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8))
keywords = st.dictionaries(names.filter(lambda name: name != "layers"), values, max_size=4)
steps = st.builds(
    lambda method, layers, given: Step(method, layers=layers, **given),
    names,
    st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3),
    keywords,
)
recipes = st.lists(steps, max_size=4).map(Recipe)


def test_the_order_of_keywords_does_not_matter():
    assert Step("integer", bits=4, scheme="affine") == Step("integer", scheme="affine", bits=4)
    assert hash(Step("integer", bits=4, scheme="affine")) == hash(Step("integer", scheme="affine", bits=4))


def test_one_layer_pattern_is_a_tuple_of_one():
    assert Step("integer", layers="fc1.*").layers == ("fc1.*",)
    assert Step("integer").layers == ("*",)
    assert Step("integer", layers=["a", "b"]).layers == ("a", "b")


def test_a_step_needs_layers():
    with pytest.raises(ParameterError, match="'integer' names no layers"):
        Step("integer", layers=[])


@pytest.mark.parametrize("layers", [3, None, [3], ["fc1.*", None]], ids=repr)
def test_layers_are_patterns_of_names(layers):
    with pytest.raises(ParameterError, match="must be patterns of tensor names"):
        Step("integer", layers=layers)


def test_scalars_of_numpy_and_torch_are_kept_as_plain_numbers():
    step = Step("integer", bits=np.int64(4), seed=torch.tensor(3))  # type: ignore[arg-type]
    assert step == Step("integer", bits=4, seed=3)
    assert repr(step) == "Step('integer', bits=4, seed=3)"
    assert Recipe.from_json(Recipe(step).to_json()) == Recipe(step)


def test_replace_changes_some_values_and_keeps_the_rest():
    changed = QUANTIZE.replace(bits=2)
    assert dict(changed.values) == {"bits": 2, "scheme": "affine"}
    assert changed.layers == QUANTIZE.layers
    assert dict(QUANTIZE.values)["bits"] == 4


def test_steps_and_recipes_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRUNE.method = "random"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().steps = (PRUNE,)  # type: ignore[misc]


def test_a_recipe_takes_a_step_or_several():
    assert Recipe(PRUNE) == Recipe([PRUNE]) == Recipe(step for step in (PRUNE,))
    assert list(Recipe([PRUNE, QUANTIZE])) == [PRUNE, QUANTIZE]
    assert len(Recipe()) == 0
    assert Recipe([PRUNE, QUANTIZE]) != Recipe([QUANTIZE, PRUNE])


@pytest.mark.parametrize("entry", ["magnitude", ("magnitude", {}), None, 3], ids=repr)
def test_a_recipe_is_made_of_steps_alone(entry):
    with pytest.raises(ParameterError, match=r"made of steps, not .*Use Step"):
        Recipe([entry])
    with pytest.raises(ParameterError, match=r"made of steps, not .*Use Step"):
        Recipe(entry)


def test_replacing_one_step_keeps_the_others():
    recipe = Recipe([PRUNE, QUANTIZE, PRUNE])
    changed = recipe.replace(1, Step("binary"))
    assert changed.steps == (PRUNE, Step("binary"), PRUNE)
    assert recipe.steps == (PRUNE, QUANTIZE, PRUNE)


def test_printed_forms_are_code():
    assert repr(PRUNE) == "Step('magnitude', sparsity=0.9)"
    assert repr(Recipe([PRUNE])) == "Recipe([Step('magnitude', sparsity=0.9)])"


@given(recipe=recipes)
def test_the_printed_form_makes_the_same_recipe(recipe):
    assert eval(repr(recipe), {"Recipe": Recipe, "Step": Step}) == recipe


@given(recipe=recipes)
def test_json_makes_the_same_recipe(recipe):
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert hash(Recipe.from_json(recipe.to_json())) == hash(recipe)


def test_json_is_plain_and_versioned():
    assert json.loads(Recipe([QUANTIZE]).to_json()) == {
        "version": 1,
        "steps": [{"method": "integer", "layers": ["fc1.*", "fc2.*"], "values": {"bits": 4, "scheme": "affine"}}],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a recipe but a list"),
        ("null", "not a recipe but a NoneType"),
        ("{}", "not a recipe: KeyError"),
        ('{"version": 1}', "not a recipe: KeyError"),
        ('{"version": 1, "steps": 3}', "not a recipe: TypeError"),
        ('{"version": 1, "steps": [{"method": "integer"}]}', "not a recipe: KeyError"),
        ('{"version": 1, "steps": [{"method": "integer", "layers": ["*"], "values": 3}]}', "not a recipe"),
        ('{"version": 1, "steps": ["integer"]}', "not a recipe: TypeError"),
    ],
)
def test_other_data_is_refused(text, message):
    with pytest.raises(FileFormatError, match=message):
        Recipe.from_json(text)


def test_a_newer_version_is_refused_with_the_remedy():
    data = {**Recipe([PRUNE]).to_dict(), "version": recipe_module.FORMAT_VERSION + 1}
    with pytest.raises(FileFormatError, match=r"version 2.*reads version 1.*Update the package"):
        Recipe.from_dict(data)


# Layers that are set apart.


def test_overrides_are_kept_in_order_with_their_values_sorted():
    step = Step("integer", bits=4, overrides={"fc1": {"scheme": "affine", "bits": 2}, "fc3": None})
    assert step.overrides == (("fc1", (("bits", 2), ("scheme", "affine"))), ("fc3", None))
    assert step.replace(bits=3).overrides == step.overrides
    assert hash(step) == hash(step.replace())


def test_an_override_is_set_changed_and_taken_back():
    step = Step("magnitude", layers="fc*", sparsity=0.5).with_override("fc1", {"sparsity": 0.9})
    assert step == Step("magnitude", layers="fc*", sparsity=0.5, overrides={"fc1": {"sparsity": 0.9}})
    assert step.with_override("fc1", None).overrides == (("fc1", None),)
    assert step.without_override("fc1") == Step("magnitude", layers="fc*", sparsity=0.5)
    assert step.without_override("fc2") == step


def test_overrides_survive_print_and_json():
    recipe = Recipe([Step("magnitude", sparsity=0.5, overrides={"a.*": {"sparsity": 0.9}, "b": None}), Step("integer")])
    assert eval(repr(recipe)) == recipe
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_json_of_a_step_without_overrides_does_not_mention_them():
    assert "overrides" not in Recipe(Step("magnitude")).to_json()


@pytest.mark.parametrize("overrides", [3, ["fc1"], {"fc1": 0.9}, {3: None}], ids=repr)
def test_overrides_map_patterns_to_values(overrides):
    with pytest.raises(ParameterError, match=r"overrides=.*must be a mapping from a pattern"):
        Step("magnitude", overrides=overrides)
