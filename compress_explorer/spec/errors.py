"""The errors that this package raises on purpose: each names the thing, the value and the remedy."""

import difflib
from collections.abc import Iterable


class CompressExplorerError(ValueError):
    """Base class of every deliberate error of the package."""


class UnknownNameError(CompressExplorerError):
    """A method, parameter, layer or model of that name does not exist."""


class ParameterError(CompressExplorerError):
    """A parameter's value has the wrong type or lies outside its bounds."""


class ModelError(CompressExplorerError):
    """The model cannot be compressed as it is: no weights, NaN weights, scripted, already quantized."""


class DataError(CompressExplorerError):
    """The data cannot be used: empty, of the wrong shape or dtype, labels out of range."""


class TrainingError(CompressExplorerError):
    """A training cannot begin or go on: nothing to train, or the loss is no longer a finite number."""


class FileFormatError(CompressExplorerError):
    """A file is not what it should be. Files are never unpickled and never executed."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The entry of `known` that is spelled most like `name`, or None when nothing is close."""
    candidates = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), list(candidates), n=1, cutoff=0.5)
    return candidates[matches[0]] if matches else None


def unknown(kind: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that does not exist: suggests the nearest one and lists those that do.

    Args:
        kind: what the name should have named, e.g. "method".
        name: the name as it was given.
        known: every valid name.
    """
    names = sorted(known)
    close = nearest(str(name), names)
    hint = f" Did you mean {close!r}?" if close else ""
    listed = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
    return UnknownNameError(f"There is no {kind} {name!r}.{hint} Known: {listed or 'none'}.")
