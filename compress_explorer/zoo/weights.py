"""Networks from and to safetensors files. Nothing is ever unpickled."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from compress_explorer.spec.errors import FileFormatError


def save(model: nn.Module, path: Path) -> None:
    """Write the state of `model` to the safetensors file `path`."""
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)


def read(path: Path) -> dict[str, Tensor]:
    """Read every tensor of the safetensors file `path`.

    Raises:
        FileFormatError: when the file is missing or is not a safetensors file, e.g. damaged or a pickle.
    """
    if not path.is_file():
        raise FileFormatError(f"The weights file {path} is missing. Reinstall the package or train the model.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise FileFormatError(
            f"{path} is not a readable safetensors file ({error}). {_what(path)}Only safetensors "
            "files are read: restore the file, or make it again with `python -m compress_explorer.zoo.train`."
        ) from error


def load_into(model: nn.Module, path: Path) -> None:
    """Copy the tensors of the file `path` into `model`, which must have the same names, shapes and types.

    The model is left as it was when anything differs.

    Raises:
        FileFormatError: when the file cannot be read, or names, shapes or types differ; it names the first.
    """
    found = read(path)
    expected = model.state_dict()
    if problems := _differences(expected, found):
        raise FileFormatError(
            f"{path} does not fit the architecture {type(model).__name__}: {'; '.join(problems)}. "
            "Name the architecture that the file was saved from."
        )
    with torch.no_grad():
        model.load_state_dict(found, strict=True)


def _differences(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    problems = []
    if missing := sorted(expected.keys() - found.keys()):
        problems.append(f"it lacks {len(missing)} tensors, first {missing[0]!r}")
    if extra := sorted(found.keys() - expected.keys()):
        problems.append(f"it has {len(extra)} unknown tensors, first {extra[0]!r}")
    for name in sorted(expected.keys() & found.keys()):
        wanted, given = expected[name], found[name]
        if (wanted.shape, wanted.dtype) != (given.shape, given.dtype):
            problems.append(f"{name!r} is {tuple(given.shape)} {given.dtype}, not {tuple(wanted.shape)} {wanted.dtype}")
            break
    return problems


def _what(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    # torch.save writes a zip archive ("PK"); a bare pickle starts with the protocol opcode 0x80.
    return "It looks like a pickle or a torch.save file. " if start == b"PK" or start[:1] == b"\x80" else ""
