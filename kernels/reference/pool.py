"""Pooling, one place of the window at a time, each step a vectorised pass over all windows.

For place (i, j) of the window, the windows whose place lies inside the image form a rectangle of outputs, and the
elements that they see there a strided rectangle of the image: `_places` yields both, so padding never has to be stored.
The fast engines walk the outputs once and keep the window in registers instead.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .reduce import sum_middle

Array = np.ndarray
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
Region = tuple[slice, slice, slice]


def max_pool2d(x: Array, y: Array, index: Array | None, size: Pair, stride: Pair, padding: Padding) -> None:
    """See `Backend.max_pool2d`."""
    y[...] = -np.inf
    if index is None:
        for _, out, place in _places(x, y, size, stride, padding):
            np.maximum(y[out], x[place], out=y[out])
        return
    unset = np.ones(y.shape, bool)
    index[...] = 0
    for number, out, place in _places(x, y, size, stride, padding):
        best, new = y[out], x[place]
        wins = unset[out] | (new > best) | (np.isnan(new) & ~np.isnan(best))
        np.copyto(best, new, where=wins)
        np.copyto(index[out], number, where=wins, casting="unsafe")
        unset[out] = False


def max_pool2d_backward(dy: Array, index: Array, dx: Array, size: Pair, stride: Pair, padding: Padding) -> None:
    """See `Backend.max_pool2d_backward`."""
    dx[...] = 0
    for number, out, place in _places(dx, dy, size, stride, padding):
        dx[place] += np.where(index[out] == number, dy[out], 0)


def avg_pool2d(x: Array, y: Array, size: Pair, stride: Pair, padding: Padding) -> None:
    """See `Backend.avg_pool2d`."""
    y[...] = 0
    for _, out, place in _places(x, y, size, stride, padding):
        y[out] += x[place]
    y /= _counts(x, y, size, stride, padding)


def avg_pool2d_backward(dy: Array, dx: Array, size: Pair, stride: Pair, padding: Padding) -> None:
    """See `Backend.avg_pool2d_backward`."""
    share = dy / _counts(dx, dy, size, stride, padding)
    dx[...] = 0
    for _, out, place in _places(dx, dy, size, stride, padding):
        dx[place] += share[out]


def global_avg_pool(x: Array, y: Array) -> None:
    """See `Backend.global_avg_pool`."""
    y[...] = sum_middle(x) / max(x.shape[1], 1)


def global_avg_pool_backward(dy: Array, dx: Array) -> None:
    """See `Backend.global_avg_pool_backward`."""
    dx[...] = dy[:, None] / max(dx.shape[1], 1)


def global_max_pool(x: Array, y: Array, index: Array | None) -> None:
    """See `Backend.global_max_pool`."""
    if y.size == 0:
        return
    place = x.argmax(axis=1)
    y[...] = np.take_along_axis(x, place[:, None], axis=1)[:, 0]
    if index is not None:
        index[...] = place


def global_max_pool_backward(dy: Array, index: Array, dx: Array) -> None:
    """See `Backend.global_max_pool_backward`."""
    dx[...] = 0
    np.put_along_axis(dx, index[:, None].astype(np.intp), dy[:, None], axis=1)


def _places(x: Array, y: Array, size: Pair, stride: Pair, padding: Padding) -> Iterator[tuple[int, Region, Region]]:
    """Each place of the window: its number, the windows of y where it lies in the image x, the elements it meets."""
    for i in range(size[0]):
        rows, x_rows = _inside(i - padding[0], stride[0], x.shape[1], y.shape[1])
        for j in range(size[1]):
            columns, x_columns = _inside(j - padding[2], stride[1], x.shape[2], y.shape[2])
            everything = slice(None)
            yield i * size[1] + j, (everything, rows, columns), (everything, x_rows, x_columns)


def _inside(first: int, stride: int, length: int, windows: int) -> tuple[slice, slice]:
    """Windows o with 0 ≤ first + o·stride < length, and those elements."""
    low = max(0, -(first // stride))
    high = min(windows, (length - 1 - first) // stride + 1)
    if high <= low:
        return slice(0), slice(0)
    return slice(low, high), slice(first + low * stride, first + (high - 1) * stride + 1, stride)


def _counts(x: Array, y: Array, size: Pair, stride: Pair, padding: Padding) -> Array:
    """How many elements of the image each window covers, `[OH, OW, 1]` in x's dtype."""
    counts = np.zeros(y.shape[1:3], x.dtype)
    for _, (_, rows, columns), _ in _places(x, y, size, stride, padding):
        counts[rows, columns] += 1
    return counts[..., None]
