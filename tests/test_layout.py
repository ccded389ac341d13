"""Images in the lanes of vectors, between the convolutions of a recorded step: the bits of eager steps."""

from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore import layers
from dlcore.backends.capture import Buffer, Call, View
from dlcore.backends.layout import images_in_lanes
from dlcore.backends.registry import get_backend

BATCH = 32


def _lenet(pooling):
    return [
        layers.Conv2D(6, 5, activation="tanh"),
        pooling(2),
        layers.Conv2D(16, 3, activation="relu"),
        pooling(2),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    ]


MODELS = {
    "average": lambda: _lenet(layers.AveragePooling2D),
    "maximum": lambda: _lenet(layers.MaxPooling2D),
    "padded": lambda: [
        layers.Conv2D(4, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(9, 3, padding="same", activation="sigmoid"),
        layers.MaxPooling2D(3, strides=2, padding="same"),
        layers.Conv2D(5, 2),
        layers.LeakyReLU(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ],
    "alone": lambda: [layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(3, activation="softmax")],
    "reshaped": lambda: [
        layers.Conv2D(4, 3, padding="same"),
        layers.Reshape((15, 16, 4)),
        layers.AveragePooling2D(2),
        layers.Conv2D(3, 3),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    ],
}


def _trained(name, eagerly, samples):
    rng = np.random.default_rng(5)
    dl.random.set_seed(3)
    model = dl.Sequential([layers.Input((16, 15, 2)), *MODELS[name]()])
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=eagerly)
    found = []
    for _ in range(6):
        x = rng.standard_normal((samples, 16, 15, 2)).astype(np.float32)
        found.append(model.train_on_batch(x, rng.integers(0, 3, samples)))
        found.append(model.test_on_batch(x, rng.integers(0, 3, samples)))
    for _ in range(5):
        found.append(model.predict_on_batch(rng.standard_normal((samples, 16, 15, 2)).astype(np.float32)))
    assert eagerly or (model._plan.train.replayed and model._plan.test.replayed and model._prediction().replayed)
    return model, found


@pytest.mark.parametrize("samples", [BATCH, BATCH + 1])
@pytest.mark.parametrize("name", MODELS)
def test_replays_give_the_bits_of_eager_steps(active_backend, name, samples):
    eager, expected = _trained(name, True, samples)
    model, found = _trained(name, False, samples)
    for a, b in zip(model.get_weights(), eager.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(found, expected, strict=True):
        if np.ndim(a) and name == "padded":  # prediction folds batch normalisation into the weights
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def _images(index, *shape):
    array = np.empty(shape, np.float32)
    return View(Buffer(index, array.nbytes), 0, array)


def test_only_arrays_that_no_call_needs_as_they_are_turn():
    engine = pytest.importorskip("dlcore.kernels.native.core") and get_backend("cython")
    x, w = np.empty((BATCH, 8, 8, 1), np.float32), np.empty((3, 3, 1, 4), np.float32)
    y, small, flat = _images(0, BATCH, 6, 6, 4), _images(1, BATCH, 3, 3, 4), None
    flat = View(small.buffer, 0, np.empty((BATCH, 36), np.float32))
    out, dense = _images(2, BATCH, 2), np.empty((36, 2), np.float32)
    geometry = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
    calls = [
        Call("conv2d", {"x": x, "w": w, "b": None, "y": y, **geometry, "activation": "linear"}),
        Call("activation", {"x": y, "y": y, "kind": "softplus", "alpha": 0.0}),
        Call("avg_pool2d", {"x": y, "y": small, "size": (2, 2), "stride": (2, 2), "padding": (0, 0, 0, 0)}),
        Call("linear", {"x": flat, "w": dense, "b": None, "y": out, "activation": "linear"}),
    ]
    lanes = engine.images_in_lanes("conv2d", calls[0].arguments)
    turned = images_in_lanes(calls, [out], engine)
    assert [call.name for call in turned] == ["conv2d", "activation", "avg_pool2d", "copy", "linear"]
    assert turned[0].arguments["y"].shape == (BATCH // lanes, 6, 6, 4, lanes)
    assert turned[2].arguments["x"].shape == (BATCH // lanes, 6, 6, 4 * lanes)
    assert turned[3].arguments["y"].buffer is small.buffer
    assert turned[4].arguments["x"] is flat
    assert calls[0].arguments["y"] is y  # as recorded
    assert images_in_lanes(calls, [y], engine) == calls  # what is read afterwards stays as it is
