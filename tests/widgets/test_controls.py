import ipywidgets
import pytest

from compress_explorer.methods import catalogue
from compress_explorer.spec.parameter import Parameter
from compress_explorer.widgets.controls import control
from tests.figures.synthetic import BITS, SPARSITY
from tests.widgets.fake_comm import recorded

GROUP_SIZE = Parameter(
    name="group_size",
    label="Group size",
    kind="integer",
    default=128,
    minimum=1,
    soft_minimum=32,
    soft_maximum=256,
    scale="log2",
    unit="weights",
    help="How many weights share a scale.",
)
SCHEME = Parameter(name="scheme", label="Scheme", kind="choice", default="a", choices=("a", "b"), help="Which.")
SEED = Parameter(
    name="seed", label="Seed", kind="integer", default=0, minimum=0, maximum=2**31 - 1, soft_maximum=20, help="Which."
)


def from_browser(widget: ipywidgets.Widget, value: object) -> None:
    """What arrives when the user moves the control."""
    widget.set_state({"value": value})


@pytest.mark.parametrize("parameter", [entry for method in catalogue.METHODS for entry in method.parameters])
def test_every_declared_parameter_has_a_control_that_holds_its_positions(parameter):
    widget = control(parameter, parameter.default)
    assert widget.value == parameter.default
    assert widget.description.startswith(parameter.label)
    assert widget.tooltip == parameter.help
    assert f"ce-param-{parameter.name}" in widget._dom_classes
    for position in parameter.positions():
        widget.value = position
        assert widget.value == position


@pytest.mark.parametrize(
    ("parameter", "kind"),
    [
        (SPARSITY, ipywidgets.FloatSlider),
        (BITS, ipywidgets.IntSlider),
        (GROUP_SIZE, ipywidgets.FloatLogSlider),
        (SCHEME, ipywidgets.Dropdown),
        (SEED, ipywidgets.BoundedIntText),
    ],
)
def test_the_declaration_decides_on_the_control(parameter, kind):
    assert isinstance(control(parameter, parameter.default), kind)


def test_a_slider_over_powers_of_ten_holds_what_the_browser_makes_of_its_exponents():
    rate = catalogue.method("fine-tune").parameter("learning_rate")
    slider = control(rate, 0.001)
    assert (slider.base, slider.min, slider.max, slider.step) == (10, -5, -1, 0.25)
    from_browser(slider, 10**-2.75)
    assert slider.value == 0.00177827941
    slider.value = 0.002  # between two positions: held
    assert slider.value == 0.002
    from_browser(slider, 10**-2.5)
    assert slider.value == 0.00316227766
    with recorded() as messages:
        slider = control(rate, 0.001)
        messages.clear()
        for step in range(17):
            from_browser(slider, 10 ** (-5 + step / 4))
            assert slider.value == rate.positions()[step]
        assert [data for data, _ in messages if data["method"] == "update"] == []


def test_sliders_follow_the_hand():
    slider = control(SPARSITY, 0.9)
    assert slider.continuous_update
    assert (slider.min, slider.max, slider.step) == (0, 0.99, 0.01)
    assert slider.readout_format == ".1%"


def test_units_are_said_once():
    assert control(SPARSITY, 0.9).description == "Sparsity"
    assert control(BITS, 4).description == "Bit width"
    assert control(GROUP_SIZE, 128).description == "Group size (weights)"


def test_a_browsers_rounding_is_not_a_value():
    assert len(SPARSITY.positions()) == 100
    for index, position in enumerate(SPARSITY.positions()):
        slider = control(SPARSITY, 0.0)
        from_browser(slider, index * 0.01)  # e.g. 0.29 arrives as 0.29000000000000004
        assert slider.value == position


def test_rounding_is_not_answered():
    with recorded() as messages:
        slider = control(SPARSITY, 0.5)
        messages.clear()
        from_browser(slider, 0.29000000000000004)
        assert slider.value == 0.29
        assert [data for data, _ in messages if data["method"] == "update"] == []


@pytest.mark.parametrize("value", [0.905, 0.123456789, 1 / 3, 0.9901, 1.0, 0.0])
def test_python_sets_any_allowed_value(value):
    slider = control(SPARSITY, 0.5)
    slider.value = value
    assert slider.value == value
    assert slider.min <= value <= slider.max
    # What the browser makes of it: the nearest point of the grid from `min` by `step`.
    grid = slider.min + round((value - slider.min) / slider.step) * slider.step
    assert grid == pytest.approx(value, rel=1e-12, abs=1e-12)
    from_browser(slider, grid)
    assert slider.value == value


@pytest.mark.parametrize("value", [0.905, 0.9951])
def test_a_control_opens_on_any_allowed_value(value):
    slider = control(SPARSITY, value)
    assert slider.value == value
    assert slider.max >= value


def test_bounds_step_and_value_travel_together():
    with recorded() as messages:
        slider = control(SPARSITY, 0.5)
        messages.clear()
        slider.value = 0.995
        states = [data["state"] for data, _ in messages if data["method"] == "update"]
        assert len(states) == 1
        assert states[0].keys() == {"min", "max", "step", "value"}
        assert states[0]["value"] == states[0]["max"] == 0.995


def test_a_move_from_between_two_positions_ends_on_the_next_one():
    slider = control(SPARSITY, 0.905)
    from_browser(slider, 0.905 + slider.step)
    assert slider.value == 0.91
    assert slider.step == 0.01
    slider.value = 0.905
    from_browser(slider, 0.905 - slider.step)
    assert slider.value == 0.9
    slider.value = 0.905
    from_browser(slider, 0.4321)
    assert slider.value == 0.43


def test_powers_of_two_and_what_lies_between():
    slider = control(GROUP_SIZE, 128)
    assert slider.base == 2
    assert (slider.min, slider.max) == (5, 8)
    slider.value = 96
    assert slider.value == 96
    from_browser(slider, 96.00000000000001)
    assert slider.value == 96
    slider.value = 1
    assert (slider.value, slider.min) == (1, 0)
    from_browser(slider, 64.00000000000001)
    assert slider.value == 64


def test_whole_numbers_stay_whole():
    slider = control(BITS, 4)
    from_browser(slider, 7)
    assert slider.value == 7
    assert type(slider.value) is int
    assert type(control(SEED, 12345).value) is int


def test_observers_hear_one_value_a_move():
    slider = control(SPARSITY, 0.5)
    heard = []
    slider.observe(lambda change: heard.append(change["new"]), "value")
    for value in (0.51, 0.52, 0.9051):
        slider.value = value
    assert heard == [0.51, 0.52, 0.9051]
