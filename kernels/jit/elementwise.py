"""Elementwise operations with broadcasting.

Plain version: a ufunc per operation, one pass on one core. Here the pass is cut over the cores, and gradients of unary
operations are one pass where NumPy needs two or three. Binary operations walk both operands in segments of equal
width: an operand that is broadcast as a scalar or as a row along the last axis is laid out once as a tile of that
width and reread from the cache, so that one kernel serves all these cases with nothing but contiguous inner loops.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..reference import elementwise as reference
from .gemm import transpose
from .lanes import address
from .scalar import FAR, cos, exp, log, sin
from .threads import elementwise_jit, elementwise_kernel, flatten, run

Array = Any

_UNARY = {
    op: i for i, op in enumerate(("neg", "exp", "log", "sqrt", "square", "abs", "sign", "reciprocal", "sin", "cos"))
}
_BINARY = {op: i for i, op in enumerate(("add", "sub", "mul", "div", "maximum", "minimum"))}
_COMPARE = {op: i for i, op in enumerate(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"))}
_SEGMENT = 4096
_WAVES = 1024  # numbers whose sines are taken together
# Elements up to which NumPy's call costs less than ours: a copy's, a comparison's, and those of operands of different
# shapes, which we lay out first.
_SMALL = 1 << 13
_SMALL_COMPARE = 1 << 16
_SMALL_BROADCAST = 1 << 17
# Rough cost of an element against one addition, for the decision to use more threads.
_TRANSCENDENTAL = 4


@elementwise_jit
def _wave(x, y, cosine):
    """Sines or cosines of some numbers: the library's, one by one, if any of them is far from zero."""
    far = 0
    for i in range(x.size):
        far += abs(x[i]) > FAR
    if far:
        for i in range(x.size):
            y[i] = math.cos(x[i]) if cosine else math.sin(x[i])
    elif cosine:
        for i in range(x.size):
            y[i] = cos(x[i])
    else:
        for i in range(x.size):
            y[i] = sin(x[i])


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
    else:
        for first in range(0, x.size, _WAVES):
            _wave(x[first:][:_WAVES], y[first:][:_WAVES], op == 9)


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
    else:
        slope = np.empty(_WAVES, x.dtype)
        for first in range(0, x.size, _WAVES):
            d = dy[first:][:_WAVES]
            target = dx[first:][:_WAVES]
            _wave(x[first:][:_WAVES], slope[: d.size], op == 8)
            for i in range(d.size):
                target[i] = d[i] * slope[i] if op == 8 else -d[i] * slope[i]


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
        # Both are read in any case, or the loop would branch at every element.
        for i in range(z.size):
            yes = u[i]
            no = v[i]
            z[i] = yes if c[i] else no


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
    run(_unary, x.size, work, flatten(x), flatten(y), _UNARY[op])


def unary_backward(dy: Array, x: Array, y: Array, dx: Array, op: str) -> None:
    work = x.size * (_TRANSCENDENTAL if op in ("sin", "cos") else 2)
    run(_unary_backward, x.size, work, flatten(dy), flatten(x), flatten(y), flatten(dx), _UNARY[op])


def _together(kernel: Any, a: Array, b: Array, y: Array, code: int) -> None:
    """Operands of one shape, the commonest case, without a look at how they are laid out."""
    if y.size <= _SEGMENT:
        kernel(0, 1, 1, flatten(a), 0, flatten(b), 0, flatten(y), y.size, code)
        return
    segments = -(-y.size // _SEGMENT)
    run(kernel, segments, y.size, flatten(a), _SEGMENT, flatten(b), _SEGMENT, flatten(y), _SEGMENT, code)


_UFUNCS = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "pow": "power"}


def binary(a: Array, b: Array, y: Array, op: str) -> None:
    if a.shape == b.shape == y.shape and op != "pow":
        _together(_binary, a, b, y, _BINARY[op])
        return
    if y.size <= _SMALL_BROADCAST:
        reference.binary(a, b, y, op)
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
    if a.shape == b.shape == y.shape:
        if y.size <= _SMALL_COMPARE:
            getattr(np, op)(a, b, out=y)
        else:
            _together(_compare, a, b, y, _COMPARE[op])
        return
    if y.size <= _SMALL_BROADCAST:
        reference.compare(a, b, y, op)
        return
    width = _segment_width(y, a, b)
    if width == 0:
        getattr(np, op)(a, b, out=y)
        return
    u, a_step = _lay_out(a, y, width)
    v, b_step = _lay_out(b, y, width)
    run(_compare, -(-y.size // width), y.size, u, a_step, v, b_step, y.reshape(-1), width, _COMPARE[op])


def select(condition: Array, a: Array, b: Array, y: Array) -> None:
    if condition.shape == a.shape == b.shape == y.shape:
        width = min(_SEGMENT, y.size)
        operands = flatten(condition), flatten(a), width, flatten(b), width, flatten(y), width
        if y.size <= _SEGMENT:
            _select(0, 1, 1, *operands)
        else:
            run(_select, -(-y.size // _SEGMENT), y.size, *operands)
        return
    if y.size <= _SMALL_BROADCAST:
        reference.select(condition, a, b, y)
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


@elementwise_kernel
def _copy(start, stop, x, y):
    x = x[start:stop]
    y = y[start:stop]
    for i in range(x.size):
        y[i] = x[i]


@elementwise_kernel
def _copy_transposed(start, stop, x, x_batch, x_column, y, y_batch, y_row, rows, columns):
    # y[n, r, c] = x[n, r, c], of which x has neighbours along the rows and y along the columns; a task is 8 rows of an
    # image n. Squares are transposed in registers, so that both sides are met in whole lines of the cache.
    zero = y.dtype.type(0)
    size = y.itemsize
    stripes = -(-rows // 8)
    for task in range(start, stop):
        first = task % stripes * 8
        source = task // stripes * x_batch + first
        target = task // stripes * y_batch + first * y_row
        count = min(8, rows - first)
        whole = columns // 8 * 8 if count == 8 else 0
        for c in range(0, whole, 8):
            transpose(
                address(x) + size * (source + c * x_column), x_column, address(y) + size * (target + c), y_row, zero
            )
        for c in range(whole, columns):
            for r in range(count):
                y[target + r * y_row + c] = x[source + r + c * x_column]


def _merged_axes(x: Array, y: Array) -> list[tuple[int, int, int]]:
    """Length and strides, in elements, of the axes of two views of one shape, merged where they are walked as one."""
    size = y.itemsize
    axes = sorted(
        ((n, s // size, t // size) for n, s, t in zip(y.shape, x.strides, y.strides, strict=True) if n > 1),
        key=lambda axis: -axis[2],
    )
    merged: list[tuple[int, int, int]] = []
    for n, s, t in axes:
        if merged and merged[-1][1:] == (n * s, n * t):
            merged[-1] = (merged[-1][0] * n, s, t)
        else:
            merged.append((n, s, t))
    return merged


def copy(x: Array, y: Array) -> None:
    if x.dtype == y.dtype and (y.size <= _SMALL or x.dtype.kind != "f"):
        np.copyto(y, x)
        return
    if x.dtype == y.dtype:
        if x.flags.c_contiguous and y.flags.c_contiguous:
            run(_copy, y.size, y.size, x.reshape(-1), y.reshape(-1))
            return
        if y.flags.c_contiguous and min(x.strides) > 0:
            axes = _merged_axes(x, y)
            if len(axes) in (2, 3) and axes[-2][1] == 1 and axes[-1][2] == 1:
                (n, x_batch, y_batch), (rows, _, y_row), (columns, x_column, _) = [(1, 0, 0), *axes][-3:]
                span = 1 + sum((length - 1) * stride for length, stride, _ in axes)
                source = np.lib.stride_tricks.as_strided(x, (span,), (x.itemsize,))
                run(
                    _copy_transposed, n * -(-rows // 8), y.size * 2, source, x_batch, x_column, y.reshape(-1), y_batch,
                    y_row, rows, columns,
                )  # fmt: skip
                return
    # NumPy's own copy orders and merges the axes of any two strided views and converts between any two types, for
    # which a compiled kernel would need a specialisation per pair of types and number of axes.
    with np.errstate(invalid="ignore"):
        np.copyto(y, x, casting="unsafe")


@elementwise_kernel
def _fill(start, stop, y, value):
    y = y[start:stop]
    for i in range(y.size):
        y[i] = value


def fill(y: Array, value: float) -> None:
    if y.size > _SMALL and y.flags.c_contiguous and y.dtype.kind == "f":
        run(_fill, y.size, y.size // 2, y.reshape(-1), y.dtype.type(value))
    else:
        y.fill(value)
