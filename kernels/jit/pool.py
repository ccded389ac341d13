"""Pooling.

Plain version: one strided pass over the images per place of the window. Here each output pixel is finished before the
next: its window's pixels, all channels of each at once in vector lanes, are met in order while the result stays in the
cache. Forward passes are cut over lines of output, backward passes, whose windows may overlap, over images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reference import pool as reference
from .reduce import reduce
from .threads import absent, elementwise_jit, elementwise_kernel, run

Array = Any

# Channels below which loops over them are slower than NumPy's passes over all places.
_NARROW = 8
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]


@elementwise_jit
def _inside(place, size, length):
    """The part of a window of `size` elements, beginning at `place`, that lies inside 0 … length."""
    return max(0, -place), min(size, length - place)


@elementwise_jit
def _larger(a, place_a, b, place_b):
    """The larger of two values, or the first of them that is NaN, with its place; a if they are equal."""
    wins = (b > a) | ((b != b) & (a == a))
    return (b if wins else a), (place_b if wins else place_a)


@elementwise_kernel
def _max_pool(start, stop, x, y, index, size, stride, corner):
    height = y.shape[1]
    width = np.int32(size[1])
    unwanted = np.empty(y.shape[3], index.dtype)
    for line in range(start, stop):
        n = line // height
        oh = line % height
        top = oh * stride[0] - corner[0]
        i0, i1 = _inside(top, size[0], x.shape[1])
        for ow in range(y.shape[2]):
            left = ow * stride[1] - corner[1]
            j0, j1 = _inside(left, size[1], x.shape[2])
            best = y[n, oh, ow]
            place = index[n, oh, ow] if index.size else unwanted[: best.size]
            first = np.int32(i0) * width + np.int32(j0)
            if i1 - i0 == 2 and j1 - j0 == 2:
                # The commonest window in one pass.
                a = x[n, top + i0, left + j0]
                b = x[n, top + i0, left + j0 + 1]
                d = x[n, top + i0 + 1, left + j0]
                e = x[n, top + i0 + 1, left + j0 + 1]
                for c in range(best.size):
                    upper, upper_place = _larger(a[c], first, b[c], np.int32(first + 1))
                    lower, lower_place = _larger(d[c], np.int32(first + width), e[c], np.int32(first + width + 1))
                    best[c], place[c] = _larger(upper, upper_place, lower, lower_place)
            else:
                a = x[n, top + i0, left + j0]
                for c in range(best.size):
                    best[c] = a[c]
                    place[c] = first
                for i in range(i0, i1):
                    number = np.int32(i) * width + np.int32(j0)
                    j = j0
                    while j1 - j >= 3:
                        a = x[n, top + i, left + j]
                        b = x[n, top + i, left + j + 1]
                        d = x[n, top + i, left + j + 2]
                        for c in range(best.size):
                            v, p = _larger(a[c], number, b[c], np.int32(number + 1))
                            v, p = _larger(v, p, d[c], np.int32(number + 2))
                            best[c], place[c] = _larger(best[c], np.int32(place[c]), v, p)
                        j += 3
                        number += np.int32(3)
                    while j < j1:
                        a = x[n, top + i, left + j]
                        for c in range(best.size):
                            best[c], place[c] = _larger(best[c], np.int32(place[c]), a[c], number)
                        j += 1
                        number += np.int32(1)


@elementwise_kernel
def _max_pool_backward(start, stop, dy, index, dx, size, stride, corner):
    zero = dx.dtype.type(0)
    dx[start:stop] = zero
    for n in range(start, stop):
        for oh in range(dy.shape[1]):
            top = oh * stride[0] - corner[0]
            i0, i1 = _inside(top, size[0], dx.shape[1])
            for ow in range(dy.shape[2]):
                left = ow * stride[1] - corner[1]
                j0, j1 = _inside(left, size[1], dx.shape[2])
                d = dy[n, oh, ow]
                place = index[n, oh, ow]
                if size[0] * size[1] <= 16:
                    # A vectorised comparison per place beats a scattered addition per channel while places are few.
                    for i in range(i0, i1):
                        for j in range(j0, j1):
                            target = dx[n, top + i, left + j]
                            number = index.dtype.type(i * size[1] + j)
                            for c in range(d.size):
                                target[c] += d[c] if place[c] == number else zero
                else:
                    for c in range(d.size):
                        dx[n, top + place[c] // size[1], left + place[c] % size[1], c] += d[c]


@elementwise_kernel
def _avg_pool(start, stop, x, y, size, stride, corner):
    height = y.shape[1]
    real = x.dtype.type
    for line in range(start, stop):
        n = line // height
        oh = line % height
        top = oh * stride[0] - corner[0]
        i0, i1 = _inside(top, size[0], x.shape[1])
        for ow in range(y.shape[2]):
            left = ow * stride[1] - corner[1]
            j0, j1 = _inside(left, size[1], x.shape[2])
            total = y[n, oh, ow]
            share = real(1) / real((i1 - i0) * (j1 - j0))
            if i1 - i0 == 2 and j1 - j0 == 2:
                # The commonest window in one pass.
                a = x[n, top + i0, left + j0]
                b = x[n, top + i0, left + j0 + 1]
                d = x[n, top + i0 + 1, left + j0]
                e = x[n, top + i0 + 1, left + j0 + 1]
                for c in range(total.size):
                    total[c] = ((a[c] + b[c]) + (d[c] + e[c])) * share
                continue
            for c in range(total.size):
                total[c] = real(0)
            for i in range(i0, i1):
                j = j0
                while j1 - j >= 3:
                    a = x[n, top + i, left + j]
                    b = x[n, top + i, left + j + 1]
                    d = x[n, top + i, left + j + 2]
                    for c in range(total.size):
                        total[c] += a[c] + b[c] + d[c]
                    j += 3
                while j < j1:
                    source = x[n, top + i, left + j]
                    for c in range(total.size):
                        total[c] += source[c]
                    j += 1
            for c in range(total.size):
                total[c] *= share


@elementwise_kernel
def _avg_pool_backward(start, stop, dy, dx, size, stride, corner):
    real = dx.dtype.type
    dx[start:stop] = real(0)
    for n in range(start, stop):
        for oh in range(dy.shape[1]):
            top = oh * stride[0] - corner[0]
            i0, i1 = _inside(top, size[0], dx.shape[1])
            for ow in range(dy.shape[2]):
                left = ow * stride[1] - corner[1]
                j0, j1 = _inside(left, size[1], dx.shape[2])
                d = dy[n, oh, ow]
                share = real(1) / real((i1 - i0) * (j1 - j0))
                for i in range(i0, i1):
                    for j in range(j0, j1):
                        target = dx[n, top + i, left + j]
                        for c in range(d.size):
                            target[c] += d[c] * share


@elementwise_kernel
def _global_avg(start, stop, x, y):
    real = x.dtype.type
    places = x.shape[1]
    count = real(max(places, 1))
    block = np.empty(x.shape[2], x.dtype)
    for n in range(start, stop):
        total = y[n]
        total[:] = real(0)
        # Sums of 64 places are added to the total, which keeps long sums accurate.
        for first in range(0, places, 64):
            block[:] = real(0)
            for s in range(first, min(first + 64, places)):
                source = x[n, s]
                for c in range(source.size):
                    block[c] += source[c]
            for c in range(total.size):
                total[c] += block[c]
        for c in range(total.size):
            total[c] /= count


@elementwise_kernel
def _global_avg_backward(start, stop, dy, dx):
    count = dx.dtype.type(max(dx.shape[1], 1))
    share = np.empty(dx.shape[2], dx.dtype)
    for n in range(start, stop):
        d = dy[n]
        for c in range(d.size):
            share[c] = d[c] / count
        for s in range(dx.shape[1]):
            target = dx[n, s]
            for c in range(share.size):
                target[c] = share[c]


@elementwise_kernel
def _global_max(start, stop, x, y, index):
    place = np.empty(x.shape[2], np.int32)
    for n in range(start, stop):
        best = y[n]
        for c in range(best.size):
            best[c] = x[n, 0, c]
            place[c] = 0
        for s in range(1, x.shape[1]):
            source = x[n, s]
            number = np.int32(s)
            for c in range(best.size):
                v = source[c]
                b = best[c]
                wins = v > b or (v != v and b == b)
                best[c] = v if wins else b
                place[c] = number if wins else place[c]
        if index.size:
            for c in range(best.size):
                index[n, c] = place[c]


@elementwise_kernel
def _global_max_backward(start, stop, dy, index, dx):
    dx[start:stop] = dx.dtype.type(0)
    for n in range(start, stop):
        for c in range(dy.shape[1]):
            dx[n, index[n, c], c] = dy[n, c]


def max_pool2d(x: Array, y: Array, index: Array | None, size: Pair, stride: Pair, padding: Padding) -> None:
    places = absent(np.dtype(np.uint8)).reshape(0, 0, 0, 0) if index is None else index
    work = y.size * size[0] * size[1] * 2
    run(_max_pool, y.shape[0] * y.shape[1], work, x, y, places, tuple(size), tuple(stride), (padding[0], padding[2]))


def max_pool2d_backward(dy: Array, index: Array, dx: Array, size: Pair, stride: Pair, padding: Padding) -> None:
    work = dx.size + dy.size * size[0] * size[1]
    run(_max_pool_backward, dx.shape[0], work, dy, index, dx, tuple(size), tuple(stride), (padding[0], padding[2]))


def avg_pool2d(x: Array, y: Array, size: Pair, stride: Pair, padding: Padding) -> None:
    work = y.size * size[0] * size[1]
    run(_avg_pool, y.shape[0] * y.shape[1], work, x, y, tuple(size), tuple(stride), (padding[0], padding[2]))


def avg_pool2d_backward(dy: Array, dx: Array, size: Pair, stride: Pair, padding: Padding) -> None:
    work = dx.size + dy.size * size[0] * size[1]
    run(_avg_pool_backward, dx.shape[0], work, dy, dx, tuple(size), tuple(stride), (padding[0], padding[2]))


def global_avg_pool(x: Array, y: Array) -> None:
    if x.shape[2] < _NARROW and x.shape[1]:
        reduce(x, y, "mean")
        return
    run(_global_avg, x.shape[0], x.size, x, y)


def global_avg_pool_backward(dy: Array, dx: Array) -> None:
    if dx.shape[2] < _NARROW:
        reference.global_avg_pool_backward(dy, dx)
        return
    run(_global_avg_backward, dx.shape[0], dx.size, dy, dx)


def global_max_pool(x: Array, y: Array, index: Array | None) -> None:
    if y.size == 0:
        return
    if x.shape[2] < _NARROW:
        reference.global_max_pool(x, y, index)
        return
    run(
        _global_max, x.shape[0], x.size, x, y, absent(np.dtype(np.int32)).reshape(0, 0) if index is None else index
    )  # fmt: skip


def global_max_pool_backward(dy: Array, index: Array, dx: Array) -> None:
    run(_global_max_backward, dx.shape[0], dx.size, dy, index, dx)
