"""Ready recipes: valid for every bundled network, and of the bytes that their papers' arithmetic gives."""

from dataclasses import replace

import pytest

import compress_explorer as ce
from compress_explorer.engine.task import Split
from compress_explorer.methods.ready import READY, ready
from compress_explorer.spec.errors import DataError, UnknownNameError

GENTLE = ("w8a8", "w4-groups", "post-training")
"""Those that cost next to nothing without training; what the pruning ones cost depends on the network."""


@pytest.mark.parametrize("name", [entry.name for entry in READY])
@pytest.mark.parametrize("model", ["digits-mlp", "lenet-5"])
def test_a_ready_recipe_gives_a_smaller_file_and_every_step_does_something(model, name, tmp_path):
    network, task = ce.load(model)
    recipe = ce.recipe(name, network)
    compressed = ce.compress(network, recipe, task)
    size = compressed.size()
    assert size.file == compressed.save(tmp_path / "file").stat().st_size
    assert size.ratio > 1.5
    assert [report.step.method for report in compressed.steps] == [step.method for step in recipe]
    assert not compressed.skipped or all("weight" not in entry.name for entry in compressed.skipped)
    if name in GENTLE:
        assert task.validation is not None
        few = Split(task.validation.inputs[:1000], task.validation.targets[:1000])
        difference = ce.evaluate(compressed, replace(task, validation=few), "validation").difference
        assert difference is not None
        assert difference > -0.03


def test_w8a8_quantizes_weights_and_inputs():
    network, task = ce.load("digits-mlp")
    compressed = ce.compress(network, ce.recipe("w8a8", network), task)
    layers = [name.removesuffix(".weight") for name, tensor in network.state_dict().items() if tensor.ndim == 2]
    assert {entry.name for entry in compressed.stored if entry.code is not None and entry.code.bits == 8} == {
        f"{layer}.weight" for layer in layers
    }
    assert all(
        any(name.startswith(f"{layer}.input_transform") for name in compressed.model.state_dict()) for layer in layers
    )


def test_two_of_four_are_zero():
    network, task = ce.load("digits-mlp")
    state = ce.compress(network, ce.recipe("2-4-int8", network), task).model.state_dict()
    for name, tensor in state.items():
        if name.endswith("weight") and tensor.ndim == 2 and tensor.shape[1] % 4 == 0:
            assert ((tensor.reshape(-1, 4) != 0).sum(1) <= 2).all()


def test_convolutions_are_set_apart_only_where_there_are_some():
    linear, mixed = (ready("deep-compression").make(layers) for layers in ({"Linear"}, {"Linear", "Conv2d"}))
    assert linear.steps[0].overrides == ()
    assert mixed.steps[1].overrides == (("Conv2d", (("clusters", 256),)),)


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'deep-compression'"):
        ready("deep-compresion")


def test_the_table_lists_all():
    assert list(ce.recipes()["name"]) == [entry.name for entry in READY]


def test_with_a_train_split_deep_compression_trains_in_between_and_the_coder_is_the_last(tmp_path):
    network, task = ce.load("digits-mlp")
    assert task.train is not None
    recipe = ce.recipe("deep-compression", network, task)
    assert [step.method for step in recipe] == ["magnitude", "fine-tune", "k-means", "fine-tune", "huffman"]
    # About 60,000 samples are shown, in whole epochs, but in 30 at most; a quarter of them for the codebooks.
    assert [dict(step.values).get("epochs") for step in recipe] == [None, 30, None, 7, None]
    trained = ready("deep-compression").make_trained
    assert trained is not None
    assert [dict(step.values).get("epochs") for step in trained({"Linear"}, 55_000)] == [None, 1, None, 1, None]
    without = replace(task, train=None)
    assert ce.recipe("deep-compression", network, without) == ce.recipe("deep-compression", network)
    first, last = (ce.compress(network, found, task) for found in (ce.Recipe(recipe.steps[:1]), recipe))
    assert last.size().file == last.save(tmp_path / "file").stat().st_size
    one_shot, recovered = (ce.evaluate(found, task, "validation").value for found in (first, last))
    assert recovered > one_shot + 0.2
    assert last.steps[-2].codes_kept
    assert last.steps[-2].zeros_kept == last.steps[-2].zeros_before
    with pytest.raises(DataError, match="train split"):
        ce.compress(network, recipe, without)
