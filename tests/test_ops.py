"""dlcore.ops beside keras.ops: the same names give the same numbers, gradients and graphs."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
from oracle import keras, torch

import dlcore as dl
from dlcore import functional as F
from dlcore import ops
from dlcore.absent import ABSENT

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
POSITIVE = np.abs(A) + 0.5
CUBE = RNG.normal(size=(2, 3, 4))
IMAGES, SERIES = RNG.normal(size=(2, 7, 6, 3)), RNG.normal(size=(2, 9, 3))
ROWS = np.exp(A) / np.exp(A).sum(-1, keepdims=True)
BOOLS = A > 0
SPOILT = np.array([1.0, np.nan, np.inf, -np.inf, 0.0])


def each(names, *arguments):
    return [(name, arguments) for name in names.split()]


# name, arguments: the first is differentiated where it is real
CASES = [
    *each(
        "absolute negative abs exp sin cos tan tanh sinh cosh square sign sigmoid relu relu6 elu selu silu swish gelu "
        "softplus softsign leaky_relu log_sigmoid log_softmax softmax hard_sigmoid hard_silu hard_swish hard_tanh "
        "expm1 isnan isinf isfinite ravel transpose flip squeeze sum mean max min amax amin var std logsumexp norm "
        "argmax argmin any all count_nonzero logical_not cumsum average normalize ones_like zeros_like shape ndim size",
        A,
    ),
    *each("log log1p log2 log10 sqrt rsqrt reciprocal", POSITIVE),
    *each(
        "add subtract multiply divide true_divide maximum minimum logaddexp equal not_equal greater greater_equal less "
        "less_equal logical_and logical_or logical_xor outer", A, B
    ),
    *each("sum mean max min var std logsumexp any all argmax argmin cumsum", CUBE, 1),
    *each("sum mean max min var std any all", CUBE, (0, 2), True),
    ("norm", (A, 1, 1)), ("norm", (A, np.inf, 0)), ("norm", (CUBE, 2, -1, True)), ("norm", (A, "fro")),
    ("moments", (CUBE, (0, 1))), ("average", (A, 1, np.abs(B))), ("argmax", (CUBE, 1, True)), ("argmin", (CUBE, -1)),
    ("isnan", (SPOILT,)), ("isinf", (SPOILT,)), ("isfinite", (SPOILT,)), ("all", (BOOLS,)), ("any", (BOOLS, 0)),
    ("power", (POSITIVE, B)), ("clip", (A, -0.3, 0.4)), ("where", (BOOLS, A, B)), ("cast", (A, "int32")),
    ("reshape", (CUBE, (4, -1))), ("expand_dims", (A, 1)), ("squeeze", (A[None], 0)), ("swapaxes", (CUBE, 0, 2)),
    ("moveaxis", (CUBE, 0, -1)), ("transpose", (CUBE, (2, 0, 1))), ("roll", (A, 1, 1)), ("roll", (A, -5)),
    ("tile", (A, (2, 3))), ("tile", (A[0], 2)), ("tile", (A, (2, 1, 3))), ("repeat", (A, 2, 1)), ("repeat", (A, 2)),
    ("concatenate", ([A, B],)), ("concatenate", ([A, B], 1)), ("stack", ([A, B], 1)), ("vstack", ([A, B[0]],)),
    ("hstack", ([A, B],)), ("hstack", ([A[0], B[0]],)), ("split", (A, 2, 1)), ("split", (A, [1, 3], -1)),
    ("unstack", (A, None, 1)), ("slice", (CUBE, (0, 1, 2), (2, 2, 2))), ("broadcast_to", (A[:1], (3, 4))),
    ("pad", (A, ((1, 0), (2, 1)))), ("flip", (CUBE, 1)), ("tril", (A,)), ("triu", (A, 1)),
    ("take", (A, [0, 2], 1)), ("take", (CUBE, np.array([[1, -1], [0, 2]]), 1)), ("take", (A, np.array([5, 0]))),
    ("take_along_axis", (A, np.array([[0], [3], [-1]]), 1)), ("take_along_axis", (CUBE, np.ones((1, 3, 4), int), 0)),
    ("matmul", (A, B.T)), ("matmul", (CUBE, B.T)), ("dot", (A, B.T)), ("dot", (A[0], B[0])),
    ("tensordot", (CUBE, B, ([1, 2], [0, 1]))), ("tensordot", (CUBE, B.T, 1)),
    ("one_hot", (np.array([0.0, 2.0]), 3)), ("one_hot", (np.array([[0, 2]]), 3, 0)),
    ("binary_crossentropy", (ROWS, 1 - ROWS)), ("binary_crossentropy", (ROWS, A, True)),
    ("categorical_crossentropy", (ROWS, ROWS[[1, 2, 0]])), ("categorical_crossentropy", (ROWS, A, True)),
    ("sparse_categorical_crossentropy", (np.array([0, 3, 1]), ROWS)),
    ("sparse_categorical_crossentropy", (np.array([0, 3, 1]), A, True)),
    ("batch_normalization", (IMAGES, A[0, :3], POSITIVE[0, :3], -1, B[0, :3], B[1, :3])),
    ("conv", (IMAGES, RNG.normal(size=(3, 2, 3, 5)), 2, "same")),
    ("conv", (SERIES, RNG.normal(size=(3, 3, 4)), 1, "valid", None, 2)),
    ("conv", (SERIES, RNG.normal(size=(3, 1, 3)), (2,), "same")),
    ("max_pool", (IMAGES, 2)), ("max_pool", (SERIES, 3, 2, "same")), ("average_pool", (IMAGES, (3, 2), 1)),
    ("average_pool", (SERIES, 2)),
    ("zeros", ((2, 3),)), ("ones", (4,)), ("full", ((2,), 7.0)), ("eye", (3, 4, 1)), ("identity", (3,)),
    ("arange", (5,)), ("arange", (1.0, 2.0, 0.25)), ("linspace", (0.0, 1.0, 5)), ("full_like", (A, 2.0)),
]  # fmt: skip


def named(case):
    return case[0]


def plain(result):
    """A result of either library as nested lists of host arrays."""
    if isinstance(result, (list, tuple)) and not all(isinstance(n, int) for n in result):
        return [plain(part) for part in result]
    return np.asarray(result.detach() if hasattr(result, "detach") and torch.is_tensor(result) else result)


def theirs_of(name, arguments):
    """Keras's result for the same numbers, in their precision."""
    return getattr(keras.ops, name)(
        *(torch.tensor(a) if getattr(a, "dtype", None) == np.float64 else a for a in arguments)
    )


def check(ours, theirs):
    ours, theirs = plain(ours), plain(theirs)
    assert isinstance(ours, list) == isinstance(theirs, list)
    for a, b in zip(*((x if isinstance(x, list) else [x]) for x in (ours, theirs)), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(
            a.astype(np.float64), b.astype(np.float64), rtol=2e-6, atol=1e-7
        )  # Keras multiplies matrices in float32


@pytest.mark.parametrize("case", CASES, ids=named)
def test_arrays_as_keras_has_them(active_backend, case):
    name, arguments = case
    check(getattr(ops, name)(*arguments), theirs_of(name, arguments))


@pytest.mark.parametrize(
    "case", [c for c in CASES if getattr(c[1][0], "dtype", None) == np.float64 or "sparse" in c[0]], ids=named
)
def test_gradients_as_keras_has_them(active_backend, case):
    name, arguments = case
    place = 1 if name.endswith("crossentropy") else 0  # targets have no gradient
    before, first, rest = arguments[:place], arguments[place], arguments[place + 1 :]
    mine, theirs = dl.Tensor(first, requires_grad=True), torch.tensor(first, requires_grad=True)
    ours, reference = getattr(ops, name)(*before, mine, *rest), theirs_of(name, (*before, theirs, *rest))
    check(ours, reference)
    ours, reference = (list(y) if isinstance(y, (list, tuple)) else [y] for y in (ours, reference))
    if not (isinstance(ours[0], dl.Tensor) and ours[0].requires_grad and reference[0].requires_grad):
        return  # a comparison, a shape
    if not np.isfinite(first).all():
        return
    weights = [RNG.normal(size=y.shape) for y in ours]
    sum((y * w).sum() for y, w in zip(ours, weights, strict=True)).backward()
    sum((y * torch.tensor(w)).sum() for y, w in zip(reference, weights, strict=True)).backward()
    np.testing.assert_allclose(dl.Tensor(mine.grad).numpy(), theirs.grad.numpy(), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["var", "softmax", "logsumexp", "std", "gelu", "log_sigmoid", "normalize"])
def test_symbolic_tensors_make_graphs(name):
    entry = dl.Input((4,))
    model = dl.Model(
        entry, getattr(ops, name)(entry, -1) if name in ("var", "std", "logsumexp") else getattr(ops, name)(entry)
    )
    x = A.astype("float32")
    expected = getattr(ops, name)(x, -1) if name in ("var", "std", "logsumexp") else getattr(ops, name)(x)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-6)
    twin = dl.models.clone_model(model)
    np.testing.assert_allclose(twin.predict(x, verbose=0), expected, rtol=1e-6)


def test_parts_of_a_graph():
    entry = dl.Input((4,))
    first, second = ops.split(entry, 2, axis=1)
    model = dl.Model(entry, ops.concatenate([ops.tile(second, (1, 2)), ops.repeat(first, 2, axis=1)], axis=-1))
    x = A.astype("float32")
    np.testing.assert_array_equal(
        model.predict(x, verbose=0), np.concatenate([np.tile(x[:, 2:], 2), x[:, :2].repeat(2, 1)], -1)
    )


def test_arrays_become_tensors_within_a_call():
    class Halved(dl.layers.Layer):
        def call(self, x, mask=None):
            self.kind = type(ops.cast(np.ones(3, bool), "float32"))
            return x

    layer = Halved()
    layer(np.ones((2, 3), "float32"))
    assert layer.kind is dl.Tensor
    assert type(ops.cast(np.ones(3, bool), "float32")) is np.ndarray


def test_no_gradient_through_stop_gradient():
    x = dl.Tensor([2.0], requires_grad=True)
    (x * ops.stop_gradient(x)).sum().backward()
    np.testing.assert_array_equal(x.grad, [2.0])
    entry = dl.Input((2,))
    assert dl.Model(entry, ops.stop_gradient(entry)).predict(np.ones((1, 2)), verbose=0).sum() == 2


def test_dot_and_pad_as_numpy_has_them():  # where Keras's own backends differ
    np.testing.assert_allclose(ops.dot(A, CUBE.transpose(0, 2, 1)), np.dot(A, CUBE.transpose(0, 2, 1)))
    np.testing.assert_array_equal(ops.pad(A, 1), np.pad(A, 1))


def test_conversions():
    x = ops.convert_to_tensor([1, 2], "int32")
    assert isinstance(x, dl.Tensor)
    assert ops.is_tensor(x)
    assert not ops.is_tensor(np.ones(2))
    assert type(ops.convert_to_numpy(x)) is np.ndarray
    assert ops.shape(dl.Input((3,))) == (None, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.where(BOOLS), "x1 and x2 must both be given"),
        (lambda: ops.split(A, 3, 1), "no 3 parts of one length"),
        (lambda: ops.norm(A, 1), "ord must be None, 1, 2 or infinity for vectors"),
        (lambda: ops.pad(A, 1, "reflect"), "mode must be 'constant', got 'reflect'"),
        (lambda: ops.tensordot(A, B, 1), "differ in length"),
        (lambda: ops.conv(IMAGES, np.ones((1, 1, 3, 1)), data_format="channels_first"), "must be 'channels_last'"),
        (lambda: ops.max_pool(A, 2), r"must have shape \[N, H, W, C\] or \[N, T, C\], got \(3, 4\)"),
        (lambda: ops.take(A, [4], 1), "must lie in 0 … 3"),
        (lambda: ops.sum(A, 3), "axis 3 is out of range"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_function_of_functional_is_there_too():
    assert set(F.__all__) <= set(ops.__all__)
    assert ops.conv2d.__doc__ == F.conv2d.__doc__
    with pytest.raises(AttributeError, match="did you mean 'conv2d'"):
        ops.conv2  # noqa: B018


@pytest.mark.parametrize("name", sorted(set(ops.__all__) & set(dir(keras.ops))))
def test_arguments_in_keras_s_order(name):
    ours, theirs = (list(inspect.signature(getattr(m, name)).parameters.values()) for m in (ops, keras.ops))
    required = [p for p in theirs if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    assert len([p for p in ours if p.default is p.empty]) == len(required)
    known = {p.name for p in theirs}
    optional = [p.name for p in ours if p.default is not p.empty and p.name in known]
    assert optional == [p.name for p in theirs if p.name in optional]
    assert not set(ABSENT["ops"]) & {name}


def test_recorded_steps_repeat_a_layer_of_ops(active_backend):
    class Mixed(dl.layers.Layer):
        def build(self, input_shape):
            self.table = self.add_weight(shape=(5, input_shape[-1]), name="table")

        def call(self, x):
            rows = ops.take(self.table, ops.argmax(x, axis=-1) - 2, axis=0)
            summed = ops.cumsum(ops.tile(x, (1, 2)), axis=1)[:, :3] + ops.tril(ops.matmul(ops.transpose(x), x))[0]
            return ops.where(ops.logical_and(x > 0, ops.isfinite(x)), summed, ops.stop_gradient(rows)) + rows

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)).astype("float32"), rng.normal(size=(40, 3)).astype("float32")
    weights = []
    for eagerly in (True, False):
        dl.utils.set_random_seed(0)
        model = dl.Sequential([dl.Input((3,)), Mixed(), dl.layers.Dense(3)])
        model.compile("adam", "mse", run_eagerly=eagerly)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a step that cannot be repeated warns
            model.fit(x, y, batch_size=8, epochs=3, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
