"""Stored results with where they come from: command, versions, data, seeds, date and duration."""

import datetime
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress_explorer.spec.errors import FileFormatError
from compress_explorer.zoo import datasets

FOLDER = Path(__file__).with_name("results")
"""The results that come with the package."""


@dataclass(frozen=True)
class Record:
    """What an experiment found, and how.

    Attributes:
        experiment: its name.
        command: what writes the record anew.
        settings: every value that the results depend on, seeds included.
        finished: the date of the last part, ISO 8601, UTC.
        seconds: that all parts took by the clock on the wall, interruptions left out.
        processor_seconds: of computing.
        versions: of what computed.
        data: the data sets by name, each with the SHA-256 of its arrays' bytes.
        results: plain data; the experiment's module says what.
    """

    experiment: str
    command: str
    settings: Mapping[str, Any]
    finished: str
    seconds: float
    processor_seconds: float
    versions: Mapping[str, str]
    data: Mapping[str, str]
    results: Any

    def provenance(self) -> dict[str, str]:
        """Where the results come from, in words."""
        return {
            "command": self.command,
            "finished": self.finished,
            "computing": f"{self.processor_seconds / 60:.1f} minutes, within {self.seconds / 60:.0f} by the clock",
            **{name: str(value) for name, value in self.settings.items()},
            **self.versions,
            **{f"SHA-256 of {name}": digest for name, digest in self.data.items()},
        }

    def write(self, folder: Path) -> Path:
        """Writes ``NAME.json`` into `folder` and returns its path."""
        path = folder / f"{self.experiment}.json"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path


def read(experiment: str, folder: Path = FOLDER) -> Record:
    """The stored record of an experiment.

    Raises:
        FileFormatError: when there is none, or it is no record.
    """
    path = folder / f"{experiment}.json"
    try:
        return Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise FileFormatError(
            f"{path} is no record of results: {error}. Write it with python -m compress_explorer.papers {experiment}."
        ) from error


def versions() -> dict[str, str]:
    """What computes here."""
    return {
        "compress-explorer": version("compress-explorer"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} thread(s)",
    }


def now() -> str:
    """The date and time, ISO 8601, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def data_digests(names: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of the arrays in the bundled data files, e.g. of ``"mnist-train"``."""
    return {name: _digest(datasets.bundled(name)) for name in names}


def _digest(part: datasets.Labelled) -> str:
    digest = hashlib.sha256()
    for array in (part.images, part.labels):
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
