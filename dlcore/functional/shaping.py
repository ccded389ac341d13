"""Ops that move elements without computing: each is a copy between views, and so is its gradient.

A result whose elements already lie in the right order shares memory with its input.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from math import isfinite, prod
from typing import Any

import numpy as np

from ..backends.interface import Array, Backend
from ..backends.registry import current
from ..tensor import FLOAT32, FLOAT64, Tensor, _supported, as_tensor, on_tape, wrap
from .arguments import BOOL, at_least_1d, axis_of, converted, integer_array, lengths_of, number, op
from .reduction import summed_to


def contiguous(backend: Backend, view: Array) -> Array:
    """view itself where it is C-contiguous, else a copy that is."""
    if view.flags.c_contiguous:
        return view
    y = backend.empty(view.shape, view.dtype)
    backend.copy(view, y)
    return y


def broadcast_array(backend: Backend, x: Array, shape: tuple[int, ...]) -> Array:
    """x repeated to shape."""
    return x if x.shape == shape else contiguous(backend, np.broadcast_to(x, shape))


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else as_tensor(x)


@op
def reshape(x: Any, shape: Any) -> Tensor:
    """The same elements in another shape, one length of which may be −1. Raises ValueError if the sizes differ."""
    x = _tensor(x)
    old = x.data.shape
    lengths = lengths_of("reshape", shape, -1)
    if lengths.count(-1) == 1:
        known = -prod(lengths)
        if known and x.data.size % known == 0:
            lengths = tuple([x.data.size // known if n == -1 else n for n in lengths])
    if -1 in lengths or prod(lengths) != x.data.size:
        raise ValueError(f"reshape: {x.data.size} elements of shape {old} do not fit into shape {shape}")

    def backward(dy: Array) -> tuple:
        return (dy.reshape(old),)

    return on_tape(x.data.reshape(lengths), (x,), backward)


@op
def flatten(x: Any) -> Tensor:
    """`[N, ...]` as `[N, features]`. Raises ValueError for a tensor of shape ()."""
    x = _tensor(x)
    shape = x.data.shape
    if not shape:
        raise ValueError("flatten: x must have shape [N, ...], got ()")
    return reshape(x, (shape[0], prod(shape[1:])))


@op
def expand_dims(x: Any, axis: Any) -> Tensor:
    """New axes of length 1 at the given places of the result."""
    x = _tensor(x)
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    ndim = x.data.ndim + len(axes)
    places = {axis_of("expand_dims", a, ndim) for a in axes}
    if len(places) != len(axes):
        raise ValueError(f"expand_dims: axis names one place twice: {axis!r}")
    rest = iter(x.data.shape)
    return reshape(x, tuple([1 if i in places else next(rest) for i in range(ndim)]))


@op
def squeeze(x: Any, axis: Any = None) -> Tensor:
    """Without the given axes of length 1, or without all such axes. Raises ValueError if one has another length."""
    x = _tensor(x)
    shape = x.data.shape
    if axis is None:
        return reshape(x, tuple([n for n in shape if n != 1]))
    axes = {axis_of("squeeze", a, len(shape)) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))}
    for a in axes:
        if shape[a] != 1:
            raise ValueError(f"squeeze: axis {a} must have length 1, got {shape[a]} (x has shape {shape})")
    return reshape(x, tuple([n for i, n in enumerate(shape) if i not in axes]))


@op
def transpose(x: Any, axes: Any = None) -> Tensor:
    """Axes in the given order; reversed by default. Raises ValueError unless axes is a permutation."""
    x = _tensor(x)
    ndim = x.data.ndim
    if axes is None:
        order = tuple(range(ndim))[::-1]
    else:
        order = tuple([axis_of("transpose", a, ndim) for a in (axes if isinstance(axes, Iterable) else (axes,))])
        if sorted(order) != list(range(ndim)):
            raise ValueError(f"transpose: axes must be a permutation of {ndim} axes, got {axes!r}")
    backend = current()
    back = tuple([order.index(i) for i in range(ndim)])

    def backward(dy: Array) -> tuple:
        return (contiguous(backend, dy.transpose(back)),)

    return on_tape(contiguous(backend, x.data.transpose(order)), (x,), backward, backend)


def _list(name: str, tensors: Any) -> list[Tensor]:
    if isinstance(tensors, Tensor) or not isinstance(tensors, Sequence):
        raise TypeError(f"{name}: tensors must be a list of tensors, got {type(tensors).__name__}")
    if not tensors:
        raise ValueError(f"{name}: tensors must hold at least one tensor, got none")
    converted_list = [_tensor(t) for t in tensors]
    dtype = converted_list[0].data.dtype
    for i, t in enumerate(converted_list):
        if t.data.dtype != dtype:
            raise TypeError(
                f"{name}: all tensors must have one dtype, got {dtype.name} and, at place {i}, {t.data.dtype.name}"
            )
    return converted_list


@op
def concatenate(tensors: Sequence[Any], axis: int = -1) -> Tensor:
    """The tensors one after the other along axis.

    Raises:
        ValueError: no tensors, or they differ in rank or in another axis.
        TypeError: they differ in dtype.
    """
    inputs = _list("concatenate", tensors)
    first = inputs[0].data
    axis = axis_of("concatenate", axis, first.ndim)
    places = []
    end = 0
    for i, t in enumerate(inputs):
        shape = t.data.shape
        if len(shape) != first.ndim or shape[:axis] + shape[axis + 1 :] != first.shape[:axis] + first.shape[axis + 1 :]:
            raise ValueError(
                f"concatenate: tensors must agree but for axis {axis}, got {first.shape} and, at place {i}, {shape}"
            )
        places.append((slice(None),) * axis + (slice(end, end + shape[axis]),))
        end += shape[axis]
    backend = current()
    y = backend.empty((*first.shape[:axis], end, *first.shape[axis + 1 :]), first.dtype)
    for t, place in zip(inputs, places, strict=True):
        backend.copy(t.data, y[place])
    wanted = [t.requires_grad for t in inputs]

    def backward(dy: Array) -> list:
        return [contiguous(backend, dy[p]) if want else None for want, p in zip(wanted, places, strict=True)]

    return on_tape(y, inputs, backward, backend)


@op
def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new axis. Raises ValueError if shapes differ, TypeError if dtypes do."""
    inputs = _list("stack", tensors)
    first = inputs[0].data
    axis = axis_of("stack", axis, first.ndim + 1)
    for i, t in enumerate(inputs):
        if t.data.shape != first.shape:
            raise ValueError(f"stack: tensors must have one shape, got {first.shape} and, at place {i}, {t.data.shape}")
    backend = current()
    y = backend.empty((*first.shape[:axis], len(inputs), *first.shape[axis:]), first.dtype)
    places = [(slice(None),) * axis + (slice(i, i + 1),) for i in range(len(inputs))]
    for t, place in zip(inputs, places, strict=True):
        part = y[place]
        backend.copy(t.data.reshape(part.shape), part)
    shape = first.shape
    wanted = [t.requires_grad for t in inputs]

    def backward(dy: Array) -> list:
        return [
            contiguous(backend, dy[p]).reshape(shape) if want else None for want, p in zip(wanted, places, strict=True)
        ]

    return on_tape(y, inputs, backward, backend)


@op
def pad(x: Any, pad_width: Any, constant_values: float = 0.0) -> Tensor:
    """x with a border of constant_values. pad_width: an int, or (before, after) for each axis.

    Raises:
        ValueError: pad_width is malformed or negative, or a border of integers is to be infinite or NaN.
        TypeError: constant_values is no number.
    """
    x = _tensor(x)
    if not isfinite(number("pad", "constant_values", constant_values)) and x.data.dtype.kind != "f":
        raise ValueError(f"pad: constant_values must be finite for {x.data.dtype.name}, got {constant_values!r}")
    shape = x.data.shape
    widths = [(pad_width, pad_width)] * len(shape) if isinstance(pad_width, (int, np.integer)) else list(pad_width)
    if len(widths) != len(shape) or not all(
        isinstance(w, (tuple, list)) and len(w) == 2 and all(isinstance(n, (int, np.integer)) and n >= 0 for n in w)
        for w in widths
    ):
        raise ValueError(
            f"pad: pad_width must be an int or (before, after), none negative, for each of {len(shape)} axes, "
            f"got {pad_width!r}"
        )
    backend = current()
    y = backend.empty(tuple([a + n + b for n, (a, b) in zip(shape, widths, strict=True)]), x.data.dtype)
    inside = tuple([slice(a, a + n) for n, (a, _) in zip(shape, widths, strict=True)])
    backend.fill(at_least_1d(y), constant_values)
    backend.copy(at_least_1d(x.data), at_least_1d(y[inside] if shape else y))

    def backward(dy: Array) -> tuple:
        return (contiguous(backend, dy[inside]) if shape else dy,)

    return on_tape(y, (x,), backward, backend)


@op
def getitem(x: Any, key: Any) -> Tensor:
    """x[key] for ints, slices, Ellipsis and None.

    Raises:
        TypeError: another kind of index.
        IndexError: out of range.
    """
    x = _tensor(x)
    keys = list(key) if isinstance(key, tuple) else [key]
    for i, k in enumerate(keys):
        if isinstance(k, (bool, np.bool_)) or not (k is None or k is Ellipsis or isinstance(k, slice)):
            try:
                keys[i] = operator.index(_no_bool(k))
            except TypeError:
                raise TypeError(
                    f"index must be made of ints, slices, Ellipsis and None, got {type(k).__name__}; "
                    "use functional.embedding(ids, x) to gather rows"
                ) from None
    place = tuple(keys)
    xd = x.data
    try:
        view = xd[(*place, ...)] if Ellipsis not in place else xd[place]
    except IndexError as error:
        raise IndexError(f"{error} (the tensor has shape {xd.shape})") from None
    backend = current()
    y = contiguous(backend, view)
    shape = xd.shape

    def backward(dy: Array) -> tuple:
        dx = backend.zeros(shape, dy.dtype)
        part = dx[(*place, ...)] if Ellipsis not in place else dx[place]
        backend.copy(at_least_1d(dy), at_least_1d(part))
        return (dx,)

    return on_tape(y, (x,), backward, backend)


def _no_bool(k: Any) -> Any:
    if isinstance(k, (bool, np.bool_, np.ndarray, Tensor)):
        raise TypeError
    return k


@op
def flip(x: Any, axis: Any = None) -> Tensor:
    """x with the elements in reverse order along axis: an int, several, or None for all."""
    x = _tensor(x)
    ndim = x.data.ndim
    chosen = range(ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = {axis_of("flip", a, ndim) for a in chosen}
    backwards = tuple([slice(None, None, -1) if i in axes else slice(None) for i in range(ndim)])
    backend = current()

    def backward(dy: Array) -> tuple:
        return (contiguous(backend, dy[backwards]) if ndim else dy,)

    return on_tape(contiguous(backend, x.data[backwards]) if ndim else x.data, (x,), backward, backend)


@op
def broadcast_to(x: Any, shape: Any) -> Tensor:
    """x repeated along new axes and axes of length 1. Raises ValueError if it cannot be."""
    x = _tensor(x)
    old = x.data.shape
    shape = lengths_of("broadcast_to", shape)
    extra = len(shape) - len(old)
    if extra < 0 or any(n not in (1, m) for n, m in zip(old, shape[extra:], strict=True)):
        raise ValueError(f"broadcast_to: x of shape {old} cannot be broadcast to {shape}")
    backend = current()

    def backward(dy: Array) -> tuple:
        return (summed_to(backend, dy, old),)

    return on_tape(broadcast_array(backend, x.data, shape), (x,), backward, backend)


@op
def cast(x: Any, dtype: Any) -> Tensor:
    """x in another dtype; float to float passes the gradient on. Raises TypeError for an unknown dtype."""
    x = _tensor(x)
    target = _supported(dtype)
    source = x.data.dtype
    if target == source:
        return x
    backend = current()
    y = converted(backend, x.data, target)
    if target.kind != "f" or source.kind != "f":
        return wrap(y)

    def backward(dy: Array) -> tuple:
        return (converted(backend, dy, source),)

    return on_tape(y, (x,), backward, backend)


@op
def stop_gradient(x: Any) -> Tensor:
    """The values of x, in its memory, through which no gradient travels back."""
    return _tensor(x).detach()


@op
def one_hot(ids: Any, depth: int, dtype: Any = FLOAT32) -> Tensor:
    """`[..., depth]` with 1 at each id and 0 elsewhere; an id outside 0 … depth − 1 gives a row of zeros. No gradient.

    Raises:
        TypeError: ids are not integers.
        ValueError: depth < 0.
    """
    if not isinstance(depth, (int, np.integer)) or depth < 0:
        raise ValueError(f"one_hot: depth must be an int ≥ 0, got {depth!r}")
    backend = current()
    ids = integer_array("one_hot", ids, "ids")
    columns = backend.asarray(np.arange(depth, dtype=FLOAT64))
    hot = backend.empty((*ids.shape, depth), BOOL)
    backend.compare(converted(backend, ids, FLOAT64).reshape(*ids.shape, 1), columns, hot, "equal")
    return wrap(converted(backend, hot, _supported(dtype)))
