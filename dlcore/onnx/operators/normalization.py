"""Normalisation over the batch, over features, over an image and across neighbouring channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ... import layers
from .elementwise import operands
from .graph import Node, Value, limit, times


def _centred(x: Any, axes: list[int]) -> tuple[Any, Any, Any]:
    """x less its mean over these axes, the mean, and the variance."""
    mean = F.mean(x, axis=axes, keepdims=True)
    rest = x - mean
    return rest, mean, F.mean(F.square(rest), axis=axes, keepdims=True)


def _by_channel(x: Value, numbers: np.ndarray) -> np.ndarray:
    """One number per channel, ONNX's axis 1, so that it multiplies x's tensor."""
    return numbers.reshape([-1 if axis == x.order[1] else 1 for axis in range(len(x.shape))])


def _batchnorm(n: Node) -> Value:
    x = n.real().flat()
    n.only_output()
    n.refuse(n.attribute("training_mode", 0), "training_mode")
    n.refuse(len(x.shape) < 2, "a vector")
    axis = x.order[1] - len(x.order)
    y = n.layer(
        layers.BatchNormalization, x.tensor, axis=axis, epsilon=n.attribute("epsilon", 1e-5),
        momentum=n.attribute("momentum", 0.9), weights=[n.constant(i) for i in range(1, 5)],
    )  # fmt: skip
    return x.like(y)


def _layernorm(n: Node) -> list[Value]:
    x = n.real()
    rank = len(x.shape)
    axes = list(range(n.axis(rank), rank))
    shape = tuple(x.shape[axis] for axis in axes)
    scale, bias = n.constant(1), n.constant(2)
    epsilon = n.attribute("epsilon", 1e-5)
    asked = any(n.proto.output[1:])
    results = []
    if asked or 0 in axes or None in shape:
        rest, mean, variance = _centred(x.to(), axes)
        inverse = F.reciprocal(F.sqrt(variance + epsilon))
        results = [Value(mean), Value(inverse)]
    if 0 in axes or None in shape:
        y = rest * inverse * scale
        return [Value(y if bias is None else y + bias), *results]
    weights = [np.broadcast_to(scale, shape).copy()] + ([] if bias is None else [np.broadcast_to(bias, shape).copy()])
    y = n.layer(
        layers.LayerNormalization, x.to(), axis=axes if len(axes) > 1 else axes[0] - rank, epsilon=epsilon,
        center=bias is not None, weights=weights,
    )  # fmt: skip
    return [Value(y), *results]


def _rms(n: Node) -> Value:
    """x / √(mean x² + ε) · scale (Zhang & Sennrich, Root Mean Square Layer Normalization, 2019)."""
    x = n.real().to()
    axes = list(range(n.axis(len(x.shape)), len(x.shape)))
    size = F.sqrt(F.mean(F.square(x), axis=axes, keepdims=True) + n.attribute("epsilon", 1e-5))
    return Value(x / size * n.constant(1))


def _instance(n: Node) -> Value:
    x = n.real().flat()
    rest, _, variance = _centred(x.tensor, [x.order[axis] for axis in range(2, len(x.shape))])
    scale, bias = (_by_channel(x, n.constant(i)) for i in (1, 2))
    return x.like(rest / F.sqrt(variance + n.attribute("epsilon", 1e-5)) * scale + bias)


def _group(n: Node) -> Value:
    """Wu & He, Group Normalization (2018)."""
    x = n.real()
    groups, channels = n.attribute("num_groups"), x.shape[1]
    n.refuse(None in x.shape[1:], "images whose size varies")
    if channels % groups:
        raise ValueError(f"{channels} channels cannot be split into {groups} groups")
    scale, bias = n.constant(1), n.constant(2)
    if n.opset < 21:  # one number per group
        scale, bias = np.repeat(scale, channels // groups), np.repeat(bias, channels // groups)
    first = -1 if x.shape[0] is None else x.shape[0]
    parts = F.reshape(x.to(), (first, groups, math.prod(x.shape[1:]) // groups))
    rest, _, variance = _centred(parts, [2])
    y = F.reshape(rest / F.sqrt(variance + n.attribute("epsilon", 1e-5)), (first, *x.shape[1:]))
    result = Value(y)
    return Value(y * _by_channel(result, scale) + _by_channel(result, bias))


def _mean_variance(n: Node) -> Value:
    x = n.real().flat()
    rest, _, variance = _centred(x.tensor, [x.order[axis] for axis in n.attribute("axes", [0, 2, 3])])
    return x.like(rest / (F.sqrt(variance) + 1e-9))


def _neighbours(n: Node) -> Value:
    """Across channels, as AlexNet had it (Krizhevsky et al. 2012, section 3.3): the sum as a product with a band."""
    x = n.real().flat()
    size, alpha = n.attribute("size"), n.attribute("alpha", 1e-4)
    beta, bias = n.attribute("beta", 0.75), n.attribute("bias", 1.0)
    channels = x.shape[1]
    n.refuse(channels is None, "an unknown number of channels")
    limit((channels, channels), 2**24)
    ahead = np.subtract.outer(np.arange(channels), np.arange(channels))  # how far the one that is added lies
    band = (ahead >= -((size - 1) // 2)) & (ahead <= size // 2)
    total = times(x.like(F.square(x.tensor)), 1, band.astype(x.dtype))
    (a, b), order = operands([x, Value(F.power(total.tensor * (alpha / size) + bias, beta), total.order)])
    return Value(F.divide(a, b), order)


OPERATORS: dict[str, Callable[[Node], Any]] = {
    "BatchNormalization": _batchnorm,
    "GroupNormalization": _group,
    "InstanceNormalization": _instance,
    "LayerNormalization": _layernorm,
    "LRN": _neighbours,
    "MeanVarianceNormalization": _mean_variance,
    "RMSNormalization": _rms,
}
