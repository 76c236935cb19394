"""The explorer's state: pure transitions, JSON and back, undo and redo."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress_explorer.engine.bench import WHOLE_MODEL
from compress_explorer.engine.setting import EXPLORABLE
from compress_explorer.methods.catalogue import METHODS, complete
from compress_explorer.spec.errors import CompressExplorerError, FileFormatError, ParameterError, UnknownNameError
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.widgets.history import DRAG_PAUSE, History
from compress_explorer.widgets.state import ExplorerState, first_state

FIRST = first_state("lenet-300-100")
TWO = first_state(
    "lenet-300-100", recipe=Recipe([Step("magnitude", sparsity=0.6), Step("integer", layers="fc*", bits=4)])
)


def test_the_first_state_is_complete():
    assert FIRST.recipe == Recipe(Step("magnitude", sparsity=0.5))
    assert (FIRST.step, FIRST.parameter, FIRST.layer, FIRST.split) == (0, "sparsity", WHOLE_MODEL, "test")
    assert FIRST.active == Step("magnitude", sparsity=0.5)
    given = first_state("m", "validation", Recipe(Step("integer", bits=3)))
    assert given.recipe == Recipe(complete(Step("integer", bits=3)))
    assert (given.parameter, given.split) == ("bits", "validation")
    assert first_state("m", recipe=Recipe()) == first_state("m")


def test_the_setting_is_what_the_engine_needs():
    setting = TWO.with_step(1).setting
    assert (setting.recipe, setting.step, setting.parameter) == (TWO.recipe, 1, "bits")
    assert (setting.layer, setting.split, setting.value) == (WHOLE_MODEL, "test", 4)
    assert setting.at(7).value == 7
    assert setting.at(7).family == setting.family
    assert setting.at(7).recipe.steps[0] == setting.recipe.steps[0]


# Values.


def test_a_value_moves_and_becomes_the_one_in_hand():
    moved = TWO.with_step(1).with_value("group_size", 64)
    assert dict(moved.active.values)["group_size"] == 64
    assert moved.parameter == "group_size"
    assert moved.recipe.steps[0] == TWO.recipe.steps[0]
    assert moved.active.layers == ("fc*",)


def test_a_choice_changes_but_is_not_swept():
    moved = TWO.with_step(1).with_value("scheme", "affine")
    assert dict(moved.active.values)["scheme"] == "affine"
    assert moved.parameter == "bits"


def test_values_take_their_proper_type():
    assert dict(TWO.with_step(1).with_value("bits", 5.0).active.values)["bits"] == 5
    assert isinstance(dict(TWO.with_step(1).with_value("bits", 5.0).active.values)["bits"], int)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("sparsity", 2, ParameterError), ("sparsity", "x", ParameterError), ("bits", 4, UnknownNameError)],
)
def test_a_value_that_is_not_allowed_changes_nothing(name, value, error):
    with pytest.raises(error):
        FIRST.with_value(name, value)
    assert first_state("lenet-300-100") == FIRST


# Methods and steps.


@pytest.mark.parametrize("method", [entry.name for entry in EXPLORABLE])
def test_every_method_can_be_chosen_from_every_other(method):
    for other in EXPLORABLE:
        state = FIRST.with_method(other.name).with_method(method)
        assert state.active == complete(state.active)
        assert state.active.method == method
        assert state.with_step_checked() == state


def test_values_of_the_same_name_are_carried_over_where_allowed():
    assert dict(FIRST.with_value("sparsity", 0.8).with_method("random").active.values)["sparsity"] == 0.8
    integer = FIRST.with_method("integer").with_value("bits", 1)
    assert dict(integer.with_method("binary").active.values)["bits"] == 1
    assert dict(integer.with_method("power-of-two").active.values)["bits"] == 4  # 1 is not allowed there
    grouped = FIRST.with_method("integer").with_value("granularity", "group")
    assert dict(grouped.with_method("binary").active.values)["granularity"] == "channel"


def test_the_layers_of_a_step_stay():
    assert TWO.with_step(1).with_method("binary").active.layers == ("fc*",)


def test_steps_are_added_shown_and_removed():
    added = FIRST.with_step_added("integer")
    assert [step.method for step in added.recipe] == ["magnitude", "integer"]
    assert (added.step, added.parameter) == (1, "bits")
    assert added.with_step(0).parameter == "sparsity"
    assert added.with_step_removed() == FIRST
    first_removed = added.with_step(0).with_step_removed()
    assert [step.method for step in first_removed.recipe] == ["integer"]
    assert (first_removed.step, first_removed.parameter) == (0, "bits")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda: FIRST.with_step(1), ["step=1", "1 steps", "counted from 0"]),
        (lambda: FIRST.with_step(-1), ["step=-1"]),
        (lambda: FIRST.with_step_removed(), ["only step", "another method"]),
        (lambda: replace(FIRST, recipe=Recipe()).with_step_checked(), ["at least one step", "Step('magnitude'"]),
        (lambda: replace(FIRST, parameter="bits").with_step_checked(), ["parameter='bits'", "magnitude has sparsity"]),
        (
            lambda: replace(FIRST.with_method("integer"), parameter="scheme").with_step_checked(),
            ["parameter='scheme' cannot be varied", "integer has bits, group_size"],
        ),
    ],
    ids=["step", "negative-step", "only-step", "empty", "other-parameter", "choice"],
)
def test_what_does_not_exist_cannot_be_shown(change, parts):
    with pytest.raises(ParameterError) as caught:
        change()
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("change", [FIRST.with_method, FIRST.with_step_added])
def test_an_unknown_method_suggests_the_nearest(change):
    with pytest.raises(UnknownNameError, match="Did you mean 'integer'"):
        change("intger")


def test_states_are_frozen_and_comparable():
    with pytest.raises(FrozenInstanceError):
        FIRST.step = 1  # type: ignore[misc]
    assert len({FIRST, first_state("lenet-300-100"), TWO}) == 2


# JSON.

positions = st.sampled_from([(entry.name, parameter) for entry in METHODS for parameter in entry.parameters])


@st.composite
def states(draw: st.DrawFn) -> ExplorerState:
    state = FIRST
    for _ in range(draw(st.integers(0, 4))):
        name, parameter = draw(positions)
        state = state.with_step_added(name) if draw(st.booleans()) else state.with_method(name)
        state = state.with_value(parameter.name, draw(st.sampled_from(parameter.positions())))
    return replace(state, layer=draw(st.text(max_size=5)), split=draw(st.sampled_from(["test", "validation"])))


@given(state=states())
def test_states_survive_json(state):
    assert ExplorerState.from_dict(json.loads(json.dumps(state.to_dict()))) == state


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ([], ["not an explorer's state", "list"]),
        (None, ["not an explorer's state", "NoneType"]),
        ({}, ["version None", "reads version 1"]),
        ({**FIRST.to_dict(), "version": 2}, ["version 2", "reads version 1"]),
        ({"version": 1}, ["not an explorer's state", "recipe"]),
        ({**FIRST.to_dict(), "colour": "red"}, ["not an explorer's state", "colour"]),
        ({**FIRST.to_dict(), "step": "first"}, ["step='first'", "no int"]),
        ({**FIRST.to_dict(), "model": None}, ["model=None", "no str"]),
        ({**FIRST.to_dict(), "recipe": "magnitude"}, ["not a recipe"]),
        ({**FIRST.to_dict(), "recipe": {"version": 1, "steps": [{"method": "a"}]}}, ["not a recipe"]),
    ],
)
def test_what_is_no_state_is_refused(data, parts):
    with pytest.raises(FileFormatError) as caught:
        ExplorerState.from_dict(data)
    assert isinstance(caught.value, CompressExplorerError)
    for part in parts:
        assert part in str(caught.value)


# History.


def test_undo_and_redo_go_back_and_forward():
    second, third = FIRST.with_value("sparsity", 0.6), FIRST.with_value("sparsity", 0.7)
    history: History[ExplorerState] = History()
    history = history.record(FIRST).record(second)
    state, history = history.undo(third)
    assert state == second
    state, history = history.undo(state)
    assert state == FIRST
    assert history.undo(state) == (FIRST, history)
    state, history = history.redo(state)
    state, history = history.redo(state)
    assert state == third
    assert history.redo(state) == (third, history)
    assert history.past == (FIRST, second)


def test_a_new_change_forgets_what_was_undone():
    second = FIRST.with_value("sparsity", 0.6)
    begun: History[ExplorerState] = History()
    state, history = begun.record(FIRST).undo(second)
    assert history.record(state).future == ()


def test_a_drag_is_one_step_and_an_undo_ends_it():
    states = [FIRST.with_value("sparsity", number / 10) for number in range(10)]
    near, far = DRAG_PAUSE / 2, DRAG_PAUSE * 2
    for control, pause, steps in (("sparsity", near, 1), ("sparsity", far, 4), ("", near, 4)):
        history: History[ExplorerState] = History()
        for number in range(4):
            history = history.record(states[number], control, 100 + number * pause)
        assert history.past == tuple(states[:steps]), (control, pause)
    history = history.record(states[4], "bits", 200.0).record(states[5], "sparsity", 200.1)
    assert history.past[-2:] == (states[4], states[5])  # another control
    state, history = history.undo(states[6])
    history = history.record(state, "sparsity", 200.2)
    assert history.past[-1] == state == states[5]
    assert history.future == ()


def test_the_history_is_bounded():
    history: History[ExplorerState] = History()
    for number in range(300):
        history = history.record(FIRST.with_value("sparsity", number / 300))
    assert len(history.past) == 200
    assert history.past[-1] == FIRST.with_value("sparsity", 299 / 300)


@given(moves=st.lists(st.sampled_from(["change", "undo", "redo"]), max_size=30))
def test_undo_takes_back_exactly_what_was_done(moves):
    """Against a plain list with a cursor."""
    model, cursor, count = [FIRST], 0, 0
    state = FIRST
    history: History[ExplorerState] = History()
    for move in moves:
        if move == "change":
            count += 1
            new = FIRST.with_value("sparsity", count / 100)
            state, history = new, history.record(state)
            model, cursor = [*model[: cursor + 1], new], cursor + 1
        elif move == "undo":
            state, history = history.undo(state)
            cursor = max(0, cursor - 1)
        else:
            state, history = history.redo(state)
            cursor = min(len(model) - 1, cursor + 1)
        assert state == model[cursor]
