"""Every differentiable op against finite differences in float64, and against PyTorch in float32.

A case is a function of tensors and the arrays to call it on. Its result is weighted at random and summed; the gradients
that the tape gives must predict how that sum changes along random directions, for each input alone and for all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dlcore import functional as F
from dlcore.backends import current
from dlcore.tensor import Tensor

STEP = 1e-5
TOLERANCE = 1e-6

CASES: dict[str, tuple[Callable, list[np.ndarray]]] = {}
_rng = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return _rng.standard_normal(shape)


def apart(*shape: int) -> np.ndarray:
    """Distinct values at least 0.01 from each other and from 0, so that no kink lies within a step."""
    count = int(np.prod(shape))
    values = (np.arange(count) - count / 2 + 0.25) * 0.02
    return _rng.permutation(values).reshape(shape)


def positive(*shape: int) -> np.ndarray:
    return 0.5 + _rng.random(shape)


def gradient(tensor: Tensor) -> np.ndarray:
    """The tensor's gradient, on the host."""
    return current().to_numpy(tensor.grad)


def case(name: str, function: Callable, *arrays: np.ndarray) -> None:
    assert name not in CASES
    CASES[name] = function, [np.asarray(a) for a in arrays]


# ---- linear and matmul
for kind in ("linear", "relu", "sigmoid", "tanh"):
    case(f"linear-{kind}", lambda x, w, b, k=kind: F.linear(x, w, b, k), normal(6, 7), normal(7, 4), normal(4))
case("linear-no-bias", lambda x, w: F.linear(x, w), normal(1, 4), normal(4, 9))
case("linear-3d", F.linear, normal(2, 3, 4), normal(4, 5), normal(5))
case("linear-vector", F.linear, normal(4), normal(4, 5), normal(5))
case("linear-1x1", F.linear, normal(1, 1), normal(1, 1), normal(1))
case("linear-wide", F.linear, normal(33, 65), normal(65, 17), normal(17))
case("linear-weight-shared", lambda x, w: F.linear(F.linear(x, w, None, "tanh"), w), normal(3, 4), normal(4, 4))
for ta in (False, True):
    for tb in (False, True):
        case(
            f"matmul-{ta:d}{tb:d}",
            lambda a, b, ta=ta, tb=tb: F.matmul(a, b, ta, tb),
            normal(*((3, 2, 5, 4) if ta else (3, 2, 4, 5))),
            normal(*((3, 2, 6, 5) if tb else (3, 2, 5, 6))),
        )
case("matmul-broadcast", F.matmul, normal(3, 1, 4, 5), normal(2, 5, 6))
case("matmul-matrix-right", F.matmul, normal(3, 2, 4, 5), normal(5, 6))
case("matmul-matrix-left", F.matmul, normal(4, 5), normal(3, 5, 6))
case("matmul-right-transposed", lambda a, b: F.matmul(a, b, False, True), normal(3, 4, 5), normal(6, 5))
case("matmul-left-transposed", lambda a, b: F.matmul(a, b, True), normal(3, 5, 4), normal(5, 6))
case("matmul-vectors", F.matmul, normal(5), normal(5))
case("matmul-vector-right", F.matmul, normal(2, 4, 5), normal(5))
case("matmul-vector-left", F.matmul, normal(5), normal(2, 5, 4))
case("matmul-square-of-itself", lambda a: F.matmul(a, a), normal(4, 4))

# ---- convolution
CONV = {
    "plain": ((2, 6, 7, 3), (3, 2, 3, 4), {}),
    "same": ((2, 6, 7, 3), (3, 3, 3, 4), {"padding": "same"}),
    "same-even-window": ((1, 5, 6, 2), (4, 2, 2, 3), {"padding": "same"}),
    "same-stride": ((2, 7, 8, 3), (3, 3, 3, 4), {"padding": "same", "strides": (2, 3)}),
    "stride": ((2, 9, 8, 2), (3, 3, 2, 3), {"strides": 2}),
    "stride-over-window": ((2, 7, 7, 2), (1, 1, 2, 3), {"strides": 3}),
    "dilation": ((1, 9, 10, 2), (3, 2, 2, 3), {"dilation": (2, 3)}),
    "dilation-same": ((1, 7, 8, 2), (3, 3, 2, 3), {"dilation": 2, "padding": "same"}),
    "groups": ((2, 5, 5, 6), (3, 3, 2, 9), {"groups": 3}),
    "depthwise": ((2, 6, 5, 4), (3, 3, 1, 8), {"groups": 4, "padding": "same"}),
    "pointwise": ((2, 4, 5, 6), (1, 1, 6, 3), {}),
    "padded": ((1, 4, 5, 2), (3, 3, 2, 2), {"padding": (2, 1, 0, 3)}),
    "one-pixel": ((3, 1, 1, 2), (3, 3, 2, 2), {"padding": "same"}),
    "wide-3x3": ((1, 12, 13, 16), (3, 3, 16, 16), {"padding": "same"}),
    "relu": ((1, 5, 5, 2), (3, 3, 2, 3), {"activation": "relu"}),
    "tanh": ((1, 5, 5, 2), (3, 3, 2, 3), {"activation": "tanh"}),
    "sigmoid": ((1, 5, 5, 2), (3, 3, 2, 3), {"activation": "sigmoid"}),
}
for name, (xs, ws, options) in CONV.items():
    case(
        f"conv2d-{name}",
        lambda x, w, b, o=options: F.conv2d(x, w, b, **o),
        normal(*xs), normal(*ws) / 3, normal(ws[3]),
    )  # fmt: skip
case("conv2d-no-bias", F.conv2d, normal(1, 5, 4, 2), normal(2, 3, 2, 3))
CONV_TRANSPOSE = {
    "plain": ((2, 4, 3, 2), (3, 2, 5, 2), {}),
    "same": ((2, 4, 3, 2), (3, 3, 4, 2), {"strides": 2, "padding": "same"}),
    "stride": ((1, 3, 4, 2), (3, 4, 3, 2), {"strides": (2, 3)}),
    "stride-over-window": ((1, 3, 4, 2), (2, 2, 3, 2), {"strides": 3}),
    "output-padding": ((1, 3, 4, 2), (3, 3, 3, 2), {"strides": 2, "padding": "same", "output_padding": 1}),
    "dilation": ((1, 4, 4, 2), (3, 3, 3, 2), {"dilation": 2}),
    "tanh": ((1, 3, 4, 2), (3, 3, 3, 2), {"strides": 2, "activation": "tanh"}),
}
for name, (xs, ws, options) in CONV_TRANSPOSE.items():
    case(
        f"conv2d_transpose-{name}",
        lambda x, w, b, o=options: F.conv2d_transpose(x, w, b, **o),
        normal(*xs), normal(*ws), normal(ws[2]),
    )  # fmt: skip

# ---- pooling
POOL = {
    "plain": ((2, 6, 4, 3), (2,), {}),
    "odd": ((2, 7, 5, 3), (2,), {}),
    "overlapping": ((1, 7, 8, 2), ((3, 2), 1), {}),
    "stride": ((1, 9, 8, 2), (3, 2), {}),
    "same": ((2, 7, 8, 3), (3, 2), {"padding": "same"}),
    "same-even": ((1, 5, 5, 2), (2, 2), {"padding": "same"}),
    "padded": ((1, 5, 6, 2), (3, 2), {"padding": (1, 2, 1, 0)}),
    "whole-image": ((2, 4, 5, 3), ((4, 5),), {}),
    "large-window": ((1, 18, 17, 2), (17, 1), {}),
    "stride-over-window": ((1, 7, 7, 2), (2, 3), {}),
}
for name, (xs, args, options) in POOL.items():
    for pool in (F.max_pool2d, F.avg_pool2d):
        case(f"{pool.__name__}-{name}", lambda x, p=pool, a=args, o=options: p(x, *a, **o), apart(*xs))
for pool in (F.global_avg_pool2d, F.global_max_pool2d):
    case(pool.__name__, pool, apart(2, 5, 3, 4))
    case(f"{pool.__name__}-pixel", pool, apart(2, 1, 1, 3))


# ---- normalisation
def batchnorm(x: Tensor, gamma: Any, beta: Any, training: bool = True, axis: int = -1, activation: str = "linear"):
    features = x.shape[axis]
    mean, var = Tensor(np.linspace(-1.0, 1.0, features)), Tensor(np.linspace(0.5, 2.0, features))
    return F.batchnorm(x, gamma, beta, mean, var, training, 0.9, 1e-3, axis, activation)


for training in (True, False):
    tag = "training" if training else "inference"
    case(f"batchnorm-{tag}", lambda x, g, b, t=training: batchnorm(x, g, b, t), normal(9, 4), normal(4), normal(4))
    case(f"batchnorm-{tag}-plain", lambda x, t=training: batchnorm(x, None, None, t), normal(5, 3))
    case(f"batchnorm-{tag}-gamma", lambda x, g, t=training: batchnorm(x, g, None, t), normal(5, 3), normal(3))
    case(f"batchnorm-{tag}-beta", lambda x, b, t=training: batchnorm(x, None, b, t), normal(5, 3), normal(3))
    case(
        f"batchnorm-{tag}-axis-1",
        lambda x, g, b, t=training: batchnorm(x, g, b, t, 1),
        normal(3, 4, 2, 2), normal(4), normal(4),
    )  # fmt: skip
    for kind in ("relu", "tanh", "sigmoid"):
        case(
            f"batchnorm-{tag}-{kind}",
            lambda x, g, b, t=training, k=kind: batchnorm(x, g, b, t, -1, k),
            normal(3, 2, 4, 3), normal(3), normal(3),
        )  # fmt: skip
case("layernorm", lambda x, g, b: F.layernorm(x, g, b, 1e-3), normal(3, 5, 6), normal(6), normal(6))
case("layernorm-plain", lambda x: F.layernorm(x, None, None), normal(4, 7))
case("layernorm-gamma", lambda x, g: F.layernorm(x, g, None), normal(4, 7), normal(7))

# ---- recurrence
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0]])


def both(pair: tuple[Tensor, Tensor]) -> Tensor:
    h, c = pair
    return F.concatenate([F.flatten(h), F.flatten(c)])


for tag, mask in (("", None), ("-mask", MASK)):
    w, u, b = normal(2, 5), normal(5, 5) / 2, normal(5)
    for kind in ("tanh", "relu", "sigmoid", "linear"):
        case(
            f"simple_rnn{tag}-{kind}",
            lambda x, w, u, b, h, m=mask, k=kind: F.simple_rnn(x, w, u, b, h, m, k),
            normal(3, 4, 2), w, u, b, normal(3, 5),
        )  # fmt: skip
    case(
        f"lstm{tag}",
        lambda x, w, u, b, h, c, m=mask: both(F.lstm(x, w, u, b, h, c, m)),
        normal(3, 4, 2), normal(2, 20), normal(5, 20) / 2, normal(20), normal(3, 5), normal(3, 5),
    )  # fmt: skip
    for after in (True, False):
        case(
            f"gru{tag}-reset-{'after' if after else 'before'}",
            lambda x, w, u, b, h, m=mask, r=after: F.gru(x, w, u, b, h, m, r),
            normal(3, 4, 2), normal(2, 15), normal(5, 15) / 2, normal(2, 15) if after else normal(15), normal(3, 5),
        )  # fmt: skip
case("simple_rnn-bare", F.simple_rnn, normal(2, 3, 2), normal(2, 3), normal(3, 3))
case("lstm-bare-h", lambda x, w, u: F.lstm(x, w, u)[0], normal(2, 3, 2), normal(2, 12), normal(3, 12))
case("lstm-bare-c", lambda x, w, u: F.lstm(x, w, u)[1], normal(2, 3, 2), normal(2, 12), normal(3, 12))
case("gru-bare", F.gru, normal(2, 3, 2), normal(2, 9), normal(3, 9))
case("gru-bare-before", lambda x, w, u: F.gru(x, w, u, reset_after=False), normal(2, 3, 2), normal(2, 9), normal(3, 9))
case("simple_rnn_cell", F.simple_rnn_cell, normal(3, 2), normal(2, 4), normal(4, 4), normal(4), normal(3, 4))
case(
    "lstm_cell",
    lambda x, w, u, b, h, c: both(F.lstm_cell(x, w, u, b, h, c)),
    normal(3, 2), normal(2, 16), normal(4, 16), normal(16), normal(3, 4), normal(3, 4),
)  # fmt: skip
case("gru_cell", F.gru_cell, normal(3, 2), normal(2, 12), normal(4, 12), normal(2, 12), normal(3, 4))
case(
    "lstm-two-layers",
    lambda x, w, u, v: F.lstm(F.lstm(x, w, u)[0], v, u)[0][:, -1],
    normal(2, 3, 2), normal(2, 12), normal(3, 12), normal(3, 12),
)  # fmt: skip

# ---- embedding, activations, softmax
case("embedding", lambda t: F.embedding([[0, 3, 3], [6, 3, 1]], t), normal(7, 4))
case("embedding-one", lambda t: F.embedding(np.array(2), t), normal(3, 1))
for kind in (
    "linear", "relu", "sigmoid", "tanh", "leaky_relu", "elu", "selu", "exponential", "softplus", "softsign", "silu",
    "gelu", "hard_sigmoid", "step",
):  # fmt: skip
    case(f"activation-{kind}", lambda x, k=kind: F.activation(x, k), apart(5, 23))
case("activation-relu6", lambda x: F.relu6(x * 6.0), apart(5, 23))
case("leaky_relu-slope", lambda x: F.leaky_relu(x, 0.3), apart(5, 3))
case("elu-alpha", lambda x: F.elu(x, 0.7), apart(5, 3))
case("gelu-approximate", lambda x: F.gelu(x, approximate=True), normal(5, 3))
case("prelu", F.prelu, apart(4, 3, 5), normal(3, 1))
for axis in (-1, 0, 1):
    case(f"softmax-axis{axis}", lambda x, a=axis: F.softmax(x, a), normal(4, 3, 5))
    case(f"log_softmax-axis{axis}", lambda x, a=axis: F.log_softmax(x, a), normal(4, 3, 5))
case("softmax-vector", F.softmax, normal(6))

# ---- losses
LABELS = [2, 0, 4, 4]
ROWS = np.full((4, 5), 0.05) + 0.75 * np.eye(5)[LABELS]
WEIGHT = np.array([1.0, 0.0, 2.5, 0.5])
for reduction in ("none", "sum", "mean"):
    for tag, weight in (("", None), ("-weight", WEIGHT)):
        case(
            f"softmax_cross_entropy-{reduction}{tag}",
            lambda z, r=reduction, w=weight: F.softmax_cross_entropy(z, LABELS, w, r),
            normal(4, 5),
        )
        case(
            f"softmax_cross_entropy-dense-{reduction}{tag}",
            lambda z, r=reduction, w=weight: F.softmax_cross_entropy(z, ROWS, w, r),
            normal(4, 5),
        )
        case(
            f"sigmoid_cross_entropy-{reduction}{tag}",
            lambda z, r=reduction, w=weight: F.sigmoid_cross_entropy(z, ROWS, w, r),
            normal(4, 5),
        )
case(
    "softmax_cross_entropy-time",
    lambda z: F.softmax_cross_entropy(z, [[1, 2, 0], [0, 1, 2]]),
    normal(2, 3, 3),
)
case(
    "softmax_cross_entropy-used-twice",
    lambda z: F.softmax_cross_entropy(z, LABELS, None, "mean") * 3.0 + F.mean(z),
    normal(4, 5),
)

# ---- elementwise
BINARY = {
    "add": (F.add, normal, normal),
    "subtract": (F.subtract, normal, normal),
    "multiply": (F.multiply, normal, normal),
    "divide": (F.divide, normal, positive),
    "power": (F.power, positive, normal),
    "maximum": (F.maximum, apart, normal),
    "minimum": (F.minimum, apart, normal),
}
SHAPES = {
    "same": ((3, 4), (3, 4)),
    "row": ((3, 4), (4,)),
    "column": ((3, 4), (3, 1)),
    "outer": ((3, 1), (1, 4)),
    "inner": ((2, 3, 4), (2, 1, 4)),
    "scalar": ((), (3, 4)),
    "scalars": ((), ()),
    "long": ((2, 1, 3, 1), (5, 1, 4)),
}
for name, (function, left, right) in BINARY.items():
    for tag, (a_shape, b_shape) in SHAPES.items():
        case(f"{name}-{tag}", function, left(*a_shape), right(*b_shape))
case("used-twice", lambda x: x * x + x - F.exp(x) * x, normal(3, 4))
case("numbers", lambda x: (2.0 - x) * 3 / (1 + x) + 1.5**x - x**3 + x**0.5, positive(3, 4))
case("power-2", lambda x: x**2, normal(3, 4))
UNARY = {
    "neg": normal, "exp": normal, "log": positive, "sqrt": positive, "square": normal, "abs": apart, "sign": apart,
    "reciprocal": positive, "sin": normal, "cos": normal,
}  # fmt: skip
for name, draw in UNARY.items():
    case(f"unary-{name}", getattr(F, name), draw(4, 5))
    case(f"unary-{name}-scalar", getattr(F, name), draw())
case("clip", lambda x: F.clip(x, -0.06, 0.13), apart(5, 6))
case("where", lambda a, b: F.where(np.eye(3, 4) > 0, a, b), normal(3, 4), normal(4))
case("where-condition-broadcast", lambda a, b: F.where(np.array([True, False]), a, b), normal(3, 1), normal(1, 2))

# ---- reduction
for name, draw in (("sum", normal), ("mean", normal), ("max", apart), ("min", apart)):
    for tag, options in {
        "all": {},
        "all-kept": {"keepdims": True},
        "first": {"axis": 0},
        "last": {"axis": -1},
        "middle-kept": {"axis": 1, "keepdims": True},
        "outer": {"axis": (0, 2)},
        "neighbours": {"axis": (1, 2)},
        "apart": {"axis": (0, 3)},
    }.items():
        case(f"{name}-{tag}", lambda x, n=name, o=options: getattr(F, n)(x, **o), draw(2, 3, 4, 2))
    case(f"{name}-scalar", getattr(F, name), draw())

# ---- shaping
case("reshape", lambda x: F.reshape(x, (4, -1)), normal(2, 3, 4))
case("flatten", F.flatten, normal(2, 3, 4))
case("transpose", F.transpose, normal(2, 3, 4))
case("transpose-axes", lambda x: F.transpose(x, (1, 2, 0, 3)), normal(2, 3, 4, 2))
case("concatenate", lambda a, b, c: F.concatenate([a, b, c], 1), normal(2, 3, 2), normal(2, 1, 2), normal(2, 4, 2))
case("concatenate-itself", lambda a: F.concatenate([a, a * 2.0, a], 0), normal(2, 3))
case("stack", lambda a, b: F.stack([a, b, a], 1), normal(2, 3), normal(2, 3))
case("pad", lambda x: F.pad(x, ((1, 2), (0, 0), (0, 3)), 1.5), normal(2, 3, 4))
case("pad-int", lambda x: F.pad(x, 1), normal(2, 3))
case("getitem", lambda x: x[1:, ::-2, 0], normal(3, 5, 2))
case("getitem-none", lambda x: x[..., None, 2], normal(3, 5))
case("getitem-element", lambda x: x[1, 2], normal(3, 5))
case("getitem-overlap", lambda x: x[:3] + x[1:4] + x[2:], normal(5, 2))
case("flip", lambda x: F.flip(x, (0, 2)), normal(2, 3, 4))
case("flip-all", F.flip, normal(2, 3))
case("broadcast_to", lambda x: F.broadcast_to(x, (2, 3, 4)), normal(3, 1))
case("expand_dims", lambda x: F.expand_dims(x, (0, -1)), normal(2, 3))
case("squeeze", lambda x: F.squeeze(x), normal(2, 1, 3, 1))
case("dropout", lambda x: F.dropout(x, 0.4, 11, 5), normal(7, 9))
case("dropout-noise-shape", lambda x: F.dropout(x, 0.5, 11, 5, (None, 1, None)), normal(3, 4, 5))

SMOOTH_BUT = {"activation-step", "unary-sign", "unary-sign-scalar"}  # zero gradients everywhere


@pytest.mark.parametrize("name", CASES)
def test_directional(active_backend, name: str) -> None:
    function, arrays = CASES[name]
    rng = np.random.default_rng(1)
    inputs = [Tensor(a.copy(), requires_grad=True) for a in arrays]
    result = function(*inputs)
    assert result.dtype == np.float64
    weight = rng.standard_normal(result.shape)
    result.backward(weight)
    gradients = [gradient(t) for t in inputs]

    def value(points: list[np.ndarray]) -> float:
        return float(np.sum(function(*[Tensor(np.asarray(p)) for p in points]).numpy() * weight))

    alone = [[i] for i in range(len(arrays))] if len(arrays) > 1 else []
    for moving in [*alone, range(len(arrays))]:
        for _ in range(2):
            along = [rng.standard_normal(a.shape) if i in moving else np.zeros(a.shape) for i, a in enumerate(arrays)]
            ahead = value([a + STEP * v for a, v in zip(arrays, along, strict=True)])
            behind = value([a - STEP * v for a, v in zip(arrays, along, strict=True)])
            measured = (ahead - behind) / (2 * STEP)
            parts = [np.sum(g * v) for g, v in zip(gradients, along, strict=True)]
            size = sum(np.linalg.norm(g) * np.linalg.norm(v) for g, v in zip(gradients, along, strict=True))
            assert abs(sum(parts) - measured) <= TOLERANCE * max(size, 1.0)
    assert all(g.shape == t.shape for g, t in zip(gradients, inputs, strict=True))
    if name not in SMOOTH_BUT:
        assert any(map(np.any, gradients))


def test_every_op_has_a_case() -> None:
    without_gradient = {
        "argmax", "cast", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "one_hot",
        "stop_gradient",
    }  # fmt: skip
    covered = {name.partition("-")[0] for name in CASES}
    covered |= {name.split("-")[1] for name in CASES if name.startswith(("unary-", "activation-"))}
    assert set(F.__all__) - without_gradient - covered == set()


@pytest.mark.parametrize(
    "name", ["linear-relu", "conv2d-same", "batchnorm-training", "lstm", "gru-reset-after", "embedding"]
)
def test_parameter_gradients_are_added_in_place(active_backend, name: str) -> None:
    function, arrays = CASES[name]
    fresh = [Tensor(a, requires_grad=True) for a in arrays]
    function(*fresh).sum().backward()
    held = [Tensor(a, requires_grad=True) for a in arrays]
    buffers = [active_backend.asarray(np.full(a.shape, 0.5)) for a in arrays]
    for tensor, buffer in zip(held, buffers, strict=True):
        tensor.grad = buffer
    for _ in range(2):
        function(*held).sum().backward()
    for tensor, other, buffer in zip(held, fresh, buffers, strict=True):
        assert tensor.grad is buffer
        np.testing.assert_allclose(gradient(tensor), 2 * gradient(other) + 0.5, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("name", ["linear-relu", "conv2d-same", "batchnorm-training", "batchnorm-inference", "lstm"])
def test_frozen_inputs_get_no_gradient(active_backend, name: str, frozen: tuple[int, ...]) -> None:
    function, arrays = CASES[name]
    free = [Tensor(a, requires_grad=True) for a in arrays]
    function(*free).sum().backward()
    partly = [Tensor(a, requires_grad=i not in frozen) for i, a in enumerate(arrays)]
    function(*partly).sum().backward()
    for i, (tensor, other) in enumerate(zip(partly, free, strict=True)):
        if i in frozen:
            assert tensor.grad is None
        else:
            np.testing.assert_allclose(gradient(tensor), gradient(other), rtol=1e-12, atol=1e-12)


def test_power_at_zero(active_backend) -> None:
    base = Tensor(np.array([0.0, 0.0, 0.0, 2.0]), requires_grad=True)
    exponent = Tensor(np.array([0.0, 1.0, 2.0, 3.0]), requires_grad=True)
    (base**exponent).sum().backward()
    np.testing.assert_allclose(gradient(base), [0.0, 1.0, 0.0, 12.0])
    np.testing.assert_allclose(gradient(exponent), [0.0, 0.0, 0.0, 8 * np.log(2)])


def test_ties_share_the_gradient(active_backend) -> None:
    a, b = Tensor([1.0, 2.0, 3.0], requires_grad=True), Tensor([1.0, 3.0, 2.0], requires_grad=True)
    F.maximum(a, b).sum().backward()
    np.testing.assert_array_equal(gradient(a), [0.5, 0.0, 1.0])
    np.testing.assert_array_equal(gradient(b), [0.5, 1.0, 0.0])
    x = Tensor([[2.0, 5.0, 5.0], [1.0, 1.0, 1.0]], requires_grad=True)
    x.max(axis=1).sum().backward()
    np.testing.assert_allclose(gradient(x), [[0, 0.5, 0.5], [1 / 3] * 3])


def test_kinks_take_the_left_side(active_backend) -> None:
    for kind in ("relu", "leaky_relu", "elu", "relu6"):
        x = Tensor([0.0], requires_grad=True)
        F.activation(x, kind).backward()
        assert gradient(x)[0] == pytest.approx({"leaky_relu": 0.2, "elu": 1.0}.get(kind, 0.0))
    x = Tensor([0.0], requires_grad=True)
    F.abs(x).backward()
    assert gradient(x)[0] == 0


# ---- float32 against PyTorch


def torch_cases() -> dict[str, tuple[Callable, Callable, list[np.ndarray]]]:
    def nchw(x: Any) -> Any:
        return x.permute(0, 3, 1, 2)

    def nhwc(x: Any) -> Any:
        return x.permute(0, 2, 3, 1)

    def conv(t: Any, x: Any, w: Any, b: Any, **options: Any) -> Any:
        return nhwc(t.nn.functional.conv2d(nchw(x), w.permute(3, 2, 0, 1), b, **options))

    def lstm(t: Any, x: Any, w: Any, u: Any, b: Any) -> Any:
        zero = t.zeros(1, x.shape[0], u.shape[0])
        return t.lstm(x, (zero, zero), [w.T, u.T, b, t.zeros_like(b)], True, 1, 0.0, False, False, True)[0]

    def batchnorm_training(t: Any, x: Any, g: Any, b: Any) -> Any:
        return t.nn.functional.batch_norm(x, None, None, g, b, True, 0.1, 1e-3)

    return {
        "linear": (F.linear, lambda t, x, w, b: x @ w + b, [normal(17, 33), normal(33, 9), normal(9)]),
        "conv2d": (
            lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 1, 1, 1)),
            lambda t, x, w, b: conv(t, x, w, b, stride=(2, 1), padding=1),
            [normal(2, 9, 8, 5), normal(3, 3, 5, 7), normal(7)],
        ),
        "conv2d-groups-dilation": (
            lambda x, w, b: F.conv2d(x, w, b, dilation=2, groups=2),
            lambda t, x, w, b: conv(t, x, w, b, dilation=2, groups=2),
            [normal(2, 9, 8, 6), normal(3, 3, 3, 8), normal(8)],
        ),
        "max_pool2d": (
            lambda x: F.max_pool2d(x, 3, 2, (1, 1, 1, 1)),
            lambda t, x: nhwc(t.nn.functional.max_pool2d(nchw(x), 3, 2, 1)),
            [normal(2, 9, 8, 3)],
        ),
        "avg_pool2d": (
            lambda x: F.avg_pool2d(x, 3, 2, (1, 1, 1, 1)),
            lambda t, x: nhwc(t.nn.functional.avg_pool2d(nchw(x), 3, 2, 1, count_include_pad=False)),
            [normal(2, 9, 8, 3)],
        ),
        "batchnorm": (batchnorm, batchnorm_training, [normal(32, 5) * 2 + 3, normal(5), normal(5)]),
        "layernorm": (
            F.layernorm,
            lambda t, x, g, b: t.nn.functional.layer_norm(x, (6,), g, b, 1e-3),
            [normal(4, 6), normal(6), normal(6)],
        ),
        "lstm": (
            lambda x, w, u, b: F.lstm(x, w, u, b)[0],
            lstm,
            [normal(3, 6, 4), normal(4, 20) / 2, normal(5, 20) / 2, normal(20)],
        ),
        "softmax": (F.softmax, lambda t, x: t.softmax(x, -1), [normal(6, 10) * 3]),
        "cross-entropy": (
            lambda z: F.softmax_cross_entropy(z, LABELS),
            lambda t, z: t.nn.functional.cross_entropy(z, t.tensor(LABELS), reduction="none"),
            [normal(4, 5) * 4],
        ),
        "gelu": (F.gelu, lambda t, x: t.nn.functional.gelu(x), [normal(9, 9)]),
        "broadcasting": (
            lambda a, b: F.exp(a * b) / (a * a + 1.0) - F.maximum(a, b),
            lambda t, a, b: t.exp(a * b) / (a * a + 1) - t.maximum(a, b),
            [normal(4, 1, 3), normal(5, 3)],
        ),
    }


@pytest.mark.parametrize("name", torch_cases())
def test_float32_like_torch(active_backend, name: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs, arrays = torch_cases()[name]
    arrays = [a.astype(np.float32) for a in arrays]
    inputs = [Tensor(a, requires_grad=True) for a in arrays]
    if name == "batchnorm":
        features = arrays[0].shape[-1]
        mean, var = Tensor(np.zeros(features, np.float32)), Tensor(np.ones(features, np.float32))
        y = F.batchnorm(*inputs, mean, var, True)
    else:
        y = ours(*inputs)
    others = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = theirs(torch, *others)
    weight = np.random.default_rng(3).standard_normal(y.shape).astype(np.float32)
    y.backward(weight)
    expected.backward(torch.tensor(weight))
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=2e-5, atol=2e-5)
    for tensor, other in zip(inputs, others, strict=True):
        scale = max(float(other.grad.abs().max()), 1.0)
        np.testing.assert_allclose(gradient(tensor), other.grad.numpy(), rtol=2e-5, atol=2e-5 * scale)
