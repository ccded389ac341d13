"""Losses fused with their gradients.

Plain version: softmax, logarithm, a gather and a subtraction, each a pass over the logits. Here a row is read from
memory once: its maximum, the exponentials (written where the gradient goes) and their sum give the loss and the
gradient while the row is in the cache; a large one goes past it (see `rows`, `stream`). Rows are cut over the cores.
Of wide rows of binary losses the logarithms of 1 + e are added up as that of their product: 1000 columns in a cache
19 ns for 16 elements, so 12; from memory 20 GB/s, so 26.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reference import loss as reference
from .lanes import address, finish_stores, use_whole_registers
from .rows import BINARY_BLOCK, BINARY_LANES, binary_block, exp_row, row_top, scale_row, softmax_past
from .scalar import exp, log, log1p
from .stream import ask_for_half, keep, room_for_row, rows_go_past, store_block
from .threads import absent, borrow, elementwise_jit, elementwise_kernel, reduction_jit, reduction_kernel

Array = Any

# Elements that are worked on together where rows are short.
_STRETCH = 1024


@elementwise_kernel
def _softmax_labels(start, stop, logits, labels, weight, losses, dlogits, scale):
    scale = losses.dtype.type(scale)
    if rows_go_past(dlogits, logits.nbytes):
        softmax_past(start, stop, logits, labels, weight, losses, dlogits, scale)
        return
    worst = logits.dtype.type(-np.inf)
    width = logits.itemsize * logits.shape[1]
    for r in range(start, stop):
        z = address(logits) + r * width
        g = address(dlogits) + r * width if dlogits.size else 0
        top = row_top(z, width, worst)
        total = exp_row(z, g, width, top, worst)
        w = weight[r] if weight.size else logits.dtype.type(1)
        label = labels[r]
        losses[r] = w * (log(total) - (logits[r, label] - top))
        if dlogits.size:
            scale_row(g, g, width, scale * w / total)
            dlogits[r, label] -= scale * w


@reduction_kernel
def _softmax_dense(start, stop, logits, targets, weight, losses, dlogits, scale):
    scale = losses.dtype.type(scale)
    flat = dlogits.reshape(-1)
    past = rows_go_past(dlogits, logits.nbytes + targets.nbytes)
    room = room_for_row(dlogits, past)
    row = borrow(room)
    worst = logits.dtype.type(-np.inf)
    for r in range(start, stop):
        if past:
            ask_for_half(logits, r, 0)
            ask_for_half(targets, r, 0)
        z = logits[r]
        t = targets[r]
        g = dlogits[r] if dlogits.size and not past else row
        top = row_top(address(z), z.nbytes, worst)
        if past:
            ask_for_half(logits, r, 1)
            ask_for_half(targets, r, 1)
        total = exp_row(address(z), address(g) if g.size else 0, z.nbytes, top, worst)
        w = weight[r] if weight.size else z.dtype.type(1)
        shift = log(total)
        mass = z.dtype.type(0)
        value = z.dtype.type(0)
        for i in range(z.size):
            mass += t[i]
            value += t[i] * (shift - (z[i] - top))
        losses[r] = w * value
        if g.size:
            share = mass / total
            factor = scale * w
            for i in range(g.size):
                g[i] = factor * (g[i] * share - t[i])
        if past:
            store_block(row, flat, r * row.size, True)
    finish_stores()
    keep(room)


@reduction_jit
def _sum_between(values, first, last):
    # Unsigned, so that no index is taken to count from the end; a slice would cost more than a short row.
    total = values.dtype.type(0)
    for i in range(first, last):
        total += values[np.uint64(i)]
    return total


@elementwise_jit
def _single(z, t, weight, losses, dz, scale):
    """Binary losses of one logit each."""
    use_whole_registers()
    zero = z.dtype.type(0)
    one = z.dtype.type(1)
    for i in range(z.size):
        losses[i] = (zero if z[i] <= zero else z[i]) - z[i] * t[i] + log1p(exp(-abs(z[i])))
    for i in range(dz.size):
        e = exp(-abs(z[i]))
        dz[i] = scale * ((one if z[i] >= zero else e) / (one + e) - t[i])
    for i in range(weight.size):
        losses[i] *= weight[i]
    for i in range(min(weight.size, dz.size)):
        dz[i] *= weight[i]


@reduction_jit
def _sum_of_logarithms(products):
    total = products.dtype.type(0)
    one = products.dtype.type(1)
    for i in range(products.size):
        total += log1p(products[i]) if products[i] <= one else log(one + products[i])
    return total


@elementwise_jit
def _wide_rows(start, stop, logits, targets, weight, losses, dlogits, scale):
    past = rows_go_past(dlogits, logits.nbytes + targets.nbytes)
    room = room_for_row(dlogits, past)
    row = borrow(room)
    products = np.empty(BINARY_LANES, logits.dtype)
    columns = logits.dtype.type(logits.shape[1])
    for r in range(start, stop):
        z = logits[r]
        t = targets[r]
        g = dlogits[r] if dlogits.size and not past else row
        w = weight[r] if weight.size else logits.dtype.type(1)
        total = logits.dtype.type(0)
        for first in range(0, z.size, BINARY_BLOCK):
            at = address(g) + z.itemsize * first if g.size else 0
            width = z.itemsize * min(BINARY_BLOCK, z.size - first)
            products[:] = 0
            total += binary_block(z[first:], t[first:], at, width, scale * w / columns, products, past)
            total += _sum_of_logarithms(products)
        losses[r] = w * total / columns
        if past:
            store_block(row, dlogits.reshape(-1), r * row.size, True)
    finish_stores()
    keep(room)


@elementwise_jit
def _narrow_rows(first, rows, logits, targets, weight, losses, dlogits, scale, values):
    """Binary losses of short rows: first all their elements in one vectorised loop, then the sums of each row."""
    use_whole_registers()
    zero = logits.dtype.type(0)
    one = logits.dtype.type(1)
    columns = logits.shape[1]
    count = logits.dtype.type(columns)
    u = logits.reshape(-1)[first * columns :][: rows * columns]
    v = targets.reshape(-1)[first * columns :][: rows * columns]
    g = dlogits.reshape(-1)
    if g.size:
        d = g[first * columns :][: u.size]
        for i in range(u.size):
            e = exp(-abs(u[i]))
            values[i] = (zero if u[i] <= zero else u[i]) - u[i] * v[i] + log1p(e)
            d[i] = (one if u[i] >= zero else e) / (one + e) - v[i]
    else:
        for i in range(u.size):
            values[i] = (zero if u[i] <= zero else u[i]) - u[i] * v[i] + log1p(exp(-abs(u[i])))
    for r in range(rows):
        w = weight[first + r] if weight.size else one
        losses[first + r] = w * _sum_between(values, r * columns, (r + 1) * columns) / count
        if g.size:
            factor = scale * w / count
            for i in range((first + r) * columns, (first + r + 1) * columns):
                g[np.uint64(i)] *= factor


@elementwise_kernel
def _sigmoid(start, stop, logits, targets, weight, losses, dlogits, scale):
    scale = losses.dtype.type(scale)
    columns = logits.shape[1]
    if columns == 1:
        _single(
            logits.reshape(-1)[start:stop], targets.reshape(-1)[start:stop], weight[start:stop], losses[start:stop],
            dlogits.reshape(-1)[start:stop], scale,
        )  # fmt: skip
        return
    if columns >= BINARY_LANES:
        _wide_rows(start, stop, logits, targets, weight, losses, dlogits, scale)
        return
    step = max(1, _STRETCH // max(1, columns))
    values = np.empty(step * columns, logits.dtype)
    for first in range(start, stop, step):
        rows = min(step, stop - first)
        _narrow_rows(first, rows, logits, targets, weight, losses, dlogits, scale, values)


def _prepare(logits: Array, weight: Array | None, dlogits: Array | None, scale: float) -> tuple[Array, Array, Any]:
    none = absent(logits.dtype)
    return (
        none if weight is None else weight,
        none.reshape(0, 0) if dlogits is None else dlogits,
        float(scale),
    )


def softmax_cross_entropy(
    logits: Array, labels: Array, weight: Array | None, losses: Array, dlogits: Array | None, scale: float
) -> None:
    if logits.shape[1] == 1:
        reference.softmax_cross_entropy(logits, labels, weight, losses, dlogits, scale)
        return
    w, g, s = _prepare(logits, weight, dlogits, scale)
    _softmax_labels(logits.shape[0], logits.size * 6, logits, labels, w, losses, g, s)


def softmax_cross_entropy_dense(
    logits: Array, targets: Array, weight: Array | None, losses: Array, dlogits: Array | None, scale: float
) -> None:
    w, g, s = _prepare(logits, weight, dlogits, scale)
    _softmax_dense(logits.shape[0], logits.size * 8, logits, targets, w, losses, g, s)


def sigmoid_cross_entropy(
    logits: Array, targets: Array, weight: Array | None, losses: Array, dlogits: Array | None, scale: float
) -> None:
    w, g, s = _prepare(logits, weight, dlogits, scale)
    _sigmoid(logits.shape[0], logits.size * 10, logits, targets, w, losses, g, s)
