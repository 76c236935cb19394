"""The live engine: one worker thread that answers the newest request first and fills the curve when idle."""

import atexit
import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import Literal

from torch import nn

from compress_explorer.engine.bench import Bench
from compress_explorer.engine.context import Context
from compress_explorer.engine.device import Device
from compress_explorer.engine.evaluation_cache import SHARED, EvaluationCache
from compress_explorer.engine.film import Film, curve_order
from compress_explorer.engine.measurements import UNCOMPRESSED, Measurements
from compress_explorer.engine.requests import Requests
from compress_explorer.engine.setting import Setting
from compress_explorer.engine.task import Task
from compress_explorer.engine.update import State, Update
from compress_explorer.spec.report import StepReport

FIRST_LOOK = 1024
"""Samples of the curve's first pass; the second pass makes every point exact."""

MOST_RESTARTS = 3
"""How often in a row a worker that is ended takes up its work again."""

ITSELF_ALONE = "the curve is not trained"
"""The status where each point of the curve is a training of its own: only the settings that are chosen are."""

BETWEEN_WORDS = 0.1
"""Seconds without news before a word on a method's progress: more often nobody can read them."""

QUIET = 1.0
"""The same while the rest of the curve is filled, which tells of every point."""


DRAW_FIRST = 0.05
COUNTING_TIME = 1e-8
"""Before weights are counted the processors are left to the page, which draws a preview: for about as long as counting
takes, `COUNTING_TIME` seconds a weight, and `DRAW_FIRST` seconds at most."""

COUNTING = "counting the weights"
"""Said while previews are shown, until the setting's own frame is exact."""


class Superseded(Exception):  # noqa: N818 -- a signal inside this module, not an error
    """A newer request arrived, or the engine was cancelled or closed."""


_OPEN: "weakref.WeakSet[LiveEngine]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Ends every worker before the interpreter does: a thread inside torch would abort it."""
    for engine in list(_OPEN):
        engine.close()
        engine.join()


class LiveEngine:
    """Answers settings of one model and task, newest first.

    `listener` is called from the worker thread with each `Update`, in order. A request's updates end when a newer one
    is made, but for one that may be on its way then: a listener drops those whose number is not the newest. What they
    said of the curve is told again.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        listener: Callable[[Update], None],
        cache: EvaluationCache = SHARED,
        device: Device = "auto",
    ) -> None:
        """Opens `model` and starts the worker.

        Args:
            model: it is not changed.
            task: the data and the metric.
            listener: told every update, in the worker's thread.
            cache: where evaluations are remembered.
            device: where to measure; "auto": on the GPU when there is one.

        Raises:
            ModelError: when the model cannot be compressed.
            ParameterError: when there is no such device.
        """
        # `before`: bytes of each weight tensor in the uncompressed file, in the model's order.
        self.task = task
        self.bench = Bench(model, Context(task=task, tell=self._tell_progress))
        uncompressed = self.bench.size(UNCOMPRESSED)
        self.baseline_file = uncompressed.baseline_file
        self.before = {entry.name: entry.baseline for entry in uncompressed.tensors if entry.name in self.bench.layers}
        self._measurements = Measurements(self.bench, task, cache, device)
        self._listener = listener
        self._requests = Requests()
        self._film: Film | None = None
        self._own = 0
        self._served: tuple[int, Setting] | None = None
        self._told = -math.inf
        self._restarts = 0
        self._worker = threading.Thread(target=self._keep_working, name="compress-explorer", daemon=True)
        self._worker.start()
        _OPEN.add(self)

    def request(self, setting: Setting) -> int:
        """Asks for a setting; whatever older is in flight is dropped. Returns the request's number."""
        return self._requests.put(setting)

    def wait(self, timeout: float | None = None) -> None:
        """Returns when the newest request's accuracy is exact, or it was cancelled.

        Raises:
            TimeoutError: when that takes longer than `timeout` seconds.
            Exception: whatever went wrong in the worker.
        """
        self._requests.wait(timeout)

    def cancel(self) -> None:
        """Stops the work in flight; what is known stays. The next request works as usual."""
        self._requests.cancel()

    def close(self) -> None:
        """Stops the worker for good, at the end of the batch in flight; waiters return. `join` waits for that."""
        self._requests.close()

    def join(self, timeout: float | None = 60) -> None:
        """Waits for the worker to end after `close`."""
        self._worker.join(timeout)

    def _keep_working(self) -> None:
        """Works until closed. Should something end the work by force, it begins again with the newest request."""
        note, served = "", 0
        while not self._requests.closed:
            try:
                self._work(note, served)
            except BaseException:  # noqa: BLE001 -- whatever ends a thread from outside; the note says so
                self._restarts += 1
                note, served = "the worker was ended and was started again", 0
                if self._restarts > MOST_RESTARTS:
                    note, served = "", self._give_up()

    def _give_up(self) -> int:
        """Answers the newest request with an error; returns its number."""
        request, self._restarts = self._requests.newest, 0
        times = MOST_RESTARTS + 1
        words = f"The worker was ended by force {times} times in a row. The next change starts it again."
        self._requests.finish(request, RuntimeError(words))
        return request

    def _work(self, note: str, served: int) -> None:
        while (taken := self._requests.take(served)) is not None:
            served, setting = taken
            try:
                if note:
                    self._listener(Update(served, "estimating", "status", setting, text=note))
                    note = ""
                self._serve(served, setting)
                self._restarts = 0
            except Superseded:
                self._tell_cancelled(served, setting)
            except BaseException as error:  # noqa: BLE001 -- shown in the panel, and raised again by wait()
                self._tell_error(served, setting, error)

    def _tell_cancelled(self, request: int, setting: Setting) -> None:
        if self._requests.was_cancelled(request):
            film = self._film if self._film is not None and self._film.shows(setting) else None
            own = 0 if film is None else film.values.index(setting.value)
            # What was exact stays so when only the rest of the curve is given up.
            state: State = "exact" if film is not None and film.is_exact(own) else "cancelled"
            self._tell_last(Update(request, state, "status", setting, index=own, own=own, text="cancelled"))

    def _tell_error(self, request: int, setting: Setting, error: BaseException) -> None:
        if not self._requests.is_stale(request):
            self._tell_last(Update(request, "error", "status", setting, text=str(error), error=error))
        self._requests.finish(request, error)

    def _tell_last(self, update: Update) -> None:
        """Tells how a request ended. When the listener fails even then, the worker must not end with it."""
        try:
            self._listener(update)
        except Exception as error:  # noqa: BLE001 -- raised again by wait()
            self._requests.finish(update.request, update.error or error)

    def _serve(self, request: int, setting: Setting) -> None:
        """Answers one request: its frame, its accuracy, then the rest of the curve."""
        self._served, self._told = (request, setting), time.monotonic()
        film = self._open(setting)
        own = film.values.index(setting.value)
        direction = -1 if own < self._own else 1
        self._own = own
        self._answer(request, setting, film, own)
        self._requests.finish(request)
        self._fill(request, setting, film, own, direction)

    def _open(self, setting: Setting) -> Film:
        """The film in hand when it has the setting's frame, else a new one."""
        if self._film is None or not self._film.shows(setting):
            self._film = Film(self.bench, self._measurements, setting, self.baseline_file)
        return self._film

    def _answer(self, request: int, setting: Setting, film: Film, own: int) -> None:
        """The setting's own accuracy: an estimate first, then ever better, then exact."""

        def news() -> None:
            evaluation = film.evaluations[own]
            assert evaluation is not None
            text = "" if evaluation.exact else f"{evaluation.count:,} of {evaluation.total:,}"
            self._send("point", request, setting, film, own, own, text)

        if film.has_frame(own) and not film.is_settled(own):
            self._send("status", request, setting, film, own, own, COUNTING)
            self._requests.rest(request, min(DRAW_FIRST, COUNTING_TIME * self.bench.weights))
            self._check(request)
        film.settle(own)
        self._send("point", request, setting, film, own, own)
        self._send("reports", request, setting, film, own, own, reports=self.bench.reports(setting.recipe))
        film.measure(own, None, lambda: self._requests.is_stale(request), news)
        self._check(request)

    def _fill(self, request: int, setting: Setting, film: Film, own: int, direction: int) -> None:
        """The rest of the curve: first the frames that have no preview, then a look at each point, then exact.

        Where each point is a training of its own nobody asked for a hundred of them: those that were seen are shown.
        """
        if film.measure_baseline():
            self._send("point", request, setting, film, own, own)
        order = curve_order(len(film.values), own, direction)
        if setting.trains_anew:
            order = [index for index in order if film.is_exact(index)]
        nearest = sorted(order, key=lambda index: abs(index - own))
        for index in [index for index in nearest if not film.has_frame(index)]:
            film.settle(index)
            self._send("point", request, setting, film, index, own, self._progress(film))
        for until in (FIRST_LOOK, None):
            for index in order:
                self._fill_point(request, setting, film, index, own, until)
        self._send("status", request, setting, film, own, own, ITSELF_ALONE if setting.trains_anew else "")

    def _fill_point(self, request: int, setting: Setting, film: Film, index: int, own: int, until: int | None) -> None:
        known = film.evaluations[index]
        enough = known is not None and (known.exact or until is not None)
        if enough and film.is_settled(index) and index not in film.untold:
            return
        film.settle(index)
        if not enough:
            film.measure(index, until, lambda: self._requests.is_stale(request), lambda: None)
        self._send("point", request, setting, film, index, own, self._progress(film))

    def _progress(self, film: Film) -> str:
        return f"curve {film.measured} of {len(film.values)}"

    def _tell_progress(self, text: str) -> None:
        """Tells how far a method is that gathers data or computes for long; stops it when nobody waits any more."""
        if self._served is None:
            return
        request, setting = self._served
        self._check(request)
        # At work on the rest of the curve, the setting's own accuracy is exact already.
        state: State = "exact" if self._is_answered(setting) else "estimating"
        now = time.monotonic()
        if now - self._told < (QUIET if state == "exact" else BETWEEN_WORDS):
            return
        self._told = now
        self._listener(Update(request, state, "status", setting, text=text))

    def _is_answered(self, setting: Setting) -> bool:
        """Whether the numbers of the setting itself are exact."""
        film = self._film if self._film is not None and self._film.shows(setting) else None
        return film is not None and film.is_exact(film.values.index(setting.value))

    def _check(self, request: int) -> None:
        if self._requests.is_stale(request):
            raise Superseded

    def _send(
        self,
        kind: Literal["point", "reports", "status"],
        request: int,
        setting: Setting,
        film: Film,
        index: int,
        own: int,
        text: str = "",
        reports: tuple[StepReport, ...] = (),
    ) -> None:
        self._check(request)
        state: State = "exact" if film.is_exact(own) else "estimating"
        self._listener(Update(request, state, kind, setting, film.sweep(), index, own, text, None, reports))
        self._told = time.monotonic()
        if kind == "point" and not self._requests.is_stale(request):
            film.untold.discard(index)
