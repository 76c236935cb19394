"""CIFAR-10, which is not bundled: downloaded on first use, or read from a local copy.

The binary version is used; the Python version is a pickle, which is never opened here.
Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import os
import tarfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from compress_explorer.spec.errors import DataError
from compress_explorer.zoo.datasets import Labelled, cut

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"

#: As the data set's own page gives it.
CHECKSUM = "md5:c32a1d4ab5d03f1284b67883e8d87530"

ARCHIVE = "cifar-10-binary.tar.gz"

#: The environment variable that names a local copy.
VARIABLE = "COMPRESS_EXPLORER_DATA"

_IMAGE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32  # one byte of label, then the image, channel by channel and row by row
_MEMBERS = {
    "train": tuple(f"cifar-10-batches-bin/data_batch_{index}.bin" for index in range(1, 6)),
    "test": ("cifar-10-batches-bin/test_batch.bin",),
}
_REMEDY = (
    f"Download {URL} and set the environment variable {VARIABLE} to that file or its folder, "
    "or pass its path as data=. An .npz file with arrays x_train, y_train, x_test and y_test works as well."
)


def load(part: str, source: Path | None = None) -> Labelled:
    """Return 45,000 train, 5,000 validation or the official 10,000 test images, ``[n, 3, 32, 32]``.

    Args:
        part: ``"train"``, ``"validation"`` or ``"test"``. Validation is a tenth of the official training set.
        source: the official binary archive; an .npz file with arrays ``x_train``, ``y_train``, ``x_test``
            and ``y_test`` (images ``[n, 32, 32, 3]`` or ``[n, 3, 32, 32]``); or a folder that holds
            ``cifar-10-binary.tar.gz`` or ``cifar10.npz``. By default the environment variable
            COMPRESS_EXPLORER_DATA names it; where that is unset, the archive is downloaded into the user's
            cache folder, once.

    Raises:
        DataError: when there is no local copy and the download fails, or a file is not what it should be.
    """
    named = source or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    return _parts((find(named) if named else download()).resolve())[part]


@cache
def _parts(path: Path) -> dict[str, Labelled]:
    whole = read(path)
    train, validation = cut(whole["train"], len(whole["train"].labels) // 10)
    return {"train": train, "validation": validation, "test": whole["test"]}


def find(source: Path) -> Path:
    """Return the file that `source`, a file or a folder, stands for.

    Raises:
        DataError: when there is none.
    """
    candidates = [source / ARCHIVE, source / "cifar10.npz"] if source.is_dir() else [source]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    missing = " and ".join(map(str, candidates))
    raise DataError(f"There is no CIFAR-10 at {source}: no file {missing}. {_REMEDY}")


def download(url: str = URL, checksum: str = CHECKSUM, folder: Path | None = None) -> Path:
    """Return the path of the archive in the cache folder, downloading it first where it is not there yet.

    Args:
        url: where the archive is.
        checksum: the algorithm, a colon, and the digest that the file must have.
        folder: where to keep it; by default the user's cache folder for this package.

    Raises:
        DataError: when the download fails or the file is another one.
    """
    import pooch  # with its network library slow to import, and only needed here

    try:
        found = pooch.retrieve(
            url,
            known_hash=checksum,
            fname=ARCHIVE,
            path=folder or pooch.os_cache("compress-explorer"),
            progressbar=True,
        )
    # OSError covers every network error of requests; a wrong checksum is a ValueError.
    except (OSError, ValueError) as error:
        raise DataError(f"CIFAR-10 could not be downloaded from {url} ({error}). {_REMEDY}") from error
    return Path(found)


def read(path: Path) -> dict[str, Labelled]:
    """Read the official train and test sets from the binary archive or the .npz file `path`.

    Raises:
        DataError: when the file is neither, or its content does not fit.
    """
    try:
        return _read_npz(path) if path.suffix == ".npz" else _read_archive(path)
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable copy of CIFAR-10 ({error}). {_REMEDY}") from error


def _read_archive(path: Path) -> dict[str, Labelled]:
    found = {}
    with tarfile.open(path, "r:*") as archive:
        for part, members in _MEMBERS.items():
            records = np.concatenate([_records(archive, member) for member in members])
            found[part] = _labelled(records[:, 1:].reshape(-1, *_IMAGE), records[:, 0])
    return found


def _records(archive: tarfile.TarFile, member: str) -> np.ndarray:
    file = archive.extractfile(member)
    if file is None:
        raise ValueError(f"{member} is not a plain file")
    content = np.frombuffer(file.read(), dtype=np.uint8)
    if len(content) == 0 or len(content) % _RECORD:
        raise ValueError(f"{member} has {len(content)} bytes, which is no multiple of {_RECORD}")
    return content.reshape(-1, _RECORD)


def _read_npz(path: Path) -> dict[str, Labelled]:
    with np.load(path, allow_pickle=False) as arrays:
        return {part: _labelled(arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in _MEMBERS}


def _labelled(images: np.ndarray, labels: np.ndarray) -> Labelled:
    if images.shape[1:] == (32, 32, 3):
        images = images.transpose(0, 3, 1, 2)
    labels = labels.reshape(-1)
    if images.shape[1:] != _IMAGE or images.dtype != np.uint8 or len(images) != len(labels):
        raise ValueError(f"images are {images.shape} {images.dtype} for {len(labels)} labels")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() > 9:
        raise ValueError("labels are not whole numbers from 0 to 9")
    return Labelled(images, labels.astype(np.uint8))
