"""Reductions over one axis.

Plain version: a ufunc's `reduce`, on one core and, for short inner axes, one element at a time. Here the axis is cut
into blocks whose size depends on the shape alone: each block is summed in vector lanes, blocks run on all cores, and
the blocks' sums are added in double precision. So sums over long axes stay accurate and do not depend on the number of
threads. Sums over rows whose columns fill a vector stay in registers (see `lanes`); over rows of fewer (bias gradients,
image channels) they take several rows at a time, so that the vector lanes are full.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reference import reduce as reference
from .lanes import address, load_some, splat, store, store_some, twice
from .scalar import from_order_key, order_key
from .threads import elementwise_jit, elementwise_kernel, inline_jit, reduction_jit, run, scratch

Array = Any

# Elements in a block: it stays in the first-level cache, and a lane adds a thousand numbers at most.
_BLOCK = 1 << 13
# Sums that are finished together.
_LANES = 512
# Elements whose maximum is taken at a time when its place is wanted.
_STRETCH = 4096
# Elements up to which NumPy's call costs less than ours.
_SMALL = 1 << 8
_SMALL_ARGMAX = 1 << 12
# Results with no more elements each than this are computed by plain loops.
_SHORT = 32
# Rows of fewer than NARROW elements, which do not fill a vector, are joined to this width.
_WIDTH = 64
NARROW = 16


@reduction_jit
def row_sum(x):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@reduction_jit
def row_max(x):
    """Largest element, NaN if there is one, −∞ of nothing."""
    best = order_key(x.dtype.type(-np.inf))
    for i in range(x.size):
        k = order_key(x[i])
        best = k if k > best else best
    return from_order_key(best)


@reduction_jit
def row_min(x):
    """Smallest element, NaN if there is one, +∞ of nothing."""
    best = order_key(x.dtype.type(-np.inf))
    for i in range(x.size):
        k = order_key(-x[i])
        best = k if k > best else best
    return -from_order_key(best)


@elementwise_jit
def multiply_by(row, factor):
    """Multiply in place. Where sums may be reassociated, LLVM would divide by what the factor was divided by."""
    for i in range(row.size):
        row[i] *= factor


@elementwise_jit
def add_wide(x, lanes):
    """Add the elements of x, in turns, to those of lanes."""
    width = lanes.size
    for s in range(x.size // width):
        row = x[s * width :][:width]
        for i in range(width):
            lanes[i] += row[i]
    rest = x[x.size // width * width :]
    for i in range(rest.size):
        lanes[i] += rest[i]


@elementwise_jit
def fold(lanes, total):
    """Sum the lanes that belong to the same column."""
    columns = total.size
    for i in range(columns):
        total[i] = lanes[i]
    for s in range(columns, lanes.size, columns):
        for i in range(columns):
            total[i] += lanes[s + i]


@inline_jit
def _sum_of_rows(x, step, rows, zero, count):
    even, odd = zero, zero
    end = x + rows * step
    while end - x >= 2 * step:
        even = even + load_some(x, zero, count)
        odd = odd + load_some(x + step, zero, count)
        x += 2 * step
    if x < end:
        even = even + load_some(x, zero, count)
    return even + odd


@elementwise_jit
def sum_rows(x, first, rows, total):
    """total = the sum of rows first … of x `[R, C]`, C of which fill a vector, in registers."""
    columns = total.size
    size = total.itemsize
    zero = total.dtype.type(0)
    single, four = splat(zero, zero), twice(twice(zero))
    step = size * columns
    source = address(x) + first * step
    c = 0
    while columns - c >= len(four):
        store(address(total) + size * c, _sum_of_rows(source + size * c, step, rows, four, len(four)))
        c += len(four)
    while c < columns:
        count = min(len(single), columns - c)
        store_some(address(total) + size * c, _sum_of_rows(source + size * c, step, rows, single, count), count)
        c += len(single)


@elementwise_kernel
def _reduce_blocks(start, stop, x, rows, partial, width, op):
    # x [A, R, B] is cut along R; partial [A, blocks, B].
    blocks = partial.shape[1]
    columns = x.shape[2]
    lanes = np.empty(width, x.dtype)
    for task in range(start, stop):
        a = task // blocks
        k = task % blocks
        z = x[a]
        first = k * rows
        last = min(first + rows, x.shape[1])
        y = partial[a, k]
        if op < 2 and columns >= NARROW:
            sum_rows(z, first, last - first, y)
        elif op < 2:
            lanes[:] = x.dtype.type(0)
            add_wide(z.reshape(-1)[first * columns : last * columns], lanes)
            fold(lanes, y)
        else:
            for i in range(columns):
                y[i] = z[first, i]
            for r in range(first + 1, last):
                row = z[r]
                if op == 2:
                    for i in range(columns):
                        y[i] = y[i] if y[i] > row[i] or y[i] != y[i] else row[i]
                else:
                    for i in range(columns):
                        y[i] = y[i] if y[i] < row[i] or y[i] != y[i] else row[i]


@elementwise_kernel
def _reduce_short(start, stop, x, y, op):
    # Few elements per result: plain loops without slices, whose reference counts would cost more than the sums.
    real = x.dtype.type
    for a in range(start, stop):
        for c in range(x.shape[2]):
            if op < 2:
                total = real(0)
                for r in range(x.shape[1]):
                    total += x[a, r, c]
            else:
                total = x[a, 0, c]
                for r in range(1, x.shape[1]):
                    v = x[a, r, c]
                    if op == 2:
                        total = total if total > v or total != total else v
                    else:
                        total = total if total < v or total != total else v
            y[a, c] = total


@elementwise_kernel
def _argmax_short(start, stop, x, y):
    for r in range(start, stop):
        place = 0
        top = x[r, 0]
        for c in range(1, x.shape[1]):
            v = x[r, c]
            if v > top or (v != v and top == top):
                top = v
                place = c
        y[r] = place


@elementwise_jit
def _largest(x):
    best = order_key(x.dtype.type(-np.inf))
    zero = x.dtype.type(0)
    for i in range(x.size):
        k = order_key(x[i] + zero)
        best = k if k > best else best
    return best


@elementwise_jit
def _first_place(x, key):
    zero = x.dtype.type(0)
    place = np.int32(_STRETCH)
    for i in range(x.size):
        here = np.int32(i) if order_key(x[i] + zero) == key else np.int32(_STRETCH)
        place = here if here < place else place
    return place


@elementwise_kernel
def _argmax(start, stop, x, y):
    # The largest of each stretch is found in vector lanes, as integers that order as the elements do; of the first
    # stretch that holds the largest, the first place where it stands. Adding 0 makes 0 of −0.
    for r in range(start, stop):
        row = x[r]
        top = _largest(row[:_STRETCH])
        first = 0
        for s in range(_STRETCH, row.size, _STRETCH):
            best = _largest(row[s : s + _STRETCH])
            if best > top:
                top = best
                first = s
        y[r] = first + _first_place(row[first : first + _STRETCH], top)


@elementwise_kernel
def _reduce_rows(start, stop, x, rows, partial, op):
    # x [A, R], cut along R.
    blocks = partial.shape[1]
    for task in range(start, stop):
        a = task // blocks
        k = task % blocks
        row = x[a, k * rows : (k + 1) * rows]
        if op < 2:
            partial[a, k, 0] = row_sum(row)
        elif op == 2:
            partial[a, k, 0] = row_max(row)
        else:
            partial[a, k, 0] = row_min(row)


def lane_width(columns: int) -> int:
    """Lanes for summing rows of `columns` elements: as many whole rows as fit into _WIDTH, one if none does."""
    return max(1, _WIDTH // columns) * columns if columns else 1


def block_rows(columns: int) -> int:
    """Rows in a block, given their length."""
    # At least 32 rows, so that the partial sums stay small beside the array itself.
    rows = max(32, _BLOCK // max(1, columns))
    unit = lane_width(columns) // columns if columns else 1
    return -(-rows // unit) * unit


@elementwise_kernel
def _combine(start, stop, partial, y, accumulate):
    for first in range(start, stop, _LANES):
        last = min(first + _LANES, stop)
        total = np.zeros(last - first)
        target = y[first:last]
        for k in range(partial.shape[0]):
            source = partial[k, first:last]
            for i in range(source.size):
                total[i] += source[i]
        if accumulate:
            for i in range(target.size):
                total[i] += target[i]
        for i in range(target.size):
            target[i] = total[i]


def combine(partial: Array, y: Array, accumulate: bool = False) -> None:
    """y = sums of partial over its first axis, added in double precision; all contiguous."""
    flat = y.reshape(-1)
    run(_combine, flat.size, partial.size, partial.reshape(len(partial), flat.size), flat, accumulate)


def column_sums(x: Array, y: Array, accumulate: bool = False) -> None:
    """y `[C]` = sums over the rows of x `[R, C]`."""
    rows, columns = x.shape
    if columns == 0:
        return
    step = block_rows(columns)
    if rows <= step and not accumulate:
        run(_reduce_blocks, 1, x.size, x[None], step, y[None, None], lane_width(columns), 0)
        return
    partial = scratch("column_sums", (1, -(-rows // step), columns), x.dtype)
    run(_reduce_blocks, partial.shape[1], x.size, x[None], step, partial, lane_width(columns), 0)
    combine(partial[0], y, accumulate)


def reduce(x: Array, y: Array, op: str) -> None:
    if x.size <= _SMALL and x.shape[1]:
        reference.reduce(x, y, op)
        return
    count, rows, columns = x.shape
    if y.size == 0:
        return
    if rows == 0:
        y.fill(0)
        return
    if rows == 1:
        np.copyto(y, x[:, 0])
        return
    code = ("sum", "mean", "max", "min").index(op)
    step = block_rows(columns)
    blocks = -(-rows // step)
    if rows * columns <= _SHORT:
        run(_reduce_short, count, x.size * 4, x, y, code)
    else:
        partial = y.reshape(count, 1, columns) if blocks == 1 else scratch("reduce", (count, blocks, columns), x.dtype)
        if columns == 1:
            run(_reduce_rows, count * blocks, x.size, x.reshape(count, rows), step, partial, code)
        else:
            run(_reduce_blocks, count * blocks, x.size, x, step, partial, lane_width(columns), code)
    with np.errstate(all="ignore"):
        if blocks > 1:
            if code < 2 and count == 1:
                combine(partial[0], y)
            elif code < 2:
                y[...] = partial.sum(axis=1, dtype=np.float64)
            else:
                (np.max if code == 2 else np.min)(partial, axis=1, out=y)
        if code == 1:
            np.divide(y, rows, out=y)


def argmax(x: Array, y: Array) -> None:
    if x.size <= _SMALL_ARGMAX:
        reference.argmax(x, y)
        return
    run(_argmax_short if x.shape[1] <= _SHORT else _argmax, x.shape[0], x.size * 2, x, y)
