"""Elementwise arithmetic with broadcasting, comparison, selection and copying: each one NumPy function.

What the result of a bad operand is (NaN, ±∞) follows IEEE 754; NumPy's warnings about it are silenced.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

_UNARY = {
    "neg": np.negative,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "square": np.square,
    "abs": np.abs,
    "sign": np.sign,
    "reciprocal": np.reciprocal,
    "sin": np.sin,
    "cos": np.cos,
}
_BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
_COMPARE = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}


def unary(x: Array, y: Array, op: str) -> None:
    """See `Backend.unary`."""
    with np.errstate(all="ignore"):
        _UNARY[op](x, out=y)


def unary_backward(dy: Array, x: Array, y: Array, dx: Array, op: str) -> None:
    """See `Backend.unary_backward`."""
    with np.errstate(all="ignore"):
        if op == "neg":
            np.negative(dy, out=dx)
        elif op == "exp":
            np.multiply(dy, y, out=dx)
        elif op == "log":
            np.divide(dy, x, out=dx)
        elif op == "sqrt":
            dx[...] = dy * 0.5 / y
        elif op == "square":
            dx[...] = 2 * dy * x
        elif op == "abs":
            dx[...] = dy * np.sign(x)
        elif op == "sign":
            dx[...] = 0
        elif op == "reciprocal":
            dx[...] = -dy * y * y
        elif op == "sin":
            dx[...] = dy * np.cos(x)
        elif op == "cos":
            dx[...] = -dy * np.sin(x)
        else:
            raise ValueError(f"op: unknown operation {op!r}")


def binary(a: Array, b: Array, y: Array, op: str) -> None:
    """See `Backend.binary`."""
    with np.errstate(all="ignore"):
        _BINARY[op](a, b, out=y)


def compare(a: Array, b: Array, y: Array, op: str) -> None:
    """See `Backend.compare`."""
    _COMPARE[op](a, b, out=y)


def select(condition: Array, a: Array, b: Array, y: Array) -> None:
    """See `Backend.select`."""
    y[...] = np.where(condition, a, b)


def copy(x: Array, y: Array) -> None:
    """See `Backend.copy`."""
    with np.errstate(all="ignore"):
        np.copyto(y, x, casting="unsafe")


def fill(y: Array, value: float) -> None:
    """See `Backend.fill`."""
    with np.errstate(all="ignore"):
        np.copyto(y, value, casting="unsafe")
