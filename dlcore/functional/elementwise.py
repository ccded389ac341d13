"""Arithmetic, comparison and selection, with NumPy's broadcasting.

Kernels compute in float32 or float64. Integers and bools meet a float operand in its dtype; among themselves they are
computed in float64 and returned as integers (exact below 2⁵³), or as float32 where the result is a fraction. A Python
number adopts the tensor's dtype, unless that would lose its fraction. float32 with float64 is an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends.interface import Array, Backend
from ..backends.registry import current
from ..tensor import FLOAT32, FLOAT64, Tensor, as_tensor, on_tape, wrap
from .arguments import BOOL, at_least_1d, broadcast_shape, converted, number, op, raise_dtypes, real_tensor
from .reduction import scaled, summed_to

_FRACTIONS = ("divide", "power")  # what integers give as float32


def constant(backend: Backend, value: float, dtype: np.dtype) -> Array:
    array = backend.empty((1,), dtype)
    backend.fill(array, value)
    return array


def _operands(name: str, a: Any, b: Any) -> tuple:
    """(tensor or None, array) for a and for b, the backend, the result's shape, and the integer type to return."""
    backend = current()
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        ad, bd = a.data, b.data
        dtype = ad.dtype
        if (dtype is FLOAT32 or dtype is FLOAT64) and dtype is bd.dtype:
            shape = ad.shape
            if shape != bd.shape:
                shape = broadcast_shape(name, shape, bd.shape)
            return a, ad if ad.ndim else ad.reshape(1), b, bd if bd.ndim else bd.reshape(1), backend, shape, None
    elif isinstance(b, (int, float)) and isinstance(a, Tensor):
        ad = a.data
        dtype = ad.dtype
        if dtype.kind == "f":
            return a, at_least_1d(ad), None, constant(backend, b, dtype), backend, ad.shape, None
    elif isinstance(a, (int, float)) and isinstance(b, Tensor):
        bd = b.data
        dtype = bd.dtype
        if dtype.kind == "f":
            return None, constant(backend, a, dtype), b, at_least_1d(bd), backend, bd.shape, None
    integer = None
    scalar_a, scalar_b = _is_number(a), _is_number(b)
    if not isinstance(a, Tensor):
        a = as_tensor(a)
    if not isinstance(b, Tensor):
        b = as_tensor(b)
    ad, bd = a.data, b.data
    if ad.dtype != bd.dtype or ad.dtype.kind != "f":
        dtype, integer = _common(name, ad.dtype, bd.dtype, scalar_a, scalar_b)
        ad, bd = converted(backend, ad, dtype), converted(backend, bd, dtype)
    shape = ad.shape if ad.shape == bd.shape else broadcast_shape(name, ad.shape, bd.shape)
    return a, at_least_1d(ad), b, at_least_1d(bd), backend, shape, integer


def _is_number(x: Any) -> str:
    """ "int" or "float" for a Python or NumPy scalar, else ""."""
    if isinstance(x, (int, np.integer, np.bool_)):
        return "int"
    return "float" if isinstance(x, (float, np.floating)) else ""


def _common(name: str, a: np.dtype, b: np.dtype, number_a: str, number_b: str) -> tuple[np.dtype, np.dtype | None]:
    """The dtype to compute in and, if both are integers, the integer dtype of the result."""
    if number_a and not number_b:
        a, b, number_b = b, a, number_a
    if number_b:
        if a.kind == "f":
            return a, None
        if number_b == "float":
            return FLOAT32, None
        return FLOAT64, np.dtype(np.int32) if a == BOOL else a
    if a.kind == "f" and b.kind == "f":
        if a != b:
            raise_dtypes(name, "a", a, "b", b)
        return a, None
    if a.kind == "f" or b.kind == "f":
        return (a if a.kind == "f" else b), None
    return FLOAT64, np.dtype(np.int32) if a == b == BOOL else np.result_type(a, b)


def _binary(name: str, kind: str, a: Any, b: Any) -> tuple:
    a, ad, b, bd, backend, shape, integer = _operands(name, a, b)
    y = backend.empty(shape, ad.dtype)
    backend.binary(ad, bd, at_least_1d(y), kind)
    if integer is not None:
        y = converted(backend, y, FLOAT32 if name in _FRACTIONS else integer)
    return a, ad, b, bd, backend, y


def _wants(x: Tensor | None) -> bool:
    return x is not None and x.requires_grad


def _product(backend: Backend, a: Array, b: Array, shape: tuple[int, ...], kind: str = "mul") -> Array:
    y = backend.empty(shape, a.dtype)
    backend.binary(at_least_1d(a), at_least_1d(b), at_least_1d(y), kind)
    return y


@op
def add(a: Any, b: Any) -> Tensor:
    """a + b."""
    a, _, b, _, backend, y = _binary("add", "add", a, b)
    a_shape = a.data.shape if _wants(a) else None
    b_shape = b.data.shape if _wants(b) else None

    def backward(dy: Array) -> tuple:
        return (
            None if a_shape is None else summed_to(backend, dy, a_shape),
            None if b_shape is None else summed_to(backend, dy, b_shape),
        )

    return on_tape(y, (a, b), backward, backend)


@op
def subtract(a: Any, b: Any) -> Tensor:
    """a − b."""
    a, _, b, _, backend, y = _binary("subtract", "sub", a, b)
    a_shape = a.data.shape if _wants(a) else None
    b_shape = b.data.shape if _wants(b) else None

    def backward(dy: Array) -> tuple:
        db = None
        if b_shape is not None:
            part = summed_to(backend, dy, b_shape)
            db = backend.empty(b_shape, dy.dtype)
            backend.unary(at_least_1d(part), at_least_1d(db), "neg")
        return None if a_shape is None else summed_to(backend, dy, a_shape), db

    return on_tape(y, (a, b), backward, backend)


@op
def multiply(a: Any, b: Any) -> Tensor:
    """a · b, element by element."""
    a, ad, b, bd, backend, y = _binary("multiply", "mul", a, b)
    a_shape = a.data.shape if _wants(a) else None
    b_shape = b.data.shape if _wants(b) else None

    def backward(dy: Array) -> tuple:
        da = db = None
        if a_shape is not None:
            da = summed_to(backend, _product(backend, dy, bd, dy.shape), a_shape)
        if b_shape is not None:
            db = summed_to(backend, _product(backend, dy, ad, dy.shape), b_shape)
        return da, db

    return on_tape(y, (a, b), backward, backend)


@op
def divide(a: Any, b: Any) -> Tensor:
    """a / b, element by element."""
    a, _, b, bd, backend, y = _binary("divide", "div", a, b)
    a_shape = a.data.shape if _wants(a) else None
    b_shape = b.data.shape if _wants(b) else None

    def backward(dy: Array) -> tuple:
        part = _product(backend, dy, bd, dy.shape, "div")
        db = None
        if b_shape is not None:
            db = _product(backend, part, y, dy.shape)
            backend.unary(at_least_1d(db), at_least_1d(db), "neg")
            db = summed_to(backend, db, b_shape)
        return None if a_shape is None else summed_to(backend, part, a_shape), db

    return on_tape(y, (a, b), backward, backend)


@op
def power(a: Any, b: Any) -> Tensor:
    """a raised to b, element by element. The gradient with respect to b is 0 where a ≤ 0."""
    if isinstance(b, (int, float)) and b == 2 and isinstance(a, Tensor) and a.data.dtype.kind == "f":
        return square(a)
    a, ad, b, bd, backend, y = _binary("power", "pow", a, b)
    a_shape = a.data.shape if _wants(a) else None
    b_shape = b.data.shape if _wants(b) else None

    def backward(dy: Array) -> tuple:
        da = db = None
        shape = dy.shape or (1,)
        one, zero = constant(backend, 1.0, dy.dtype), constant(backend, 0.0, dy.dtype)
        dy = at_least_1d(dy)
        if a_shape is not None:  # b a^(b − 1), and 0 for b = 0 even where a = 0
            less = _product(backend, bd, one, bd.shape, "sub")
            part = _product(backend, _product(backend, ad, less, shape, "pow"), bd, shape)
            absent = backend.empty(bd.shape, BOOL)
            backend.compare(bd, zero, absent, "equal")
            da = _product(backend, dy, part, shape)
            backend.select(absent, zero, da, da)
            da = summed_to(backend, da.reshape(y.shape), a_shape)
        if b_shape is not None:
            positive = backend.empty(ad.shape, BOOL)
            backend.compare(ad, zero, positive, "greater")
            logarithm = backend.empty(ad.shape, dy.dtype)
            backend.select(positive, ad, one, logarithm)
            backend.unary(logarithm, logarithm, "log")
            db = _product(backend, _product(backend, dy, at_least_1d(y), shape), logarithm, shape)
            db = summed_to(backend, db.reshape(y.shape), b_shape)
        return da, db

    return on_tape(y, (a, b), backward, backend)


def _extreme(name: str, larger: str, a: Any, b: Any) -> Tensor:
    a, ad, b, bd, backend, y = _binary(name, name, a, b)
    a_shape = a.data.shape if _wants(a) else None
    b_shape = b.data.shape if _wants(b) else None

    def backward(dy: Array) -> tuple:
        flat = at_least_1d(dy)
        zero = constant(backend, 0.0, dy.dtype)
        half = scaled(backend, flat, 0.5)
        same = backend.empty(flat.shape, BOOL)
        backend.compare(ad, bd, same, "equal")

        def part(first: Array, second: Array, shape: tuple[int, ...]) -> Array:
            wins = backend.empty(flat.shape, BOOL)
            backend.compare(first, second, wins, larger)
            grad = backend.empty(flat.shape, flat.dtype)
            backend.select(wins, flat, zero, grad)
            backend.select(same, half, grad, grad)
            return summed_to(backend, grad.reshape(dy.shape), shape)

        return (
            None if a_shape is None else part(ad, bd, a_shape),
            None if b_shape is None else part(bd, ad, b_shape),
        )

    return on_tape(y, (a, b), backward, backend)


@op
def maximum(a: Any, b: Any) -> Tensor:
    """The larger of a and b, element by element; equal ones share the gradient. NaN is passed on."""
    return _extreme("maximum", "greater", a, b)


@op
def minimum(a: Any, b: Any) -> Tensor:
    """The smaller of a and b, element by element; equal ones share the gradient. NaN is passed on."""
    return _extreme("minimum", "less", a, b)


@op
def clip(x: Any, x_min: float, x_max: float) -> Tensor:
    """x kept within x_min … x_max; the gradient passes where it was, the ends included.

    Raises:
        ValueError: x_min > x_max.
        TypeError: one of them is no number.
    """
    x = real_tensor("clip", x)
    low, high = number("clip", "x_min", x_min), number("clip", "x_max", x_max)
    if low > high:
        raise ValueError(f"clip: x_min must not exceed x_max, got {x_min} and {x_max}")
    backend = current()
    xd = at_least_1d(x.data)
    y = backend.empty(x.data.shape, xd.dtype)
    flat = at_least_1d(y)
    backend.binary(xd, constant(backend, low, xd.dtype), flat, "maximum")
    backend.binary(flat, constant(backend, high, xd.dtype), flat, "minimum")

    def backward(dy: Array) -> tuple:
        inside = backend.empty(xd.shape, BOOL)
        backend.compare(xd, flat, inside, "equal")
        dx = backend.empty(dy.shape, dy.dtype)
        backend.select(inside, at_least_1d(dy), constant(backend, 0.0, dy.dtype), at_least_1d(dx))
        return (dx,)

    return on_tape(y, (x,), backward, backend)


@op
def where(condition: Any, a: Any, b: Any) -> Tensor:
    """a where condition holds, else b; all three are broadcast. A condition of numbers holds where it is not 0."""
    if not isinstance(condition, Tensor):
        condition = as_tensor(condition)
    a, ad, b, bd, backend, shape, integer = _operands("where", a, b)
    chosen = at_least_1d(converted(backend, condition.data, BOOL))
    shape = broadcast_shape("where", condition.data.shape, shape)
    y = backend.empty(shape, ad.dtype)
    backend.select(chosen, ad, bd, at_least_1d(y))
    if integer is not None:
        y = converted(backend, y, integer)
    a_shape = a.data.shape if _wants(a) else None
    b_shape = b.data.shape if _wants(b) else None

    def backward(dy: Array) -> tuple:
        zero = constant(backend, 0.0, dy.dtype)
        flat = at_least_1d(dy)
        da = db = None
        if a_shape is not None:
            da = backend.empty(dy.shape, dy.dtype)
            backend.select(chosen, flat, zero, at_least_1d(da))
            da = summed_to(backend, da, a_shape)
        if b_shape is not None:
            db = backend.empty(dy.shape, dy.dtype)
            backend.select(chosen, zero, flat, at_least_1d(db))
            db = summed_to(backend, db, b_shape)
        return da, db

    return on_tape(y, (a, b), backward, backend)


def _compare(kind: str, a: Any, b: Any) -> Tensor:
    _, ad, _, bd, backend, shape, _ = _operands(kind, a, b)
    y = backend.empty(shape, BOOL)
    backend.compare(ad, bd, at_least_1d(y), kind)
    return wrap(y)


@op
def equal(a: Any, b: Any) -> Tensor:
    """a = b, element by element, as bools without gradient; so are the five below."""
    return _compare("equal", a, b)


@op
def not_equal(a: Any, b: Any) -> Tensor:
    """a ≠ b."""
    return _compare("not_equal", a, b)


@op
def less(a: Any, b: Any) -> Tensor:
    """a < b."""
    return _compare("less", a, b)


@op
def less_equal(a: Any, b: Any) -> Tensor:
    """a ≤ b."""
    return _compare("less_equal", a, b)


@op
def greater(a: Any, b: Any) -> Tensor:
    """a > b."""
    return _compare("greater", a, b)


@op
def greater_equal(a: Any, b: Any) -> Tensor:
    """a ≥ b."""
    return _compare("greater_equal", a, b)


def _unary(kind: str, x: Any, keeps_integers: bool = False) -> Tensor:
    if not isinstance(x, Tensor):
        x = as_tensor(x)
    backend = current()
    xd = at_least_1d(x.data)
    shape = x.data.shape
    if xd.dtype.kind != "f":
        integer = xd.dtype if keeps_integers and xd.dtype != BOOL else None
        xd = converted(backend, xd, FLOAT32 if integer is None else FLOAT64)
        flat = backend.empty(xd.shape, xd.dtype)
        backend.unary(xd, flat, kind)
        return wrap((flat if integer is None else converted(backend, flat, integer)).reshape(shape))
    y = backend.empty(shape, xd.dtype)
    flat = at_least_1d(y)
    backend.unary(xd, flat, kind)

    def backward(dy: Array) -> tuple:
        dx = backend.empty(shape, dy.dtype)
        backend.unary_backward(at_least_1d(dy), xd, flat, at_least_1d(dx), kind)
        return (dx,)

    return on_tape(y, (x,), backward, backend)


@op
def neg(x: Any) -> Tensor:
    """−x."""
    return _unary("neg", x, True)


@op
def exp(x: Any) -> Tensor:
    """eˣ; integers become float32, here and below, except for neg, square, abs and sign."""
    return _unary("exp", x)


@op
def log(x: Any) -> Tensor:
    """Natural logarithm: −∞ at 0, NaN below."""
    return _unary("log", x)


@op
def sqrt(x: Any) -> Tensor:
    """√x, NaN below 0."""
    return _unary("sqrt", x)


@op
def square(x: Any) -> Tensor:
    """x²."""
    return _unary("square", x, True)


@op
def abs(x: Any) -> Tensor:
    """|x|; the gradient at 0 is 0."""
    return _unary("abs", x, True)


@op
def sign(x: Any) -> Tensor:
    """−1, 0 or 1; the gradient is 0."""
    return _unary("sign", x, True)


@op
def reciprocal(x: Any) -> Tensor:
    """1 / x."""
    return _unary("reciprocal", x)


@op
def sin(x: Any) -> Tensor:
    """sin x, x in radians."""
    return _unary("sin", x)


@op
def cos(x: Any) -> Tensor:
    """cos x, x in radians."""
    return _unary("cos", x)
