"""Reads the header of a compressed file, and trusts nothing in it."""

import json
from dataclasses import dataclass
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from compress_explorer.engine.edits import Edit, edit_from_json
from compress_explorer.engine.file_entry import Entry, damaged, read_entry, read_style
from compress_explorer.engine.form import FORMAT_VERSION, METADATA_KEY
from compress_explorer.spec.errors import FileFormatError
from compress_explorer.spec.recipe import Recipe

ROOM = 2**28
WEIGHTS_PER_BYTE = 2**16
"""A file of B bytes may hold ROOM + WEIGHTS_PER_BYTE * B weights: zeros cost no bytes, but memory."""

MOST_EDITS = 10_000
"""Changes of the network's structure: each takes time."""


@dataclass(frozen=True)
class Header:
    """The header's own part: recipe, treated tensors, aliases (alias -> the name that is stored) and edits."""

    recipe: Recipe
    entries: tuple[Entry, ...]
    aliases: dict[str, str]
    edits: tuple[Edit, ...]


def read_arrays(data: bytes) -> dict[str, Tensor]:
    """The named arrays of a safetensors file.

    Raises:
        FileFormatError: when it is none, with the remedy.
    """
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        # Only now: a sound file may begin with these bytes too, which are its header's length.
        if data[:2] == b"PK" or data[:1] == b"\x80":
            raise FileFormatError(
                "It is a pickle, as torch.save writes it, and pickles can run code when they are opened. "
                "Load it with torch.load(path, weights_only=True) and compress the model anew."
            ) from None
        raise FileFormatError(
            f"It is no whole safetensors file, but damaged, cut off or of another kind ({error}). "
            "Copy or save it again."
        ) from error


def read_header(data: bytes) -> Header:
    """The header's own part of a file that `read_arrays` accepts.

    Raises:
        FileFormatError: when the file comes from elsewhere or from a newer version, or its header is damaged.
    """
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    text = header.get("__metadata__", {}).get(METADATA_KEY)
    if text is None:
        raise FileFormatError(
            "It is a safetensors file, but no compressed model. Read it with safetensors.torch.load_file(path)."
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged("its metadata are no JSON") from error
    content = _mapping(content, "its metadata")
    version = content.get("version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise FileFormatError(
            f"It has version {str(version)[:60]}; this package reads versions 1 to {FORMAT_VERSION}. "
            "Update the package."
        )
    tensors = _mapping(content.get("tensors"), "its list of tensors")
    listed = content.get("styles")
    if not isinstance(listed, list):
        raise damaged("its list of styles is missing")
    styles = [read_style(f"style {index}", _mapping(style, "a style")) for index, style in enumerate(listed)]
    entries = tuple(read_entry(name, entry, styles) for name, entry in tensors.items())
    declared = sum(entry.weights for entry in entries)
    if declared > ROOM + WEIGHTS_PER_BYTE * len(data):
        raise damaged(f"{declared} weights cannot come out of {len(data)} bytes")
    aliases = _mapping(content.get("aliases", {}), "its list of aliases")
    if not all(isinstance(name, str) for name in aliases.values()):
        raise damaged("an alias names no tensor")
    edits = content.get("edits", [])
    if not isinstance(edits, list) or len(edits) > MOST_EDITS:
        raise damaged(f"its changes of the network's structure are no list of up to {MOST_EDITS}")
    recipe = Recipe.from_dict(_mapping(content.get("recipe"), "its recipe"))
    return Header(recipe, entries, aliases, tuple(edit_from_json(edit) for edit in edits))


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise damaged(f"{what} is missing or no mapping")
    return value
