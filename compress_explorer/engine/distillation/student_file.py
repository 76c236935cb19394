"""Students to files and back: a plain safetensors file, and beside it what builds the network. Nothing is executed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from compress_explorer.engine.distillation.students import StudentDesign, built
from compress_explorer.engine.file_header import read_arrays
from compress_explorer.engine.whole_file import write_whole
from compress_explorer.spec.errors import CompressExplorerError, DataError, FileFormatError, ModelError

FORMAT = "compress_explorer student"
FORMAT_VERSION = 1


def save_student(
    student: nn.Module,
    design: StudentDesign,
    path: str | os.PathLike[str],
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a student: its weights to `path`, and beside them, with the ending ".json", the design that builds it.

    The weights are a plain safetensors file of exactly `design.file_bytes` bytes, which any program reads. An existing
    file is replaced. `load_student(path)` reads both.

    Args:
        student: a network that `design` built.
        design: what `student(...)` gave.
        path: of the weights, e.g. "student.safetensors".
        about: plain data for JSON that is written beside the design, such as how the student was trained.

    Returns:
        The path of the weights.

    Raises:
        ModelError: when the design does not build this network.
        DataError: when `about` holds what JSON cannot.
        OSError: when a file cannot be written.
    """
    path = Path(path)
    if not path.name or path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder. Pass the path of a file in it, e.g. {path / 'student.safetensors'}."
        )
    state = student.state_dict()
    with torch.device("meta"):
        expected = design().state_dict()
    if problem := _difference(expected, state):
        raise ModelError(f"The design builds another network than {type(student).__name__}: {problem}. Pass its own.")
    data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    content = {"format": FORMAT, "version": FORMAT_VERSION, "design": _design_to_json(design), "about": about or {}}
    write_whole(design_path(path), _json(content))
    write_whole(path, data)
    return path


def load_student(path: str | os.PathLike[str]) -> nn.Module:
    """The student that `save_student` wrote, in evaluation mode on the CPU.

    Args:
        path: of its weights; the file of the design lies beside it.

    Raises:
        FileFormatError: when a file is missing, damaged or of another kind, or both do not fit each other.
    """
    path = Path(path)
    design = design_path(path)
    for needed in (path, design):
        if not needed.is_file():
            found = "a folder" if needed.is_dir() else "missing"
            raise FileFormatError(f"{needed} is {found}. A student is two files: weights, and the .json beside them.")
    model = _built(design)
    try:
        state = read_arrays(path.read_bytes())
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be read. {error}") from error
    if problem := _difference(model.state_dict(), state):
        raise FileFormatError(f"{path} holds another network than {design.name} tells: {problem}. Copy both again.")
    model.load_state_dict(state, assign=True)
    return model.eval()


def _json(content: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"about= holds what JSON cannot: {error}. Pass numbers, texts, lists, mappings.") from error


def design_path(path: Path) -> Path:
    """Where the design of the student at `path` lies."""
    return path.with_name(path.name.removesuffix(".safetensors") + ".json")


def _design_to_json(design: StudentDesign) -> dict[str, Any]:
    return {
        "kind": design.kind,
        "shape": list(design.shape),
        "classes": design.classes,
        "width": design.width,
        "depth": design.depth,
    }


def _built(path: Path) -> nn.Module:
    """The network that a design's file tells of, without numbers: on the meta device it takes no memory."""
    try:
        content = json.loads(path.read_bytes())
        if (content["format"], content["version"]) != (FORMAT, FORMAT_VERSION):
            raise FileFormatError(f"its format is {content['format']!r}, version {content['version']!r}")
        design = content["design"]
        with torch.device("meta"):
            return built(
                design["kind"], tuple(design["shape"]), design["classes"], width=design["width"], depth=design["depth"]
            )
    except (ValueError, KeyError, TypeError, RecursionError, CompressExplorerError) as error:
        why = str(error).rstrip(".")
        raise FileFormatError(
            f"{path} is no design of a student of version {FORMAT_VERSION}: {why}. Save the student again."
        ) from error


def _difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """The first tensor that differs in name, shape or type, in words; "" when none does."""
    for name in sorted(expected.keys() | found.keys()):
        wanted, given = (
            f"{tuple(state[name].shape)} {state[name].dtype}" if name in state else "nothing"
            for state in (expected, found)
        )
        if wanted != given:
            return f"{name!r} is {given} in place of {wanted}"
    return ""
