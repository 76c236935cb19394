"""One worker thread for long work made of steps: between two of them a job can be paused, replaced, cancelled."""

import atexit
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Listener = Callable[[str, int, object], None]
"""Takes the job's name, its number, and what it yielded, or `Ended`. Called from the worker thread, in order."""


@dataclass(frozen=True)
class Ended:
    """The last news of a job.

    Attributes:
        error: what ended it; None when it went through or was cancelled.
        cancelled: whether it was cancelled.
    """

    error: BaseException | None = None
    cancelled: bool = False


@dataclass(eq=False)
class _Job:
    name: str
    number: int
    steps: Iterator[object]
    paused: bool = False


_OPEN: "weakref.WeakSet[Jobs]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Ends every worker before the interpreter does: a thread inside torch would abort it."""
    for jobs in list(_OPEN):
        jobs.close()
        jobs.join()


class Jobs:
    """Runs at most one job of each name, step by step; in between, the first in the order goes first.

    A step is what an iterator does between two things that it yields: jobs should yield often. An iterator that is
    dropped is closed, so that it can put away what it has, in the worker thread like all its steps.
    """

    def __init__(self, order: Sequence[str], listener: Listener) -> None:
        """Starts the worker.

        Args:
            order: every name, the most urgent first.
            listener: hears of everything.
        """
        self._order, self._listener = tuple(order), listener
        self._changed = threading.Condition()
        self._jobs: dict[str, _Job] = {}
        self._dropped: list[tuple[_Job, bool]] = []
        self._ending = 0
        self._count = 0
        self._errors: dict[str, BaseException] = {}
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="compress-explorer-jobs", daemon=True)
        self._worker.start()
        _OPEN.add(self)

    def put(self, name: str, steps: Iterator[object]) -> int:
        """Begins a job in the place of an older one of its name; returns its number, 1 or more."""
        with self._changed:
            if name not in self._order:
                raise KeyError(name)
            self._drop(name, cancelled=False)
            self._errors.pop(name, None)
            self._count += 1
            self._jobs[name] = _Job(name, self._count, steps)
            self._changed.notify_all()
            return self._count

    def cancel(self, *names: str) -> None:
        """Ends jobs after the step in hand; the listener hears `Ended(cancelled=True)`."""
        with self._changed:
            for name in names:
                self._drop(name, cancelled=True)
            self._changed.notify_all()

    def pause(self, paused: bool, *names: str) -> None:
        """Lets jobs rest after the step in hand, or go on."""
        with self._changed:
            for name in names:
                if name in self._jobs:
                    self._jobs[name].paused = paused
            self._changed.notify_all()

    def state(self, name: str) -> str:
        """What a job does: "running", "paused", or "" when there is none."""
        with self._changed:
            job = self._jobs.get(name)
            return "" if job is None else "paused" if job.paused else "running"

    def wait(self, names: Sequence[str], timeout: float | None = None) -> None:
        """Returns when no job of these names is left.

        Raises:
            TimeoutError: when that takes longer than `timeout` seconds.
            Exception: what ended the first of them that failed, since it was put and unless it was forgiven.
        """
        with self._changed:
            done = lambda: self._closed or not (self._ending or any(name in self._jobs for name in names))  # noqa: E731
            if not self._changed.wait_for(done, timeout):
                left = ", ".join(name for name in names if name in self._jobs)
                raise TimeoutError(f"Not done after {timeout} s: {left}. Wait longer, resume or cancel it.")
            for name in names:
                if name in self._errors:
                    raise self._errors[name]

    def forgive(self) -> None:
        """Forgets what ended jobs until now: `wait` raises it no more."""
        with self._changed:
            self._errors.clear()

    def close(self) -> None:
        """Ends every job for good after the step in hand; waiters return. `join` waits for that."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self, timeout: float | None = 60) -> None:
        """Waits for the worker to end after `close`."""
        self._worker.join(timeout)

    def _drop(self, name: str, *, cancelled: bool) -> None:
        job = self._jobs.pop(name, None)
        if job is not None:
            self._dropped.append((job, cancelled))
            self._ending += 1

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._dropped or self._next())
                closed, job = self._closed, self._next()
                dropped, self._dropped = self._dropped, []
            for old, cancelled in dropped:
                self._put_away(old, cancelled)
            if closed:
                for old in list(self._jobs.values()):
                    _close(old.steps)
                return
            if job is not None and not dropped:
                self._step(job)

    def _next(self) -> _Job | None:
        ready = (self._jobs[name] for name in self._order if name in self._jobs)
        return next((job for job in ready if not job.paused), None)

    def _step(self, job: _Job) -> None:
        try:
            news = next(job.steps)
            if self._jobs.get(job.name) is job:
                self._listener(job.name, job.number, news)
        except StopIteration:
            self._end(job, None)
        except BaseException as error:  # noqa: BLE001 -- told to the listener, and raised again by wait()
            _close(job.steps)
            self._end(job, error)

    def _end(self, job: _Job, error: BaseException | None) -> None:
        with self._changed:
            if self._jobs.get(job.name) is not job:  # dropped meanwhile, which is told in its turn
                return
            self._ending += 1
            del self._jobs[job.name]
            if error is not None:
                self._errors[job.name] = error
        self._tell(job, Ended(error))

    def _put_away(self, job: _Job, cancelled: bool) -> None:
        _close(job.steps)
        self._tell(job, Ended(cancelled=cancelled))

    def _tell(self, job: _Job, news: Ended) -> None:
        """Tells how a job ended. When the listener fails even then, the worker must not end with it."""
        try:
            self._listener(job.name, job.number, news)
        except Exception as error:  # noqa: BLE001 -- raised again by wait()
            self._errors.setdefault(job.name, news.error or error)
        finally:
            with self._changed:
                self._ending -= 1
                self._changed.notify_all()


def _close(steps: Iterator[object]) -> None:
    """Closes an iterator that may hold files; its last words are no news."""
    close = getattr(steps, "close", None)
    if close is not None:
        try:
            close()
        except Exception:  # noqa: BLE001 -- nobody waits for this job any more
            return
