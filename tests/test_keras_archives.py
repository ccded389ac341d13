"""Whole models as `.keras` files: those that dlcore writes are loaded by Keras, and those of Keras's by dlcore."""

from __future__ import annotations

import inspect
import json
import zipfile

import numpy as np
import pytest
from oracle import keras

import dlcore as dl

h5py = pytest.importorskip("h5py")
RNG = np.random.default_rng(0)
OPTIMIZERS = [
    ("SGD", {"momentum": 0.9}), ("Adam", {}), ("Adam", {"amsgrad": True}), ("AdamW", {}), ("Adagrad", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True}), ("Adadelta", {}), ("Adamax", {}), ("Nadam", {}), ("Ftrl", {}),
    ("AdamW", {"use_ema": True, "ema_momentum": 0.7}), ("SGD", {"momentum": 0.9, "gradient_accumulation_steps": 2}),
]  # fmt: skip


def chain(k):
    return k.Sequential([
        k.layers.Input((8, 8, 2)),
        k.layers.Conv2D(3, 3, padding="same", activation="relu", kernel_regularizer=k.regularizers.L2(0.01)),
        k.layers.BatchNormalization(),
        k.layers.MaxPooling2D(2),
        k.layers.Flatten(),
        k.layers.Dropout(0.3),
        k.layers.Dense(4, activation="softmax", kernel_initializer="he_normal"),
    ])  # fmt: skip


def graph(k):
    """Two inputs, a shared layer, arithmetic, slices, a recurrent layer with states, a wrapper, a model within."""
    a, b = k.Input((6, 4), name="a"), k.Input((6, 4), name="b")
    shared = k.layers.Dense(3, activation="tanh", name="shared")
    x, y = shared(a), shared(b)
    joined = k.layers.Concatenate()([x + 2.0 * y, x[:, :, :1]])
    inner = k.Sequential([k.layers.Input((6, 4)), k.layers.Dense(4), k.layers.LayerNormalization()], name="inner")
    sequence, state = k.layers.GRU(5, return_sequences=True, return_state=True)(inner(joined))
    both = k.layers.Bidirectional(k.layers.LSTM(3))(sequence)
    steps = k.layers.TimeDistributed(k.layers.Dense(2))(sequence)
    return k.Model({"a": a, "b": b}, [both, state, k.ops.softmax(steps)])


def words(k):
    return k.Sequential([
        k.layers.Input((7,), dtype="int32"),
        k.layers.Embedding(11, 4, mask_zero=True),
        k.layers.LSTM(5),
        k.layers.Dense(1),
    ])  # fmt: skip


def attentive(k):
    """What a transformer for series is made of."""
    entry = k.Input((10, 4))
    x = k.layers.MultiHeadAttention(key_dim=3, num_heads=2, dropout=0.1)(entry, entry)
    x = k.layers.LayerNormalization(epsilon=1e-6)(x)
    x = k.layers.Conv1D(5, 3, padding="same", activation="relu", kernel_constraint=k.constraints.MaxNorm(3.0))(
        x + entry
    )
    x = k.layers.GroupNormalization(1)(k.layers.SeparableConv1D(4, 3, padding="same")(x))
    mixed = k.layers.Attention(use_scale=True)([x, entry])
    mixed = k.layers.EinsumDense("abc,cd->abd", output_shape=(None, 6), bias_axes="d")(mixed)
    return k.Model(entry, k.layers.GlobalAveragePooling1D()(mixed))


CASES = {
    "attentive": (attentive, RNG.normal(size=(5, 10, 4)).astype("float32")),
    "chain": (chain, RNG.normal(size=(5, 8, 8, 2)).astype("float32")),
    "graph": (graph, {name: RNG.normal(size=(5, 6, 4)).astype("float32") for name in "ab"}),
    "words": (words, RNG.integers(0, 11, (5, 7))),
}


def outputs(model, x):
    found = model.predict(x, verbose=0)
    return found if isinstance(found, list) else [found]


def close(a, b, x, atol=1e-6):
    for one, other in zip(outputs(a, x), outputs(b, x), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("name", CASES)
def test_keras_loads_ours(active_backend, tmp_path, name):
    make, x = CASES[name]
    ours = make(dl)
    ours.set_weights([RNG.uniform(0.1, 0.5, w.shape) for w in ours.get_weights()])
    ours.save(tmp_path / "ours.keras")
    theirs = keras.models.load_model(tmp_path / "ours.keras")
    close(ours, theirs, x)
    assert theirs.count_params() == ours.count_params()


@pytest.mark.parametrize("name", CASES)
def test_we_load_keras_s(active_backend, tmp_path, name):
    make, x = CASES[name]
    theirs = make(keras)
    theirs.save(tmp_path / "theirs.keras")
    ours = dl.load_model(tmp_path / "theirs.keras")
    close(theirs, ours, x)
    ours.save(tmp_path / "again.keras")
    close(theirs, keras.models.load_model(tmp_path / "again.keras"), x)
    close(ours, dl.load_model(tmp_path / "again.keras"), x, atol=0)


@pytest.mark.parametrize(("name", "arguments"), OPTIMIZERS, ids=[f"{n}{len(a)}" for n, a in OPTIMIZERS])
def test_training_goes_on_either_way(tmp_path, name, arguments):
    """Three steps here, two in Keras from the file of these; and the other way round."""
    x, y = RNG.normal(size=(6, 4)).astype("float32"), RNG.normal(size=(6, 2)).astype("float32")

    def make(k):
        model = k.Sequential([k.layers.Input((4,)), k.layers.Dense(3, activation="tanh"), k.layers.Dense(2)])
        model.compile(getattr(k.optimizers, name)(0.05, **arguments), "mse", metrics=["mae"])
        return model

    def train(model, steps):
        for _ in range(steps):
            model.train_on_batch(x, y)

    start = [RNG.normal(size=w.shape) for w in make(dl).get_weights()]
    whole = make(dl)
    whole.set_weights(start)
    train(whole, 5)
    for first, load in ((dl, keras.models.load_model), (keras, dl.load_model)):
        model = make(first)
        model.set_weights(start)
        train(model, 3)
        model.save(tmp_path / "half.keras")
        model = load(tmp_path / "half.keras")
        train(model, 2)
        for a, b in zip(model.get_weights(), whole.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_a_schedule_and_losses_as_objects(tmp_path):
    ours = chain(dl)
    ours.compile(
        dl.optimizers.Adam(dl.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)),
        dl.losses.SparseCategoricalCrossentropy(),
        metrics=[dl.metrics.SparseTopKCategoricalAccuracy(2), "accuracy"],
    )
    x, y = CASES["chain"][1], np.arange(5) % 4
    ours.fit(x, y, verbose=0)
    ours.save(tmp_path / "ours.keras")
    for load in (keras.models.load_model, dl.load_model):
        loaded = load(tmp_path / "ours.keras")
        np.testing.assert_allclose(loaded.evaluate(x, y, verbose=0), ours.evaluate(x, y, verbose=0), rtol=1e-5)
        np.testing.assert_allclose(float(loaded.optimizer.learning_rate), 0.1 * 0.5**0.1, rtol=1e-5)


def test_registered_classes_and_functions(tmp_path):
    @dl.saving.register_keras_serializable(package="mine")
    class Scaled(dl.layers.Layer):
        def __init__(self, factor, inner=None, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor
            self.inner = inner or dl.layers.Dense(2)

        def call(self, x):
            return self.inner(x) * self.factor

        def get_config(self):
            inner = dl.saving.serialize_keras_object(self.inner)
            return {**super().get_config(), "factor": self.factor, "inner": inner}

        @classmethod
        def from_config(cls, config):
            return cls(**{**config, "inner": dl.saving.deserialize_keras_object(config["inner"])})

    @dl.saving.register_keras_serializable(package="mine", name="squared")
    def square(x):
        return x**2

    @dl.saving.register_keras_serializable()
    def distance(y_true, y_pred):
        return dl.ops.mean(dl.ops.abs(y_true - y_pred), axis=-1)

    try:
        model = dl.Sequential([dl.Input((3,)), Scaled(0.5), dl.layers.Dense(2, activation=square)])
        model.compile("sgd", distance, metrics=[distance])
        x, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
        model.fit(x, y, verbose=0)
        model.save(tmp_path / "own.keras")
        loaded = dl.load_model(tmp_path / "own.keras")
        close(model, loaded, x, atol=0)
        assert loaded.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0))
        assert loaded.layers[0].factor == 0.5
        assert dl.saving.get_registered_name(square) == "mine>squared"
        assert dl.saving.get_registered_object("mine>Scaled") is Scaled
        model.save(tmp_path / "own.safetensors")
        close(model, dl.load_model(tmp_path / "own.safetensors"), x, atol=0)
    finally:
        dl.saving.get_custom_objects().clear()
    with pytest.raises(ValueError, match=r"mine>?\w*|Scaled"):
        dl.load_model(tmp_path / "own.keras")
    loaded = dl.load_model(tmp_path / "own.keras", {"Scaled": Scaled, "square": square, "distance": distance})
    close(model, loaded, x, atol=0)


class Doubled(dl.Model):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = dl.layers.Dense(units)
        self.table = dl.layers.Embedding(5, units)

    def call(self, x):
        return 2 * self.dense(self.table(x))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_a_model_of_one_s_own(tmp_path):
    model = Doubled(3)
    x = np.array([[1, 2], [3, 4]])
    model(x)
    model.save(tmp_path / "own.keras")
    loaded = dl.load_model(tmp_path / "own.keras", {"Doubled": Doubled})
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))


def test_layers_that_see_to_their_own_state(tmp_path):
    @dl.saving.register_keras_serializable(package="mine")
    class Offset(dl.layers.Dense):
        def __init__(self, units, **kwargs):
            super().__init__(units, **kwargs)
            self.offset = dl.Variable(np.full(units, 3.0, "float32"), name="offset")

        def save_own_variables(self, store):
            super().save_own_variables(store)
            store["offset"] = -self.offset.numpy()

        def load_own_variables(self, store):
            for i, v in enumerate(self._own_variables):
                v.assign(store[str(i)])
            self.offset.assign(store["offset"])

        def call(self, inputs):
            return super().call(inputs) + self.offset

    @dl.saving.register_keras_serializable(package="mine")
    class Drawn(dl.layers.Layer):
        def call(self, inputs):
            return dl.ops.matmul(inputs, self.w)

        def build(self, input_shape, initializer):
            self.shape, self.initializer = input_shape, initializer
            self.w = self.add_weight(shape=(input_shape[-1], 2), initializer=initializer)

        def get_build_config(self):
            return {"input_shape": self.shape, "initializer": self.initializer}

        def build_from_config(self, config):
            self.build(config["input_shape"], config["initializer"])

    class Kept(dl.layers.Layer):
        def save_assets(self, folder):
            raise AssertionError("not called")

        def call(self, x):
            return x

    try:
        drawn = Drawn()
        drawn.build((None, 3), "he_normal")
        model = dl.Sequential([drawn, Offset(2)])
        x = numbers = RNG.normal(size=(4, 3)).astype("float32")
        model(numbers)
        model.save(tmp_path / "own.keras")
        loaded = dl.load_model(tmp_path / "own.keras")
        assert loaded.layers[0].initializer == "he_normal"
        np.testing.assert_array_equal(loaded.layers[0].w.numpy(), drawn.w.numpy())
        np.testing.assert_array_equal(loaded.layers[1].offset.numpy(), [-3.0, -3.0])
        np.testing.assert_allclose(loaded.predict(x, verbose=0) + 6, model.predict(x, verbose=0), rtol=1e-5)
    finally:
        dl.saving.get_custom_objects().clear()
    with pytest.raises(ValueError, match="has save_assets"):
        dl.Sequential([dl.Input((2,)), Kept()]).save(tmp_path / "kept.keras")


def test_compiled_in_one_s_own_way(tmp_path):
    @dl.saving.register_keras_serializable(package="mine")
    def small(y_true, y_pred):
        return dl.ops.sum(dl.ops.square(y_pred - y_true) / 10.0, axis=1)

    @dl.saving.register_keras_serializable(package="mine")
    class Own(dl.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = dl.layers.Dense(4, activation="softmax")

        def call(self, inputs):
            return self.dense(inputs)

        def compile(self, optimizer, loss_fn):
            super().compile(optimizer=optimizer, loss=loss_fn)
            self.given = optimizer, loss_fn

        def get_compile_config(self):
            return {"own_optimizer": self.given[0], "own_loss": self.given[1]}

        def compile_from_config(self, config):
            self.compile(*(dl.utils.deserialize_keras_object(config[key]) for key in ("own_optimizer", "own_loss")))

    try:
        model = Own()
        model.compile("SGD", small)
        model.fit(np.ones((4, 8), "float32"), np.ones((4, 4), "float32"), verbose=0)
        model.save(tmp_path / "own.keras")
        assert dl.load_model(tmp_path / "own.keras").given == ("SGD", small)
    finally:
        dl.saving.get_custom_objects().clear()


def test_an_optimizer_s_state_outside_the_file_is_refused(tmp_path):
    model = chain(dl)
    model.compile("adam", "sparse_categorical_crossentropy")
    x = CASES["chain"][1]
    model.fit(x, np.arange(5) % 4, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (tmp_path / "weights.h5").write_bytes(parts["model.weights.h5"])
    with h5py.File(tmp_path / "weights.h5", "a") as file:
        del file["optimizer/vars/2"]
        file["optimizer/vars/2"] = h5py.ExternalLink("elsewhere.h5", "/x")
    parts["model.weights.h5"] = (tmp_path / "weights.h5").read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="no array of numbers of its own"):
        dl.load_model(path)
    assert dl.load_model(path, compile=False).count_params() == model.count_params()


def test_weights_alone(tmp_path):
    ours, theirs = chain(dl), chain(keras)
    ours.save_weights(tmp_path / "ours.weights.h5")
    theirs.load_weights(tmp_path / "ours.weights.h5")
    close(ours, theirs, CASES["chain"][1])
    twin = chain(dl)
    twin.load_weights(tmp_path / "ours.weights.h5")
    close(ours, twin, CASES["chain"][1], atol=0)
    with pytest.raises(ValueError, match="weights only, without a model"):
        dl.load_model(tmp_path / "ours.weights.h5")


@pytest.mark.parametrize("value", [
    dl.regularizers.L1(0.25), dl.initializers.HeNormal(seed=3), dl.layers.Dense(3, activation="relu"),
    dl.losses.Huber(delta=2.0), dl.metrics.AUC(num_thresholds=20), dl.optimizers.SGD(0.5, momentum=0.5),
    dl.optimizers.schedules.CosineDecay(0.1, 100), dl.constraints.MaxNorm(2.0),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_objects_as_keras_s_json(value):
    config = json.loads(json.dumps(dl.saving.serialize_keras_object(value)))
    again = dl.saving.deserialize_keras_object(config)
    assert type(again) is type(value)
    assert dl.saving.serialize_keras_object(again) == config
    assert type(keras.saving.deserialize_keras_object(config)).__name__ == type(value).__name__


@pytest.mark.parametrize(
    "function", [dl.activations.relu, dl.losses.huber, dl.metrics.binary_accuracy], ids=lambda value: value.__name__
)
def test_functions_as_keras_s_json(function):
    config = json.loads(json.dumps(dl.saving.serialize_keras_object(function)))
    assert dl.saving.deserialize_keras_object(config) is function
    assert keras.saving.deserialize_keras_object(config).__name__ == function.__name__


def test_a_function_that_keras_has_not_is_refused(tmp_path):
    entry = dl.Input((4,))
    model = dl.Model(entry, dl.functional.step(dl.layers.Dense(2)(entry)))
    with pytest.raises(ValueError, match="cannot hold the function 'step'"):
        model.save(tmp_path / "model.keras")
    assert list(tmp_path.iterdir()) == []


PAIRS = [
    name for name in dir(keras.layers) if isinstance(getattr(keras.layers, name), type) and hasattr(dl.layers, name)
]
NEEDED = {
    "units": 3, "filters": 3, "kernel_size": 2, "pool_size": 2, "rate": 0.2, "input_dim": 5, "output_dim": 3, "n": 2,
    "target_shape": (2, 3), "dims": (2, 1), "stddev": 0.1, "scale": 0.5, "activation": "tanh", "height": 4, "width": 4,
    "factor": 0.1, "height_factor": 0.1, "width_factor": 0.1,
    "shape": (4,), "num_heads": 2, "key_dim": 3, "axes": 1, "head_dim": 2,
    "num_query_heads": 2, "num_key_value_heads": 1,
    "output_shape": (None, 3),
    "equation": "ab,bc->ac",
}  # fmt: skip


def made(k, name):
    """A layer with as few arguments as it takes; None for a class that cannot be made so."""
    cls = getattr(k.layers, name)
    if name in ("Layer", "Lambda", "InputSpec", "Wrapper", "InputLayer"):
        return None
    if name in ("Bidirectional", "TimeDistributed"):
        return cls(k.layers.LSTM(2) if name == "Bidirectional" else k.layers.Dense(2))
    if name in ("RNN", "StackedRNNCells"):
        cells = [k.layers.GRUCell(2), k.layers.LSTMCell(3)]
        return cls(cells if name == "StackedRNNCells" else cells[0])
    required = [
        p.name
        for p in inspect.signature(cls.__init__).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"
    ]
    return cls(**{argument: NEEDED[argument] for argument in required})


@pytest.mark.parametrize("name", PAIRS)
def test_configs_of_layers_are_taken_on_both_sides(name):
    ours, theirs = made(dl, name), made(keras, name)
    if ours is None:
        return
    config = json.loads(json.dumps(dl.saving.serialize_keras_object(ours)))
    assert type(keras.saving.deserialize_keras_object(config)) is type(theirs)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(theirs)))
    assert type(dl.saving.deserialize_keras_object(config)) is type(ours)


def rewritten(path, change):
    """The archive with its configuration changed."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = change(parts["config.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"Dense"', '"Dance"'), "Unknown class: 'keras.layers.Dance'"),
        (lambda text: text.replace('"units": 4', '"unite": 4'), "Dense has no argument 'unite' here"),
        (lambda text: text.replace('"softmax"', '{"class_name": "__lambda__", "config": {}}'), "never run here"),
        (lambda text: text[: len(text) // 2], "is no readable .keras file"),
        (lambda text: "[]", "is no readable .keras file"),
        (lambda text: text.replace('"class_name": "Sequential"', '"class_name": "os.system"'), "Unknown class"),
        (lambda text: text.replace('"layers": [', '"lairs": ['), "Sequential has no argument 'lairs' here"),
        (lambda text: text.replace('"filters": 3', '"filters": 4'), "has it in shape"),
    ],
)
def test_damaged_and_hostile_files(tmp_path, change, message):
    path = tmp_path / "model.keras"
    chain(dl).save(path)
    rewritten(path, change)
    with pytest.raises(ValueError, match=message):
        dl.load_model(path)
