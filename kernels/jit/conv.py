"""Two-dimensional convolution as matrix products.

Plain version: all windows of all images laid out as a matrix (im2col), kh·kw times the size of the images, and one
product. Here windows are multiplied where they lie, a line of output at a time, with the packed filters (see `gemm`),
which also adds the bias and rectifies; what has padding is copied to the second-level cache first, some lines at a
time. LeNet's first convolution takes a third of what it took with windows laid out. Those still are, some hundred
pixels at a time, where a window's line is not one stretch (groups, dilation) and where lines of output are short. The
gradient of the filters multiplies the same lines with those of dz and adds the products up; the number of sums that are
added in the end follows from the shape, never from the number of cores. The gradient of the images is the convolution
of dz with the filters turned around; with strides it is a product that is added to the images (col2im), cut over lines
of the images, so that no two threads add to one pixel; for images of one channel that product is laid out by taps,
whose lines are added as vectors (32 of 28×28 and 32 filters of 3×3: 375 µs, pixel by pixel 690). A 1×1 filter needs no
layout at all. Depthwise convolutions have too little arithmetic for a product and are direct loops over vectors of
channels (see `lanes`): of the commonest filter, 3×3, nine taps stay in registers while a line of pixels passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .gemm import gemm
from .gemm_few import BIAS, STORED, ZERO
from .gemm_tile import (
    WIDTH,
    call_multiplier,
    call_window_multiplier,
    copy,
    multiplier,
    pack,
    packed_elements,
)
from .lanes import address, load_some, rectified, room_on_a_line, splat, store_some, twice
from .linear import epilogue
from .reduce import column_sums, combine
from .threads import absent, elementwise_jit, elementwise_kernel, inline_jit, scratch

Array = Any
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
Geometry = tuple[int, ...]  # OH, OW, kh, kw, sh, sw, top, left, dh, dw

# A core lays out so many bytes at a time, which the second-level cache holds, unless that were too few pixels.
_BLOCK_BYTES = 1 << 18
# The sums of a filter's gradient that are added in the end take so many bytes, unless they were fewer than two.
_SUMS_BYTES = 1 << 24
# Flops that take as long as one element of a cheap loop.
_FLOPS = 16
# The product of a strided convolution's gradient is laid out in this many bytes, or as many as this many rows take.
_CHUNK_BYTES = 4 << 20
_CHUNK_ROWS = 1024
# Pixels of a line of output from which windows are read where they lie, a line at a time; and tasks, at least, of all.
_SHORT_LINE = 6
_TASKS = 16


@elementwise_jit
def _move(target, t, source, s, count):
    # A vectorised loop moves what is shorter than some vectors one by one.
    size = target.itemsize
    copy(address(source) + size * s, address(target) + size * t, count, target.dtype.type(0))


@elementwise_jit
def _add(target, t, source, s, count):
    # Offsets into flat arrays instead of slices, whose reference counts cost more than a pixel of few channels;
    # unsigned ones, so that no index is taken to count from the end.
    for i in range(count):
        target[np.uint64(t + i)] += source[np.uint64(s + i)]


@elementwise_jit
def _clear(target, t, count):
    for i in range(count):
        target[np.uint64(t + i)] = target.dtype.type(0)


@elementwise_jit
def _im2col(start, stop, x, shape, col, channel, channels, geometry, i0, i1):
    """Filter lines i0 … i1 of the windows of output pixels start … stop."""
    out_height, out_width, _, kw, sh, sw, top, left, dh, dw = geometry
    height, width, depth = shape
    span = kw * channels
    # Neighbouring pixels of a filter line are neighbours in the image and can be copied in one go.
    joined = dw == 1 and channels == depth
    t = 0
    line = start // out_width
    ow = start % out_width
    n = line // out_height
    oh = line % out_height
    for _ in range(start, stop):
        iw = ow * sw - left
        j0 = min(kw, max(0, -iw))
        j1 = max(j0, min(kw, width - iw))
        for i in range(i0, i1):
            ih = oh * sh - top + i * dh
            if ih < 0 or ih >= height:
                _clear(col, t, span)
                t += span
                continue
            s = ((n * height + ih) * width + iw) * depth + channel
            if joined:
                if j1 - j0 < kw:
                    _clear(col, t, j0 * channels)
                    _clear(col, t + j1 * channels, span - j1 * channels)
                _move(col, t + j0 * channels, x, s + j0 * channels, (j1 - j0) * channels)
            else:
                for j in range(kw):
                    if 0 <= iw + j * dw < width:
                        _move(col, t + j * channels, x, s + j * dw * depth, channels)
                    else:
                        _clear(col, t + j * channels, channels)
            t += span
        ow += 1
        if ow == out_width:
            ow = 0
            oh += 1
            if oh == out_height:
                oh = 0
                n += 1


@elementwise_kernel
def _windows(start, stop, x, col, geometry):
    flat = col.reshape(-1)[start * col.shape[1] :]
    _im2col(start, stop, x.reshape(-1), x.shape[1:], flat, 0, x.shape[3], geometry, 0, geometry[2])


@elementwise_kernel
def _pack_filters(start, stop, w, packed, groups, turned):
    # One packed matrix per group; `turned` exchanges the channels of input and output and turns each filter around.
    taps = w.shape[0] * w.shape[1]
    channels, features = w.shape[2], w.shape[3]
    size = features // groups
    flat = w.reshape(-1)
    depth = taps * (size if turned else channels)
    columns = channels if turned else size
    for task in range(start, stop):
        g = task // taps
        tap = task % taps
        target = packed[g * (packed.size // groups) :]
        if turned:
            source = flat[(taps - 1 - tap) * channels * features + g * size :]
            pack(source, 1, features, depth, columns, target, tap * size, (tap + 1) * size)
        else:
            source = flat[tap * channels * features + g * size :]
            pack(source, features, 1, depth, columns, target, tap * channels, (tap + 1) * channels)


@elementwise_kernel
def _convolve(start, stop, function, x, packed, bias, y, rows, groups, mode, rectify, geometry):
    # A task is `rows` output pixels.
    kh, kw = geometry[2], geometry[3]
    shape = x.shape[1:]
    flat = x.reshape(-1)
    depth = x.shape[3] // groups
    features = y.shape[3]
    size = features // groups
    pixels = y.shape[0] * y.shape[1] * y.shape[2]
    row = kh * kw * depth
    panels = -(-size // (WIDTH if x.itemsize == 4 else WIDTH // 2))
    col = room_on_a_line(rows * row, x)
    for task in range(start, stop):
        first = task * rows
        last = min(first + rows, pixels)
        for g in range(groups):
            _im2col(first, last, flat, shape, col, g * depth, depth, geometry, 0, kh)
            call_multiplier(
                function, address(col), row, 1, last - first,
                address(packed) + x.itemsize * g * (packed.size // groups), row, 0, panels, size,
                address(y) + x.itemsize * (first * features + g * size), features, mode,
                address(bias) + x.itemsize * g * size, rectify,
            )  # fmt: skip


@elementwise_jit
def _is_inside(shape, geometry):
    """Whether no window reaches beyond its image."""
    out_height, out_width, kh, kw, sh, sw, top, left, dh, _ = geometry
    below = (out_height - 1) * sh + (kh - 1) * dh + 1 - top
    return top <= 0 and left <= 0 and below <= shape[0] and (out_width - 1) * sw + kw - left <= shape[1]


@elementwise_jit
def _line_width(shape, geometry):
    """Pixels of a line that windows are read from: of the image, or of a copy with its padding."""
    return shape[1] if _is_inside(shape, geometry) else (geometry[1] - 1) * geometry[5] + geometry[3]


@elementwise_jit
def _lines(x, shape, n, first, count, buffer, geometry):
    """Address from which the windows of `count` lines of output, the first of them `first`, are read.

    Where they reach beyond the image, they are read from a copy in `buffer`, lines of which are zero or end in zeros.
    """
    _, _, kh, _, sh, _, top, left, dh, _ = geometry
    height, width, depth = shape
    size = x.itemsize
    if _is_inside(shape, geometry):
        return address(x) + size * ((n * height + first * sh - top) * width - left) * depth
    row = _line_width(shape, geometry) * depth
    before = max(0, left) * depth
    skipped = max(0, -left) * depth
    held = max(0, min(width * depth - skipped, row - before))
    for i in range((count - 1) * sh + (kh - 1) * dh + 1):
        ih = first * sh - top + i
        t = i * row
        if ih < 0 or ih >= height:
            _clear(buffer, t, row)
            continue
        _clear(buffer, t, before)
        _move(buffer, t + before, x, (n * height + ih) * width * depth + skipped, held)
        _clear(buffer, t + before + held, row - before - held)
    return address(buffer)


@elementwise_jit
def _buffer_size(shape, count, geometry):
    """Elements of the copy of what `count` lines of output are made of."""
    if _is_inside(shape, geometry):
        return 1
    lines = (count - 1) * geometry[4] + (geometry[2] - 1) * geometry[8] + 1
    return lines * _line_width(shape, geometry) * shape[2]


@elementwise_kernel
def _convolve_lines(start, stop, function, x, packed, bias, y, count, mode, rectify, geometry):
    # A task is `count` lines of an image, whose windows are read where they lie; a panel of filters is used for all.
    out_height, out_width, kh, kw, sh, sw, _, _, dh, _ = geometry
    shape = x.shape[1:]
    flat = x.reshape(-1)
    depth, features = x.shape[3], y.shape[3]
    row = _line_width(shape, geometry) * depth
    buffer = room_on_a_line(_buffer_size(shape, count, geometry), x)
    panels = -(-features // (WIDTH if x.itemsize == 4 else WIDTH // 2))
    per_image = -(-out_height // count)
    for task in range(start, stop):
        n = task // per_image
        first = task % per_image * count
        last = min(first + count, out_height)
        source = _lines(flat, shape, n, first, last - first, buffer, geometry)
        for panel in range(panels):
            for oh in range(first, last):
                call_window_multiplier(
                    function, source + x.itemsize * (oh - first) * sh * row, sw * depth, 1, dh * row, kh, out_width,
                    address(packed), kw * depth, panel, panel + 1, features,
                    address(y) + x.itemsize * ((n * out_height + oh) * out_width * features), features, mode,
                    address(bias), rectify,
                )  # fmt: skip


@elementwise_kernel
def _correlate_lines(start, stop, function, x, dz, partial, count, parts, geometry):
    # As `_correlate`, each sum over some blocks of `count` lines; windows are read where they lie.
    out_height, out_width, kh, kw, sh, sw, _, _, dh, _ = geometry
    sums, features = partial.shape[0], partial.shape[4]
    shape = x.shape[1:]
    depth = x.shape[3]
    flat = x.reshape(-1)
    flat_dz = dz.reshape(-1)
    row = _line_width(shape, geometry) * depth
    width = WIDTH if x.itemsize == 4 else WIDTH // 2
    panels = -(-features // width)
    buffer = room_on_a_line(_buffer_size(shape, count, geometry), x)
    packed = room_on_a_line(count * out_width * panels * width, x)
    per_image = -(-out_height // count)
    blocks = dz.shape[0] * per_image
    lines = kh // parts
    for task in range(start, stop):
        s = task // parts
        i0 = task % parts * lines
        mode = ZERO
        for block in range(s * blocks // sums, (s + 1) * blocks // sums):
            n = block // per_image
            first = block % per_image * count
            last = min(first + count, out_height)
            pixels = (last - first) * out_width
            source = _lines(flat, shape, n, first, last - first, buffer, geometry)
            gradient = flat_dz[(n * out_height + first) * out_width * features :]
            pack(gradient, features, 1, pixels, features, packed, 0, pixels)
            for i in range(i0, i0 + lines):
                # Elements of a window's line are the rows of this product, its steps the pixels of all lines.
                call_window_multiplier(
                    function, source + x.itemsize * i * dh * row, 1, sw * depth, sh * row, last - first, kw * depth,
                    address(packed), out_width, 0, panels, features, address(partial[s, i]), features, mode, 0, 0,
                )  # fmt: skip
            mode = STORED


@elementwise_kernel
def _correlate(start, stop, function, x, dz, partial, rows, parts, geometry):
    # partial [S, kh, kw, C, K], each the sum over every S-th part of the pixels, `rows` of them at a time. Of `parts`
    # parts of the filter's lines a task takes one.
    kh, kw = geometry[2], geometry[3]
    sums, features = partial.shape[0], partial.shape[4]
    channels = partial.shape[3]
    groups = x.shape[3] // channels
    size = features // groups
    shape = x.shape[1:]
    flat = x.reshape(-1)
    flat_dz = dz.reshape(-1)
    pixels = dz.shape[0] * dz.shape[1] * dz.shape[2]
    span = -(-pixels // sums)
    lines = kh // parts
    row = lines * kw * channels
    panels = -(-size // (WIDTH if x.itemsize == 4 else WIDTH // 2))
    col = room_on_a_line(rows * row, x)
    packed = room_on_a_line(rows * panels * (WIDTH if x.itemsize == 4 else WIDTH // 2), x)
    for task in range(start, stop):
        s = task // parts
        i = task % parts * lines
        target = partial[s, i]
        for g in range(groups):
            mode = ZERO
            for first in range(s * span, max(min((s + 1) * span, pixels), s * span + 1), rows):
                last = max(first, min(first + rows, min((s + 1) * span, pixels)))
                _im2col(first, last, flat, shape, col, g * channels, channels, geometry, i, i + lines)
                count = last - first
                source = flat_dz[first * features + g * size :]
                pack(source, features, 1, count, size, packed, 0, count)
                call_multiplier(
                    function, address(col), 1, row, row, address(packed), count, 0, panels, size,
                    address(target) + x.itemsize * g * size, features, mode, 0, 0,
                )  # fmt: skip
                mode = STORED


@elementwise_kernel
def _col2im(start, stop, col, dx, shape, first, last, image, channel, channels, geometry):
    # Adds what the output lines first … last gave to the lines of the images from number `image` on.
    out_height, out_width, kh, kw, sh, sw, top, left, dh, dw = geometry
    height, width, depth = shape
    joined = dw == 1 and channels == depth
    span = kw * channels
    for k in range(start, stop):
        n = image + k // height
        ih = k % height
        for i in range(kh):
            reach = ih + top - i * dh
            if reach < 0 or reach % sh != 0 or reach // sh >= out_height:
                continue
            line = n * out_height + reach // sh
            if line < first or line >= last:
                continue
            for ow in range(out_width):
                s = (((line - first) * out_width + ow) * kh + i) * span
                iw = ow * sw - left
                t = ((n * height + ih) * width + iw) * depth + channel
                if joined:
                    j0 = min(kw, max(0, -iw))
                    j1 = max(j0, min(kw, width - iw))
                    _add(dx, t + j0 * channels, col, s + j0 * channels, (j1 - j0) * channels)
                else:
                    for j in range(kw):
                        if 0 <= iw + j * dw < width:
                            _add(dx, t + j * dw * depth, col, s + j * channels, channels)


@elementwise_kernel
def _add_taps(start, stop, col, dx, first, last, image, geometry):
    # As `_col2im` for images of one channel, col `[taps, pixels]`: all that a tap gives to a line lies together.
    out_height, out_width, kh, kw, sh, sw, top, left, dh, dw = geometry
    height, width = dx.shape[1:3]
    for k in range(start, stop):
        n = image + k // height
        ih = k % height
        target = dx[n, ih, :, 0]
        for i in range(kh):
            reach = ih + top - i * dh
            line = n * out_height + reach // sh
            if reach < 0 or reach % sh != 0 or reach // sh >= out_height or line < first or line >= last:
                continue
            for j in range(kw):
                source = col[i * kw + j, (line - first) * out_width :][:out_width]
                at = j * dw - left
                low, high = _taps_inside(at, out_width, sw, width)
                if sw == 1:
                    for ow in range(low, high):
                        target[np.uint64(at + ow)] += source[np.uint64(ow)]
                else:
                    for ow in range(low, high):
                        target[np.uint64(at + ow * sw)] += source[np.uint64(ow)]


@elementwise_jit
def _clear_of_edges(geometry, width):
    """The output pixels of a line whose windows lie inside the image: from the first to before the last."""
    out_width, kw, stride, left, dilation = geometry[1], geometry[3], geometry[5], geometry[7], geometry[9]
    first = min(out_width, -(-left // stride))
    return first, max(first, min(out_width, (width - 1 + left - (kw - 1) * dilation) // stride + 1))


@elementwise_jit
def _taps_inside(first, size, dilation, length):
    """The part of the taps first, first + dilation … that lies inside 0 … length."""
    low = -(first // dilation) if first < 0 else 0
    return low, max(low, min(size, (length - 1 - first) // dilation + 1))


@inline_jit
def _sum_of_taps(total, x, rows, columns, row, column, w, w_row, w_column, count):
    # As in `pool`, one loop over both axes.
    left, end = columns, x + rows * row
    if columns <= 0:
        return total
    while x < end:
        total = total + load_some(x, total, count) * load_some(w, total, count)
        x += column
        w += w_column
        left -= 1
        if left <= 0:
            x += row - columns * column
            w += w_row - columns * w_column
            left = columns
    return total


@inline_jit
def _nine_taps(x, row, column, step, w, w_column, bias, y, y_step, pixels, rectify, count):
    # Pixels of a line, a vector of channels of each; the filter stays in registers.
    w0 = load_some(w, bias, count)
    w1 = load_some(w + w_column, bias, count)
    w2 = load_some(w + 2 * w_column, bias, count)
    w3 = load_some(w + 3 * w_column, bias, count)
    w4 = load_some(w + 4 * w_column, bias, count)
    w5 = load_some(w + 5 * w_column, bias, count)
    w6 = load_some(w + 6 * w_column, bias, count)
    w7 = load_some(w + 7 * w_column, bias, count)
    w8 = load_some(w + 8 * w_column, bias, count)
    end = y + pixels * y_step
    while y < end:
        a = bias + load_some(x, bias, count) * w0
        a = a + load_some(x + column, bias, count) * w1
        a = a + load_some(x + 2 * column, bias, count) * w2
        b = load_some(x + row, bias, count) * w3
        b = b + load_some(x + row + column, bias, count) * w4
        b = b + load_some(x + row + 2 * column, bias, count) * w5
        a = a + load_some(x + 2 * row, bias, count) * w6
        a = a + load_some(x + 2 * row + column, bias, count) * w7
        b = b + load_some(x + 2 * row + 2 * column, bias, count) * w8
        total = a + b
        store_some(y, rectified(total) if rectify else total, count)
        x += step
        y += y_step


@inline_jit
def _depthwise_line(line, x, w, bias, y, c, zero, count, inner0, inner1, rectify, geometry):
    """A line of y, a vector of channels from c on."""
    out_height, out_width, kh, kw, sh, sw, top, left, dh, dw = geometry
    height, width, depth = x.shape[1:]
    one = x.itemsize
    row, column = one * dh * width * depth, one * dw * depth
    n = line // out_height
    ih = line % out_height * sh - top
    i0, i1 = _taps_inside(ih, kh, dh, height)
    whole = kh == 3 and kw == 3 and i1 - i0 == 3
    beta = load_some(address(bias) + one * c, zero, count) if bias.size else zero
    source = address(x) + one * ((n * height + ih) * width * depth + c)
    target = address(y) + one * (line * out_width * depth + c)
    filters = address(w) + one * c
    ow = 0
    while ow < out_width:
        iw = ow * sw - left
        if whole and inner0 <= ow < inner1:
            _nine_taps(
                source + one * iw * depth, row, column, one * sw * depth, filters, one * depth, beta,
                target + one * ow * depth, one * depth, inner1 - ow, rectify, count,
            )  # fmt: skip
            ow = inner1
            continue
        j0, j1 = _taps_inside(iw, kw, dw, width)
        total = _sum_of_taps(
            beta, source + one * iw * depth + i0 * row + j0 * column, i1 - i0, j1 - j0, row, column,
            filters + one * (i0 * kw + j0) * depth, one * kw * depth, one * depth, count,
        )  # fmt: skip
        store_some(target + one * ow * depth, rectified(total) if rectify else total, count)
        ow += 1


@elementwise_kernel
def _depthwise(start, stop, x, w, bias, y, rectify, geometry):
    width, depth = x.shape[2:]
    zero = x.dtype.type(0)
    single, wide = splat(zero, zero), twice(zero)
    inner0, inner1 = _clear_of_edges(geometry, width)
    for line in range(start, stop):
        c = 0
        while depth - c >= len(wide):
            _depthwise_line(line, x, w, bias, y, c, wide, len(wide), inner0, inner1, rectify, geometry)
            c += len(wide)
        while c < depth:
            _depthwise_line(
                line, x, w, bias, y, c, single, min(len(single), depth - c), inner0, inner1, rectify, geometry
            )
            c += len(single)


@elementwise_kernel
def _depthwise_multiplied(start, stop, x, w, bias, y, rectify, geometry):
    # Several filters per channel.
    out_height, out_width, kh, kw, sh, sw, top, left, dh, dw = geometry
    height, width, depth = x.shape[1:]
    multiplier = y.shape[3] // depth
    zero = x.dtype.type(0)
    for line in range(start, stop):
        n = line // out_height
        oh = line % out_height
        for ow in range(out_width):
            target = y[n, oh, ow]
            for k in range(target.size):
                target[k] = bias[k] if bias.size else zero
            for i in range(kh):
                ih = oh * sh - top + i * dh
                if ih < 0 or ih >= height:
                    continue
                for j in range(kw):
                    iw = ow * sw - left + j * dw
                    if iw < 0 or iw >= width:
                        continue
                    source = x[n, ih, iw]
                    weight = w[i, j, 0]
                    for c in range(depth):
                        for m in range(c * multiplier, (c + 1) * multiplier):
                            target[m] += source[c] * weight[m]
            if rectify:
                for k in range(target.size):
                    target[k] = zero if target[k] <= zero else target[k]


@elementwise_kernel
def _depthwise_backward_input(start, stop, dz, w, dx, geometry):
    out_height, out_width, kh, kw, sh, sw, top, left, dh, dw = geometry
    height, depth = dx.shape[1], dx.shape[3]
    multiplier = dz.shape[3] // depth
    zero = dx.dtype.type(0)
    for line in range(start, stop):
        n = line // height
        ih = line % height
        for iw in range(dx.shape[2]):
            target = dx[n, ih, iw]
            for c in range(depth):
                target[c] = zero
            for i in range(kh):
                down = ih + top - i * dh
                if down < 0 or down % sh != 0 or down // sh >= out_height:
                    continue
                for j in range(kw):
                    right = iw + left - j * dw
                    if right < 0 or right % sw != 0 or right // sw >= out_width:
                        continue
                    source = dz[n, down // sh, right // sw]
                    weight = w[i, j, 0]
                    if multiplier == 1:
                        for c in range(target.size):
                            target[c] += source[c] * weight[c]
                    else:
                        for c in range(target.size):
                            for m in range(c * multiplier, (c + 1) * multiplier):
                                target[c] += source[m] * weight[m]


@inline_jit
def _add_tap(target, x, step, dz, depth, first, last, zero, count):
    # target += the sum of x · dz over the output pixels first … last of a line.
    if first >= last:
        return
    total = load_some(target, zero, count)
    x += first * step
    dz, end = dz + first * depth, dz + last * depth
    while dz < end:
        total = total + load_some(x, zero, count) * load_some(dz, zero, count)
        x += step
        dz += depth
    store_some(target, total, count)


@inline_jit
def _depthwise_sums(first, last, x, dz, partial, c, zero, count, geometry):
    """partial[:, :, c …] = the sums of lines first … last of dz, a vector of channels of each."""
    out_height, out_width, kh, kw, sh, sw, top, left, dh, dw = geometry
    height, width, depth = x.shape[1:]
    one = x.itemsize
    inner0, inner1 = _clear_of_edges(geometry, width)
    row, column, step = one * dh * width * depth, one * dw * depth, one * sw * depth
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = zero
    for line in range(first, last):
        n = line // out_height
        ih = line % out_height * sh - top
        i0, i1 = _taps_inside(ih, kh, dh, height)
        source = address(x) + one * (((n * height + ih) * width - left) * depth + c)
        gradient = address(dz) + one * (line * out_width * depth + c)
        whole = kh == 3 and kw == 3 and i1 - i0 == 3
        edge0, edge1 = (inner0, inner1) if whole else (out_width, out_width)
        for i in range(i0, i1):
            for j in range(kw):
                # The output pixels whose tap lies inside the line.
                a = max(0, -((j * dw - left) // sw))
                b = min(out_width, (width - 1 + left - j * dw) // sw + 1)
                target = address(partial) + one * ((i * kw + j) * depth + c)
                tap = source + i * row + j * column
                _add_tap(target, tap, step, gradient, one * depth, a, min(b, edge0), zero, count)
                _add_tap(target, tap, step, gradient, one * depth, max(a, edge1), b, zero, count)
        if whole:
            at = source + inner0 * step
            now, end = gradient + one * depth * inner0, gradient + one * depth * inner1
            while now < end:
                d = load_some(now, zero, count)
                s0 = s0 + load_some(at, zero, count) * d
                s1 = s1 + load_some(at + column, zero, count) * d
                s2 = s2 + load_some(at + 2 * column, zero, count) * d
                s3 = s3 + load_some(at + row, zero, count) * d
                s4 = s4 + load_some(at + row + column, zero, count) * d
                s5 = s5 + load_some(at + row + 2 * column, zero, count) * d
                s6 = s6 + load_some(at + 2 * row, zero, count) * d
                s7 = s7 + load_some(at + 2 * row + column, zero, count) * d
                s8 = s8 + load_some(at + 2 * row + 2 * column, zero, count) * d
                at += step
                now += one * depth
    if kh == 3 and kw == 3:
        at = address(partial) + one * c
        for s in (s0, s1, s2, s3, s4, s5, s6, s7, s8):
            store_some(at, load_some(at, zero, count) + s, count)
            at += one * depth


@elementwise_kernel
def _depthwise_backward_weight(start, stop, x, dz, partial, step, geometry):
    depth = x.shape[3]
    lines = dz.shape[0] * dz.shape[1]
    zero = x.dtype.type(0)
    single, wide = splat(zero, zero), twice(zero)
    for block in range(start, stop):
        sums = partial[block]
        sums[:] = zero
        first, last = block * step, min((block + 1) * step, lines)
        c = 0
        while depth - c >= len(wide):
            _depthwise_sums(first, last, x, dz, sums, c, wide, len(wide), geometry)
            c += len(wide)
        while c < depth:
            _depthwise_sums(first, last, x, dz, sums, c, single, min(len(single), depth - c), geometry)
            c += len(single)


@elementwise_kernel
def _multiplied_backward_weight(start, stop, x, dz, partial, step, geometry):
    out_height, out_width, kh, kw, sh, sw, top, left, dh, dw = geometry
    height, width, depth = x.shape[1:]
    multiplier = dz.shape[3] // depth
    for block in range(start, stop):
        partial[block] = x.dtype.type(0)
        for line in range(block * step, min((block + 1) * step, dz.shape[0] * out_height)):
            n = line // out_height
            oh = line % out_height
            for i in range(kh):
                ih = oh * sh - top + i * dh
                if ih < 0 or ih >= height:
                    continue
                for ow in range(out_width):
                    for j in range(kw):
                        iw = ow * sw - left + j * dw
                        if iw < 0 or iw >= width:
                            continue
                        target = partial[block, i, j]
                        a = x[n, ih, iw]
                        d = dz[n, oh, ow]
                        for c in range(depth):
                            for m in range(c * multiplier, (c + 1) * multiplier):
                                target[m] += a[c] * d[m]


def _geometry(y: Array, w: Array, stride: Pair, padding: Padding, dilation: Pair) -> Geometry:
    return (*y.shape[1:3], *w.shape[:2], *stride, padding[0], padding[2], *dilation)


def _is_pointwise(w: Array, stride: Pair, padding: Padding, groups: int) -> bool:
    return w.shape[:2] == (1, 1) and tuple(stride) == (1, 1) and not any(padding) and groups == 1


def _is_depthwise(x: Array, groups: int) -> bool:
    return groups == x.shape[3] and groups > 1


def _matrix(w: Array, group: int, groups: int) -> Array:
    """The filters of one group as `[kh·kw·C/groups, K/groups]`."""
    size = w.shape[3] // groups
    return np.ascontiguousarray(w[..., group * size : (group + 1) * size]).reshape(-1, size)


def _chunk_rows(row: int, itemsize: int) -> int:
    return max(_CHUNK_ROWS, _CHUNK_BYTES // max(1, row * itemsize))


def _chunks(count: int, size: int) -> Iterator[tuple[int, int]]:
    for first in range(0, count, size):
        yield first, min(first + size, count)


def _reads_lines(groups: int, geometry: Geometry) -> bool:
    """Whether windows are read where they lie: a line of each is one stretch, and lines of output are not too short."""
    return groups == 1 and geometry[9] == 1 and geometry[1] >= _SHORT_LINE


def _lines_together(x: Array, geometry: Geometry) -> int:
    """Lines of output whose windows are read from a copy that the second-level cache holds; some tasks per core."""
    line = geometry[4] * (x.shape[2] + geometry[3]) * x.shape[3] * x.itemsize
    return max(1, min(_BLOCK_BYTES // max(line, 1), -(-len(x) * geometry[0] // _TASKS), geometry[0]))


def _convolution(x: Array, w: Array, bias: Array | None, y: Array, groups: int, turned: bool, rectify: bool,
                 geometry: Geometry) -> None:  # fmt: skip
    """y = conv(x, w) + bias, w as `_pack_filters` takes it."""
    taps, size = w.shape[0] * w.shape[1], y.shape[3] // groups
    row = taps * x.shape[3] // groups
    pixels = y.size // y.shape[3]
    if groups == 1 and not turned and pixels < size:
        # The filters are larger than the images: it is they that are cut over the cores.
        col = scratch("col", (pixels, row), x.dtype)
        _windows(pixels, col.size, x, col, geometry)
        gemm(col, w.reshape(row, size), y.reshape(pixels, size), bias, rectify)
        return
    packed = scratch("filters", (groups * packed_elements(row, size, WIDTH * 4 // y.itemsize),), x.dtype)
    _pack_filters(groups * taps, w.size, w, packed, groups, turned)
    if _reads_lines(groups, geometry):
        count = _lines_together(x, geometry)
        _convolve_lines(
            len(y) * -(-geometry[0] // count), y.size * row // _FLOPS, multiplier(x.dtype),
            x, packed, absent(x.dtype) if bias is None else bias, y, count, ZERO if bias is None else BIAS, rectify,
            geometry,
        )  # fmt: skip
        return
    rows = min(pixels, max(24, min(240, _BLOCK_BYTES // max(1, row * x.itemsize)) // 12 * 12))
    work = y.size * row // _FLOPS + pixels * row * groups
    _convolve(
        -(-pixels // rows), work, multiplier(x.dtype), x, packed,
        absent(x.dtype) if bias is None else bias, y, rows, groups, ZERO if bias is None else BIAS, rectify, geometry,
    )  # fmt: skip


def conv2d(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    activation: str,
) -> None:
    if y.size == 0:
        return
    features = y.shape[3]
    flat = y.reshape(-1, features)
    rectify = activation == "relu"
    if _is_depthwise(x, groups):
        geometry = _geometry(y, w, stride, padding, dilation)
        kernel = _depthwise if features == x.shape[3] else _depthwise_multiplied
        bias = absent(x.dtype) if b is None else b
        kernel(y.shape[0] * y.shape[1], y.size * w.shape[0] * w.shape[1], x, w, bias, y, rectify, geometry)
        if activation in ("sigmoid", "tanh"):
            epilogue(flat, None, activation)
        return
    if _is_pointwise(w, stride, padding, groups):
        gemm(x.reshape(len(flat), x.shape[3]), w.reshape(-1, features), flat, b, rectify)
    else:
        _convolution(x, w, b, y, groups, False, rectify, _geometry(y, w, stride, padding, dilation))
    if activation in ("sigmoid", "tanh"):
        epilogue(flat, None, activation)


def conv2d_backward_input(
    dz: Array, w: Array, dx: Array, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> None:
    if dx.size == 0:
        return
    features = dz.shape[3]
    flat = dz.reshape(-1, features) if dz.size else dz.reshape(0, features)
    if _is_pointwise(w, stride, padding, groups):
        gemm(flat, w.reshape(-1, features).T, dx.reshape(-1, dx.shape[3]))
        return
    geometry = _geometry(dz, w, stride, padding, dilation)
    height = dx.shape[1]
    kh, kw = w.shape[:2]
    corner = dilation[0] * (kh - 1) - padding[0], dilation[1] * (kw - 1) - padding[2]
    turned = *dx.shape[1:3], kh, kw, 1, 1, *corner, *dilation
    if _is_depthwise(dx, groups):
        work = dx.size * kh * kw
        if tuple(stride) == (1, 1) and features == dx.shape[3] and dz.size:
            flipped = np.ascontiguousarray(w[::-1, ::-1])
            _depthwise(len(dx) * height, work, dz, flipped, absent(dx.dtype), dx, False, turned)
            return
        _depthwise_backward_input(dx.shape[0] * height, work, dz, w, dx, geometry)
        return
    if dz.size == 0:
        dx.fill(0)
        return
    # For images of one channel the turned filters are a column, of which even the narrowest tile wastes most: many are
    # better multiplied first and added up afterwards.
    if tuple(stride) == (1, 1) and (w.shape[2] > 1 or features < 16):
        _convolution(dz, w, None, dx, groups, True, False, turned)
        return
    dx.fill(0)
    channels, size = w.shape[2], features // groups
    row = w.shape[0] * w.shape[1] * channels
    out_height, out_width = dz.shape[1:3]
    matrices = [_matrix(w, g, groups) for g in range(groups)]
    lines = max(1, _chunk_rows(row, dz.itemsize) // out_width)
    for first, last in _chunks(dz.shape[0] * out_height, lines):
        pixels = (last - first) * out_width
        rows = slice(first * out_width, last * out_width)
        image, final = first // out_height, (last - 1) // out_height
        task = (final - image + 1) * height, pixels * row
        if dx.shape[3] == 1:
            col = scratch("col", (row, pixels), dz.dtype)
            gemm(matrices[0], flat[rows].T, col)
            _add_taps(*task, col, dx, first, last, image, geometry)
            continue
        col = scratch("col", (pixels, row), dz.dtype)
        for g, matrix in enumerate(matrices):
            gemm(np.ascontiguousarray(flat[rows, g * size : (g + 1) * size]), matrix.T, col)
            _col2im(
                *task, col.ravel(), dx.ravel(), dx.shape[1:], first, last, image, g * channels,
                channels, geometry,
            )  # fmt: skip


def conv2d_backward_weight(
    x: Array,
    dz: Array,
    dw: Array,
    db: Array | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    accumulate: bool = False,
) -> None:
    features = dw.shape[3]
    flat = dz.reshape(-1, features) if dz.size else dz.reshape(0, features)
    if db is not None:
        column_sums(flat, db, accumulate)
    if dw.size == 0:
        return
    if dz.size == 0:
        if not accumulate:
            dw.fill(0)
        return
    geometry = _geometry(dz, dw, stride, padding, dilation)
    if _is_depthwise(x, groups):
        step = max(1, 1024 // dz.shape[2])
        lines = dz.shape[0] * dz.shape[1]
        partial = scratch("depthwise", (-(-lines // step), *dw.shape[:2], features), x.dtype)
        work = dz.size * dw.shape[0] * dw.shape[1]
        kernel = _depthwise_backward_weight if features == x.shape[3] else _multiplied_backward_weight
        kernel(len(partial), work, x, dz, partial, step, geometry)
        combine(partial, dw[:, :, 0], accumulate)
        return
    if _is_pointwise(dw, stride, padding, groups):
        gemm(x.reshape(-1, x.shape[3]).T, flat, dw.reshape(-1, features), add=accumulate)
        return
    pixels, taps, channels = len(flat), dw.shape[0] * dw.shape[1], dw.shape[2]
    parts = dw.shape[0] if taps * channels > 1024 else 1
    sums = max(1, min(8 if parts == 1 else 2, max(2, _SUMS_BYTES // dw.nbytes), pixels // 128))
    row = taps * channels // parts
    work = dz.size * taps * channels // _FLOPS + pixels * taps * x.shape[3]
    partial = scratch("sums", (sums, *dw.shape), x.dtype) if sums > 1 or accumulate else dw[None]
    if _reads_lines(groups, geometry):
        count = max(1, min(_lines_together(x, geometry), 512 // dz.shape[2]))
        partial = partial[: len(dz) * -(-dz.shape[1] // count)]
        kernel, how = _correlate_lines, (count, parts, geometry)
    else:
        rows = max(1, min(-(-pixels // sums), 512, max(64, _BLOCK_BYTES * 2 // (row * x.itemsize))))
        kernel, how = _correlate, (rows, parts, geometry)
    kernel(len(partial) * parts, work, multiplier(x.dtype), x, dz, partial, *how)
    if sums > 1 or accumulate:
        combine(partial, dw, accumulate)
