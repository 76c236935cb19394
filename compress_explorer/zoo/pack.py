"""Write the bundled data files from the full sets: ``python -m compress_explorer.zoo.pack --data DIR``.

DIR holds ``mnist.npz`` and ``fashion_mnist.npz``, each with the official sets in their official order, as
uint8 arrays ``x_train``, ``y_train``, ``x_test``, ``y_test``. The same input gives the same bytes.
"""

import argparse
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress_explorer.zoo.datasets import FOLDER
from compress_explorer.zoo.splits import SEED, stratified_indices

#: How many of Fashion-MNIST's 60,000 training images are bundled, 1,000 of each class.
FASHION_TRAIN = 10_000

# Not the key that cuts validation: with the same one, validation would be the first of what this chose.
_FASHION_SEED = SEED + 1


def write_npz(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write `arrays` as an npz file at deflate's highest level and with fixed dates.

    `numpy.savez_compressed` uses a lower level and, through the clock, gives other bytes every time.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, buffer.getvalue(), compresslevel=9)


def pack(source: Path, target: Path) -> None:
    """Write the MNIST and Fashion-MNIST files of the package into `target`."""
    with np.load(source / "mnist.npz", allow_pickle=False) as mnist:
        for part in ("train", "test"):
            arrays = {"images": mnist[f"x_{part}"], "labels": mnist[f"y_{part}"]}
            write_npz(target / f"mnist-{part}.npz", arrays)
    with np.load(source / "fashion_mnist.npz", allow_pickle=False) as fashion:
        write_npz(target / "fashion-test.npz", {"images": fashion["x_test"], "labels": fashion["y_test"]})
        images, labels = fashion["x_train"], fashion["y_train"]
    chosen = stratified_indices(images, labels, FASHION_TRAIN, _FASHION_SEED)
    arrays = {
        "images": images[chosen],
        "labels": labels[chosen],
        "official_indices": chosen.astype(np.uint16),
    }
    write_npz(target / "fashion-train.npz", arrays)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write the zoo's bundled data files.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the full sets")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    pack(arguments.data, arguments.out)


if __name__ == "__main__":
    main()
