"""Elements chosen by number: Gather and its kin, OneHot."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ... import layers
from .graph import REAL, Node, Value, cast, held, limit, moved_last


def _gather(n: Node) -> Value:
    data, places = n.value(0), n.value(1)
    axis = n.axis(len(data.shape), 0)
    if data.array is not None and axis == 0 and data.array.ndim == 2 and data.dtype in REAL:
        table = data.array
        y = n.layer(
            lambda **k: layers.Embedding(*table.shape, **{**k, "dtype": table.dtype.name}), places.to(), weights=[table]
        )
        return Value(y)
    length = data.shape[axis]
    if places.array is None:
        n.refuse(length is None, "indices that are computed along a length that varies")
        return _rows(n, data, _from_the_start(places.to(), length), axis)
    indices = n.constant(1).astype(np.int64)
    n.refuse(length is None and (indices < 0).any(), "negative indices along a length that varies")
    indices = _from_the_start(indices, length or 0)
    tensor, before = data.to(), (slice(None),) * axis
    if indices.ndim == 0:
        return Value(F.getitem(tensor, (*before, int(indices))))
    if indices.ndim == 1 and indices.size:
        steps = np.flatnonzero(np.diff(indices) != 1) + 1  # runs of neighbours
        if len(steps) < 64:
            runs = np.split(indices, steps)
            parts = [F.getitem(tensor, (*before, slice(int(run[0]), int(run[-1]) + 1))) for run in runs]
            return Value(F.concatenate(parts, axis) if len(parts) > 1 else parts[0])
    return _rows(n, data, indices, axis)


def _from_the_start(index: Any, length: int) -> Any:
    """Indices of which negative ones count from the end."""
    if isinstance(index, np.ndarray):
        return np.where(index < 0, index + length, index)
    return F.where(F.less(index, 0), index + length, index)


def _rows(n: Node, data: Value, ids: Any, axis: int) -> Value:
    """Slices along an axis: rows of the matrix in which this axis is the first."""
    shape = data.shape
    rest = [*shape[:axis], *shape[axis + 1 :]]
    n.refuse([shape[axis], *rest].count(None) > 1 or [*ids.shape, *rest].count(None) > 1, "several lengths that vary")
    limit([*ids.shape, *rest])
    front = np.argsort([axis, *range(axis), *range(axis + 1, len(shape))])
    table = data.to(tuple(int(place) for place in front))
    width = -1 if None in rest else math.prod(rest)
    matrix = table.reshape((-1 if shape[axis] is None else shape[axis], width))
    y = _embedded(data.dtype, ids, matrix, [-1 if length is None else length for length in (*ids.shape, *rest)])
    rank, count = len(y.shape), len(ids.shape)
    return Value(y, [*range(count, count + axis), *range(count), *range(count + axis, rank)])


def _gather_elements(n: Node) -> Value:
    data, places = n.value(0), n.value(1)
    rank = len(data.shape)
    axis = n.axis(rank, 0)
    n.refuse(data.shape[axis] is None, "an axis whose length varies")
    own = _from_the_start(places.to(), data.shape[axis])
    if None in (*data.shape, *places.shape):
        return _by_comparison(n, data, places, own, axis)
    strides = [math.prod(data.shape[i + 1 :]) for i in range(rank)]
    others = sum(
        np.arange(places.shape[i]).reshape([-1 if j == i else 1 for j in range(rank)]) * strides[i]
        for i in range(rank) if i != axis
    )  # fmt: skip
    return _elements(data, own * strides[axis] + others, ())


def _by_comparison(n: Node, data: Value, places: Value, index: Any, axis: int) -> Value:
    """GatherElements where rows cannot be counted: of each line, the sum of the one element that is meant."""
    rest = [(data.shape[i], places.shape[i]) for i in range(len(data.shape)) if i != axis]
    n.refuse(data.dtype not in REAL, f"elements of type {data.dtype.name}")
    n.refuse(any(a != b for a, b in rest), "indices of other lengths than the data's")
    length = data.shape[axis]
    limit((*places.shape, length))
    line = F.expand_dims(data.to(moved_last(axis, len(data.shape))), axis)
    return Value(F.sum(F.where(F.one_hot(index, length, "bool"), line, 0.0), axis=-1))


def _gather_nd(n: Node) -> Value:
    data, places = n.value(0), n.value(1)
    batch = n.attribute("batch_dims", 0)
    n.refuse(None in (*data.shape, *places.shape), "lengths that vary")
    depth = places.shape[-1]
    index = places.to()
    strides = [math.prod(data.shape[i + 1 : batch + depth]) for i in range(batch + depth)]
    rank = len(places.shape) - 1
    flat: Any = np.zeros((1,) * rank, np.int64)
    for i in range(batch):
        flat = flat + np.arange(data.shape[i]).reshape([-1 if j == i else 1 for j in range(rank)]) * strides[i]
    for i in range(depth):
        flat = flat + _from_the_start(index[..., i], data.shape[batch + i]) * strides[batch + i]
    return _elements(data, flat, data.shape[batch + depth :])


def _elements(data: Value, flat: Any, rest: tuple[int, ...]) -> Value:
    """Rows of the data as a matrix [all places, elements of one], by the number of the place."""
    limit((*flat.shape, *rest))
    return Value(_embedded(data.dtype, flat, data.to().reshape((-1, math.prod(rest))), [*flat.shape, *rest]))


def _embedded(dtype: np.dtype, ids: Any, matrix: Any, shape: list[int]) -> Any:
    """Rows of a matrix, whatever it holds, in another shape."""
    if dtype in REAL:
        return F.reshape(F.embedding(ids, matrix), shape)
    return F.cast(F.reshape(F.embedding(ids, cast(matrix, np.float64)), shape), dtype.name)


def _one_hot(n: Node) -> Value:
    ids = n.number(0)
    depth, (off, on) = n.numbers(1)[0], n.constant(2)
    n.refuse(not held(n.value(2).dtype), f"values of type {n.value(2).dtype.name}")
    rank = len(ids.shape) + 1
    axis = n.axis(rank)
    limit((*ids.shape, depth))
    whole = F.cast(ids.to(), "int64")
    hot = F.one_hot(F.where(F.less(whole, 0), whole + depth, whole), depth, "bool")
    return Value(F.where(hot, np.asarray(on), np.asarray(off)), moved_last(axis, rank))


OPERATORS: dict[str, Callable[[Node], Any]] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "OneHot": _one_hot,
}
