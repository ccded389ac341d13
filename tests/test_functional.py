"""Values of the ops against NumPy, PyTorch and Keras, and the error each bad argument gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dlcore import functional as F
from dlcore.backends import use_backend
from dlcore.tensor import Tensor, Variable


@pytest.fixture(autouse=True)
def numpy_engine(request: pytest.FixtureRequest):
    if "active_backend" in request.fixturenames:
        yield
    else:
        with use_backend("numpy"):
            yield


def normal(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def close(result: Tensor, expected: Any, tolerance: float = 1e-5) -> None:
    expected = np.asarray(expected)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result.numpy(), expected, rtol=tolerance, atol=tolerance)


# ---- arithmetic


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (F.add, np.add), (F.subtract, np.subtract), (F.multiply, np.multiply), (F.divide, np.divide),
        (F.power, np.power), (F.maximum, np.maximum), (F.minimum, np.minimum), (F.equal, np.equal),
        (F.not_equal, np.not_equal), (F.less, np.less), (F.less_equal, np.less_equal), (F.greater, np.greater),
        (F.greater_equal, np.greater_equal),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("a", "b"),
    [((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 1, 4), (3, 1)), ((), (2, 3)), ((), ()), ((0, 3), (1, 3)), ((2, 0), (2, 1))],
)
def test_binary_like_numpy(active_backend, ours: Callable, theirs: Callable, a: tuple, b: tuple) -> None:
    left, right = np.abs(normal(*a)) + 0.1, np.round(normal(*b, seed=1)) + 0.1
    for dtype in (np.float32, np.float64):
        x, y = np.asarray(left, dtype), np.asarray(right, dtype)
        result = ours(x, y)
        expected = theirs(x, y)
        assert result.dtype == expected.dtype
        close(result, expected)


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "square", "abs", "sign", "sin", "cos"])
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 2)])
def test_unary_like_numpy(active_backend, name: str, shape: tuple) -> None:
    x = np.abs(normal(*shape)) + 0.1
    close(getattr(F, name)(np.asarray(x)), getattr(np, name)(x))
    close(F.neg(np.asarray(x)), -x)
    close(F.reciprocal(np.asarray(x)), 1 / x)


@pytest.mark.parametrize(
    ("result", "dtype", "value"),
    [
        (lambda i, f: i + i, "int64", [2, 4]),
        (lambda i, f: i * 3, "int64", [3, 6]),
        (lambda i, f: i + 0.5, "float32", [1.5, 2.5]),
        (lambda i, f: i / i, "float32", [1, 1]),
        (lambda i, f: i + f, "float64", [1.5, 2.25]),
        (lambda i, f: f * (i > 1), "float64", [0, 0.25]),
        (lambda i, f: f + 1, "float64", [1.5, 1.25]),
        (lambda i, f: (i > 1) + (i > 0), "int32", [1, 2]),
        (lambda i, f: F.neg(i), "int64", [-1, -2]),
        (lambda i, f: F.exp(i - 1), "float32", [1, np.e]),
        (lambda i, f: i >= 2, "bool", [False, True]),
        (lambda i, f: F.where(i > 1, i, 7), "int64", [7, 2]),
        (lambda i, f: i.sum(), "int64", 3),
        (lambda i, f: i.mean(), "float32", 1.5),
        (lambda i, f: i.max(), "int64", 2),
        (lambda i, f: (i > 1).sum(), "int32", 1),
        (lambda i, f: F.cast(f, "int32"), "int32", [0, 0]),
        (lambda i, f: F.cast(i, bool), "bool", [True, True]),
    ],
)
def test_mixed_types(active_backend, result: Callable, dtype: str, value: Any) -> None:
    y = result(Tensor(np.array([1, 2])), Tensor(np.array([0.5, 0.25])))
    assert y.dtype == dtype
    close(y, value)


def test_clip_where(active_backend) -> None:
    x = normal(4, 5)
    close(F.clip(x, -0.5, 0.5), np.clip(x, -0.5, 0.5))
    close(F.where(x > 0, x, 0.0), np.maximum(x, 0))
    close(
        F.where(np.array([[1.0], [0.0]], np.float32), np.float32(1.0) * np.ones(3, np.float32), -1), [[1] * 3, [-1] * 3]
    )


# ---- reductions


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (1, 2), (0, 3), (0, 1, 2, 3), ()])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_like_numpy(active_backend, name: str, axis: Any, keepdims: bool) -> None:
    x = normal(2, 3, 4, 5)
    result = getattr(F, name)(x, axis, keepdims)
    close(result, getattr(np, name)(x, axis=axis, keepdims=keepdims))
    assert not np.shares_memory(result.numpy(), x)


def test_reductions_of_nothing(active_backend) -> None:
    close(F.sum(np.ones((0, 3), np.float32), 0), [0, 0, 0])
    close(F.mean(np.ones((0, 3), np.float32), 1), np.zeros(0))
    for name in ("mean", "max", "min"):
        with pytest.raises(ValueError, match=rf"{name}: axis 0 of x is empty, got shape \(0, 3\)"):
            getattr(F, name)(np.ones((0, 3), np.float32), 0)


def test_argmax(active_backend) -> None:
    x = normal(4, 3, 5)
    for axis in (-1, 0, 1):
        result = F.argmax(x, axis)
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result.numpy(), x.argmax(axis))
    assert F.argmax(np.array([3, 9, 1])).item() == 1


# ---- shaping


def test_shaping_like_numpy(active_backend) -> None:
    x = normal(2, 3, 4)
    close(F.reshape(x, (4, -1)), x.reshape(4, -1))
    close(F.reshape(x, -1), x.reshape(-1))
    close(F.flatten(x), x.reshape(2, -1))
    close(F.transpose(x), x.T)
    close(F.transpose(x, (0, -1, 1)), x.transpose(0, 2, 1))
    close(F.concatenate([x, x[:, :1]], 1), np.concatenate([x, x[:, :1]], 1))
    close(F.concatenate([x, x]), np.concatenate([x, x], -1))
    for axis in (0, 1, 3, -1):
        close(F.stack([x, x + 1], axis), np.stack([x, x + 1], axis))
    close(F.pad(x, ((1, 0), (0, 2), (3, 3)), 2.0), np.pad(x, ((1, 0), (0, 2), (3, 3)), constant_values=2.0))
    close(F.flip(x), np.flip(x))
    close(F.flip(x, -1), np.flip(x, -1))
    close(F.broadcast_to(x[:, :1], (5, 2, 3, 4)), np.broadcast_to(x[:, :1], (5, 2, 3, 4)))
    close(F.expand_dims(x, (0, -1)), np.expand_dims(x, (0, -1)))
    close(F.squeeze(x[:1, :, :1]), x[0, :, 0])
    close(F.squeeze(x[:1], 0), x[0])
    for key in (
        0,
        -1,
        slice(1, None),
        (..., 1),
        (slice(None), None, 2),
        (0, 1, 2),
        (slice(None, None, -1), 0),
        ...,
        None,
    ):
        close(F.getitem(x, key), x[key])
    assert F.getitem(x, np.int64(1)).shape == (3, 4)
    ids = np.array([[1, 0, 2], [5, -1, 1]])
    result = F.one_hot(ids, 3)
    assert result.dtype == np.float32
    close(result, (ids[..., None] == np.arange(3)).astype(np.float32))


def test_integers_are_shaped_too(active_backend) -> None:
    x = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(F.transpose(x).numpy(), x.T)
    np.testing.assert_array_equal(F.concatenate([x, x], 0).numpy(), np.concatenate([x, x]))
    np.testing.assert_array_equal(F.pad(x, 1).numpy(), np.pad(x, 1))


# ---- matrix products


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (4,)),
        ((4,), (4, 3)), ((3, 4), (4,)), ((2, 3, 4), (4,)), ((0, 4), (4, 3)), ((2, 0), (0, 3)), ((0, 3, 4), (4, 2)),
        ((1, 1), (1, 1)),
    ],
)  # fmt: skip
def test_matmul_like_numpy(active_backend, a: tuple, b: tuple) -> None:
    x, y = normal(*a), normal(*b, seed=1)
    close(F.matmul(x, y), x @ y)
    if len(a) > 1 and len(b) > 1:
        close(F.matmul(np.swapaxes(x, -1, -2), np.swapaxes(y, -1, -2), True, True), x @ y)


def test_linear(active_backend) -> None:
    x, w, b = normal(2, 3, 4), normal(4, 5, seed=1), normal(5, seed=2)
    close(F.linear(x, w, b, "relu"), np.maximum(x @ w + b, 0))
    close(F.linear(x, w), x @ w)
    assert F.linear(normal(0, 4), w, b).shape == (0, 5)


# ---- convolution and pooling: sizes


@pytest.mark.parametrize("size", [1, 4, 5, 28])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_same_keeps_ceil_of_size_over_stride(size: int, stride: int, kernel: int) -> None:
    x = normal(1, size, size, 1)
    expected = (1, -(-size // stride), -(-size // stride), 1)
    assert F.conv2d(x, normal(kernel, kernel, 1, 1), strides=stride, padding="same").shape == expected
    assert F.max_pool2d(x, kernel, stride, "same").shape == expected
    assert F.avg_pool2d(x, kernel, stride, "SAME").shape == expected


def test_same_puts_the_extra_pixel_at_the_end(active_backend) -> None:
    x = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 4, 1)
    w = np.ones((1, 2, 1, 1), np.float32)
    close(F.conv2d(x, w, padding="same"), np.reshape([3, 5, 7, 4], (1, 1, 4, 1)))
    close(F.max_pool2d(x, (1, 3), (1, 2), "same"), np.reshape([3, 4], (1, 1, 2, 1)))
    close(F.avg_pool2d(x, (1, 3), (1, 2), "same"), np.reshape([2, 3.5], (1, 1, 2, 1)))


def test_lenet_shapes() -> None:
    x = normal(2, 32, 32, 1)
    x = F.avg_pool2d(F.conv2d(x, normal(5, 5, 1, 6)), 2)
    x = F.avg_pool2d(F.conv2d(x, normal(5, 5, 6, 16)), 2)
    assert x.shape == (2, 5, 5, 16)
    assert F.flatten(x).shape == (2, 400)


def test_empty_batches(active_backend) -> None:
    x = normal(0, 6, 6, 2)
    assert F.conv2d(x, normal(3, 3, 2, 4), normal(4)).shape == (0, 4, 4, 4)
    assert F.max_pool2d(x, 2).shape == F.avg_pool2d(x, 2).shape == (0, 3, 3, 2)
    assert F.global_avg_pool2d(x).shape == F.global_max_pool2d(x).shape == (0, 2)
    assert F.softmax(normal(0, 3)).shape == (0, 3)
    assert F.layernorm(normal(0, 3), None, None).shape == (0, 3)
    assert F.embedding(np.zeros(0, np.int32), normal(3, 2)).shape == (0, 2)
    assert F.softmax_cross_entropy(normal(0, 3), []).shape == (0,)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("output_padding", [None, 0, 1])
def test_conv2d_transpose_is_the_transpose(padding: str, stride: int, kernel: int, output_padding: int | None) -> None:
    """⟨conv(u), v⟩ = ⟨u, conv_transpose(v)⟩, and Keras's sizes."""
    if output_padding is not None and output_padding >= stride:
        pytest.skip("Keras wants output_padding < strides")
    v, w = normal(1, 4, 5, 3, dtype="float64"), normal(kernel, kernel, 2, 3, dtype="float64")
    y = F.conv2d_transpose(v, w, None, stride, padding, output_padding)
    for n, length in zip((4, 5), y.shape[1:3], strict=True):
        if output_padding is None:
            assert length == n * stride if padding == "same" else (n - 1) * stride + max(kernel, stride)
        else:
            assert length == (n - 1) * stride + output_padding + (kernel if padding == "valid" else kernel % 2)
    if output_padding is None:
        u = normal(*y.shape, seed=2, dtype="float64")
        expected = np.sum(F.conv2d(u, w, None, stride, padding).numpy() * v)
        assert np.sum(u * y.numpy()) == pytest.approx(expected)


def test_conv2d_transpose_like_torch(active_backend) -> None:
    torch = pytest.importorskip("torch")
    x, w, b = normal(2, 4, 5, 3), normal(3, 4, 6, 3, seed=1), normal(6, seed=2)
    expected = torch.nn.functional.conv_transpose2d(
        torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(w).permute(3, 2, 0, 1), torch.tensor(b), stride=(2, 3)
    ).permute(0, 2, 3, 1)
    close(F.conv2d_transpose(x, w, b, (2, 3)), expected.numpy()[:, :9, :16], 1e-4)


# ---- normalisation, recurrence, dropout


def test_batchnorm(active_backend) -> None:
    x = normal(6, 4, 4, 3) * 2 + 5
    gamma, beta = normal(3, seed=1), normal(3, seed=2)
    mean, var = Variable(np.zeros(3), None, "float32", False), Variable(np.ones(3), None, "float32", False)
    y = F.batchnorm(x, gamma, beta, mean, var, True, 0.9, 1e-3)
    m, v = x.mean((0, 1, 2)), x.var((0, 1, 2))
    close(y, (x - m) / np.sqrt(v + 1e-3) * gamma + beta, 1e-4)
    close(mean, 0.1 * m, 1e-4)
    close(var, 0.9 + 0.1 * v, 1e-4)
    held = mean.numpy(), var.numpy()
    y = F.batchnorm(x, gamma, beta, mean, var, False, 0.9, 1e-3)
    close(y, (x - held[0]) / np.sqrt(held[1] + 1e-3) * gamma + beta, 1e-4)
    close(mean, held[0], 0)
    first = F.batchnorm(np.moveaxis(x, -1, 1), gamma, beta, mean, var, False, axis=1)
    close(F.transpose(first, (0, 2, 3, 1)), y.numpy())


def test_mask_carries_the_state(active_backend) -> None:
    x, w, u = normal(2, 4, 3), normal(3, 8, seed=1), normal(2, 8, seed=2)
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1]])
    for kind in (bool, np.uint8, np.float32, np.int64):
        h, c = F.lstm(x, w, u, mask=mask.astype(kind))
        close(h[0, 3], h.numpy()[0, 1], 0)
        short, c_short = F.lstm(x[:1, :2], w, u)
        close(h[0, 1], short.numpy()[0, -1])
        close(c[0], c_short.numpy()[0])


def test_cells_are_single_steps(active_backend) -> None:
    x, h, c = normal(3, 2), normal(3, 4, seed=1), normal(3, 4, seed=2)
    w, u, b = normal(2, 16, seed=3), normal(4, 16, seed=4), normal(16, seed=5)
    new_h, new_c = F.lstm_cell(x, w, u, b, h, c)
    all_h, last_c = F.lstm(x[:, None], w, u, b, h, c)
    close(new_h, all_h.numpy()[:, 0])
    close(new_c, last_c.numpy())
    close(F.gru_cell(x, w[:, :12], u[:, :12], None, h), F.gru(x[:, None], w[:, :12], u[:, :12], None, h).numpy()[:, 0])
    close(F.simple_rnn_cell(x, w[:, :4], u[:, :4], b[:4], h), np.tanh(x @ w[:, :4] + b[:4] + h @ u[:, :4]))


def test_dropout(active_backend) -> None:
    x = np.ones((50, 40), np.float32)
    y = F.dropout(x, 0.3, 5, 2).numpy()
    kept = y != 0
    assert 0.6 < kept.mean() < 0.8
    np.testing.assert_allclose(y[kept], 1 / 0.7, rtol=1e-6)
    np.testing.assert_array_equal(y, F.dropout(x, 0.3, 5, 2).numpy())
    assert np.any(y != F.dropout(x, 0.3, 5, 3).numpy())
    rows = F.dropout(x, 0.5, 5, 0, (None, 1)).numpy()
    assert {len(set(row)) for row in rows.tolist()} == {1}
    tensor = Tensor(x)
    assert F.dropout(tensor, 0.0, 1, 1) is tensor


# ---- losses


def test_cross_entropies(active_backend) -> None:
    p = np.array([[0.6, 0.2, 0.2], [0.3, 0.5, 0.2]])
    close(F.softmax_cross_entropy(np.log(p), [0, 1]), [0.51082562, 0.69314718], 1e-8)
    close(F.softmax_cross_entropy(np.log(p), [[0], [1]]), [0.51082562, 0.69314718], 1e-8)
    close(F.softmax_cross_entropy(np.log(p), np.eye(3)[[0, 1]]), [0.51082562, 0.69314718], 1e-8)
    close(F.softmax_cross_entropy(np.log(p), np.array([0, 1]), reduction="mean"), (0.51082562 + 0.69314718) / 2, 1e-8)
    close(F.softmax_cross_entropy(np.log(p), [0, 1], [2.0, 1.0], "sum"), 2 * 0.51082562 + 0.69314718, 1e-8)
    z = np.log(np.array([[0.6], [0.2], [0.4]]) / np.array([[0.4], [0.8], [0.6]]))
    close(F.sigmoid_cross_entropy(z, np.array([[1.0], [0.0], [1.0]])), [0.51082562, 0.22314355, 0.91629073], 1e-8)
    close(F.softmax_cross_entropy(np.array([[1e4, -1e4]], np.float32), [1]), [2e4])
    close(F.sigmoid_cross_entropy(np.array([[1e4, -1e4]], np.float32), np.array([[0.0, 1.0]], np.float32)), [1e4])
    close(F.softmax_cross_entropy(np.zeros((2, 3, 4), np.float32), [[0, 1, 2], [3, 0, 1]]), np.full((2, 3), np.log(4)))
    close(F.softmax_cross_entropy(Tensor(np.zeros((2, 4))), Tensor(np.array([1, 2], np.uint8))), [np.log(4)] * 2)


def test_mean_loss_hands_its_gradient_on_unchanged() -> None:
    z = Tensor(normal(4, 3), requires_grad=True)
    F.softmax_cross_entropy(z, [0, 1, 2, 0], reduction="mean").backward()
    direct = z.grad.copy()
    z.grad = None
    F.softmax_cross_entropy(z, [0, 1, 2, 0]).mean().backward()
    np.testing.assert_allclose(z.grad, direct, rtol=1e-6)


# ---- activations


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("linear", lambda x: x),
        ("relu", lambda x: max(x, 0)),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("tanh", math.tanh),
        ("leaky_relu", lambda x: x if x > 0 else 0.2 * x),
        ("elu", lambda x: x if x > 0 else math.expm1(x)),
        ("selu", lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x))),
        ("exponential", math.exp),
        ("softplus", lambda x: math.log1p(math.exp(x))),
        ("softsign", lambda x: x / (1 + abs(x))),
        ("silu", lambda x: x / (1 + math.exp(-x))),
        ("gelu", lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2),
        ("relu6", lambda x: min(max(x, 0), 6)),
        ("hard_sigmoid", lambda x: min(max(x / 6 + 0.5, 0), 1)),
        ("step", lambda x: float(x > 0)),
    ],
)
def test_activations(active_backend, name: str, formula: Callable) -> None:
    x = np.linspace(-8, 8, 33)
    expected = [formula(v) for v in x]
    close(F.activation(x, name), expected, 1e-9)
    close(F.activation(x.astype(np.float32), name), expected, 1e-5)
    if name != "linear":
        close(getattr(F, name)(x), expected, 1e-9)


def test_softmax(active_backend) -> None:
    x = normal(3, 4, 5) * 10
    e = np.exp(x - x.max(1, keepdims=True))
    close(F.softmax(x, 1), e / e.sum(1, keepdims=True))
    close(F.log_softmax(x, 1), x - x.max(1, keepdims=True) - np.log(e.sum(1, keepdims=True)))
    close(F.softmax(np.array([1e30, 1e30], np.float32)), [0.5, 0.5])


def test_prelu_and_gelu(active_backend) -> None:
    x = normal(4, 3, dtype="float64")
    close(F.prelu(x, np.array([0.1, 0.2, 0.3])), np.where(x > 0, x, x * [0.1, 0.2, 0.3]))
    close(F.gelu(x, True), 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


# ---- errors: the message names the argument, what came and what was expected

IMAGE, FILTER = normal(2, 8, 8, 3), normal(3, 3, 3, 4)
ROWS = normal(4, 5)
SEQUENCE = normal(2, 4, 3)

ERRORS: list[tuple[Callable, type[Exception], str]] = [
    # linear, matmul
    (
        lambda: F.linear(ROWS, normal(6, 2)),
        ValueError,
        "linear: x has 5 features but w expects 6 (x is [4, 5], w is [6, 2])",
    ),
    (lambda: F.linear(ROWS, normal(5)), ValueError, "linear: w must have shape [I, O], got (5,)"),
    (lambda: F.linear(1.0, normal(5, 2)), ValueError, "linear: x must have shape [..., I], got ()"),
    (
        lambda: F.linear(ROWS, normal(5, 2), normal(3)),
        ValueError,
        "linear: b must have shape (2,), one value per column",
    ),
    (lambda: F.linear(ROWS, normal(5, 2), None, "relux"), ValueError, "got 'relux'; did you mean 'relu'?"),
    (
        lambda: F.linear(ROWS, normal(5, 2), None, "gelu"),
        ValueError,
        "apply functional.activation(y, 'gelu') to the result",
    ),
    (
        lambda: F.linear(ROWS, normal(5, 2, dtype="float64")),
        TypeError,
        "linear: w is float64 but x is float32; convert one",
    ),
    (
        lambda: F.linear(np.ones((2, 5), int), normal(5, 2)),
        TypeError,
        "linear: x must be float32 or float64, got int64",
    ),
    (lambda: F.linear("text", normal(5, 2)), TypeError, "a tensor holds float32, float64, integers or bools"),
    (lambda: F.matmul(ROWS, ROWS), ValueError, "matmul: a has 5 columns but b has 4 rows (a is [4, 5], b is [4, 5]"),
    (
        lambda: F.matmul(normal(2, 3, 4), normal(3, 4, 2)),
        ValueError,
        "matmul: shapes (2,) and (3,) cannot be broadcast",
    ),
    (lambda: F.matmul(1.0, ROWS), ValueError, "matmul: a and b must have at least one axis, got shapes () and (4, 5)"),
    (lambda: F.matmul(normal(4), ROWS, True), ValueError, "matmul: a vector cannot be transposed"),
    # conv2d
    (lambda: F.conv2d(normal(32, 28), FILTER), ValueError, "conv2d: x must have shape [N, H, W, C], got (32, 28)"),
    (
        lambda: F.conv2d(IMAGE, normal(3, 3)),
        ValueError,
        "conv2d: w must have shape [kh, kw, C / groups, K], got (3, 3)",
    ),
    (
        lambda: F.conv2d(IMAGE, normal(3, 3, 4, 8)),
        ValueError,
        "conv2d: x has 3 channels but w expects 4 (w is [3, 3, 4, 8], groups=1)",
    ),
    (
        lambda: F.conv2d(IMAGE, normal(3, 3, 1, 4), groups=3),
        ValueError,
        "conv2d: groups must divide the output channels",
    ),
    (lambda: F.conv2d(IMAGE, FILTER, groups=0), ValueError, "conv2d: groups must be a positive int, got 0"),
    (
        lambda: F.conv2d(IMAGE, FILTER, normal(3)),
        ValueError,
        "conv2d: b must have shape (4,), one value per output channel, got (3,)",
    ),
    (lambda: F.conv2d(IMAGE, FILTER, strides=0), ValueError, "conv2d: strides must be at least 1, got 0"),
    (
        lambda: F.conv2d(IMAGE, FILTER, strides=(1, 2, 3)),
        ValueError,
        "conv2d: strides must be an int or two ints, got (1, 2, 3)",
    ),
    (lambda: F.conv2d(IMAGE, FILTER, strides=1.5), ValueError, "conv2d: strides must be an int or two ints, got 1.5"),
    (lambda: F.conv2d(IMAGE, FILTER, dilation=0), ValueError, "conv2d: dilation must be at least 1, got 0"),
    (
        lambda: F.conv2d(IMAGE, FILTER, padding="samme"),
        ValueError,
        "conv2d: padding must be 'valid', 'same' or (top, bottom",
    ),
    (lambda: F.conv2d(IMAGE, FILTER, padding=(1, 1, -1, 0)), ValueError, "none negative, got (1, 1, -1, 0)"),
    (
        lambda: F.conv2d(normal(1, 4, 4, 3), normal(5, 5, 3, 2)),
        ValueError,
        "conv2d: the window 5×5 is larger than the padded image 4×4",
    ),
    (lambda: F.conv2d(IMAGE, FILTER, dilation=4), ValueError, "the window 9×9 (dilation 4×4) is larger"),
    (lambda: F.conv2d(normal(1, 0, 4, 3), FILTER), ValueError, "conv2d: x must have at least one pixel"),
    (lambda: F.conv2d(IMAGE.astype(float), FILTER), TypeError, "conv2d: w is float32 but x is float64"),
    # conv2d_transpose
    (
        lambda: F.conv2d_transpose(ROWS, FILTER),
        ValueError,
        "conv2d_transpose: x must have shape [N, H, W, C], got (4, 5)",
    ),
    (lambda: F.conv2d_transpose(IMAGE, FILTER), ValueError, "conv2d_transpose: x has 3 channels but w expects 4"),
    (
        lambda: F.conv2d_transpose(IMAGE, normal(3, 3, 4, 3), strides=2, output_padding=2),
        ValueError,
        "conv2d_transpose: output_padding must be smaller than strides, got 2 and strides 2",
    ),
    (
        lambda: F.conv2d_transpose(IMAGE, normal(3, 3, 4, 3), padding="x"),
        ValueError,
        "padding must be 'valid' or 'same'",
    ),
    (lambda: F.conv2d_transpose(IMAGE, normal(3, 3, 4, 3), normal(3)), ValueError, "b must have shape (4,)"),
    # pooling
    (lambda: F.max_pool2d(ROWS, 2), ValueError, "max_pool2d: x must have shape [N, H, W, C], got (4, 5)"),
    (lambda: F.max_pool2d(IMAGE, 9), ValueError, "max_pool2d: the window 9×9 is larger than the padded image 8×8"),
    (lambda: F.avg_pool2d(IMAGE, 0), ValueError, "avg_pool2d: pool_size must be at least 1, got 0"),
    (lambda: F.avg_pool2d(IMAGE, 2, (0, 1)), ValueError, "avg_pool2d: strides must be at least 1, got (0, 1)"),
    (
        lambda: F.max_pool2d(IMAGE, 2, padding=(2, 0, 0, 0)),
        ValueError,
        "leaves windows of 2×2 that lie outside the image 8×8",
    ),
    (lambda: F.max_pool2d(IMAGE, 2, 1, padding=(0, 0, 0, 2)), ValueError, "lie outside the image"),
    (lambda: F.global_avg_pool2d(ROWS), ValueError, "global_avg_pool2d: x must have shape [N, H, W, C]"),
    (lambda: F.global_max_pool2d(normal(1, 0, 2, 3)), ValueError, "global_max_pool2d: x must have at least one pixel"),
    # normalisation
    (
        lambda: F.batchnorm(ROWS, normal(4), None, Tensor(normal(5)), Tensor(normal(5)), True),
        ValueError,
        "batchnorm: gamma must have shape (5,), one value per feature, got (4,)",
    ),
    (
        lambda: F.batchnorm(ROWS, None, None, normal(5), normal(5), True),
        TypeError,
        "must be tensors to be updated in training",
    ),
    (
        lambda: F.batchnorm(normal(0, 5), None, None, Tensor(normal(5)), Tensor(normal(5)), True),
        ValueError,
        "batchnorm: a training batch must have at least one row",
    ),
    (
        lambda: F.batchnorm(normal(5), None, None, normal(5), normal(5), False),
        ValueError,
        "batchnorm: x must have shape [N, ..., C]",
    ),
    (lambda: F.layernorm(ROWS, normal(4), None), ValueError, "layernorm: gamma must have shape (5,)"),
    # recurrence
    (lambda: F.lstm(ROWS, normal(5, 8), normal(2, 8)), ValueError, "lstm: x must have shape [N, T, I], got (4, 5)"),
    (lambda: F.lstm(SEQUENCE, normal(3, 8), normal(2, 6)), ValueError, "lstm: u must have shape [H, 4·H], got (2, 6)"),
    (
        lambda: F.lstm(SEQUENCE, normal(3, 6), normal(2, 8)),
        ValueError,
        "lstm: w must have shape [I, 8] to fit u [2, 8], got (3, 6)",
    ),
    (lambda: F.gru(SEQUENCE, normal(4, 6), normal(2, 6)), ValueError, "gru: x has 3 features but w expects 4"),
    (
        lambda: F.gru(SEQUENCE, normal(3, 6), normal(2, 6), normal(6)),
        ValueError,
        "gru: b must have shape (2, 6), got (6,)",
    ),
    (
        lambda: F.gru(SEQUENCE, normal(3, 6), normal(2, 6), normal(2, 6), reset_after=False),
        ValueError,
        "b must have shape (6,)",
    ),
    (
        lambda: F.simple_rnn(normal(2, 0, 3), normal(3, 2), normal(2, 2)),
        ValueError,
        "simple_rnn: x must have at least one time step",
    ),
    (
        lambda: F.simple_rnn(SEQUENCE, normal(3, 2), normal(2, 2), h0=normal(2, 3)),
        ValueError,
        "simple_rnn: h0 must have shape (2, 2), got (2, 3)",
    ),
    (
        lambda: F.simple_rnn(SEQUENCE, normal(3, 2), normal(2, 2), mask=np.ones((2, 3))),
        ValueError,
        "simple_rnn: mask must have shape (2, 4), one value per time step, got (2, 3)",
    ),
    (lambda: F.lstm_cell(SEQUENCE, normal(3, 8), normal(2, 8)), ValueError, "lstm_cell: x must have shape [N, I]"),
    # embedding, one_hot
    (
        lambda: F.embedding([0, 7], normal(5, 2)),
        ValueError,
        "embedding: ids must lie in 0 … 4 (table has 5 rows), got 7",
    ),
    (lambda: F.embedding([-1], normal(5, 2)), ValueError, "got -1"),
    (lambda: F.embedding([0.5], normal(5, 2)), TypeError, "embedding: ids must be integers, got float"),
    (lambda: F.embedding([0], normal(5)), ValueError, "embedding: table must have shape [V, D], got (5,)"),
    (lambda: F.one_hot([0], -1), ValueError, "one_hot: depth must be an int ≥ 0, got -1"),
    # losses
    (
        lambda: F.softmax_cross_entropy(ROWS, [0, 1, 2, 9]),
        ValueError,
        "softmax_cross_entropy: labels must lie in 0 … 4 (logits have 5 classes), got 9",
    ),
    (lambda: F.softmax_cross_entropy(ROWS, [0, -1, 2, 3]), ValueError, "got -1"),
    (
        lambda: F.softmax_cross_entropy(ROWS, [0, 1, 2]),
        ValueError,
        "softmax_cross_entropy: labels must have shape (4,), one per row of logits [4, 5], got (3,)",
    ),
    (
        lambda: F.softmax_cross_entropy(ROWS, np.ones(4)),
        TypeError,
        "targets must be integer labels of shape (4,) or rows",
    ),
    (
        lambda: F.softmax_cross_entropy(ROWS, [0, 1, 2, 3], np.ones(3)),
        ValueError,
        "weight must have shape (4,), one value per loss, got (3,)",
    ),
    (
        lambda: F.softmax_cross_entropy(ROWS, [0, 1, 2, 3], None, "avg"),
        ValueError,
        "reduction must be one of none, sum, mean, got 'avg'",
    ),
    (lambda: F.softmax_cross_entropy(normal(0, 3), [], None, "mean"), ValueError, "there is no mean of no losses"),
    (
        lambda: F.softmax_cross_entropy(Tensor(ROWS), Tensor(ROWS, requires_grad=True)),
        ValueError,
        "no gradient is computed for targets",
    ),
    (
        lambda: F.sigmoid_cross_entropy(ROWS, normal(4)),
        ValueError,
        "sigmoid_cross_entropy: targets must have the logits' shape (4, 5), got (4,)",
    ),
    (
        lambda: F.sigmoid_cross_entropy(np.ones((2, 2), int), np.ones((2, 2))),
        TypeError,
        "logits must be float32 or float64, got int64",
    ),
    # activations
    (lambda: F.activation(ROWS, "swoosh"), ValueError, "activation: kind must be one of linear, relu"),
    (lambda: F.activation(ROWS, "sigmod"), ValueError, "did you mean 'sigmoid'?"),
    (lambda: F.leaky_relu(ROWS, -0.1), ValueError, "leaky_relu: negative_slope must not be negative, got -0.1"),
    (
        lambda: F.relu(np.arange(3)),
        TypeError,
        "relu: x must be float32 or float64, got int64; convert it with functional.cast(x, 'float32')",
    ),
    (lambda: F.softmax(ROWS, 2), ValueError, "softmax: axis 2 is out of range for 2 axes"),
    (lambda: F.softmax(normal(2, 0)), ValueError, "softmax: axis -1 of x is empty, got shape (2, 0)"),
    # elementwise, reduction, shaping
    (lambda: F.add(ROWS, normal(4)), ValueError, "add: shapes (4, 5) and (4,) cannot be broadcast together"),
    (
        lambda: Tensor(ROWS) * ROWS.astype(float),
        TypeError,
        "multiply: a is float32 but b is float64; convert one of them, as in functional.cast(a, 'float64')",
    ),
    (lambda: Tensor(ROWS) + object(), TypeError, "got object"),
    (lambda: F.clip(ROWS, 1, 0), ValueError, "clip: x_min must not exceed x_max, got 1 and 0"),
    (lambda: F.sum(ROWS, 2), ValueError, "sum: axis 2 is out of range for 2 axes"),
    (lambda: F.sum(ROWS, (0, -2)), ValueError, "sum: axis names one axis twice"),
    (lambda: F.sum(ROWS, "rows"), TypeError, "sum: axis must be an int, got 'rows'"),
    (
        lambda: F.reshape(ROWS, (3, -1)),
        ValueError,
        "reshape: 20 elements of shape (4, 5) do not fit into shape (3, -1)",
    ),
    (lambda: F.reshape(ROWS, (-1, -1)), ValueError, "do not fit into shape (-1, -1)"),
    (lambda: F.transpose(ROWS, (0, 0)), ValueError, "transpose: axes must be a permutation of 2 axes, got (0, 0)"),
    (lambda: F.concatenate([]), ValueError, "concatenate: tensors must hold at least one tensor"),
    (lambda: F.concatenate(Tensor(ROWS)), TypeError, "concatenate: tensors must be a list of tensors, got Tensor"),
    (
        lambda: F.concatenate([ROWS, normal(3, 4)]),
        ValueError,
        "tensors must agree but for axis 1, got (4, 5) and, at place 1, (3, 4)",
    ),
    (
        lambda: F.concatenate([ROWS, ROWS.astype(float)]),
        TypeError,
        "all tensors must have one dtype, got float32 and, at place 1, float64",
    ),
    (
        lambda: F.stack([ROWS, normal(4, 4)]),
        ValueError,
        "stack: tensors must have one shape, got (4, 5) and, at place 1, (4, 4)",
    ),
    (
        lambda: F.pad(ROWS, ((1, 1),)),
        ValueError,
        "pad: pad_width must be an int or (before, after), none negative, for each of 2 axes",
    ),
    (lambda: F.pad(ROWS, -1), ValueError, "none negative"),
    (lambda: Tensor(ROWS)[4], IndexError, "(the tensor has shape (4, 5))"),
    (lambda: Tensor(ROWS)[[0, 1]], TypeError, "index must be made of ints, slices, Ellipsis and None, got list"),
    (lambda: Tensor(ROWS)[True], TypeError, "got bool"),
    (lambda: F.broadcast_to(ROWS, (4,)), ValueError, "broadcast_to: x of shape (4, 5) cannot be broadcast to (4,)"),
    (lambda: F.squeeze(ROWS, 0), ValueError, "squeeze: axis 0 must have length 1, got 4"),
    (
        lambda: F.cast(ROWS, "complex64"),
        TypeError,
        "dtype must be float32, float64, an integer type or bool, got complex64",
    ),
    (lambda: F.argmax(normal(3, 0)), ValueError, "argmax: axis -1 of x is empty"),
    (lambda: F.flatten(1.0), ValueError, "flatten: x must have shape [N, ...], got ()"),
    # dropout
    (lambda: F.dropout(ROWS, 1.0, 0), ValueError, "dropout: rate must lie in [0, 1), got 1.0"),
    (lambda: F.dropout(ROWS, -0.1, 0), ValueError, "dropout: rate must lie in [0, 1), got -0.1"),
    (
        lambda: F.dropout(ROWS, 0.5, 0, 0, (2, 1)),
        ValueError,
        "dropout: noise_shape must have 1 or x's length on each axis of (4, 5), got (2, 1)",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), ERRORS, ids=[words[:60] for _, _, words in ERRORS])
def test_errors(call: Callable, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
