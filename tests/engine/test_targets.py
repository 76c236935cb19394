"""Which layers a step treats with which values: patterns, types, and layers that are set apart."""

import pytest
import torch
from torch import nn

from compress_explorer.engine.bench import Bench
from compress_explorer.engine.compress import compress
from compress_explorer.engine.preview import preview_maps
from compress_explorer.spec.errors import ParameterError, UnknownNameError
from compress_explorer.spec.recipe import Recipe, Step


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(32, 20), nn.Linear(20, 10))


MODEL = network()


def zeros(step: Step) -> dict[str, float]:
    """The fraction of zeros of each weight tensor after a step."""
    state = compress(MODEL, step).model.state_dict()
    return {name: round(float((state[name] == 0).float().mean()), 2) for name in ("0.weight", "2.weight", "3.weight")}


def test_layers_are_named_by_their_type():
    assert zeros(Step("magnitude", layers="Linear", sparsity=0.5)) == {"0.weight": 0, "2.weight": 0.5, "3.weight": 0.5}
    assert zeros(Step("magnitude", layers="Conv*", sparsity=0.5)) == {"0.weight": 0.5, "2.weight": 0, "3.weight": 0}


def test_a_layer_is_set_and_another_left_out():
    step = Step("magnitude", sparsity=0.5, overrides={"2": {"sparsity": 0.9}, "Conv2d": None})
    assert zeros(step) == {"0.weight": 0.0, "2.weight": 0.9, "3.weight": 0.5}
    reasons = {entry.name: entry.reason for entry in compress(MODEL, step).skipped}
    assert reasons["0.weight"] == "the step leaves this layer out"


def test_a_set_layer_keeps_its_value_while_the_others_move():
    for sparsity in (0.25, 0.75):
        step = Step("magnitude", sparsity=sparsity, overrides={"3.weight": {"sparsity": 0.5}})
        assert zeros(step)["2.weight"] == pytest.approx(sparsity, abs=0.01)
        assert zeros(step)["3.weight"] == 0.5


def test_of_two_overrides_the_last_counts():
    step = Step("magnitude", sparsity=0.5, overrides={"*": {"sparsity": 0.1}, "3": {"sparsity": 0.9}})
    assert zeros(step) == {"0.weight": 0.1, "2.weight": 0.1, "3.weight": 0.9}


def test_a_global_threshold_is_taken_over_the_layers_that_share_its_values():
    step = Step("magnitude-global", sparsity=0.5, overrides={"0": None})
    apart = Step("magnitude-global", layers=["2", "3"], sparsity=0.5)
    state, expected = (compress(MODEL, entry).model.state_dict() for entry in (step, apart))
    assert all(torch.equal(state[name], expected[name]) for name in state)


def test_the_preview_knows_what_is_set_apart():
    step = Step("magnitude", sparsity=0.5, overrides={"2": {"sparsity": 0.9}, "0": None})
    bench = Bench(MODEL)
    maps = preview_maps(bench, bench.check(Recipe(step)))
    assert maps is not None
    assert set(maps) == {"2.weight", "3.weight"}
    assert maps["2.weight"].cuts[-1] > maps["3.weight"].cuts[-1] * 0.5


def test_what_is_left_out_by_one_step_may_be_treated_by_the_next():
    steps = [Step("magnitude", overrides={"0": None}), Step("integer", layers="0")]
    assert "0.weight" not in {entry.name for entry in compress(MODEL, Recipe(steps)).skipped}


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"fc9": None}, UnknownNameError, "no layer 'fc9'"),
        ({"2": {"sparsty": 0.5}}, UnknownNameError, "Did you mean 'sparsity'"),
        ({"2": {"sparsity": 2}}, ParameterError, "sparsity=2 is out of bounds"),
    ],
    ids=["layer", "parameter", "value"],
)
def test_overrides_are_checked(overrides, error, message):
    with pytest.raises(error, match=message):
        compress(MODEL, Step("magnitude", overrides=overrides))
