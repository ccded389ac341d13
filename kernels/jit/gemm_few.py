"""Products of a few rows, or of a few steps: b, or the result, is passed once, and that sets their pace.

The plain version is a product like any other, which packs b first: that costs as much as to multiply a few rows with
it. Here b is read where it lies, eight of its rows side by side from one end to the other, or by columns, four at a
time, and added to up to two rows of the result while it is in registers. Loops over slices, which LLVM vectorised,
looked anew at every eight rows of b whether they overlap, and took 6.5 µs for 1×784×128 where vectors written out take
3.9; two rows that share what they load of b take 13 µs for 2×512×512, one after the other 21.

A b of 4 MB and more comes from far away, and packing it costs more than the arithmetic of a dozen rows: 4×4096×4096
takes 2.5 ms so, 9 packed; 16 rows with its transpose 5 ms, 8.5 packed.
"""

from __future__ import annotations

from typing import Any

from .lanes import BYTES, address, load_some, multiply_add, splat, store, store_some, sums_of_four
from .threads import elementwise_kernel, inline_jit, num_threads, scratch

Array = Any

# What sums start from.
ZERO, BIAS, STORED = 0, 1, 2

# Rows up to which packing b is not worth it.
FEW = 3
# Elements of b from which that holds for more rows, read by rows or by columns.
LARGE = 1 << 20
_FEW_OF_LARGE, _FEW_TRANSPOSED = 12, 24
# Parts of the steps beside a large b, always as many: the sums are the same bits for any number of threads.
_PARTS = 16


@inline_jit
def _eight_steps(y, x, b, step, zero, count):
    # Some elements of y and what eight elements of a row of a, times as many rows of b, add to them: two sums.
    s = multiply_add(splat(x[0], zero), load_some(b, zero, count), load_some(y, zero, count))
    t = splat(x[1], zero) * load_some(b + step, zero, count)
    s = multiply_add(splat(x[2], zero), load_some(b + 2 * step, zero, count), s)
    t = multiply_add(splat(x[3], zero), load_some(b + 3 * step, zero, count), t)
    s = multiply_add(splat(x[4], zero), load_some(b + 4 * step, zero, count), s)
    t = multiply_add(splat(x[5], zero), load_some(b + 5 * step, zero, count), t)
    s = multiply_add(splat(x[6], zero), load_some(b + 6 * step, zero, count), s)
    t = multiply_add(splat(x[7], zero), load_some(b + 7 * step, zero, count), t)
    return s + t


@inline_jit
def _add_steps(y, other, both, x, w, b, step, columns, zero):
    # y, one row or `both`: where two are wanted, b is loaded once for them.
    for j in range(0, columns, len(zero)):
        at = BYTES // len(zero) * j
        count = columns - j
        if count >= len(zero):
            ours = _eight_steps(y + at, x, b + at, step, zero, len(zero))
            if both:
                store(other + at, _eight_steps(other + at, w, b + at, step, zero, len(zero)))
            store(y + at, ours)
        else:
            ours = _eight_steps(y + at, x, b + at, step, zero, count)
            if both:
                store_some(other + at, _eight_steps(other + at, w, b + at, step, zero, count), count)
            store_some(y + at, ours, count)


@inline_jit
def _eight(row, k):
    return row[k], row[k + 1], row[k + 2], row[k + 3], row[k + 4], row[k + 5], row[k + 6], row[k + 7]


@inline_jit
def _add_rows(y, a, b, k0, k1, start, stop):
    # Columns start … stop of y += a[:, k0:k1] b[k0:k1].
    zero = y.dtype.type(0)
    lanes = splat(zero, zero)
    rows = len(a)
    step = y.itemsize * y.shape[1]
    whole = k0 + (k1 - k0) // 8 * 8
    for k in range(k0, whole, 8):
        places = address(b) + k * step + y.itemsize * start
        for m in range(0, rows, 2):
            sums = address(y) + m * step + y.itemsize * start
            x = _eight(a[m], k)
            if m + 1 < rows:
                _add_steps(sums, sums + step, True, x, _eight(a[m + 1], k), places, step, stop - start, lanes)
            else:
                _add_steps(sums, sums, False, x, x, places, step, stop - start, lanes)
    for k in range(whole, k1):
        b0 = b[k, start:stop]
        for m in range(rows):
            sums = y[m, start:stop]
            x0 = a[m, k]
            for j in range(sums.size):
                sums[j] += x0 * b0[j]


@inline_jit
def _begin(sums, bias, mode):
    if mode == ZERO:
        for j in range(sums.size):
            sums[j] = 0
    elif mode == BIAS:
        for j in range(sums.size):
            sums[j] = bias[j]


@inline_jit
def _clip(sums):
    zero = sums.dtype.type(0)
    for j in range(sums.size):
        sums[j] = zero if sums[j] <= zero else sums[j]


@elementwise_kernel
def _rows(first, last, parts, a, b, y, bias, mode, clip):
    # b is read once, by rows, in stretches that the prefetcher follows: as few parts of the columns as there are cores.
    whole = BYTES // y.itemsize
    start = y.shape[1] * first // parts // whole * whole
    stop = y.shape[1] if last == parts else y.shape[1] * last // parts // whole * whole
    for m in range(len(y)):
        _begin(y[m, start:stop], bias[start:stop], mode)
    _add_rows(y, a, b, 0, a.shape[1], start, stop)
    if clip:
        for m in range(len(y)):
            _clip(y[m, start:stop])


@elementwise_kernel
def _parts_of_rows(first, last, a, b, sums):
    # Part by part of the steps, so that each core reads b from one end to the other.
    parts, rows, columns = sums.shape
    depth = a.shape[1]
    for part in range(first, last):
        for m in range(rows):
            _begin(sums[part, m], sums[part, m], ZERO)
        _add_rows(sums[part], a, b, depth * part // parts, depth * (part + 1) // parts, 0, columns)


@elementwise_kernel
def _add_parts(first, last, sums, y, bias, mode, clip):
    for m in range(first, last):
        row = y[m]
        _begin(row, bias, mode)
        for part in range(len(sums)):
            more = sums[part, m]
            for j in range(row.size):
                row[j] += more[j]
        if clip:
            _clip(row)


@inline_jit
def _add_products(place, columns, at, count, sums, zero):
    c0, c1, c2, c3 = columns
    s0, s1, s2, s3 = sums
    x = load_some(place + at, zero, count)
    return (
        multiply_add(x, load_some(c0 + at, zero, count), s0), multiply_add(x, load_some(c1 + at, zero, count), s1),
        multiply_add(x, load_some(c2 + at, zero, count), s2), multiply_add(x, load_some(c3 + at, zero, count), s3),
    )  # fmt: skip


@inline_jit
def _dots(row, other, both, columns, whole, rest, zero):
    # Of a row, or `both`, with four columns, `whole` bytes and `rest` elements: sums that do not wait for each other.
    sums = zero, zero, zero, zero
    others = sums
    at = 0
    while at < whole:
        sums = _add_products(row, columns, at, len(zero), sums, zero)
        if both:
            others = _add_products(other, columns, at, len(zero), others, zero)
        at += BYTES
    if rest:
        sums = _add_products(row, columns, at, rest, sums, zero)
        if both:
            others = _add_products(other, columns, at, rest, others, zero)
    return sums_of_four(*sums), sums_of_four(*others)


@elementwise_kernel
def _rows_transposed(start, stop, a, b, y, mode):
    # b is transposed. Its columns are read once, four at a time, by two rows of a; a third finds them in the cache.
    size = y.itemsize
    rows, depth = a.shape
    zero = splat(y.dtype.type(0), y.dtype.type(0))
    stride = size * depth
    whole = stride // BYTES * BYTES
    rest = depth % len(zero)
    for j in range(start, stop, 4):
        last = min(4, stop - j) - 1
        c0 = address(b) + j * stride
        columns = c0, c0 + min(1, last) * stride, c0 + min(2, last) * stride, c0 + last * stride
        for m in range(0, rows, 2):
            row = address(a) + m * stride
            if m + 1 < rows:
                sums, others = _dots(row, row + stride, True, columns, whole, rest, zero)
            else:
                sums, others = _dots(row, row, False, columns, whole, rest, zero)
            target = address(y) + size * (m * y.shape[1] + j)
            if mode == STORED:
                sums = sums + load_some(target, sums, last + 1)
            store_some(target, sums, last + 1)
            if m + 1 < rows:
                target += size * y.shape[1]
                if mode == STORED:
                    others = others + load_some(target, others, last + 1)
                store_some(target, others, last + 1)


@elementwise_kernel
def _steps(start, stop, a, b, y, bias, mode, clip):
    # Bound by the writing of y, row after row; a is transposed.
    for i in range(start, stop):
        row = y[i]
        x = a[0, i]
        other = b[0]
        if mode == ZERO:
            for j in range(row.size):
                row[j] = x * other[j]
        elif mode == BIAS:
            for j in range(row.size):
                row[j] = bias[j] + x * other[j]
        else:
            for j in range(row.size):
                row[j] += x * other[j]
        for k in range(1, a.shape[0]):
            x = a[k, i]
            other = b[k]
            for j in range(row.size):
                row[j] += x * other[j]
        if clip:
            _clip(row)


def few_rows(b: Array) -> int:
    """Rows of a up to which b is read where it lies."""
    if b.size < LARGE:
        return FEW
    return _FEW_OF_LARGE if b.flags.c_contiguous else _FEW_TRANSPOSED


def multiply_few_rows(a: Array, b: Array, y: Array, bias: Array, mode: int, rectify: bool) -> None:
    """y = a b from what `mode` says; b C-contiguous."""
    rows, depth = a.shape
    columns = y.shape[1]
    if b.size < LARGE or depth < _PARTS * _PARTS:
        parts = num_threads() if columns >= 256 else 1
        _rows(parts, depth * columns // 2, parts, a, b, y, bias, mode, rectify)
        return
    sums = scratch("gemm", (_PARTS, rows, columns), y.dtype)
    _parts_of_rows(_PARTS, b.size // 2, a, b, sums)
    _add_parts(rows, 0, sums, y, bias, mode, rectify)


def multiply_few_rows_transposed(a: Array, b: Array, y: Array, mode: int = ZERO) -> None:
    """y = a bᵀ, or y += a bᵀ if `mode` is STORED."""
    _rows_transposed(len(b), b.size // 2, a, b, y, mode)


def multiply_few_steps(a: Array, b: Array, y: Array, bias: Array, mode: int, rectify: bool) -> None:
    """y = a b from what `mode` says, bound by the writing of y; b C-contiguous."""
    _steps(len(a), y.size, a.T, b, y, bias, mode, rectify)
