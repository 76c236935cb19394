"""What a step may use beside the workpiece: data, and someone to tell how far it is."""

from collections.abc import Callable
from dataclasses import dataclass

from compress_explorer.engine.task import Task
from compress_explorer.methods.evidence import say_nothing


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """Where methods that need more than weights get it.

    Attributes:
        task: the data; methods gather what they need on its train split. None where there are none.
        tell: called now and then with progress in words, e.g. "GPTQ: layer 3 of 20"; it may raise to stop the work.
    """

    task: Task | None = None
    tell: Callable[[str], None] = say_nothing


NO_DATA = Context()
