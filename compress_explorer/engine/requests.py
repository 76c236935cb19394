"""Where requests wait for the worker: only the newest counts."""

import threading

from compress_explorer.engine.setting import Setting


class Requests:
    """The newest setting that was asked for, and how far it was answered. Safe to use from several threads."""

    def __init__(self) -> None:
        """Begins with nothing asked."""
        self.changed = threading.Condition()
        self.closed = False
        self._setting: Setting | None = None
        self._newest = self._answered = self._cancelled = 0
        self._error: BaseException | None = None

    @property
    def newest(self) -> int:
        """The number of the newest request; 0 before the first."""
        return self._newest

    def put(self, setting: Setting) -> int:
        """Asks for a setting; returns the request's number, one more than the last."""
        with self.changed:
            self._newest += 1
            self._setting, self._error = setting, None
            self.changed.notify_all()
            return self._newest

    def wait(self, timeout: float | None = None) -> None:
        """Returns when the newest request was answered or cancelled.

        Raises:
            TimeoutError: when that takes longer than `timeout` seconds.
            Exception: the one that it was finished with.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: self.closed or self._answered == self._newest, timeout):
                raise TimeoutError(f"The accuracy was not exact after {timeout} s. Wait longer, or cancel().")
            if self._error is not None:
                raise self._error

    def cancel(self) -> None:
        """Nobody waits for the newest request any more."""
        with self.changed:
            self._cancelled = self._answered = self._newest
            self.changed.notify_all()

    def close(self) -> None:
        """Nothing is asked any more; waiters return."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def take(self, served: int) -> tuple[int, Setting] | None:
        """Waits for a request newer than number `served`; None when closed."""
        with self.changed:
            while not self.closed and self._newest == served:
                self.changed.wait()
            assert self.closed or self._setting is not None
            return None if self.closed or self._setting is None else (self._newest, self._setting)

    def finish(self, request: int, error: BaseException | None = None) -> None:
        """The request is answered, by an error perhaps; of an older one than the newest nobody hears."""
        with self.changed:
            if self._newest == request:
                self._answered, self._error = request, error
                self.changed.notify_all()

    def is_stale(self, request: int) -> bool:
        """Whether nobody waits for this request any more."""
        return self.closed or self._newest != request or self._cancelled >= request

    def rest(self, request: int, seconds: float) -> None:
        """Waits, as long as somebody waits for this request and no newer one."""
        with self.changed:
            self.changed.wait_for(lambda: self.is_stale(request), seconds)

    def was_cancelled(self, request: int) -> bool:
        """Whether this is the newest request, and was cancelled."""
        return self._cancelled == request == self._newest and not self.closed
