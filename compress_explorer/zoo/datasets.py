"""MNIST, Fashion-MNIST and scikit-learn's digits as uint8 arrays, decoded when first asked for.

Licences and attributions are in ``data/LICENSES.md``.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from compress_explorer.zoo.splits import Bytes, Indices, rest, stratified_indices

FOLDER = Path(__file__).with_name("data")


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images ``[n, ...]`` and labels ``[n]``, both uint8."""

    images: Bytes
    labels: Bytes

    def at(self, indices: Indices) -> "Labelled":
        """Return the samples at `indices`."""
        return Labelled(self.images[indices], self.labels[indices])


def cut(whole: Labelled, size: int) -> tuple[Labelled, Labelled]:
    """Cut `size` samples out of `whole`, stratified by the zoo's seed; return the rest, then those."""
    chosen = stratified_indices(whole.images, whole.labels, size)
    return whole.at(rest(len(whole.labels), chosen)), whole.at(chosen)


def mnist(part: str) -> Labelled:
    """Return 55,000 train, 5,000 validation or the official 10,000 test images of MNIST, ``[n, 28, 28]``."""
    return bundled("mnist-test") if part == "test" else _mnist_cut()[part]


def fashion(part: str) -> Labelled:
    """Return 8,000 train, 2,000 validation or the official 10,000 test images of Fashion-MNIST."""
    return bundled("fashion-test") if part == "test" else _fashion_cut()[part]


def digits(part: str) -> Labelled:
    """Return 1,097 train, 200 validation or 500 test samples of scikit-learn's digits, ``[n, 64]``."""
    return _digits_cut()[part]


@cache
def bundled(name: str) -> Labelled:
    """Return the images and labels of the data file `name`, e.g. ``"mnist-test"``, in official order."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
        return Labelled(arrays["images"], arrays["labels"])


@cache
def fashion_official_indices() -> Indices:
    """Return the indices of the bundled Fashion-MNIST training images in the official set, ``[10000]``."""
    with np.load(FOLDER / "fashion-train.npz", allow_pickle=False) as arrays:
        return np.asarray(arrays["official_indices"], dtype=np.int64)


def fashion_validation_indices() -> Indices:
    """Return the indices of the validation images in the official training set, increasing, ``[2000]``."""
    whole = bundled("fashion-train")
    return fashion_official_indices()[stratified_indices(whole.images, whole.labels, 2_000)]


def fashion_training_indices() -> Indices:
    """Return the indices in the official training set that networks are trained on: the other 58,000."""
    return rest(60_000, fashion_validation_indices())


@cache
def _mnist_cut() -> dict[str, Labelled]:
    train, validation = cut(bundled("mnist-train"), 5_000)
    return {"train": train, "validation": validation}


@cache
def _fashion_cut() -> dict[str, Labelled]:
    train, validation = cut(bundled("fashion-train"), 2_000)
    return {"train": train, "validation": validation}


@cache
def _digits_cut() -> dict[str, Labelled]:
    from sklearn.datasets import load_digits  # slow to import, and only this task needs it

    found = load_digits()
    whole = Labelled(found.data.astype(np.uint8), found.target.astype(np.uint8))
    remaining, test = cut(whole, 500)
    train, validation = cut(remaining, 200)
    return {"train": train, "validation": validation, "test": test}
