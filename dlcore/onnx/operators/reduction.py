"""Along axes: sums and extremes, softmax, places of extremes, running sums, norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ... import layers
from .graph import REAL, Node, Value, moved_last, times

_SINCE_13 = ("ReduceSum", "Squeeze", "Unsqueeze")  # have their axes as an input since opset 13, the others since 18


def axes_of(n: Node, rank: int) -> list[int]:
    """The axes that an operator names, as 0 … rank − 1; all where it names none."""
    given = n.numbers(1) if n.opset >= 18 or n.op in _SINCE_13 else None
    axes = n.attribute("axes") if given is None else given
    if not axes:
        return [] if n.attribute("noop_with_empty_axes", 0) else list(range(rank))
    if any(not -rank <= axis < rank for axis in axes):
        raise ValueError(f"axes must lie in {-rank} … {rank - 1}, got {list(axes)}")
    return [axis % rank for axis in axes]


def _reduction(function: Callable, integers: bool = False, empty: bool = False) -> Callable[[Node], Value]:
    """integers: whether it takes them, and bools; empty: whether there is a result of no elements."""

    def translate(n: Node) -> Value:
        x = n.value(0) if integers else n.real()
        n.refuse(x.dtype not in REAL and x.dtype.kind not in "biu", f"elements of type {x.dtype.name}")
        axes = axes_of(n, len(x.shape))
        if not axes:
            return x
        n.refuse(not empty and any(x.shape[a] == 0 for a in axes), "an empty axis")
        x = x.flat()
        keep = bool(n.attribute("keepdims", 1))
        if keep:
            return Value(function(x.tensor, [x.order[a] for a in axes], True), x.order)
        return Value(function(x.to(), axes, False))

    return translate


def _log_sum_exp(x: Any, axes: list[int], keepdims: bool) -> Any:
    top = F.max(x, axis=axes, keepdims=True)
    y = F.log(F.sum(F.exp(x - top), axis=axes, keepdims=True)) + top
    return y if keepdims else F.squeeze(y, axes)


def _product(x: Any, axes: list[int], keepdims: bool) -> Any:
    """Of both halves, then of their halves, and so on."""
    for axis in axes:
        before = (slice(None),) * axis
        while (length := x.shape[axis]) != 1:
            if length is None:
                raise TypeError("an axis whose length varies")
            half = length // 2
            y = F.getitem(x, (*before, slice(0, half))) * F.getitem(x, (*before, slice(half, 2 * half)))
            rest = [F.getitem(x, (*before, slice(2 * half, length)))] if length % 2 else []
            x = F.concatenate([y, *rest], axis)
    return x if keepdims else F.squeeze(x, axes)


def _place(least: bool) -> Callable[[Node], Value]:
    def translate(n: Node) -> Value:
        x = n.number()
        axis = n.axis(len(x.shape), 0)
        tensor = F.neg(x.to()) if least else x.to()
        last = bool(n.attribute("select_last_index", 0))
        n.refuse(last and x.shape[axis] is None, "select_last_index along a length that varies")
        y = F.argmax(F.flip(tensor, axis) if last else tensor, axis=axis)
        y = F.cast(F.subtract(x.shape[axis] - 1, y) if last else y, "int64")
        return Value(F.expand_dims(y, axis) if n.attribute("keepdims", 1) else y)

    return translate


def _softmax(function: Callable) -> Callable[[Node], Value]:
    def translate(n: Node) -> Value:
        x = n.real().flat()
        axis = x.order[n.axis(len(x.shape))]
        if function is F.softmax and axis == len(x.shape) - 1:
            return x.like(n.layer(layers.Activation, x.tensor, "softmax"))
        return x.like(function(x.tensor, axis=axis))

    return translate


def _hardmax(n: Node) -> Value:
    x = n.real()
    rank = len(x.shape)
    axis = n.axis(rank)
    length = x.shape[axis]
    n.refuse(length is None, "a length that varies")
    return Value(F.one_hot(F.argmax(x.to(), axis=axis), length, x.dtype.name), moved_last(axis, rank))


def _running_sum(n: Node) -> Value:
    """As a product with a triangle of ones."""
    x = n.number()
    rank = len(x.shape)
    axis = n.numbers(1)[0]
    if not -rank <= axis < rank:
        raise ValueError(f"axis must lie in {-rank} … {rank - 1}, got {axis}")
    length = x.shape[axis]
    n.refuse(length is None or length > 4096, f"an axis of length {length or 'that varies'}")
    dtype = x.dtype if x.dtype in REAL else np.dtype(np.float64)
    triangle = np.triu(np.ones((length, length), dtype), int(bool(n.attribute("exclusive", 0))))
    triangle = np.ascontiguousarray(triangle.T if n.attribute("reverse", 0) else triangle)
    y = times(Value(F.cast(x.to(), dtype.name)), axis % rank, triangle)
    return Value(F.cast(y.tensor, x.dtype.name), y.order)


def _norm(n: Node) -> Value:
    x = n.real().flat()
    axis = x.order[n.axis(len(x.shape))]
    if n.attribute("p", 2) == 1:
        size = F.sum(F.abs(x.tensor), axis=axis, keepdims=True)
    else:
        size = F.sqrt(F.sum(F.square(x.tensor), axis=axis, keepdims=True))
    return x.like(F.where(F.equal(size, 0.0), 0.0, x.tensor / F.where(F.equal(size, 0.0), 1.0, size)))


OPERATORS: dict[str, Callable[[Node], Any]] = {
    "ArgMax": _place(least=False),
    "ArgMin": _place(least=True),
    "CumSum": _running_sum,
    "Hardmax": _hardmax,
    "LogSoftmax": _softmax(F.log_softmax),
    "LpNormalization": _norm,
    "ReduceL1": _reduction(lambda x, axes, keep: F.sum(F.abs(x), axes, keep), integers=True, empty=True),
    "ReduceL2": _reduction(lambda x, axes, keep: F.sqrt(F.sum(F.square(x), axes, keep)), empty=True),
    "ReduceLogSum": _reduction(lambda x, axes, keep: F.log(F.sum(x, axes, keep)), empty=True),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceMax": _reduction(F.max, integers=True),
    "ReduceMean": _reduction(F.mean),
    "ReduceMin": _reduction(F.min, integers=True),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(F.sum, integers=True, empty=True),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: F.sum(F.square(x), axes, keep), integers=True, empty=True),
    "Softmax": _softmax(F.softmax),
}
