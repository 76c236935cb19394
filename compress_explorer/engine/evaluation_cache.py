"""Evaluations that were measured before, by whatever explorer of the same model and data."""

import threading
from collections import OrderedDict
from collections.abc import Hashable

from compress_explorer.spec.evaluation import Evaluation

MOST_REMEMBERED = 20_000
"""Evaluations, of about a kilobyte each with their recipe."""


class EvaluationCache:
    """The evaluations that were asked for last. Safe to use from several threads."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        """Remembers `most` evaluations."""
        self._most, self._lock = most, threading.Lock()
        self._known: OrderedDict[Hashable, Evaluation] = OrderedDict()

    def get(self, key: Hashable) -> Evaluation | None:
        """What was put under `key`, or None."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def put(self, key: Hashable, evaluation: Evaluation) -> None:
        """Remembers an evaluation; forgets the one that was not asked for longest."""
        with self._lock:
            self._known[key] = evaluation
            self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._known.clear()

    def __len__(self) -> int:
        """How many evaluations are remembered."""
        return len(self._known)


SHARED = EvaluationCache()
"""That of all explorers of this process."""
