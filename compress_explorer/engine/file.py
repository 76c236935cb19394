"""Writes a compressed model to a file, and reads it back bit by bit. Nothing in a file is ever executed.

`form` describes the file.
"""

import copy
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from compress_explorer.engine.edits import Edit
from compress_explorer.engine.file_entry import damaged
from compress_explorer.engine.file_header import read_arrays, read_header
from compress_explorer.engine.file_tensor import decode, encode
from compress_explorer.engine.form import choose_form, metadata
from compress_explorer.engine.safetensors_size import header_bytes
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.engine.structure import apply_edits
from compress_explorer.engine.whole_file import write_whole
from compress_explorer.spec.errors import FileFormatError, ModelError
from compress_explorer.spec.recipe import Recipe

_REMEDY = "Pass a model of the architecture and dtype that was compressed."


@dataclass(frozen=True, eq=False)
class LoadedFile:
    """What a compressed file holds.

    Attributes:
        state: every tensor of the model by its name, decoded; aliases are the same tensor objects.
        recipe: what made them.
        aliases: names that share another's tensor: alias -> the name that is stored.
        edits: how the structure of the network that has this state comes out of the uncompressed one's.
    """

    state: dict[str, Tensor]
    recipe: Recipe
    aliases: dict[str, str]
    edits: tuple[Edit, ...] = ()


def save(
    path: str | os.PathLike[str],
    stored: Iterable[StoredTensor],
    recipe: Recipe,
    aliases: Mapping[str, str],
    edits: Iterable[Edit] = (),
) -> Path:
    """Writes a compressed model: one safetensors file, of exactly `form.file_bytes` bytes.

    The file appears whole or not at all: it is written beside `path` and then moved over it.

    Args:
        path: where to; an existing file is replaced.
        stored: every tensor of the model, each once.
        recipe: what made them.
        aliases: other names of stored tensors in the model's state: alias -> the name that is stored.
        edits: how the network's structure was changed.

    Returns:
        The path.

    Raises:
        ModelError: when the tensors cannot be put into a file, or do not come back from it bit by bit.
        OSError: when the file cannot be written; nothing is left behind then.
    """
    path, stored = Path(path), tuple(stored)
    data = to_bytes(stored, recipe, aliases, edits)
    _check_decodes(data, stored)
    write_whole(path, data)
    return path


def to_bytes(
    stored: Iterable[StoredTensor], recipe: Recipe, aliases: Mapping[str, str], edits: Iterable[Edit] = ()
) -> bytes:
    """The content of the file that `save` writes. Equal models give equal bytes.

    Raises:
        ModelError: when the tensors cannot be put into a file.
    """
    forms = [choose_form(tensor) for tensor in stored]
    about = metadata(forms, recipe, aliases, edits)
    header_bytes([form.array for form in forms], about)  # names a dtype that the library does not know
    return safetensors.torch.save({form.stored.name: encode(form) for form in forms}, metadata=about)


def _check_decodes(data: bytes, stored: Iterable[StoredTensor]) -> None:
    """Reads the new content back: what is shipped is what was measured."""
    try:
        state = from_bytes(data).state
    except FileFormatError as error:
        raise ModelError(f"The codes contradict themselves, the file could not be read back. {error}") from error
    for tensor in stored:
        if tensor.treated and not torch.equal(state[tensor.name], tensor.values.detach().cpu()):
            raise ModelError(
                f"{tensor.name} would be read back from the file with other values: its codes do not decode to "
                "its values. StoredTensor.values must be what Code.decode gives, zero where not kept."
            )


def load(path: str | os.PathLike[str]) -> LoadedFile:
    """Reads a compressed file.

    Raises:
        FileFormatError: when it is anything else: a pickle, another safetensors file, truncated, damaged.
        OSError: when it cannot be read.
    """
    try:
        return from_bytes(Path(path).read_bytes())
    except FileFormatError as error:
        raise FileFormatError(f"{os.fspath(path)} cannot be loaded. {error}") from error


def from_bytes(data: bytes) -> LoadedFile:
    """What a file with this content holds.

    Raises:
        FileFormatError: when it is not the content of a compressed file.
    """
    arrays = read_arrays(data)
    header = read_header(data)
    state = dict(arrays)
    for entry in header.entries:
        if entry.name not in arrays:
            raise damaged(f"{entry.name} is missing")
        state[entry.name] = decode(entry, arrays[entry.name])
    for alias, name in header.aliases.items():
        if alias in state or name not in state:
            raise damaged(f"{alias!r} cannot be another name of {name!r}")
    state |= {alias: state[name] for alias, name in header.aliases.items()}
    return LoadedFile(state, header.recipe, header.aliases, header.edits)


def load_into(path: str | os.PathLike[str], model: nn.Module) -> nn.Module:
    """A copy of `model` with the tensors of a compressed file, and with its changes of the structure made.

    Args:
        path: a file that `CompressedModel.save` wrote.
        model: a module of the architecture and dtype from before the compression; it is not changed.

    Raises:
        FileFormatError: when the file is damaged or no compressed file.
        ModelError: when names, shapes or dtypes of the file are not those of the model.
        OSError: when the file cannot be read.
    """
    loaded = load(path)
    try:
        result = apply_edits(copy.deepcopy(model), loaded.edits)
    except ModelError as error:
        raise ModelError(f"{os.fspath(path)} does not fit this {type(model).__name__}: {error} {_REMEDY}") from error
    own = result.state_dict()
    wanted = {name: tensor for name, tensor in own.items() if isinstance(tensor, Tensor)}
    problem = _misfit(loaded.state, wanted)
    if problem:
        raise ModelError(f"{os.fspath(path)} does not fit this {type(model).__name__}: {problem} {_REMEDY}")
    result.load_state_dict({**own, **loaded.state})
    return result


def _misfit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """The first difference between a file's tensors and a model's, in words."""
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing:
        return f"it holds no {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}."
    if extra:
        return f"the model has no {', '.join(extra[:5])}{' ...' if len(extra) > 5 else ''}."
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            return f"{name} is {tuple(found[name].shape)} in the file and {tuple(tensor.shape)} in the model."
        if found[name].dtype != tensor.dtype:
            return f"{name} is {found[name].dtype} in the file and {tensor.dtype} in the model."
    return None
