"""Layers with several inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import layers
from .writer import Value, Writer


def _merge(kind: str) -> Callable[..., Value]:
    def write(w: Writer, layer: Any, *inputs: Any) -> Value:
        *values, shape = inputs
        return merged(w, kind, [_of_rank(w, x, len(shape)) for x in values], shape)

    return write


def _of_rank(w: Writer, x: Value, rank: int) -> Value:
    """x with axes of length 1 after the batch."""
    more = rank - len(x.shape)
    if not more:
        return x
    name = w.op("Unsqueeze", w.to(x), w.ints(*range(1, 1 + more)))
    return Value(name, (x.shape[0], *(1,) * more, *x.shape[1:]), x.dtype)


def merged(w: Writer, kind: str, values: list[Value], shape: Any) -> Value:
    order = next((x.order for x in values if x.order != tuple(range(len(shape)))), values[0].order)
    names = [w.to(x, order) for x in values]
    if kind in ("Mean", "Max", "Min"):
        name = w.op(kind, *names)
    else:
        name = names[0]
        for other in names[1:]:
            name = w.op(kind, name, other)
    return Value(name, shape, values[0].dtype, order)


def _concatenate(w: Writer, layer: Any, *inputs: Any) -> Value:
    *values, shape = inputs
    return joined(w, values, layer.axis, shape)


def joined(w: Writer, values: list[Value], axis: int, shape: Any) -> Value:
    order = next((x.order for x in values if x.order != tuple(range(len(shape)))), values[0].order)
    name = w.op("Concat", *(w.to(x, order) for x in values), axis=order[axis])
    return Value(name, shape, values[0].dtype, order)


LAYERS = {
    layers.Add: _merge("Add"),
    layers.Average: _merge("Mean"),
    layers.Concatenate: _concatenate,
    layers.Maximum: _merge("Max"),
    layers.Minimum: _merge("Min"),
    layers.Multiply: _merge("Mul"),
    layers.Subtract: _merge("Sub"),
}
