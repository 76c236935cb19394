"""What accuracy comes back after compression, side by side: at once, recalibrated, fine-tuned."""

import html
import threading
from collections.abc import Callable, Iterator

import ipywidgets

from compress_explorer.engine.jobs import Jobs
from compress_explorer.figures import text
from compress_explorer.spec.recovery import Recovery, RecoveryPoint
from compress_explorer.widgets.parts import button, error_html

Recover = Callable[[Callable[[str], None], Callable[[], bool]], Recovery]
"""Takes who is told the progress and who is asked whether to stop; returns what is known by then."""

JOB = "recovery"


class RecoveryBox(ipywidgets.VBox):
    """A button, and under it the comparison that it asks for. It trains in a thread of its own."""

    def __init__(self, recover: Recover) -> None:
        """Shows the button.

        Args:
            recover: makes the comparison for what is explored at that time.
        """
        self._recover = recover
        self._lock = threading.Lock()
        self._number = 0
        self._cancelled = 0  # the newest comparison that was given up
        self._closing = False
        self.start = button(
            "medkit",
            "Measures what recalibration and a short training bring back; the recipe stays as it is",
            "ce-recover",
            self._begin,
            "What comes back?",
        )
        self.found = ipywidgets.HTML()
        self.found.add_class("ce-recovery")
        self._jobs = Jobs([JOB], lambda _name, _number, _news: None)
        super().__init__([self.start, self.found])

    def forget(self) -> None:
        """Something else is explored now: what is under way ends, and what was found is of the past."""
        self._jobs.cancel(JOB)
        with self._lock:
            self._number += 1
            self.found.value = ""

    def cancel(self) -> None:
        """Ends the comparison that is under way after the step in hand; what it found by then is shown."""
        with self._lock:
            self._cancelled = self._number

    def wait(self, timeout: float | None = 120) -> None:
        """Returns when the comparison is there.

        Raises:
            TimeoutError: when that takes longer than `timeout` seconds.
            Exception: what went wrong in it.
        """
        self._jobs.wait([JOB], timeout)

    def close(self) -> None:
        """Ends the thread and frees the widgets."""
        self._closing = True
        self._jobs.close()
        self._jobs.join()
        for child in self.children:
            child.close()
        super().close()

    def _begin(self) -> None:
        with self._lock:
            self._number += 1
            self.found.value = _words_html("begins")
        self._jobs.put(JOB, self._steps(self._number))

    def _steps(self, number: int) -> Iterator[object]:
        def stop() -> bool:
            return self._closing or number != self._number or number <= self._cancelled

        try:
            found = self._recover(lambda words: self._show(number, _words_html(words)), stop)
        except Exception as error:
            self._show(number, error_html(error))
            raise
        self._show(number, recovery_html(found))
        yield found

    def _show(self, number: int, found: str) -> None:
        """Shows something of comparison `number`, unless it is of the past."""
        with self._lock:
            if number == self._number and not self._closing:
                self.found.value = found


def recovery_html(recovery: Recovery) -> str:
    """The comparison as a table, with what it says in a sentence; escaped."""
    rows = "".join(_row_html(point) for point in recovery.points)
    head = "<tr class='ce-head'><td>accuracy</td><td>to baseline</td><td>size</td></tr>"
    table = f"<table>{head}{rows}</table>" if rows else ""
    return f"{table}<div>{html.escape(sentence(recovery))}</div>"


def sentence(recovery: Recovery) -> str:
    """What the comparison says, e.g. "Fine-tuning brings back 35.9 of the 36.1 points that were lost at once."."""
    if not recovery.complete:
        return "Cancelled: the rest is not measured."
    best = max(recovery.points[1:], key=lambda point: point.evaluation.value, default=None)
    if best is None or recovery.points[0].evaluation.difference is None:
        return ""
    lost = -recovery.points[0].evaluation.difference
    if lost <= 0:
        return "Nothing was lost at once."
    if best.gain is None or best.gain_within_noise:
        return f"{100 * lost:.2f} points were lost at once, and nothing beyond noise comes back."
    if best.gain >= lost:
        return f"{best.name} brings back all of the {100 * lost:.2f} points that were lost at once."
    return f"{best.name} brings back {100 * best.gain:.2f} of the {100 * lost:.2f} points that were lost at once."


def _row_html(point: RecoveryPoint) -> str:
    evaluation = point.evaluation
    against = "" if evaluation.difference is None else text.signed(100 * evaluation.difference)
    cells = [text.percent(evaluation.value), against, text.in_bytes(point.size.file)]
    tip = html.escape(f"{text.difference(evaluation)} {text.verdict(evaluation)}".strip(), quote=True)
    columns = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    return f"<tr><th colspan='3'>{html.escape(point.name)}</th></tr><tr title='{tip}'>{columns}</tr>"


def _words_html(words: str) -> str:
    return f"<div class='ce-progress'>{html.escape(words)} …</div>"
