"""Models that between them have every layer that can be written as ONNX."""

from __future__ import annotations

import numpy as np

import dlcore as dl
from dlcore import functional as F
from dlcore import layers
from dlcore.onnx.layers import writer


def sequential(shape, *parts):
    return lambda: dl.Sequential([layers.Input(shape), *(part() for part in parts)])


def two_branches():
    x = layers.Input((8, 8, 3))
    a = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    b = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    b = layers.Conv2D(4, 1)(b)
    merged = [layers.Add()([a, b]), layers.Multiply()([a, b]), layers.Average()([a, b]), layers.Maximum()([a, b])]
    merged += [layers.Subtract()([a, b]), layers.Minimum()([a, b])]
    y = layers.Concatenate()(merged)
    return dl.Model(x, [layers.GlobalAveragePooling2D()(y), layers.Flatten()(layers.Conv2D(2, 3)(y))])


def arithmetic():
    x = layers.Input((6, 6, 2))
    y = layers.Conv2D(3, 1)(x)
    y = F.tanh(y * np.float32(2.0) - 1.0) / (F.exp(y) + 1.5)
    z = F.transpose(y, (0, 3, 1, 2))[:, 1:, ::-1, -1]
    return dl.Model(x, [F.mean(F.square(y), axis=(1, 2)), z.reshape((-1, 12)), F.sum(z, axis=-1, keepdims=True)])


def nested():
    inner = dl.Sequential([layers.Input((4,)), layers.Dense(5, activation="gelu")])
    x = layers.Input((4,))
    return dl.Model(x, layers.Add()([inner(x), inner(F.neg(x))]))


def states():
    x = layers.Input((5, 3))
    y, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(x)
    return dl.Model(x, [y, h, c, *layers.GRU(4, return_state=True, go_backwards=True, return_sequences=True)(x)])


def sequence_to_sequence():
    x, z = layers.Input((5, 3)), layers.Input((4, 2))
    _, h, c = layers.LSTM(6, return_state=True)(x)
    y = layers.LSTM(6, return_sequences=True)(z, initial_state=[h, c])
    both = layers.Bidirectional(layers.GRU(6, return_sequences=True), merge_mode="ave")(z, initial_state=[h, c])
    return dl.Model([x, z], [layers.TimeDistributed(layers.Dense(3, activation="softmax"))(y), both])


def several_inputs():
    image, numbers = layers.Input((6, 6, 2), name="image"), layers.Input((4,), name="numbers")
    y = layers.Add()([layers.Conv2D(4, 3)(image), numbers])
    y = layers.GlobalMaxPooling2D()(y)
    y = layers.Concatenate()([y, layers.Dense(3)(numbers)])
    return dl.Model([image, numbers], [layers.Dense(1, activation="sigmoid", name="score")(y), y])


def masks():
    """Where the first input is 0 for a whole step, that step does not count, be it in the middle."""
    x = layers.Input((6, 3))
    y = layers.Masking()(layers.ReLU(threshold=1.0)(x))
    outputs = [
        layers.LSTM(4)(y), layers.GRU(4, return_sequences=True)(y), layers.SimpleRNN(3, go_backwards=True)(y),
        layers.Bidirectional(layers.LSTM(2, return_sequences=True))(y), layers.RNN(layers.GRUCell(2))(y),
        layers.LSTM(2)(layers.Add()([y, layers.Dropout(0.5)(layers.TimeDistributed(layers.Dense(3))(y))])),
        layers.GRU(2, return_sequences=True, zero_output_for_mask=True)(y),
    ]  # fmt: skip
    return dl.Model(x, outputs)


def attention():
    x, z = layers.Input((6, 4)), layers.Input((3, 4))
    y = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 3, dropout=0.1)(x, z))
    y = layers.EinsumDense("abc,cde->abde", output_shape=(6, 2, 2), bias_axes="e", activation="relu")(y)
    y = layers.GroupQueryAttention(3, 4, 2)(layers.Reshape((6, 4))(y), z)
    outputs = [layers.Attention(use_scale=True)([y, z]), layers.AdditiveAttention()([y, z, z])]
    return dl.Model([x, z], [*outputs, layers.Dot(2, normalize=True)([y, z])])


def every_function():
    x = layers.Input((6, 6, 4))
    w = dl.Tensor(np.random.default_rng(0).normal(size=(3, 3, 4, 4)).astype(np.float32) * 0.1)
    y = F.conv2d(x, w, padding="same", activation="relu", dilation=2)
    y = F.max_pool2d(y, 2) + F.avg_pool2d(x, 2, padding="same")
    y = F.pad(y, ((0, 0), (1, 0), (0, 2), (0, 0)), 0.5)
    y = F.layernorm(F.leaky_relu(F.flip(y, 2), 0.3), None, None)
    z = F.where(F.not_equal(F.argmax(y), 2), F.global_avg_pool2d(x)[:, None, None, 0], F.elu(y[..., 1], 0.5))
    ids = F.argmax(y[:, 0], axis=-1)
    rows = F.embedding(ids, np.arange(12, dtype=np.float32).reshape(4, 3))
    table = F.matmul(rows, F.linear(rows, w[0, 0, :3, :3]), transpose_b=True)
    gated = F.gelu(table, True) * F.prelu(table, np.float32(0.2)) + F.step(table)
    return dl.Model(x, [z, gated, F.one_hot(ids, 4), F.cast(F.greater(z, 0.0), "int32")])


def fixed_batch():
    x = layers.Input(batch_shape=(3, 2))
    return dl.Model(x, F.broadcast_to(F.sum(x, axis=1, keepdims=True), (3, 4)) + F.flatten(F.abs(x))[:, :1])


def swapped(x):
    return F.concatenate([x[:, 3:], F.square(x[:, :3])], axis=-1)


def doubled(x):
    return x * 2.0 + F.sin(x)


class Gate(layers.Layer):
    """A layer of one's own with weights and a layer within."""

    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), "ones", name="scale")
        self.inner = layers.Dense(input_shape[-1])

    def call(self, x):
        return F.sigmoid(self.inner(x)) * x * self.scale


class Leaky(layers.Layer):
    """A recurrent cell of one's own."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], self.units), "glorot_uniform", name="kernel")

    def call(self, inputs, states):
        h = states[0] * 0.5 + F.tanh(F.matmul(inputs, self.kernel))
        return h, [h]


L = layers
ACTIVATIONS = sorted(set(writer.ACTIVATIONS) | {"linear", "softmax", "log_softmax"})
MODELS = {
    "dense": sequential((5,), lambda: L.Dense(4, activation="relu"), lambda: L.Dense(3, use_bias=False)),
    "dense over sequences": sequential((7, 5), lambda: L.Dense(4, activation="softmax")),
    **{f"activation {name}": sequential((5,), lambda name=name: L.Dense(4, activation=name)) for name in ACTIVATIONS},
    "activations of images": sequential(
        (6, 6, 2), lambda: L.Conv2D(4, 3, activation="softmax"), lambda: L.LeakyReLU(0.1), lambda: L.ELU(0.5),
        lambda: L.ReLU(6.0), lambda: L.PReLU("uniform"), lambda: L.Softmax(1), lambda: L.ReLU(negative_slope=0.2),
        lambda: L.Activation("tanh"),
    ),
    "convolutions": sequential(
        (9, 9, 4), lambda: L.Conv2D(6, 3, strides=2, padding="same", groups=2, activation="relu"),
        lambda: L.Conv2D(4, (3, 2), padding=((1, 0), (2, 1)), use_bias=False),
        lambda: L.SeparableConv2D(5, 3, padding="same", depth_multiplier=2),
        lambda: L.Conv2D(4, 2, dilation_rate=2, padding="same"),
    ),
    "transposed convolutions": sequential(
        (5, 4, 3), lambda: L.Conv2DTranspose(4, 3, strides=2, padding="same", activation="tanh"),
        lambda: L.Conv2DTranspose(2, 2, strides=3), lambda: L.Conv2DTranspose(2, 3, strides=2, output_padding=1),
    ),
    "pooling": sequential(
        (11, 11, 3), lambda: L.MaxPooling2D(3, strides=2, padding="same"),
        lambda: L.AveragePooling2D(2, padding="same"), lambda: L.MaxPooling2D(2, strides=1, padding=1),
        lambda: L.GlobalMaxPooling2D(keepdims=True), lambda: L.Flatten(),
    ),
    "image to dense": sequential(
        (6, 5, 2), lambda: L.Conv2D(3, 3), lambda: L.Dropout(0.5), lambda: L.Flatten(), lambda: L.Dense(4),
    ),
    "normalisation": sequential(
        (6, 6, 3), lambda: L.Rescaling(0.5, -1.0), lambda: L.BatchNormalization(gamma_initializer="uniform"),
        lambda: L.LayerNormalization(), lambda: L.LayerNormalization(axis=[2, 3], center=False), lambda: L.Flatten(),
        lambda: L.BatchNormalization(scale=False),
    ),
    "given statistics": sequential((3,), lambda: L.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 1.0, 9.0])),
    "shapes": sequential(
        (6, 4), lambda: L.Permute((2, 1)), lambda: L.Reshape((2, 2, 6)), lambda: L.ZeroPadding2D(((1, 2), (0, 1))),
        lambda: L.UpSampling2D((2, 3)), lambda: L.Cropping2D(((1, 0), (2, 1))), lambda: L.Identity(),
        lambda: L.Flatten(), lambda: L.RepeatVector(3), lambda: L.TimeDistributed(L.Dense(2)),
    ),
    "recurrent": sequential(
        (6, 3), lambda: L.SimpleRNN(4, return_sequences=True), lambda: L.LSTM(5, return_sequences=True),
        lambda: L.GRU(4, reset_after=False, return_sequences=True, go_backwards=True), lambda: L.GRU(3),
    ),
    "bidirectional": sequential(
        (6, 3), lambda: L.Bidirectional(L.LSTM(4, return_sequences=True)),
        lambda: L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="sum"),
        lambda: L.Bidirectional(L.SimpleRNN(2), merge_mode="mul"),
    ),
    "custom cells": sequential(
        (5, 3), lambda: L.RNN([L.LSTMCell(4), L.GRUCell(3), L.SimpleRNNCell(2)], return_sequences=True),
        lambda: L.RNN(Leaky(3)),
    ),
    "activations that ONNX's cells lack": sequential(
        (5, 3), lambda: L.LSTM(4, recurrent_activation="hard_sigmoid", return_sequences=True),
        lambda: L.GRU(4, activation="softsign", return_sequences=True),
        lambda: L.GRU(4, activation="silu", reset_after=False, go_backwards=True, return_sequences=True),
        lambda: L.Bidirectional(L.SimpleRNN(3, activation="gelu", return_sequences=True)),
    ),
    "resizing": sequential(
        (7, 5, 2), lambda: L.Resizing(10, 4), lambda: L.Resizing(6, 9, "nearest"),
        lambda: L.Resizing(5, 5, crop_to_aspect_ratio=True), lambda: L.Resizing(4, 8, pad_to_aspect_ratio=True,
        fill_value=2.0), lambda: L.SpatialDropout2D(0.5), lambda: L.RandomZoom(0.1),
        lambda: L.RandomTranslation(0.1, 0.1),
    ),
    "functions of one's own": sequential(
        (6,), lambda: L.Lambda(swapped), lambda: L.Dense(4, activation=doubled), lambda: Gate(),
        lambda: L.Reshape((2, 2)), lambda: L.Softmax((1, 2)), lambda: L.ReLU(threshold=0.2, negative_slope=0.1),
        lambda: L.ReLU(max_value=2.0, threshold=0.1),
    ),
    "a layer for each step": sequential(
        (3, 6, 6, 2), lambda: L.TimeDistributed(L.Conv2D(4, 3, activation="relu")),
        lambda: L.TimeDistributed(L.MaxPooling2D(2)), lambda: L.TimeDistributed(L.Flatten()), lambda: L.LSTM(3),
    ),
    "axes": sequential((4, 3, 2), lambda: L.LayerNormalization(axis=[1, 3]), lambda: L.BatchNormalization(axis=2),
        lambda: L.LayerNormalization(axis=1, scale=False)),
    "sequences": sequential(
        (12, 4), lambda: L.Conv1D(6, 3, padding="same", activation="relu"), lambda: L.DepthwiseConv1D(3),
        lambda: L.SeparableConv1D(5, 3), lambda: L.ZeroPadding1D(2), lambda: L.MaxPooling1D(2),
        lambda: L.AveragePooling1D(2, padding="same"), lambda: L.Cropping1D((1, 0)), lambda: L.SpatialDropout1D(0.5),
    ),
    "sequences, pooled": sequential((5, 4), lambda: L.GlobalMaxPooling1D()),
    "sequences, averaged": sequential((5, 4), lambda: L.GlobalAveragePooling1D()),
    "normalised sequences": sequential(
        (6, 4), lambda: L.RMSNormalization(), lambda: L.GroupNormalization(2), lambda: L.ActivityRegularization(l2=0.1),
        lambda: L.GaussianDropout(0.2), lambda: L.AlphaDropout(0.2), lambda: L.UnitNormalization(),
    ),
    "attention": attention,
    "augmentation": sequential(
        (6, 6, 1), lambda: L.RandomFlip(), lambda: L.RandomRotation(0.1), lambda: L.GaussianNoise(1.0),
    ),
    "branches": two_branches,
    "arithmetic": arithmetic,
    "nested": nested,
    "states": states,
    "sequence to sequence": sequence_to_sequence,
    "several inputs": several_inputs,
    "masks": masks,
    "every function": every_function,
    "fixed batch": fixed_batch,
}  # fmt: skip

APPLICATIONS = {
    "MLP": {}, "Perceptron": {}, "LeNet5": {}, "AlexNet": {"input_shape": (67, 67, 3), "classes": 7},
    **{f"VGG{n}": {"input_shape": (32, 32, 3), "classes": 7} for n in (11, 13, 16, 19)},
    **{f"ResNet{n}": {"input_shape": (32, 32, 3), "classes": 7} for n in (18, 34, 50, 101)},
}  # fmt: skip
