"""Activations, softmax and their gradients.

Each formula is written so that it neither overflows nor cancels: the sigmoid, softplus and softmax only ever take the
exponential of a number ≤ 0. This is the plain version; the fast engines fuse each into one pass with their own exp.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

Array = np.ndarray

# Klambauer et al. 2017, "Self-Normalizing Neural Networks".
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805

# W. J. Cody 1969, "Rational Chebyshev approximations for the error function", as in his program CALERF: each interval's
# numerator and denominator, highest power first. Good to the last digits of float64.
_ERF_NEAR = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e0,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_ERFC_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
_ERFC_FAR = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346047e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)  # fmt: skip


def _rational(x: Array, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Array:
    sums = []
    for polynomial in coefficients:
        total = np.full_like(x, polynomial[0])
        for c in polynomial[1:]:
            total *= x
            total += c
        sums.append(total)
    return sums[0] / sums[1]


def _erfc(x: Array) -> Array:
    """1 − erf(x)."""
    size = np.abs(x)
    result = np.empty_like(x)
    near = size <= 0.46875
    v = x[near]
    result[near] = 1 - v * _rational(v * v, _ERF_NEAR)
    middle = ~near & (size <= 4.0)
    v = size[middle]
    result[middle] = np.exp(-v * v) * _rational(v, _ERFC_MIDDLE)
    far = ~(near | middle)
    v = np.minimum(size[far], 1e9)  # keeps v² finite
    inverse = 1 / (v * v)
    result[far] = np.exp(-v * v) / v * (1 / sqrt(pi) - inverse * _rational(inverse, _ERFC_FAR))
    return np.where(~near & (x < 0), 2 - result, result)


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _normal_cdf(x: Array) -> Array:
    return 0.5 * _erfc(x * -sqrt(0.5))


def activation(x: Array, y: Array, kind: str, alpha: float) -> None:
    """See `Backend.activation`."""
    if kind == "linear":
        if y is not x:
            y[...] = x
    elif kind == "relu":
        np.maximum(x, 0, out=y)
    elif kind == "sigmoid":
        y[...] = _sigmoid(x)
    elif kind == "tanh":
        np.tanh(x, out=y)
    elif kind == "leaky_relu":
        y[...] = np.where(x > 0, x, alpha * x)
    elif kind == "elu":
        y[...] = np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
    elif kind == "selu":
        y[...] = SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0)))
    elif kind == "exponential":
        with np.errstate(over="ignore"):
            np.exp(x, out=y)
    elif kind == "softplus":
        y[...] = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    elif kind == "softsign":
        y[...] = x / (1 + np.abs(x))
    elif kind == "silu":
        y[...] = x * _sigmoid(x)
    elif kind == "gelu":
        y[...] = x * _normal_cdf(x)
    elif kind == "relu6":
        np.clip(x, 0, 6, out=y)
    elif kind == "hard_sigmoid":
        y[...] = np.clip(x / 6 + 0.5, 0, 1)
    elif kind == "step":
        y[...] = x > 0
    else:
        raise ValueError(f"kind: unknown activation {kind!r}")


def activation_backward(dy: Array, x: Array | None, y: Array, dx: Array, kind: str, alpha: float) -> None:
    """See `Backend.activation_backward`."""
    if kind == "linear":
        dx[...] = dy
    elif kind == "relu":
        dx[...] = np.where(y > 0, dy, 0)
    elif kind == "sigmoid":
        dx[...] = dy * y * (1 - y)
    elif kind == "tanh":
        dx[...] = dy * (1 - y * y)
    elif kind == "leaky_relu":
        dx[...] = np.where(y > 0, dy, alpha * dy)
    elif kind == "elu":
        dx[...] = dy * np.where(y > 0, 1, y + alpha)
    elif kind == "selu":
        dx[...] = dy * np.where(y > 0, SELU_SCALE, y + SELU_SCALE * SELU_ALPHA)
    elif kind == "exponential":
        dx[...] = dy * y
    elif kind == "step":
        dx[...] = 0
    elif x is None:
        raise ValueError(f"x: the gradient of {kind!r} needs the input, got None")
    elif kind == "softplus":
        dx[...] = dy * _sigmoid(x)
    elif kind == "softsign":
        dx[...] = dy / np.square(1 + np.abs(x))
    elif kind == "silu":
        s = _sigmoid(x)
        dx[...] = dy * s * (1 + x * (1 - s))
    elif kind == "gelu":
        with np.errstate(over="ignore"):
            density = np.exp(-0.5 * x * x) / sqrt(2 * pi)
        dx[...] = dy * (_normal_cdf(x) + x * density)
    elif kind == "relu6":
        dx[...] = np.where((x > 0) & (x <= 6), dy, 0)
    elif kind == "hard_sigmoid":
        dx[...] = np.where((x > -3) & (x <= 3), dy / 6, 0)
    else:
        raise ValueError(f"kind: unknown activation {kind!r}")


def softmax(x: Array, y: Array) -> None:
    """See `Backend.softmax`."""
    if x.size == 0:
        return
    np.exp(x - x.max(axis=1, keepdims=True), out=y)
    y /= y.sum(axis=1, keepdims=True)


def softmax_backward(dy: Array, y: Array, dx: Array) -> None:
    """See `Backend.softmax_backward`."""
    dx[...] = y * (dy - (dy * y).sum(axis=1, keepdims=True))


def log_softmax(x: Array, y: Array) -> None:
    """See `Backend.log_softmax`."""
    if x.size == 0:
        return
    np.subtract(x, x.max(axis=1, keepdims=True), out=y)
    y -= np.log(np.exp(y).sum(axis=1, keepdims=True))


def log_softmax_backward(dy: Array, y: Array, dx: Array) -> None:
    """See `Backend.log_softmax_backward`."""
    dx[...] = dy - np.exp(y) * dy.sum(axis=1, keepdims=True)
