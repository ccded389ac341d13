"""Pooling."""

from __future__ import annotations

from typing import Any

from ..backends.registry import current
from ..tensor import Array, Tensor, is_recording, on_tape, wrap
from .arguments import INT32, UINT8, hashable, op, real_tensor
from .windows import windows


def _windows(name: str, shape: tuple, pool_size: Any, strides: Any, padding: Any) -> tuple:
    if len(shape) != 4:
        raise ValueError(f"{name}: x must have shape [N, H, W, C], got {shape}")
    pool_size = hashable(pool_size)
    strides = pool_size if strides is None else hashable(strides)
    size, stride, pad, _, count = windows(name, shape[1:3], pool_size, strides, hashable(padding), 1)
    for side in (0, 1):
        before, last = pad[2 * side], (count[side] - 1) * stride[side]
        if before >= size[side] or last - before >= shape[1 + side]:
            raise ValueError(
                f"{name}: padding {pad} leaves windows of {size[0]}×{size[1]} that lie outside the image "
                f"{shape[1]}×{shape[2]}"
            )
    return size, stride, pad, (shape[0], *count, shape[3])


@op
def max_pool2d(x: Any, pool_size: Any, strides: Any = None, padding: Any = "valid") -> Tensor:
    """Largest element of each window; its gradient goes to the first one that is.

    x `[N, H, W, C]`; result `[N, OH, OW, C]`. pool_size and strides (default: pool_size) are an int or two; padding as
    in conv2d, and never the largest.

    Raises:
        ValueError: x is not an image, or the window does not fit; the message says why.
    """
    x = real_tensor("max_pool2d", x)
    xd = x.data
    size, stride, pad, shape = _windows("max_pool2d", xd.shape, pool_size, strides, padding)
    backend = current()
    y = backend.empty(shape, xd.dtype)
    if not is_recording(x):
        backend.max_pool2d(xd, y, None, size, stride, pad)
        return wrap(y)
    index = backend.empty(shape, UINT8 if size[0] * size[1] <= 256 else INT32)
    backend.max_pool2d(xd, y, index, size, stride, pad)
    x_shape = xd.shape

    def backward(dy: Array) -> tuple:
        dx = backend.empty(x_shape, dy.dtype)
        backend.max_pool2d_backward(dy, index, dx, size, stride, pad)
        return (dx,)

    return on_tape(y, (x,), backward, backend)


@op
def avg_pool2d(x: Any, pool_size: Any, strides: Any = None, padding: Any = "valid") -> Tensor:
    """Mean of each window, padding not counted. Arguments, shapes and errors as in `max_pool2d`."""
    x = real_tensor("avg_pool2d", x)
    x_shape = x.data.shape
    size, stride, pad, shape = _windows("avg_pool2d", x_shape, pool_size, strides, padding)
    backend = current()
    y = backend.empty(shape, x.data.dtype)
    backend.avg_pool2d(x.data, y, size, stride, pad)

    def backward(dy: Array) -> tuple:
        dx = backend.empty(x_shape, dy.dtype)
        backend.avg_pool2d_backward(dy, dx, size, stride, pad)
        return (dx,)

    return on_tape(y, (x,), backward, backend)


def _pixels(name: str, shape: tuple) -> tuple[int, int, int]:
    if len(shape) != 4:
        raise ValueError(f"{name}: x must have shape [N, H, W, C], got {shape}")
    if shape[1] * shape[2] < 1:
        raise ValueError(f"{name}: x must have at least one pixel, got height {shape[1]} and width {shape[2]}")
    return shape[0], shape[1] * shape[2], shape[3]


@op
def global_avg_pool2d(x: Any) -> Tensor:
    """Mean over height and width. x `[N, H, W, C]`; result `[N, C]`. Raises ValueError for another rank or H·W = 0."""
    x = real_tensor("global_avg_pool2d", x)
    x_shape = x.data.shape
    flat = _pixels("global_avg_pool2d", x_shape)
    backend = current()
    y = backend.empty((flat[0], flat[2]), x.data.dtype)
    backend.global_avg_pool(x.data.reshape(flat), y)

    def backward(dy: Array) -> tuple:
        dx = backend.empty(flat, dy.dtype)
        backend.global_avg_pool_backward(dy, dx)
        return (dx.reshape(x_shape),)

    return on_tape(y, (x,), backward, backend)


@op
def global_max_pool2d(x: Any) -> Tensor:
    """Largest over height and width. x `[N, H, W, C]`; result `[N, C]`. Errors as in `global_avg_pool2d`."""
    x = real_tensor("global_max_pool2d", x)
    x_shape = x.data.shape
    flat = _pixels("global_max_pool2d", x_shape)
    backend = current()
    y = backend.empty((flat[0], flat[2]), x.data.dtype)
    if not is_recording(x):
        backend.global_max_pool(x.data.reshape(flat), y, None)
        return wrap(y)
    index = backend.empty(y.shape, INT32)
    backend.global_max_pool(x.data.reshape(flat), y, index)

    def backward(dy: Array) -> tuple:
        dx = backend.empty(flat, dy.dtype)
        backend.global_max_pool_backward(dy, index, dx)
        return (dx.reshape(x_shape),)

    return on_tape(y, (x,), backward, backend)
