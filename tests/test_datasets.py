"""Data sets: what they give, where they look, and what they say of files that are not what they should be."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from dlcore import datasets
from dlcore.datasets import BatchLoader, idx
from dlcore.datasets.digits import resize

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
ARRAYS = tuple(
    np.random.default_rng(0).integers(0, 10, shape).astype(np.uint8) for shape in ((6, 4, 5), (6,), (3, 4, 5), (3,))
)


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_four(folder: Path, zipped: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(FILES, ARRAYS, strict=True):
        data = idx_bytes(array)
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(data, mtime=0) if zipped else data)
    return folder


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No data set lies anywhere on this machine, and there is no network."""

    def offline(address, timeout):
        raise OSError("no network")

    monkeypatch.delenv("DLCORE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", offline)


# ---- digits ---------------------------------------------------------------------------------------------------------


def test_digits_are_all_there():
    (x, y), (xt, yt) = datasets.digits.load_data()
    assert (x.shape, xt.shape) == ((1438, 8, 8, 1), (359, 8, 8, 1))
    assert x.dtype == xt.dtype == np.float32
    assert y.dtype == yt.dtype == np.int64
    assert x.min() == 0
    assert x.max() == 1
    everything = np.concatenate([x, xt])
    assert len(np.unique(everything.reshape(1797, -1), axis=0)) > 1790
    assert np.bincount(np.concatenate([y, yt])).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(yt).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]


def test_digits_equal_scikit_learns():
    sklearn = pytest.importorskip("sklearn.datasets")
    theirs = sklearn.load_digits()
    with np.load(Path(datasets.digits.__file__).with_name("digits.npz")) as file:
        np.testing.assert_array_equal(file["x"], theirs.images)
        np.testing.assert_array_equal(file["y"], theirs.target)


def test_digits_resized():
    (x, _), (xt, _) = datasets.digits.load_data(image_size=(32, 24))
    assert x.shape == (1438, 32, 24, 1)
    assert xt.flags.c_contiguous
    assert x.dtype == np.float32
    assert 0 <= x.min() <= x.max() <= 1


def test_resize_is_bilinear_between_pixel_centres():
    image = np.array([[[0.0, 1.0], [2.0, 3.0]]])
    expected = [[0, 0.25, 0.75, 1], [0.5, 0.75, 1.25, 1.5], [1.5, 1.75, 2.25, 2.5], [2, 2.25, 2.75, 3]]
    np.testing.assert_allclose(resize(image, 4, 4)[0], expected)
    np.testing.assert_allclose(resize(image, 1, 1)[0], [[1.5]])
    np.testing.assert_array_equal(resize(np.ones((2, 1, 1)), 3, 5), np.ones((2, 3, 5)))
    np.testing.assert_allclose(resize(np.full((1, 8, 8), 0.3), 32, 32), 0.3)


@pytest.mark.parametrize("size", [(8,), (8, 8, 1), (0, 8), (8, -1), (8, 2.5), 8, "ab", None])
def test_digits_refuse_odd_sizes(size):
    with pytest.raises(ValueError, match="image_size must be two positive whole numbers"):
        datasets.digits.load_data(image_size=size)


def test_digits_state_source_and_licence():
    text = Path(datasets.digits.__file__).with_name("DIGITS.txt").read_text()
    assert "Alpaydin" in text
    assert "CC BY 4.0" in text


# ---- IDX files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("module", [datasets.mnist, datasets.fashion_mnist])
def test_files_from_a_folder(tmp_path, zipped, module):
    (x, y), (xt, yt) = module.load_data(write_four(tmp_path, zipped))
    for got, want in zip((x, y, xt, yt), ARRAYS, strict=True):
        np.testing.assert_array_equal(got, want)
        assert got.dtype == np.uint8
        assert got.flags.writeable


@pytest.mark.parametrize("folder", ["fashion-mnist", "fashion_mnist"])
def test_files_from_dlcore_data(monkeypatch, tmp_path, folder):
    write_four(tmp_path / folder)
    monkeypatch.setenv("DLCORE_DATA", str(tmp_path))
    np.testing.assert_array_equal(datasets.fashion_mnist.load_data()[0][0], ARRAYS[0])
    monkeypatch.setenv("DLCORE_DATA", str(tmp_path / folder))
    np.testing.assert_array_equal(datasets.fashion_mnist.load_data()[0][0], ARRAYS[0])
    with pytest.raises(ConnectionError, match="mnist"):
        datasets.mnist.load_data()  # another data set's folder is not taken for this one's


def test_a_folder_that_lacks_a_file(tmp_path):
    write_four(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"path: .* lacks t10k-labels-idx1-ubyte"):
        datasets.mnist.load_data(tmp_path)


def test_debian_folder(monkeypatch, tmp_path):
    folder = write_four(tmp_path / "debian")
    source = idx.Source("fashion-mnist", mirrors=(), sha256=dict.fromkeys(FILES, ""), folders=(str(folder),))
    np.testing.assert_array_equal(idx.load(source)[1][1], ARRAYS[3])


@pytest.mark.skipif(not os.path.isdir("/usr/share/datasets/fashion-mnist"), reason="no dataset-fashion-mnist")
def test_fashion_mnist_itself():
    (x, y), (xt, yt) = datasets.fashion_mnist.load_data()
    assert (x.shape, y.shape, xt.shape, yt.shape) == ((60000, 28, 28), (60000,), (10000, 28, 28), (10000,))
    assert np.bincount(y).tolist() == [6000] * 10
    assert len(datasets.fashion_mnist.CLASSES) == 10


GOOD = idx_bytes(ARRAYS[0])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not an IDX file: it begins with nothing"),
        (b"PK\x03\x04 something else", "not an IDX file"),
        (b"\0\0\x42\x01" + GOOD[4:], "not an IDX file"),
        (GOOD[:10], "truncated: its header has 10 bytes, expected 16"),
        (GOOD[:-1], r"truncated: 119 bytes of data, expected 120 for shape \[6, 4, 5\]"),
        (GOOD + b"x", "longer than its header says: 121 bytes of data, expected 120"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "truncated: 0 bytes of data"),
        (gzip.compress(GOOD, mtime=0)[:-9], "damaged gzip file"),
        (gzip.compress(GOOD, mtime=0)[:40] + b"\0" * 30, "damaged gzip file"),
        (gzip.compress(GOOD, mtime=0)[:-8] + b"\0" * 8, "damaged gzip file"),
    ],
)
def test_malformed_files(tmp_path, data, words):
    path = tmp_path / "some-file"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=words) as caught:
        idx.read_idx(path)
    assert str(path) in str(caught.value)


def test_every_idx_type(tmp_path):
    for code, dtype in {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}.items():
        want = np.array([[1, 2, 3]], dtype)
        path = tmp_path / str(code)
        path.write_bytes(bytes([0, 0, code, 2]) + struct.pack(">2I", 1, 3) + want.tobytes())
        got = idx.read_idx(path)
        np.testing.assert_array_equal(got, want)
        assert got.dtype.isnative


def test_images_and_labels_that_do_not_match(tmp_path):
    write_four(tmp_path, zipped=False)
    (tmp_path / FILES[1]).write_bytes(idx_bytes(ARRAYS[3]))
    with pytest.raises(ValueError, match=r"train files must hold images .* got \[6, 4, 5\] and \[3\]"):
        datasets.mnist.load_data(tmp_path)


# ---- downloads ------------------------------------------------------------------------------------------------------


class Answer:
    def __init__(self, data: bytes, breaks: bool = False):
        self.data, self.breaks = data, breaks
        self.headers = {"Content-Length": str(len(data))}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def read(self, size: int) -> bytes:
        if self.breaks and not self.data:
            raise OSError("connection lost")
        block, self.data = self.data[:size], self.data[size:]
        return block


@pytest.fixture
def source():
    return idx.Source(
        "clouds",
        mirrors=("https://one.invalid/", "https://two.invalid/"),
        sha256={
            name: hashlib.sha256(gzip.compress(idx_bytes(a), mtime=0)).hexdigest()
            for name, a in zip(FILES, ARRAYS, strict=True)
        },
    )


def served() -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(idx_bytes(a), mtime=0) for name, a in zip(FILES, ARRAYS, strict=True)}


def test_offline_says_what_was_tried_and_what_to_do(tmp_path, source):
    with pytest.raises(ConnectionError) as caught:
        idx.load(source)
    message = str(caught.value)
    for words in ("https://one.invalid/train-images", "https://two.invalid/", "no network", "DLCORE_DATA", "`path`"):
        assert words in message
    assert str(tmp_path / "cache" / "dlcore" / "clouds") in message


def test_download_checks_keeps_and_reuses(monkeypatch, tmp_path, source):
    asked = []

    def urlopen(address, timeout):
        asked.append(address)
        if "one.invalid" in address:
            return Answer(b"<html>not here any more</html>")
        return Answer(served()[address.rpartition("/")[2]])

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    np.testing.assert_array_equal(idx.load(source)[0][0], ARRAYS[0])
    assert len(asked) == 8
    cache = tmp_path / "cache" / "dlcore" / "clouds"
    assert sorted(os.listdir(cache)) == sorted(served())
    idx.load(source)
    assert len(asked) == 8


def test_broken_download_leaves_nothing_behind(monkeypatch, tmp_path, source):
    monkeypatch.setattr("urllib.request.urlopen", lambda address, timeout: Answer(b"half of it", breaks=True))
    with pytest.raises(ConnectionError, match="connection lost"):
        idx.load(source)
    assert os.listdir(tmp_path / "cache" / "dlcore" / "clouds") == []


def test_wrong_sum_is_refused(monkeypatch, tmp_path, source):
    monkeypatch.setattr("urllib.request.urlopen", lambda address, timeout: Answer(b"something else"))
    with pytest.raises(ConnectionError, match=r"its SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}"):
        idx.load(source)
    assert os.listdir(tmp_path / "cache" / "dlcore" / "clouds") == []


@pytest.mark.parametrize("module", [datasets.mnist, datasets.fashion_mnist])
def test_sums_are_pinned(module):
    assert tuple(module.SOURCE.sha256) == FILES
    assert all(len(bytes.fromhex(pinned)) == 32 for pinned in module.SOURCE.sha256.values())


# ---- batches --------------------------------------------------------------------------------------------------------


def test_batches_in_order_are_views():
    x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    loader = BatchLoader((x, y), batch_size=2)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert [len(b[0]) for b in batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), y)
    assert np.shares_memory(batches[0][0], x)


def test_one_array_gives_arrays():
    assert [b.tolist() for b in BatchLoader(np.arange(3), batch_size=2)] == [[0, 1], [2]]


def test_drop_last():
    loader = BatchLoader(np.arange(5), batch_size=2, drop_last=True)
    assert len(loader) == 2
    assert [b.tolist() for b in loader] == [[0, 1], [2, 3]]


def test_order_follows_the_seed_and_changes_each_epoch():
    def epochs(seed, count=3, start=0):
        loader = BatchLoader(np.arange(50), batch_size=7, shuffle=True, seed=seed)
        loader.epoch = start
        return [np.concatenate(list(loader)).tolist() for _ in range(count)]

    first = epochs(3)
    assert first == epochs(3)
    assert first != epochs(4)
    assert len({tuple(order) for order in first}) == 3
    assert all(sorted(order) == list(range(50)) for order in first)
    assert epochs(3, count=1, start=2) == first[2:]


def test_rows_stay_together():
    x = np.arange(20)
    for a, b in BatchLoader((x, x * 10), batch_size=6, shuffle=True, seed=0):
        np.testing.assert_array_equal(b, a * 10)


def test_unseeded_order_follows_the_library_seed():
    from dlcore import random

    orders = []
    for _ in range(2):
        random.set_seed(5)
        orders.append(BatchLoader(np.arange(30), shuffle=True).order(0).tolist())
    assert orders[0] == orders[1]


@pytest.mark.parametrize(
    ("arrays", "options", "words"),
    [
        (np.empty((0, 3)), {}, "empty data set"),
        ((np.zeros(3), np.zeros(4)), {}, r"same length, got lengths \[3, 4\]"),
        ((), {}, "one array or a sequence"),
        (np.float32(1), {}, "one array or a sequence"),
        (np.zeros(3), {"batch_size": 0}, "batch_size must be a positive whole number, got 0"),
        (np.zeros(3), {"batch_size": 1.5}, "batch_size"),
    ],
)
def test_loader_refuses(arrays, options, words):
    with pytest.raises(ValueError, match=words):
        BatchLoader(arrays, **options)
