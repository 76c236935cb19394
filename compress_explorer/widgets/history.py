"""Undo and redo: the states that an explorer or a lab can go back and forward to."""

from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State")

MOST = 200
"""States that are kept to go back to."""

DRAG_PAUSE = 1.0
"""Changes of one control that follow each other within so many seconds are one step of undo."""


@dataclass(frozen=True)
class History(Generic[State]):
    """The states to go back and forward to.

    Attributes:
        past: older states, the oldest first.
        future: states that were undone, the nearest first.
        last: the control that made the newest change, "" for none, and when, in seconds of a steady clock.
    """

    past: tuple[State, ...] = ()
    future: tuple[State, ...] = ()
    last: tuple[str, float] = ("", 0.0)

    def record(self, state: State, control: str = "", now: float = 0.0) -> "History[State]":
        """`state` is being left for a new one: it can be gone back to, and what was undone is forgotten.

        Not so in the middle of a drag, which is undone as a whole.

        Args:
            state: what is left.
            control: by which the user changes it; "" is never a drag.
            now: seconds of a steady clock.
        """
        before, when = self.last
        if control and control == before and now - when < DRAG_PAUSE:
            return History(self.past, (), (control, now))
        return History((*self.past, state)[-MOST:], (), (control, now))

    def undo(self, state: State) -> tuple[State, "History[State]"]:
        """The state before `state`, which stays when there is none."""
        if not self.past:
            return state, self
        return self.past[-1], History(self.past[:-1], (state, *self.future))

    def redo(self, state: State) -> tuple[State, "History[State]"]:
        """The state that was undone last; `state` stays when there is none."""
        if not self.future:
            return state, self
        return self.future[0], History((*self.past, state), self.future[1:])
