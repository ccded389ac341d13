"""Normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import layers
from ...layers.norm import axes_within
from .writer import Value, Writer


def _batchnorm(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    rank, axis = len(shape), layer.axis % len(shape)
    order = [0] * rank
    for place, old in enumerate([0, axis, *(i for i in range(1, rank) if i != axis)]):
        order[old] = place
    if axis == 0:
        raise ValueError(f"{layer._said} cannot be exported: it normalises the batch axis")
    length = layer.moving_mean.shape[0]
    gamma = np.ones(length, x.dtype) if layer.gamma is None else layer.gamma.numpy()
    beta = np.zeros(length, x.dtype) if layer.beta is None else layer.beta.numpy()
    arrays = {"gamma": gamma, "beta": beta, "mean": layer.moving_mean.numpy(), "var": layer.moving_variance.numpy()}
    names = [w.weight(layer, kind, array) for kind, array in arrays.items()]
    name = w.op("BatchNormalization", w.to(x, tuple(order)), *names, epsilon=layer.epsilon, momentum=layer.momentum)
    return Value(name, shape, x.dtype, order)


def _layernorm(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    rank, axes = len(shape), axes_within(layer.axis, len(shape), layer)
    order = [0] * rank
    for place, axis in enumerate([*(i for i in range(rank) if i not in axes), *axes]):
        order[axis] = place
    lengths = tuple(shape[axis] for axis in axes)
    gamma = np.ones(lengths, x.dtype) if layer.gamma is None else layer.gamma.numpy()
    names = [w.weight(layer, "gamma", gamma)]
    if layer.beta is not None:
        names.append(w.weight(layer, "beta", layer.beta.numpy()))
    name = w.op("LayerNormalization", w.to(x, tuple(order)), *names, axis=rank - len(axes), epsilon=layer.epsilon)
    return Value(name, shape, x.dtype, order)


def _normalization(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    mean, variance = layer._given or (layer.adapt_mean.numpy(), layer.adapt_variance.numpy())
    mean = mean.reshape(layer._shape(mean)).astype(x.dtype)
    spread = np.maximum(np.sqrt(variance), 1e-7).reshape(layer._shape(variance)).astype(x.dtype)
    a, b = w.weight(layer, "mean", mean), w.weight(layer, "spread", spread)
    name = w.op("Add", w.op("Mul", w.to(x), b), a) if layer.invert else w.op("Div", w.op("Sub", w.to(x), a), b)
    return Value(name, shape, x.dtype)


def _rescaling(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    scale, offset = (np.asarray(value, x.dtype) for value in (layer.scale, layer.offset))
    name = w.op("Mul", w.to(x), w.weight(layer, "scale", scale))
    return Value(w.op("Add", name, w.weight(layer, "offset", offset)), shape, x.dtype)


LAYERS = {
    layers.BatchNormalization: _batchnorm,
    layers.LayerNormalization: _layernorm,
    layers.Normalization: _normalization,
    layers.Rescaling: _rescaling,
}
