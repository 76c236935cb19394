"""Sliders that keep every value they are given.

In the browser a slider rounds its value to its step and, because it computes in binary, reports 0.9000000000000001
where the declared position is 0.9; both it writes back. These sliders keep to the declared positions exactly, and hold
a value between two of them, or beyond the ends, when Python sets one.
"""

import math
from collections.abc import Iterable
from typing import Any

import ipywidgets
import traitlets

from compress_explorer.spec.parameter import Parameter

TOLERANCE = 1e-9
"""Relative distance below which two numbers are one value: what binary arithmetic in the browser may add."""


class ExactSlider(ipywidgets.Widget):  # ipywidgets is not typed
    """What the sliders share: the declared positions, and a value that is none of them while one is held."""

    _positions: tuple[float, ...] = ()
    _held: float | None = None
    _declared: tuple[float, float, float] = (0, 1, 1)
    _refitted = False
    # Traits of the slider that this class is mixed into.
    min: Any
    max: Any
    step: Any

    def __init__(self, parameter: Parameter, value: float, **traits: Any) -> None:
        """Makes the slider.

        Args:
            parameter: its declaration, of numbers.
            value: where it stands, not necessarily a position.
            traits: what else ipywidgets shall know.
        """
        self._positions = tuple(float(str(position)) for position in parameter.positions())
        ends = self._coordinate(self._positions[0]), self._coordinate(self._positions[-1])
        self._declared = (*ends, parameter.step)
        self._held = None if value in self._positions else value
        low, high, step = self._fitting(value)
        super().__init__(value=value, min=low, max=high, step=step, continuous_update=True, **traits)

    @traitlets.validate("value")
    def _validate_value(self, proposal: dict[str, Any]) -> float:
        """The value that is meant. Takes the place of the rule of ipywidgets, which cuts a value off at the ends."""
        value = proposal["value"]
        held = () if self._held is None else (self._held,)
        settled = _nearest(value, (*held, *self._positions))
        if not _same(settled, value):
            settled = self._moved_to(value) if "value" in self._property_lock else value
        self._held = None if settled in self._positions else settled
        self._refit(settled)
        return type(value)(settled)  # type: ignore[no-any-return]

    def _should_send_property(self, key: str, value: Any) -> bool:
        """Whether a change is sent: not when it is only rounding; bounds and step go with the value, in one message."""
        if self._refitted and key in ("min", "max", "step"):
            return False
        if self._refitted and key == "value":
            self._refitted = False
            self.send_state(["min", "max", "step", "value"])
            return False
        sent = self._property_lock.get("value")
        if key == "value" and sent is not None and _same(sent, value):
            return False
        return bool(super()._should_send_property(key, value))

    def _moved_to(self, value: float) -> float:
        """The position that a user meant: the nearest, but from a held value at least the next in that direction."""
        held = self._held
        if held is None:
            return _nearest(value, self._positions)
        ahead = [entry for entry in self._positions if (entry > held) == (value > held)]
        return _nearest(value, ahead or self._positions)

    def _refit(self, value: float) -> None:
        """Sets bounds and step for a value; the browser hears of them together with it."""
        fitting = self._fitting(value)
        if fitting != (self.min, self.max, self.step):
            self._refitted = True
            self.min, self.max, self.step = fitting

    def _fitting(self, value: float) -> tuple[float, float, float]:
        """Bounds that hold the value, never narrowed, and the step, at most the declared one, that reaches it."""
        low, high, step = self._declared
        place = self._coordinate(value)
        low -= step * max(0, math.ceil((low - place) / step))
        high = max(high, place)
        self._declared = (low, high, step)
        if value not in self._positions and place > low:
            step = (place - low) / math.ceil((place - low) / step)
        return low, high, step

    def _coordinate(self, value: float) -> float:
        """Where a value lies along the slider, in the unit of its step."""
        return value


class ExactFloatSlider(ExactSlider, ipywidgets.FloatSlider):
    """A slider for real numbers."""


class ExactIntSlider(ExactSlider, ipywidgets.IntSlider):
    """A slider for whole numbers."""

    def _fitting(self, value: float) -> tuple[int, int, int]:
        low, high, step = super()._fitting(value)
        return int(low), int(high), int(step) if step == int(step) else 1


class ExactLogSlider(ExactSlider, ipywidgets.FloatLogSlider):
    """A slider for powers of two or ten; its bounds and step are those of the exponent."""

    def __init__(self, parameter: Parameter, value: float, **traits: Any) -> None:
        """Makes the slider; see `ExactSlider`."""
        self._base = 2 if parameter.scale == "log2" else 10
        super().__init__(parameter, value, base=self._base, **traits)

    def _coordinate(self, value: float) -> float:
        return math.log2(value) if self._base == 2 else math.log10(value)


def _nearest(value: float, candidates: Iterable[float]) -> float:
    return min(candidates, key=lambda entry: abs(entry - value))


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
