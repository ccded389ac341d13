"""Every layer against Keras's of the same name and arguments: weights in the same order and shapes, the same outputs,
the same gradients, the same defaults."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")
if keras.backend.backend() != "torch":
    pytest.skip("Keras runs on another backend than torch here", allow_module_level=True)

import dlcore as dl  # noqa: E402
from dlcore import layers  # noqa: E402
from dlcore.symbolic import flatten  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

IMAGE = (2, 9, 8, 4)
SEQUENCE = (3, 6, 4)
RAGGED = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 1, 0]], bool)

# (class, arguments, input shape or shapes, keyword arguments of the call)
CASES = [
    ("Dense", {"units": 5}, (3, 4), {}),
    ("Dense", {"units": 5, "activation": "relu", "use_bias": False}, (2, 3, 4), {}),
    ("Dense", {"units": 5, "activation": "softmax"}, (2, 3, 4), {}),
    ("Dense", {"units": 5, "activation": "gelu"}, (3, 4), {}),
    ("Activation", {"activation": "silu"}, (3, 4), {}),
    ("Activation", {"activation": "log_softmax"}, (3, 4), {}),
    ("Activation", {"activation": "mish"}, (3, 4), {}),
    ("Activation", {"activation": "hard_silu"}, (3, 4), {}),
    ("Activation", {"activation": "leaky_relu"}, (3, 4), {}),
    ("ReLU", {}, (3, 4), {}),
    ("ReLU", {"max_value": 0.4, "negative_slope": 0.1, "threshold": 0.2}, (3, 4), {}),
    ("ReLU", {"max_value": 6}, (3, 4), {}),
    ("LeakyReLU", {}, (3, 4), {}),
    ("PReLU", {"shared_axes": [1, 2]}, IMAGE, {}),
    ("PReLU", {}, (3, 4), {}),
    ("ELU", {"alpha": 0.7}, (3, 4), {}),
    ("Softmax", {}, (3, 4), {}),
    ("Softmax", {"axis": 1}, (2, 3, 4), {}),
    ("Conv2D", {"filters": 6, "kernel_size": 3}, IMAGE, {}),
    ("Conv2D", {"filters": 6, "kernel_size": (3, 2), "activation": "tanh", "use_bias": False}, IMAGE, {}),
    ("Conv2D", {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same"}, IMAGE, {}),
    ("Conv2D", {"filters": 6, "kernel_size": 4, "strides": (2, 3), "padding": "same"}, IMAGE, {}),
    ("Conv2D", {"filters": 6, "kernel_size": 3, "strides": (3, 2), "padding": "valid"}, IMAGE, {}),
    ("Conv2D", {"filters": 6, "kernel_size": 3, "dilation_rate": 2, "padding": "same"}, IMAGE, {}),
    ("Conv2D", {"filters": 6, "kernel_size": 3, "groups": 2}, IMAGE, {}),
    ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2}, IMAGE, {}),
    ("DepthwiseConv2D", {"kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"}, IMAGE, {}),
    ("SeparableConv2D", {"filters": 5, "kernel_size": 3, "depth_multiplier": 2, "padding": "same"}, IMAGE, {}),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}, IMAGE, {}),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2}, IMAGE, {}),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 2, "strides": 3, "activation": "relu"}, IMAGE, {}),
    ("Conv1D", {"filters": 6, "kernel_size": 3}, SEQUENCE, {}),
    ("Conv1D", {"filters": 6, "kernel_size": 2, "activation": "tanh", "use_bias": False}, SEQUENCE, {}),
    ("Conv1D", {"filters": 6, "kernel_size": 4, "strides": 3, "padding": "same"}, SEQUENCE, {}),
    ("Conv1D", {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "causal"}, SEQUENCE, {}),
    ("Conv1D", {"filters": 6, "kernel_size": 3, "dilation_rate": 2, "padding": "causal"}, SEQUENCE, {}),
    ("Conv1D", {"filters": 6, "kernel_size": 3, "dilation_rate": 2, "padding": "same"}, SEQUENCE, {}),
    ("Conv1D", {"filters": 6, "kernel_size": 3, "groups": 2, "activation": "gelu"}, SEQUENCE, {}),
    ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, SEQUENCE, {}),
    ("DepthwiseConv1D", {"kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"}, SEQUENCE, {}),
    ("SeparableConv1D", {"filters": 5, "kernel_size": 3, "depth_multiplier": 2, "padding": "same"}, SEQUENCE, {}),
    ("SeparableConv1D", {"filters": 5, "kernel_size": 2, "strides": 2, "activation": "relu"}, SEQUENCE, {}),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}, SEQUENCE, {}),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 3, "dilation_rate": 2}, SEQUENCE, {}),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 2, "strides": 3, "activation": "relu"}, SEQUENCE, {}),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 4, "strides": 3, "output_padding": 1}, SEQUENCE, {}),
    ("MaxPooling2D", {}, IMAGE, {}),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, IMAGE, {}),
    ("AveragePooling2D", {"pool_size": 2}, IMAGE, {}),
    ("AveragePooling2D", {"pool_size": (3, 2), "strides": 2, "padding": "same"}, IMAGE, {}),
    ("GlobalAveragePooling2D", {}, IMAGE, {}),
    ("GlobalMaxPooling2D", {"keepdims": True}, IMAGE, {}),
    ("MaxPooling1D", {}, SEQUENCE, {}),
    ("MaxPooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}, SEQUENCE, {}),
    ("AveragePooling1D", {"pool_size": 2}, SEQUENCE, {}),
    ("AveragePooling1D", {"pool_size": 4, "strides": 2, "padding": "same"}, SEQUENCE, {}),
    ("GlobalAveragePooling1D", {}, SEQUENCE, {}),
    ("GlobalAveragePooling1D", {"keepdims": True}, SEQUENCE, {}),
    ("GlobalAveragePooling1D", {}, SEQUENCE, {"mask": RAGGED}),
    ("GlobalAveragePooling1D", {"keepdims": True}, SEQUENCE, {"mask": RAGGED}),
    ("GlobalMaxPooling1D", {}, SEQUENCE, {}),
    ("GlobalMaxPooling1D", {"keepdims": True}, SEQUENCE, {}),
    ("BatchNormalization", {}, IMAGE, {"training": False}),
    ("BatchNormalization", {}, IMAGE, {"training": True}),
    ("BatchNormalization", {"momentum": 0.6, "epsilon": 1e-2, "scale": False}, (7, 3), {"training": True}),
    ("BatchNormalization", {"center": False, "axis": 1}, (7, 3, 4), {"training": True}),
    ("BatchNormalization", {}, SEQUENCE, {"training": True, "mask": RAGGED}),
    ("LayerNormalization", {}, IMAGE, {}),
    ("LayerNormalization", {"axis": [2, 3], "center": False, "epsilon": 1e-2}, IMAGE, {}),
    ("Dropout", {"rate": 0.5}, (3, 4), {"training": False}),
    ("Flatten", {}, IMAGE, {}),
    ("Reshape", {"target_shape": (-1, 8)}, IMAGE, {}),
    ("Permute", {"dims": (3, 1, 2)}, IMAGE, {}),
    ("RepeatVector", {"n": 3}, (3, 4), {}),
    ("ZeroPadding2D", {"padding": ((1, 2), (0, 3))}, IMAGE, {}),
    ("Cropping2D", {"cropping": ((1, 2), (0, 3))}, IMAGE, {}),
    ("UpSampling2D", {"size": (2, 3)}, IMAGE, {}),
    ("ZeroPadding1D", {}, SEQUENCE, {}),
    ("ZeroPadding1D", {"padding": (0, 3)}, SEQUENCE, {}),
    ("Cropping1D", {}, SEQUENCE, {}),
    ("Cropping1D", {"cropping": (2, 0)}, SEQUENCE, {}),
    ("UpSampling1D", {}, SEQUENCE, {}),
    ("UpSampling1D", {"size": 3}, SEQUENCE, {}),
    ("Rescaling", {"scale": 0.5, "offset": -1.0}, (3, 4), {}),
    ("Identity", {}, (3, 4), {}),
    ("Masking", {"mask_value": 0.0}, SEQUENCE, {}),
    ("Add", {}, [(3, 4), (3, 4), (3, 4)], {}),
    ("Add", {}, [(3, 5, 4), (3, 4)], {}),
    ("Subtract", {}, [(3, 4), (3, 1)], {}),
    ("Multiply", {}, [(3, 4), (3, 4)], {}),
    ("Average", {}, [(3, 4), (3, 4), (3, 4)], {}),
    ("Maximum", {}, [(3, 4), (3, 4)], {}),
    ("Minimum", {}, [(3, 4), (3, 4)], {}),
    ("Concatenate", {}, [(3, 4), (3, 2)], {}),
    ("Concatenate", {"axis": 1}, [(3, 4, 2), (3, 1, 2)], {}),
]
for _kind in ("SimpleRNN", "LSTM", "GRU"):
    CASES += [
        (_kind, {"units": 5}, SEQUENCE, {}),
        (_kind, {"units": 5, "return_sequences": True}, SEQUENCE, {}),
        (_kind, {"units": 5, "return_sequences": True, "return_state": True, "use_bias": False}, SEQUENCE, {}),
        (_kind, {"units": 5, "go_backwards": True, "return_sequences": True}, SEQUENCE, {}),
        (_kind, {"units": 5, "return_state": True}, SEQUENCE, {"mask": RAGGED}),
        (_kind, {"units": 5, "return_sequences": True}, SEQUENCE, {"mask": RAGGED}),
        (_kind, {"units": 5, "go_backwards": True}, SEQUENCE, {"mask": RAGGED}),
        (_kind, {"units": 5, "activation": "softsign", "return_sequences": True}, SEQUENCE, {"mask": RAGGED}),
        (_kind, {"units": 5, "activation": "elu", "return_state": True}, SEQUENCE, {}),
        (_kind, {"units": 5, "zero_output_for_mask": True, "return_sequences": True}, SEQUENCE, {"mask": RAGGED}),
    ]
CASES += [
    ("SimpleRNN", {"units": 5, "activation": "relu"}, SEQUENCE, {}),
    ("LSTM", {"units": 5, "unit_forget_bias": False, "recurrent_activation": "hard_sigmoid"}, SEQUENCE, {}),
    ("GRU", {"units": 5, "reset_after": False, "return_sequences": True}, SEQUENCE, {"mask": RAGGED}),
    ("GRU", {"units": 5, "reset_after": False, "activation": "relu"}, SEQUENCE, {}),
]


def _name(case):
    kind, arguments, _, call = case
    return "-".join([kind, *(f"{k}={v}" for k, v in arguments.items()), *call])


def _random(shape, rng):
    if isinstance(shape, list):
        return [_random(s, rng) for s in shape]
    return rng.normal(size=shape).astype("float32")


def _values(shapes, rng):
    """Weights that differ from their initial values; positive, as variances must be."""
    return [rng.uniform(0.1, 0.9, shape).astype("float32") for shape in shapes]


def _tensors(structure):
    return [part for part in flatten(structure) if part is not None]


def _compare(ours, theirs, x, rng, **call):
    theirs_x = (
        [torch.tensor(a, requires_grad=True) for a in x]
        if isinstance(x, list)
        else torch.tensor(x, requires_grad=x.dtype.kind == "f")
    )
    theirs(theirs_x, **call)
    ours_x = (
        [dl.Tensor(a, requires_grad=True) for a in x]
        if isinstance(x, list)
        else dl.Tensor(x, requires_grad=x.dtype.kind == "f")
    )
    ours(ours_x, **call)
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    assert len(ours.trainable_weights) == len(theirs.trainable_weights)
    values = _values([w.shape for w in ours.get_weights()], rng)
    ours.set_weights(values)
    theirs.set_weights(values)

    expected, got = _tensors(theirs(theirs_x, **call)), _tensors(ours(ours_x, **call))
    assert [tuple(t.shape) for t in got] == [tuple(t.shape) for t in expected]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=2e-5, atol=2e-6)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)  # running statistics moved alike

    if not got[0].requires_grad:
        return
    factors = [rng.normal(size=t.shape).astype("float32") for t in got]
    sum((t * r).sum() for t, r in zip(got, factors, strict=True)).backward()
    sum((t * torch.tensor(r)).sum() for t, r in zip(expected, factors, strict=True)).backward()
    for a, b in zip(_tensors(ours_x), _tensors(theirs_x), strict=True):
        if b.grad is not None:
            np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=2e-4, atol=1e-5)
    for a, b in zip(ours.trainable_weights, theirs.trainable_weights, strict=True):
        np.testing.assert_allclose(a.grad, b.value.grad.numpy(), rtol=2e-4, atol=2e-5, err_msg=a.name)


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_layer(case):
    kind, arguments, shape, call = case
    rng = np.random.default_rng(0)
    ours, theirs = getattr(layers, kind)(**arguments), getattr(keras.layers, kind)(**arguments)
    x = _random(shape, rng)
    _compare(ours, theirs, x, rng, **call)
    if not call:
        batchless = [(None, *s[1:]) for s in shape] if isinstance(shape, list) else (None, *shape[1:])
        expected = theirs.compute_output_shape(batchless)
        assert str(ours.compute_output_shape(batchless)).replace("[", "(").replace("]", ")") == str(expected).replace(
            "[", "("
        ).replace("]", ")")


@pytest.mark.parametrize("kind", sorted({case[0] for case in CASES}))
def test_defaults(kind):
    """Arguments that are not given are what Keras takes for them."""
    arguments = next(case[1] for case in CASES if case[0] == kind)
    required = {k: v for k, v in arguments.items() if k not in ("activation", "use_bias")}
    if kind == "Activation":
        required = {"activation": "relu"}
    ours, theirs = getattr(layers, kind)(**required), getattr(keras.layers, kind)(**required)
    mine, keras_config = ours.get_config(), theirs.get_config()
    simple = (int, float, str, bool, type(None), list, tuple)
    for key, value in keras_config.items():
        if key in ("name", "dtype") or key.endswith("_constraint"):
            continue
        if isinstance(value, dict) and "class_name" in value:
            if value["class_name"] in ("function",):
                continue
            assert mine[key]["class_name"] == value["class_name"], key
        elif isinstance(value, simple) and key in mine:
            as_list = list(value) if isinstance(value, tuple) else value
            own = list(mine[key]) if isinstance(mine[key], tuple) else mine[key]
            assert str(own).replace("(", "[").replace(")", "]") == str(as_list).replace("(", "[").replace(")", "]"), key


@pytest.mark.parametrize("arguments", [{}, {"mask_zero": True}])
def test_embedding(arguments):
    rng = np.random.default_rng(0)
    ours, theirs = layers.Embedding(7, 4, **arguments), keras.layers.Embedding(7, 4, **arguments)
    x = rng.integers(0, 7, (3, 5))
    _compare(ours, theirs, x, rng)
    mask = ours(x).mask
    if arguments:
        np.testing.assert_array_equal(np.asarray(mask), x != 0)
    else:
        assert mask is None


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("mask", [None, RAGGED], ids=["", "mask"])
@pytest.mark.parametrize("sequences", [False, True])
def test_bidirectional(kind, mode, mask, sequences):
    rng = np.random.default_rng(0)

    def make(module):
        inner = getattr(module, kind)(3, return_sequences=sequences, return_state=mode == "concat")
        return module.Bidirectional(inner, merge_mode=mode)

    call = {} if mask is None else {"mask": mask}
    _compare(make(layers), make(keras.layers), _random(SEQUENCE, rng), rng, **call)


def test_time_distributed():
    rng = np.random.default_rng(0)
    ours, theirs = (m.TimeDistributed(m.Conv2D(3, 2)) for m in (layers, keras.layers))
    _compare(ours, theirs, _random((2, 3, 5, 4, 2), rng), rng)


@pytest.mark.parametrize("mask", [None, RAGGED], ids=["", "mask"])
def test_stacked_cells(mask):
    rng = np.random.default_rng(0)

    def make(m):
        return m.RNN([m.LSTMCell(3), m.GRUCell(4, reset_after=False), m.SimpleRNNCell(2)], return_sequences=True)

    _compare(make(layers), make(keras.layers), _random(SEQUENCE, rng), rng, **({} if mask is None else {"mask": mask}))


@pytest.mark.parametrize(("kind", "states"), [("SimpleRNN", 1), ("LSTM", 2), ("GRU", 1)])
def test_initial_state(kind, states):
    rng = np.random.default_rng(0)
    x, state = _random(SEQUENCE, rng), [_random((3, 5), rng) for _ in range(states)]
    ours, theirs = getattr(layers, kind)(5), getattr(keras.layers, kind)(5)
    ours(x), theirs(x)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(
        ours(x, initial_state=state).numpy(),
        theirs(x, initial_state=[torch.tensor(s) for s in state]).detach().numpy(),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_stateful(kind):
    rng = np.random.default_rng(0)
    ours, theirs = getattr(layers, kind)(5, stateful=True), getattr(keras.layers, kind)(5, stateful=True)
    x = _random(SEQUENCE, rng)
    ours(x), theirs(torch.tensor(x))
    trained = [w.numpy() for w in ours.weights]
    for variable, value in zip(theirs.trainable_weights, trained, strict=True):
        variable.assign(value)
    ours.reset_state(), theirs.reset_state()
    for _ in range(3):
        np.testing.assert_allclose(ours(x).numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_masks_travel():
    """From an embedding through layers that keep the mask to a recurrent one."""
    rng = np.random.default_rng(0)
    ids = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0]])

    def make(m):
        return [
            m.Embedding(7, 4, mask_zero=True),
            m.Dropout(0.5),
            m.Dense(3),
            m.LSTM(4, return_sequences=True),
            m.GRU(2),
        ]

    outputs = []
    weights = None
    for module, convert in ((layers, lambda a: a), (keras.layers, torch.tensor)):
        chain = make(module)
        x = convert(ids)
        for layer in chain:
            x = layer(x)
        values = weights or [_values([w.shape for w in layer.get_weights()], rng) for layer in chain]
        weights = values
        x = convert(ids)
        for layer, value in zip(chain, values, strict=True):
            layer.set_weights(value)
            x = layer(x)
        outputs.append(np.asarray(x.detach().numpy() if hasattr(x, "detach") else x))
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["zeros", "ones", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal",
     "random_normal", "random_uniform", "truncated_normal"],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(200, 300), (3, 3, 40, 60), (500,)])
def test_initializer_spread(name, shape):
    dl.set_random_seed(1)
    ours = dl.initializers.get(name)(shape)
    keras.utils.set_random_seed(1)
    theirs = keras.initializers.get(name)(shape).detach().numpy()
    assert ours.dtype == np.float32
    assert ours.shape == shape
    np.testing.assert_allclose(ours.std(), theirs.std(), rtol=0.1)
    np.testing.assert_allclose(ours.mean(), theirs.mean(), atol=0.1 * ours.std() + 1e-12)
    if "uniform" in name and ours.size > 1000:
        np.testing.assert_allclose(abs(ours).max(), abs(theirs).max(), rtol=0.05)


def test_model_weight_order():
    """Branches and shared layers: `get_weights` lists them as Keras does."""

    def make(module, model, asarray):
        a, b = module.Input((4,), name="a"), module.Input((3,), name="b")
        shared = module.Dense(5, name="shared")
        left = module.Dense(6, name="left")(shared(module.Dense(3, name="first")(a)))
        right = module.Dense(2, name="right")(shared(b))
        out = module.Dense(1, name="out")(module.Concatenate(name="join")([right, left]))
        return model([a, b], [out, right])

    ours, theirs = make(layers, dl.Model, None), make(keras.layers, keras.Model, None)
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
    theirs.set_weights(ours.get_weights())
    rng = np.random.default_rng(0)
    x = [_random((2, 4), rng), _random((2, 3), rng)]
    for a, b in zip(ours(x), theirs([torch.tensor(v) for v in x]), strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)
