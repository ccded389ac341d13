"""Constraints: their values and effect on training are Keras's, on every engine, recorded and not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from oracle import keras, torch

import dlcore as dl
from dlcore import constraints, layers

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RNG = np.random.default_rng(0)
CASES = [
    ("MaxNorm", {}),
    ("MaxNorm", {"max_value": 0.7, "axis": [0, 1]}),
    ("MinMaxNorm", {"min_value": 0.5, "max_value": 0.9, "rate": 0.3}),
    ("MinMaxNorm", {"axis": 1}),
    ("UnitNorm", {"axis": -1}),
    ("NonNeg", {}),
    ("Constraint", {}),
]


@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_value(active_backend, kind, arguments):
    w = RNG.normal(size=(4, 3, 5)).astype("float32")
    w[:, 1, 2] = 0.0
    ours, theirs = getattr(constraints, kind)(**arguments), getattr(keras.constraints, kind)(**arguments)
    np.testing.assert_allclose(ours(dl.Tensor(w)).numpy(), np.asarray(theirs(torch.tensor(w))), rtol=1e-6, atol=1e-7)
    assert ours.get_config() == theirs.get_config()
    twin = constraints.deserialize(json.loads(json.dumps(constraints.serialize(ours))))
    assert type(twin) is type(ours)
    assert twin.get_config() == ours.get_config()


def _first_row_zero(w):
    return w * np.array([[0.0], [1.0], [1.0], [1.0]], "float32")


def test_get():
    assert constraints.get(None) is None
    assert type(constraints.get("min_max_norm")) is constraints.MinMaxNorm
    assert type(constraints.get("NonNeg")) is constraints.NonNeg
    assert type(constraints.get(constraints.UnitNorm)) is constraints.UnitNorm
    assert constraints.get({"class_name": "MaxNorm", "config": {"max_value": 3, "axis": 1}}).max_value == 3
    assert constraints.get(_first_row_zero) is _first_row_zero
    assert constraints.max_norm is constraints.MaxNorm
    for wrong, message in (
        ("max_nrom", "Unknown constraint: 'max_nrom'. Did you mean 'max_norm'"),
        (3, "a constraint must be a name, a Constraint or a callable, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            constraints.get(wrong)
    for make, message in (
        (lambda: constraints.MaxNorm(-1), "max_value must be a number of at least 0, got -1"),
        (lambda: constraints.MinMaxNorm(2, 1), "min_value must be at most max_value, got 2 and 1"),
        (lambda: constraints.UnitNorm("0"), "axis must be a whole number or several, got '0'"),
        (lambda: constraints.serialize(lambda w: w), "cannot be saved"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


# layer, its arguments, shape of a sample: every `…_constraint` that Keras has
CONSTRAINED = [
    ("Dense", {"units": 3}, (4,), ("kernel", "bias")),
    ("Conv1D", {"filters": 3, "kernel_size": 2}, (6, 4), ("kernel", "bias")),
    ("Conv2D", {"filters": 3, "kernel_size": 2}, (5, 5, 2), ("kernel", "bias")),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 2}, (6, 4), ("kernel", "bias")),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 2}, (4, 4, 2), ("kernel", "bias")),
    ("DepthwiseConv1D", {"kernel_size": 2}, (6, 4), ("depthwise", "bias")),
    ("DepthwiseConv2D", {"kernel_size": 2}, (4, 4, 2), ("depthwise", "bias")),
    ("SeparableConv1D", {"filters": 3, "kernel_size": 2}, (6, 4), ("depthwise", "pointwise", "bias")),
    ("SeparableConv2D", {"filters": 3, "kernel_size": 2}, (4, 4, 2), ("depthwise", "pointwise", "bias")),
    ("BatchNormalization", {}, (4,), ("gamma", "beta")),
    ("LayerNormalization", {}, (4,), ("gamma", "beta")),
    ("PReLU", {}, (4,), ("alpha",)),
    ("SimpleRNN", {"units": 3}, (5, 4), ("kernel", "recurrent", "bias")),
    ("LSTM", {"units": 3}, (5, 4), ("kernel", "recurrent", "bias")),
    ("GRU", {"units": 3}, (5, 4), ("kernel", "recurrent", "bias")),
    ("Embedding", {"input_dim": 6, "output_dim": 3}, (5,), ("embeddings",)),
]


@pytest.mark.parametrize(("kind", "arguments", "sample", "which"), CONSTRAINED, ids=[case[0] for case in CONSTRAINED])
def test_training_like_keras(active_backend, kind, arguments, sample, which):
    """Five steps of each layer with all its weights constrained leave Keras's weights."""
    rng = np.random.default_rng(1)
    chosen = {
        f"{name}_constraint": ("non_neg", {"class_name": "MaxNorm", "config": {"max_value": 0.4, "axis": -1}})[i % 2]
        for i, name in enumerate(which)
    }
    x = rng.integers(0, 6, (6, *sample)) if kind == "Embedding" else rng.normal(size=(6, *sample)).astype("float32")
    models = []
    for k in (keras, dl):
        given = {
            key: value if isinstance(value, str) else k.constraints.MaxNorm(**value["config"])
            for key, value in chosen.items()
        }
        layer = getattr(k.layers, kind)(**arguments, **given)
        model = k.Sequential([k.layers.Input(sample, dtype="int32" if kind == "Embedding" else None), layer])
        model.compile(k.optimizers.SGD(0.3, momentum=0.5), "mse")
        models.append(model)
    theirs, ours = models
    ours.set_weights([np.asarray(w) for w in theirs.get_weights()])
    y = rng.normal(size=(6, *ours.output_shape[1:])).astype("float32")
    for _ in range(5):
        np.testing.assert_allclose(ours.train_on_batch(x, y), float(theirs.train_on_batch(x, y)), rtol=1e-4)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
    layer = ours.layers[-1]
    assert layers.deserialize(json.loads(json.dumps(layers.serialize(layer)))).get_config() == layer.get_config()


def _model(k):
    return k.Sequential(
        [
            k.layers.Input((4,)),
            k.layers.Dense(5, kernel_constraint=k.constraints.MinMaxNorm(0.3, 0.6, rate=0.5)),
            k.layers.Dense(3, kernel_constraint="non_neg", bias_constraint="unit_norm"),
        ]
    )


X = RNG.normal(size=(40, 4)).astype("float32")
Y = RNG.normal(size=(40, 3)).astype("float32")


@pytest.mark.parametrize(
    "optimizer", [{}, {"gradient_accumulation_steps": 2}, {"clipnorm": 0.1}, {"weight_decay": 0.1}]
)
def test_optimizer_options(optimizer):
    """Accumulated gradients included: Keras projects after every step, also one that only accumulates."""
    theirs, ours = _model(keras), _model(dl)
    ours.set_weights([np.asarray(w) for w in theirs.get_weights()])
    for k, model in ((keras, theirs), (dl, ours)):
        model.compile(k.optimizers.Adam(0.05, **optimizer), "mse")
        model.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


def test_replay_gives_the_bits_of_eager(active_backend):
    weights = []
    for eagerly in (True, False):
        dl.set_random_seed(3)
        model = _model(dl)
        model.compile(dl.optimizers.Adam(0.05), "mse", run_eagerly=eagerly)
        model.fit(X, Y, batch_size=8, epochs=3, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_by_hand():
    """`apply` projects what it updates and nothing else; a constraint may be a function."""
    layer = layers.Dense(3, kernel_constraint=_first_row_zero)
    layer(X)
    other = dl.Variable(-np.ones(3, "float32"))
    other.constraint = constraints.NonNeg()
    optimizer = dl.optimizers.SGD(0.1)
    optimizer.build([*layer.trainable_weights, other])
    with pytest.warns(UserWarning, match="No gradients exist"):
        optimizer.apply([np.ones((4, 3), "float32"), np.ones(3, "float32"), None], [*layer.trainable_weights, other])
    np.testing.assert_array_equal(layer.kernel.numpy()[0], 0)
    np.testing.assert_array_equal(other.numpy(), -1)


def test_saved_with_the_model(tmp_path):
    model = _model(dl)
    model.compile("sgd", "mse")
    model.fit(X, Y, epochs=1, verbose=0)
    model.save(tmp_path / "model.safetensors")
    twin = dl.load_model(tmp_path / "model.safetensors")
    for m in (model, twin):
        m.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert type(twin.layers[0].kernel_constraint) is constraints.MinMaxNorm
