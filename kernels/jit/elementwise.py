"""Elementwise operations with broadcasting.

Plain version: a ufunc per operation, one pass on one core. Here the pass is cut over the cores, and gradients of unary
operations are one pass where NumPy needs two or three. Binary operations walk both operands in segments of equal
width: an operand that is broadcast as a scalar or as a row along the last axis is laid out once as a tile of that
width and reread from the cache, so that one kernel serves all these cases with nothing but contiguous inner loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .scalar import cos, exp, log, sin
from .threads import elementwise_kernel, run

Array = Any

_UNARY = {
    op: i for i, op in enumerate(("neg", "exp", "log", "sqrt", "square", "abs", "sign", "reciprocal", "sin", "cos"))
}
_BINARY = {op: i for i, op in enumerate(("add", "sub", "mul", "div", "maximum", "minimum"))}
_COMPARE = {op: i for i, op in enumerate(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"))}
_SEGMENT = 4096
# Rough cost of an element against one addition, for the decision to use more threads.
_TRANSCENDENTAL = 4


@elementwise_kernel
def _unary(start, stop, x, y, op):
    x = x[start:stop]
    y = y[start:stop]
    zero = x.dtype.type(0)
    one = x.dtype.type(1)
    if op == 0:
        for i in range(x.size):
            y[i] = -x[i]
    elif op == 1:
        for i in range(x.size):
            y[i] = exp(x[i])
    elif op == 2:
        for i in range(x.size):
            y[i] = log(x[i])
    elif op == 3:
        for i in range(x.size):
            y[i] = np.sqrt(x[i])
    elif op == 4:
        for i in range(x.size):
            y[i] = x[i] * x[i]
    elif op == 5:
        for i in range(x.size):
            y[i] = abs(x[i])
    elif op == 6:
        for i in range(x.size):
            v = x[i]
            y[i] = one if v > zero else (-one if v < zero else v)
    elif op == 7:
        for i in range(x.size):
            y[i] = one / x[i]
    elif op == 8:
        for i in range(x.size):
            y[i] = sin(x[i])
    else:
        for i in range(x.size):
            y[i] = cos(x[i])


@elementwise_kernel
def _unary_backward(start, stop, dy, x, y, dx, op):
    dy = dy[start:stop]
    x = x[start:stop]
    y = y[start:stop]
    dx = dx[start:stop]
    zero = x.dtype.type(0)
    half = x.dtype.type(0.5)
    if op == 0:
        for i in range(x.size):
            dx[i] = -dy[i]
    elif op == 1:
        for i in range(x.size):
            dx[i] = dy[i] * y[i]
    elif op == 2:
        for i in range(x.size):
            dx[i] = dy[i] / x[i]
    elif op == 3:
        for i in range(x.size):
            dx[i] = half * dy[i] / y[i]
    elif op == 4:
        for i in range(x.size):
            dx[i] = dy[i] * (x[i] + x[i])
    elif op == 5:
        for i in range(x.size):
            v = x[i]
            dx[i] = dy[i] if v > zero else (-dy[i] if v < zero else zero)
    elif op == 6:
        for i in range(x.size):
            dx[i] = zero
    elif op == 7:
        for i in range(x.size):
            dx[i] = -dy[i] * (y[i] * y[i])
    elif op == 8:
        for i in range(x.size):
            dx[i] = dy[i] * cos(x[i])
    else:
        for i in range(x.size):
            dx[i] = -dy[i] * sin(x[i])


@elementwise_kernel
def _binary(start, stop, a, a_step, b, b_step, y, width, op):
    for s in range(start, stop):
        z = y[s * width : min((s + 1) * width, y.size)]
        u = a[s * a_step :][: z.size]
        v = b[s * b_step :][: z.size]
        if op == 0:
            for i in range(z.size):
                z[i] = u[i] + v[i]
        elif op == 1:
            for i in range(z.size):
                z[i] = u[i] - v[i]
        elif op == 2:
            for i in range(z.size):
                z[i] = u[i] * v[i]
        elif op == 3:
            for i in range(z.size):
                z[i] = u[i] / v[i]
        elif op == 4:
            for i in range(z.size):
                z[i] = u[i] if u[i] > v[i] or u[i] != u[i] else v[i]
        else:
            for i in range(z.size):
                z[i] = u[i] if u[i] < v[i] or u[i] != u[i] else v[i]


@elementwise_kernel
def _compare(start, stop, a, a_step, b, b_step, y, width, op):
    for s in range(start, stop):
        z = y[s * width : min((s + 1) * width, y.size)]
        u = a[s * a_step :][: z.size]
        v = b[s * b_step :][: z.size]
        if op == 0:
            for i in range(z.size):
                z[i] = u[i] == v[i]
        elif op == 1:
            for i in range(z.size):
                z[i] = u[i] != v[i]
        elif op == 2:
            for i in range(z.size):
                z[i] = u[i] < v[i]
        elif op == 3:
            for i in range(z.size):
                z[i] = u[i] <= v[i]
        elif op == 4:
            for i in range(z.size):
                z[i] = u[i] > v[i]
        else:
            for i in range(z.size):
                z[i] = u[i] >= v[i]


@elementwise_kernel
def _select(start, stop, condition, a, a_step, b, b_step, y, width):
    for s in range(start, stop):
        z = y[s * width : min((s + 1) * width, y.size)]
        c = condition[s * width :][: z.size]
        u = a[s * a_step :][: z.size]
        v = b[s * b_step :][: z.size]
        for i in range(z.size):
            z[i] = u[i] if c[i] else v[i]


def _segment_width(y: Array, *operands: Array) -> int:
    """The width to walk y in: a multiple of the last axis if an operand is a row along it.

    0 if an operand is neither of y's shape nor a scalar nor a row.
    """
    width = min(_SEGMENT, y.size)
    for a in operands:
        if a.shape == y.shape or a.size == 1:
            continue
        last = y.shape[-1]
        if a.size != last or a.shape[-1] != last:
            return 0
        width = min(max(1, _SEGMENT // last) * last, y.size)
    return width


def _lay_out(a: Array, y: Array, width: int) -> tuple[Array, int]:
    """The operand as a flat array and how far to move in it from one segment to the next."""
    if a.shape == y.shape:
        return a.reshape(-1), width
    if a.size == 1:
        return np.full(width, a.reshape(-1)[0], a.dtype), 0
    return np.tile(a.reshape(-1), width // a.size), 0


def unary(x: Array, y: Array, op: str) -> None:
    work = x.size * (_TRANSCENDENTAL if op in ("exp", "log", "sin", "cos") else 1)
    run(_unary, x.size, work, x.reshape(-1), y.reshape(-1), _UNARY[op])


def unary_backward(dy: Array, x: Array, y: Array, dx: Array, op: str) -> None:
    work = x.size * (_TRANSCENDENTAL if op in ("sin", "cos") else 2)
    run(_unary_backward, x.size, work, dy.reshape(-1), x.reshape(-1), y.reshape(-1), dx.reshape(-1), _UNARY[op])


_UFUNCS = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "pow": "power"}


def binary(a: Array, b: Array, y: Array, op: str) -> None:
    if y.size == 0:
        return
    # NumPy's power is vectorised and a loop over the C library's is not; other shapes than the ones above are NumPy's
    # too, whose iterator knows how to walk them.
    width = _segment_width(y, a, b) if op != "pow" else 0
    if width == 0:
        with np.errstate(all="ignore"):
            getattr(np, _UFUNCS.get(op, op))(a, b, out=y)
        return
    u, a_step = _lay_out(a, y, width)
    v, b_step = _lay_out(b, y, width)
    run(_binary, -(-y.size // width), y.size, u, a_step, v, b_step, y.reshape(-1), width, _BINARY[op])


def compare(a: Array, b: Array, y: Array, op: str) -> None:
    if y.size == 0:
        return
    width = _segment_width(y, a, b)
    if width == 0:
        getattr(np, op)(a, b, out=y)
        return
    u, a_step = _lay_out(a, y, width)
    v, b_step = _lay_out(b, y, width)
    run(_compare, -(-y.size // width), y.size, u, a_step, v, b_step, y.reshape(-1), width, _COMPARE[op])


def select(condition: Array, a: Array, b: Array, y: Array) -> None:
    if y.size == 0:
        return
    width = _segment_width(y, a, b) if condition.shape == y.shape else 0
    if width == 0:
        np.copyto(y, np.where(condition, a, b))
        return
    u, a_step = _lay_out(a, y, width)
    v, b_step = _lay_out(b, y, width)
    run(
        _select, -(-y.size // width), y.size, condition.reshape(-1), u, a_step, v, b_step, y.reshape(-1), width
    )  # fmt: skip


def _copy_rows(start: int, stop: int, x: Array, y: Array) -> None:
    with np.errstate(invalid="ignore"):
        np.copyto(y[start:stop], x[start:stop], casting="unsafe")


def copy(x: Array, y: Array) -> None:
    # NumPy's own copy: it orders and merges the axes of any two strided views and converts between any two types, for
    # which a compiled kernel would need a specialisation per pair of types and number of axes. It releases the GIL,
    # so it is cut over the threads like a kernel.
    if y.ndim == 0:
        with np.errstate(invalid="ignore"):
            np.copyto(y, x, casting="unsafe")
        return
    run(_copy_rows, y.shape[0], y.size, x, y)


def _fill_rows(start: int, stop: int, y: Array, value: float) -> None:
    y[start:stop].fill(value)


def fill(y: Array, value: float) -> None:
    if y.ndim == 0:
        y.fill(value)
        return
    run(_fill_rows, y.shape[0], y.size // 2, y, value)
