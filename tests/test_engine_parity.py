"""The same model, seed and data on every engine: the same start, order and masks, and the same course of the loss."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

import dlcore as dl
from dlcore import layers, optimizers

pytestmark = pytest.mark.usefixtures("active_backend")

RNG = np.random.default_rng(6)
IMAGES = RNG.normal(size=(40, 16, 16, 1)).astype(np.float32)
SEQUENCES = RNG.normal(size=(40, 7, 5)).astype(np.float32)
LABELS = RNG.integers(0, 5, 40)


def _lenet():
    return dl.Sequential(
        [
            layers.Input((16, 16, 1)),
            layers.Conv2D(6, 5, activation="tanh", padding="same"),
            layers.AveragePooling2D(2),
            layers.Conv2D(8, 3, activation="tanh"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(20, activation="tanh"),
            layers.Dropout(0.25),
            layers.Dense(5, activation="softmax"),
        ]
    ), IMAGES


def _resnet():
    def block(x, filters, strides):
        short = layers.Conv2D(filters, 1, strides=strides, use_bias=False)(x)
        x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        x = layers.Activation("relu")(layers.BatchNormalization()(x))
        x = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(x))
        return layers.Activation("relu")(layers.Add()([x, short]))

    inputs = layers.Input((16, 16, 1))
    x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inputs)))
    x = layers.GlobalAveragePooling2D()(block(block(x, 6, 1), 8, 2))
    return dl.Model(inputs, layers.Dense(5, activation="softmax")(x)), IMAGES


def _recurrent():
    return dl.Sequential(
        [
            layers.Input((7, 5)),
            layers.LSTM(8, return_sequences=True),
            layers.GRU(6),
            layers.Dense(5, activation="softmax"),
        ]
    ), SEQUENCES


def _course(build) -> tuple[list[np.ndarray], list[float]]:
    """Weights at the start, and the loss of each of 12 shuffled steps."""
    dl.set_random_seed(12)
    model, x = build()
    start = model.get_weights()
    values: list[float] = []

    class Keep(dl.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            values.append(logs["loss"])

    model.compile(optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy")
    model.fit(x, LABELS, batch_size=12, epochs=3, callbacks=[Keep()], verbose=0)
    return start, values


@lru_cache
def _reference(build) -> tuple[list[np.ndarray], list[float]]:
    with dl.use_backend("numpy"):
        return _course(build)


@pytest.mark.parametrize("build", [_lenet, _resnet, _recurrent], ids=lambda f: f.__name__[1:])
def test_course_of_the_loss(build):
    start, values = _course(build)
    expected_start, expected = _reference(build)
    for a, b in zip(start, expected_start, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(values) == 12
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4)


def test_same_seed_same_weights_order_and_masks():
    def draw() -> list[np.ndarray]:
        dl.set_random_seed(5)
        dense, dropout = layers.Dense(11), layers.Dropout(0.4)
        dense.build((None, 6))
        seen = []

        class Model(dl.Model):
            def train_step(self, data):
                seen.append(data[0].numpy()[:, 0])
                return {"loss": 0.0}

        model = Model()
        model.compile("sgd", "mse")
        model.built = True
        with pytest.warns(UserWarning, match="no trainable"):
            model.fit(np.arange(20.0)[:, None], np.zeros(20), batch_size=8, epochs=2, verbose=0)
        masks = [dropout(np.ones((9, 13), np.float32), training=True).numpy() for _ in range(2)]
        return [*dense.get_weights(), np.concatenate(seen), *masks]

    found = draw()
    with dl.use_backend("numpy"):
        expected = draw()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(found[-1] != found[-2])
    assert 0.2 < np.mean(found[-1] == 0) < 0.6
