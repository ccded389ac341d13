"""Whole models against Keras: the same weights and batches give the same losses and the same weights afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import keras

import dlcore as dl

RNG = np.random.default_rng(8)
IMAGES = RNG.normal(size=(24, 12, 12, 2)).astype(np.float32)
SEQUENCES = RNG.normal(size=(24, 6, 5)).astype(np.float32)
ROWS = RNG.normal(size=(24, 7)).astype(np.float32)
LABELS = RNG.integers(0, 4, 24)


def _mlp(k):
    return k.Sequential(
        [
            k.layers.Input((7,)),
            k.layers.Dense(9, activation="relu"),
            k.layers.Dense(6, activation="tanh", kernel_regularizer=k.regularizers.L2(0.01)),
            k.layers.Dense(4, activation="softmax"),
        ]
    ), ROWS


def _cnn(k):
    return k.Sequential(
        [
            k.layers.Input((12, 12, 2)),
            k.layers.Conv2D(4, 3, activation="tanh", padding="same"),
            k.layers.MaxPooling2D(2),
            k.layers.Conv2D(6, 3),
            k.layers.BatchNormalization(),
            k.layers.Activation("relu"),
            k.layers.AveragePooling2D(2),
            k.layers.Flatten(),
            k.layers.Dense(4, activation="softmax"),
        ]
    ), IMAGES


def _cnn1d(k):
    return k.Sequential(
        [
            k.layers.Input((6, 5)),
            k.layers.Conv1D(8, 3, padding="causal", activation="tanh", kernel_constraint=k.constraints.MaxNorm(1.0)),
            k.layers.MaxPooling1D(2),
            k.layers.SeparableConv1D(6, 3, padding="same"),
            k.layers.GroupNormalization(2),
            k.layers.Conv1DTranspose(5, 2, strides=2, activation="relu"),
            k.layers.GlobalAveragePooling1D(),
            k.layers.Dense(4, activation="softmax"),
        ]
    ), SEQUENCES


def _lstm(k):
    return k.Sequential(
        [
            k.layers.Input((6, 5)),
            k.layers.LSTM(7, return_sequences=True),
            k.layers.GRU(6),
            k.layers.Dense(4, activation="softmax"),
        ]
    ), SEQUENCES


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
@pytest.mark.parametrize("build", [_mlp, _cnn, _cnn1d, _lstm], ids=lambda f: f.__name__[1:])
def test_fit(build, optimizer):
    (theirs, x), (ours, _) = build(keras), build(dl)
    ours.set_weights([np.asarray(w) for w in theirs.get_weights()])
    histories = []
    for model in (theirs, ours):
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        histories.append(
            model.fit(x, LABELS, batch_size=10, epochs=3, shuffle=False, validation_split=0.25, verbose=0).history
        )
    assert set(histories[0]) == set(histories[1])
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=2e-3, atol=2e-4, err_msg=name)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-3, atol=2e-3)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=1e-2, atol=2e-3)
    assert ours.count_params() == theirs.count_params()


def test_five_steps_along_sequences(active_backend):
    keras.utils.set_random_seed(1)
    (theirs, x), (ours, _) = _cnn1d(keras), _cnn1d(dl)
    ours.set_weights([np.asarray(w) for w in theirs.get_weights()])
    for model in (theirs, ours):
        model.compile("adam", "sparse_categorical_crossentropy")
        for _ in range(5):
            model.train_on_batch(x, LABELS)
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), np.asarray(b), atol=2e-5, err_msg=b.path)


def test_weights_and_names_of_the_figures():
    weight = RNG.uniform(0.1, 2.0, 24).astype(np.float32)
    results = []
    for k in (keras, dl):
        inputs = k.layers.Input((7,))
        hidden = k.layers.Dense(5, activation="tanh", name="hidden")(inputs)
        model = k.Model(
            inputs,
            [k.layers.Dense(1, name="size")(hidden), k.layers.Dense(4, activation="softmax", name="kind")(hidden)],
        )
        if results:
            model.set_weights(results[0][0])
        start = [np.asarray(w) for w in model.get_weights()]
        model.compile(
            k.optimizers.SGD(0.05, momentum=0.9),
            loss={"size": "mse", "kind": "sparse_categorical_crossentropy"},
            loss_weights={"size": 0.3, "kind": 1.5},
            metrics={"size": ["mae"], "kind": ["accuracy"]},
            weighted_metrics={"kind": ["accuracy"]},
        )
        y = [ROWS[:, :1], LABELS]
        history = model.fit(
            ROWS, y, batch_size=8, epochs=2, shuffle=False, sample_weight=[weight, weight], verbose=0
        ).history
        order = model.evaluate(ROWS, y, verbose=0)
        results.append((start, history, order))
    (_, theirs, their_values), (_, ours, our_values) = results
    assert set(ours) == set(theirs)
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(our_values, their_values, rtol=1e-4, atol=1e-6)


def test_fit_with_averages():
    """An optimizer with use_ema leaves the averages of the weights in the model, and goes on from there."""
    (theirs, x), (ours, _) = _mlp(keras), _mlp(dl)
    ours.set_weights([np.asarray(w) for w in theirs.get_weights()])
    for k, model in ((keras, theirs), (dl, ours)):
        optimizer = k.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)
        model.compile(optimizer, "sparse_categorical_crossentropy")
        for epochs in (2, 1):
            model.fit(x, LABELS, batch_size=10, epochs=epochs, shuffle=False, verbose=0)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
