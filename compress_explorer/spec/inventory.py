"""What was not compressed, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Skipped:
    """A tensor that no step treated.

    Attributes:
        name: its name in the model's state.
        reason: why, in words for the user.
    """

    name: str
    reason: str
