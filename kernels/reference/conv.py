"""Two-dimensional convolution as im2col and matrix products.

Every output place sees a window of kh·kw·C numbers. Laid out as the rows of a column matrix they turn the convolution
into one GEMM per group: y = columns · w. The windows are a strided view of the padded image, so that one copy builds
the matrix, a slab of images (or of rows of one) at a time to bound the memory. The gradients are the same product
transposed: dw = columnsᵀ · dz, and dx adds dz · wᵀ back to the places that the columns came from.

A depthwise convolution (one input channel per group) has no GEMM in it; there each tap of the filter is one
multiply-add of whole images. The fast engines never store the columns: they pack tiles straight from the image.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .activation import activation as activate
from .linear import store
from .reduce import sum_rows

Array = np.ndarray
Pair = tuple[int, int]

_SLAB = 1 << 22  # elements of the column matrix held at once


def conv2d(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    stride: Pair,
    padding: tuple[int, int, int, int],
    dilation: Pair,
    groups: int,
    activation: str,
) -> None:
    """See `Backend.conv2d`."""
    image = _pad(x, padding)
    if _depthwise(w, groups):
        y[...] = 0
        yg = y.reshape(*y.shape[:3], groups, w.shape[3] // groups)
        for tap, place in _taps(w, y, stride, dilation, groups):
            yg += image[place][..., None] * tap
    else:
        wg = _group_filters(w, groups)
        windows = _windows(image, w, y, stride, dilation)
        for slab in _slabs(y, w):
            part = y[slab]
            product = _columns(windows[slab], groups) @ wg
            part[...] = _merge_groups(product.reshape(groups, *part.shape[:3], wg.shape[2]))
    if b is not None:
        y += b
    activate(y, y, activation, 0.0)


def conv2d_backward_input(
    dz: Array,
    w: Array,
    dx: Array,
    stride: Pair,
    padding: tuple[int, int, int, int],
    dilation: Pair,
    groups: int,
) -> None:
    """See `Backend.conv2d_backward_input`."""
    n, height, width, channels = dx.shape
    top, bottom, left, right = padding
    image = np.zeros((n, top + height + bottom, left + width + right, channels), dx.dtype)
    if _depthwise(w, groups):
        dzg = dz.reshape(*dz.shape[:3], groups, w.shape[3] // groups)
        for tap, place in _taps(w, dz, stride, dilation, groups):
            image[place] += (dzg * tap).sum(axis=-1)
    else:
        kh, kw, cg, _ = w.shape
        wg = _group_filters(w, groups).swapaxes(1, 2)
        for n0, oh in _slabs(dz, w):
            part = dz[n0, oh]
            columns = _group_rows(part, groups) @ wg
            columns = columns.reshape(groups, *part.shape[:3], kh, kw, cg)
            target = image[n0, oh.start * stride[0] :]
            for i in range(kh):
                for j in range(kw):
                    place = _place(i, j, part, stride, dilation)
                    target[place] += _merge_groups(columns[:, :, :, :, i, j])
    dx[...] = image[:, top : top + height, left : left + width]


def conv2d_backward_weight(
    x: Array,
    dz: Array,
    dw: Array,
    db: Array | None,
    stride: Pair,
    padding: tuple[int, int, int, int],
    dilation: Pair,
    groups: int,
    accumulate: bool = False,
) -> None:
    """See `Backend.conv2d_backward_weight`."""
    image = _pad(x, padding)
    rows = dz.shape[0] * dz.shape[1] * dz.shape[2]
    if not accumulate:
        dw[...] = 0
    if _depthwise(dw, groups):
        dzg = dz.reshape(*dz.shape[:3], groups, dw.shape[3] // groups)
        for tap, place in _taps(dw, dz, stride, dilation, groups):
            products = image[place][..., None] * dzg
            tap += sum_rows(products.reshape(rows, dz.shape[3])).reshape(tap.shape)
    else:
        kh, kw, cg, k = dw.shape
        windows = _windows(image, dw, dz, stride, dilation)
        total = np.zeros((groups, kh * kw * cg, k // groups), dw.dtype)
        for slab in _slabs(dz, dw):
            total += _columns(windows[slab], groups).swapaxes(1, 2) @ _group_rows(dz[slab], groups)
        dw += total.reshape(groups, kh, kw, cg, k // groups).transpose(1, 2, 3, 0, 4).reshape(dw.shape)
    if db is not None:
        store(db, sum_rows(dz.reshape(rows, dz.shape[3])), accumulate)


def _pad(x: Array, padding: tuple[int, int, int, int]) -> Array:
    if not any(padding):
        return x
    n, height, width, channels = x.shape
    top, bottom, left, right = padding
    image = np.zeros((n, top + height + bottom, left + width + right, channels), x.dtype)
    image[:, top : top + height, left : left + width] = x
    return image


def _depthwise(w: Array, groups: int) -> bool:
    return w.shape[2] == 1 and groups > 1


def _place(i: int, j: int, y: Array, stride: Pair, dilation: Pair) -> tuple[slice, slice, slice]:
    """The elements of the padded image that tap (i, j) meets at the output places of y."""
    top, left = i * dilation[0], j * dilation[1]
    return (
        slice(None),
        slice(top, top + stride[0] * y.shape[1], stride[0]),
        slice(left, left + stride[1] * y.shape[2], stride[1]),
    )


def _taps(
    w: Array, y: Array, stride: Pair, dilation: Pair, groups: int
) -> Iterator[tuple[Array, tuple[slice, slice, slice]]]:
    """Each tap of a depthwise filter, a view `[C, K / C]`, and the image elements that it meets."""
    kh, kw, _, k = w.shape
    for i in range(kh):
        for j in range(kw):
            yield w[i, j, 0].reshape(groups, k // groups), _place(i, j, y, stride, dilation)


def _slabs(y: Array, w: Array) -> Iterator[tuple[slice, slice]]:
    """Cuts of y's images and rows whose column matrices hold about _SLAB elements."""
    n, oh, ow, _ = y.shape
    row = max(1, ow * w.shape[0] * w.shape[1] * w.shape[2])
    rows = max(1, min(oh, _SLAB // row))
    images = max(1, _SLAB // (row * oh)) if rows == oh else 1
    for n0 in range(0, n, images):
        for h0 in range(0, oh, rows):
            yield slice(n0, n0 + images), slice(h0, min(h0 + rows, oh))


def _windows(image: Array, w: Array, y: Array, stride: Pair, dilation: Pair) -> Array:
    """A view `[N, OH, OW, kh, kw, C]` of the padded image."""
    n, row, column, channel = image.strides
    return as_strided(
        image,
        (*y.shape[:3], w.shape[0], w.shape[1], image.shape[3]),
        (n, row * stride[0], column * stride[1], row * dilation[0], column * dilation[1], channel),
        writeable=False,
    )


def _columns(windows: Array, groups: int) -> Array:
    """The column matrices `[groups, rows, kh·kw·C / groups]`."""
    n, oh, ow, kh, kw, c = windows.shape
    split = windows.reshape(n, oh, ow, kh, kw, groups, c // groups)
    return split.transpose(5, 0, 1, 2, 3, 4, 6).reshape(groups, n * oh * ow, kh * kw * (c // groups))


def _group_filters(w: Array, groups: int) -> Array:
    """w as `[groups, kh·kw·C / groups, K / groups]`."""
    kh, kw, cg, k = w.shape
    return w.reshape(kh * kw * cg, groups, k // groups).transpose(1, 0, 2)


def _group_rows(y: Array, groups: int) -> Array:
    """y `[n, oh, ow, K]` as `[groups, rows, K / groups]`."""
    n, oh, ow, k = y.shape
    return y.reshape(n * oh * ow, groups, k // groups).transpose(1, 0, 2)


def _merge_groups(part: Array) -> Array:
    """`[groups, n, oh, ow, c]` as `[n, oh, ow, groups·c]`."""
    groups, n, oh, ow, c = part.shape
    return part.transpose(1, 2, 3, 0, 4).reshape(n, oh, ow, groups * c)
