"""Loops within one test: the report of a failure names the case it failed in."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def case(*names: object) -> Iterator[None]:
    """Adds to an exception that passes through here which case of a loop it comes from."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the case {' / '.join(map(str, names))}")
        raise
