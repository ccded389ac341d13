"""Two-dimensional convolution as matrix products.

Plain version: all windows of all images laid out as a matrix (im2col), kh·kw times the size of the images, and one
product. Here the matrix exists only for some thousand output pixels at a time, in scratch memory that does not grow
with the batch: all cores lay out a chunk, the BLAS multiplies it straight into y, and bias and activation are applied
while y is still in the cache. The gradient of the images goes the other way (col2im, cut over lines of the images, so
that no two threads add to one pixel), that of the filters adds up the chunks' products. A 1×1 filter needs no layout
at all. Depthwise convolutions have too little arithmetic for a product and are direct loops, vectorised over the
channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .linear import epilogue, gemm
from .reduce import column_sums, combine
from .threads import elementwise_jit, run, scratch

Array = Any
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
Geometry = tuple[int, ...]  # OH, OW, kh, kw, sh, sw, top, left, dh, dw

# A chunk is laid out in this many bytes, or as many as this many rows take: fewer would make the product inefficient.
_CHUNK_BYTES = 4 << 20
_CHUNK_ROWS = 1024


@elementwise_jit
def _move(target, t, source, s, count):
    # Offsets into flat arrays instead of slices, whose reference counts cost more than a pixel of few channels;
    # unsigned ones, so that no index is taken to count from the end.
    for i in range(count):
        target[np.uint64(t + i)] = source[np.uint64(s + i)]


@elementwise_jit
def _add(target, t, source, s, count):
    for i in range(count):
        target[np.uint64(t + i)] += source[np.uint64(s + i)]


@elementwise_jit
def _clear(target, t, count):
    for i in range(count):
        target[np.uint64(t + i)] = target.dtype.type(0)


@elementwise_jit
def _im2col(start, stop, x, shape, col, first, channel, channels, geometry):
    out_height, out_width, kh, kw, sh, sw, top, left, dh, dw = geometry
    height, width, depth = shape
    span = kw * channels
    # Neighbouring pixels of a filter line are neighbours in the image and can be copied in one go.
    joined = dw == 1 and channels == depth
    for k in range(start, stop):
        line = (first + k) // out_width
        iw = (first + k) % out_width * sw - left
        n = line // out_height
        j0 = min(kw, max(0, -iw))
        j1 = max(j0, min(kw, width - iw))
        for i in range(kh):
            t = (k * kh + i) * span
            ih = line % out_height * sh - top + i * dh
            if ih < 0 or ih >= height:
                _clear(col, t, span)
                continue
            s = ((n * height + ih) * width + iw) * depth + channel
            if joined:
                _clear(col, t, j0 * channels)
                _move(col, t + j0 * channels, x, s + j0 * channels, (j1 - j0) * channels)
                _clear(col, t + j1 * channels, span - j1 * channels)
            else:
                for j in range(kw):
                    if 0 <= iw + j * dw < width:
                        _move(col, t + j * channels, x, s + j * dw * depth, channels)
                    else:
                        _clear(col, t + j * channels, channels)


@elementwise_jit
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


@elementwise_jit
def _depthwise(start, stop, x, w, y, geometry):
    out_height, out_width, kh, kw, sh, sw, top, left, dh, dw = geometry
    depth = x.shape[3]
    multiplier = y.shape[3] // depth
    zero = x.dtype.type(0)
    for line in range(start, stop):
        n = line // out_height
        oh = line % out_height
        for ow in range(out_width):
            target = y[n, oh, ow]
            for c in range(target.size):
                target[c] = zero
            for i in range(kh):
                ih = oh * sh - top + i * dh
                if ih < 0 or ih >= x.shape[1]:
                    continue
                for j in range(kw):
                    iw = ow * sw - left + j * dw
                    if iw < 0 or iw >= x.shape[2]:
                        continue
                    source = x[n, ih, iw]
                    weight = w[i, j, 0]
                    if multiplier == 1:
                        for c in range(source.size):
                            target[c] += source[c] * weight[c]
                    else:
                        for c in range(source.size):
                            for m in range(c * multiplier, (c + 1) * multiplier):
                                target[m] += source[c] * weight[m]


@elementwise_jit
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


@elementwise_jit
def _depthwise_backward_weight(start, stop, x, dz, partial, step, geometry):
    out_height, out_width, kh, kw, sh, sw, top, left, dh, dw = geometry
    depth = x.shape[3]
    multiplier = dz.shape[3] // depth
    for block in range(start, stop):
        partial[block] = x.dtype.type(0)
        for line in range(block * step, min((block + 1) * step, dz.shape[0] * out_height)):
            n = line // out_height
            oh = line % out_height
            for i in range(kh):
                ih = oh * sh - top + i * dh
                if ih < 0 or ih >= x.shape[1]:
                    continue
                for j in range(kw):
                    target = partial[block, i, j]
                    for ow in range(out_width):
                        iw = ow * sw - left + j * dw
                        if iw < 0 or iw >= x.shape[2]:
                            continue
                        source = x[n, ih, iw]
                        d = dz[n, oh, ow]
                        if multiplier == 1:
                            for c in range(source.size):
                                target[c] += source[c] * d[c]
                        else:
                            for c in range(source.size):
                                for m in range(c * multiplier, (c + 1) * multiplier):
                                    target[m] += source[c] * d[m]


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
    if _is_pointwise(w, stride, padding, groups):
        gemm(x.reshape(-1, x.shape[3]), w.reshape(-1, features), flat)
        epilogue(flat, b, activation)
        return
    geometry = _geometry(y, w, stride, padding, dilation)
    if _is_depthwise(x, groups):
        run(_depthwise, y.shape[0] * y.shape[1], y.size * w.shape[0] * w.shape[1], x, w, y, geometry)
        epilogue(flat, b, activation)
        return
    channels, size = w.shape[2], features // groups
    row = w.shape[0] * w.shape[1] * channels
    matrices = [_matrix(w, g, groups) for g in range(groups)]
    for first, last in _chunks(len(flat), _chunk_rows(row, x.itemsize)):
        col = scratch("col", (last - first, row), x.dtype)
        for g, matrix in enumerate(matrices):
            run(
                _im2col,
                len(col),
                col.size,
                x.reshape(-1),
                x.shape[1:],
                col.reshape(-1),
                first,
                g * channels,
                channels,
                geometry,
            )
            if groups == 1:
                gemm(col, matrix, flat[first:last])
            else:
                part = scratch("group", (last - first, size), x.dtype)
                gemm(col, matrix, part)
                flat[first:last, g * size : (g + 1) * size] = part
        epilogue(flat[first:last], b, activation)


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
    if _is_depthwise(dx, groups):
        work = dx.size * w.shape[0] * w.shape[1]
        run(_depthwise_backward_input, dx.shape[0] * height, work, dz, w, dx, geometry)
        return
    dx.fill(0)
    if dz.size == 0:
        return
    channels, size = w.shape[2], features // groups
    row = w.shape[0] * w.shape[1] * channels
    out_height, out_width = dz.shape[1:3]
    matrices = [_matrix(w, g, groups) for g in range(groups)]
    lines = max(1, _chunk_rows(row, dz.itemsize) // out_width)
    for first, last in _chunks(dz.shape[0] * out_height, lines):
        rows = slice(first * out_width, last * out_width)
        image, final = first // out_height, (last - 1) // out_height
        col = scratch("col", (rows.stop - rows.start, row), dz.dtype)
        for g, matrix in enumerate(matrices):
            gemm(np.ascontiguousarray(flat[rows, g * size : (g + 1) * size]), matrix.T, col)
            run(
                _col2im, (final - image + 1) * height, col.size,
                col.reshape(-1), dx.reshape(-1), dx.shape[1:], first, last, image, g * channels, channels, geometry,
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
        run(_depthwise_backward_weight, len(partial), work, x, dz, partial, step, geometry)
        combine(partial, dw[:, :, 0], accumulate)
        return
    channels, size = dw.shape[2], features // groups
    row = dw.shape[0] * dw.shape[1] * channels
    pointwise = _is_pointwise(dw, stride, padding, groups)
    rows = len(flat) if pointwise else _chunk_rows(row, x.itemsize)
    product = scratch("product", (row, size), x.dtype)
    for first, last in _chunks(len(flat), rows):
        for g in range(groups):
            if pointwise:
                col = x.reshape(-1, row)
            else:
                col = scratch("col", (last - first, row), x.dtype)
                run(
                    _im2col,
                    len(col),
                    col.size,
                    x.reshape(-1),
                    x.shape[1:],
                    col.reshape(-1),
                    first,
                    g * channels,
                    channels,
                    geometry,
                )
            gemm(col.T, np.ascontiguousarray(flat[first:last, g * size : (g + 1) * size]), product)
            target = dw[..., g * size : (g + 1) * size]
            if accumulate or first > 0:
                target += product.reshape(target.shape)
            else:
                target[...] = product.reshape(target.shape)
