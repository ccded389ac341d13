"""Layers: shapes, state, configs, masks, errors. What they compute is held against Keras in test_keras_layers."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import dlcore as dl
from dlcore import functional as F
from dlcore import layers
from dlcore.symbolic import SymbolicTensor

IMAGE = (2, 9, 8, 4)
SEQUENCE = (2, 9, 4)
EVERY = [
    (layers.Dense(5, activation="relu", kernel_regularizer="l2"), (3, 4)),
    (layers.Activation("tanh"), (3, 4)),
    (layers.ReLU(max_value=1.0), (3, 4)),
    (layers.LeakyReLU(0.1), (3, 4)),
    (layers.PReLU(shared_axes=[1, 2]), IMAGE),
    (layers.ELU(0.5), (3, 4)),
    (layers.Softmax(axis=1), (3, 4, 2)),
    (layers.Conv2D(6, 3, strides=2, padding="same", activation="tanh"), IMAGE),
    (layers.DepthwiseConv2D(3, depth_multiplier=2), IMAGE),
    (layers.SeparableConv2D(3, 3), IMAGE),
    (layers.Conv2DTranspose(3, 3, strides=2, padding="same"), IMAGE),
    (layers.Conv1D(6, 3, strides=2, padding="same", activation="tanh", kernel_constraint="max_norm"), SEQUENCE),
    (layers.Conv1D(6, 3, dilation_rate=2, padding="causal"), SEQUENCE),
    (layers.Conv1D(6, 3, padding=(0, 2), bias_constraint="non_neg"), SEQUENCE),
    (layers.DepthwiseConv1D(3, depth_multiplier=2), SEQUENCE),
    (layers.SeparableConv1D(3, 3), SEQUENCE),
    (layers.Conv1DTranspose(3, 3, strides=2, padding="same"), SEQUENCE),
    (layers.MaxPooling2D(), IMAGE),
    (layers.MaxPooling1D(3, padding=1), SEQUENCE),
    (layers.AveragePooling1D(2, strides=1), SEQUENCE),
    (layers.GlobalAveragePooling1D(keepdims=True), SEQUENCE),
    (layers.GlobalMaxPooling1D(), SEQUENCE),
    (layers.SpatialDropout1D(0.3), SEQUENCE),
    (layers.ZeroPadding1D((1, 0)), SEQUENCE),
    (layers.Cropping1D(2), SEQUENCE),
    (layers.UpSampling1D(3), SEQUENCE),
    (layers.AveragePooling2D((2, 3), strides=1), IMAGE),
    (layers.GlobalAveragePooling2D(), IMAGE),
    (layers.GlobalMaxPooling2D(keepdims=True), IMAGE),
    (layers.BatchNormalization(momentum=0.8), IMAGE),
    (layers.LayerNormalization(axis=[1, 2]), IMAGE),
    (layers.GroupNormalization(2, gamma_constraint="non_neg"), IMAGE),
    (layers.RMSNormalization(axis=[1, 2]), IMAGE),
    (layers.UnitNormalization(axis=1), IMAGE),
    (layers.Normalization(mean=1.0, variance=4.0), (3, 4)),
    (layers.Dropout(0.3, noise_shape=(None, 1), seed=3), (3, 4)),
    (layers.SpatialDropout2D(0.3), IMAGE),
    (layers.AlphaDropout(0.3, noise_shape=(None, 1), seed=3), (3, 4)),
    (layers.GaussianNoise(0.3), (3, 4)),
    (layers.GaussianDropout(0.3, seed=2), (3, 4)),
    (layers.ActivityRegularization(0.1, 0.2), (3, 4)),
    (layers.EinsumDense("abc,cde->abde", (None, 2, 3), "relu", "e", kernel_constraint="unit_norm"), (3, 4, 2)),
    (layers.Flatten(), IMAGE),
    (layers.Reshape((-1, 2)), (3, 4)),
    (layers.Permute((2, 1)), (3, 4, 2)),
    (layers.RepeatVector(3), (3, 4)),
    (layers.ZeroPadding2D(((1, 0), (2, 1))), IMAGE),
    (layers.Cropping2D(1), IMAGE),
    (layers.UpSampling2D(2), IMAGE),
    (layers.Rescaling(0.5, 1.0), (3, 4)),
    (layers.Embedding(7, 3, mask_zero=True), (3, 4)),
    (layers.Masking(), (3, 4, 2)),
    (layers.Identity(), (3, 4)),
    (layers.SimpleRNN(3, activation="relu", return_sequences=True), (3, 4, 2)),
    (layers.LSTM(3, go_backwards=True, dropout=0.2), (3, 4, 2)),
    (layers.GRU(3, reset_after=False), (3, 4, 2)),
    (layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]), (3, 4, 2)),
    (layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="sum"), (3, 4, 2)),
    (layers.TimeDistributed(layers.Dense(3)), (3, 4, 2)),
]


def _ids(value):
    return type(value).__name__ if isinstance(value, layers.Layer) else ""


def _input(shape, dtype="float32"):
    return (np.random.default_rng(0).random(shape) * 3 - 1).astype(dtype)


def _same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("layer", "shape"), EVERY, ids=_ids)
def test_every_layer(layer, shape):
    """Shapes are inferred as computed; the config is JSON and makes the same layer again, which takes its weights."""
    x = np.abs(_input(shape))
    y = layer(x)
    assert layer.built
    assert layer.compute_output_shape((None, *shape[1:])) == (None, *y.shape[1:])
    assert layer(SymbolicTensor((None, *shape[1:]))).shape == (None, *y.shape[1:])
    config = json.loads(json.dumps(layers.serialize(layer)))
    twin = layers.deserialize(config)
    assert layers.serialize(twin) == config
    assert twin.name == layer.name
    twin(x)
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(x).numpy(), y.numpy())
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [case for case in EVERY if type(case[0]) not in (layers.TimeDistributed, layers.RNN, layers.Bidirectional)],
    ids=_ids,
)
def test_float64(layer, shape):
    twin = type(layer).from_config({**layer.get_config(), "dtype": "float64"})
    y = twin(np.abs(_input(shape, "float64")), training=True)
    assert y.dtype == np.float64
    assert all(w.dtype == np.float64 for w in twin.weights if w.dtype.kind == "f")


def test_layers_on_every_engine(active_backend):
    """A forward and a backward of each kind of layer agree with the reference engine."""
    chain = [
        (layers.Conv2D(4, 3, padding="same", activation="relu"), IMAGE),
        (layers.BatchNormalization(), IMAGE),
        (layers.MaxPooling2D(2), IMAGE),
        (layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"), SEQUENCE),
        (layers.Conv1D(4, 3, strides=2, groups=2), SEQUENCE),
        (layers.DepthwiseConv1D(2, padding="same"), SEQUENCE),
        (layers.SeparableConv1D(3, 3), SEQUENCE),
        (layers.Conv1DTranspose(3, 3, strides=2, padding="same"), SEQUENCE),
        (layers.MaxPooling1D(3, 2, padding="same"), SEQUENCE),
        (layers.AveragePooling1D(2), SEQUENCE),
        (layers.Dense(3, activation="sigmoid"), (5, 4)),
        (layers.LSTM(3), (2, 5, 4)),
        (layers.LayerNormalization(), (5, 4)),
    ]
    for layer, shape in chain:
        x = dl.Tensor(_input(shape), requires_grad=True)
        y = layer(x, training=True)
        (y * y).sum().backward()
        weights, outputs, gradients = layer.get_weights(), np.array(y), np.array(x.grad)
        with dl.use_backend("numpy"):
            twin = type(layer).from_config(layer.get_config())
            z = dl.Tensor(_input(shape), requires_grad=True)
            twin(z)
            twin.set_weights(weights if not isinstance(layer, layers.BatchNormalization) else twin.get_weights())
            expected = twin(z, training=True)
            (expected * expected).sum().backward()
        np.testing.assert_allclose(outputs, expected.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(gradients, z.grad, rtol=1e-3, atol=1e-4)


# ---- golden shapes --------------------------------------------------------------------------------------------------


def test_three_valid_convolutions():
    model = dl.Sequential([layers.Input((28, 28, 1)), *(layers.Conv2D(32, 3) for _ in range(3)), layers.Flatten()])
    model.add(layers.Dense(128))
    model.add(layers.Dense(10))
    shapes = [layer.output.shape for layer in model.layers]
    assert shapes == [
        (None, 26, 26, 32), (None, 24, 24, 32), (None, 22, 22, 32), (None, 15488), (None, 128), (None, 10),
    ]  # fmt: skip


def test_three_strided_convolutions():
    model = dl.Sequential(
        [
            layers.Input((28, 28, 1)),
            *(layers.Conv2D(32, 3, strides=2, padding="same") for _ in range(3)),
            layers.Flatten(),
        ]
    )
    assert [layer.output.shape for layer in model.layers] == [
        (None, 14, 14, 32), (None, 7, 7, 32), (None, 4, 4, 32), (None, 512),
    ]  # fmt: skip


def test_small_image():
    assert layers.Conv2D(1, 3)(np.zeros((1, 6, 6, 1), "float32")).shape == (1, 4, 4, 1)


# ---- layers of one's own --------------------------------------------------------------------------------------------


class Scale(layers.Layer):
    def __init__(self, start=2.0, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        self.factor = self.add_weight(
            shape=(input_shape[-1],), initializer=dl.initializers.Constant(self.start), name="factor"
        )
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")

    def call(self, inputs, training=False):
        if training:
            self.seen.assign(self.seen + 1.0)
        return inputs * self.factor


def test_custom_layer():
    layer = Scale(3.0)
    assert not layer.built
    x = dl.Tensor(_input((2, 4)), requires_grad=True)
    y = layer(x)
    np.testing.assert_allclose(y.numpy(), 3 * x.numpy(), rtol=1e-6)
    assert [w.name for w in layer.weights] == ["factor", "seen"]
    assert [w.name for w in layer.trainable_weights] == ["factor"]
    assert layer.factor.path == f"{layer.name}/factor"
    y.sum().backward()
    np.testing.assert_allclose(layer.factor.grad, x.numpy().sum(0), rtol=1e-6)
    layer(x, training=True)
    assert layer.seen.item() == 1
    config = layers.serialize(layer)
    assert config["config"]["start"] == 3.0
    twin = layers.deserialize(config, custom_objects={"Scale": Scale})
    assert (twin.start, twin.name) == (3.0, layer.name)
    assert layer.count_params() == 5


def test_custom_layer_in_a_graph_without_output_shape():
    class Halves(layers.Layer):
        def call(self, x):
            return F.concatenate([x[:, ::2], x[:, ::2]], 0), F.sum(x, axis=(1, 2))

    first, second = Halves()(dl.Input((6, 3)))
    assert first.shape == (None, 3, 3)
    assert second.shape == (None,)


def test_unknown_lengths_stay_unknown():
    class Twice(layers.Layer):
        def call(self, x):
            return F.concatenate([x, x], 1)

    assert Twice()(dl.Input((None, 3))).shape == (None, None, 3)


def test_tracking():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.steps = [layers.Dense(3)]
            self.steps.append(layers.Dense(2))
            self.named = {"last": layers.Dense(1, use_bias=False)}
            self.extra = dl.Variable(np.zeros(3, "float32"), name="extra")

        def call(self, x):
            for step in self.steps:
                x = step(x)
            return self.named["last"](x)

    block = Block()
    block(_input((2, 4)))
    assert [tuple(w.shape) for w in block.weights] == [(3,), (4, 3), (3,), (3, 2), (2,), (2, 1)]
    block.named = {"last": layers.Dense(5)}  # the head is replaced; the old one is gone
    block(_input((2, 4)))
    assert [tuple(w.shape) for w in block.weights][-2:] == [(2, 5), (5,)]
    block.trainable = False
    assert not block.trainable_weights
    assert len(block.non_trainable_weights) == len(block.weights)
    assert not block(dl.Tensor(_input((2, 4)))).requires_grad
    block.trainable = True
    block.steps[0].trainable = False
    assert len(block.trainable_weights) == len(block.weights) - 2


def test_frozen_before_it_is_built():
    layer = layers.Dense(2, trainable=False)
    model = dl.Sequential([layers.Input((3,)), layer, layers.Dense(1)])
    assert [w.shape for w in model.trainable_weights] == [(2, 1), (1,)]
    assert not layer.kernel.requires_grad
    layer.trainable = True
    assert len(model.trainable_weights) == 4
    twin = dl.Sequential.from_config(model.get_config())
    assert len(twin.trainable_weights) == 4
    layer.trainable = False
    assert len(dl.models.clone_model(model).trainable_weights) == 2


def test_missing_super_init():
    class Careless(layers.Layer):
        def __init__(self):
            pass

        def call(self, x):
            return x

    with pytest.raises(RuntimeError, match=r"super\(\).__init__"):
        Careless()(np.zeros((1, 2), "float32"))


def test_training_flag_is_inherited():
    class Outer(layers.Layer):
        def __init__(self):
            super().__init__()
            self.drop = layers.Dropout(0.5)

        def call(self, x):
            return self.drop(x)

    x = np.ones((4, 50), "float32")
    outer = Outer()
    assert (outer(x).numpy() == 1).all()
    assert (outer(x, training=True).numpy() != 1).all()
    assert (outer.drop(x, training=False).numpy() == 1).all()


def test_losses():
    layer = layers.Dense(3, kernel_regularizer=dl.regularizers.L1L2(0.1, 0.2), activity_regularizer="l2")
    x = _input((5, 4))
    for _ in range(2):  # losses of an older call are gone
        y = layer(x)
    activity, penalty = layer.losses
    kernel = layer.kernel.numpy()
    np.testing.assert_allclose(activity.item(), 0.01 * (y.numpy() ** 2).sum() / 5, rtol=1e-5)
    np.testing.assert_allclose(penalty.item(), 0.1 * abs(kernel).sum() + 0.2 * (kernel**2).sum(), rtol=1e-5)
    with pytest.raises(ValueError, match="l2 must be a number of at least 0"):
        dl.regularizers.L2(-1.0)


def test_names_are_numbered():
    first, second = layers.GaussianNoise(0.1), layers.GaussianNoise(0.1)
    prefix, _, number = second.name.rpartition("_")
    assert prefix == "gaussian_noise"
    assert first.name in ("gaussian_noise", f"gaussian_noise_{int(number) - 1}")


# ---- particular layers ----------------------------------------------------------------------------------------------


def test_dropout():
    dl.set_random_seed(3)
    x = np.ones((200, 50), "float32")
    layer = layers.Dropout(0.3)
    first, second = layer(x, training=True).numpy(), layer(x, training=True).numpy()
    assert abs((first == 0).mean() - 0.3) < 0.03
    np.testing.assert_allclose(first[first != 0], 1 / 0.7, rtol=1e-6)
    assert (first != second).any()
    dl.set_random_seed(3)
    np.testing.assert_array_equal(layers.Dropout(0.3)(x, training=True).numpy(), first)
    whole = layers.SpatialDropout1D(0.5)(np.ones((8, 5, 16), "float32"), training=True).numpy()
    assert {0.0, 5.0} == set((whole != 0).sum(1).ravel().astype(float))
    whole = layers.SpatialDropout2D(0.5)(np.ones((8, 3, 3, 16), "float32"), training=True).numpy()
    assert {0.0, 9.0} == set((whole != 0).sum((1, 2)).ravel().astype(float))


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).normal(size=(400, 500)).astype("float32")
    dl.set_random_seed(3)
    y = layers.AlphaDropout(0.3)(x, training=True).numpy()
    limit = -1.6732632 * 1.0507010  # where selu goes far below 0
    a = (0.7 * (1 + 0.3 * limit**2)) ** -0.5
    dropped = np.isclose(y, a * limit - a * limit * 0.3)
    assert abs(dropped.mean() - 0.3) < 0.01
    np.testing.assert_allclose(y[~dropped], (a * x - a * limit * 0.3)[~dropped], rtol=1e-4, atol=1e-5)
    assert abs(y.mean()) < 0.01
    assert abs(y.var() - 1) < 0.02
    rows = layers.AlphaDropout(0.5, noise_shape=(None, 1))(np.ones((50, 6), "float32"), training=True).numpy()
    assert {len(set(row)) for row in rows.round(4).tolist()} == {1}


def test_gaussian_dropout():
    ones = np.ones((400, 500), "float32")
    layer = layers.GaussianDropout(0.2, seed=1)
    y = layer(2 * ones, training=True).numpy()
    assert abs(y.mean() - 2) < 0.01
    assert abs(y.std() - 2 * (0.2 / 0.8) ** 0.5) < 0.01
    assert (layer(2 * ones, training=True).numpy() != y).any()
    np.testing.assert_array_equal(layer(ones), ones)


def test_activity_regularization():
    layer = layers.ActivityRegularization(0.1, 0.2)
    layer(np.array([[1.0, -2.0], [3.0, 0.0]], "float32"))
    assert [float(loss.numpy()) for loss in layer.losses] == [pytest.approx((0.1 * 6 + 0.2 * 14) / 2)]


# layers that are compositions, the shapes of their inputs, and how they are called
COMPOSED = [
    (lambda **k: layers.Conv1D(3, 3, dilation_rate=2, padding="causal", **k), [(2, 7, 4)], {}),
    (lambda **k: layers.Conv1D(4, 3, strides=2, padding="same", groups=2, activation="tanh", **k), [(2, 7, 4)], {}),
    (lambda **k: layers.DepthwiseConv1D(3, depth_multiplier=2, **k), [(2, 7, 4)], {}),
    (lambda **k: layers.SeparableConv1D(3, 2, **k), [(2, 7, 4)], {}),
    (lambda **k: layers.Conv1DTranspose(3, 3, strides=2, padding="same", **k), [(2, 5, 4)], {}),
    (lambda **k: layers.AveragePooling1D(3, 2, "same", **k), [(2, 7, 4)], {}),
    (lambda **k: layers.GlobalAveragePooling1D(**k), [(2, 3, 4)], {"mask": np.array([[1, 1, 0], [1, 0, 0]], bool)}),
    (lambda **k: layers.UpSampling1D(2, **k), [(2, 3, 4)], {}),
    (lambda **k: layers.Cropping1D((0, 1), **k), [(2, 3, 4)], {}),
    (lambda **k: layers.GroupNormalization(2, **k), [(2, 3, 2, 4)], {}),
    (lambda **k: layers.GroupNormalization(2, axis=1, **k), [(2, 4, 3)], {}),
    (lambda **k: layers.RMSNormalization(axis=[1, 2], **k), [(2, 4, 3)], {}),
    (lambda **k: layers.UnitNormalization(**k), [(2, 4, 3)], {}),
    (lambda **k: layers.AlphaDropout(0.4, seed=1, **k), [(3, 5)], {"training": True}),
    (lambda **k: layers.GaussianDropout(0.4, seed=1, **k), [(3, 5)], {"training": True}),
    (lambda **k: layers.EinsumDense("abc,bcd->adb", (3, 4), "tanh", "d", **k), [(2, 4, 3)], {}),
    (lambda **k: layers.Dot((2, 1), normalize=True, **k), [(2, 3, 4), (2, 4, 5)], {}),
    (lambda **k: layers.Attention(use_scale=True, **k), [(2, 3, 4), (2, 5, 4)], {"use_causal_mask": True}),
    (lambda **k: layers.AdditiveAttention(**k), [(2, 3, 4), (2, 5, 4)], {}),
    (
        lambda **k: layers.MultiHeadAttention(2, 3, use_gate=True, **k),
        [(2, 3, 4), (2, 5, 2)],
        {"use_causal_mask": True},
    ),
    (lambda **k: layers.GroupQueryAttention(2, 4, 2, **k), [(2, 3, 4), (2, 5, 4)], {}),
]


@pytest.mark.parametrize(("make", "shapes", "call"), COMPOSED, ids=[type(case[0]()).__name__ for case in COMPOSED])
def test_gradients_by_finite_differences(active_backend, make, shapes, call):
    """The derivative along a random direction of inputs and weights together."""
    rng = np.random.default_rng(0)
    data = [rng.normal(size=shape) for shape in shapes]
    as_list = make().__class__ in (layers.Dot, layers.Attention, layers.AdditiveAttention)

    def value(*inputs):
        layer = made if not call.get("training") else twin_of_first()
        return layer(list(inputs), **call) if as_list else layer(*inputs, **call)

    def twin_of_first():  # the same random numbers at every evaluation
        return make(dtype="float64")

    made = make(dtype="float64")
    output = value(*data)
    values = [rng.uniform(-0.9, 0.9, w.shape) for w in made.weights]
    made.set_weights(values)
    factor = rng.normal(size=output.shape)
    inputs = [dl.Tensor(x, requires_grad=True) for x in data]
    (value(*inputs) * factor).sum().backward()
    along = [rng.normal(size=x.shape) for x in data]
    along_weights = [rng.normal(size=w.shape) for w in values]
    slope = sum(float((np.asarray(x.grad) * v).sum()) for x, v in zip(inputs, along, strict=True))
    slope += sum(float((np.asarray(w.grad) * v).sum()) for w, v in zip(made.weights, along_weights, strict=True))
    ends = []
    for h in (1e-6, -1e-6):
        made.set_weights([w + h * v for w, v in zip(values, along_weights, strict=True)])
        ends.append(float((value(*(x + h * v for x, v in zip(data, along, strict=True))) * factor).sum().numpy()))
    np.testing.assert_allclose((ends[0] - ends[1]) / 2e-6, slope, rtol=1e-6, atol=1e-7)


def test_dropout_masks_agree_between_engines(active_backend):
    x = np.ones((7, 5), "float32")
    dl.set_random_seed(1)
    mask = layers.Dropout(0.4)(x, training=True).numpy()
    with dl.use_backend("numpy"):
        dl.set_random_seed(1)
        np.testing.assert_array_equal(layers.Dropout(0.4)(x, training=True).numpy(), mask)


@pytest.mark.parametrize("kind", [layers.SimpleRNN, layers.LSTM, layers.GRU])
def test_recurrent_dropout(kind):
    x = _input((3, 6, 4))
    layer = kind(5, dropout=0.5, recurrent_dropout=0.5)
    plain = layer(x).numpy()
    assert not np.allclose(layer(x, training=True).numpy(), plain)
    assert not np.allclose(layer(x, training=True).numpy(), layer(x, training=True).numpy())
    np.testing.assert_array_equal(layer(x).numpy(), plain)


@pytest.mark.parametrize("kind", [layers.SimpleRNN, layers.LSTM, layers.GRU])
def test_cells_agree_with_whole_sequences(kind):
    x = _input((3, 6, 4))
    layer = kind(5, return_sequences=True)
    y = layer(x)
    stepwise = layers.RNN(layer.cell, return_sequences=True)(x)
    np.testing.assert_allclose(stepwise.numpy(), y.numpy(), rtol=1e-5, atol=1e-6)


def test_cell_of_ones_own():
    class Sum(layers.Layer):
        state_size = 4

        def call(self, inputs, states):
            total = states[0] + inputs
            return total * 2.0, [total]

    x = _input((2, 3, 4))
    np.testing.assert_allclose(layers.RNN(Sum())(x).numpy(), 2 * x.sum(1), rtol=1e-5)
    both = layers.Bidirectional(layers.RNN(Sum(), return_sequences=True), merge_mode="sum")(x).numpy()
    np.testing.assert_allclose(both, 2 * (np.cumsum(x, 1) + np.cumsum(x[:, ::-1], 1)[:, ::-1]), rtol=1e-5)
    mask = np.array([[1, 1, 0], [1, 0, 0]], bool)
    expected = 2 * (x * mask[:, :, None]).sum(1)
    np.testing.assert_allclose(layers.RNN(Sum())(x, mask=mask).numpy(), expected, rtol=1e-5)


def test_layer_normalization_over_any_axes():
    x = _input(IMAGE)
    for axis in ([1, 2], 1, [3, 1], -1):
        layer = layers.LayerNormalization(axis=axis)
        y = layer(x).numpy()
        axes = (axis,) if isinstance(axis, int) else tuple(axis)
        mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-3), rtol=1e-4, atol=1e-5)


def test_batch_normalization_frozen():
    layer = layers.BatchNormalization()
    x = _input((20, 3))
    layer(x, training=True)
    moved = layer.moving_mean.numpy()
    np.testing.assert_allclose(moved, 0.01 * x.mean(0), rtol=1e-4)
    layer.trainable = False
    layer(x, training=True)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), moved)


def test_normalization_adapts():
    x = _input((50, 3)) * 4 + 2
    layer = layers.Normalization()
    layer.adapt(x)
    y = layer(x).numpy()
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-4)
    back = layers.Normalization(invert=True)
    back.adapt(x)
    np.testing.assert_allclose(back(y).numpy(), x, rtol=1e-4, atol=1e-4)


def test_lambda():
    layer = layers.Lambda(lambda x, scale: x * scale, arguments={"scale": 3.0})
    assert layer(dl.Input((4,))).shape == (None, 4)
    np.testing.assert_allclose(layer(np.ones((1, 2), "float32")).numpy(), 3)
    with pytest.raises(ValueError, match="no name"):
        layers.serialize(layer)

    def double(x):
        return x * 2.0

    config = layers.serialize(layers.Lambda(double))
    with pytest.raises(ValueError, match="custom_objects"):
        layers.deserialize(config)
    assert layers.deserialize(config, {"double": double})(np.ones((1, 2), "float32")).numpy().sum() == 4


def test_errors_of_dot():
    a, b = np.ones((2, 3, 4), "float32"), np.ones((2, 3, 5), "float32")
    for axes, message in ((2, "cannot sum along axes 2 of inputs of shapes"), (0, "sums along axis 0, one of its")):
        with pytest.raises(ValueError, match=message):
            layers.Dot(axes)([a, b])
    with pytest.raises(ValueError, match="expected a list of two inputs"):
        layers.Dot(1)([a, b, b])


def test_masking_zeroes_and_warns_where_a_mask_is_lost():
    x = np.ones((2, 3, 2), "float32")
    x[0, 1] = 0
    y = layers.Masking()(x)
    np.testing.assert_array_equal(np.asarray(y.mask), [[1, 0, 1], [1, 1, 1]])
    with pytest.warns(UserWarning, match="does not support masking"):
        layers.Reshape((6,))(y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert layers.LSTM(3)(layers.Dense(2)(y)).mask is None


def test_merge_functions():
    a, b = dl.Input((3,)), dl.Input((3,))
    for name in ("add", "subtract", "multiply", "average", "maximum", "minimum"):
        assert getattr(layers, name)([a, b]).shape == (None, 3)
    assert layers.concatenate([a, b]).shape == (None, 6)


def test_integers_and_lists():
    x = np.arange(8, dtype="uint8").reshape(1, 2, 2, 2)
    assert layers.Conv2D(1, 1)(x).dtype == np.float32
    assert layers.Embedding(4, 2)(np.array([[0.0, 3.0]])).shape == (1, 2, 2)


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Dense(0), "units of Dense must be a positive whole number, got 0"),
        (lambda: layers.Dense(2, activation="rellu"), "(?s)rellu.*relu"),
        (lambda: layers.Dense(2, kernel_initializer="glorot"), "(?s)glorot.*glorot_uniform"),
        (lambda: layers.Dense(2, kernel_regularizer="l3"), "l3"),
        (lambda: layers.Dense(2, kernel_constraint="max_nrom"), "Unknown constraint: 'max_nrom'"),
        (lambda: layers.Dense(2, colour=1), "unknown keyword argument.*colour"),
        (lambda: layers.Dense(2, dtype="int32"), "dtype must be"),
        (lambda: layers.Conv2D(2, 3, data_format="channels_first"), "data_format of Conv2D must be 'channels_last'"),
        (lambda: layers.Conv2D(2, 3, padding="full"), "padding of Conv2D must be one of 'valid', 'same', got 'full'"),
        (lambda: layers.Conv2D(2, 3, padding="causal"), "one of 'valid', 'same', got 'causal'"),
        (lambda: layers.Conv1D(2, 3, padding="full"), "must be one of 'valid', 'same', 'causal', got 'full'"),
        (lambda: layers.Conv1D(2, (3, 3)), r"kernel_size of Conv1D must be a whole number of at least 1, got \(3, 3\)"),
        (lambda: layers.Conv1DTranspose(2, 3, strides=2, output_padding=2), "output_padding of Conv1DTranspose"),
        (lambda: layers.DepthwiseConv1D(3, padding="causal"), "padding of DepthwiseConv1D must be one of"),
        (lambda: layers.MaxPooling1D(0), "pool_size of MaxPooling1D must be a whole number of at least 1, got 0"),
        (lambda: layers.UpSampling1D(0), "size of UpSampling1D must be a whole number of at least 1, got 0"),
        (lambda: layers.ZeroPadding1D(-1), "padding of ZeroPadding1D must be a whole number of at least 0"),
        (lambda: layers.Conv2D(2, (3, 3, 3)), r"kernel_size of Conv2D .*got \(3, 3, 3\)"),
        (lambda: layers.Conv2D(3, 3, groups=2), "multiple of groups"),
        (lambda: layers.Conv2D(2, 3, strides=2, dilation_rate=2), "cannot both exceed 1"),
        (lambda: layers.GroupNormalization(0), "groups of GroupNormalization must be a positive whole number, got 0"),
        (lambda: layers.UnitNormalization("last"), "axis of UnitNormalization must be a whole number or several"),
        (lambda: layers.AlphaDropout(1.0), "rate of AlphaDropout must be a number of at least 0 and below 1, got 1.0"),
        (lambda: layers.GaussianDropout(-0.1), "rate of GaussianDropout must be a number of at least 0"),
        (lambda: layers.Dot((1, 2, 3)), r"axes of Dot must be a whole number or two of them, got \(1, 2, 3\)"),
        (lambda: layers.Dropout(1.5), "rate of Dropout must be a number in 0 … 1, got 1.5"),
        (lambda: layers.LSTM(-1), "units of LSTM must be a positive whole number, got -1"),
        (lambda: layers.RNN(layers.Dense(3)), "a cell must have"),
        (lambda: layers.Bidirectional(layers.Dense(3)), "must be a recurrent layer"),
        (lambda: layers.Input((3, -1)), "shape must hold whole numbers or None"),
        (lambda: layers.Reshape((-1, -1)), "at most one of them -1"),
    ],
)  # fmt: skip
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (layers.Dense(2, name="d"), (3,), r"layer 'd' \(Dense\) expected an input of rank 2 or more, got shape \(3,\)"),
        (layers.Conv2D(2, 3, name="c"), (2, 5, 5), r"layer 'c' \(Conv2D\) expected an input of rank 4.*\(2, 5, 5\)"),
        (layers.Conv2D(2, 3, groups=2), (1, 5, 5, 3), "groups=2, which does not divide the 3 channels"),
        (layers.LSTM(2), (2, 5), "expected an input of rank 3"),
        (layers.Reshape((3, 3)), (2, 8), r"cannot turn samples of shape \(8,\)"),
        (layers.Cropping2D(4), (1, 5, 5, 1), "would crop all"),
        (layers.Cropping1D(3), (1, 5, 1), "would crop all"),
        (layers.Conv1D(2, 3, name="c1"), (2, 5, 5, 1), r"layer 'c1' \(Conv1D\) expected an input of rank 3"),
        (layers.GroupNormalization(3), (2, 5, 4), "groups=3, which does not divide 4 channels"),
        (layers.RMSNormalization(axis=3), (2, 5, 4), "normalises axis 3, its input has only 3 axes"),
        (layers.Add(), (2, 3), "expected a list of 1 or more inputs"),
        (layers.BatchNormalization(axis=3), (2, 3), "normalises axis 3"),
    ],
)  # fmt: skip
def test_bad_inputs(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer(np.zeros(shape, "float32"))


def test_other_channels_later():
    layer = layers.Conv2D(2, 3, name="conv")
    layer(np.zeros((1, 5, 5, 3), "float32"))
    with pytest.raises(
        ValueError, match=r"'conv' \(Conv2D\) expected an input with 3 elements along axis -1, got shape"
    ):
        layer(np.zeros((1, 5, 5, 4), "float32"))
    with pytest.raises(ValueError, match="kernel covers 3 places, the image has only 2"):
        layer.compute_output_shape((None, 2, 5, 3))


def test_other_errors():
    layer = layers.Dense(2)
    with pytest.raises(ValueError, match="expected tensors or arrays as positional arguments, got str"):
        layer("text")
    with pytest.raises(TypeError, match="real numbers"):
        layer(np.array([["a"]]))
    with pytest.raises(ValueError, match="not built"):
        layers.Dense(2).count_params()
    layer(np.zeros((1, 3), "float32"))
    with pytest.raises(ValueError, match="has 2 weights, set_weights got 1"):
        layer.set_weights([np.zeros((3, 2))])
    with pytest.raises(ValueError, match=r"has shape \(2,\), got \(3,\)"):
        layer.set_weights([np.zeros((3, 2)), np.zeros(3)])
    with pytest.raises(ValueError, match="length of axis -1"):
        layers.Dense(2)(dl.Input((None,)))
    with pytest.raises(ValueError, match=r"cannot merge inputs of shapes \(None, 3\), \(None, 4\)"):
        layers.add([dl.Input((3,)), dl.Input((4,))])
    with pytest.raises(AttributeError, match="did you mean 'Conv2D'"):
        layers.Conv2d(3, 3)  # type: ignore[attr-defined]
    rnn = layers.LSTM(2, stateful=True)
    rnn(np.zeros((2, 3, 1), "float32"))
    with pytest.raises(ValueError, match="stateful and keeps the states of 2"):
        rnn(np.zeros((3, 3, 1), "float32"))
    with pytest.raises(ValueError, match=r"mask of layer .* must have shape \(2, 3\), got \(2, 4\)"):
        layers.LSTM(2)(np.zeros((2, 3, 1), "float32"), mask=np.ones((2, 4), bool))
    with pytest.raises(ValueError, match=r"initial_state of layer .* must have shape \(2, 4\), got \(2, 5\)"):
        layers.GRU(4)(np.zeros((2, 3, 1), "float32"), initial_state=np.zeros((2, 5), "float32"))
    with pytest.raises(ValueError, match="Did you mean 'Dense'"):
        layers.deserialize({"class_name": "Dence", "config": {}})


# ---- padding by numbers, beyond Keras ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("padding", "margins"),
    [(1, ((1, 1), (1, 1))), ((2, 0), ((2, 2), (0, 0))), (((1, 0), (0, 2)), ((1, 0), (0, 2)))],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda padding: layers.Conv2D(3, 3, 2, padding),
        lambda padding: layers.DepthwiseConv2D(3, 2, padding),
        lambda padding: layers.SeparableConv2D(3, 3, 2, padding),
    ],
)
def test_padding_by_numbers_is_a_layer_of_zeros_before(active_backend, make, padding, margins):
    x = np.random.default_rng(0).standard_normal((2, 7, 8, 2)).astype(np.float32)
    layer, plain = make(padding), make("valid")
    y = layer(x)
    padded = np.pad(x, ((0, 0), *margins, (0, 0)))
    plain(padded)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(y.numpy(), plain(padded).numpy(), rtol=1e-5, atol=1e-6)
    assert y.shape == layer.compute_output_shape(x.shape)
    twin = layers.deserialize(layers.serialize(layer))
    assert twin.padding == layer.padding


def test_padding_of_pooling_does_not_count(active_backend):
    x = -np.arange(1.0, 17.0, dtype=np.float32).reshape(1, 4, 4, 1)
    assert layers.MaxPooling2D(3, 2, 1)(x).numpy()[0, :, :, 0].tolist() == [[-1, -2], [-5, -6]]
    assert layers.AveragePooling2D(3, 2, 1)(x).numpy()[0, 0, 0, 0] == np.mean([-1, -2, -5, -6])
    assert layers.MaxPooling2D(3, 2, 1).compute_output_shape((None, 4, 5, 1)) == (None, 2, 3, 1)


@pytest.mark.parametrize("padding", ["full", -1, (1, 2, 3), 1.5, None])
def test_padding_that_is_none(padding):
    for make in (lambda: layers.Conv2D(1, 3, padding=padding), lambda: layers.MaxPooling2D(2, padding=padding)):
        with pytest.raises(ValueError, match="padding of"):
            make()


def test_padding_of_a_transposed_convolution_has_names_only():
    with pytest.raises(ValueError, match="padding of Conv2DTranspose"):
        layers.Conv2DTranspose(1, 3, padding=1)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: layers.Dense(3, "relu"), (2, 4)),
        (lambda: layers.Conv2D(3, 2, activation="relu"), (2, 4, 4, 2)),
        (lambda: layers.DepthwiseConv1D(2, activation="relu"), (2, 4, 2)),
        (lambda: layers.SeparableConv2D(3, 2, activation="relu"), (2, 4, 4, 2)),
        (lambda: layers.Conv2DTranspose(3, 2, activation="relu"), (2, 4, 4, 2)),
        (lambda: layers.EinsumDense("ab,bc->ac", 3, "relu"), (2, 4)),
    ],
)
def test_another_activation_takes_effect_at_once(make, shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    layer = make()
    layer(x)
    for name in ("sigmoid", "tanh", "relu", "linear"):
        activation = dl.activations.get(name)
        layer.activation = activation
        expected = type(layer).from_config(layer.get_config())
        expected(x)
        expected.set_weights(layer.get_weights())
        np.testing.assert_array_equal(layer(x).numpy(), expected(x).numpy())


def test_another_activation_takes_effect_in_recorded_steps():
    x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")

    def trained(change):
        dl.random.set_seed(0)
        model = dl.Sequential([dl.Input((4,)), layers.Dense(3, "relu"), layers.Dense(2)])
        model.compile("sgd", "mse")
        model.fit(x, x[:, :2], batch_size=4, shuffle=False, verbose=0)
        if change:
            model.layers[0].activation = dl.activations.tanh
        model.fit(x, x[:, :2], batch_size=4, shuffle=False, verbose=0)
        return model

    changed, same = trained(True), trained(False)
    assert not np.allclose(changed.get_weights()[0], same.get_weights()[0])
    hidden = np.tanh(x @ changed.get_weights()[0] + changed.get_weights()[1])
    expected = hidden @ changed.get_weights()[2] + changed.get_weights()[3]
    np.testing.assert_allclose(changed.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


ROWS, STEPS, PIXELS = np.ones((3, 4), "f4"), np.ones((2, 5, 3), "f4"), np.ones((2, 5, 5, 3), "f4")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: layers.Dense(3)(ROWS.tolist()), ValueError, "got a list of numbers"),
        (lambda: layers.Embedding(4, 2)([[1, 2]]), ValueError, "got a list of numbers"),
        (lambda: layers.Dense(3)(None), ValueError, "expected one tensor or array, got None"),
        (lambda: layers.Dense(3)({"a": ROWS}), ValueError, "expected one tensor or array, got a dict"),
        (lambda: layers.LayerNormalization()([ROWS]), ValueError, "expected one tensor or array, got a list"),
        (lambda: layers.Dense(3)(ROWS, ROWS), TypeError, r"takes 1 argument\(s\), got 2"),
        (lambda: layers.MultiHeadAttention(2, 3)(STEPS), TypeError, "without its argument 'value'"),
        (lambda: layers.Dense(3, dtype="bogus"), ValueError, "dtype must be 'float32' or 'float64', got 'bogus'"),
        (lambda: layers.Input((3,), dtype="float16"), ValueError, "dtype of Input must be .*, got 'float16'"),
        (lambda: layers.Input((3,), dtype="bogus"), ValueError, "dtype of Input must be .*, got 'bogus'"),
        (lambda: layers.Input(3.5), ValueError, "shape must hold whole numbers or None, got 3.5"),
        (
            lambda: layers.Dense(3, bias_initializer=np.ones(2))(ROWS),
            ValueError,
            r"broadcast to \(3,\), got shape \(2,\)",
        ),
        (lambda: layers.BatchNormalization(momentum="a"), ValueError, "momentum of BatchNormalization .*, got 'a'"),
        (lambda: layers.BatchNormalization(epsilon=None), ValueError, "epsilon of BatchNormalization .*, got None"),
        (lambda: layers.LayerNormalization(epsilon=-1), ValueError, "epsilon of LayerNormalization .*, got -1"),
        (lambda: layers.LayerNormalization(axis=[1, -1])(ROWS), ValueError, "twice"),
        (lambda: layers.LayerNormalization(axis=["a"]), ValueError, "axis of LayerNormalization"),
        (lambda: layers.Normalization(axis=7)(ROWS), ValueError, "has only 2 axes"),
        (lambda: layers.Normalization(axis="a"), ValueError, "axis of Normalization .*, got 'a'"),
        (lambda: layers.Normalization(mean=1.0, variance=-1.0), ValueError, "variance of Normalization"),
        (lambda: layers.Normalization(mean=[1, 2], variance=[1, 2])(ROWS), ValueError, "one number, or 4"),
        (lambda: layers.Dropout(0.5, noise_shape=3), ValueError, "noise_shape of Dropout .*, got 3"),
        (lambda: layers.GaussianNoise("a"), ValueError, "stddev of GaussianNoise .*, got 'a'"),
        (lambda: layers.LSTM(3, dropout="a"), ValueError, "dropout of LSTM must be a number, got 'a'"),
        (lambda: layers.RNN([]), ValueError, "one or more cells"),
        (lambda: layers.PReLU(shared_axes=[5])(PIXELS), ValueError, r"shares axes \[5\]"),
        (lambda: layers.PReLU(shared_axes=[0]), ValueError, "shared_axes of PReLU"),
        (lambda: layers.ReLU(max_value="a"), ValueError, "max_value of ReLU .*, got 'a'"),
        (lambda: layers.LeakyReLU("a"), ValueError, "negative_slope of LeakyReLU .*, got 'a'"),
        (lambda: layers.ELU("a"), ValueError, "alpha of ELU .*, got 'a'"),
        (lambda: layers.Softmax("a"), ValueError, "axis of Softmax .*, got 'a'"),
        (lambda: layers.Concatenate("a"), ValueError, "axis of Concatenate .*, got 'a'"),
        (lambda: layers.Permute(1), ValueError, "dims of Permute .*, got 1"),
        (lambda: layers.Rescaling("a"), ValueError, "scale of Rescaling"),
        (lambda: layers.Masking("a"), ValueError, "mask_value of Masking .*, got 'a'"),
        (lambda: layers.Dot(1)([ROWS, ROWS[:2]]), ValueError, "one batch size, got 3 and 2"),
    ],
)
def test_what_a_layer_cannot_take_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_numbers_of_numpy_are_arguments():
    half, axis = np.float32(0.5), np.int64(1)
    for layer in (
        layers.Dropout(half),
        layers.GaussianDropout(half),
        layers.Dense(
            2,
            kernel_regularizer=dl.regularizers.L1L2(half, np.int64(1)),
            kernel_constraint=dl.constraints.MaxNorm(half),
        ),
        layers.LayerNormalization(axis=axis),
        layers.Softmax(axis=axis),
        layers.Concatenate(axis=axis),
        layers.PReLU(shared_axes=axis),
        layers.ReLU(max_value=half, negative_slope=half),
        layers.LSTM(3, dropout=half),
        layers.Dense(2, kernel_initializer=dl.initializers.RandomNormal(stddev=half)),
    ):
        config = json.loads(json.dumps(layers.serialize(layer)))
        assert layers.serialize(layers.deserialize(config)) == config


def test_masks_as_lists():
    layer = layers.GRU(3)
    mask = [[1, 1, 1, 0, 0], [True, False, True, True, False]]
    np.testing.assert_array_equal(layer(STEPS, mask=mask).numpy(), layer(STEPS, mask=np.array(mask, bool)).numpy())


def test_half_precision_ids():
    layer = layers.Embedding(4, 2, mask_zero=True)
    y = layer(np.array([[1, 0, 3]], np.float16))
    np.testing.assert_array_equal(y.numpy(), layer(np.array([[1, 0, 3]])).numpy())
    np.testing.assert_array_equal(y.mask, [[True, False, True]])


def test_normalisation_of_a_whole_sample_has_a_config():
    layer = layers.Normalization(axis=None, mean=2.0, variance=4.0)
    copy = layers.deserialize(layers.serialize(layer))
    np.testing.assert_allclose(copy(ROWS).numpy(), (ROWS - 2.0) / 2.0)
