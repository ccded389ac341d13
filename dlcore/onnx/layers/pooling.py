"""Pooling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import layers
from .convolution import image, window
from .writer import CHANNELS_FIRST, Value, Writer


def _pool(kind: str) -> Callable[..., Value]:
    def write(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
        return image(w, layer, w.op(kind, w.image(x), **window(layer, layer.pool_size)), shape, x)

    return write


def _global_pool(kind: str) -> Callable[..., Value]:
    def write(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
        name = w.op(kind, w.image(x))
        if layer.keepdims:
            return Value(name, shape, x.dtype, CHANNELS_FIRST)
        return Value(w.op("Flatten", name, axis=1), shape, x.dtype)

    return write


LAYERS = {
    layers.AveragePooling2D: _pool("AveragePool"),
    layers.GlobalAveragePooling2D: _global_pool("GlobalAveragePool"),
    layers.GlobalMaxPooling2D: _global_pool("GlobalMaxPool"),
    layers.MaxPooling2D: _pool("MaxPool"),
}
