"""Activations and softmax.

Plain version: NumPy expressions with a temporary and a pass over memory for each operation. Here each function and
each gradient is one pass, its exponentials vectorised (see `scalar`), cut over the cores. They fill whole registers,
which LLVM does not take for Intel's processors by itself: 100 000 numbers of elu in 20 µs, not 26. Softmax works row by
row, so that its three passes find the row in the cache (see `rows`). Large results go past the caches, block by block
(see `stream`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backends.interface import ACTIVATIONS
from ..reference import activation as reference
from . import elementwise
from .lanes import BYTES, PAST_BYTES, address, finish_stores, use_whole_registers
from .reduce import row_sum
from .rows import exp_row, row_top, scale_row, softmax_of_vector, softmax_past, subtract_exp
from .scalar import erf, exp, expm1_negative, gelu_slope, log, log1p, sigmoid, tanh
from .stream import BLOCK, are_apart, ask_ahead, ask_for_half, keep, new_block, room_for_row, rows_go_past, store_block
from .threads import absent, borrow, elementwise_jit, elementwise_kernel, reduction_kernel

Array = Any

CODES = {kind: i for i, kind in enumerate(ACTIVATIONS)}
# Rough cost of an element against one addition, for the decision to use more threads.
_COST = {"sigmoid": 4, "tanh": 6, "elu": 4, "selu": 4, "exponential": 4, "softplus": 8, "silu": 4, "gelu": 6}
_HOW = {kind: (code, _COST.get(kind, 1)) for kind, code in CODES.items()}

# Elements up to which a single call of NumPy's costs less than ours; of `maximum`, if it need not make an array of 0.
SMALL_TANH, _SMALL_RELU, _SMALL_PRODUCT = 1 << 13, 1 << 9, 1 << 13
_ZEROS = {4: np.zeros((), np.float32), 8: np.zeros(())}

_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


@elementwise_jit
def apply_fused(x, code):
    """In place, one of the activations that `linear`, `conv2d` and `batchnorm` take as an epilogue."""
    use_whole_registers()
    zero = x.dtype.type(0)
    if code == 1:
        for i in range(x.size):
            x[i] = zero if x[i] <= zero else x[i]
    elif code == 2:
        for i in range(x.size):
            x[i] = sigmoid(x[i])
    elif code == 3:
        for i in range(x.size):
            x[i] = tanh(x[i])


@elementwise_jit
def _activation_loop(x, y, code, alpha):
    use_whole_registers()
    real = x.dtype.type
    zero = real(0)
    half = real(0.5)
    one = real(1)
    if code == 1:
        for i in range(x.size):
            y[i] = zero if x[i] <= zero else x[i]
    elif code == 2:
        for i in range(x.size):
            y[i] = sigmoid(x[i])
    elif code == 3:
        for i in range(x.size):
            y[i] = tanh(x[i])
    elif code == 4:
        for i in range(x.size):
            v = x[i]
            y[i] = v if v > zero else alpha * v
    elif code == 5:
        for i in range(x.size):
            v = x[i]
            y[i] = v if v > zero else alpha * expm1_negative(v)
    elif code == 6:
        scale = real(_SELU_SCALE)
        lower = real(_SELU_SCALE * _SELU_ALPHA)
        for i in range(x.size):
            v = x[i]
            y[i] = scale * v if v > zero else lower * expm1_negative(v)
    elif code == 7:
        for i in range(x.size):
            y[i] = exp(x[i])
    elif code == 8:
        for i in range(x.size):
            v = x[i]
            y[i] = (zero if v <= zero else v) + log1p(exp(-abs(v)))
    elif code == 9:
        for i in range(x.size):
            y[i] = x[i] / (one + abs(x[i]))
    elif code == 10:
        for i in range(x.size):
            y[i] = x[i] * sigmoid(x[i])
    elif code == 11:
        root = real(0.7071067811865476)
        for i in range(x.size):
            y[i] = half * x[i] * (one + erf(x[i] * root))
    elif code == 12:
        six = real(6)
        for i in range(x.size):
            v = x[i]
            y[i] = zero if v <= zero else (six if v > six else v)
    elif code == 13:
        sixth = real(1 / 6)
        for i in range(x.size):
            v = x[i] * sixth + half
            y[i] = zero if v <= zero else (one if v > one else v)
    else:
        for i in range(x.size):
            y[i] = one if x[i] > zero else zero


@elementwise_kernel
def _activation(start, stop, x, y, code, alpha):
    alpha = x.dtype.type(alpha)
    large = x.nbytes + y.nbytes >= PAST_BYTES
    apart = are_apart(y, x)
    x = x[start:stop]
    y = y[start:stop]
    if apart and not large:
        _activation_loop(x, y, code, alpha)
        return
    block = new_block(y)
    for first in range(0, y.size, BLOCK):
        if large:
            ask_ahead(x, first)
        part = block[: y.size - first]
        _activation_loop(x[first:][:BLOCK], part, code, alpha)
        store_block(part, y, first, large and apart)
    finish_stores()


@elementwise_jit
def _activation_backward_loop(dy, x, y, dx, code, alpha):
    real = y.dtype.type
    zero = real(0)
    one = real(1)
    if code == 1:
        for i in range(y.size):
            dx[i] = dy[i] if y[i] > zero else zero
    elif code == 2:
        for i in range(y.size):
            dx[i] = dy[i] * y[i] * (one - y[i])
    elif code == 3:
        for i in range(y.size):
            dx[i] = dy[i] * (one - y[i] * y[i])
    elif code == 4:
        for i in range(y.size):
            dx[i] = dy[i] if y[i] > zero else alpha * dy[i]
    elif code == 5:
        for i in range(y.size):
            dx[i] = dy[i] if y[i] > zero else dy[i] * (y[i] + alpha)
    elif code == 6:
        scale = real(_SELU_SCALE)
        lower = real(_SELU_SCALE * _SELU_ALPHA)
        for i in range(y.size):
            dx[i] = dy[i] * scale if y[i] > zero else dy[i] * (y[i] + lower)
    elif code == 7:
        for i in range(y.size):
            dx[i] = dy[i] * y[i]
    elif code == 8:
        for i in range(y.size):
            dx[i] = dy[i] * sigmoid(x[i])
    elif code == 9:
        for i in range(y.size):
            v = one + abs(x[i])
            dx[i] = dy[i] / (v * v)
    elif code == 10:
        for i in range(y.size):
            s = sigmoid(x[i])
            dx[i] = dy[i] * (s + x[i] * s * (one - s))
    elif code == 11:
        for i in range(y.size):
            dx[i] = dy[i] * gelu_slope(x[i])
    elif code == 12:
        six = real(6)
        for i in range(y.size):
            dx[i] = dy[i] if x[i] > zero and x[i] <= six else zero
    else:
        sixth = real(1 / 6)
        three = real(3)
        for i in range(y.size):
            dx[i] = dy[i] * sixth if x[i] > -three and x[i] <= three else zero


@elementwise_kernel
def _activation_backward(start, stop, dy, x, y, dx, code, alpha):
    # x is empty for the kinds whose derivative follows from y.
    alpha = y.dtype.type(alpha)
    large = dy.nbytes + x.nbytes + y.nbytes + dx.nbytes >= PAST_BYTES
    apart = are_apart(dx, dy) and are_apart(dx, x) and are_apart(dx, y)
    dy = dy[start:stop]
    x = x[start:stop]
    y = y[start:stop]
    dx = dx[start:stop]
    if apart and not large:
        _activation_backward_loop(dy, x, y, dx, code, alpha)
        return
    block = new_block(dx)
    for first in range(0, dx.size, BLOCK):
        if large:
            ask_ahead(dy, first)
            ask_ahead(y if code < 8 else x, first)
        part = block[: dx.size - first]
        _activation_backward_loop(dy[first:][:BLOCK], x[first:][:BLOCK], y[first:][:BLOCK], part, code, alpha)
        store_block(part, dx, first, large and apart)
    finish_stores()


@elementwise_kernel
def _softmax(start, stop, x, y):
    if rows_go_past(y, x.nbytes) and are_apart(y, x):
        none = np.empty(0, x.dtype)
        softmax_past(start, stop, x, np.empty(0, np.int32), none, none, y, x.dtype.type(1))
        return
    worst = x.dtype.type(-np.inf)
    width = x.itemsize * x.shape[1]
    source, target = address(x), address(y)
    if width <= BYTES:
        for r in range(start, stop):
            softmax_of_vector(source + r * width, target + r * width, width, worst)
        return
    for r in range(start, stop):
        place = r * width
        top = row_top(source + place, width, worst)
        total = exp_row(source + place, target + place, width, top, worst)
        scale_row(target + place, target + place, width, x.dtype.type(1) / total)


@elementwise_jit
def _subtract_both(x, top, shift, y):
    # In this order: beside a large top, a sum of the two would lose the other.
    for i in range(x.size):
        y[i] = (x[i] - top) - shift


@reduction_kernel
def _log_softmax(start, stop, x, y):
    past = rows_go_past(y, x.nbytes) and are_apart(y, x)
    room = room_for_row(y, past)
    row = borrow(room)
    flat = y.reshape(-1)
    worst = x.dtype.type(-np.inf)
    for r in range(start, stop):
        u = x[r]
        v = row if past else y[r]
        if past:
            ask_for_half(x, r, 0)
        top = row_top(address(u), u.nbytes, worst)
        if past:
            ask_for_half(x, r, 1)
        _subtract_both(u, top, log(exp_row(address(u), 0, u.nbytes, top, worst)), v)
        if past:
            store_block(row, flat, r * row.size, True)
    finish_stores()
    keep(room)


@reduction_kernel
def _softmax_backward(start, stop, dy, y, dx, logarithm):
    past = rows_go_past(dx, dy.nbytes + y.nbytes) and are_apart(dx, dy) and are_apart(dx, y)
    room = room_for_row(dx, past)
    row = borrow(room)
    flat = dx.reshape(-1)
    for r in range(start, stop):
        g = dy[r]
        p = y[r]
        d = row if past else dx[r]
        if logarithm:
            subtract_exp(address(g), address(p), address(d), g.nbytes, row_sum(g))
        else:
            total = y.dtype.type(0)
            for i in range(p.size):
                total += g[i] * p[i]
            for i in range(p.size):
                d[i] = p[i] * (g[i] - total)
        if past:
            store_block(row, flat, r * row.size, True)
    finish_stores()
    keep(room)


def activation(x: Array, y: Array, kind: str, alpha: float) -> None:
    if kind == "linear":
        if y is not x:
            y[...] = x
        return
    n = x.size
    if kind == "tanh" and n <= SMALL_TANH:
        np.tanh(x, y)
        return
    if kind == "relu" and n <= _SMALL_RELU:
        np.maximum(x, _ZEROS[x.itemsize], out=y)
        return
    code, cost = _HOW[kind]
    _activation(n, n * cost, x.ravel(), y.ravel(), code, float(alpha))


def activation_backward(dy: Array, x: Array | None, y: Array, dx: Array, kind: str, alpha: float) -> None:
    if kind == "linear":
        if dx is not dy:
            dx[...] = dy
        return
    if kind == "step":
        elementwise.fill(dx, 0.0)
        return
    if y.size <= _SMALL_PRODUCT and kind == "exponential":
        np.multiply(dy, y, dx)
        return
    work = y.size * (_COST.get(kind, 2) if kind in ("softplus", "silu", "gelu") else 2)
    inputs = absent(y.dtype) if x is None else x.ravel()
    _activation_backward(
        y.size, work,
        dy.ravel(), inputs, y.ravel(), dx.ravel(), CODES[kind], float(alpha),
    )  # fmt: skip


def softmax(x: Array, y: Array) -> None:
    if x.shape[1] == 1:
        reference.softmax(x, y)
        return
    _softmax(x.shape[0], x.size * 6, x, y)


def softmax_backward(dy: Array, y: Array, dx: Array) -> None:
    _softmax_backward(y.shape[0], y.size * 3, dy, y, dx, False)


def log_softmax(x: Array, y: Array) -> None:
    if x.shape[1] == 1:
        reference.log_softmax(x, y)
        return
    _log_softmax(x.shape[0], x.size * 6, x, y)


def log_softmax_backward(dy: Array, y: Array, dx: Array) -> None:
    _softmax_backward(y.shape[0], y.size * 5, dy, y, dx, True)
