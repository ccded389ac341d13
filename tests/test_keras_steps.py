"""Weight for weight and step for step: every layer, optimizer, loss and metric trains as Keras's of that name does.

Each case is a small model, built with Keras and with dlcore from one description and given the same weights. Five
training steps on the same batches must give the same losses, the same weights (their names and shapes too) and the
same predictions, on every engine. What is compared is found in dlcore's modules, so that a class without a case fails.
"""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any, NamedTuple

import numpy as np
import pytest
from oracle import keras, torch

import dlcore as dl
from dlcore.symbolic import flatten

torch.set_num_threads(1)  # the models are tiny

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STEPS, BATCH = 5, 4
TOLERANCE = 2e-4


@pytest.fixture(autouse=True)
def seeded():
    """Keras draws the same first weights in every run: by bad luck they could make an exponential overflow."""
    keras.utils.set_random_seed(0)


def close(got: Any, expected: Any, what: str) -> None:
    """Both differ by no more than the tolerance, relative to values above 1."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape, what
    worst = np.max(np.abs(got - expected) / np.maximum(1.0, np.abs(expected)))
    assert worst <= TOLERANCE, f"{what}: {got} is not {expected}"


class Part(NamedTuple):
    """Something to be made alike with Keras and with dlcore: a class of one of their modules and its arguments."""

    kind: str
    arguments: dict[str, Any]
    module: str = "layers"

    def make(self, k: Any) -> Any:
        found: Any = k
        for name in self.module.split("."):
            found = getattr(found, name)
        return getattr(found, self.kind)(**{key: made(value, k) for key, value in self.arguments.items()})

    def kinds(self, module: str) -> set[str]:
        """The classes of a module among its own and those of what it is made of."""
        parts = [part for value in self.arguments.values() for part in (value if isinstance(value, list) else [value])]
        own = {self.kind} if self.module == module else set()
        return own.union(*(part.kinds(module) for part in parts if isinstance(part, Part)))

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(f'{key}={shown(value)}' for key, value in self.arguments.items())})"


def made(value: Any, k: Any) -> Any:
    if isinstance(value, list):
        return [made(part, k) for part in value]
    return value.make(k) if isinstance(value, Part) else value


def shown(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def layer(kind: str, **arguments: Any) -> Part:
    return Part(kind, arguments)


def regularizer(kind: str, **arguments: Any) -> Part:
    return Part(kind, arguments, "regularizers")


def constraint(kind: str, **arguments: Any) -> Part:
    return Part(kind, arguments, "constraints")


def public_classes(module: str) -> set[str]:
    """Names of the classes of one of dlcore's modules that Keras has too, each once."""
    ours = functools.reduce(getattr, module.split("."), dl)
    theirs = functools.reduce(getattr, module.split("."), keras)
    return {
        cls.__name__
        for name, cls in vars(ours).items()
        if inspect.isclass(cls) and not name.startswith("_") and hasattr(theirs, name)
    }


# ---- one training run --------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """What five steps gave."""

    start: list[np.ndarray]  # the weights before
    names: list[tuple]  # of the weights, with shapes and whether they are trained
    logs: list[dict[str, Any]]  # after each step
    tested: dict[str, Any]
    predictions: list[np.ndarray]
    weights: list[np.ndarray]


def arrays(outputs: Any) -> list[np.ndarray]:
    return [np.asarray(y) for y in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def train(model: Any, start: list[np.ndarray], batches: list[tuple], **extra: Any) -> Run:
    """The run of a compiled model from the weights `start` over batches (x, y) or (x, y, sample_weight)."""
    model.set_weights(start)
    logs = []
    for x, y, *weight in batches:
        log = model.train_on_batch(x, y, *weight, return_dict=True, **extra)
        logs.append({name: np.array(value) for name, value in log.items()})
    x, y, *weight = batches[0]
    predictions = arrays(model.predict_on_batch(x))
    tested = {name: np.array(value) for name, value in model.test_on_batch(x, y, *weight, return_dict=True).items()}
    weights = [np.asarray(w) for w in model.get_weights()]
    numbers = r"_\d+(?=/)"  # at the end of names that count layers
    names = [(re.sub(numbers, "", w.path), tuple(w.shape), w.trainable) for w in model.weights]
    return Run(start, names, logs, tested, predictions, weights)


def first_weights(model: Any) -> list[np.ndarray]:
    """Weights for both sides: as initialised, but no zeros, and variances stay positive."""
    rng = np.random.default_rng(1)
    values = [np.asarray(w) for w in model.get_weights()]
    return [w + rng.uniform(0.02, 0.3, w.shape).astype(w.dtype) if w.dtype.kind == "f" else w for w in values]


def compare(ours: Run, theirs: Run) -> None:
    assert ours.names == theirs.names
    for step, (got, expected) in enumerate(zip(ours.logs, theirs.logs, strict=True)):
        assert set(got) == set(expected)
        for name, value in expected.items():
            close(got[name], value, f"{name} of step {step}")
    for name, value in theirs.tested.items():
        close(ours.tested[name], value, f"{name} of the test")
    for number, (got, expected) in enumerate(zip(ours.predictions, theirs.predictions, strict=True)):
        close(got, expected, f"output {number}")
    for (path, *_), got, expected in zip(theirs.names, ours.weights, theirs.weights, strict=True):
        close(got, expected, path)
    moved = max(np.abs(a - b).max() for a, b in zip(theirs.weights, theirs.start, strict=True))
    assert 10 * TOLERANCE < moved < 5, "a case must train, and not diverge"


# ---- configurations ----------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A configuration without what only says where a class comes from."""
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy":
            return value["config"]["name"]
        dropped = ("module", "registered_name", "build_config", "compile_config")
        kept = {key: plain(part) for key, part in value.items() if key not in dropped}
        if isinstance(kept.get("name"), str):
            kept["name"] = re.sub(r"_\d+$", "", kept["name"])  # of a layer that was not given one
        return kept
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def agree(ours: Any, theirs: Any, where: str = "") -> None:
    """Keys of both have equal values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in ours.keys() & theirs.keys():
            agree(ours[key], theirs[key], f"{where}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for a, b in zip(ours, theirs, strict=True):
            agree(a, b, where)
    elif isinstance(ours, float) or isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-6), where
    else:
        assert ours == theirs, where


def check_config(ours: Any, theirs: Any) -> None:
    config = plain(ours.get_config())
    agree(config, plain(theirs.get_config()))
    assert plain(type(ours).from_config(ours.get_config()).get_config()) == config


# ---- layers ------------------------------------------------------------------------------------------------------


class Data(NamedTuple):
    """One input of a model: its shape without the batch, and what it holds."""

    shape: tuple[int, ...]
    kind: str = (
        "real"  # "masked": some steps are left out, "whole": numbers below 7, "even": images like their mirrored
    )

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        shape = (BATCH, *self.shape)
        if self.kind == "whole":
            return rng.integers(0, 7, shape).astype("int32")
        x = rng.normal(size=shape).astype("float32")
        if self.kind == "even":
            x = x + x[:, :, ::-1]
            x = x + x[:, ::-1]
        if self.kind == "masked":
            x[1, 3:] = x[2, 1] = x[3, 0] = 0.0
        return x


ROW, SEQUENCE, IMAGE = Data((5,)), Data((6, 4)), Data((8, 7, 4))
MASKED, IDS, EVEN = Data((6, 4), "masked"), Data((5,), "whole"), Data((6, 6, 2), "even")
VIDEO = Data((3, 5, 4, 2))

L2 = regularizer("L2", l2=0.02)
L1L2 = regularizer("L1L2", l1=0.01, l2=0.02)
POSITIVE, LIMITED = constraint("NonNeg"), constraint("MaxNorm", max_value=0.7)

# (layer, its input or inputs)
LAYERS: list[tuple[Part, Any]] = [
    (layer("Dense", units=3), ROW),
    (layer("Dense", units=3, activation="relu", use_bias=False), SEQUENCE),
    (layer("Dense", units=3, activation="softmax", kernel_regularizer=L2, bias_regularizer=L1L2), SEQUENCE),
    (layer("Dense", units=3, activation="gelu", activity_regularizer=L2), MASKED),
    (layer("Dense", units=3, kernel_regularizer=regularizer("L1", l1=0.02)), ROW),
    (layer("Dense", units=3, trainable=False), ROW),
    (layer("Dense", units=3, kernel_initializer="he_normal", bias_initializer="ones", name="mine"), ROW),
    (layer("Embedding", input_dim=7, output_dim=3), IDS),
    (layer("Embedding", input_dim=7, output_dim=3, mask_zero=True, embeddings_regularizer=L2), IDS),
    (layer("Masking", mask_value=0.0), SEQUENCE),
    (layer("Identity"), MASKED),
    (layer("Flatten"), Data((3, 2, 4))),
    (layer("Flatten"), ROW),
    (layer("Reshape", target_shape=(-1, 8)), IMAGE),
    (layer("Reshape", target_shape=(5, 1)), ROW),
    (layer("Permute", dims=(3, 1, 2)), IMAGE),
    (layer("RepeatVector", n=3), ROW),
    (layer("Rescaling", scale=0.5, offset=-1.0), IMAGE),
    (layer("Rescaling", scale=[0.5, 1.0, 2.0, 3.0], offset=[0.0, 1.0, 2.0, 3.0]), IMAGE),
    (layer("Normalization", mean=0.5, variance=4.0), IMAGE),
    (layer("Normalization", axis=-1, mean=[0.0, 1.0, 2.0, 3.0], variance=[1.0, 2.0, 3.0, 4.0], invert=True), IMAGE),
    (layer("Resizing", height=5, width=9), IMAGE),
    (layer("Resizing", height=4, width=4, interpolation="nearest", crop_to_aspect_ratio=True), IMAGE),
    (layer("Resizing", height=9, width=9, pad_to_aspect_ratio=True, fill_value=0.5), IMAGE),
    (layer("ZeroPadding1D"), SEQUENCE),
    (layer("ZeroPadding1D", padding=(1, 2)), SEQUENCE),
    (layer("Cropping1D"), SEQUENCE),
    (layer("Cropping1D", cropping=(0, 2)), SEQUENCE),
    (layer("UpSampling1D", size=3), SEQUENCE),
    (layer("ZeroPadding2D"), IMAGE),
    (layer("ZeroPadding2D", padding=2), IMAGE),
    (layer("ZeroPadding2D", padding=(1, 2)), IMAGE),
    (layer("ZeroPadding2D", padding=((1, 2), (0, 3))), IMAGE),
    (layer("Cropping2D", cropping=1), IMAGE),
    (layer("Cropping2D", cropping=(1, 2)), IMAGE),
    (layer("Cropping2D", cropping=((1, 2), (0, 3))), IMAGE),
    (layer("UpSampling2D"), IMAGE),
    (layer("UpSampling2D", size=(2, 3)), IMAGE),
    # without chance: rates of 0, and images that a flip leaves alone
    (layer("Dropout", rate=0.0), MASKED),
    (layer("Dropout", rate=0.0, noise_shape=(None, 1, 4), seed=3), SEQUENCE),
    (layer("SpatialDropout1D", rate=0.0), MASKED),
    (layer("SpatialDropout2D", rate=0.0), IMAGE),
    (layer("GaussianNoise", stddev=0.0), MASKED),
    (layer("RandomFlip"), EVEN),
    (layer("RandomFlip", mode="horizontal", seed=1), EVEN),
    (layer("RandomRotation", factor=0.0), IMAGE),
    (layer("RandomTranslation", height_factor=(0.25, 0.25), width_factor=0.0, fill_mode="constant"), IMAGE),
    (layer("RandomZoom", height_factor=0.0, width_factor=0.0, interpolation="nearest"), IMAGE),
    # activations
    (layer("ReLU"), MASKED),
    (layer("ReLU", max_value=0.4, negative_slope=0.1, threshold=0.2), ROW),
    (layer("ReLU", max_value=6), ROW),
    (layer("LeakyReLU"), ROW),
    (layer("LeakyReLU", negative_slope=0.1), MASKED),
    (layer("PReLU"), ROW),
    (layer("PReLU", shared_axes=[1, 2], alpha_regularizer=L1L2), IMAGE),
    (layer("PReLU", alpha_initializer="ones"), MASKED),
    (layer("ELU"), ROW),
    (layer("ELU", alpha=0.7), MASKED),
    (layer("Softmax"), ROW),
    (layer("Softmax", axis=1), SEQUENCE),
    (layer("Softmax", axis=[1, 2]), SEQUENCE),
    # convolutions
    (layer("Conv2D", filters=6, kernel_size=3), IMAGE),
    (layer("Conv2D", filters=6, kernel_size=(3, 2), activation="tanh", use_bias=False), IMAGE),
    (layer("Conv2D", filters=6, kernel_size=3, strides=2, padding="same", activation="relu"), IMAGE),
    (layer("Conv2D", filters=6, kernel_size=4, strides=(2, 3), padding="same"), IMAGE),
    (layer("Conv2D", filters=6, kernel_size=3, strides=(3, 2)), IMAGE),
    (layer("Conv2D", filters=6, kernel_size=3, dilation_rate=2, padding="same"), IMAGE),
    (layer("Conv2D", filters=6, kernel_size=3, dilation_rate=(1, 2)), IMAGE),
    (layer("Conv2D", filters=6, kernel_size=3, groups=2, activation="elu"), IMAGE),
    (layer("Conv2D", filters=8, kernel_size=2, groups=4, padding="same", strides=2), IMAGE),
    (layer("Conv2D", filters=3, kernel_size=1, kernel_regularizer=L2, bias_regularizer=L2), IMAGE),
    (layer("Conv2D", filters=3, kernel_size=2, activity_regularizer=L2), IMAGE),
    (layer("DepthwiseConv2D", kernel_size=3), IMAGE),
    (layer("DepthwiseConv2D", kernel_size=3, depth_multiplier=2, use_bias=False), IMAGE),
    (layer("DepthwiseConv2D", kernel_size=3, strides=2, padding="same", activation="relu"), IMAGE),
    (layer("DepthwiseConv2D", kernel_size=2, dilation_rate=2, depthwise_regularizer=L2), IMAGE),
    (layer("SeparableConv2D", filters=5, kernel_size=3), IMAGE),
    (layer("SeparableConv2D", filters=5, kernel_size=3, depth_multiplier=2, padding="same", strides=2), IMAGE),
    (layer("SeparableConv2D", filters=5, kernel_size=2, dilation_rate=2, activation="tanh", use_bias=False), IMAGE),
    (layer("SeparableConv2D", filters=5, kernel_size=2, depthwise_regularizer=L2, pointwise_regularizer=L1L2), IMAGE),
    (layer("Conv2DTranspose", filters=3, kernel_size=3), IMAGE),
    (layer("Conv2DTranspose", filters=3, kernel_size=3, strides=2, padding="same"), IMAGE),
    (layer("Conv2DTranspose", filters=3, kernel_size=3, strides=2), IMAGE),
    (layer("Conv2DTranspose", filters=3, kernel_size=2, strides=3, activation="relu", use_bias=False), IMAGE),
    (layer("Conv2DTranspose", filters=3, kernel_size=4, strides=2, padding="same", kernel_regularizer=L2), IMAGE),
    (layer("Conv2DTranspose", filters=3, kernel_size=3, strides=2, output_padding=0), IMAGE),
    (layer("Conv2DTranspose", filters=3, kernel_size=3, strides=2, output_padding=1), IMAGE),
    (layer("Conv2DTranspose", filters=3, kernel_size=3, strides=2, output_padding=1, padding="same"), IMAGE),
    (layer("Conv2DTranspose", filters=3, kernel_size=3, strides=(3, 2), output_padding=(2, 1)), IMAGE),
    (layer("Conv2DTranspose", filters=3, kernel_size=3, dilation_rate=2), IMAGE),
    (layer("Conv2DTranspose", filters=3, kernel_size=(2, 3), dilation_rate=2, padding="same"), IMAGE),
    (layer("Conv1D", filters=6, kernel_size=3), SEQUENCE),
    (layer("Conv1D", filters=6, kernel_size=3, strides=2, padding="same", activation="relu"), SEQUENCE),
    (layer("Conv1D", filters=6, kernel_size=3, padding="causal", use_bias=False), SEQUENCE),
    (layer("Conv1D", filters=6, kernel_size=2, padding="causal", dilation_rate=2, activation="tanh"), SEQUENCE),
    (layer("Conv1D", filters=6, kernel_size=2, dilation_rate=2, groups=2), SEQUENCE),
    (layer("Conv1D", filters=3, kernel_size=2, kernel_regularizer=L2, bias_regularizer=L1L2), SEQUENCE),
    (layer("DepthwiseConv1D", kernel_size=3), SEQUENCE),
    (layer("DepthwiseConv1D", kernel_size=2, depth_multiplier=2, padding="same", activation="elu"), SEQUENCE),
    (layer("DepthwiseConv1D", kernel_size=2, strides=2, use_bias=False, depthwise_regularizer=L2), SEQUENCE),
    (layer("SeparableConv1D", filters=5, kernel_size=3), SEQUENCE),
    (layer("SeparableConv1D", filters=5, kernel_size=2, depth_multiplier=2, padding="same"), SEQUENCE),
    (layer("SeparableConv1D", filters=5, kernel_size=2, dilation_rate=2, activation="tanh", use_bias=False), SEQUENCE),
    (layer("Conv1DTranspose", filters=3, kernel_size=3), SEQUENCE),
    (layer("Conv1DTranspose", filters=3, kernel_size=3, strides=2, padding="same"), SEQUENCE),
    (layer("Conv1DTranspose", filters=3, kernel_size=3, strides=2, output_padding=1, activation="relu"), SEQUENCE),
    (layer("Conv1DTranspose", filters=3, kernel_size=3, dilation_rate=2, use_bias=False), SEQUENCE),
    # constraints
    (layer("Dense", units=3, kernel_constraint=LIMITED, bias_constraint=POSITIVE), ROW),
    (layer("Dense", units=3, kernel_constraint=constraint("UnitNorm", axis=0)), ROW),
    (layer("Dense", units=3, kernel_constraint=constraint("MinMaxNorm", min_value=0.3, max_value=0.6, rate=0.5)), ROW),
    (layer("Embedding", input_dim=7, output_dim=3, embeddings_constraint=constraint("UnitNorm", axis=1)), IDS),
    (layer("PReLU", alpha_constraint=POSITIVE), ROW),
    (layer("Conv2D", filters=3, kernel_size=2, kernel_constraint=constraint("MaxNorm", axis=[0, 1, 2])), IMAGE),
    (layer("Conv1D", filters=3, kernel_size=2, kernel_constraint=POSITIVE, bias_constraint=LIMITED), SEQUENCE),
    (layer("Conv2DTranspose", filters=3, kernel_size=2, kernel_constraint=POSITIVE), IMAGE),
    (layer("DepthwiseConv2D", kernel_size=2, depthwise_constraint=POSITIVE, bias_constraint=POSITIVE), IMAGE),
    (
        layer("SeparableConv2D", filters=3, kernel_size=2, depthwise_constraint=POSITIVE, pointwise_constraint=LIMITED),
        IMAGE,
    ),
    (layer("BatchNormalization", beta_constraint=POSITIVE, gamma_constraint=LIMITED), ROW),
    (layer("LayerNormalization", beta_constraint=POSITIVE, gamma_constraint=LIMITED), ROW),
    (layer("SimpleRNN", units=3, kernel_constraint=LIMITED, recurrent_constraint=POSITIVE), SEQUENCE),
    (layer("LSTM", units=3, kernel_constraint=LIMITED, bias_constraint=POSITIVE), SEQUENCE),
    (layer("GRU", units=3, recurrent_constraint=LIMITED, bias_constraint=POSITIVE), SEQUENCE),
    # pooling
    (layer("MaxPooling1D"), SEQUENCE),
    (layer("MaxPooling1D", pool_size=3, strides=2, padding="same"), SEQUENCE),
    (layer("AveragePooling1D", pool_size=2), SEQUENCE),
    (layer("AveragePooling1D", pool_size=3, strides=1, padding="same"), SEQUENCE),
    (layer("GlobalAveragePooling1D"), SEQUENCE),
    (layer("GlobalAveragePooling1D", keepdims=True), MASKED),
    (layer("GlobalMaxPooling1D"), SEQUENCE),
    (layer("GlobalMaxPooling1D", keepdims=True), SEQUENCE),
    (layer("MaxPooling2D"), IMAGE),
    (layer("MaxPooling2D", pool_size=3, strides=2, padding="same"), IMAGE),
    (layer("MaxPooling2D", pool_size=(2, 3), strides=1), IMAGE),
    (layer("AveragePooling2D", pool_size=2), IMAGE),
    # of an odd number of rows: of an even one Keras on PyTorch counts copies of the edge too, unlike on TensorFlow
    (layer("AveragePooling2D", pool_size=3, strides=2, padding="same"), Data((9, 7, 2))),
    (layer("AveragePooling2D", pool_size=(2, 3), strides=1), IMAGE),
    (layer("GlobalAveragePooling2D"), IMAGE),
    (layer("GlobalAveragePooling2D", keepdims=True), IMAGE),
    (layer("GlobalMaxPooling2D"), IMAGE),
    (layer("GlobalMaxPooling2D", keepdims=True), IMAGE),
    # normalisation
    (layer("BatchNormalization"), IMAGE),
    (layer("BatchNormalization", momentum=0.6, epsilon=1e-2, scale=False), ROW),
    (layer("BatchNormalization", center=False, axis=1), SEQUENCE),
    (layer("BatchNormalization", center=False, scale=False, axis=-2), IMAGE),
    (layer("BatchNormalization", gamma_regularizer=L2, beta_regularizer=L1L2, gamma_initializer="zeros"), IMAGE),
    (layer("BatchNormalization", trainable=False), IMAGE),
    (layer("BatchNormalization", momentum=0.8), MASKED),
    (layer("LayerNormalization"), IMAGE),
    (layer("LayerNormalization", axis=[2, 3], center=False, epsilon=1e-2), IMAGE),
    (layer("LayerNormalization", scale=False), IMAGE),
    (layer("LayerNormalization", axis=(1, 2, 3), gamma_regularizer=L2, beta_regularizer=L2), IMAGE),
    (layer("LayerNormalization"), MASKED),
    (layer("RMSNormalization"), SEQUENCE),
    (layer("RMSNormalization", epsilon=1e-2), IMAGE),
    (layer("GroupNormalization", groups=2), IMAGE),
    (layer("GroupNormalization", groups=-1, center=False, gamma_regularizer=L2), IMAGE),
    (layer("GroupNormalization", groups=4, scale=False, epsilon=1e-2, beta_constraint=POSITIVE), SEQUENCE),
    (layer("UnitNormalization"), SEQUENCE),
    (layer("UnitNormalization", axis=[1, 2]), SEQUENCE),
    (layer("ActivityRegularization", l1=0.01, l2=0.02), MASKED),
    (layer("GaussianDropout", rate=0.0), MASKED),
    (layer("AlphaDropout", rate=0.0), MASKED),
    (layer("EinsumDense", equation="abc,cd->abd", output_shape=(6, 3), bias_axes="d"), SEQUENCE),
    (layer("EinsumDense", equation="abc,cde->abde", output_shape=(6, 2, 3), activation="relu"), SEQUENCE),
    # attention
    (layer("MultiHeadAttention", num_heads=2, key_dim=3), [SEQUENCE, SEQUENCE]),
    (layer("MultiHeadAttention", num_heads=2, key_dim=3, value_dim=2, use_bias=False), [SEQUENCE, Data((3, 5))]),
    (layer("MultiHeadAttention", num_heads=1, key_dim=4, output_shape=3), [SEQUENCE, MASKED]),
    (layer("MultiHeadAttention", num_heads=2, key_dim=2, kernel_regularizer=L2), [SEQUENCE, SEQUENCE, SEQUENCE]),
    (layer("GroupQueryAttention", head_dim=3, num_query_heads=4, num_key_value_heads=2), [SEQUENCE, SEQUENCE]),
    (layer("Attention"), [SEQUENCE, SEQUENCE]),
    (layer("Attention", use_scale=True, score_mode="concat"), [SEQUENCE, Data((3, 4))]),
    (layer("Attention", use_scale=True), [MASKED, MASKED]),
    (layer("AdditiveAttention"), [SEQUENCE, Data((3, 4))]),
    (layer("AdditiveAttention", use_scale=False), [MASKED, MASKED]),
    # several inputs
    (layer("Dot", axes=1), [ROW, ROW]),
    (layer("Dot", axes=(2, 1), normalize=True), [SEQUENCE, Data((4, 3))]),
    (layer("Add"), [ROW, ROW, ROW]),
    (layer("Add"), [MASKED, MASKED]),
    (layer("Add"), [Data((3, 5)), ROW]),
    (layer("Subtract"), [SEQUENCE, Data((6, 1))]),
    (layer("Subtract"), [MASKED, SEQUENCE]),
    (layer("Multiply"), [ROW, ROW, ROW]),
    (layer("Multiply"), [MASKED, MASKED]),
    (layer("Average"), [ROW, ROW, ROW]),
    (layer("Average"), [MASKED, MASKED]),
    (layer("Maximum"), [ROW, ROW, ROW]),
    (layer("Minimum"), [SEQUENCE, Data((1, 4))]),
    (layer("Concatenate"), [ROW, Data((2,)), ROW]),
    (layer("Concatenate", axis=1), [SEQUENCE, Data((2, 4))]),
    (layer("Concatenate"), [MASKED, MASKED]),
    (layer("Concatenate", axis=1), [MASKED, MASKED]),
    # around other layers
    (layer("TimeDistributed", layer=layer("Conv2D", filters=3, kernel_size=2, activation="relu")), VIDEO),
    (layer("TimeDistributed", layer=layer("Dense", units=3, kernel_regularizer=L2)), MASKED),
    (layer("TimeDistributed", layer=layer("BatchNormalization")), SEQUENCE),
    (layer("TimeDistributed", layer=layer("LSTM", units=3)), Data((3, 4, 2))),
]
for _name in sorted(set(dl.activations._NAMES) & set(vars(keras.activations))):
    LAYERS.append((layer("Activation", activation=_name), SEQUENCE))
for _kind in ("SimpleRNN", "LSTM", "GRU"):
    _backward = layer(_kind, units=3, go_backwards=True, return_sequences=True)
    _cell = layer(f"{_kind}Cell", units=3, recurrent_dropout=0.0)
    LAYERS += [
        (layer(_kind, units=3), SEQUENCE),
        (layer(_kind, units=3, return_sequences=True), SEQUENCE),
        (layer(_kind, units=3, return_sequences=True, return_state=True, use_bias=False), SEQUENCE),
        (layer(_kind, units=3, go_backwards=True, return_sequences=True), SEQUENCE),
        (layer(_kind, units=3, return_state=True), MASKED),
        (layer(_kind, units=3, return_sequences=True), MASKED),
        (layer(_kind, units=3, go_backwards=True), MASKED),
        (layer(_kind, units=3, go_backwards=True, return_sequences=True), MASKED),
        (layer(_kind, units=3, zero_output_for_mask=True, return_sequences=True), MASKED),
        (layer(_kind, units=3, zero_output_for_mask=True), MASKED),
        (layer(_kind, units=3, activation="softsign", return_sequences=True), MASKED),
        (layer(_kind, units=3, activation="relu", return_state=True), Data((3, 4))),
        (layer(_kind, units=3, dropout=0.0, recurrent_dropout=0.0, seed=5, unroll=True), SEQUENCE),
        (layer(_kind, units=3, kernel_regularizer=L2, recurrent_regularizer=L1L2, bias_regularizer=L2), SEQUENCE),
        (layer("RNN", cell=_cell, return_sequences=True), MASKED),
        (layer("RNN", cell=_cell, return_state=True, go_backwards=True), SEQUENCE),
        (layer("Bidirectional", layer=layer(_kind, units=3)), SEQUENCE),
        (layer("Bidirectional", layer=layer(_kind, units=3), merge_mode=None), MASKED),
        (layer("Bidirectional", layer=layer(_kind, units=3, return_sequences=True), merge_mode="sum"), MASKED),
        (layer("Bidirectional", layer=layer(_kind, units=3, return_sequences=True), merge_mode="ave"), SEQUENCE),
        (layer("Bidirectional", layer=layer(_kind, units=3), merge_mode="mul"), SEQUENCE),
        (layer("Bidirectional", layer=layer(_kind, units=3, return_sequences=True, return_state=True)), SEQUENCE),
        (layer("Bidirectional", layer=layer("LSTM", units=3, return_sequences=True), backward_layer=_backward), MASKED),
    ]
LAYERS += [
    # Keras on PyTorch trains no other layer that is stateful: it changes states that it still needs
    (layer("SimpleRNN", units=3, stateful=True), SEQUENCE),
    (layer("SimpleRNN", units=3, stateful=True, return_sequences=True, return_state=True), MASKED),
    (layer("RNN", cell=layer("SimpleRNNCell", units=3), stateful=True, return_sequences=True), MASKED),
    (layer("Bidirectional", layer=layer("SimpleRNN", units=3, stateful=True)), SEQUENCE),
    # Keras's SimpleRNN drops its activity_regularizer
    (layer("LSTM", units=3, activity_regularizer=L2), SEQUENCE),
    (layer("GRU", units=3, activity_regularizer=L2, return_sequences=True), SEQUENCE),
    (layer("LSTM", units=3, unit_forget_bias=False, recurrent_activation="hard_sigmoid"), SEQUENCE),
    (layer("GRU", units=3, reset_after=False, return_sequences=True), MASKED),
    (layer("GRU", units=3, reset_after=False, activation="relu"), SEQUENCE),
    (layer("RNN", cell=[layer("LSTMCell", units=3), layer("GRUCell", units=2)], return_sequences=True), MASKED),
    (
        layer(
            "RNN",
            cell=layer("StackedRNNCells", cells=[layer("SimpleRNNCell", units=3), layer("LSTMCell", units=2)]),
            return_state=True,
        ),
        SEQUENCE,
    ),
]
# no layers of their own to train: bases, what stands for data, and a function of the user's
NO_LAYERS = {"Layer", "Wrapper", "InputLayer", "InputSpec", "Lambda"}


def test_every_layer_has_a_case():
    for module, without in (("layers", NO_LAYERS), ("constraints", {"Constraint"}), ("regularizers", {"Regularizer"})):
        cases = set().union(*(part.kinds(module) for part, _ in LAYERS))
        found = {getattr(getattr(dl, module), kind).__name__ for kind in cases}  # GroupQueryAttention has another
        assert public_classes(module) - without == found, module


def layer_model(k: Any, part: Part, data: Any) -> Any:
    """A model with the layer between dense ones."""
    several = isinstance(data, list)
    stateful = any(p.arguments.get("stateful") for p in (part, part.arguments.get("layer")) if isinstance(p, Part))
    inputs, tensors = [], []
    for number, each in enumerate(data if several else [data]):
        dtype = "int32" if each.kind == "whole" else "float32"
        x = k.layers.Input(batch_shape=(BATCH if stateful else None, *each.shape), dtype=dtype, name=f"x{number}")
        inputs.append(x)
        if each.kind == "masked":
            x = k.layers.Masking(name=f"masking{number}")(x)
        if each.kind in ("real", "masked"):
            x = k.layers.Dense(each.shape[-1], name=f"before{number}")(x)
        tensors.append(x)
    found = part.make(k)
    found.name = part.arguments.get("name", "tested")
    if part.kind.endswith("QueryAttention") or part.kind == "MultiHeadAttention":
        y = found(*tensors)  # these take theirs one by one
    else:
        y = found(tensors if several else tensors[0])
    outputs = [k.layers.Dense(2, name=f"after{number}")(each) for number, each in enumerate(flatten(y))]
    one = inputs[0] if len(inputs) == 1 else inputs, outputs[0] if len(outputs) == 1 else outputs
    model = k.Model(*one)
    model.compile(k.optimizers.SGD(0.01, momentum=0.9), "mse")
    return model


def layer_batches(data: Any, outputs: list[tuple[int, ...]]) -> list[tuple]:
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(STEPS):
        x = [each.draw(rng) for each in (data if isinstance(data, list) else [data])]
        y = [rng.normal(size=(BATCH, *shape[1:])).astype("float32") for shape in outputs]
        batches.append((x[0] if len(x) == 1 else x, y[0] if len(y) == 1 else y))
    return batches


@functools.cache
def layer_with_keras(number: int) -> tuple[Run, list[tuple]]:
    part, data = LAYERS[number]
    model = layer_model(keras, part, data)
    batches = layer_batches(data, [tuple(y.shape) for y in model.outputs])
    return train(model, first_weights(model), batches), batches


@pytest.mark.parametrize("number", range(len(LAYERS)), ids=[f"{part}-{i}" for i, (part, _) in enumerate(LAYERS)])
def test_layer(number, active_backend):
    theirs, batches = layer_with_keras(number)
    compare(train(layer_model(dl, *LAYERS[number]), theirs.start, batches), theirs)


@pytest.mark.parametrize("part", [part for part, _ in LAYERS], ids=str)
def test_config_of_a_layer(part):
    check_config(part.make(dl), part.make(keras))


# ---- optimizers --------------------------------------------------------------------------------------------------

RATES = {"SGD": 0.1, "Adadelta": 3.0, "Ftrl": 0.1, "Adagrad": 0.1}  # 0.02 for the others
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "SGD": [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
    "Adagrad": [{"initial_accumulator_value": 0.0, "epsilon": 1e-5}],
    "RMSprop": [{"momentum": 0.5}, {"centered": True}, {"rho": 0.7, "momentum": 0.5, "centered": True}],
    "Adam": [{"amsgrad": True}, {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}],
    "AdamW": [{"amsgrad": True, "weight_decay": 0.1}],
    "Adamax": [{"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}],
    "Nadam": [{"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}],
    "Adadelta": [{"rho": 0.8, "epsilon": 1e-4}],
    "Ftrl": [
        {"l1_regularization_strength": 0.01, "l2_regularization_strength": 0.02, "beta": 0.1},
        {"l2_shrinkage_regularization_strength": 0.03, "learning_rate_power": -0.7, "initial_accumulator_value": 0.2},
    ],
}
FOR_ALL: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.1},
    {"clipnorm": 0.3},
    {"clipvalue": 0.1},
    {"global_clipnorm": 0.5},
    {"gradient_accumulation_steps": 2},
    {"use_ema": True},
    {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 2},
    {"loss_scale_factor": 8.0},
]


def schedule(kind: str, *positional: Any, **arguments: Any) -> Part:
    names = list(inspect.signature(getattr(keras.optimizers.schedules, kind)).parameters)
    return Part(kind, {**dict(zip(names, positional, strict=False)), **arguments}, "optimizers.schedules")


SCHEDULES = [
    schedule("ExponentialDecay", 0.1, 2, 0.5),
    schedule("ExponentialDecay", 0.1, 2, 0.5, staircase=True),
    schedule("InverseTimeDecay", 0.1, 2, 0.5),
    schedule("InverseTimeDecay", 0.1, 2, 0.5, staircase=True),
    schedule("PiecewiseConstantDecay", [1, 3], [0.1, 0.05, 0.2]),
    schedule("PolynomialDecay", 0.1, 3, power=2.0),
    schedule("PolynomialDecay", 0.1, 3, end_learning_rate=0.02, cycle=True),
    schedule("CosineDecay", 0.1, 4, alpha=0.1),
    schedule("CosineDecay", 0.0, 4, warmup_target=0.1, warmup_steps=3),
    schedule("CosineDecayRestarts", 0.1, 3, m_mul=0.8, alpha=0.01),
]
OPTIMIZERS = [
    Part(kind, {"learning_rate": RATES.get(kind, 0.02), **options}, "optimizers")
    for kind, own in OPTIONS.items()
    for options in FOR_ALL + own
] + [Part(kind, {"learning_rate": part}, "optimizers") for kind in ("SGD", "Adam") for part in SCHEDULES]


def test_every_optimizer_and_schedule_has_a_case():
    assert public_classes("optimizers") - {"Optimizer"} == {part.kind for part in OPTIMIZERS}
    assert public_classes("optimizers.schedules") - {"LearningRateSchedule"} == {part.kind for part in SCHEDULES}


def small_model(k: Any, part: Part) -> Any:
    model = k.Sequential(
        [
            k.layers.Input((5,)),
            k.layers.Dense(
                4, activation="tanh", kernel_regularizer=L2.make(k), kernel_constraint=LIMITED.make(k), name="a"
            ),
            k.layers.BatchNormalization(name="b"),
            k.layers.Dense(3, name="c"),
        ],
        name="small",
    )
    model.compile(part.make(k), "mse")
    return model


@functools.cache
def rows(seed: int = 0) -> list[tuple]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.normal(size=(BATCH, n)).astype("float32") for n in (5, 3)) for _ in range(STEPS)]


@functools.cache
def optimizer_with_keras(number: int) -> tuple[Run, Any]:
    model = small_model(keras, OPTIMIZERS[number])
    run = train(model, first_weights(model), rows())
    return run, (float(model.optimizer.learning_rate), int(model.optimizer.iterations))


@pytest.mark.parametrize("number", range(len(OPTIMIZERS)), ids=map(str, OPTIMIZERS))
def test_optimizer(number, active_backend):
    theirs, (rate, iterations) = optimizer_with_keras(number)
    model = small_model(dl, OPTIMIZERS[number])
    compare(train(model, theirs.start, rows()), theirs)
    assert model.optimizer.learning_rate == pytest.approx(rate, rel=1e-5)
    assert model.optimizer.iterations == iterations


@pytest.mark.parametrize("part", OPTIMIZERS + SCHEDULES, ids=str)
def test_config_of_an_optimizer(part):
    check_config(part.make(dl), part.make(keras))


# ---- losses and metrics ------------------------------------------------------------------------------------------

CLASSES = 4


def targets(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Labels for predictions [..., CLASSES] of that shape."""
    labels = rng.integers(0, CLASSES, shape[:-1])
    return {
        "real": lambda: rng.normal(size=shape),
        "large": lambda: rng.uniform(1, 3, shape),
        "shares": lambda: rng.dirichlet(np.ones(CLASSES), shape[:-1]),
        "signs": lambda: rng.integers(0, 2, shape),
        "one hot": lambda: np.eye(CLASSES)[labels],
        "labels": lambda: labels,
    }[kind]().astype("int32" if kind == "labels" else "float32")


def loss(kind: str, activation: str, labels: str, **arguments: Any) -> tuple[Part, str, str]:
    return Part(kind, arguments, "losses"), activation, labels


# (loss, activation of the outputs, what the labels are)
LOSSES = [
    loss("MeanSquaredError", "linear", "real"),
    loss("MeanAbsoluteError", "linear", "real"),
    loss("MeanAbsolutePercentageError", "linear", "large"),
    loss("MeanSquaredLogarithmicError", "softplus", "shares"),
    loss("CosineSimilarity", "linear", "real"),
    loss("Huber", "linear", "real"),
    loss("Huber", "linear", "real", delta=0.3),
    loss("LogCosh", "linear", "real"),
    loss("KLDivergence", "softmax", "shares"),
    loss("Poisson", "softplus", "shares"),
    loss("Hinge", "tanh", "signs"),
    loss("SquaredHinge", "linear", "signs"),
    loss("CategoricalHinge", "linear", "one hot"),
    loss("BinaryCrossentropy", "sigmoid", "signs"),
    loss("BinaryCrossentropy", "hard_sigmoid", "signs", label_smoothing=0.2),
    loss("BinaryCrossentropy", "linear", "signs", from_logits=True, label_smoothing=0.1),
    loss("BinaryCrossentropy", "softmax", "shares"),
    loss("CategoricalCrossentropy", "softmax", "one hot"),
    loss("CategoricalCrossentropy", "softplus", "shares", label_smoothing=0.2),
    loss("CategoricalCrossentropy", "linear", "one hot", from_logits=True, label_smoothing=0.1),
    loss("SparseCategoricalCrossentropy", "softmax", "labels"),
    loss("SparseCategoricalCrossentropy", "sigmoid", "labels"),
    loss("SparseCategoricalCrossentropy", "linear", "labels", from_logits=True),
    loss("SparseCategoricalCrossentropy", "linear", "labels", from_logits=True, ignore_class=2),
    loss("SparseCategoricalCrossentropy", "softmax", "labels", ignore_class=0),
]
# (reduction, whether the data are sequences with masks, what is weighted)
WAYS = [
    ("sum_over_batch_size", False, None),
    ("sum", False, "samples"),
    ("mean", False, "samples"),
    ("mean_with_sample_weight", False, "samples"),
    ("sum_over_batch_size", False, "classes"),
    ("sum_over_batch_size", True, None),
    ("sum", True, None),
    ("sum_over_batch_size", True, "steps"),
    ("mean_with_sample_weight", True, "steps"),
]


def test_every_loss_has_a_case():
    assert public_classes("losses") - {"Loss"} == {part.kind for part, *_ in LOSSES}


def classifier(k: Any, activation: str, masked: bool, rate: float, **compiled: Any) -> Any:
    """A dense layer on rows, or on the steps of sequences of which some are masked."""
    data = MASKED if masked else ROW
    chain = [k.layers.Input(data.shape)]
    if masked:
        chain.append(k.layers.Masking(name="masking"))
    model = k.Sequential([*chain, k.layers.Dense(CLASSES, activation=activation, name="dense")], name="small")
    model.compile(k.optimizers.SGD(rate), **compiled)
    return model


def labelled(labels: str, masked: bool, weighted: str | None) -> list[tuple]:
    """Batches (x, y) or (x, y, sample_weight)."""
    rng = np.random.default_rng(2)
    data, batches = MASKED if masked else ROW, []
    for _ in range(STEPS):
        x = data.draw(rng)
        batch = x, targets(labels, (*x.shape[:-1], CLASSES), rng)
        if weighted in ("samples", "steps"):
            shape = x.shape[:1] if weighted == "samples" else x.shape[:-1]
            batch = (*batch, rng.uniform(0.2, 2.0, shape).astype("float32"))
        batches.append(batch)
    return batches


def run_loss(k: Any, number: int, way: tuple, start: list[np.ndarray] | None = None) -> Run:
    part, activation, labels = LOSSES[number]
    reduction, masked, weighted = way
    part = Part(part.kind, {**part.arguments, "reduction": reduction}, "losses")
    model = classifier(k, activation, masked, 0.02, loss=part.make(k))
    extra = {"class_weight": {0: 0.5, 1: 1.0, 2: 2.0, 3: 0.7}} if weighted == "classes" else {}
    return train(model, start or first_weights(model), labelled(labels, masked, weighted), **extra)


with_keras = functools.cache(functools.partial(run_loss, keras))


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("number", range(len(LOSSES)), ids=[f"{part}-{activation}" for part, activation, _ in LOSSES])
def test_loss(number, way, active_backend):
    theirs = with_keras(number, way)
    compare(run_loss(dl, number, way, theirs.start), theirs)


@pytest.mark.parametrize("part", [part for part, *_ in LOSSES], ids=str)
def test_config_of_a_loss(part):
    check_config(part.make(dl), part.make(keras))


def metric(kind: str, activation: str, labels: str, **arguments: Any) -> tuple[Part, str, str]:
    """With a name: Keras numbers those of a class that have none, from one model to the next."""
    return Part(kind, {"name": kind.lower(), **arguments}, "metrics"), activation, labels


METRICS = [
    metric("Accuracy", "relu", "signs"),
    metric("BinaryAccuracy", "sigmoid", "signs"),
    metric("BinaryAccuracy", "sigmoid", "signs", threshold=0.3, name="mine"),
    metric("CategoricalAccuracy", "softmax", "one hot"),
    metric("SparseCategoricalAccuracy", "softmax", "labels"),
    metric("TopKCategoricalAccuracy", "softmax", "one hot", k=2),
    metric("SparseTopKCategoricalAccuracy", "softmax", "labels", k=3),
    metric("MeanSquaredError", "linear", "real"),
    metric("RootMeanSquaredError", "linear", "real"),
    metric("MeanAbsoluteError", "linear", "real"),
    metric("MeanAbsolutePercentageError", "linear", "large"),
    metric("MeanSquaredLogarithmicError", "softplus", "shares"),
    metric("LogCoshError", "linear", "real"),
    metric("CosineSimilarity", "linear", "real"),
    metric("KLDivergence", "softmax", "shares"),
    metric("Poisson", "softplus", "shares"),
    metric("Hinge", "tanh", "signs"),
    metric("SquaredHinge", "linear", "signs"),
    metric("CategoricalHinge", "linear", "one hot"),
    metric("BinaryCrossentropy", "sigmoid", "signs"),
    metric("BinaryCrossentropy", "linear", "signs", from_logits=True, label_smoothing=0.1),
    metric("CategoricalCrossentropy", "softmax", "one hot"),
    metric("CategoricalCrossentropy", "linear", "one hot", from_logits=True, label_smoothing=0.1),
    metric("SparseCategoricalCrossentropy", "softmax", "labels"),
    metric("SparseCategoricalCrossentropy", "linear", "labels", from_logits=True),
    metric("R2Score", "linear", "real"),
    metric("R2Score", "linear", "real", class_aggregation="variance_weighted_average"),
    metric("R2Score", "linear", "real", class_aggregation=None),
    metric("TruePositives", "sigmoid", "signs"),
    metric("TrueNegatives", "sigmoid", "signs", thresholds=[0.2, 0.8]),
    metric("FalsePositives", "sigmoid", "signs"),
    metric("FalseNegatives", "sigmoid", "signs"),
    metric("Precision", "sigmoid", "signs"),
    metric("Precision", "sigmoid", "signs", thresholds=[0.1, 0.5, 0.7]),
    metric("Precision", "softmax", "one hot", top_k=2),
    metric("Recall", "sigmoid", "signs"),
    metric("Recall", "softmax", "one hot", class_id=1),
    metric("AUC", "sigmoid", "signs"),
    metric("AUC", "sigmoid", "signs", curve="PR", num_thresholds=17),
    metric("AUC", "sigmoid", "signs", thresholds=[0.2, 0.4, 0.9]),
    metric("AUC", "linear", "signs", from_logits=True),
    metric("F1Score", "softmax", "one hot"),
    metric("F1Score", "softmax", "one hot", average="macro", threshold=0.3),
    metric("FBetaScore", "softmax", "one hot", beta=2.0, average="weighted"),
    metric("FBetaScore", "softmax", "one hot", beta=0.5, average="micro"),
]
# bases, what takes values rather than predictions, and what takes a function
NO_METRICS = {"Metric", "Mean", "Sum", "MeanMetricWrapper"}
ROWS_ONLY = {"R2Score", "F1Score", "FBetaScore"}  # which take predictions [N, C]
METRIC_RUNS = [
    (number, masked)
    for number, (part, *_) in enumerate(METRICS)
    for masked in (False, True)
    if not (masked and part.kind in ROWS_ONLY)
]


def test_every_metric_has_a_case():
    assert public_classes("metrics") - NO_METRICS == {part.kind for part, *_ in METRICS}


def run_metric(k: Any, number: int, masked: bool, start: list[np.ndarray] | None = None) -> Run:
    part, activation, labels = METRICS[number]
    sparse = k.losses.SparseCategoricalCrossentropy(from_logits=activation == "linear")
    twice = {"metrics": [part.make(k)], "weighted_metrics": [part.make(k)]}
    model = classifier(k, activation, masked, 0.1, loss=sparse if labels == "labels" else "mse", **twice)
    batches = labelled(labels, masked, "steps" if masked else "samples")
    return train(model, start or first_weights(model), batches)


metric_with_keras = functools.cache(functools.partial(run_metric, keras))


@pytest.mark.parametrize(
    ("number", "masked"),
    METRIC_RUNS,
    ids=[f"{METRICS[n][0]}-{'masked' if masked else ''}" for n, masked in METRIC_RUNS],
)
def test_metric(number, masked, active_backend):
    theirs = metric_with_keras(number, masked)
    compare(run_metric(dl, number, masked, theirs.start), theirs)


@pytest.mark.parametrize("part", [part for part, *_ in METRICS], ids=str)
def test_config_of_a_metric(part):
    check_config(part.make(dl), part.make(keras))
