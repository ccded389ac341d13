"""Activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper

from ... import layers
from .writer import Value, Writer

ACTIVATIONS: dict[str, Callable[[Writer, str, np.dtype], str]] = {
    "relu": lambda w, x, t: w.op("Relu", x),
    "relu6": lambda w, x, t: w.clipped(x, 0.0, 6.0, t),
    "leaky_relu": lambda w, x, t: w.op("LeakyRelu", x, alpha=0.2),
    "sigmoid": lambda w, x, t: w.op("Sigmoid", x),
    "tanh": lambda w, x, t: w.op("Tanh", x),
    "elu": lambda w, x, t: w.op("Elu", x, alpha=1.0),
    "selu": lambda w, x, t: w.op("Selu", x),
    "exponential": lambda w, x, t: w.op("Exp", x),
    "softplus": lambda w, x, t: w.op("Softplus", x),
    "softsign": lambda w, x, t: w.op("Softsign", x),
    "silu": lambda w, x, t: w.op("Mul", x, w.op("Sigmoid", x)),
    "hard_sigmoid": lambda w, x, t: w.op("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "hard_silu": lambda w, x, t: w.op("HardSwish", x),
    "hard_tanh": lambda w, x, t: w.clipped(x, -1.0, 1.0, t),
    "log_sigmoid": lambda w, x, t: w.op("Neg", w.op("Softplus", w.op("Neg", x))),
    "mish": lambda w, x, t: w.op("Mul", x, w.op("Tanh", w.op("Softplus", x))),
    "gelu": lambda w, x, t: w.op("Gelu", x),
    "step": lambda w, x, t: w.op("Cast", w.op("Greater", x, w.scalar(0.0, t)), to=helper.np_dtype_to_tensor_dtype(t)),
}


def _activation(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    return Value(w.activation(x.name, layer.activation, x.order, x.dtype, layer._said), shape, x.dtype, x.order)


def _elementwise(write: Callable[[Writer, Any, str, np.dtype], str]) -> Callable[..., Value]:
    return lambda w, layer, x, shape: Value(write(w, layer, x.name, x.dtype), shape, x.dtype, x.order)


def _relu(w: Writer, layer: Any, x: str, dtype: np.dtype) -> str:
    slope, top, edge = float(layer.negative_slope), layer.max_value, float(layer.threshold)
    if edge:
        below = w.op("Mul", w.op("Sub", x, w.scalar(edge, dtype)), w.scalar(slope, dtype))
        y = w.op("Where", w.op("Greater", x, w.scalar(edge, dtype)), x, below)
    elif top is not None and not slope:
        return w.clipped(x, 0.0, top, dtype)
    else:
        y = w.op("LeakyRelu", x, alpha=slope) if slope else w.op("Relu", x)
    return y if top is None else w.clipped(y, None, top, dtype)


def _prelu(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    return Value(w.op("PRelu", w.to(x), w.weight(layer, "alpha", layer.alpha.numpy())), shape, x.dtype)


def _softmax(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    if x.mask and len(shape) == 2:
        raise ValueError(f"{layer._said} cannot be exported: there is nothing in ONNX for it with a mask")
    if isinstance(layer.axis, int) or len(layer.axis) == 1:
        axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
        return Value(w.op("Softmax", x.name, axis=x.order[axis]), shape, x.dtype, x.order)
    axes = w.ints(*(x.order[axis] for axis in layer.axis))
    shifted = w.op("Exp", w.op("Sub", x.name, w.op("ReduceMax", x.name, axes)))
    return Value(w.op("Div", shifted, w.op("ReduceSum", shifted, axes)), shape, x.dtype, x.order)


LAYERS: dict[type, Callable[..., Any]] = {
    layers.Activation: _activation,
    layers.ReLU: _elementwise(_relu),
    layers.LeakyReLU: _elementwise(lambda w, layer, x, t: w.op("LeakyRelu", x, alpha=float(layer.negative_slope))),
    layers.ELU: _elementwise(lambda w, layer, x, t: w.op("Elu", x, alpha=float(layer.alpha))),
    layers.PReLU: _prelu,
    layers.Softmax: _softmax,
}
