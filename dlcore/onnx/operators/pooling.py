"""Pooling of sequences, images and volumes.

A window's largest element, and its mean over the elements inside, come axis by axis: an image is pooled at once, what
a volume's slices give is pooled again along its depth, and dilated windows are put together from cuts of the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ... import layers
from ...layers.base import Layer
from .graph import CHANNELS_LAST, REAL, Node, Value, cast, layer_dtype
from .windows import Windows, as_image, flat_image, from_image, windows


def _windows(n: Node, x: Value) -> Windows:
    """The node's windows, with what ceil_mode adds to the padding at the end."""
    w = windows(n, list(n.attribute("kernel_shape")), x)
    if not n.attribute("ceil_mode", 0) or n.attribute("auto_pad", "NOTSET") != "NOTSET":
        return w
    after = list(w.after)
    for axis, length in enumerate(w.lengths):
        if length is None:
            n.refuse(w.strides[axis] > 1, "ceil_mode on images whose size varies")
            continue
        before, stride = w.before[axis], w.strides[axis]
        count = -(-(length + before + after[axis] - w.reach(axis)) // stride) + 1
        if (count - 1) * stride >= length + before:  # no window begins after the end of the image
            count -= 1
        after[axis] = max(after[axis], (count - 1) * stride + w.reach(axis) - length - before)
    return w._replace(after=after)


def _pooled(n: Node, x: Value, w: Windows, kind: Callable[..., Layer]) -> Value:
    rank = len(x.shape)
    if max(w.dilations) > 1:
        return _dilated(n, x, w, kind)
    if rank == 5:
        n.refuse(None in w.lengths, "volumes whose size varies")
        tensor = x.to((0, 4, 1, 2, 3))
        image = F.reshape(tensor, (-1, *tensor.shape[2:]))
        flat = n.layer(kind, image, w.size[1:], strides=w.strides[1:], padding=w.padding[1:])
        height, width, channels = flat.shape[1:]
        columns = F.reshape(flat, (-1, tensor.shape[1], height * width, channels))
        y = n.layer(kind, columns, [w.size[0], 1], strides=[w.strides[0], 1], padding=(w.padding[0], (0, 0)))
        return Value(F.reshape(y, (-1, w.count(0), height, width, channels)), (0, 4, 1, 2, 3))
    w = flat_image(w) if rank == 3 else w
    return from_image(n.layer(kind, as_image(x), w.size, strides=w.strides, padding=w.padding), rank)


def _dilated(n: Node, x: Value, w: Windows, kind: Callable[..., Layer]) -> Value:
    n.refuse(None in w.lengths, "dilations on images whose size varies")
    rank, largest = len(x.shape), kind is layers.MaxPooling2D
    tensor = F.pad(x.to(), [(0, 0), (0, 0), *w.padding], -math.inf if largest else 0.0)
    n.refuse(max(w.size) > 64, f"dilated windows of {max(w.size)}")
    for axis in range(rank - 2):
        before, stride, rate = (slice(None),) * (axis + 2), w.strides[axis], w.dilations[axis]
        cuts = [
            F.getitem(tensor, (*before, slice(i * rate, i * rate + (w.count(axis) - 1) * stride + 1, stride)))
            for i in range(w.size[axis])
        ]
        tensor = cuts[0]
        for cut in cuts[1:]:
            tensor = F.maximum(tensor, cut) if largest else tensor + cut
    y = Value(tensor)
    return y if largest else _scaled(y, [1 / _inside(w, axis) for axis in range(rank - 2)])


def _inside(w: Windows, axis: int) -> np.ndarray:
    """How many elements of the image each window along an axis sees."""
    places = w.places(axis)
    return ((places >= 0) & (places < w.lengths[axis])).sum(1)


def _scaled(y: Value, factors: list[np.ndarray]) -> Value:
    """y [N, C, ...] times a number for each place along each spatial axis."""
    product: Any = 1.0
    for axis, factor in enumerate(factors):
        product = product * factor.reshape([-1 if i == axis else 1 for i in range(len(factors))])
    full = product[None, None].astype(y.dtype)
    return Value(y.tensor * np.ascontiguousarray(full.transpose(np.argsort(y.order))), y.order)


def _max(n: Node) -> Value:
    x = n.number()
    n.only_output()
    n.refuse(x.dtype not in REAL and x.dtype.itemsize > 1, f"elements of type {x.dtype.name}")
    own = x if x.dtype in REAL else Value(F.cast(x.to(), "float32"))
    y = _pooled(n, own, _windows(n, x), layers.MaxPooling2D)
    return Value(cast(y.tensor, x.dtype), y.order) if own is not x else y


def _average(n: Node) -> Value:
    x = n.real()
    w = _windows(n, x)
    given = windows(n, w.size, x)
    if not n.attribute("count_include_pad", 0) or not any(map(any, w.padding)):
        return _pooled(n, x, w, layers.AveragePooling2D)
    if None in w.lengths:
        n.refuse(len(x.shape) != 4 or w.padding != given.padding, "count_include_pad on images whose size varies")
        padded = layers.ZeroPadding2D(w.padding, dtype=layer_dtype(x))(x.to(CHANNELS_LAST))
        return _pooled(
            n, Value(padded, CHANNELS_LAST), w._replace(before=[0, 0], after=[0, 0]), layers.AveragePooling2D
        )
    factors = []
    for axis, length in enumerate(w.lengths):
        places = w.places(axis)
        counted = (places >= -given.before[axis]) & (places < length + given.after[axis])
        factors.append(_inside(w, axis) / counted.sum(1))
    return _scaled(_pooled(n, x, w, layers.AveragePooling2D), factors)


def _norm(n: Node) -> Value:
    """(Σ |x|ᵖ)^(1/p) over each window."""
    x, p = n.real(), float(n.attribute("p", 2))
    w = _windows(n, x)
    n.refuse(None in w.lengths, "images whose size varies")
    powers = F.power(F.abs(x.to()), p)
    y = _pooled(n, Value(powers), w, layers.AveragePooling2D)
    y = _scaled(y, [_inside(w, axis).astype(np.float64) for axis in range(len(w.size))])
    return y.like(F.power(y.tensor, 1.0 / p))


def _global(kind: Callable[..., Layer], function: Callable) -> Callable[[Node], Value]:
    def translate(n: Node) -> Value:
        x = n.real()
        if len(x.shape) == 4:
            return Value(n.layer(kind, x.to(CHANNELS_LAST), keepdims=True), CHANNELS_LAST)
        return Value(function(x.to(), axis=list(range(2, len(x.shape))), keepdims=True))

    return translate


OPERATORS: dict[str, Callable[[Node], Any]] = {
    "AveragePool": _average,
    "GlobalAveragePool": _global(layers.GlobalAveragePooling2D, F.mean),
    "GlobalMaxPool": _global(layers.GlobalMaxPooling2D, F.max),
    "LpPool": _norm,
    "MaxPool": _max,
}
