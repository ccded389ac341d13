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
layout at all. Depthwise convolutions are in `conv_depthwise`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import conv_depthwise
from .conv_depthwise import taps_inside
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
from .lanes import address, room_on_a_line
from .linear import epilogue
from .reduce import column_sums, combine
from .threads import absent, elementwise_jit, elementwise_kernel, scratch

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
                low, high = taps_inside(at, out_width, sw, width)
                if sw == 1:
                    for ow in range(low, high):
                        target[np.uint64(at + ow)] += source[np.uint64(ow)]
                else:
                    for ow in range(low, high):
                        target[np.uint64(at + ow * sw)] += source[np.uint64(ow)]


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
        conv_depthwise.convolve(x, w, b, y, rectify, _geometry(y, w, stride, padding, dilation))
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
        conv_depthwise.backward_input(dz, w, dx, geometry, turned)
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
        conv_depthwise.backward_weight(x, dz, dw, geometry, accumulate)
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
