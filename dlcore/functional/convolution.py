"""Two-dimensional convolutions."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..backends.registry import current
from ..tensor import Array, Tensor, on_tape, parameter_gradients
from .arguments import before_activation, fused_activation, hashable, like_tensor, op, pair, real_tensor
from .windows import Padding, windows


@lru_cache(maxsize=4096)
def _plan(
    xs: tuple, ws: tuple, bs: tuple | None, strides: Any, padding: Any, dilation: Any, groups: Any, activation: str
) -> tuple[tuple, tuple[int, int], Padding, tuple[int, int]]:
    if len(xs) != 4:
        raise ValueError(f"conv2d: x must have shape [N, H, W, C], got {xs}")
    if len(ws) != 4 or min(ws[:2]) < 1:
        raise ValueError(f"conv2d: w must have shape [kh, kw, C / groups, K], got {ws}")
    if not isinstance(groups, (int, np.integer)) or groups < 1:
        raise ValueError(f"conv2d: groups must be a positive int, got {groups!r}")
    if xs[3] != ws[2] * groups:
        raise ValueError(
            f"conv2d: x has {xs[3]} channels but w expects {ws[2] * groups} (w is {list(ws)}, groups={groups})"
        )
    if ws[3] % groups:
        raise ValueError(f"conv2d: groups must divide the output channels, got groups={groups} and w {list(ws)}")
    if bs is not None and bs != (ws[3],):
        raise ValueError(f"conv2d: b must have shape ({ws[3]},), one value per output channel, got {bs}")
    fused_activation("conv2d", activation)
    _, stride, pad, rate, count = windows("conv2d", xs[1:3], ws[:2], strides, padding, dilation)
    return (xs[0], *count, ws[3]), stride, pad, rate


@op
def conv2d(
    x: Any,
    w: Any,
    b: Any = None,
    strides: Any = (1, 1),
    padding: Any = "valid",
    dilation: Any = (1, 1),
    groups: int = 1,
    activation: str = "linear",
) -> Tensor:
    """activation(conv(x, w) + b), a cross-correlation.

    x `[N, H, W, C]`, w `[kh, kw, C / groups, K]`, b `[K]` or None; result `[N, OH, OW, K]`. padding is "valid", "same"
    (⌈H / stride⌉ rows, as in TensorFlow) or (top, bottom, left, right). groups = C is a depthwise convolution.

    Raises:
        ValueError: shapes, strides, padding, dilation or groups do not fit; the message says which.
        TypeError: a dtype is not real or differs from x's.
    """
    x = real_tensor("conv2d", x)
    w = like_tensor("conv2d", w, "w", x)
    xd, wd, bd = x.data, w.data, None
    if b is not None:
        b = like_tensor("conv2d", b, "b", x)
        bd = b.data
    shape, stride, pad, rate = _plan(
        xd.shape,
        wd.shape,
        None if bd is None else bd.shape,
        hashable(strides),
        hashable(padding),
        hashable(dilation),
        groups,
        activation,
    )
    backend = current()
    y = backend.empty(shape, xd.dtype)
    backend.conv2d(xd, wd, bd, y, stride, pad, rate, groups, activation)
    after = None if activation == "linear" else y
    want_x, want_w, want_b = x.requires_grad, w.requires_grad, b is not None and b.requires_grad

    def backward(dy: Array) -> tuple:
        dz = before_activation(backend, dy, after, activation)
        dx = dw = db = None
        if want_x:
            dx = backend.empty(xd.shape, xd.dtype)
            backend.conv2d_backward_input(dz, wd, dx, stride, pad, rate, groups)
        if want_w or want_b:
            (dw, db), accumulate, returned = parameter_gradients(backend, (w, b))
            backend.conv2d_backward_weight(xd, dz, dw, db, stride, pad, rate, groups, accumulate)
            if not returned:
                return dx, None, None
        return dx, dw if want_w else None, db if want_b else None

    return on_tape(y, (x, w, b), backward, backend)


def _transposed_axis(n: int, k: int, s: int, d: int, padding: str, extra: int | None) -> tuple[int, int, int]:
    """Length of the result and the padding of the convolution that is transposed, by Keras's rules."""
    extent = d * (k - 1) + 1
    if padding == "valid":
        before = 0
        length = (n - 1) * s + (max(extent, s) if extra is None else extent + extra)
    else:
        total = s + extent - 2 if extra is None else extent + extent % 2 - 2 + extra
        before = extent - 1 - min(total // 2 + total % 2, extent - 1)
        length = (n - 1) * s + 2 + total - extent
    return length, before, max((n - 1) * s + extent - length - before, 0)


@lru_cache(maxsize=4096)
def _transposed_plan(
    xs: tuple, ws: tuple, bs: tuple | None, strides: Any, padding: Any, output_padding: Any, dilation: Any, kind: str
) -> tuple[tuple, tuple[int, int], Padding, tuple[int, int]]:
    name = "conv2d_transpose"
    if len(xs) != 4:
        raise ValueError(f"{name}: x must have shape [N, H, W, C], got {xs}")
    if len(ws) != 4 or min(ws[:2]) < 1:
        raise ValueError(f"{name}: w must have shape [kh, kw, K, C], got {ws}")
    if xs[3] != ws[3]:
        raise ValueError(f"{name}: x has {xs[3]} channels but w expects {ws[3]} (w is {list(ws)})")
    if bs is not None and bs != (ws[2],):
        raise ValueError(f"{name}: b must have shape ({ws[2]},), one value per output channel, got {bs}")
    if min(xs[1:3]) < 1:
        raise ValueError(f"{name}: x must have at least one pixel, got height {xs[1]} and width {xs[2]}")
    if not isinstance(padding, str) or padding.lower() not in ("valid", "same"):
        raise ValueError(f"{name}: padding must be 'valid' or 'same', got {padding!r}")
    fused_activation(name, kind)
    stride = pair(name, "strides", strides)
    rate = pair(name, "dilation", dilation)
    extra = (None, None) if output_padding is None else pair(name, "output_padding", output_padding, 0)
    if output_padding is not None and (extra[0] >= stride[0] or extra[1] >= stride[1]):
        raise ValueError(
            f"{name}: output_padding must be smaller than strides, got {output_padding!r} and strides {strides!r}"
        )
    height, top, bottom = _transposed_axis(xs[1], ws[0], stride[0], rate[0], padding.lower(), extra[0])
    width, left, right = _transposed_axis(xs[2], ws[1], stride[1], rate[1], padding.lower(), extra[1])
    if height < 1 or width < 1:
        raise ValueError(f"{name}: the result would have height {height} and width {width}")
    return (xs[0], height, width, ws[2]), stride, (top, bottom, left, right), rate


@op
def conv2d_transpose(
    x: Any,
    w: Any,
    b: Any = None,
    strides: Any = (1, 1),
    padding: str = "valid",
    output_padding: Any = None,
    dilation: Any = (1, 1),
    activation: str = "linear",
) -> Tensor:
    """activation(the transpose of the convolution with w, applied to x, + b).

    x `[N, H, W, C]`, w `[kh, kw, K, C]`, b `[K]` or None; result `[N, OH, OW, K]`. OH is H·stride for "same" and
    (H − 1)·stride + max(kernel, stride) for "valid"; output_padding (smaller than strides) sets it as in Keras.

    Raises:
        ValueError: shapes, strides, padding, output_padding or dilation do not fit; the message says which.
        TypeError: a dtype is not real or differs from x's.
    """
    name = "conv2d_transpose"
    x = real_tensor(name, x)
    w = like_tensor(name, w, "w", x)
    xd, wd, bd = x.data, w.data, None
    if b is not None:
        b = like_tensor(name, b, "b", x)
        bd = b.data
    shape, stride, pad, rate = _transposed_plan(
        xd.shape,
        wd.shape,
        None if bd is None else bd.shape,
        hashable(strides),
        padding,
        hashable(output_padding),
        hashable(dilation),
        activation,
    )
    backend = current()
    y = backend.empty(shape, xd.dtype)
    backend.conv2d_backward_input(xd, wd, y, stride, pad, rate, 1)
    if bd is not None:
        backend.binary(y, bd, y, "add")
    if activation != "linear":
        backend.activation(y, y, activation, 0.0)
    after = None if activation == "linear" else y
    want_x, want_w, want_b = x.requires_grad, w.requires_grad, b is not None and b.requires_grad

    def backward(dy: Array) -> tuple:
        dz = before_activation(backend, dy, after, activation)
        dx = dw = db = None
        if want_x:
            dx = backend.empty(xd.shape, xd.dtype)
            backend.conv2d(dz, wd, None, dx, stride, pad, rate, 1, "linear")
        if want_w:
            (dw,), accumulate, returned = parameter_gradients(backend, (w,))
            backend.conv2d_backward_weight(dz, xd, dw, None, stride, pad, rate, 1, accumulate)
            if not returned:
                dw = None
        if want_b:
            db = backend.empty((1, shape[3]), xd.dtype)
            backend.reduce(dz.reshape(1, prod(shape[:3]), shape[3]), db, "sum")
            db = db.reshape(shape[3])
        return dx, dw, db

    return on_tape(y, (x, w, b), backward, backend)
