"""Activations and softmax."""

from __future__ import annotations

from typing import Any

from ..backends.interface import ACTIVATIONS, Array, Backend
from ..backends.registry import current
from ..tensor import Tensor, on_tape
from .arguments import at_least_1d, axis_of, like_tensor, meant, op, real_tensor
from .elementwise import add, multiply, neg, subtract
from .shaping import contiguous

_FROM_OUTPUT = frozenset(("linear", "relu", "sigmoid", "tanh", "leaky_relu", "elu", "selu", "exponential"))
_ALPHA = {"leaky_relu": 0.2, "elu": 1.0}


def _activation(name: str, x: Any, kind: str, alpha: float) -> Tensor:
    x = real_tensor(name, x)
    if kind == "linear":
        return x
    backend = current()
    xd = at_least_1d(x.data)
    y = backend.empty(x.data.shape, xd.dtype)
    flat = at_least_1d(y)
    backend.activation(xd, flat, kind, alpha)
    kept = None if kind in _FROM_OUTPUT else xd

    def backward(dy: Array) -> tuple:
        dx = backend.empty(dy.shape, dy.dtype)
        backend.activation_backward(at_least_1d(dy), kept, flat, at_least_1d(dx), kind, alpha)
        return (dx,)

    result = on_tape(y, (x,), backward, backend)
    if kind == "sigmoid":
        result.logits = x
        result.logits_kind = kind
    return result


@op
def activation(x: Any, kind: str, alpha: float | None = None) -> Tensor:
    """kind(x), kind one of ACTIVATIONS. alpha: slope of leaky_relu (0.2), scale of elu (1.0).

    Raises:
        ValueError: an unknown kind, or alpha < 0.
        TypeError: x is not float.
    """
    if kind not in ACTIVATIONS:
        raise ValueError(f"activation: kind must be one of {', '.join(ACTIVATIONS)}, got {kind!r}{meant(kind)}")
    alpha = _ALPHA.get(kind, 0.0) if alpha is None else float(alpha)
    if alpha < 0:
        raise ValueError(f"activation: alpha must not be negative, got {alpha}")
    return _activation("activation", x, kind, alpha)


@op
def relu(x: Any) -> Tensor:
    """max(x, 0); the gradient at 0 is 0."""
    return _activation("relu", x, "relu", 0.0)


@op
def sigmoid(x: Any) -> Tensor:
    """1 / (1 + e⁻ˣ); the result remembers x as `.logits`."""
    return _activation("sigmoid", x, "sigmoid", 0.0)


@op
def tanh(x: Any) -> Tensor:
    """Hyperbolic tangent."""
    return _activation("tanh", x, "tanh", 0.0)


@op
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Tensor:
    """x above 0, negative_slope · x below. Raises ValueError for a negative slope."""
    if negative_slope < 0:
        raise ValueError(f"leaky_relu: negative_slope must not be negative, got {negative_slope}")
    return _activation("leaky_relu", x, "leaky_relu", float(negative_slope))


@op
def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x above 0, alpha (eˣ − 1) below. Raises ValueError for a negative alpha."""
    if alpha < 0:
        raise ValueError(f"elu: alpha must not be negative, got {alpha}")
    return _activation("elu", x, "elu", float(alpha))


@op
def selu(x: Any) -> Tensor:
    """λ x above 0, λ α (eˣ − 1) below (Klambauer et al. 2017)."""
    return _activation("selu", x, "selu", 0.0)


@op
def exponential(x: Any) -> Tensor:
    """eˣ."""
    return _activation("exponential", x, "exponential", 0.0)


@op
def softplus(x: Any) -> Tensor:
    """log(1 + eˣ)."""
    return _activation("softplus", x, "softplus", 0.0)


@op
def softsign(x: Any) -> Tensor:
    """x / (1 + |x|)."""
    return _activation("softsign", x, "softsign", 0.0)


@op
def silu(x: Any) -> Tensor:
    """x · sigmoid(x), also called swish."""
    return _activation("silu", x, "silu", 0.0)


@op
def gelu(x: Any, approximate: bool = False) -> Tensor:
    """x · Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016); approximate: its form with tanh."""
    x = real_tensor("gelu", x)
    if not approximate:
        return _activation("gelu", x, "gelu", 0.0)
    inner = multiply(add(multiply(multiply(multiply(x, x), x), 0.044715), x), 0.7978845608028654)  # √(2/π)
    return multiply(multiply(x, 0.5), add(_activation("gelu", inner, "tanh", 0.0), 1.0))


@op
def relu6(x: Any) -> Tensor:
    """x kept within 0 … 6."""
    return _activation("relu6", x, "relu6", 0.0)


@op
def hard_sigmoid(x: Any) -> Tensor:
    """x/6 + 1/2 kept within 0 … 1."""
    return _activation("hard_sigmoid", x, "hard_sigmoid", 0.0)


@op
def step(x: Any) -> Tensor:
    """1 where x > 0, else 0; the gradient is 0."""
    return _activation("step", x, "step", 0.0)


@op
def prelu(x: Any, alpha: Any) -> Tensor:
    """x above 0, alpha · x below, alpha learned and broadcast against x (He et al. 2015)."""
    x = real_tensor("prelu", x)
    alpha = like_tensor("prelu", alpha, "alpha", x)
    below = _activation("prelu", neg(x), "relu", 0.0)
    return subtract(_activation("prelu", x, "relu", 0.0), multiply(alpha, below))


def _rows(name: str, x: Tensor, axis: int, backend: Backend) -> tuple[Array, tuple[int, ...] | None]:
    """x with axis last and contiguous, and the order of axes that puts it back."""
    ndim = x.data.ndim
    place = axis_of(name, axis, ndim)
    if x.data.shape[place] == 0:
        raise ValueError(f"{name}: axis {axis} of x is empty, got shape {x.data.shape}")
    if place == ndim - 1:
        return x.data, None
    order = [i for i in range(ndim) if i != place] + [place]
    return contiguous(backend, x.data.transpose(order)), tuple([order.index(i) for i in range(ndim)])


def _softmax(name: str, x: Tensor, axis: int) -> Tensor:
    backend = current()
    rows, back = _rows(name, x, axis, backend)
    flat = (rows.size // rows.shape[-1], rows.shape[-1])
    shape = rows.shape
    y = backend.empty(flat, rows.dtype)
    getattr(backend, name)(rows.reshape(flat), y)
    forth = None if back is None else tuple([back.index(i) for i in range(len(back))])

    def backward(dy: Array) -> tuple:
        if forth is not None:
            dy = contiguous(backend, dy.transpose(forth))
        dx = backend.empty(flat, dy.dtype)
        getattr(backend, f"{name}_backward")(dy.reshape(flat), y, dx)
        dx = dx.reshape(shape)
        return (dx if back is None else contiguous(backend, dx.transpose(back)),)

    result = y.reshape(shape)
    return on_tape(result if back is None else contiguous(backend, result.transpose(back)), (x,), backward, backend)


@op
def softmax(x: Any, axis: int = -1) -> Tensor:
    """eˣ / Σ eˣ along axis; over the last one the result remembers x as `.logits`.

    Raises:
        ValueError: the axis is empty or out of range.
    """
    x = real_tensor("softmax", x)
    result = _softmax("softmax", x, axis)
    if axis in (-1, x.data.ndim - 1):
        result.logits = x
        result.logits_kind = "softmax"
    return result


@op
def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """x − log Σ eˣ along axis. Raises ValueError for an empty axis."""
    return _softmax("log_softmax", real_tensor("log_softmax", x), axis)
