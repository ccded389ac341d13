"""Sums, means and extremes over axes; the backend reduces one middle axis at a time."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..backends.interface import Array, Backend
from ..backends.registry import current
from ..tensor import FLOAT32, FLOAT64, Tensor, as_tensor, on_tape, wrap
from .arguments import BOOL, INT32, UINT32, axis_of, converted, op


@lru_cache(maxsize=4096)
def _plan(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[tuple[tuple[int, int, int], ...], tuple[int, ...]]:
    """The [A, R, B] shapes of successive reductions, and the final shape with reduced axes kept as 1.

    Neighbouring reduced axes go together; the last run goes first, so that later ones read less.
    """
    lengths = list(shape)
    steps = []
    axis = len(shape) - 1
    while axis >= 0:
        if axis not in axes:
            axis -= 1
            continue
        end = axis + 1
        while axis >= 0 and axis in axes:
            axis -= 1
        start = axis + 1
        steps.append((prod(lengths[:start]), prod(lengths[start:end]), prod(lengths[end:])))
        lengths[start:end] = [1] * (end - start)
    return tuple(steps), tuple(lengths)


def reduced(backend: Backend, x: Array, axes: tuple[int, ...], kind: str) -> Array:
    """x reduced over axes, which stay with length 1."""
    steps, shape = _plan(x.shape, axes)
    if not steps:
        return x
    for step in steps:
        y = backend.empty((step[0], step[2]), x.dtype)
        backend.reduce(x.reshape(step), y, kind)
        x = y
    return x.reshape(shape)


def summed_to(backend: Backend, grad: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of something broadcast from shape: grad summed over what broadcasting added."""
    if grad.shape == shape:
        return grad
    extra = grad.ndim - len(shape)
    axes = tuple([i for i in range(grad.ndim) if i < extra or (shape[i - extra] == 1 and grad.shape[i] != 1)])
    return reduced(backend, grad, axes, "sum").reshape(shape)


def _axes(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    if isinstance(axis, (tuple, list)):
        axes = tuple([axis_of(name, a, ndim) for a in axis])
        if len(set(axes)) != len(axes):
            raise ValueError(f"{name}: axis names one axis twice: {axis!r}")
        return axes
    return (axis_of(name, axis, ndim),)


def _reduce(name: str, x: Any, axis: Any, keepdims: bool) -> tuple:
    """What the four reductions share: (tensor, array, backend, result with axes kept, result's shape, axes)."""
    if not isinstance(x, Tensor):
        x = as_tensor(x)
    xd = x.data
    axes = _axes(name, axis, xd.ndim)
    if name != "sum":
        for a in axes:
            if xd.shape[a] == 0:
                raise ValueError(f"{name}: axis {a} of x is empty, got shape {xd.shape}")
    backend = current()
    integer = None
    if xd.dtype.kind != "f":
        integer = xd.dtype
        xd = converted(backend, xd, FLOAT64)
    kept = reduced(backend, xd, axes, name)
    shape = kept.shape if keepdims else tuple([n for i, n in enumerate(xd.shape) if i not in axes])
    if kept is xd:  # nothing to reduce: never share memory with x
        kept = backend.empty(xd.shape, xd.dtype)
        backend.copy(xd.reshape(xd.size), kept.reshape(xd.size))
    if integer is not None:
        target = FLOAT32 if name == "mean" else integer
        if name == "sum" and integer.itemsize < INT32.itemsize:
            target = UINT32 if integer.kind == "u" else INT32
        kept = converted(backend, kept, target)
    return x, xd, backend, kept, shape, axes


def _spread(backend: Backend, small: Array, shape: tuple[int, ...]) -> Array:
    """small repeated along its axes of length 1."""
    y = backend.empty(shape, small.dtype)
    if shape:
        backend.copy(np.broadcast_to(small, shape), y)
    else:
        backend.copy(small.reshape(1), y.reshape(1))
    return y


@op
def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Sum over axis: an int, several, or None for all. Integers keep their type, but bools and those of fewer than 32
    bits give int32, or uint32."""
    x, xd, backend, kept, shape, _ = _reduce("sum", x, axis, keepdims)
    kept_shape, x_shape = kept.shape, xd.shape

    def backward(dy: Array) -> tuple:
        return (_spread(backend, dy.reshape(kept_shape), x_shape),)

    return on_tape(kept.reshape(shape), (x,), backward, backend)


@op
def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Mean over axis: an int, several, or None for all; float32 for integers. Raises ValueError for an empty axis."""
    x, xd, backend, kept, shape, axes = _reduce("mean", x, axis, keepdims)
    kept_shape, x_shape = kept.shape, xd.shape
    count = prod([x_shape[a] for a in axes])

    def backward(dy: Array) -> tuple:
        part = scaled(backend, dy.reshape(kept_shape), 1.0 / count)
        return (_spread(backend, part, x_shape),)

    return on_tape(kept.reshape(shape), (x,), backward, backend)


@op
def max(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Largest over axis; equally large elements share the gradient. Raises ValueError for an empty axis."""
    return _extreme("max", x, axis, keepdims)


@op
def min(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Smallest over axis; equally small elements share the gradient. Raises ValueError for an empty axis."""
    return _extreme("min", x, axis, keepdims)


def _extreme(name: str, x: Any, axis: Any, keepdims: bool) -> Tensor:
    x, xd, backend, kept, shape, axes = _reduce(name, x, axis, keepdims)

    def backward(dy: Array) -> tuple:
        flat_x, flat_kept = (xd, kept) if xd.ndim else (xd.reshape(1), kept.reshape(1))
        chosen = backend.empty(flat_x.shape, BOOL)
        backend.compare(flat_x, flat_kept, chosen, "equal")
        share = converted(backend, chosen, dy.dtype)
        count = reduced(backend, share, axes, "sum") if xd.ndim else share
        part = backend.empty(count.shape, dy.dtype)
        backend.binary(dy.reshape(count.shape), count, part, "div")
        dx = backend.empty(flat_x.shape, dy.dtype)
        backend.binary(share, part, dx, "mul")
        return (dx.reshape(xd.shape),)

    return on_tape(kept.reshape(shape), (x,), backward, backend)


def scaled(backend: Backend, x: Array, factor: float) -> Array:
    """x · factor."""
    scale = backend.empty((1,), x.dtype)
    backend.fill(scale, factor)
    y = backend.empty(x.shape, x.dtype)
    if x.ndim:
        backend.binary(x, scale, y, "mul")
    else:
        backend.binary(x.reshape(1), scale, y.reshape(1), "mul")
    return y


@op
def argmax(x: Any, axis: int = -1) -> Tensor:
    """First place of the largest element along axis, int32; no gradient.

    Raises:
        ValueError: the axis is empty or out of range.
    """
    if not isinstance(x, Tensor):
        x = as_tensor(x)
    backend = current()
    xd = x.data
    if xd.dtype.kind != "f":
        xd = converted(backend, xd, FLOAT64)
    place = axis_of("argmax", axis, xd.ndim)
    if xd.shape[place] == 0:
        raise ValueError(f"argmax: axis {axis} of x is empty, got shape {xd.shape}")
    if place != xd.ndim - 1:
        view = xd.transpose([i for i in range(xd.ndim) if i != place] + [place])
        xd = backend.empty(view.shape, xd.dtype)
        backend.copy(view, xd)
    y = backend.empty(xd.shape[:-1], INT32)
    backend.argmax(xd.reshape(y.size, xd.shape[-1]), y.reshape(y.size))
    return wrap(y)
