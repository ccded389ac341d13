"""Depthwise convolution: output channel k reads channel k // multiplier.

Plain version: a product per channel (see `conv`), which has too little arithmetic to be one. Here direct loops over
vectors of channels (see `lanes`): of the commonest filter, 3×3, nine taps stay in registers while a line of pixels
passes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .lanes import address, load_some, rectified, splat, store_some, twice
from .reduce import combine
from .threads import absent, elementwise_jit, elementwise_kernel, inline_jit, scratch

Array = Any
Geometry = tuple[int, ...]  # as in `conv`


@elementwise_jit
def _clear_of_edges(geometry, width):
    """The output pixels of a line whose windows lie inside the image: from the first to before the last."""
    out_width, kw, stride, left, dilation = geometry[1], geometry[3], geometry[5], geometry[7], geometry[9]
    first = min(out_width, -(-left // stride))
    return first, max(first, min(out_width, (width - 1 + left - (kw - 1) * dilation) // stride + 1))


@elementwise_jit
def taps_inside(first, size, dilation, length):
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
    i0, i1 = taps_inside(ih, kh, dh, height)
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
        j0, j1 = taps_inside(iw, kw, dw, width)
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
        i0, i1 = taps_inside(ih, kh, dh, height)
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


def convolve(x: Array, w: Array, bias: Array | None, y: Array, rectify: bool, geometry: Geometry) -> None:
    """y of the geometry; it is not empty."""
    kernel = _depthwise if y.shape[3] == x.shape[3] else _depthwise_multiplied
    work = y.size * w.shape[0] * w.shape[1]
    kernel(y.shape[0] * y.shape[1], work, x, w, absent(x.dtype) if bias is None else bias, y, rectify, geometry)


def backward_input(dz: Array, w: Array, dx: Array, geometry: Geometry, turned: Geometry) -> None:
    """The gradient of the images; `turned` is the geometry of the convolution of dz that gives it at strides of 1."""
    lines, work = dx.shape[0] * dx.shape[1], dx.size * w.shape[0] * w.shape[1]
    if geometry[4:6] == (1, 1) and dz.shape[3] == dx.shape[3] and dz.size:
        flipped = np.ascontiguousarray(w[::-1, ::-1])
        _depthwise(lines, work, dz, flipped, absent(dx.dtype), dx, False, turned)
    else:
        _depthwise_backward_input(lines, work, dz, w, dx, geometry)


def backward_weight(x: Array, dz: Array, dw: Array, geometry: Geometry, accumulate: bool) -> None:
    """The gradient of the filters; the number of sums that are added in the end follows from the shape."""
    features = dw.shape[3]
    step = max(1, 1024 // dz.shape[2])
    partial = scratch("depthwise", (-(-dz.shape[0] * dz.shape[1] // step), *dw.shape[:2], features), x.dtype)
    kernel = _depthwise_backward_weight if features == x.shape[3] else _multiplied_backward_weight
    kernel(len(partial), dz.size * dw.shape[0] * dw.shape[1], x, dz, partial, step, geometry)
    combine(partial, dw[:, :, 0], accumulate)
