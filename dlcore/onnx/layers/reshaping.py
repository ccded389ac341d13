"""Shapes and sizes, and layers that do nothing at inference."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from ... import layers
from .writer import CHANNELS_FIRST, Value, Writer, steps


def _same(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    return x


def _flatten(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    return Value(w.op("Flatten", w.to(x), axis=1) if len(x.shape) != 2 else w.to(x), shape, x.dtype)


def _reshape(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    return Value(w.op("Reshape", w.to(x), w.ints(0, *(-1 if n is None else n for n in shape[1:]))), shape, x.dtype)


def _permute(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    return Value(x.name, shape, x.dtype, (x.order[0], *(x.order[axis] for axis in layer.dims)))


def _repeat(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    longer = w.op("Unsqueeze", w.to(x), w.ints(1))
    return Value(w.op("Expand", longer, w.ints(1, layer.n, 1)), shape, x.dtype)


def _zero_padding(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    (top, bottom), (left, right) = layer.padding
    name = w.op("Pad", w.image(x), w.ints(0, 0, top, left, 0, 0, bottom, right))
    return Value(name, shape, x.dtype, CHANNELS_FIRST)


def _cropping(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    (top, bottom), (left, right) = layer.cropping
    ends = [2**31 if not margin else -margin for margin in (bottom, right)]
    name = w.op("Slice", w.image(x), w.ints(top, left), w.ints(*ends), w.ints(2, 3))
    return Value(name, shape, x.dtype, CHANNELS_FIRST)


def _upsampling(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    scales = w.constant(np.array([1, 1, *layer.size], np.float32))
    name = w.op(
        "Resize", w.image(x), "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip
    return Value(name, shape, x.dtype, CHANNELS_FIRST)


def _resizing(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    name, (height, width) = w.image(x), x.shape[1:3]
    if layer.crop_to_aspect_ratio or layer.pad_to_aspect_ratio:
        if height is None or width is None:
            raise ValueError(f"{layer._said} cannot be exported: it cuts or pads images whose size varies")
        fitting = int(width * layer.height / layer.width), int(height * layer.width / layer.height)
        if layer.crop_to_aspect_ratio:
            high, wide = min(height, fitting[0]), min(width, fitting[1])
            top, left = (height - high) // 2, (width - wide) // 2
            name = w.op("Slice", name, w.ints(top, left), w.ints(top + high, left + wide), w.ints(2, 3))
        else:
            high, wide = max(height, fitting[0]), max(width, fitting[1])
            top, left = (high - height) // 2, (wide - width) // 2
            name = w.op("Pad", name, w.ints(0, 0, top, left, 0, 0, top, left), w.scalar(layer.fill_value, x.dtype))
    linear = layer.interpolation == "bilinear"
    size = w.op("Concat", w.op("Slice", w.op("Shape", name), w.ints(0), w.ints(2)), w.ints(*shape[1:3]), axis=0)
    name = w.op(
        "Resize", name, "", "", size, mode="linear" if linear else "nearest",
        coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_ceil",
    )  # fmt: skip
    return Value(name, shape, x.dtype, CHANNELS_FIRST)


def _masking(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    kept = w.op("Cast", steps(w, layer, x, keepdims=True), to=helper.np_dtype_to_tensor_dtype(x.dtype))
    return Value(w.op("Mul", w.to(x), kept), shape, x.dtype)


LAYERS = {
    layers.Cropping2D: _cropping,
    layers.Flatten: _flatten,
    layers.Masking: _masking,
    layers.Permute: _permute,
    layers.RepeatVector: _repeat,
    layers.Reshape: _reshape,
    layers.Resizing: _resizing,
    layers.UpSampling2D: _upsampling,
    layers.ZeroPadding2D: _zero_padding,
    **dict.fromkeys(
        (
            layers.ActivityRegularization, layers.AlphaDropout, layers.Dropout, layers.GaussianDropout,
            layers.GaussianNoise, layers.Identity, layers.RandomFlip, layers.RandomRotation, layers.RandomTranslation,
            layers.RandomZoom, layers.SpatialDropout1D, layers.SpatialDropout2D,
        ),
        _same,
    ),
}  # fmt: skip
