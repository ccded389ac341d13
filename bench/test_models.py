"""Whole steps of small models, one group per case, one column per engine.

Before it is timed, a step is held against the NumPy engine: the same seed must give the same loss and the same
predictions within 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from dlcore import Model, Sequential, layers, random
from dlcore.applications import MLP, LeNet5
from dlcore.backends import Backend, BackendUnavailableError, use_backend


class Case(NamedTuple):
    build: Callable[[], Model]
    shape: tuple[int, ...]
    classes: int
    batch: int


def _vgg() -> Model:
    blocks = [
        layer
        for filters in (32, 64)
        for layer in (
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
        )
    ]
    return Sequential([layers.Input((32, 32, 3)), *blocks, layers.Flatten(), layers.Dense(10, activation="softmax")])


def _resnet() -> Model:
    def convolved(x, filters, strides, activation):
        x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        return layers.Activation("relu")(x) if activation else x

    x = inputs = layers.Input((32, 32, 3))
    x = convolved(x, 32, 1, True)
    for filters, strides in ((32, 1), (64, 2)):
        shortcut = x if strides == 1 else layers.Conv2D(filters, 1, strides=strides, use_bias=False)(x)
        x = convolved(convolved(x, filters, strides, True), filters, 1, False)
        x = layers.Activation("relu")(layers.Add()([x, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return Model(inputs, layers.Dense(10, activation="softmax")(x))


def _lstm() -> Model:
    return Sequential([layers.Input((28, 28)), layers.LSTM(128), layers.Dense(10, activation="softmax")])


CASES = {
    "tiny MLP 4-8-3": Case(lambda: MLP((4,), 3, hidden=(8,)), (4,), 3, 16),
    "MLP 784-512-256-10": Case(lambda: MLP((784,), 10), (784,), 10, 64),
    "LeNet-5": Case(lambda: LeNet5((32, 32, 1), 10), (32, 32, 1), 10, 32),
    "VGG blocks 32x32x3": Case(_vgg, (32, 32, 3), 10, 16),
    "ResNet blocks 32x32x3": Case(_resnet, (32, 32, 3), 10, 16),
    "LSTM 28x28, 128 units": Case(_lstm, (28, 28), 10, 32),
}


@pytest.fixture(autouse=True)
def _quiet_engine():
    with use_backend("numpy"):
        yield


def _model(engine: str | Backend, case: Case) -> Model:
    use_backend(engine)
    random.set_seed(0)
    model = case.build()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    return model


def _data(case: Case) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((case.batch, *case.shape), np.float32), rng.integers(0, case.classes, case.batch)


def _on(engine: Backend, case: Case) -> Model:
    try:
        return _model(engine, case)
    except BackendUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", CASES)
def test_train_on_batch(benchmark, measure, engine: Backend, name: str) -> None:
    benchmark.group = f"train_on_batch: {name}, batch {CASES[name].batch}"
    benchmark.extra_info["engine"] = engine.name
    x, y = _data(CASES[name])
    reference = _model("numpy", CASES[name])
    expected = [float(reference.train_on_batch(x, y)) for _ in range(2)]
    model = _on(engine, CASES[name])
    got = [float(model.train_on_batch(x, y)) for _ in range(2)]
    np.testing.assert_allclose(got, expected, rtol=1e-3)
    measure(lambda: (model.train_on_batch(x, y), engine.synchronize()))


@pytest.mark.parametrize("name", CASES)
def test_predict_on_batch(benchmark, measure, engine: Backend, name: str) -> None:
    benchmark.group = f"predict_on_batch: {name}, batch {CASES[name].batch}"
    benchmark.extra_info["engine"] = engine.name
    x, _ = _data(CASES[name])
    expected = np.asarray(_model("numpy", CASES[name]).predict_on_batch(x))
    model = _on(engine, CASES[name])
    np.testing.assert_allclose(np.asarray(model.predict_on_batch(x)), expected, atol=1e-3)
    measure(lambda: (model.predict_on_batch(x), engine.synchronize()))
