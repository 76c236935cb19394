"""The worker of jobs: their order, pause, cancellation, replacement and errors, as an observer sees them."""

import gc
import threading
import weakref

import pytest

from compress_explorer.engine.jobs import Ended, Jobs


class Heard:
    """Everything that a listener heard."""

    def __init__(self):
        self.news: list[tuple[str, int, object]] = []

    def __call__(self, name, number, news):
        self.news.append((name, number, news))

    def of(self, name):
        return [news for heard, _, news in self.news if heard == name]


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def jobs(heard):
    made = Jobs(("first", "second"), heard)
    yield made
    made.close()
    made.join(10)
    assert not made._worker.is_alive()


class Gate:
    """A job whose every step waits until it is let through; knows whether it was closed, and in which thread it ran."""

    def __init__(self, steps):
        self.lets, self.reached, self.closed, self.threads = (
            threading.Semaphore(0),
            threading.Semaphore(0),
            False,
            set(),
        )
        self._steps = steps

    def __iter__(self):
        try:
            for step in range(self._steps):
                self.threads.add(threading.current_thread())
                self.reached.release()
                assert self.lets.acquire(timeout=10)
                yield step
        finally:
            self.closed = True
            self.threads.add(threading.current_thread())


def test_the_more_urgent_job_goes_first_and_the_other_goes_on_where_it_was(jobs, heard):
    slow = Gate(3)
    jobs.put("second", iter(slow))
    assert slow.reached.acquire(timeout=10)
    jobs.put("first", iter("ab"))
    for _ in range(3):
        slow.lets.release()
    jobs.wait(("first", "second"), 10)
    assert [news for _, _, news in heard.news if not isinstance(news, Ended)] == [0, "a", "b", 1, 2]
    assert heard.of("second")[-1] == Ended()
    assert {thread.name for thread in slow.threads} == {"compress-explorer-jobs"}


def test_a_paused_job_takes_no_step_until_it_is_resumed(jobs, heard):
    slow = Gate(2)
    jobs.put("first", iter(slow))
    assert slow.reached.acquire(timeout=10)
    jobs.pause(True, "first")
    slow.lets.release()
    jobs.put("second", iter("x"))  # runs meanwhile
    jobs.wait(("second",), 10)
    assert (jobs.state("first"), heard.of("first")) == ("paused", [0])
    with pytest.raises(TimeoutError, match="first"):
        jobs.wait(("first",), 0.01)
    jobs.pause(False, "first")
    slow.lets.release()
    jobs.wait(("first",), 10)
    assert heard.of("first") == [0, 1, Ended()]
    assert jobs.state("first") == ""


def test_cancelled_and_replaced_jobs_are_closed_and_say_nothing_more(jobs, heard):
    for replace in (False, True):
        heard.news.clear()
        slow = Gate(5)
        number = jobs.put("first", iter(slow))
        assert slow.reached.acquire(timeout=10)
        if replace:
            jobs.put("first", iter("new"))
        else:
            jobs.cancel("first")
        slow.lets.release()
        jobs.wait(("first",), 10)
        assert slow.closed
        assert [news for _, own, news in heard.news if own == number] == [Ended(cancelled=not replace)]
        assert heard.of("first")[1:] == (["n", "e", "w", Ended()] if replace else [])


def test_an_error_is_told_and_raised_by_wait_and_the_next_job_works(jobs, heard):
    def failing():
        yield 1
        raise ValueError("broken")

    jobs.put("first", failing())
    with pytest.raises(ValueError, match="broken"):
        jobs.wait(("first",), 10)
    assert isinstance(heard.of("first")[-1].error, ValueError)
    jobs.put("first", iter("a"))
    jobs.wait(("first",), 10)
    assert heard.of("first")[-2:] == ["a", Ended()]
    jobs.put("first", failing())
    with pytest.raises(ValueError, match="broken"):
        jobs.wait(("first",), 10)
    jobs.forgive()
    jobs.wait(("first",), 10)


def test_a_listener_that_fails_ends_the_job_and_not_the_worker():
    def listener(_name, _number, news):
        if news == "bad":
            raise RuntimeError("cannot show this")

    jobs = Jobs(("first",), listener)
    jobs.put("first", iter(["bad"]))
    with pytest.raises(RuntimeError, match="cannot show"):
        jobs.wait(("first",), 10)
    jobs.put("first", iter(["good"]))
    jobs.wait(("first",), 10)
    jobs.close()
    jobs.join(10)


def test_closing_frees_jobs_and_worker():
    jobs = Jobs(("first",), lambda *_: None)
    slow = Gate(3)
    jobs.put("first", iter(slow))
    assert slow.reached.acquire(timeout=10)
    jobs.close()
    slow.lets.release()
    jobs.join(10)
    assert slow.closed
    gone = weakref.ref(jobs)
    del jobs
    gc.collect()
    assert gone() is None
