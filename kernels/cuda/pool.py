"""Pooling: one thread per window, backwards one per element of the image."""

from __future__ import annotations

from typing import Any

from .launch import Kernel, in_fours
from .linear import cut

Array = Any
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]

_GEOMETRY = (
    "long long n, int height, int width, int channels, int out_height, int out_width, int size_h, int size_w, "
    "int stride_h, int stride_w, int top, int left"
)
_max_pool = Kernel("pool", "max_pool", f"const REAL* x, REAL* y, INDEX* index, {_GEOMETRY}")
_max_pool_without_index = Kernel("pool", "max_pool_without_index", f"const REAL* x, REAL* y, {_GEOMETRY}")
_max_pool_backward, _max_pool_backward_fours = (
    Kernel("pool", name, f"const REAL* dy, const INDEX* index, REAL* dx, {_GEOMETRY}")
    for name in ("max_pool_backward", "max_pool_backward_fours")
)
_avg_pool = Kernel("pool", "avg_pool", f"const REAL* x, REAL* y, {_GEOMETRY}")
_avg_pool_backward = Kernel("pool", "avg_pool_backward", f"const REAL* dy, REAL* dx, {_GEOMETRY}")
_global_avg = Kernel("pool", "global_avg", "const REAL* x, REAL* y, int places, int channels, int stripe, int stripes")
_global_avg_backward = Kernel(
    "pool", "global_avg_backward", "const REAL* dy, REAL* dx, long long n, int places, int channels"
)
_global_max = Kernel(
    "pool", "global_max", "const REAL* x, REAL* y, int* index, int places, int channels, int stripe, int stripes"
)
_global_max_backward = Kernel(
    "pool",
    "global_max_backward",
    "const REAL* dy, const int* index, REAL* dx, long long n, int places, int channels",
)


def max_pool2d(x: Array, y: Array, index: Array | None, size: Pair, stride: Pair, padding: Padding) -> None:
    """See `Backend.max_pool2d`."""
    geometry = (y.size, *_geometry(x, y, size, stride, padding))
    if index is None:
        _max_pool_without_index(y.size, x, y, *geometry)
    else:
        _max_pool(y.size, x, y, index, *geometry)


def max_pool2d_backward(dy: Array, index: Array, dx: Array, size: Pair, stride: Pair, padding: Padding) -> None:
    """See `Backend.max_pool2d_backward`."""
    height, width, channels, *rest = _geometry(dx, dy, size, stride, padding)
    of, kernel = (4, _max_pool_backward_fours) if in_fours(channels, dy, index, dx) else (1, _max_pool_backward)
    n = dx.size // of
    kernel(n, dy, index, dx, n, height, width, channels // of, *rest)


def avg_pool2d(x: Array, y: Array, size: Pair, stride: Pair, padding: Padding) -> None:
    """See `Backend.avg_pool2d`."""
    _avg_pool(y.size, x, y, y.size, *_geometry(x, y, size, stride, padding))


def avg_pool2d_backward(dy: Array, dx: Array, size: Pair, stride: Pair, padding: Padding) -> None:
    """See `Backend.avg_pool2d_backward`."""
    _avg_pool_backward(dx.size, dy, dx, dx.size, *_geometry(dx, dy, size, stride, padding))


def global_avg_pool(x: Array, y: Array) -> None:
    """See `Backend.global_avg_pool`."""
    n, places, channels = x.shape
    stripes, stripe, _, _ = cut(places, channels)
    _global_avg.blocks(n * stripes)(x, y, places, channels, stripe, stripes)


def global_avg_pool_backward(dy: Array, dx: Array) -> None:
    """See `Backend.global_avg_pool_backward`."""
    _global_avg_backward(dx.size, dy, dx, dx.size, *dx.shape[1:])


def global_max_pool(x: Array, y: Array, index: Array | None) -> None:
    """See `Backend.global_max_pool`."""
    n, places, channels = x.shape
    stripes, stripe, _, _ = cut(places, channels)
    _global_max.blocks(n * stripes)(x, y, index, places, channels, stripe, stripes)


def global_max_pool_backward(dy: Array, index: Array, dx: Array) -> None:
    """See `Backend.global_max_pool_backward`."""
    _global_max_backward(dx.size, dy, index, dx, dx.size, *dx.shape[1:])


def _geometry(x: Array, y: Array, size: Pair, stride: Pair, padding: Padding) -> tuple[int, ...]:
    return (*x.shape[1:], *y.shape[1:3], *size, *stride, padding[0], padding[2])
