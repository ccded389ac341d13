"""Weights from files that Keras itself wrote give the outputs that Keras gives; hostile, damaged files are refused."""

from __future__ import annotations

import os
import sys
import zipfile

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras makes the files and the outputs that are compared")
h5py = pytest.importorskip("h5py")

import dlcore as dl  # noqa: E402
from dlcore import layers  # noqa: E402
from dlcore.io import load_keras_weights  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
IMAGES = np.random.default_rng(1).standard_normal((2, 8, 8, 3)).astype(np.float32)


def network(lib, classes: int = 2, head: str = "out"):
    """Every layer with weights of its own, a model within the model, a shared layer; `lib` is keras or dlcore."""
    named = lib.layers
    inputs = named.Input((8, 8, 3))
    x = named.Conv2D(4, 3, name=f"first_{lib.__name__}")(inputs)
    x = named.BatchNormalization()(x)
    x = named.SeparableConv2D(4, 3, activation="relu")(x)
    x = named.PReLU(shared_axes=[1, 2])(x)
    x = named.DepthwiseConv2D(3, padding="same")(x)
    x = named.Dropout(0.3)(x)
    body = lib.Sequential(
        [named.Input((4, 4, 4)), named.Conv2DTranspose(2, 1), named.LayerNormalization()], name="body"
    )
    x = named.Reshape((4, 8))(body(x))
    shared = named.Dense(8, activation="tanh")
    x = shared(shared(x))
    x = named.Bidirectional(named.LSTM(3, return_sequences=True))(x)
    x = named.TimeDistributed(named.Dense(5))(x)
    x = named.RNN([named.GRUCell(4), named.SimpleRNNCell(3)], return_sequences=True)(x)
    x = named.GRU(3)(x)
    return lib.Model(inputs, named.Dense(classes, name=head)(x))


def randomised(model):
    """Also running statistics that are not 0 and 1."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.2, 0.6, w.shape).astype(np.float32) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(Keras's outputs, folder with both kinds of files)"""
    folder = tmp_path_factory.mktemp("keras")
    model = randomised(network(keras))
    model.compile("adam", "mse")
    model.train_on_batch(IMAGES, np.zeros((2, 2), np.float32))  # with the state of an optimizer in the file
    model.save_weights(folder / "net.weights.h5")
    model.save(folder / "net.keras")
    return np.asarray(model.predict(IMAGES, verbose=0)), folder


@pytest.mark.parametrize("file", ["net.weights.h5", "net.keras"])
def test_outputs_are_those_of_keras(file, saved, active_backend):
    outputs, folder = saved
    model = network(dl)
    report = load_keras_weights(model, folder / file)
    assert len(report["loaded"]) == len(model.weights)
    assert report["skipped"] == report["unused"] == []
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), outputs, rtol=1e-4, atol=1e-5)


def test_a_subclassed_model(tmp_path):
    def net(lib):
        class Net(lib.Model):
            def __init__(self):
                super().__init__()
                self.blocks = [lib.layers.Dense(3), lib.layers.Dense(3)]
                self.head = lib.layers.Dense(2)

            def call(self, x):
                for block in self.blocks:
                    x = block(x)
                return self.head(x)

        model = Net()
        model(np.ones((1, 4), np.float32))
        return model

    theirs, ours = randomised(net(keras)), net(dl)
    theirs.save_weights(tmp_path / "net.weights.h5")
    assert load_keras_weights(ours, tmp_path / "net.weights.h5")["skipped"] == []
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_allclose(ours(x).numpy(), theirs.predict(x, verbose=0), rtol=1e-5)


def test_a_replaced_head_is_left_alone(saved):
    path = saved[1] / "net.weights.h5"
    model = network(dl, classes=7)
    before = model.get_weights()
    with pytest.raises(
        ValueError, match=r"'out/kernel' of shape \(3, 7\) as layers/dense_1, number 0; .*shape \(3, 2\)"
    ):
        load_keras_weights(model, path)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    with pytest.warns(UserWarning, match="out/kernel, out/bias"):
        report = load_keras_weights(model, path, skip_mismatch=True)
    assert report["skipped"] == ["out/kernel", "out/bias"]
    assert report["unused"] == ["layers/dense_1/vars/0", "layers/dense_1/vars/1"]
    assert len(report["loaded"]) == len(model.weights) - 2


def test_by_name(tmp_path):
    def chain(lib, body: str, head: str, between=()):
        named = lib.layers
        inner = lib.Sequential([named.Input((4,)), named.Dense(3, name=body), *between], name="inner")
        return lib.Sequential([named.Input((4,)), inner, named.Dense(2, name=head)])

    theirs = chain(keras, "body", "head")
    theirs.save_weights(tmp_path / "net.weights.h5")
    ours = chain(dl, "body", "new_head", [layers.Dense(3, name="added")])
    report = load_keras_weights(ours, tmp_path / "net.weights.h5", by_name=True)
    assert report == {
        "loaded": ["inner/body/kernel", "inner/body/bias"],
        "skipped": ["inner/added/kernel", "inner/added/bias", "new_head/kernel", "new_head/bias"],
        "unused": ["layers/dense/vars/0", "layers/dense/vars/1"],
    }
    np.testing.assert_array_equal(ours.weights[0].numpy(), np.asarray(theirs.get_weights()[0]))
    strangers = chain(dl, "a", "b")
    with pytest.raises(ValueError, match="holds nothing that fits"):
        load_keras_weights(strangers, tmp_path / "net.weights.h5", by_name=True)


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
@pytest.mark.parametrize("length", [0, 8, 17, 1 << 40, 2**64 - 16])
def test_names_in_a_heap_without_an_end_are_refused(tmp_path, length, ending):
    """HDF5 itself walks such a heap for ever."""
    path = tmp_path / "net.weights.h5"
    network(dl).save_weights(path)
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL\x01") + 16
    place = heap
    while data[place]:  # past the texts, at what is free
        place += 16 + -(-int.from_bytes(data[place + 8 : place + 16], "little") // 8) * 8
    data[place + 8 : place + 16] = length.to_bytes(8, "little")
    if ending == ".keras":
        path = tmp_path / "net.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model.weights.h5", bytes(data))
    else:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=r"is no readable Keras file: .*\(the heap of its texts is broken\)"):
        load_keras_weights(network(dl), path, by_name=True)


def _h5(change):
    def make(good, path):
        path.write_bytes((good / "net.weights.h5").read_bytes())
        with h5py.File(path, "r+") as file:
            change(file, file["layers/conv2d/vars"], path)

    return make


def _replaced(**arguments):
    def change(file, group, path):
        del group["1"]
        group.create_dataset("1", **arguments)

    return _h5(change)


def _external(file, group, path):
    del group["1"]
    secret = path.with_name("secret")
    secret.write_bytes(bytes(64))
    group.create_dataset("1", (4,), np.float32, external=[(str(secret), 0, 16)])


def _linked(file, group, path):
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as made:
        made["x"] = np.zeros(4, np.float32)
    del group["1"]
    group["1"] = h5py.ExternalLink(str(other), "x")


def _loop(file, group, path):
    del group["1"]
    group["1"] = file["layers"]


def _zip(members):
    def make(good, path):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return make


def _cut(file, keep):
    return lambda good, path: path.write_bytes((good / file).read_bytes()[: int(keep * (good / file).stat().st_size)])


HOSTILE = {
    "empty": (lambda good, path: path.write_bytes(b""), "no readable Keras file"),
    "text": (lambda good, path: path.write_bytes(b"these are no weights" * 50), "no readable Keras file"),
    "truncated": (_cut("net.weights.h5", 0.5), "no readable Keras file"),
    "truncated archive": (_cut("net.keras", 0.5), "no readable Keras file"),
    "archive of other things": (_zip({"config.json": "{}"}), "no readable Keras file"),
    "archive of no HDF5": (_zip({"model.weights.h5": "x" * 4096}), "no readable Keras file"),
    "nothing in it": (lambda good, path: h5py.File(path, "w").close(), "holds no weights as Keras 3 saves them"),
    "array outside the file": (_h5(_external), "no array of numbers of its own"),
    "link out of the file": (_h5(_linked), "no array of numbers of its own"),
    "group in a circle": (_h5(_loop), "no array of numbers of its own"),
    "strings": (_replaced(data=["a", "b", "c", "d"], dtype=h5py.string_dtype()), "no array of numbers of its own"),
    "objects": (_replaced(shape=(4,), dtype=h5py.vlen_dtype(np.float32)), "no array of numbers of its own"),
    "terabytes": (_replaced(shape=(1 << 40,), dtype=np.float32, chunks=(1024,)), r"has it in shape \(1099511627776,\)"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_and_damaged_files(kind, saved, tmp_path):
    make, message = HOSTILE[kind]
    make(saved[1], tmp_path / "file")
    model = network(dl)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        load_keras_weights(model, tmp_path / "file")
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_no_file_no_weights_no_h5py(saved, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_keras_weights(network(dl), tmp_path / "nothing.weights.h5")
    with pytest.raises(ValueError, match="has no weights yet"):
        load_keras_weights(dl.Sequential([layers.Dense(2)]), saved[1] / "net.keras")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'dlcore\[keras-files\]'"):
        load_keras_weights(network(dl), saved[1] / "net.keras")
