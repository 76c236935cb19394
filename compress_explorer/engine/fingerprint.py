"""Tells whether two models, or two sets of data, are the same: equal digests only where all that counts is equal."""

import hashlib
import itertools
import threading
import weakref
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from compress_explorer.engine.task import Split

MOST_HASHED = 2**28
"""Bytes of tensors that are read for one fingerprint, about a quarter of a second's work."""

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)

_numbers: "weakref.WeakKeyDictionary[Any, int]" = weakref.WeakKeyDictionary()
_next_number = itertools.count()
_lock = threading.Lock()


class _Unknowable(Exception):  # noqa: N818 -- a signal inside this module, not an error
    """A value that cannot be compared."""


def model_fingerprint(model: nn.Module) -> str | None:
    """The fingerprint of a model: its classes, its plain attributes and every tensor.

    Equal ones compute the same. None where that cannot be told: attributes other than tensors, plain values, functions
    and classes, as hooks are; or too many bytes to read.
    """
    hashed = hashlib.blake2b(digest_size=16)
    try:
        if _bytes_of(model) > MOST_HASHED:
            return None
        for name, module in model.named_modules(remove_duplicate=False):
            _add(hashed, name, _number(type(module)))
            for attribute, value in sorted(vars(module).items()):
                if attribute != "_modules":
                    _add(hashed, attribute, value)
    except _Unknowable:
        return None
    return hashed.hexdigest()


def data_fingerprint(split: Split) -> str | None:
    """The fingerprint of a split's samples; None where they are too many bytes to read."""
    if split.inputs.nbytes > MOST_HASHED:
        return None
    hashed = hashlib.blake2b(digest_size=16)
    _add(hashed, split.inputs, split.targets)
    return hashed.hexdigest()


def training_fingerprint(settings: object, *tensors: Tensor) -> str:
    """Sixteen hexadecimal digits that differ when the settings, told by their ``repr``, or a tensor differ."""
    hashed = hashlib.blake2b(repr(settings).encode(), digest_size=8)
    _add(hashed, *tensors)
    return hashed.hexdigest()


def identity(thing: object) -> str | None:
    """What tells a function or a class from every other one; None for what cannot be told apart."""
    try:
        return str(_number(thing))
    except _Unknowable:
        return None


def _bytes_of(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in itertools.chain(model.parameters(), model.buffers()))


def _number(thing: object) -> int:
    """The number of a class or function: another object, be it of the same name, has another."""
    if not isinstance(thing, (type, FunctionType)):
        raise _Unknowable
    with _lock:
        if thing not in _numbers:
            _numbers[thing] = next(_next_number)
        return _numbers[thing]


def _add(hashed: Any, *values: object) -> None:
    for value in values:
        hashed.update(f"<{type(value).__name__}".encode())
        if isinstance(value, Tensor):
            _add_tensor(hashed, value)
        elif isinstance(value, (type, FunctionType)):
            hashed.update(str(_number(value)).encode())
        elif isinstance(value, dict):
            for key, entry in value.items():
                _add(hashed, key, entry)
        elif isinstance(value, (tuple, list)):
            _add(hashed, *value)
        elif isinstance(value, (set, frozenset)):
            _add(hashed, *sorted(value, key=repr))
        elif isinstance(value, PLAIN):
            hashed.update(repr(value).encode())
        else:
            raise _Unknowable
        hashed.update(b">")


def _add_tensor(hashed: Any, tensor: Tensor) -> None:
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise _Unknowable
    hashed.update(f"{tensor.dtype}{tuple(tensor.shape)}{tensor.device.type}".encode())
    hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
