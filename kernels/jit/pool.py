"""Pooling.

Plain version: one strided pass over the images per place of the window. Here a window's pixels are met in order while
the result, a vector of channels, stays in registers (see `lanes`), cut over the cores by lines of output. Backward,
windows that lie apart give each pixel of the image its value at once, also line by line. Of those that overlap a pixel
collects what it has won in each, or its share, so that it is written once: adding to the image window by window took
twice as long for maxima, three times for averages of large images. Of those, windows still to come are asked for
ahead and results go past the caches.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .lanes import (
    BYTES,
    PAST_BYTES,
    address,
    beats,
    choose,
    equal,
    finish_stores,
    goes_past,
    load_places,
    load_some,
    multiply_add,
    splat,
    store,
    store_past,
    store_places,
    store_some,
    twice,
)
from .reduce import reduce
from .stream import AHEAD, ask_for, keep, store_block
from .threads import absent, borrow, elementwise_jit, elementwise_kernel, inline_jit

Array = Any

# Channels below which loops over them are slower than NumPy's passes over all places.
_NARROW = 8
# Places of a window up to which comparing with each, a vector of channels at a time, beats an addition per channel.
_PLACES = 16
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]


@elementwise_jit
def _inside(place, size, length):
    """The part of a window of `size` elements, beginning at `place`, that lies inside 0 … length."""
    return max(0, -place), min(size, length - place)


@inline_jit
def _put(place, value, count, past):
    if past:
        store_past(place, value)
    else:
        store_some(place, value, count)


@inline_jit
def _ask_for_window(x, rows, row, new_rows, count):
    """Ask for what a later window has and none before it: the last rows, and of each the first `count` bytes."""
    for i in range(max(0, rows - new_rows), rows):
        ask_for(x + i * row + AHEAD, count)


# One loop over a window's pixels, by address: LLVM would unroll two, and spend more on that than it saves. `zero` is a
# vector of zeros, of which there are as many as are worked on at a time.


@inline_jit
def _max_of_window(x, rows, columns, row, column, first, window_row, y, place, index, zero, count, past):
    # A vector of channels of the window that begins at address x; `place` is where its index goes, 0 for nowhere.
    best = load_some(x, zero, count)
    number = splat(np.int32(first), zero)
    at, here, left, end = x, first, columns, x + rows * row
    while at < end:
        value = load_some(at, zero, count)
        wins = beats(value, best)
        best = choose(wins, value, best)
        number = choose(wins, splat(np.int32(here), zero), number)
        at += column
        here += 1
        left -= 1
        if left <= 0:
            at += row - columns * column
            here += window_row - columns
            left = columns
    _put(y, best, count, past)
    if place:
        store_places(place, number, index, count)


@elementwise_kernel
def _max_pool(start, stop, x, y, index, size, stride, corner, past):
    _, height, width, channels = x.shape
    zero = x.dtype.type(0)
    wide = twice(zero)
    single = splat(zero, zero)
    lanes = len(single)
    one = x.itemsize
    for line in range(start, stop):
        n = line // y.shape[1]
        top = line % y.shape[1] * stride[0] - corner[0]
        i0, i1 = _inside(top, size[0], height)
        for ow in range(y.shape[2]):
            left = ow * stride[1] - corner[1]
            j0, j1 = _inside(left, size[1], width)
            source = address(x) + one * (((n * height + top + i0) * width + left + j0) * channels)
            at = (line * y.shape[2] + ow) * channels
            target = address(y) + one * at
            place = address(index) + index.itemsize * at if index.size else 0
            step = index.itemsize if index.size else 0
            first = i0 * size[1] + j0
            if past:
                _ask_for_window(source, i1 - i0, one * width * channels, stride[0], one * channels * stride[1])
            c = 0
            while channels - c >= len(wide):
                _max_of_window(
                    source + one * c, i1 - i0, j1 - j0, one * width * channels, one * channels, first, size[1],
                    target + one * c, place + step * c, index.dtype.type(0), wide, len(wide), past,
                )  # fmt: skip
                c += len(wide)
            while c < channels:
                _max_of_window(
                    source + one * c, i1 - i0, j1 - j0, one * width * channels, one * channels, first, size[1],
                    target + one * c, place + step * c, index.dtype.type(0), single, min(lanes, channels - c), past,
                )  # fmt: skip
                c += lanes
    finish_stores()


@inline_jit
def _give_to_pixels(d, index, number, share, columns, column, target, one_index, zero, count, past):
    # A line of a window: each pixel gets its share, or all where the largest was there.
    d = load_some(d, zero, count)
    places = load_places(index, one_index, zero, count) if index else splat(np.int32(0), zero)
    end = target + columns * column
    while target < end:
        here = equal(places, splat(np.int32(number), zero))
        _put(target, choose(here, d, zero) if index else d * splat(share, zero), count, past)
        target += column
        number += 1


@elementwise_kernel
def _apart_backward(start, stop, dy, index, dx, size, past):
    # Windows side by side from the first pixel on, so that each pixel belongs to one at most.
    _, height, width, channels = dx.shape
    out_height, out_width = dy.shape[1:3]
    zero = dx.dtype.type(0)
    share = dx.dtype.type(1) / dx.dtype.type(size[0] * size[1])
    wide = twice(zero)
    single = splat(zero, zero)
    lanes = len(single)
    one = dx.itemsize
    step = index.itemsize if index.size else 0
    one_index = index.dtype.type(0)
    for line in range(start, stop):
        n = line // height
        oh = line % height // size[0]
        row = dx.reshape(-1)[line * width * channels :][: width * channels]
        covered = out_width * size[1] * channels if oh < out_height else 0
        row[covered:] = zero
        if oh >= out_height:
            continue
        first = line % height % size[0] * size[1]
        for ow in range(out_width):
            at = ((n * out_height + oh) * out_width + ow) * channels
            source = address(dy) + one * at
            place = address(index) + step * at if step else 0
            target = address(row) + one * ow * size[1] * channels
            if past:
                ask_for(source + AHEAD, one * channels)
                ask_for(place + AHEAD, step * channels)
            c = 0
            while channels - c >= len(wide):
                _give_to_pixels(
                    source + one * c, place + step * c, first, share, size[1], one * channels, target + one * c,
                    one_index, wide, len(wide), past,
                )  # fmt: skip
                c += len(wide)
            while c < channels:
                _give_to_pixels(
                    source + one * c, place + step * c, first, share, size[1], one * channels, target + one * c,
                    one_index, single, min(lanes, channels - c), past,
                )  # fmt: skip
                c += lanes
    finish_stores()


@inline_jit
def _from_windows(
    dy, place, rows, columns, row, column, index_row, index_column, number, down, right, index, zero, count
):
    # What a pixel has won in the windows that hold it. In the first it is number `number`, in the one to the right of a
    # window `right` less, in the one below `down` less; windows are `column` and `row` bytes apart, their indices
    # `index_column` and `index_row`.
    total = zero
    at, left, end = dy, columns, dy + rows * row if columns > 0 else dy
    while at < end:
        here = splat(np.int32(number), zero)
        won = equal(load_places(place, index, zero, count), here)
        total = total + choose(won, load_some(at, zero, count), zero)
        at += column
        place += index_column
        number -= right
        left -= 1
        if left <= 0:
            at += row - columns * column
            place += index_row - columns * index_column
            number += columns * right - down
            left = columns
    return total


@inline_jit
def _from_averages(dy, rows, columns, row, column, top, left, window, stride, image, real, zero, count):
    # The same for averages: each window gives its pixels equal parts. The first begins at top, left.
    total = zero
    at, here, end = dy, 0, dy + rows * row if columns > 0 else dy
    i0, i1 = _inside(top, window[0], image[0])
    while at < end:
        j0, j1 = _inside(left + here * stride[1], window[1], image[1])
        share = splat(real(1) / real((i1 - i0) * (j1 - j0)), zero)
        total = multiply_add(load_some(at, zero, count), share, total)
        at += column
        here += 1
        if here >= columns:
            at += row - columns * column
            here = 0
            top += stride[0]
            i0, i1 = _inside(top, window[0], image[0])
    return total


@inline_jit
def _put_scaled_sum(x, rows, columns, row, column, share, y, zero, count, past):
    total = zero
    at, left, end = x, columns, x + rows * row
    while at < end:
        total = total + load_some(at, zero, count)
        at += column
        left -= 1
        if left <= 0:
            at += row - columns * column
            left = columns
    _put(y, total * splat(share, zero), count, past)


@elementwise_kernel
def _overlapping_backward(start, stop, dy, index, dx, size, stride, corner, past):
    # Of largest pixels; where there is no index, of averages.
    _, height, width, channels = dx.shape
    out_height, out_width = dy.shape[1:3]
    zero = dx.dtype.type(0)
    wide = twice(zero)
    single = splat(zero, zero)
    lanes = len(single)
    one, step = dx.itemsize, index.itemsize if index.size else 0
    one_index = index.dtype.type(0)
    share = dx.dtype.type(1) / dx.dtype.type(size[0] * size[1])
    for line in range(start, stop):
        n = line // height
        top = line - n * height + corner[0]
        # Windows from oh0, ow0 to before oh1, ow1 hold the pixel.
        oh0 = max(0, (top - size[0]) // stride[0] + 1)
        oh1 = min(out_height, top // stride[0] + 1)
        ow0, ow1 = 0, 0
        for iw in range(width):
            left = iw + corner[1]
            while ow1 < out_width and ow1 * stride[1] <= left:
                ow1 += 1
            while ow0 < ow1 and ow0 * stride[1] + size[1] <= left:
                ow0 += 1
            at = ((n * out_height + oh0) * out_width + ow0) * channels
            source = address(dy) + one * at
            place = address(index) + step * at
            target = address(dx) + one * (line * width + iw) * channels
            number = (top - oh0 * stride[0]) * size[1] + left - ow0 * stride[1]
            rows, columns, row = oh1 - oh0, ow1 - ow0, out_width * channels
            # Windows that no edge cuts give equal parts of all that they hold.
            whole = (
                not step and rows > 0 and columns > 0 and oh0 * stride[0] >= corner[0] and ow0 * stride[1] >= corner[1]
            )
            whole = whole and (oh1 - 1) * stride[0] + size[0] <= height + corner[0]
            whole = whole and (ow1 - 1) * stride[1] + size[1] <= width + corner[1]
            c = 0
            while whole and channels - c >= len(wide):
                _put_scaled_sum(
                    source + one * c, rows, columns, one * row, one * channels, share, target + one * c, wide,
                    len(wide), past,
                )  # fmt: skip
                c += len(wide)
            while channels - c >= len(wide):
                if step:
                    value = _from_windows(
                        source + one * c, place + step * c, rows, columns, one * row, one * channels, step * row,
                        step * channels, number, stride[0] * size[1], stride[1], one_index, wide, len(wide),
                    )  # fmt: skip
                else:
                    value = _from_averages(
                        source + one * c, rows, columns, one * row, one * channels, oh0 * stride[0] - corner[0],
                        ow0 * stride[1] - corner[1], size, stride, (height, width), dx.dtype.type, wide, len(wide),
                    )  # fmt: skip
                _put(target + one * c, value, len(wide), past)
                c += len(wide)
            while c < channels:
                count = min(lanes, channels - c)
                if step:
                    value = _from_windows(
                        source + one * c, place + step * c, rows, columns, one * row, one * channels, step * row,
                        step * channels, number, stride[0] * size[1], stride[1], one_index, single, count,
                    )  # fmt: skip
                else:
                    value = _from_averages(
                        source + one * c, rows, columns, one * row, one * channels, oh0 * stride[0] - corner[0],
                        ow0 * stride[1] - corner[1], size, stride, (height, width), dx.dtype.type, single, count,
                    )  # fmt: skip
                _put(target + one * c, value, count, past)
                c += lanes
    finish_stores()


@elementwise_kernel
def _large_max_pool_backward(start, stop, dy, index, dx, size, stride, corner):
    zero = dx.dtype.type(0)
    dx[start:stop] = zero
    for n in range(start, stop):
        for oh in range(dy.shape[1]):
            top = oh * stride[0] - corner[0]
            for ow in range(dy.shape[2]):
                left = ow * stride[1] - corner[1]
                d = dy[n, oh, ow]
                place = index[n, oh, ow]
                for c in range(d.size):
                    dx[n, top + place[c] // size[1], left + place[c] % size[1], c] += d[c]


@elementwise_kernel
def _avg_pool(start, stop, x, y, size, stride, corner, past):
    _, height, width, channels = x.shape
    real = x.dtype.type
    zero = real(0)
    wide = twice(zero)
    single = splat(zero, zero)
    lanes = len(single)
    one = x.itemsize
    for line in range(start, stop):
        n = line // y.shape[1]
        top = line % y.shape[1] * stride[0] - corner[0]
        i0, i1 = _inside(top, size[0], height)
        for ow in range(y.shape[2]):
            left = ow * stride[1] - corner[1]
            j0, j1 = _inside(left, size[1], width)
            source = address(x) + one * (((n * height + top + i0) * width + left + j0) * channels)
            target = address(y) + one * (line * y.shape[2] + ow) * channels
            share = real(1) / real((i1 - i0) * (j1 - j0))
            if past:
                _ask_for_window(source, i1 - i0, one * width * channels, stride[0], one * channels * stride[1])
            c = 0
            while channels - c >= len(wide):
                _put_scaled_sum(
                    source + one * c, i1 - i0, j1 - j0, one * width * channels, one * channels, share,
                    target + one * c, wide, len(wide), past,
                )  # fmt: skip
                c += len(wide)
            while c < channels:
                _put_scaled_sum(
                    source + one * c, i1 - i0, j1 - j0, one * width * channels, one * channels, share,
                    target + one * c, single, min(lanes, channels - c), past,
                )  # fmt: skip
                c += lanes
    finish_stores()


@inline_jit
def _sum_of_places(x, places, row, size, zero, count, large):
    # Sums of 64 places are added to the total, which keeps long sums accurate.
    total = zero
    ahead = -(-AHEAD // row) * row
    at, end = x, x + places * row
    while at < end:
        part = zero
        last = min(at + 64 * row, end)
        while at < last:
            if large:
                ask_for(at + ahead, size)
            part = part + load_some(at, zero, count)
            at += row
        total = total + part
    return total


@elementwise_kernel
def _global_avg(start, stop, x, y):
    large = x.nbytes >= PAST_BYTES
    _, places, channels = x.shape
    zero = x.dtype.type(0)
    many = twice(twice(zero))
    single = splat(zero, zero)
    lanes = len(single)
    one = x.itemsize
    count = x.dtype.type(max(places, 1))
    for n in range(start, stop):
        source = address(x) + one * n * places * channels
        target = address(y) + one * n * channels
        c = 0
        while channels - c >= len(many):
            total = _sum_of_places(source + one * c, places, one * channels, 4 * BYTES, many, len(many), large)
            store(target + one * c, total / splat(count, many))
            c += len(many)
        while c < channels:
            some = min(lanes, channels - c)
            total = _sum_of_places(source + one * c, places, one * channels, BYTES, single, some, large)
            store_some(target + one * c, total / splat(count, single), some)
            c += lanes


@elementwise_kernel
def _global_avg_backward(start, stop, dy, dx):
    past = dx.nbytes >= PAST_BYTES
    count = dx.dtype.type(max(dx.shape[1], 1))
    room = np.empty(dx.shape[2], dx.dtype)
    share = borrow(room)
    flat = dx.reshape(-1)
    for n in range(start, stop):
        d = dy[n]
        for c in range(d.size):
            share[c] = d[c] / count
        for s in range(dx.shape[1]):
            if past:
                store_block(share, flat, (n * dx.shape[1] + s) * share.size, True)
            else:
                target = dx[n, s]
                for c in range(share.size):
                    target[c] = share[c]
    finish_stores()
    keep(room)


@elementwise_kernel
def _global_max(start, stop, x, y, index):
    _, places, channels = x.shape
    zero = x.dtype.type(0)
    wide = twice(zero)
    single = splat(zero, zero)
    lanes = len(single)
    one = x.itemsize
    step = index.itemsize if index.size else 0
    for n in range(start, stop):
        source = address(x) + one * n * places * channels
        target = address(y) + one * n * channels
        place = address(index) + step * n * channels if index.size else 0
        c = 0
        while channels - c >= len(wide):
            _max_of_window(
                source + one * c, 1, places, one * places * channels, one * channels, 0, places, target + one * c,
                place + step * c, np.int32(0), wide, len(wide), False,
            )  # fmt: skip
            c += len(wide)
        while c < channels:
            _max_of_window(
                source + one * c, 1, places, one * places * channels, one * channels, 0, places, target + one * c,
                place + step * c, np.int32(0), single, min(lanes, channels - c), False,
            )  # fmt: skip
            c += lanes


@elementwise_kernel
def _global_max_backward(start, stop, dy, index, dx):
    dx[start:stop] = dx.dtype.type(0)
    for n in range(start, stop):
        for c in range(dy.shape[1]):
            dx[n, index[n, c], c] = dy[n, c]


def _goes_past(result: Array, other: Array) -> bool:
    """Whether a result is so large that it goes past the caches, in whole vectors."""
    return result.shape[3] * result.itemsize % BYTES == 0 and goes_past(result, other)


def _lie_apart(dy: Array, dx: Array, size: Pair, stride: Pair, padding: Padding) -> bool:
    """Whether windows lie side by side from the image's first pixel on, each inside it."""
    fits = dy.shape[1] * size[0] <= dx.shape[1] and dy.shape[2] * size[1] <= dx.shape[2]
    return tuple(size) == tuple(stride) and not padding[0] and not padding[2] and fits


def max_pool2d(x: Array, y: Array, index: Array | None, size: Pair, stride: Pair, padding: Padding) -> None:
    places = absent(np.dtype(np.uint8)).reshape(0, 0, 0, 0) if index is None else index
    work = y.size * size[0] * size[1] * 2
    _max_pool(
        y.shape[0] * y.shape[1], work, x, y, places, tuple(size), tuple(stride), (padding[0], padding[2]),
        _goes_past(y, x),
    )  # fmt: skip


def max_pool2d_backward(dy: Array, index: Array, dx: Array, size: Pair, stride: Pair, padding: Padding) -> None:
    work = dx.size + dy.size * size[0] * size[1]
    if _lie_apart(dy, dx, size, stride, padding):
        _apart_backward(dx.shape[0] * dx.shape[1], work, dy, index, dx, tuple(size), _goes_past(dx, dy))
        return
    how = tuple(size), tuple(stride), (padding[0], padding[2])
    if size[0] * size[1] <= _PLACES:
        _overlapping_backward(dx.shape[0] * dx.shape[1], work, dy, index, dx, *how, _goes_past(dx, dy))
    else:
        _large_max_pool_backward(dx.shape[0], work, dy, index, dx, *how)


def avg_pool2d(x: Array, y: Array, size: Pair, stride: Pair, padding: Padding) -> None:
    work = y.size * size[0] * size[1]
    _avg_pool(
        y.shape[0] * y.shape[1], work, x, y, tuple(size), tuple(stride), (padding[0], padding[2]),
        _goes_past(y, x),
    )  # fmt: skip


def avg_pool2d_backward(dy: Array, dx: Array, size: Pair, stride: Pair, padding: Padding) -> None:
    work = dx.size + dy.size * size[0] * size[1]
    none = absent(np.dtype(np.uint8)).reshape(0, 0, 0, 0)
    if _lie_apart(dy, dx, size, stride, padding):
        _apart_backward(dx.shape[0] * dx.shape[1], work, dy, none, dx, tuple(size), _goes_past(dx, dy))
        return
    _overlapping_backward(
        dx.shape[0] * dx.shape[1], work, dy, none, dx, tuple(size), tuple(stride), (padding[0], padding[2]),
        _goes_past(dx, dy),
    )  # fmt: skip


def global_avg_pool(x: Array, y: Array) -> None:
    if x.shape[2] < _NARROW and x.shape[1]:
        reduce(x, y, "mean")
        return
    _global_avg(x.shape[0], x.size, x, y)


def global_avg_pool_backward(dy: Array, dx: Array) -> None:
    if dx.shape[2] < _NARROW:
        dx[...] = dy[:, None] / max(dx.shape[1], 1)
        return
    _global_avg_backward(dx.shape[0], dx.size, dy, dx)


def global_max_pool(x: Array, y: Array, index: Array | None) -> None:
    if y.size == 0:
        return
    _global_max(
        x.shape[0], x.size, x, y, absent(np.dtype(np.int32)).reshape(0, 0) if index is None else index
    )  # fmt: skip


def global_max_pool_backward(dy: Array, index: Array, dx: Array) -> None:
    _global_max_backward(dx.shape[0], dx.size, dy, index, dx)
