"""Recorded steps give the bits of eager ones, and notice when they no longer hold."""

from __future__ import annotations

import threading
import tracemalloc
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import dlcore as dl
from dlcore import layers, optimizers, schedules
from dlcore.backends.capture import Buffer, Call, Program, Recorder, View, difference
from dlcore.backends.cython_backend import CythonBackend
from dlcore.backends.registry import available_backends, get_backend, stand_in
from dlcore.backends.rewrite import fill, fuse_inference, fuse_training, split_constant
from dlcore.random import seeded
from dlcore.tensor import as_tensor

RNG = np.random.default_rng(7)
SAMPLES, BATCH = 29, 8  # the last batch is smaller


def _images(*shape):
    return RNG.standard_normal((SAMPLES, *shape)).astype(np.float32)


def _mlp():
    return dl.Sequential(
        [
            layers.Input((6,)),
            layers.Dense(16, activation="relu", kernel_regularizer="l2"),
            layers.Dropout(0.4),
            layers.GaussianNoise(0.1),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _convnet():
    return dl.Sequential(
        [
            layers.Input((10, 10, 2)),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Conv2D(8, 3, activation="tanh", activity_regularizer="l1"),
            layers.SpatialDropout2D(0.2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )


def _normalised():
    return dl.Sequential(
        [
            layers.Input((10, 10, 2)),
            layers.Conv2D(16, 3, padding="same"),
            layers.BatchNormalization(),
            layers.Activation("tanh"),  # of more elements than NumPy's is better for
            layers.Conv2D(5, 3),
            layers.BatchNormalization(),
            layers.Activation("tanh"),
            layers.Conv2D(5, 3),
            layers.BatchNormalization(),
            layers.Activation("sigmoid"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _pooled():
    return dl.Sequential(
        [
            layers.Input((10, 10, 2)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.MaxPooling2D(3, 1),  # windows overlap
            layers.Conv2D(6, 3),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _residual():
    inputs = layers.Input((10, 10, 2))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    y = layers.BatchNormalization()(x)
    y = layers.Conv2D(4, 3, padding="same")(layers.ReLU()(y))
    y = layers.ReLU()(layers.Add()([layers.BatchNormalization()(y), x]))
    return dl.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(y)))


def _recurrent():
    return dl.Sequential(
        [
            layers.Input((7,), dtype="int32"),
            layers.Embedding(11, 5, mask_zero=True),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
            layers.GRU(4, dropout=0.2, recurrent_dropout=0.2),
            layers.Dense(3, activation="softmax"),
        ]
    )


class _Subclassed(dl.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(8, activation="tanh")
        self.second = layers.Dense(3)

    def call(self, inputs, training=False):
        hidden = self.first(inputs)
        return self.second(hidden * 2.0 if training else hidden)


CASES = {
    "mlp": (
        _mlp,
        _images(6),
        "sparse_categorical_crossentropy",
        lambda: optimizers.Adam(schedules.ExponentialDecay(0.01, 3, 0.9)),
    ),
    "convnet": (
        _convnet,
        _images(10, 10, 2),
        dl.losses.SparseCategoricalCrossentropy(from_logits=True),
        lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True, clipnorm=0.5),
    ),
    "normalised": (_normalised, _images(10, 10, 2), "sparse_categorical_crossentropy", lambda: optimizers.SGD(0.05)),
    "pooled": (_pooled, _images(10, 10, 2), "sparse_categorical_crossentropy", lambda: optimizers.SGD(0.05)),
    "residual": (_residual, _images(10, 10, 2), "sparse_categorical_crossentropy", lambda: optimizers.AdamW(0.01)),
    "recurrent": (
        _recurrent,
        RNG.integers(0, 11, (SAMPLES, 7)).astype(np.int32),
        "sparse_categorical_crossentropy",
        lambda: optimizers.RMSprop(0.01, gradient_accumulation_steps=2),
    ),
    "subclassed": (
        _Subclassed,
        _images(6),
        dl.losses.SparseCategoricalCrossentropy(from_logits=True),
        lambda: optimizers.Adam(0.01, global_clipnorm=1.0),
    ),
}  # fmt: skip
LABELS = RNG.integers(0, 3, SAMPLES)
WEIGHTS = RNG.random(SAMPLES).astype(np.float32)


def _trained(case, eagerly, **fit):
    make, x, loss, optimizer = CASES[case]
    dl.random.set_seed(3)
    model = make()
    model.compile(optimizer(), loss, metrics=["accuracy"], run_eagerly=eagerly)
    history = model.fit(
        x, LABELS, batch_size=BATCH, epochs=4, verbose=0, validation_data=(x[:20], LABELS[:20]), **fit
    ).history
    return model, history


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_by_replay_gives_the_bits_of_eager_steps(active_backend, case, weighted):
    fit = {"sample_weight": WEIGHTS} if weighted else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eager, expected = _trained(case, True, **fit)
        model, history = _trained(case, False, **fit)
    recorded = model._plan.train._recordings
    assert [key[1][0][0] for key in recorded] == [BATCH]
    assert not eager._plan.train._recordings
    assert history == expected
    for a, b in zip(model.get_weights(), eager.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for slot, value in eager.optimizer.get_state().items():
        np.testing.assert_array_equal(model.optimizer.get_state()[slot], value)


@pytest.mark.parametrize("case", CASES)
def test_predict_by_replay_agrees_with_eager(active_backend, case):
    model, _ = _trained(case, False)
    x = CASES[case][1]
    expected = model(x, training=False).numpy()
    for _ in range(5):
        np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=1e-5, atol=1e-6)
    found = model.predict_on_batch(x)
    model.predict_on_batch(x[::-1].copy())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # a result is the caller's own


def _dense(**compile):
    dl.random.set_seed(1)
    model = dl.Sequential([layers.Input((4,)), layers.Dense(5, activation="tanh"), layers.Dense(1)])
    model.compile(**{"optimizer": "sgd", "loss": "mse"} | compile)
    return model


X, Y = RNG.random((6, 4)).astype(np.float32), RNG.random((6, 1)).astype(np.float32)


def _replays(model):
    for _ in range(4):
        model.train_on_batch(X, Y)
    return model._plan.train.replayed


@pytest.mark.skipif("cython" not in available_backends(), reason="the native engine is not built")
def test_training_fuses_the_passes_around_batch_normalisation(monkeypatch):
    names, join = [], CythonBackend.join

    def noting(engine, calls):
        names.extend(getattr(call, "func", call).__name__ for call in calls)
        return join(engine, calls)

    monkeypatch.setattr(CythonBackend, "join", noting)
    with dl.use_backend("cython"):
        model = _residual()
        model.compile(optimizers.SGD(0.01), "sparse_categorical_crossentropy")
        x, y = _images(10, 10, 2)[:BATCH], RNG.integers(0, 3, BATCH)
        for _ in range(4):
            model.train_on_batch(x, y)
    assert names.count("batchnorm") == names.count("batchnorm_residual") == 1
    assert names.count("batchnorm_relu_backward") == names.count("batchnorm_backward") == 1
    assert "activation" not in names  # both ReLUs are gone
    assert names.count("activation_backward") == 1  # that of the sum: two calls want its result


def test_weights_stay_where_their_product_cannot_wait_for_the_batch_normalisation():
    """Its input is overwritten in between; neither moves, and nothing is folded."""
    engine = get_backend("numpy")
    rng = np.random.default_rng(0)
    a, w, b, *statistics = (rng.random(shape).astype(np.float32) for shape in ((4, 3), (3, 3), *[(3,)] * 5))
    x, y, z = (View(Buffer(index, a.nbytes), 0, a) for index in range(3))
    product = Call("linear", {"x": x, "w": w, "b": b, "y": y, "activation": "linear"})
    parameters = ("gamma", "beta", "running_mean", "running_var")
    norm = dict(zip(parameters, statistics, strict=True)) | {"y": z, "eps": 1e-3, "activation": "relu"}
    calls = [product, fill(x), Call("batchnorm_inference", {"x": y} | norm)]
    constant = {id(array): array for array in (w, b, *statistics)}
    for recorded, names in (calls, ["linear", "fill", "batchnorm_inference"]), (calls[::2], ["linear"]):
        fused = fuse_inference(recorded, [z], dict(constant), engine)
        assert [call.name for call in fused] == names
        assert (fused[0].arguments["w"] is w) is (len(names) > 1)


@pytest.mark.parametrize(("samples", "channels"), [(BATCH, 5), (32, 6)])
@pytest.mark.parametrize("kind", ["relu", "sigmoid", "tanh"])
def test_the_backward_of_an_average_pooling_takes_over_that_of_an_activation(monkeypatch, kind, samples, channels):
    pytest.importorskip("dlcore.kernels.native.core")
    names, join = [], CythonBackend.join

    def noting(engine, calls):
        names.extend(getattr(call, "func", call).__name__ for call in calls)
        return join(engine, calls)

    monkeypatch.setattr(CythonBackend, "join", noting)
    weights = []
    x, y = RNG.standard_normal((samples, 10, 12, 2)).astype(np.float32), RNG.integers(0, 3, samples)
    for eagerly in (False, True):
        dl.set_random_seed(2)
        with dl.use_backend("cython"):
            pools = layers.AveragePooling2D((2, 1)), layers.AveragePooling2D(2, 1)  # windows of the second overlap
            convolutions = [layers.Conv2D(channels, 3, activation=kind) for _ in pools]
            blocks = [layer for pair in zip(convolutions, pools, strict=True) for layer in pair]
            model = dl.Sequential([layers.Input((10, 12, 2)), *blocks, layers.Flatten(), layers.Dense(3)])
            model.compile("sgd", "mse", run_eagerly=eagerly)
            for _ in range(4):
                model.train_on_batch(x, np.eye(3, dtype=np.float32)[y])
        weights.append(model.get_weights())
    assert names.count("avg_pool2d_activation_backward") == names.count("avg_pool2d_backward") == 1
    assert names.count("activation_backward") == 1
    for replayed, eager in zip(*weights, strict=True):
        np.testing.assert_array_equal(replayed, eager)


def test_the_backward_of_a_relu_in_front_of_a_pooling_runs_on_the_smaller_side(monkeypatch):
    bound, bind = [], Program._bind

    def noting(program, call, constant):
        bound.append(call)
        return bind(program, call, constant)

    monkeypatch.setattr(Program, "_bind", noting)
    with dl.use_backend("numpy"):
        model = _pooled()
        model.compile("sgd", "sparse_categorical_crossentropy")
        x, y = _images(10, 10, 2)[:BATCH], RNG.integers(0, 3, BATCH)
        for _ in range(4):
            model.train_on_batch(x, y)
    backward = [call for call in bound if call.name in ("activation_backward", "max_pool2d_backward")]
    assert [call.name for call in backward] == ["activation_backward", "max_pool2d_backward"] * 2
    assert [call.arguments["dx"].shape[1] for call in backward] == [2, 4, 6, 8]


@pytest.mark.skipif("cython" not in available_backends(), reason="the native engine is not built")
def test_the_gradient_of_a_convolution_takes_over_what_is_done_to_it_next(monkeypatch):
    bound, bind = [], Program._bind

    def noting(program, call, constant):
        bound.append(call)
        return bind(program, call, constant)

    def chain():
        inputs = layers.Input((10, 10, 2))
        x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
        y = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        y = layers.Conv2D(4, 3, padding="same")(y)
        outputs = layers.Dense(3, activation="softmax")(layers.Flatten()(layers.Add()([x, y])))
        return dl.Model(inputs, outputs)

    monkeypatch.setattr(Program, "_bind", noting)
    x, y = _images(10, 10, 2)[:8], RNG.integers(0, 3, 8)
    weights = []
    with dl.use_backend("cython"):
        for eagerly in (True, False):
            dl.random.set_seed(0)
            model = chain()
            model.compile(optimizers.SGD(0.01), "sparse_categorical_crossentropy", run_eagerly=eagerly)
            for _ in range(5):
                model.train_on_batch(x, y)
            weights.append(model.get_weights())
    gradients = [call.arguments for call in bound if call.name == "conv2d_backward_input"]
    assert [(g["residual"] is not None, g["gate"] is not None) for g in gradients] == [(False, True), (True, True)]
    names = [call.name for call in bound]
    assert "activation_backward" not in names
    assert names.count("binary") == 1  # that of the forward direction
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_predictions_follow_the_weights(active_backend):
    model = _dense()
    for _ in range(5):
        model.predict_on_batch(X)
    model.layers[1].kernel.assign(np.ones((5, 1), np.float32))
    for _ in range(4):
        np.testing.assert_allclose(model.predict_on_batch(X), model(X).numpy(), rtol=1e-6)
    for _ in range(6):  # packing weights that change all the time would cost more than it saves
        model.train_on_batch(X, Y)
        np.testing.assert_allclose(model.predict_on_batch(X), model(X).numpy(), rtol=1e-6)
        assert not model._prediction().replayed
    for _ in range(4):
        np.testing.assert_allclose(model.predict_on_batch(X), model(X).numpy(), rtol=1e-6)
    assert model._prediction().replayed


def test_predictions_follow_weights_that_another_library_writes(active_backend):
    if dl.backend() == "cupy":
        pytest.skip("NumPy takes no arrays of a GPU")
    model = dl.Sequential([layers.Input((4,)), layers.Dense(32, activation="relu"), layers.Dense(3)])
    model.compile_inference(X)
    kernel = model.layers[0].kernel
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(kernel)[...] = 0
    shared = np.from_dlpack(kernel)
    for factor in (2, 3):
        for _ in range(5):
            found = model.predict_on_batch(X)
        np.testing.assert_allclose(found, model(X).numpy(), rtol=1e-5)
        shared[...] *= factor
    np.testing.assert_allclose(model.predict_on_batch(X), model(X).numpy(), rtol=1e-5)


class _Noisy(layers.Layer):
    """Draws from the stream of draws without a seed."""

    def call(self, x, training=None):
        return dl.random.dropout(x, 0.5) + dl.random.normal(x.shape) if training else x


def test_a_new_seed_reaches_unseeded_draws_of_recorded_steps(active_backend):
    runs = []
    for eager in (True, False):
        dl.set_random_seed(0)
        model = dl.Sequential([layers.Input((4,)), _Noisy(), layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=eager)
        weights = model.get_weights()
        for _ in range(6):
            model.train_on_batch(X, Y)
        assert model._plan.train.replayed is not eager
        for _ in range(2):
            dl.set_random_seed(5)
            model.set_weights(weights)
            runs.append([model.train_on_batch(X, Y) for _ in range(3)])
            with seeded(9):  # afterwards the stream goes on where it was
                runs[-1] += [model.train_on_batch(X, Y)]
            runs[-1] += [model.train_on_batch(X, Y)]
    assert runs[0] == runs[1] == runs[2] == runs[3]


class _Normalised(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 6), name="kernel")

    def call(self, x):
        squares = dl.functional.sum(dl.functional.square(self.kernel), axis=0, keepdims=True)
        return dl.functional.linear(x, self.kernel / dl.functional.sqrt(squares))


def test_arrays_made_while_folding_are_no_constants(active_backend):
    model = dl.Sequential([
        layers.Input((6, 6, 3)), layers.Conv2D(6, 3), layers.BatchNormalization(), layers.BatchNormalization(),
        layers.BatchNormalization(), layers.Flatten(), _Normalised(),
    ])  # fmt: skip
    x = _images(6, 6, 3)
    model.compile_inference(x)
    np.testing.assert_allclose(model.predict_on_batch(x), model(x).numpy(), rtol=1e-4, atol=1e-5)
    assert model._prediction().replayed


def test_compile_inference_makes_the_next_prediction_a_replay(active_backend):
    model, _ = _trained("residual", False)
    x = CASES["residual"][1]
    model.compile_inference(x)
    np.testing.assert_allclose(model.predict_on_batch(x), model(x, training=False).numpy(), rtol=1e-5, atol=1e-6)
    assert model._prediction().replayed
    before = model.predict_on_batch(x)
    model.weights[0].data *= 2.0  # which nobody notes
    model.compile_inference(x)
    after = model.predict_on_batch(x)
    assert model._prediction().replayed
    np.testing.assert_allclose(after, model(x, training=False).numpy(), rtol=1e-5, atol=1e-6)
    assert (before != after).any()
    fewer = x[:3]
    model.compile_inference(fewer)  # another shape, after a replay
    model.predict_on_batch(fewer)
    assert model._prediction().replayed


class _Doubled(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight((3, 3, shape[-1], shape[-1]), name="kernel")

    def call(self, x):
        return dl.ops.conv(x, 2.0 * self.kernel, padding="same")


@pytest.mark.parametrize("make", [lambda: layers.DepthwiseConv2D(3, padding="same"), _Doubled])
def test_a_sum_after_a_convolution_whose_filters_are_computed(active_backend, make):
    inputs = layers.Input((8, 8, 4))
    model = dl.Model(inputs, layers.Add()([make()(inputs), inputs]))
    x = _images(8, 8, 4)[:2]
    model.compile_inference(x)
    np.testing.assert_allclose(model.predict_on_batch(x), model(x).numpy(), rtol=1e-5, atol=1e-6)
    assert model._prediction().replayed


def test_memory_is_steady_over_ten_thousand_steps():
    model = _dense()
    tracemalloc.start()
    used = []
    for steps in (1_000, 10_000):
        for _ in range(steps):
            model.train_on_batch(X, Y)
        used.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert used[1] - used[0] < 5_000  # bytes: half a byte for each step


def test_freezing_a_layer_takes_effect_at_once(active_backend):
    model = _dense()
    assert _replays(model)
    model.layers[0].trainable = False
    frozen = model.layers[0].get_weights()
    for _ in range(5):
        before = model.layers[1].get_weights()[0]
        model.train_on_batch(X, Y)
        assert not np.array_equal(model.layers[1].get_weights()[0], before)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], frozen[0])


def test_a_changed_attribute_takes_effect_at_once(active_backend):
    model = dl.Sequential([layers.Input((4,)), layers.Dropout(0.5, seed=1), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert _replays(model)
    model.layers[0].rate = 0.0
    loss = model.test_on_batch(X, Y)
    assert model.train_on_batch(X, Y) == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("setting", ["loss_scale_factor", "regularizer", "l2", "loss"])
def test_a_changed_setting_takes_effect_at_once(active_backend, setting):
    class Scaled(dl.losses.Loss):
        factor = 1.0

        def call(self, y_true, y_pred):
            return dl.functional.mean(dl.functional.square(y_pred - y_true), axis=-1) * self.factor

    x = _images(6)
    losses = []
    for eagerly in (True, False):
        dl.set_random_seed(3)
        loss = Scaled()
        loss.factor = 2.0
        penalty = dl.regularizers.L2(0.01)
        model = dl.Sequential([layers.Input((6,)), layers.Dense(3, kernel_regularizer=penalty)])
        model.compile(optimizers.SGD(0.1), loss, run_eagerly=eagerly)
        found = [model.train_on_batch(x, x[:, :3]) for _ in range(5)]
        assert model._plan.train.replayed is not eagerly
        if setting == "loss_scale_factor":
            model.optimizer.loss_scale_factor = 1024.0
        elif setting == "regularizer":
            model.layers[-1].kernel.regularizer = dl.regularizers.L2(1.0)
        elif setting == "l2":
            penalty.l2 = 1.0
        else:
            loss.factor = 0.5
        losses.append(found + [model.train_on_batch(x, x[:, :3]) for _ in range(5)])
        assert model._plan.train.replayed is not eagerly
    assert losses[0] == losses[1]


@pytest.mark.parametrize("turns", ["ab", "aaaaabbbbb", "aaab"])
def test_models_that_share_layers_train_them_in_turns(active_backend, turns):
    x = _images(6)

    def train(eagerly):
        dl.set_random_seed(3)
        shared = layers.Dense(5, activation="tanh"), layers.Dense(2)
        models = {}
        for name in "ab":
            models[name] = dl.Sequential([layers.Input((6,)), *shared])
            models[name].compile(optimizers.SGD(0.1), "mse", run_eagerly=eagerly)
        losses = [models[turns[i % len(turns)]].train_on_batch(x, x[:, :2]) for i in range(30)]
        assert all(model._plan.train.replayed is not eagerly for model in models.values())
        return losses

    assert train(True) == train(False)


def test_threads_may_predict_with_one_model(active_backend):
    model = _mlp()
    batches = [_images(6) for _ in range(4)]
    expected = [model(x).numpy().copy() for x in batches]
    wrong = []

    def work(x, outputs):
        for _ in range(60):
            for found in (model.predict_on_batch(x), model.predict(x, batch_size=16, verbose=0)):
                if not np.allclose(found, outputs, atol=1e-5):
                    wrong.append(found)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(batches, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_loss_that_counts_its_calls_disturbs_no_other_model(active_backend):
    class Counting(dl.losses.Loss):
        calls = 0

        def call(self, y_true, y_pred):
            self.calls += 1
            return dl.functional.mean(dl.functional.square(y_pred - y_true), axis=-1)

    model, other = _dense(), _dense(loss=Counting(), run_eagerly=True)
    for _ in range(8):
        other.train_on_batch(X, Y)
        model.train_on_batch(X, Y)
    assert model._plan.train.replayed


def test_a_layer_that_is_never_called_hinders_no_training(active_backend):
    class Partly(dl.Model):
        def __init__(self):
            super().__init__()
            self.used, self.unused = layers.Dense(1), layers.Dense(4)

        def call(self, x):
            return self.used(x)

    model = Partly()
    model.compile("sgd", "mse")
    losses = [model.train_on_batch(X, Y) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert model._plan.train.replayed


def test_a_replayed_step_leaves_no_gradients(active_backend):
    found = []
    for eagerly in (True, False):
        model = _dense(run_eagerly=eagerly)
        for _ in range(3):
            for _ in range(4):
                model.train_on_batch(X, Y)
            assert all(variable.grad is None for variable in model.weights)
            dl.functional.mean(model(X, training=True)).backward()
            model.optimizer.step(model.trainable_variables)
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_of_one_seed_keep_their_draws_apart(active_backend):
    found = []
    for eagerly in (True, False):
        dl.set_random_seed(1)
        model = dl.Sequential([
            layers.Input((4,)),
            layers.Dense(3), layers.Dropout(0.5, seed=3), layers.Dense(4), layers.Dropout(0.5, seed=3), layers.Dense(1),
        ])  # fmt: skip
        model.compile("sgd", "mse", run_eagerly=eagerly)
        for rows in (1, 6, 1):  # a row of either takes one block of random numbers, six take two of them and three
            for _ in range(5):
                model.train_on_batch(X[:rows], Y[:rows])
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_average_begins_where_its_variable_is(active_backend):
    model = dl.Sequential([layers.Input((4,)), layers.Dense(5), layers.Dense(1)])
    model.layers[0].trainable = False
    model.compile(optimizers.SGD(1e-6, use_ema=True), "mse")
    before = model.layers[0].kernel.numpy()
    model.fit(X, Y, epochs=2, verbose=0)
    model.layers[0].trainable = True
    model.fit(X, Y, epochs=2, verbose=0)
    np.testing.assert_allclose(model.layers[0].kernel.numpy(), before, atol=1e-4)


def test_labels_are_checked_in_every_replay(active_backend):
    model = dl.Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    labels = np.array([0, 1, 2, 0, 1, 2])
    for _ in range(4):
        model.train_on_batch(X, labels)
    assert model._plan.train.replayed
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"must lie in 0 … 2 .*, got 3"):
        model.train_on_batch(X, labels + 1)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_train_on_batch_does_not_add_to_older_gradients(active_backend):
    model, twin = _dense(), _dense()
    for steps in range(5):
        loss = ((model(as_tensor(X)) - 3.0) ** 2).mean()
        loss.backward()  # and no optimizer step
        assert model.train_on_batch(X, Y) == twin.train_on_batch(X, Y), steps


def test_a_step_that_reads_values_on_the_host_stays_eager(active_backend):
    class Host(layers.Layer):
        def call(self, inputs):
            return inputs * float(np.abs(inputs.numpy()).max())

    model = dl.Sequential([layers.Input((4,)), Host(), layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="runs eagerly, not by replay, because it reads values on the host"):
        assert not _replays(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not _replays(model)


def test_a_step_that_shares_an_array_stays_eager(active_backend):
    if dl.backend() == "cupy":
        pytest.skip("NumPy takes no arrays of a GPU")

    class Turning(layers.Layer):
        def call(self, x):
            return x * 2 if np.from_dlpack(x).sum() > 0 else x

    model = dl.Sequential([layers.Input((4,)), Turning()])
    x = np.ones((2, 4), np.float32)
    model.predict_on_batch(x)
    with pytest.warns(UserWarning, match="hands an array to another library"):
        model.predict_on_batch(x)
    np.testing.assert_array_equal(model.predict_on_batch(-x), -x)


def test_a_constant_that_differs_between_steps_is_noticed(active_backend):
    class Noise(layers.Layer):
        def call(self, inputs):
            return inputs + RNG.random(4).astype(np.float32)

    model = dl.Sequential([layers.Input((4,)), Noise(), layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="is computed on the host and differs from step to step"):
        assert not _replays(model)


def test_a_metric_updated_within_the_step_keeps_it_eager(active_backend):
    class Tracked(dl.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = super().compute_loss(x, y, y_pred, sample_weight, training)
            self.seen.update_state(loss)
            return loss

    model = Tracked([layers.Input((4,)), layers.Dense(1)])
    model.seen = dl.metrics.Sum(name="seen")
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="it reads values on the host"):
        figures = [model.train_on_batch(X, Y, return_dict=True) for _ in range(6)]
    for step in figures:
        assert step["seen"] == pytest.approx(step["loss"])


def test_losses_of_single_outputs_are_counted_in_every_replay(active_backend):
    inputs = layers.Input((4,))
    model = dl.Model(inputs, [layers.Dense(1, name="a")(inputs), layers.Dense(1, name="b")(inputs)])
    model.compile("sgd", ["mse", "mae"])
    for step in range(8):
        total, a, b = model.train_on_batch(X, [Y, Y])
        assert total == pytest.approx(a + b), step
        assert min(a, b) > 0.0
    assert model._plan.train.replayed


def test_an_array_kept_from_an_earlier_step_is_noticed(active_backend):
    class Previous(layers.Layer):
        def build(self, input_shape):
            self.kept = [None]

        def call(self, inputs):
            last, self.kept[0] = self.kept[0], inputs * 1.0
            return inputs + last.detach() if last is not None and last.shape == inputs.shape else inputs

    model = dl.Sequential([layers.Input((4,)), Previous(), layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="runs eagerly"):
        assert not _replays(model)


def test_metrics_may_keep_what_they_get(active_backend):
    class Keeps(dl.metrics.Metric):
        def reset_state(self):
            self.seen = []

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.seen.append(y_pred.numpy())

        def result(self):
            return float(len({a.tobytes() for a in self.seen}))

    model = _dense(metrics=[metric := Keeps()])
    metric.reset_state()
    model.fit(np.tile(X, (8, 1)), np.tile(Y, (8, 1)), batch_size=6, epochs=1, verbose=0, shuffle=False)
    assert len(metric.seen) == 8
    assert metric.result() == 8.0


def test_stepping_between_shapes_and_engines():
    rows = {}
    for name in available_backends():
        with dl.use_backend(name):
            model = _dense()
            for n in (6, 6, 6, 3, 6, 6, 3, 3, 3, 3, 6, 1):
                model.train_on_batch(X[:n], Y[:n])
            rows[name] = np.concatenate([w.ravel() for w in model.get_weights()])
    for name, found in rows.items():
        np.testing.assert_allclose(found, rows["numpy"], rtol=1e-5, atol=1e-6, err_msg=name)


def test_arrays_that_live_at_different_times_share_memory():
    engine = get_backend("numpy")
    recorder = Recorder(engine)
    source = np.arange(1024, dtype=np.float32)
    with stand_in(recorder):
        a = recorder.empty((1024,), np.float32)
        recorder.copy(source, a)
        for _ in range(20):
            b = recorder.empty((1024,), np.float32)
            recorder.binary(a, source, b, "add")
            a = b
    result = recorder.view_of(a)
    program = Program(engine, recorder.calls, recorder.draws, [result])
    assert program._workspace.nbytes == 2 * source.nbytes
    program.run()
    np.testing.assert_array_equal(program.array(result), 21 * source)


def test_what_is_the_same_in_every_run_is_done_once():
    engine = get_backend("numpy")
    recorder = Recorder(engine)
    source = np.arange(64, dtype=np.float32)
    with stand_in(recorder):
        scale, row, changing, a, b, y = (recorder.empty((64,), np.float32) for _ in range(6))
        recorder.fill(scale, 0.5)
        recorder.unary(scale, row, "square")
        recorder.binary(source, row, a, "mul")
        recorder.fill(changing, 3.0)  # written again below: not a constant
        recorder.binary(a, changing, b, "mul")
        recorder.binary(source, source, changing, "add")
        recorder.binary(b, changing, y, "add")
    result = recorder.view_of(y)
    once, calls = split_constant(recorder.calls, [result], engine)
    assert [call.name for call in once] == ["fill", "unary"]
    assert [call.name for call in calls] == ["binary", "fill", "binary", "binary", "binary"]
    program = Program(engine, calls, recorder.draws, [result], once=once)
    for _ in range(3):
        source += 1
        program.run()
        np.testing.assert_array_equal(program.array(result), source * 0.25 * 3 + source + source)
    assert split_constant(recorder.calls, [recorder.view_of(row)], engine)[0] == once[:1]  # what is read stays a result


def test_batch_normalisation_does_not_wait_where_what_it_reads_changes():
    recorder = Recorder(get_backend("numpy"))
    x, mean = np.zeros((6, 4), np.float32), np.zeros(4, np.float32)
    with stand_in(recorder):
        y, z, scale, deviation = (recorder.empty(shape, np.float32) for shape in ((6, 4), (6, 4), 4, 4))
        recorder.batchnorm(x, None, None, mean, np.ones(4, np.float32), y, scale, deviation, 0.9, 1e-3, "linear")
        recorder.fill(mean, 0.0)
        recorder.activation(y, z, "relu", 0.0)
    there = SimpleNamespace()  # an array that is not one of NumPy's
    for call in recorder.calls:
        call.arguments = {key: there if value is mean else value for key, value in call.arguments.items()}
    engine = SimpleNamespace(array_type=SimpleNamespace, fuses={})
    fused = fuse_training(recorder.calls, [recorder.view_of(z)], engine)
    assert [call.name for call in fused] == ["batchnorm", "fill", "activation"]


def test_a_regression_step_spreads_the_gradient_of_its_mean_only_once():
    bound = []
    with dl.use_backend("numpy"), pytest.MonkeyPatch.context() as patch:
        model = dl.Sequential([layers.Input((6,)), layers.Dense(1)])
        model.compile("sgd", "mse")
        x, y = _images(6)[:BATCH], _images(1)[:BATCH]
        init = Program.__init__
        patch.setattr(Program, "__init__", lambda *args: (bound.append(args), init(*args))[1])
        for _ in range(4):
            model.train_on_batch(x, y)
    ((_, _, calls, *_, once),) = bound
    assert {call.name for call in once} >= {"fill"}
    assert "fill" not in {call.name for call in calls}


def test_recordings_that_differ():
    engine = get_backend("numpy")
    recorders = []
    for scale in (1.0, 2.0):
        recorder = Recorder(engine)
        recorder.calls.append(Call("fill", {"y": np.zeros(1), "value": scale}))
        recorders.append(recorder)
    assert "argument value of fill" in (difference(*recorders) or "")
    assert difference(recorders[0], recorders[0]) is None
