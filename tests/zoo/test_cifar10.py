"""CIFAR-10 from archives in the official binary format, local and over HTTP."""

import hashlib
import http.server
import io
import socket
import tarfile
import threading
from functools import partial

import numpy as np
import pytest

from compress_explorer.spec.errors import CompressExplorerError
from compress_explorer.zoo import cifar10, tasks

PER_BATCH = 40


def binary_batch(images, labels):
    """The official record: one byte of label, 1024 bytes of red, of green, of blue, rows first."""
    return b"".join(
        bytes([int(label)]) + b"".join(bytes(image[row, :, channel]) for channel in range(3) for row in range(32))
        for image, label in zip(images, labels, strict=True)
    )


def write_archive(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)
    found = {}
    for part, count in (("train", 5 * PER_BATCH), ("test", PER_BATCH)):
        found[f"x_{part}"] = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        found[f"y_{part}"] = random.permutation(np.arange(count, dtype=np.uint8) % 10)
    return found


@pytest.fixture(scope="module")
def members(arrays):
    found = {"cifar-10-batches-bin/test_batch.bin": binary_batch(arrays["x_test"], arrays["y_test"])}
    for index in range(5):
        batch = slice(index * PER_BATCH, (index + 1) * PER_BATCH)
        content = binary_batch(arrays["x_train"][batch], arrays["y_train"][batch])
        found[f"cifar-10-batches-bin/data_batch_{index + 1}.bin"] = content
    return found


@pytest.fixture
def archive(tmp_path, members):
    path = tmp_path / cifar10.ARCHIVE
    write_archive(path, members)
    return path


@pytest.fixture
def server(archive):
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=archive.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/{archive.name}"
        running.shutdown()
        thread.join()


def checksum(path):
    return "md5:" + hashlib.md5(path.read_bytes()).hexdigest()


def test_archive_is_read_in_order(archive, arrays):
    found = cifar10.read(archive)
    for part in ("train", "test"):
        assert np.array_equal(found[part].images, arrays[f"x_{part}"].transpose(0, 3, 1, 2))
        assert np.array_equal(found[part].labels, arrays[f"y_{part}"])


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_npz_gives_the_same(tmp_path, archive, arrays, layout):
    content = dict(arrays)
    if layout == "NCHW":
        content |= {name: content[name].transpose(0, 3, 1, 2) for name in ("x_train", "x_test")}
    np.savez(tmp_path / "copy.npz", **content)
    for part in ("train", "test"):
        first, second = cifar10.read(archive)[part], cifar10.read(tmp_path / "copy.npz")[part]
        assert np.array_equal(first.images, second.images)
        assert np.array_equal(first.labels, second.labels)


def test_splits_are_disjoint_stratified_and_independent_of_the_source(tmp_path, archive, arrays):
    np.savez(tmp_path / "cifar10.npz", **arrays)
    parts = {part: cifar10.load(part, archive) for part in ("train", "validation", "test")}
    assert [len(part.labels) for part in parts.values()] == [180, 20, 40]
    assert np.bincount(parts["validation"].labels).tolist() == [2] * 10
    seen = [{image.tobytes() for image in part.images} for part in parts.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 240
    again = cifar10.load("validation", tmp_path / "cifar10.npz")
    assert np.array_equal(again.images, parts["validation"].images)


def test_the_environment_variable_names_a_file_or_its_folder(archive, monkeypatch):
    for value in (archive, archive.parent):
        monkeypatch.setenv("COMPRESS_EXPLORER_DATA", str(value))
        assert len(cifar10.load("test").labels) == PER_BATCH


def test_it_is_downloaded_once_and_checked(server, archive, tmp_path, monkeypatch):
    monkeypatch.delenv("COMPRESS_EXPLORER_DATA", raising=False)
    download = partial(cifar10.download, server, checksum(archive), tmp_path / "cache")
    monkeypatch.setattr(cifar10, "download", download)
    assert len(cifar10.load("test").labels) == PER_BATCH
    (cached,) = (tmp_path / "cache").iterdir()
    written = cached.stat().st_mtime_ns
    assert download() == cached
    assert cached.stat().st_mtime_ns == written


def test_another_file_than_the_official_is_refused(server, tmp_path):
    with pytest.raises(CompressExplorerError, match="COMPRESS_EXPLORER_DATA"):
        cifar10.download(server, cifar10.CHECKSUM, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_without_a_connection_the_error_says_what_to_do(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: a connection is refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/{cifar10.ARCHIVE}"
        with pytest.raises(CompressExplorerError, match=r"could not be downloaded.*COMPRESS_EXPLORER_DATA"):
            cifar10.download(url, folder=tmp_path / "cache")


def test_a_folder_without_it_is_named(tmp_path):
    with pytest.raises(CompressExplorerError, match=r"no file .*cifar-10-binary\.tar\.gz and .*cifar10\.npz"):
        cifar10.load("test", tmp_path)


def test_damaged_archives(tmp_path, members, archive):
    name = "cifar-10-batches-bin/test_batch.bin"
    lacking = {key: value for key, value in members.items() if key != name}
    damaged = {
        "cut": members | {name: members[name][:-1]},
        "empty": members | {name: b""},
        "lacking": lacking,
        "label": members | {name: b"\x0a" + members[name][1:]},
    }
    for case, content in damaged.items():
        path = tmp_path / f"{case}.tar.gz"
        write_archive(path, content)
        with pytest.raises(CompressExplorerError, match=f"{case}.tar.gz is not a readable copy of CIFAR-10"):
            cifar10.read(path)
    archive.write_bytes(archive.read_bytes()[:5_000])
    with pytest.raises(CompressExplorerError, match="not a readable copy"):
        cifar10.read(archive)


def test_an_npz_with_pickled_objects_is_refused(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays | {"y_test": np.array([object()] * PER_BATCH)}, allow_pickle=True)
    with pytest.raises(CompressExplorerError, match="not a readable copy"):
        cifar10.read(tmp_path / "a.npz")


def test_a_task_with_too_few_images_says_so(archive):
    task = tasks.task("cifar10", archive)
    with pytest.raises(CompressExplorerError, match=r"10000.*40"):
        _ = task.test.inputs
