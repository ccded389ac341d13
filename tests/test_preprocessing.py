"""Scalers, label encoders: their formulas, fitted on one set and used on another; padded sequences; the perceptron."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")

import dlcore as dl
from dlcore import applications, layers, optimizers, preprocessing
from dlcore.preprocessing import LabelEncoder, MinMaxScaler, StandardScaler, to_categorical

RNG = np.random.default_rng(4)
TRAIN, TEST = RNG.normal(3, 5, (50, 4)), RNG.normal(3, 5, (20, 4))


def test_standardisation():
    scaler = StandardScaler()
    x = scaler.fit_transform(TRAIN)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-12)
    np.testing.assert_allclose(scaler.transform(TEST), (TEST - TRAIN.mean(axis=0)) / TRAIN.std(axis=0))
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(TEST)), TEST)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (2, 5)])
def test_min_max(low, high):
    scaler = MinMaxScaler((low, high))
    x = scaler.fit_transform(TRAIN)
    np.testing.assert_allclose([x.min(axis=0), x.max(axis=0)], np.array([[low], [high]]) * np.ones(4), atol=1e-12)
    share = (TEST - TRAIN.min(axis=0)) / (TRAIN.max(axis=0) - TRAIN.min(axis=0))
    np.testing.assert_allclose(scaler.transform(TEST), low + share * (high - low))
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(TEST)), TEST)


@pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler])
def test_axes_types_and_constants(scaler):
    images = RNG.integers(0, 256, (6, 5, 5, 3)).astype(np.uint8)
    assert scaler().fit_transform(images).dtype == np.float32
    each = scaler().fit(images)
    for c in range(3):
        np.testing.assert_allclose(
            each.transform(images)[..., c], scaler(axis=None).fit_transform(images[..., c]), atol=1e-5
        )
    assert scaler(axis=(1, 2)).fit(images)._shift.shape == (1, 5, 5, 1)
    assert scaler().fit_transform(np.full((4, 2), 7.0)).tolist() == [[0.0, 0.0]] * 4


def test_scalers_refuse():
    with pytest.raises(ValueError, match=r"fit\(\) on the training set before transform"):
        StandardScaler().transform(TEST)
    with pytest.raises(ValueError, match="fitted for figures of shape"):
        MinMaxScaler().fit(TRAIN).transform(TEST[:, :3])
    with pytest.raises(ValueError, match="axis of StandardScaler"):
        StandardScaler(axis=2).fit(TRAIN)
    with pytest.raises(ValueError, match="feature_range"):
        MinMaxScaler((1, 0))
    with pytest.raises(ValueError, match="array of numbers"):
        StandardScaler().fit(["a"])


def test_labels():
    encoder = LabelEncoder()
    numbers = encoder.fit_transform(["cat", "dog", "ant", "dog"])
    assert numbers.tolist() == [1, 2, 0, 2]
    assert encoder.inverse_transform(numbers).tolist() == ["cat", "dog", "ant", "dog"]
    assert to_categorical(numbers).tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="Unknown label: 'cow'"):
        encoder.transform(["cow"])
    with pytest.raises(ValueError, match=r"0 … 2"):
        encoder.inverse_transform([3])
    with pytest.raises(ValueError, match=r"fit\(\)"):
        LabelEncoder().transform(["cat"])


def test_one_hot():
    assert to_categorical([0, 2], 4).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert to_categorical(np.array([[1], [0]])).shape == (2, 2)
    assert to_categorical(np.array([1.0, 0.0])).dtype == np.float32
    for bad in ([0.5], ["a"], [-1]):
        with pytest.raises(ValueError, match="x must"):
            to_categorical(bad)
    with pytest.raises(ValueError, match=r"0 … 1"):
        to_categorical([2], 2)


# ---- the perceptron --------------------------------------------------------------------------------------------------

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)


def perceptron(**kwargs):
    model = applications.Perceptron(**kwargs)
    model.compile(optimizers.SGD(1.0), loss="mae", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("truth", [[0, 1, 1, 1], [0, 0, 0, 1], [1, 1, 1, 0]], ids=["or", "and", "nand"])
def test_perceptron_learns_what_a_line_separates(active_backend, truth):
    model, y = perceptron(), np.array(truth, np.float32)[:, None]
    history = model.fit(INPUTS, y, batch_size=1, epochs=20, verbose=0).history
    assert history["accuracy"][-1] == 1.0
    assert history["loss"][-1] == 0.0
    assert np.array_equal(model.predict(INPUTS, verbose=0), y)


def test_perceptron_never_learns_xor(active_backend):
    model = perceptron()
    history = model.fit(INPUTS, np.array([0, 1, 1, 0], np.float32), batch_size=1, epochs=50, verbose=0).history
    assert min(history["loss"]) > 0


def test_perceptron_rule(active_backend):
    """One update by hand: only the mistake counts."""
    model = perceptron(input_shape=(3,), units=2)
    w, b = np.array([[1, -1], [0, 2], [-1, 0]], np.float32), np.array([0.5, -0.5], np.float32)
    model.set_weights([w, b])
    x, y = np.array([[1.0, 2.0, 3.0]], np.float32), np.array([[1.0, 1.0]], np.float32)  # z = −1.5, 2.5: ŷ = 0, 1
    logs = model.train_on_batch(x, y, return_dict=True)
    assert logs["loss"] == 0.5
    new_w, new_b = model.get_weights()
    np.testing.assert_array_equal(new_w, w + np.array([[1, 0], [2, 0], [3, 0]]))
    np.testing.assert_array_equal(new_b, b + np.array([1, 0]))


def test_perceptron_on_digits(active_backend):
    (x, y), (xt, yt) = dl.datasets.digits.load_data()
    model = perceptron(input_shape=x.shape[1:], units=10)
    model.fit(x, to_categorical(y), batch_size=1 if active_backend.name == "cython" else 8, epochs=3, verbose=0)
    scores = xt.reshape(len(xt), -1) @ model.get_weights()[0] + model.get_weights()[1]
    assert (scores.argmax(axis=1) == yt).mean() > 0.85


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("truncating", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [None, 2, 5])
def test_pad_sequences_as_keras_does(padding, truncating, maxlen):
    utils = pytest.importorskip("keras").utils
    arguments = {"maxlen": maxlen, "padding": padding, "truncating": truncating, "value": 9}
    words = [[1, 2, 3, 4], [5], [], [6, 7]]
    expected = utils.pad_sequences(words, **arguments)
    result = preprocessing.pad_sequences(words, **arguments)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)
    rows = [np.random.default_rng(n).normal(size=(n, 2)) for n in (3, 1, 4)]
    expected = utils.pad_sequences(rows, dtype="float32", **arguments)
    np.testing.assert_array_equal(preprocessing.pad_sequences(rows, dtype="float32", **arguments), expected)


def test_pad_sequences_refuses():
    with pytest.raises(ValueError, match="padding must be 'pre' or 'post', got 'left'"):
        preprocessing.pad_sequences([[1]], padding="left")
    with pytest.raises(ValueError, match=r"steps of one shape, got \[\(2,\), \(3,\)\]"):
        preprocessing.pad_sequences([np.ones((4, 2)), np.ones((1, 3))])
    with pytest.raises(ValueError, match="int32 cannot hold sequences of float64"):
        preprocessing.pad_sequences([[0.5]])
    with pytest.raises(ValueError, match="got a number"):
        preprocessing.pad_sequences([1, 2])


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize(
    "network",
    [
        lambda: [layers.SimpleRNN(4)],
        lambda: [layers.LSTM(4)],
        lambda: [layers.GRU(4)],
        lambda: [layers.LSTM(4, return_sequences=True), layers.GRU(3)],
        lambda: [layers.Bidirectional(layers.LSTM(4))],
    ],
    ids=["simple", "lstm", "gru", "stacked", "both directions"],
)
def test_ragged_sequences_in_one_batch(network, padding, active_backend):
    """Outputs and gradients are those of each sequence by itself."""
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, 3)).astype(np.float32) for n in (5, 2, 7, 1)]
    x = preprocessing.pad_sequences(sequences, dtype="float32", padding=padding, value=-5.0)
    model = dl.Sequential([layers.Input((None, 3)), layers.Masking(-5.0), *network(), layers.Dense(1)])
    outputs = model(x)
    outputs.sum().backward()
    gradients = [np.array(v.grad) for v in model.trainable_weights]
    model.zero_grad()
    for row, sequence in zip(outputs.numpy(), sequences, strict=True):
        alone = model(sequence[None])
        np.testing.assert_allclose(alone.numpy()[0], row, rtol=1e-4, atol=1e-5)
        alone.sum().backward()  # gradients of single sequences add up
    for variable, gradient in zip(model.trainable_weights, gradients, strict=True):
        np.testing.assert_allclose(np.array(variable.grad), gradient, rtol=1e-3, atol=1e-5)
