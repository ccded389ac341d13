"""Saving and loading: what is saved comes back, and what is damaged is refused."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

import dlcore as dl
from dlcore import layers


def _x(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def _model():
    return dl.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(4, kernel_regularizer="l2"),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _trained():
    model = _model()
    model.compile(optimizer=dl.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(_x(40, 8, 8, 1), np.arange(40) % 3, epochs=2, batch_size=8, verbose=0)
    return model


def test_a_model_comes_back(active_backend, tmp_path):
    model = _trained()
    path = tmp_path / "model.safetensors"
    model.save(path)
    twin = dl.load_model(path)
    assert twin.backend == active_backend.name
    assert twin.get_config() == model.get_config()
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    x = _x(5, 8, 8, 1)
    np.testing.assert_array_equal(twin.predict(x, verbose=0), model.predict(x, verbose=0))
    assert list(tmp_path.iterdir()) == [path]


def test_training_goes_on(tmp_path):
    """Two more epochs after loading give what two more epochs without saving give."""
    model = _trained()
    path = tmp_path / "model.safetensors"
    model.save(path)
    twin = dl.load_model(path)
    x, y = _x(40, 8, 8, 1), np.arange(40) % 3
    histories = [m.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0).history for m in (model, twin)]
    assert histories[0]["loss"] == histories[1]["loss"]
    assert histories[0]["accuracy"] == histories[1]["accuracy"]
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def _noisy(rate):
    """Shuffles, masks, noise, augmentation, moving statistics, and an optimizer with moments."""
    model = dl.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.RandomTranslation(0.2, 0.2),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GaussianNoise(0.1),
            layers.Dropout(0.3),
            layers.Reshape((6, 24)),
            layers.LSTM(5, dropout=0.2),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(dl.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("schedule", [False, True])
def test_training_goes_on_to_the_same_bits(schedule, active_backend, tmp_path):
    """Five epochs at once, or two, and three more from the file, in whatever state the library's generators are."""
    rate = dl.optimizers.schedules.CosineDecay(0.01, 60) if schedule else 0.01
    x, y = _x(100, 8, 8, 1), np.arange(100) % 3
    path = tmp_path / "model.safetensors"
    dl.set_random_seed(0)
    whole = _noisy(rate)
    expected = whole.fit(x, y, epochs=5, batch_size=16, verbose=0).history["loss"]
    dl.set_random_seed(0)
    first = _noisy(rate)
    first.fit(x, y, epochs=2, batch_size=16, verbose=0)
    first.save(path)
    dl.set_random_seed(7)
    resumed = dl.load_model(path)
    losses = resumed.fit(x, y, epochs=5, initial_epoch=2, batch_size=16, verbose=0).history["loss"]
    assert losses == expected[2:]
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, value in whole.optimizer.get_state().items():
        np.testing.assert_array_equal(resumed.optimizer.get_state()[name], value)


def test_without_compilation(tmp_path):
    path = tmp_path / "model.safetensors"
    _trained().save(path, include_optimizer=False)
    assert not getattr(dl.load_model(path), "compiled", False)
    _trained().save(path)
    assert not getattr(dl.load_model(path, compile=False), "compiled", False)


class Scaled(layers.Layer):
    def __init__(self, factors, **kwargs):
        super().__init__(**kwargs)
        self.factors = factors

    def build(self, input_shape):
        self.bias = self.add_weight((input_shape[-1],), "random_normal", name="bias")

    def call(self, x):
        return x * self.factors[0] + self.bias


class Custom(dl.Model):
    def __init__(self, units, scale=(2.0, 1.0)):
        super().__init__()
        self.units = units
        self.steps = [layers.Dense(units), Scaled(list(scale))]

    def call(self, inputs):
        x = inputs["x"]
        for step in self.steps:
            x = step(x)
        return x + inputs["y"]


def test_custom_classes(tmp_path):
    path = tmp_path / "model.safetensors"
    model = Custom(3, scale=(5.0, 1.0))
    x = {"x": _x(2, 4), "y": _x(2, 1)}
    y = model(x).numpy()
    model.save(path)
    with pytest.raises(ValueError, match=r"(?s)Custom.*custom_objects"):
        dl.load_model(path)
    twin = dl.load_model(path, custom_objects={"Custom": Custom})
    np.testing.assert_array_equal(twin(x).numpy(), y)

    chain = dl.Sequential([layers.Input((4,)), Scaled([0.5])])
    chain.save(path)
    again = dl.load_model(path, custom_objects={"Scaled": Scaled})
    np.testing.assert_array_equal(again(x["x"]).numpy(), chain(x["x"]).numpy())


def test_custom_loss(tmp_path):
    def distance(y_true, y_pred):
        return ((y_true - y_pred) ** 2).mean()

    path = tmp_path / "model.safetensors"
    model = dl.Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile(optimizer="sgd", loss=distance)
    model.fit(_x(4, 3), _x(4, 1), verbose=0)
    model.save(path)
    with pytest.raises(ValueError, match=r"(?s)distance.*custom_objects"):
        dl.load_model(path)
    assert dl.load_model(path, compile=False).built
    twin = dl.load_model(path, custom_objects={"distance": distance})
    again = [m.evaluate(_x(4, 3), _x(4, 1), verbose=0) for m in (model, twin)]
    assert again[0] == again[1]
    model.compile(optimizer="sgd", loss=lambda a, b: ((a - b) ** 2).mean())
    with pytest.raises(ValueError, match="compiled with a lambda"):
        model.save(path)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)], return_sequences=True),
        layers.TimeDistributed(layers.Dense(4, activation="elu")),
        layers.SimpleRNN(3, kernel_regularizer="l1", kernel_initializer=dl.initializers.HeNormal(seed=3)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_with_layers(layer, tmp_path):
    model = dl.Sequential([layers.Input((5, 2)), layer])
    path = tmp_path / "model.safetensors"
    model.save(path)
    twin = dl.load_model(path)
    np.testing.assert_array_equal(twin(_x(2, 5, 2)).numpy(), model(_x(2, 5, 2)).numpy())


def test_graphs(tmp_path):
    a = dl.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(a)
    x = layers.add([x, layers.Conv2D(4, 1)(a)]) * 0.5
    x = dl.functional.transpose(x[:, 1:, ::2], (0, 2, 1, 3))
    model = dl.Model({"image": a}, [layers.GlobalAveragePooling2D()(x), x - np.ones((3, 5, 4), "float32")])
    path = tmp_path / "model.safetensors"
    model.save(path)
    for p, q in zip(dl.load_model(path)({"image": _x(2, 6, 6, 2)}), model({"image": _x(2, 6, 6, 2)}), strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_weights_by_order(tmp_path):
    model, twin = _model(), _model()
    path = tmp_path / "w.safetensors"
    model.save_weights(path)
    report = twin.load_weights(path)
    assert len(report["loaded"]) == 10
    assert not report["skipped"]
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="holds weights only"):
        dl.load_model(path)


def test_weights_by_name(tmp_path):
    """Transfer learning: the body by name, the head left alone."""
    path = tmp_path / "w.safetensors"
    old = dl.Sequential([layers.Input((4,)), layers.Dense(3, name="body"), layers.Dense(2, name="head")])
    old.save_weights(path)
    new = dl.Sequential([layers.Input((4,)), layers.Dense(3, name="body"), layers.Dense(5, name="new_head")])
    report = new.load_weights(path, by_name=True)
    assert report == {
        "loaded": ["body/kernel", "body/bias"],
        "skipped": ["new_head/kernel", "new_head/bias"],
        "unused": ["head/kernel", "head/bias"],
    }
    np.testing.assert_array_equal(new.layers[0].kernel.numpy(), old.layers[0].kernel.numpy())
    wide = dl.Sequential([layers.Input((4,)), layers.Dense(3, name="body"), layers.Dense(5, name="head")])
    before = wide.get_weights()
    with pytest.raises(ValueError, match=r"'head/kernel' has shape \(3, 2\), model .* needs \(3, 5\)"):
        wide.load_weights(path, by_name=True)
    assert all((a == b).all() for a, b in zip(before, wide.get_weights(), strict=True))
    with pytest.warns(UserWarning, match="head/kernel"):
        assert wide.load_weights(path, skip_mismatch=True)["skipped"] == ["head/kernel", "head/bias"]
    stranger = dl.Sequential([layers.Input((4,)), layers.Dense(3, name="other")])
    with pytest.raises(ValueError, match="no weight's name in common"):
        stranger.load_weights(path, by_name=True)
    with pytest.raises(ValueError, match=r"holds 4 weights, model .* has 2"):
        stranger.load_weights(path)


def _header(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _with_header(header, body):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def _changed(data, **changes):
    header, body = _header(data)
    for key, value in changes.items():
        if value is None:
            del header["__metadata__"][key]
        else:
            header["__metadata__"][key] = value
    return _with_header(header, body)


DAMAGE = {
    "empty": (lambda data: b"", "truncated, damaged"),
    "truncated": (lambda data: data[: len(data) // 2], "truncated, damaged"),
    "cut short": (lambda data: data[:-1], "truncated, damaged"),
    "text": (lambda data: b"these are no weights" * 50, "truncated, damaged"),
    "huge header": (lambda data: struct.pack("<Q", 2**62) + data[8:], "truncated, damaged"),
    "flipped bit": (lambda data: data[:-3] + bytes([data[-3] ^ 64]) + data[-2:], "SHA-256"),
    "foreign": (lambda data: _changed(data, format="pt"), "not saved by dlcore"),
    "newer": (lambda data: _changed(data, format_version="99"), "format version 99.*update dlcore"),
    "no version": (lambda data: _changed(data, format_version="x"), "format_version"),
    "no checksum": (lambda data: _changed(data, sha256=None), "metadata lack"),
    "no order": (lambda data: _changed(data, weights="[1"), "metadata lack"),
    "other order": (lambda data: _changed(data, weights='["nothing"]'), "is missing"),
    "bad architecture": (lambda data: _changed(data, architecture="{"), "architecture cannot be read"),
    "other architecture": (
        lambda data: _changed(data, architecture='{"model": {"class_name": "Dense", "config": {}}, "built_for": null}'),
        "does not describe a model",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files(kind, tmp_path):
    change, message = DAMAGE[kind]
    path = tmp_path / "model.safetensors"
    model = _model()
    model.save(path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        dl.load_model(path)
    if "architecture" not in kind:
        before = model.get_weights()
        with pytest.raises(ValueError, match=message):
            model.load_weights(path)
        assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    "state",
    [
        {"streams": []},
        {"streams": [[1, 0]], "shuffles": {}},
        {"streams": [], "shuffles": {"bit_generator": "PCG64", "state": {"state": -1, "inc": 0}}},
        {"streams": [["a", 0]], "shuffles": None},
    ],
)
def test_damaged_random_state(state, tmp_path):
    path = tmp_path / "model.safetensors"
    _trained().save(path)
    header, body = _header(path.read_bytes())
    document = json.loads(header["__metadata__"]["architecture"])
    document["random"] = state
    header["__metadata__"]["architecture"] = json.dumps(document)
    path.write_bytes(_with_header(header, body))
    with pytest.raises(ValueError, match="random state does not fit"):
        dl.load_model(path)
    assert dl.load_model(path, compile=False).built


def test_other_shapes_in_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    dl.Sequential([layers.Input((4,)), layers.Dense(3)]).save(path)
    header, _ = _header(path.read_bytes())
    other = tmp_path / "other.safetensors"
    dl.Sequential([layers.Input((5,)), layers.Dense(3)]).save(other)
    other.write_bytes(_changed(other.read_bytes(), architecture=header["__metadata__"]["architecture"]))
    with pytest.raises(ValueError, match=r"has shape \(5, 3\), the architecture needs \(4, 3\)"):
        dl.load_model(other)


def test_bad_paths(tmp_path):
    model = _model()
    with pytest.raises(ValueError, match=r"must end in '\.safetensors' or '\.keras' or '\.weights\.h5', got"):
        model.save(tmp_path / "model.pickle")
    with pytest.raises(ValueError, match=r"must end in '\.keras', got"):
        model.save(tmp_path / "model.h5")
    with pytest.raises(FileNotFoundError, match="directory that does not exist"):
        model.save(tmp_path / "nowhere" / "model.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        dl.load_model(tmp_path / "nothing.safetensors")
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(tmp_path / "model.safetensors", overwrite=False)
    (tmp_path / "theirs.weights.h5").write_bytes(b"")
    with pytest.raises(ValueError, match="is no readable Keras file"):
        model.load_weights(tmp_path / "theirs.weights.h5")
    with pytest.raises(ValueError, match="not built"):
        dl.Sequential([layers.Dense(2)]).save(tmp_path / "model.safetensors")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    _model().save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        _model().save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    unsaveable = dl.Sequential([layers.Input((8,)), layers.Lambda(lambda x: x * 2.0)])
    with pytest.raises(ValueError, match="no name"):
        unsaveable.save(path)
    assert path.read_bytes() == before
