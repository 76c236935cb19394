"""Where networks are measured: on a GPU when there is one."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

from compress_explorer.spec.errors import ModelError, ParameterError

Device = Literal["auto"] | str | torch.device
"""A device by name, e.g. "cuda:1"; "auto" is the current CUDA device where there is one, else that of the model."""


def resolve(device: Device, model: nn.Module) -> torch.device:
    """The device that is meant.

    Args:
        device: see `Device`.
        model: whose device "auto" is where there is no CUDA.

    Raises:
        ParameterError: when there is no such device, or nothing can be computed on it.
    """
    if device == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else device_of(model)
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise ValueError("it holds no numbers")
        torch.empty(0, device=found)
    except Exception as error:
        there = ", ".join(["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))])
        raise ParameterError(
            f"device={device!r} cannot be used here: {_first_sentence(error)}. Known: auto, {there}."
        ) from error
    return found


def _first_sentence(error: Exception) -> str:
    """What an error says at first, without its stop: torch lists after it all that it knows, over many lines."""
    return str(error).partition("\n")[0].partition(". ")[0].rstrip(".:")


def on_device(model: nn.Module, device: torch.device) -> nn.Module:
    """The model itself where it is there already, else a copy of it on `device`; it stays where it is.

    Raises:
        ModelError: when it cannot be copied.
    """
    tensors = [*model.parameters(), *model.buffers()]
    if all(tensor.device == device for tensor in tensors):
        return model
    # Module.to would move the tensors of the model itself, which the copy shares otherwise.
    memo: dict[int, object] = {}
    for tensor in tensors:
        moved = tensor.detach().to(device)
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(moved, tensor.requires_grad) if is_parameter else moved
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied to {device}: copy.deepcopy raised {type(error).__name__}: "
            f"{error}. "
            'Move it there yourself, or pass device="cpu".'
        ) from error


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Convolutions in full float32 on a GPU, whose default is TF32 with 10 bits of mantissa: as on the CPU."""
    if device.type != "cuda":
        yield
        return
    own = torch.backends.cudnn
    with own.flags(enabled=own.enabled, benchmark=own.benchmark, deterministic=own.deterministic, allow_tf32=False):
        yield


def device_of(model: nn.Module) -> torch.device:
    """Where the parameters of a model are; the CPU when it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
