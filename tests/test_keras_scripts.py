"""Scripts as Keras's guides write them, on dlcore and on Keras itself: both must give the same numbers.

A script is a function of the library, which it calls `keras`; it gives the figures to compare. Initial weights are set
to the same numbers on both sides. `keras_scripts.py` runs Keras's own guides, of which no text is here.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from oracle import keras as theirs
from oracle import torch

import dlcore as dl

import keras_scripts  # isort: skip


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def set_start(model):
    rng = np.random.default_rng(7)
    model.set_weights([0.3 * rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def losses_of(history):
    return [history.history[name] for name in sorted(history.history)]


# ---- the scripts ----------------------------------------------------------------------------------------------------


def chains(keras):
    layers = keras.layers
    model = keras.Sequential(name="mine")
    model.add(layers.Dense(4, activation="relu", name="first"))
    model.add(layers.Dense(3))
    model.add(layers.Dense(2))
    model.pop()
    assert model.layers[0].name == "first"
    y = model(keras.ops.ones((2, 5)))
    set_start(model)
    y = model(keras.ops.ones((2, 5)))
    features = keras.Model(inputs=model.inputs, outputs=[layer.output for layer in model.layers])
    found = features(keras.ops.ones((1, 5)))
    return [y, *found, len(model.weights)]


def graphs(keras):
    layers, ops = keras.layers, keras.ops
    title, tags = keras.Input((None,), name="title"), keras.Input((6,), name="tags")
    shared = layers.Embedding(20, 4)
    x = layers.LSTM(5)(shared(title))
    x = layers.concatenate([x, tags])
    x = layers.add([x, layers.Dense(11)(x)])
    x = ops.relu(x) + 0.5 * x
    priority, department = layers.Dense(1, name="priority")(x), layers.Dense(3, name="department")(x)
    model = keras.Model([title, tags], {"priority": priority, "department": department})
    set_start(model)
    model.compile(
        keras.optimizers.RMSprop(1e-3),
        {
            "priority": keras.losses.BinaryCrossentropy(from_logits=True),
            "department": keras.losses.CategoricalCrossentropy(from_logits=True),
        },
        loss_weights={"priority": 1.0, "department": 0.2},
    )
    rng = np.random.default_rng(0)
    x = {"title": rng.integers(0, 20, (16, 7)), "tags": numbers(1, 16, 6)}
    y = {"priority": rng.random((16, 1)), "department": rng.integers(0, 2, (16, 3)).astype("float32")}
    history = model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
    config = model.get_config()
    twin = keras.Model.from_config(config)
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    nested = keras.Model(tags, layers.average([keras.Sequential([tags, layers.Identity()])(tags), tags]))
    return [*losses_of(history), model.predict(x, verbose=0)["department"], nested.predict(x["tags"], verbose=0)]


def small(keras, **arguments):
    inputs = keras.Input((6,), name="digits")
    x = keras.layers.Dense(8, activation="tanh")(inputs)
    return set_start(keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="predictions")(x)))


def own_losses_and_metrics(keras):
    ops = keras.ops

    def squares(y_true, y_pred):
        return ops.mean(ops.square(y_true - y_pred), axis=-1)

    class Modest(keras.losses.Loss):
        def __init__(self, factor=0.1, name="modest"):
            super().__init__(name=name)
            self.factor = factor

        def call(self, y_true, y_pred):
            return squares(y_true, y_pred) + self.factor * ops.mean(ops.square(0.5 - y_pred), axis=-1)

    class Hits(keras.metrics.Metric):
        def __init__(self, name="hits", **kwargs):
            super().__init__(name=name, **kwargs)
            self.hits = self.add_variable(shape=(), name="hits", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            found = ops.reshape(ops.argmax(y_pred, axis=1), (-1, 1))
            values = ops.cast(ops.reshape(y_true, (-1, 1)), "int32") == ops.cast(found, "int32")
            values = ops.cast(values, "float32")
            if sample_weight is not None:
                values = ops.multiply(values, ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1)))
            self.hits.assign_add(ops.sum(values))

        def result(self):
            return self.hits

        def reset_state(self):
            self.hits.assign(0)

    x, y = numbers(0, 20, 6), (np.arange(20) % 3).astype("float32")
    found = []
    for loss in (squares, Modest()):
        model = small(keras)
        model.compile("adam", loss)
        history = model.fit(x, ops.one_hot(y, num_classes=3), epochs=2, batch_size=8, shuffle=False, verbose=0)
        found += losses_of(history)
    model = small(keras)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[Hits()], weighted_metrics=[Hits(name="weighted")])
    weights = np.where(y == 1, 2.0, 1.0)
    history = model.fit(x, y, sample_weight=weights, epochs=2, batch_size=8, shuffle=False, verbose=0)
    found += losses_of(history)
    model = small(keras)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(), metrics=["sparse_categorical_accuracy"])
    history = model.fit(
        x, y, class_weight={0: 1.0, 1: 2.0, 2: 0.5}, validation_split=0.2, epochs=2, shuffle=False, verbose=0
    )
    return found + losses_of(history)


def added_losses(keras):
    ops = keras.ops

    class Activity(keras.layers.Layer):
        def call(self, inputs):
            self.add_loss(ops.sum(inputs) * 0.1)
            return inputs

    class Endpoint(keras.layers.Layer):
        def __init__(self, name=None):
            super().__init__(name=name)
            self.loss_fn = keras.losses.BinaryCrossentropy(from_logits=True)

        def call(self, targets, logits, sample_weights=None):
            self.add_loss(self.loss_fn(targets, logits, sample_weights))
            return ops.softmax(logits)

    inputs = keras.Input((6,))
    outputs = keras.layers.Dense(3)(Activity()(keras.layers.Dense(4, activation="relu")(inputs)))
    model = set_start(keras.Model(inputs, outputs))
    model.compile("rmsprop", "mse")
    first = model.fit(numbers(0, 10, 6), numbers(1, 10, 3), epochs=2, shuffle=False, verbose=0)
    inputs, targets = keras.Input((6,), name="inputs"), keras.Input((3,), name="targets")
    predictions = Endpoint(name="predictions")(targets, keras.layers.Dense(3)(inputs))
    model = set_start(keras.Model([inputs, targets], predictions))
    model.compile("adam")
    data = {"inputs": numbers(2, 8, 6), "targets": np.abs(numbers(3, 8, 3)) % 1}
    second = model.fit(data, epochs=2, shuffle=False, verbose=0)
    return [*losses_of(first), *losses_of(second), model.predict(data, verbose=0)]


def batches_of_one_s_own(keras):
    calls = []

    class Batches(keras.utils.PyDataset):
        def __init__(self, x, y, size, **kwargs):
            super().__init__(**kwargs)
            self.x, self.y, self.size = x, y, size

        def __len__(self):
            return int(np.ceil(len(self.x) / self.size))

        def __getitem__(self, i):
            rows = slice(i * self.size, (i + 1) * self.size)
            return self.x[rows], self.y[rows]

        def on_epoch_end(self):
            calls.append("end")

    x, y = numbers(0, 20, 6), np.arange(20) % 3
    model = small(keras)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    data = Batches(x, y, 8, workers=1)
    history = model.fit(data, batch_size=64, validation_data=Batches(x, y, 10), epochs=2, shuffle=False, verbose=0)
    assert len(calls) >= 2
    return [*losses_of(history), model.evaluate(data, verbose=0)]


def callbacks_of_one_s_own(keras):
    seen = []

    class Notes(keras.callbacks.Callback):
        def __getattribute__(self, name):
            if not name.startswith("on_"):
                return super().__getattribute__(name)
            return lambda *arguments, logs=None: seen.append((name, *notes_of(arguments, logs)))

    def notes_of(arguments, logs):
        logs = arguments[-1] if logs is None else logs
        return sorted(logs), [a for a in arguments if isinstance(a, int)]

    class Stop(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            assert list(logs.keys()) == []

        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.5 * float(np.array(self.model.optimizer.learning_rate))

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.stop_training = True

    x, y = numbers(0, 20, 6), np.arange(20) % 3
    model = small(keras)
    model.compile("sgd", "sparse_categorical_crossentropy")
    history = model.fit(
        x, y, validation_split=0.5, epochs=5, batch_size=8, shuffle=False, verbose=0, callbacks=[Stop()]
    )
    return [*losses_of(history), float(np.array(model.optimizer.learning_rate))]


def layers_of_one_s_own(keras):
    ops = keras.ops

    class Linear(keras.layers.Layer):
        def __init__(self, units=32, **kwargs):
            super().__init__(**kwargs)
            self.units = units

        def build(self, input_shape):
            self.w = self.add_weight(shape=(input_shape[-1], self.units), initializer="random_normal", trainable=True)
            self.b = self.add_weight(shape=(self.units,), initializer="zeros", trainable=True)

        def call(self, inputs):
            return ops.matmul(inputs, self.w) + self.b

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    class Total(keras.layers.Layer):
        def __init__(self, length):
            super().__init__()
            self.total = self.add_weight(initializer="zeros", shape=(length,), trainable=False)

        def call(self, inputs):
            self.total.assign_add(ops.sum(inputs, axis=0))
            return self.total

    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.first, self.second = Linear(4), Linear(1)
            self.dense = keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(1e-2))

        def call(self, inputs, training=None):
            x = keras.activations.relu(self.first(inputs))
            self.add_loss(ops.mean(x) * 0.1)
            return self.second(self.dense(x))

    total = Total(2)
    total(ops.ones((2, 2)))
    sums = np.array(ops.convert_to_numpy(total(ops.ones((2, 2)))))
    block = Block()
    assert len(block.losses) == 0
    block(ops.ones((3, 5)))
    set_start(block)
    y = block(numbers(0, 3, 5))
    copy = Linear.from_config(Linear(7).get_config())
    return [sums, y, *block.losses, len(block.trainable_weights), copy.units, len(total.non_trainable_weights)]


def masks(keras):
    ops, layers = keras.ops, keras.layers
    padded = keras.utils.pad_sequences([[1, 2, 3], [4, 5, 6, 7], [8]], padding="post")
    embedding = layers.Embedding(10, 4, mask_zero=True)
    embedding(padded)
    embedding.set_weights([numbers(0, 10, 4)])

    class Halves(keras.layers.Layer):
        def call(self, inputs):
            return ops.split(inputs, 2, axis=1)

        def compute_mask(self, inputs, mask=None):
            return None if mask is None else ops.split(mask, 2, axis=1)

    class Passed(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, inputs):
            return ops.relu(inputs)

    class Softmax(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, inputs, mask=None):
            assert mask is not None
            counts = ops.expand_dims(ops.cast(mask, "float32"), -1)
            powers = ops.exp(inputs) * counts
            return powers / ops.sum(powers, axis=1, keepdims=True)

    first, second = Halves()(embedding(padded))
    inputs = keras.Input((None,), dtype="int32")
    x = Passed()(layers.Embedding(10, 4, mask_zero=True)(inputs))
    model = set_start(keras.Model(inputs, [layers.LSTM(3)(x), Softmax()(layers.Dense(1)(x))]))
    mask = embedding.compute_mask(padded)
    return [padded, first._keras_mask, second._keras_mask, mask, *model.predict(padded, verbose=0)]


def frozen(keras):
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(3)])
    model = keras.Sequential([keras.Input((4,)), inner, keras.layers.BatchNormalization(), keras.layers.Dense(3)])
    set_start(model)
    inner.trainable = False
    assert not inner.layers[0].trainable
    before = inner.get_weights()
    model.compile("sgd", "mse")
    first = model.fit(numbers(0, 8, 4), numbers(1, 8, 3), epochs=2, shuffle=False, verbose=0)
    for a, b in zip(before, inner.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    counts = [len(model.trainable_weights), len(model.non_trainable_weights)]
    inner.trainable = True
    model.compile(keras.optimizers.SGD(1e-2), "mse")
    second = model.fit(numbers(0, 8, 4), numbers(1, 8, 3), epochs=2, shuffle=False, verbose=0)
    return [*losses_of(first), *counts, *losses_of(second), len(model.trainable_weights)]


def steps_of_one_s_own(keras):
    no_grad = dl.no_grad if keras is dl else torch.no_grad

    class Model(keras.Model):
        def train_step(self, data):
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred, sample_weight=sample_weight)
            loss.backward()
            weights = list(self.trainable_weights)
            gradients = [v.value.grad for v in weights]
            with no_grad():
                self.optimizer.apply(gradients, weights)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred, sample_weight=sample_weight)
            return {m.name: m.result() for m in self.metrics}

        def test_step(self, data):
            x, y = data
            y_pred = self(x, training=False)
            loss = self.compute_loss(y=y, y_pred=y_pred)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    inputs = keras.Input((6,))
    model = set_start(Model(inputs, keras.layers.Dense(2)(inputs)))
    model.compile("adam", "mse", metrics=["mae"])
    x, y = numbers(0, 20, 6), numbers(1, 20, 2)
    plain = model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
    weighted = model.fit(x, y, sample_weight=np.arange(20.0), epochs=1, batch_size=8, shuffle=False, verbose=0)
    return [*losses_of(plain), *losses_of(weighted), model.evaluate(x, y, verbose=0)]


def loops_of_one_s_own(keras):
    no_grad = dl.no_grad if keras is dl else torch.no_grad
    model = small(keras)
    optimizer, loss_fn = keras.optimizers.Adam(1e-2), keras.losses.CategoricalCrossentropy()
    accuracy = keras.metrics.CategoricalAccuracy()
    x, y = numbers(0, 20, 6), np.eye(3, dtype="float32")[np.arange(20) % 3]
    found = []
    for start in (0, 10, 0, 10):
        inputs, targets = x[start : start + 10], y[start : start + 10]
        predictions = model(inputs, training=True)
        loss = loss_fn(targets, predictions)
        model.zero_grad()
        loss.backward()
        weights = list(model.trainable_weights)
        gradients = [v.value.grad for v in weights]
        with no_grad():
            optimizer.apply(gradients, weights)
        accuracy.update_state(targets, predictions)
        found += [float(loss), float(accuracy.result())]
    accuracy.reset_state()
    return found


def recurrent(keras):
    layers = keras.layers
    parts = [numbers(i, 4, 5, 3) for i in range(3)]
    memory = layers.LSTM(6, stateful=True)
    memory(parts[0])
    set_start(memory)
    memory.reset_state()
    outputs = [memory(part) for part in parts]
    again = layers.LSTM(6)
    again(parts[0])
    set_start(again)
    outputs.append(again(parts[2], initial_state=memory.states))
    encoder, decoder = keras.Input((None, 3)), keras.Input((None, 3))
    _, h, c = layers.LSTM(6, return_state=True)(encoder)
    steps = layers.LSTM(6, return_sequences=True)(decoder, initial_state=[h, c])
    cells = layers.RNN([layers.GRUCell(4), layers.LSTMCell(3)], return_sequences=True)(steps)
    outcome = layers.Bidirectional(layers.GRU(2), merge_mode="sum")(cells)
    model = set_start(keras.Model([encoder, decoder], layers.Dense(1)(outcome)))
    outputs.append(model.predict(parts[:2], verbose=0))
    return outputs


def series(keras):
    layers = keras.layers
    inputs = keras.Input((16, 2))
    x = layers.Conv1D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.BatchNormalization()(x)
    pooled = layers.GlobalAveragePooling1D()(layers.MaxPooling1D(2)(x))
    back = layers.Conv1DTranspose(2, 3, strides=2, padding="same")(x)
    model = set_start(keras.Model(inputs, [layers.Dense(2, activation="softmax")(pooled), back]))
    model.compile("adam", ["sparse_categorical_crossentropy", "mse"])
    x = numbers(0, 12, 16, 2)
    history = model.fit(x, [np.arange(12) % 2, x], epochs=2, shuffle=False, verbose=0)
    return [*losses_of(history), *model.predict(x, verbose=0)]


def checkpoints(keras, folder):
    x, y = numbers(0, 20, 6), np.arange(20) % 3
    model = small(keras)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        x, y, epochs=2, validation_split=0.2, batch_size=8, shuffle=False, verbose=0,
        callbacks=[
            keras.callbacks.ModelCheckpoint(str(folder / "model_{epoch}.keras")),
            keras.callbacks.ModelCheckpoint(
                str(folder / "best.weights.h5"), save_best_only=True, save_weights_only=True
            ),
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=3),
        ],
    )  # fmt: skip
    again = keras.models.load_model(folder / "model_2.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    history = again.fit(x, y, epochs=1, shuffle=False, verbose=0)
    model.load_weights(folder / "best.weights.h5")
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return [*losses_of(history), twin.predict(x, verbose=0)]


SCRIPTS = [
    chains, graphs, own_losses_and_metrics, added_losses, batches_of_one_s_own, callbacks_of_one_s_own,
    layers_of_one_s_own, masks, frozen, steps_of_one_s_own, loops_of_one_s_own, recurrent, series, checkpoints,
]  # fmt: skip
_known: dict = {}


def host(value):
    return np.asarray(value.detach() if torch.is_tensor(value) else value, np.float64)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_the_same_numbers(active_backend, script, tmp_path):
    arguments = [tmp_path] if script is checkpoints else []
    if script not in _known:
        _known[script] = [host(value) for value in script(theirs, *arguments)]
    ours = [host(value) for value in script(dl, *arguments)]
    assert len(ours) == len(_known[script])
    for mine, reference in zip(ours, _known[script], strict=True):
        np.testing.assert_allclose(mine, reference, rtol=2e-4, atol=2e-5)


# ---- what draws random numbers, and so runs here alone ---------------------------------------------------------------


def test_a_variational_autoencoder(active_backend):
    layers, ops = dl.layers, dl.ops

    class Sampling(layers.Layer):
        def call(self, inputs):
            mean, log_var = inputs
            shape = ops.shape(mean)
            return mean + ops.exp(0.5 * log_var) * dl.random.normal(shape=(shape[0], shape[1]))

    class Autoencoder(dl.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.mean, self.log_var = layers.Dense(16, "relu"), layers.Dense(2), layers.Dense(2)
            self.sampling, self.decoder = Sampling(), layers.Dense(8)

        def call(self, x):
            h = self.dense(x)
            mean, log_var = self.mean(h), self.log_var(h)
            self.add_loss(-0.5 * ops.mean(log_var - ops.square(mean) - ops.exp(log_var) + 1))
            return self.decoder(self.sampling((mean, log_var)))

    dl.utils.set_random_seed(0)
    x = np.outer(numbers(0, 64), numbers(1, 8))
    model = Autoencoder()
    model.compile("adam", "mse")
    losses = model.fit(x, x, epochs=30, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_dropout_of_one_s_own(active_backend):
    class Dropped(dl.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed_generator = dl.random.SeedGenerator(1337)

        def call(self, inputs, training=None):
            return dl.random.dropout(inputs, 0.5, seed=self.seed_generator) if training else inputs

    layer, x = Dropped(), np.ones((4, 100), "float32")
    first, second = (layer(x, training=True).numpy() for _ in range(2))
    assert set(np.unique(first)) == {0.0, 2.0}
    assert (first != second).any()
    np.testing.assert_array_equal(layer(x).numpy(), x)
    rows = dl.random.dropout(x, 0.5, noise_shape=(4, 1), seed=3).numpy()
    assert (rows == rows[:, :1]).all()


def test_two_optimizers_in_one_model(active_backend):
    """A generator against a discriminator, with a `compile` of its own."""
    layers, ops = dl.layers, dl.ops

    class Pair(dl.Model):
        def __init__(self, discriminator, generator):
            super().__init__()
            self.discriminator, self.generator = discriminator, generator
            self.d_loss, self.g_loss = dl.metrics.Mean(name="d_loss"), dl.metrics.Mean(name="g_loss")
            self.seed_generator = dl.random.SeedGenerator(1)
            self.built = True

        @property
        def metrics(self):
            return [self.d_loss, self.g_loss]

        def compile(self, d_optimizer, g_optimizer, loss_fn):
            super().compile()
            self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn

        def train_step(self, real):
            real = real[0] if isinstance(real, tuple) else real
            count = real.shape[0]
            noise = dl.random.normal(shape=(count, 4), seed=self.seed_generator)
            both = ops.concatenate([self.generator(noise), real], axis=0)
            labels = ops.concatenate([ops.ones((count, 1)), ops.zeros((count, 1))], axis=0)
            labels += 0.05 * dl.random.uniform(labels.shape, seed=self.seed_generator)
            losses = []
            for part, optimizer, inputs, wanted in (
                (self.discriminator, self.d_optimizer, lambda: both.detach(), labels),
                (self.generator, self.g_optimizer, lambda: self.generator(noise), ops.zeros((count, 1))),
            ):
                self.zero_grad()
                loss = self.loss_fn(wanted, self.discriminator(inputs()))
                loss.backward()
                optimizer.apply([v.value.grad for v in part.trainable_weights], part.trainable_weights)
                losses.append(loss)
            self.d_loss.update_state(losses[0])
            self.g_loss.update_state(losses[1])
            return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}

    dl.utils.set_random_seed(0)
    discriminator = dl.Sequential([dl.Input((8,)), layers.Dense(8), layers.LeakyReLU(0.2), layers.Dense(1)])
    generator = dl.Sequential([dl.Input((4,)), layers.Dense(8)])
    before = [w.copy() for w in discriminator.get_weights() + generator.get_weights()]
    pair = Pair(discriminator, generator)
    pair.compile(dl.optimizers.Adam(1e-2), dl.optimizers.Adam(1e-2), dl.losses.BinaryCrossentropy(from_logits=True))
    history = pair.fit(numbers(0, 32, 8), epochs=2, batch_size=8, verbose=0).history
    assert sorted(history) == ["d_loss", "g_loss"]
    assert np.isfinite(history["d_loss"] + history["g_loss"]).all()
    after = discriminator.get_weights() + generator.get_weights()
    assert all((a != b).any() for a, b in zip(before, after, strict=True))


# ---- utils ----------------------------------------------------------------------------------------------------------


def test_windows_of_a_series():
    data, targets = np.arange(20.0).reshape(10, 2), np.arange(10)
    windows = dl.preprocessing.timeseries_dataset_from_array(data, targets, 3, sampling_rate=2, batch_size=4)
    assert len(windows) == 2
    x, y = windows[0]
    np.testing.assert_array_equal(x[1], data[[1, 3, 5]])
    np.testing.assert_array_equal(y, [0, 1, 2, 3])
    np.testing.assert_array_equal(windows[1][1], [4, 5])
    assert len(list(windows)) == 2
    part = dl.utils.timeseries_dataset_from_array(data, targets, 2, sequence_stride=2, start_index=3, end_index=9)
    np.testing.assert_array_equal(part[0][0][:, 0], data[[3, 5, 7]])
    np.testing.assert_array_equal(part[0][1], [3, 5, 7])
    alone = dl.utils.timeseries_dataset_from_array(data, None, 2, batch_size=None, shuffle=True, seed=0)
    assert sorted(int(w[0, 0]) // 2 for w in alone) == list(range(9))
    model = dl.Sequential([dl.layers.Input((3, 2)), dl.layers.LSTM(2), dl.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(windows, epochs=2, verbose=0)
    with pytest.raises(ValueError, match="sampling_rate must be a positive whole number, got 0"):
        dl.utils.timeseries_dataset_from_array(data, None, 2, sampling_rate=0)
    with pytest.raises(ValueError, match="no window of 11 steps"):
        dl.utils.timeseries_dataset_from_array(data, None, 11)
    with pytest.raises(ValueError, match="start_index and end_index must lie in 0 … 10"):
        dl.utils.timeseries_dataset_from_array(data, None, 2, start_index=5, end_index=12)


def test_two_parts():
    x = {"a": np.arange(10), "b": np.arange(20).reshape(10, 2)}
    left, right = dl.utils.split_dataset(x, left_size=0.7)
    np.testing.assert_array_equal(left["a"], np.arange(7))
    np.testing.assert_array_equal(right["b"], x["b"][7:])
    left, right = dl.utils.split_dataset(np.arange(10), right_size=4, shuffle=True, seed=1)
    assert sorted([*left, *right]) == list(range(10))
    assert len(right) == 4
    for arguments in ({}, {"left_size": 1.5}, {"left_size": 10}, {"left_size": -1}):
        with pytest.raises(ValueError, match="left_size"):
            dl.utils.split_dataset(np.arange(10), **arguments)


def test_small_helpers(tmp_path):
    x = numbers(0, 3, 4)
    np.testing.assert_allclose(dl.utils.normalize(x), theirs.utils.normalize(x), rtol=1e-6)
    np.testing.assert_allclose(dl.utils.normalize(x, 0, 1), x / np.abs(x).sum(0), rtol=1e-6)
    for parts in ((x,), (x, 1), (x, 1, 2), ([x],), (x, None, 2)):
        ours, reference = (k.utils.pack_x_y_sample_weight(*parts) for k in (dl, theirs))
        assert type(ours) is type(reference)
        assert dl.utils.unpack_x_y_sample_weight(ours)[1:] == theirs.utils.unpack_x_y_sample_weight(reference)[1:]
    dl.utils.clear_session()
    assert dl.layers.Dense(1).name == "dense"
    assert dl.layers.Dense(1).name == "dense_1"
    with pytest.raises(NotImplementedError, match="must define __getitem__"):
        dl.utils.PyDataset()[0]
    model = dl.Sequential([dl.Input((2,)), dl.layers.Dense(1)])
    with pytest.raises(ValueError, match="format must be 'onnx', got 'tf_saved_model'"):
        model.export(tmp_path / "model", format="tf_saved_model")
    assert dl.config.floatx() == theirs.config.floatx()
    assert dl.config.image_data_format() == "channels_last"
    dl.config.disable_traceback_filtering()
    with pytest.raises(ValueError, match="data_format must be 'channels_last', got 'channels_first'"):
        dl.config.set_image_data_format("channels_first")


def test_a_picture_of_a_graph(tmp_path):
    pytest.importorskip("matplotlib")
    model = dl.Sequential([dl.Input((2,)), dl.layers.Dense(1)])
    dl.utils.plot_model(model, tmp_path / "graph.png", show_shapes=True)
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_files_from_elsewhere(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("words")
    digest = hashlib.sha256(b"words").hexdigest()
    cache = tmp_path / "cache"
    path = dl.utils.get_file(origin=source.as_uri(), cache_dir=cache, file_hash=digest)
    assert path == str(cache / "datasets" / "source.txt")
    source.write_text("others")
    assert Path(dl.utils.get_file(origin=source.as_uri(), cache_dir=cache)).read_text() == "words"
    with pytest.raises(ValueError, match=r"its SHA-256 is \w+, expected"):
        dl.utils.get_file(origin=source.as_uri(), cache_dir=cache, file_hash=digest, force_download=True)
    assert Path(path).read_text() == "words"
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in/side.txt", "inside")
    folder = dl.utils.get_file(origin=packed.as_uri(), cache_dir=cache, extract=True)
    assert Path(folder, "in", "side.txt").read_text() == "inside"
    hostile = tmp_path / "hostile.tar.gz"
    with tarfile.open(hostile, "w:gz") as archive:
        archive.add(source, "../../outside.txt")
    with pytest.raises(tarfile.OutsideDestinationError):
        dl.utils.get_file(origin=hostile.as_uri(), cache_dir=cache, untar=True)
    for arguments, message in (
        ({}, "origin must be"),
        ({"origin": source.as_uri(), "fname": "../x"}, "without a folder"),
        ({"origin": source.as_uri(), "file_hash": "12"}, "hash_algorithm must be"),
        ({"origin": source.as_uri(), "extract": True}, "is no archive"),
    ):
        with pytest.raises(ValueError, match=message):
            dl.utils.get_file(**{"cache_dir": cache, **arguments})


# ---- the runner -----------------------------------------------------------------------------------------------------


def test_changes_of_a_script():
    script = keras_scripts.Script(
        "guides/x.py",
        (keras_scripts.Change("20", "2"), keras_scripts.Cut("## One", "## Two", "TensorFlow")),
    )
    text = 'import keras\nfrom keras import layers\n"""\n## One\n"""\nx = 1\n"""\n## Two\n"""\nfit(epochs=50)\nn = 20\n'
    changed = keras_scripts.changed(script, text).split("\n")
    assert changed[1:3] == ["import dlcore as keras", "from dlcore import layers"]
    assert "x = 1" not in changed
    assert changed[-3:] == ["fit(epochs=2)", "n = 2", ""]
    compile("\n".join(changed), "x.py", "exec")
    assert keras_scripts.reasons(script) == ["TensorFlow"]
    with pytest.raises(ValueError, match="has nothing that matches"):
        keras_scripts.changed(script, text.replace("20", "21"))


def test_the_runner_says_which_line_fails():
    assert keras_scripts.run("import stand_ins\nx = stand_ins.mnist()\n", "good.py", "numpy") == "runs"
    said = keras_scripts.run("import dlcore\n\ndlcore.layers.Danse(3)\n", "bad.py", "numpy")
    assert re.fullmatch(r"line 3: `dlcore.layers.Danse\(3\)`: AttributeError: .*did you mean 'Dense'.*", said)


def test_the_page_names_every_script():
    text = keras_scripts.PAGE.read_text()
    for script in keras_scripts.SCRIPTS:
        assert f"| {script.path} |" in text
        for reason in keras_scripts.reasons(script):
            assert reason in text
