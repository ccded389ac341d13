"""Reductions over one axis.

Plain version: a ufunc's `reduce`, on one core and, for short inner axes, one element at a time. Here the axis is cut
into blocks whose size depends on the shape alone: each block is summed in vector lanes, blocks run on all cores, and
the blocks' sums are added in double precision. So sums over long axes stay accurate and do not depend on the number of
threads. The largest of many is found in vectors, one instruction each, and NaN, which that loses, beside it. Sums over
rows whose columns fill a vector stay in registers (see `lanes`); over rows of fewer (bias gradients, image channels)
they take several rows at a time, so that the vector lanes are full. Rows are places and not slices: the references of
slices, counted though nobody owns them, made the places of the largest in 512 rows of 256 take 13 to 22 µs, now 7.7.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ...backends.interface import REDUCE_OPS
from .lanes import (
    BYTES,
    address,
    beyond_infinity,
    choose,
    first_true,
    larger,
    largest,
    largest_lane,
    load,
    load_over,
    load_some,
    magnitude,
    nan_bits,
    same,
    smaller,
    smallest_lane,
    splat,
    store,
    store_some,
    strange,
    twice,
)  # fmt: skip
from .threads import elementwise_jit, elementwise_kernel, inline_jit, num_threads, reduction_jit, scratch

Array = Any

# Elements in a block: it stays in the first-level cache, and a lane adds a thousand numbers at most.
_BLOCK = 1 << 13
# Sums that are finished together.
_LANES = 512
# Elements whose maximum is taken at a time when its place is wanted.
_STRETCH = 1024
_OPS = {op: code for code, op in enumerate(REDUCE_OPS)}
_BEST = {2: np.maximum.reduce, 3: np.minimum.reduce}
# Elements that are reduced by plain loops.
_SMALL = 1 << 8
# Elements of a few rows up to which NumPy adds them, one row after the other, in less time.
_SMALL_ONCE = 1 << 14
_NUMPY_ADDS = 64
# Elements of which one core finds the largest before two have woken up.
_SMALL_EXTREME = 1 << 17
# Elements up to which NumPy finds the place of the largest in less time.
SMALL_ARGMAX = 1 << 13
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


def _extremes(of_two: Any, of_lanes: Any) -> tuple[Any, Any]:
    """The best of `count` elements from a place on, NaN if there is one, and of each column of some rows."""

    # A place and not a slice: counting its references, though nobody owns it, would cost as much as a short row.
    @elementwise_jit
    def of_row(at, count, worst):
        best = splat(worst, worst)
        many = twice(twice(worst))
        size = BYTES // len(best)
        if count >= len(many):
            bests = load(at, many)
            strangers = nan_bits(bests)
            at += size * len(many)
            count -= len(many)
            while count >= len(many):
                values = load(at, many)
                strangers |= nan_bits(values)
                bests = of_two(values, bests)
                at += size * len(many)
                count -= len(many)
            if strangers:
                return worst - worst
            if count == 0:
                return of_lanes(bests)
            best = splat(of_lanes(bests), worst)
        strangers = nan_bits(best)
        while count > 0:
            values = load_over(at, best, count)
            strangers |= nan_bits(values)
            best = of_two(values, best)
            at += BYTES
            count -= len(best)
        return worst - worst if strangers else of_lanes(best)

    @inline_jit
    def of_column(x, step, rows, zero, nan, count):
        best = load_some(x, zero, count)
        sizes = magnitude(best)
        end = x + rows * step
        x += step
        while x < end:
            row = load_some(x, zero, count)
            sizes = largest(magnitude(row), sizes)
            best = of_two(row, best)
            x += step
        return choose(beyond_infinity(sizes), splat(nan, zero), best)

    @elementwise_jit
    def of_columns(x, first, rows, y):
        columns = y.size
        size = y.itemsize
        zero = y.dtype.type(0)
        nan = y.dtype.type(np.nan)
        single, four = splat(zero, zero), twice(twice(zero))
        step = size * columns
        source = address(x) + first * step
        c = 0
        while columns - c >= len(four):
            store(address(y) + size * c, of_column(source + size * c, step, rows, four, nan, len(four)))
            c += len(four)
        while c < columns:
            count = min(len(single), columns - c)
            store_some(address(y) + size * c, of_column(source + size * c, step, rows, single, nan, count), count)
            c += len(single)

    return of_row, of_columns


_max_of_row, _max_of_columns = _extremes(larger, largest_lane)
_min_of_row, _min_of_columns = _extremes(smaller, smallest_lane)


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
        elif op == 2:
            _max_of_columns(z, first, last - first, y)
        else:
            _min_of_columns(z, first, last - first, y)


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


@inline_jit
def _place_among(values, wanted, top):
    return first_true(strange(values)) if top != top else first_true(same(values, wanted))


@elementwise_jit
def _first_place(at, count, top):
    # It is there, so that what a last vector holds beyond the elements does not matter.
    many = twice(twice(top))
    wanted = splat(top, many)
    whole = count // len(many) * len(many)
    for i in range(0, whole, len(many)):
        place = _place_among(load(at, many), wanted, top)
        if place < len(many):
            return i + place
        at += 4 * BYTES
    return whole + _place_among(load_some(at, many, count - whole), wanted, top)


@elementwise_kernel
def _argmax(start, stop, x, y):
    # The first of the stretches that hold the largest element, and its first place in that, while it is in the cache.
    worst = x.dtype.type(-np.inf)
    columns = x.shape[1]
    for r in range(start, stop):
        row = address(x) + x.itemsize * r * columns
        top = _max_of_row(row, min(_STRETCH, columns), worst)
        first = 0
        for s in range(_STRETCH, columns, _STRETCH):
            best = _max_of_row(row + x.itemsize * s, min(_STRETCH, columns - s), worst)
            if best > top or (best != best and top == top):
                top = best
                first = s
        y[r] = first + _first_place(row + x.itemsize * first, min(_STRETCH, columns - first), top)


@elementwise_kernel
def _reduce_rows(start, stop, x, length, step, partial, op):
    # The rows of x, each cut into blocks.
    low, high = x.dtype.type(-np.inf), x.dtype.type(np.inf)
    blocks = -(-length // step)
    for task in range(start, stop):
        a = task // blocks
        first = (task - a * blocks) * step
        at = a * length + first
        count = min(step, length - first)
        if op < 2:
            partial[task] = row_sum(x[at : at + count])
        elif op == 2:
            partial[task] = _max_of_row(address(x) + x.itemsize * at, count, low)
        else:
            partial[task] = _min_of_row(address(x) + x.itemsize * at, count, high)


@cache
def lane_width(columns: int) -> int:
    """Lanes for summing rows of `columns` elements: as many whole rows as fit into _WIDTH, one if none does."""
    return max(1, _WIDTH // columns) * columns if columns else 1


@cache
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
    flat = y.ravel()
    _combine(flat.size, partial.size, partial.reshape(len(partial), flat.size), flat, accumulate)


def column_sums(x: Array, y: Array, accumulate: bool = False) -> None:
    """y `[C]` = sums over the rows of x `[R, C]`."""
    rows, columns = x.shape
    if columns == 0:
        return
    if 0 < rows <= _NUMPY_ADDS and x.size <= _SMALL_ONCE:
        if accumulate:
            y += np.add.reduce(x, 0)
        else:
            np.add.reduce(x, 0, None, y)
        return
    step = block_rows(columns)
    if rows <= step and not accumulate:
        _reduce_blocks(1, x.size, x[None], step, y[None, None], lane_width(columns), 0)
        return
    partial = scratch("column_sums", (1, -(-rows // step), columns), x.dtype)
    _reduce_blocks(partial.shape[1], x.size, x[None], step, partial, lane_width(columns), 0)
    combine(partial[0], y, accumulate)


def reduce(x: Array, y: Array, op: str) -> None:
    count, rows, columns = x.shape
    code = _OPS[op]
    if rows == 1:
        y[...] = x[:, 0]
        return
    if rows == 0:
        y.fill(0)
        return
    # The best of the best is the same however they are grouped: in as few blocks as there are cores to share.
    alone = code > 1 and (x.size <= _SMALL_EXTREME or num_threads() == 1)
    if x.size <= _SMALL or rows * columns <= _SHORT:
        _reduce_short(count, x.size * 4, x, y, code)
    elif columns == 1 and (alone or rows <= _BLOCK):
        _reduce_rows(count, x.size // 2 if code > 1 else x.size, x.ravel(), rows, rows, y.ravel(), code)
    elif alone:
        _reduce_in_blocks(x, y, code, rows)
    elif code > 1:
        _reduce_in_blocks(x, y, code, max(block_rows(columns), -(-rows * count // (4 * num_threads()))))
    else:
        _reduce_in_blocks(x, y, code, block_rows(columns))
    if code == 1:
        np.divide(y, rows, y)


def _reduce_in_blocks(x: Array, y: Array, code: int, step: int) -> None:
    count, rows, columns = x.shape
    blocks = -(-rows // step)
    partial = y if blocks == 1 else scratch("reduce", (count, blocks, columns), x.dtype)
    work = x.size if code < 2 else x.size // 2
    if columns == 1:
        _reduce_rows(count * blocks, work, x.ravel(), rows, step, partial.ravel(), code)
    else:
        sums = partial.reshape(count, blocks, columns)
        _reduce_blocks(count * blocks, work, x, step, sums, lane_width(columns), code)
    if blocks == 1:
        return
    with np.errstate(all="ignore"):
        if code < 2 and count == 1:
            combine(partial[0], y)
        elif code < 2:
            y[...] = partial.sum(axis=1, dtype=np.float64)
        else:
            _BEST[code](partial, 1, None, y)


def argmax(x: Array, y: Array) -> None:
    n = x.size
    if n <= SMALL_ARGMAX:
        if n:
            y[...] = x.argmax(1)
        return
    kernel = _argmax_short if x.shape[1] <= _SHORT else _argmax
    kernel(x.shape[0], n, x, y)
