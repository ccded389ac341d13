"""compile, fit, evaluate, predict: what they take, what they give, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore import functional as F
from dlcore import layers, losses, metrics, optimizers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4)).astype(np.float32)
LABELS = (X[:, 0] + X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 0.5)
TARGET = (X @ np.array([[1.0], [-1.0], [0.5], [2.0]], np.float32)).astype(np.float32)


def _regressor(optimizer: object = "sgd", **arguments: object) -> dl.Model:
    dl.set_random_seed(3)
    model = dl.Sequential([layers.Input((4,)), layers.Dense(1)])
    model.compile(optimizer, arguments.pop("loss", "mse"), **arguments)
    return model


def _classifier(**arguments: object) -> dl.Model:
    dl.set_random_seed(3)
    model = dl.Sequential(
        [layers.Input((4,)), layers.Dense(8, activation="relu"), layers.Dense(3, activation="softmax")]
    )
    model.compile(optimizers.Adam(0.02), "sparse_categorical_crossentropy", **arguments)
    return model


def test_history():
    model = _classifier(metrics=["accuracy"])
    history = model.fit(X, LABELS, epochs=20, validation_split=0.2, verbose=0)
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history.epoch == list(range(20))
    assert all(isinstance(v, float) for values in history.history.values() for v in values)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert history.params["epochs"] == 20
    assert history.params["steps"] == 2
    assert model.history is history
    again = model.fit(X, LABELS, epochs=22, initial_epoch=20, verbose=0)
    assert again.epoch == [20, 21]


def test_the_loss_of_an_epoch_is_the_mean_over_samples():
    """A partial last batch counts by its samples."""
    model = _regressor(optimizers.SGD(0.0))
    history = model.fit(X, TARGET, batch_size=16, verbose=0)
    expected = float(np.mean((model.predict(X, verbose=0) - TARGET) ** 2))
    assert history.history["loss"][0] == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(X, TARGET, batch_size=7, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_evaluate_and_predict():
    model = _classifier(metrics=["accuracy", "sparse_top_k_categorical_accuracy"])
    values = model.evaluate(X, LABELS, verbose=0)
    named = model.evaluate(X, LABELS, verbose=0, return_dict=True)
    assert list(named) == ["loss", "accuracy", "sparse_top_k_categorical_accuracy"]
    assert values == list(named.values())
    outputs = model.predict(X, batch_size=16, verbose=0)
    assert outputs.shape == (50, 3)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, model(X).numpy(), rtol=1e-6)
    np.testing.assert_allclose(model.predict_on_batch(X), outputs, rtol=1e-6)
    assert (outputs.argmax(1) == LABELS).mean() == pytest.approx(named["accuracy"])
    assert isinstance(_regressor().evaluate(X, TARGET, verbose=0), float)


def test_single_batches():
    model = _classifier(metrics=["accuracy"])
    before = model.test_on_batch(X, LABELS)
    first = model.train_on_batch(X, LABELS)
    assert first == pytest.approx(before)
    after = model.test_on_batch(X, LABELS, return_dict=True)
    assert after["loss"] < before[0]
    assert model.optimizer.iterations == 1
    for _ in range(3):
        loss = _regressor().train_on_batch(X, TARGET)
    assert isinstance(loss, float)


@pytest.mark.parametrize("kind", ["float64", "lists", "tensors", "column"])
def test_kinds_of_arrays(kind):
    x, y = X, TARGET
    if kind == "float64":
        x, y = X.astype(np.float64), TARGET.astype(np.float64)
    elif kind == "lists":
        x, y = X.tolist(), TARGET.tolist()
    elif kind == "tensors":
        x, y = dl.Tensor(X), dl.Tensor(TARGET)
    elif kind == "column":
        y = TARGET[:, 0]
    expected = _regressor()
    expected.fit(X, TARGET, epochs=2, verbose=0)
    model = _regressor()
    model.fit(x, y, epochs=2, verbose=0)
    for a, b in zip(model.get_weights(), expected.get_weights(), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-6)


class Sequence:
    """Batches by number, as a Keras user writes them."""

    ended = 0

    def __len__(self):
        return 5

    def __getitem__(self, i):
        return X[10 * i : 10 * i + 10], TARGET[10 * i : 10 * i + 10]

    def on_epoch_end(self):
        self.ended += 1


class Loader:
    def __iter__(self):
        return (Sequence()[i] for i in range(5))


def _generator():
    while True:
        yield from Loader()


def test_sources_of_batches():
    reference = _regressor()
    expected = reference.fit(X, TARGET, batch_size=10, epochs=2, shuffle=False, verbose=0).history
    sequence = Sequence()
    for source, steps in ((sequence, None), (Loader(), None), (_generator(), 5)):
        model = _regressor()
        history = model.fit(
            source, epochs=2, shuffle=False, steps_per_epoch=steps, validation_data=Sequence(), verbose=0
        ).history
        assert history["loss"] == pytest.approx(expected["loss"])
        assert len(history["val_loss"]) == 2
        for a, b in zip(model.get_weights(), reference.get_weights(), strict=True):
            np.testing.assert_allclose(a, b)
    assert sequence.ended == 2
    assert _regressor().evaluate(Loader(), verbose=0) == pytest.approx(_regressor().evaluate(X, TARGET, verbose=0))
    assert _regressor().predict(Loader(), verbose=0).shape == (50, 1)
    from dlcore.datasets.loader import BatchLoader

    assert _regressor().fit(BatchLoader((X, TARGET), 10), epochs=2, verbose=0).epoch == [0, 1]


def test_steps_per_epoch():
    model = _regressor()
    model.fit(X, TARGET, batch_size=10, epochs=2, steps_per_epoch=2, verbose=0)
    assert model.optimizer.iterations == 4
    with pytest.warns(UserWarning, match="ran out"):
        _regressor().fit(iter(Loader()), steps_per_epoch=7, verbose=0)
    with pytest.raises(ValueError, match="no batches"):
        _regressor().fit(iter(Loader()), epochs=2, verbose=0)


def test_validation_frequency():
    history = _regressor().fit(
        X, TARGET, epochs=6, validation_data=(X, TARGET), validation_freq=3, validation_steps=1, verbose=0
    )
    assert len(history.history["val_loss"]) == 2
    history = _regressor().fit(X, TARGET, epochs=4, validation_data=(X, TARGET), validation_freq=[1, 2, 4], verbose=0)
    assert len(history.history["val_loss"]) == 3


def test_shuffling_follows_the_seed():
    def weights(seed: int, **arguments: object) -> np.ndarray:
        model = _regressor()
        dl.set_random_seed(seed)
        model.fit(X, TARGET, batch_size=5, epochs=2, verbose=0, **arguments)
        return model.get_weights()[0]

    np.testing.assert_array_equal(weights(1), weights(1))
    assert np.any(weights(1) != weights(2))
    np.testing.assert_array_equal(weights(1, shuffle=False), weights(2, shuffle=False))
    assert np.any(weights(1, shuffle="batch") != weights(1, shuffle=False))


def test_every_sample_comes_once_per_epoch():
    seen = []

    class Model(dl.Model):
        def train_step(self, data):
            seen.append(data[0].numpy()[:, 0])
            return {"loss": 0.0}

    model = Model()
    model.compile("sgd", "mse")
    model.built = True
    model.fit(np.arange(10.0)[:, None], np.zeros(10), batch_size=4, epochs=2, verbose=0)
    assert [len(part) for part in seen] == [4, 4, 2] * 2
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(first) == sorted(second) == list(range(10))
    assert np.any(first != second)


def test_sample_weights_and_class_weights():
    weight = np.where(LABELS == 1, 3.0, np.where(LABELS == 2, 0.5, 1.0)).astype(np.float32)

    def run(**arguments: object) -> dict:
        model = _classifier(metrics=["accuracy"], weighted_metrics=["accuracy"])
        return model.fit(X, LABELS, epochs=3, verbose=0, **arguments).history

    by_sample = run(sample_weight=weight)
    by_class = run(class_weight={1: 3.0, 2: 0.5})
    plain = run()
    assert by_sample == by_class
    assert list(plain) == ["loss", "accuracy", "weighted_accuracy"]
    assert by_sample["loss"] != plain["loss"]
    assert by_sample["accuracy"] != by_sample["weighted_accuracy"]
    assert plain["accuracy"] == plain["weighted_accuracy"]
    model = _classifier()
    value = model.evaluate(X, LABELS, sample_weight=weight, batch_size=50, verbose=0)
    each = losses.sparse_categorical_crossentropy(LABELS, model(X)).numpy()
    assert value == pytest.approx(float((each * weight).mean()), rel=1e-5)
    with pytest.raises(ValueError, match="cannot be given at the same time"):
        model.fit(X, LABELS, class_weight={1: 2.0}, sample_weight=weight)
    for wrong in ({"a": 2.0}, {1: "a"}, [1.0, 2.0]):
        with pytest.raises(ValueError, match="`class_weight` must map classes to weights"):
            model.fit(X, LABELS, class_weight=wrong, verbose=0)


def test_accuracy_by_the_shapes():
    dl.set_random_seed(0)
    for units, activation, loss, y, cls in (
        (1, "sigmoid", "binary_crossentropy", LABELS > 0, metrics.BinaryAccuracy),
        (3, "softmax", "sparse_categorical_crossentropy", LABELS, metrics.SparseCategoricalAccuracy),
        (3, "softmax", "categorical_crossentropy", np.eye(3)[LABELS], metrics.CategoricalAccuracy),
    ):
        for given in (loss, "crossentropy"):
            model = dl.Sequential([layers.Input((4,)), layers.Dense(units, activation=activation)])
            model.compile("sgd", given, metrics=["acc"])
            named = model.evaluate(X, y, verbose=0, return_dict=True)
            assert list(named) == ["loss", "acc"]
            compiled = model.metrics[1].metrics
            assert [type(m) for m in compiled] == [cls]


def _two_outputs() -> dl.Model:
    dl.set_random_seed(4)
    inputs = layers.Input((4,))
    hidden = layers.Dense(6, activation="tanh")(inputs)
    return dl.Model(inputs, [layers.Dense(1, name="size")(hidden), layers.Dense(3, name="kind")(hidden)])


def test_several_outputs():
    kind = losses.SparseCategoricalCrossentropy(from_logits=True)
    results = []
    for loss, weights, wanted, y in (
        (["mse", kind], [0.5, 2.0], [["mae"], ["accuracy"]], [TARGET, LABELS]),
        ({"size": "mse", "kind": kind}, {"size": 0.5, "kind": 2.0}, {"size": ["mae"], "kind": ["accuracy"]}, {
            "kind": LABELS, "size": TARGET}),
    ):  # fmt: skip
        model = _two_outputs()
        model.compile("sgd", loss, loss_weights=weights, metrics=wanted)
        history = model.fit(X, y, epochs=2, shuffle=False, verbose=0).history
        assert set(history) == {"loss", "size_loss", "kind_loss", "size_mae", "kind_accuracy"}
        np.testing.assert_allclose(
            history["loss"], 0.5 * np.array(history["size_loss"]) + 2.0 * np.array(history["kind_loss"]), rtol=1e-5
        )
        results.append(history)
        size, kinds = model.predict(X, verbose=0)
        assert size.shape == (50, 1)
        assert kinds.shape == (50, 3)
    assert results[0] == results[1]
    model = _two_outputs()
    model.compile("sgd", {"size": "mse", "colour": kind})
    with pytest.raises(ValueError, match="colour"):
        model.fit(X, [TARGET, LABELS], verbose=0)
    model.compile("sgd", ["mse"])
    with pytest.raises(ValueError, match="2 outputs"):
        model.fit(X, [TARGET, LABELS], verbose=0)
    model.compile("sgd", ["mse", None])
    assert model.fit(X, [TARGET, None], verbose=0).history["loss"][0] > 0


def test_several_inputs():
    dl.set_random_seed(4)
    a, b = layers.Input((2,), name="a"), layers.Input((2,), name="b")
    model = dl.Model([a, b], layers.Dense(1)(layers.Concatenate()([a, b])))
    model.compile("sgd", "mse")
    start = model.get_weights()
    first = model.fit([X[:, :2], X[:, 2:]], TARGET, shuffle=False, verbose=0).history["loss"]
    model.set_weights(start)
    second = model.fit({"a": X[:, :2], "b": X[:, 2:]}, TARGET, shuffle=False, verbose=0).history["loss"]
    assert first == second
    with pytest.raises(ValueError, match="same number of samples"):
        model.fit([X[:, :2], X[:9, 2:]], TARGET)


def test_penalties_and_added_losses():
    dl.set_random_seed(5)

    class Sparse(layers.Layer):
        def call(self, inputs):
            self.add_loss(0.1 * F.abs(inputs).sum())
            return inputs

    model = dl.Sequential([layers.Input((4,)), Sparse(), layers.Dense(1, kernel_regularizer=dl.regularizers.L2(0.5))])
    model.compile(optimizers.SGD(0.0), "mse")
    loss = model.train_on_batch(X, TARGET)
    kernel = model.get_weights()[0]
    error = float(np.mean((X @ kernel - TARGET) ** 2))
    assert loss == pytest.approx(error + 0.5 * float((kernel**2).sum()) + 0.1 * float(np.abs(X).sum()), rel=1e-5)
    assert model.test_on_batch(X, TARGET) == pytest.approx(loss, rel=1e-5)


def test_freezing():
    model = _classifier()
    model.fit(X, LABELS, verbose=0)
    model.layers[0].trainable = False
    frozen, head = model.layers[0].get_weights(), model.layers[1].get_weights()
    model.fit(X, LABELS, verbose=0)
    model.train_on_batch(X, LABELS)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], frozen[0])
    assert np.any(model.layers[1].get_weights()[0] != head[0])
    model.layers[0].trainable = True
    model.train_on_batch(X, LABELS)
    assert np.any(model.layers[0].get_weights()[0] != frozen[0])
    for layer in model.layers:
        layer.trainable = False
    with pytest.warns(UserWarning, match="no trainable weights"):
        model.fit(X, LABELS, verbose=0)


@pytest.mark.parametrize("eagerly", [False, True])
def test_an_optimizer_trains_one_model(eagerly):
    """Else the second would take its place, and the first train no longer."""
    optimizer = optimizers.SGD(0.1, momentum=0.9, name="steps")
    model, other = (_regressor(optimizer, run_eagerly=eagerly) for _ in range(2))
    alone = _regressor(optimizers.SGD(0.1, momentum=0.9), run_eagerly=eagerly)
    losses = []
    for step in range(8):
        losses.append(model.train_on_batch(X, TARGET))
        if step in (0, 5):
            with pytest.raises(ValueError, match=r"Unknown variable.*SGD optimizer 'steps'.*of its own"):
                other.train_on_batch(X, TARGET)
    assert losses == [alone.train_on_batch(X, TARGET) for _ in range(8)]
    other.compile("sgd", "mse")
    other.train_on_batch(X, TARGET)
    del model, alone  # which changes nothing
    other.compile(optimizer, "mse")
    with pytest.raises(ValueError, match="Unknown variable"):
        other.fit(X, TARGET, verbose=0)


def test_an_optimizer_follows_the_variables_of_its_model():
    optimizer = optimizers.SGD(0.1)
    model = dl.Sequential([layers.Input((4,)), layers.Dense(3), layers.Dense(1)])
    model.compile(optimizer, "mse")
    trained = []
    for frozen in (1, 0):  # none of the variables is trained both times
        for number, layer in enumerate(model.layers):
            layer.trainable = number != frozen
        trained.append(model.get_weights())
        model.train_on_batch(X, TARGET)
    model.compile(optimizer, "mse")
    model.train_on_batch(X, TARGET)
    model.pop()
    model.add(layers.Dense(1))
    before = model.get_weights()
    model.train_on_batch(X, TARGET)
    assert (before[2] != model.get_weights()[2]).any()
    for a, b, changes in zip(*trained, (True, True, False, False), strict=True):
        assert (a != b).any() == changes
    same = dl.Sequential(model.layers)  # another model of the same variables
    same.compile(optimizer, "mse")
    same.train_on_batch(X, TARGET)


def test_a_step_of_ones_own():
    class Model(dl.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)
            self.tracker = metrics.Mean(name="error")

        def call(self, inputs):
            return self.dense(inputs)

        def train_step(self, data):
            x, y = data
            loss = F.square(self(x, training=True) - y).mean()
            self.zero_grad()
            loss.backward()
            variables = self.trainable_variables
            self.optimizer.apply([v.grad for v in variables], variables)
            self.tracker.update_state(loss)
            return {"error": self.tracker.result()}

        @property
        def metrics(self):
            return [self.tracker]

    dl.set_random_seed(3)
    model = Model()
    model.compile(optimizers.SGD(0.05))
    history = model.fit(X, TARGET, batch_size=10, epochs=5, verbose=0).history
    assert list(history) == ["error"]
    assert history["error"][-1] < history["error"][0]


def test_a_loss_of_ones_own():
    class Model(dl.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return 3.0 * super().compute_loss(x, y, y_pred, sample_weight)

    model = Model([layers.Input((4,)), layers.Dense(1)])
    model.compile(optimizers.SGD(0.0), "mse")
    error = float(np.mean((model.predict(X, verbose=0) - TARGET) ** 2))
    assert model.train_on_batch(X, TARGET) == pytest.approx(3 * error, rel=1e-5)
    model.compile(optimizers.SGD(0.0), loss=lambda y_true, y_pred: F.abs(y_true - y_pred))
    assert model.evaluate(X, TARGET, verbose=0) > 0


def test_a_model_built_by_its_data():
    model = dl.Sequential([layers.Dense(3, activation="relu"), layers.Dense(1)])
    model.compile("adam", "mse")
    history = model.fit(X, TARGET, epochs=10, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert model.count_params() == 4 * 3 + 3 + 3 + 1


def test_dropout_and_batchnorm_know_the_phase():
    dl.set_random_seed(0)
    model = dl.Sequential([layers.Input((4,)), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(1)])
    model.compile(optimizers.SGD(0.0), "mse")
    np.testing.assert_array_equal(model.predict(X, verbose=0), model.predict(X, verbose=0))
    moving = model.layers[0].get_weights()[2]
    model.evaluate(X, TARGET, verbose=0)
    np.testing.assert_array_equal(model.layers[0].get_weights()[2], moving)
    values = {model.train_on_batch(X, TARGET) for _ in range(4)}
    assert len(values) == 4
    assert np.any(model.layers[0].get_weights()[2] != moving)


def test_compile_config():
    model = _classifier(metrics=["accuracy", metrics.SparseTopKCategoricalAccuracy(2)])
    model.fit(X, LABELS, verbose=0)
    import json

    config = json.loads(json.dumps(model.get_compile_config()))
    twin = _classifier()
    twin.compile_from_config(config)
    assert twin.optimizer.get_config() == model.optimizer.get_config()
    twin.set_weights(model.get_weights())
    twin.optimizer.set_state(model.optimizer.get_state())
    for m in (model, twin):
        dl.set_random_seed(9)
        m.history2 = m.fit(X, LABELS, epochs=2, verbose=0).history
    assert model.history2 == twin.history2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": X, "y": LABELS[:7]}, ValueError, "x with 50, y with 7"),
        ({"x": X[:0], "y": LABELS[:0]}, ValueError, "empty"),
        ({"x": X}, ValueError, "`y` is None"),
        ({"x": None}, ValueError, "`x`"),
        ({"x": X, "y": LABELS + 1}, ValueError, "3"),
        ({"x": X, "y": LABELS - 1}, ValueError, "-1"),
        ({"x": X, "y": LABELS + 0.5}, TypeError, "integer labels"),
        ({"x": X, "y": np.array(["a"] * 50)}, TypeError, "`y` must hold numbers"),
        ({"x": X.astype(str), "y": LABELS}, TypeError, "`x` must hold numbers"),
        ({"x": X[:, :3], "y": LABELS}, ValueError, "3"),
        ({"x": X, "y": LABELS, "batch_size": 0}, ValueError, "batch_size"),
        ({"x": X, "y": LABELS, "epochs": -1}, ValueError, "epochs"),
        ({"x": X, "y": LABELS, "validation_split": 1.5}, ValueError, "validation_split"),
        ({"x": X[:1], "y": LABELS[:1], "validation_split": 0.1}, ValueError, "too few"),
        ({"x": X, "y": LABELS, "sample_weight": np.ones(3)}, ValueError, "sample_weight with 3"),
        ({"x": Loader(), "y": LABELS}, ValueError, "leave `y`"),
        ({"x": Loader(), "validation_split": 0.5}, ValueError, "needs arrays"),
        ({"x": 3.0}, TypeError, "`x`"),
    ],
    ids=lambda v: None,
)
def test_bad_input(arguments, error, message):
    model = _classifier()
    before = model.get_weights()
    with pytest.raises(error, match=message):
        model.fit(verbose=0, **arguments)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_bad_compile():
    model = dl.Sequential([layers.Input((4,)), layers.Dense(1)])
    for method in (lambda: model.fit(X, TARGET), lambda: model.evaluate(X, TARGET), lambda: model.train_on_batch(X, X)):
        with pytest.raises(ValueError, match="compile"):
            method()
    with pytest.raises(ValueError, match="'adam'"):
        model.compile("adamm", "mse")
    with pytest.raises(ValueError, match="mean_squared_error"):
        model.compile("adam", "mean_square_error")
    with pytest.raises(ValueError, match="accuracy"):
        model.compile("adam", "mse", metrics=["acuracy"])
    with pytest.raises(ValueError, match="metrics"):
        model.compile("adam", "mse", metrics="accuracy")
    model.compile("adam")
    with pytest.raises(ValueError, match="no loss"):
        model.fit(X, TARGET, verbose=0)


def test_training_on_every_engine(active_backend):
    model = _classifier(metrics=["accuracy"])
    assert model.backend == active_backend.name
    history = model.fit(X, LABELS, epochs=30, verbose=0).history
    assert history["accuracy"][-1] > 0.85


def test_a_model_trains_where_its_parameters_live(backend):
    with dl.use_backend(backend.name):
        model = _classifier()
    with dl.use_backend("numpy"):
        model.fit(X, LABELS, validation_split=0.2, verbose=0)
        model.evaluate(X, LABELS, verbose=0)
        assert model.predict(X, verbose=0).shape == (50, 3)
    assert model.backend == backend.name
