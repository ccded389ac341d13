"""Resize: repetition of pixels where that is all, else, along each axis, a product with the weights of its pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ... import layers
from .graph import CHANNELS_LAST, Node, Value, limit, times


class _Axis(NamedTuple):
    """How one axis is resized: its lengths, the exact factor between them, and the part of it that is taken."""

    old: int
    new: int
    scale: float
    region: tuple[float, float]


def _resize(n: Node) -> Value:
    x = n.real()
    rank = len(x.shape)
    mode = n.attribute("mode", "nearest")
    place = n.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = n.attribute("nearest_mode", "round_prefer_floor")
    axes = [axis % rank for axis in n.attribute("axes", list(range(rank)))]
    scales = n.constant(2)
    if scales is not None and scales.size:
        if len(scales) != len(axes):
            raise ValueError(f"scales must be {len(axes)} numbers, got {len(scales)}")
        factors = dict(zip(axes, scales.astype(np.float64).tolist(), strict=True))
        repeated = all(factors.get(axis, 1.0) == int(factors.get(axis, 1)) >= 1 for axis in range(rank))
        same = (place == "asymmetric" and rounding == "floor") or (place == "half_pixel" and "round" in rounding)
        if mode == "nearest" and same and repeated and rank == 4 and factors.get(0, 1) == factors.get(1, 1) == 1:
            size = [int(factors.get(axis, 1)) for axis in (2, 3)]
            limit([length and length * factor for length, factor in zip(x.shape, (1, 1, *size), strict=True)])
            return Value(n.layer(layers.UpSampling2D, x.to(CHANNELS_LAST), size), CHANNELS_LAST)
    changes = _axes(n, x, axes, scales, place)
    limit([changes[axis].new if axis in changes else length for axis, length in enumerate(x.shape)])
    for axis, change in changes.items():
        limit((change.old, change.new), 2**24)
        matrix = _weights(n, change, mode, place, rounding).astype(x.dtype)
        outside = None
        if place == "tf_crop_and_resize" and n.attribute("extrapolation_value", 0.0):
            outside = np.where(matrix.any(0), 0.0, n.attribute("extrapolation_value")).astype(x.dtype)
        x = times(x, axis, np.ascontiguousarray(matrix), outside)
    return x


def _axes(n: Node, x: Value, axes: list[int], scales: Any, place: str) -> dict[int, _Axis]:
    """The axes that change, by their number."""
    lengths = [x.shape[axis] for axis in axes]
    region = [(0.0, 1.0)] * len(axes)
    if place == "tf_crop_and_resize":
        given = n.constant(1).astype(np.float64).tolist()
        region = list(zip(given[: len(axes)], given[len(axes) :], strict=True))
    if scales is None or not scales.size:
        sizes: list[Any] = n.lengths(3)
        if len(sizes) != len(axes):
            raise ValueError(f"sizes must be {len(axes)} numbers, got {len(sizes)}")
        policy = n.attribute("keep_aspect_ratio_policy", "stretch")
        known = [(s, m) for s, m in zip(sizes, lengths, strict=True) if s is not None and m is not None]
        if policy != "stretch":
            n.refuse(len(known) != len(axes), "lengths that vary")
            factor = (min if policy == "not_larger" else max)(s / m for s, m in known)
            factors = [factor] * len(axes)
            sizes = [math.floor(factor * m + 0.5) for m in lengths]
        else:
            pairs = zip(sizes, lengths, strict=True)
            factors = [1.0 if s is None and m is None else s / m if s and m else math.nan for s, m in pairs]
    else:
        factors = scales.astype(np.float64).tolist()
        sizes = [None if m is None else math.floor(m * s) for s, m in zip(factors, lengths, strict=True)]
    found = {}
    for axis, old, new, scale, part in zip(axes, lengths, sizes, factors, region, strict=True):
        if (scale == 1.0 and old == new and part == (0.0, 1.0)) or (old is None and scale == 1.0):
            continue
        n.refuse(old is None or new is None, "an axis whose length varies")
        if new < 1 or not scale > 0:
            raise ValueError(f"an axis of {old} cannot become one of {new}")
        found[axis] = _Axis(old, new, scale, part)
    return found


def _weights(n: Node, axis: _Axis, mode: str, place: str, rounding: str) -> np.ndarray:
    """[old, new]: how much of each old pixel a new one takes."""
    source = _source(n, axis, place)
    matrix = np.zeros((axis.new, axis.old))
    rows = np.arange(axis.new)
    if mode == "nearest":
        rounded: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "floor": np.floor, "ceil": np.ceil, "round_prefer_floor": lambda s: np.ceil(s - 0.5),
            "round_prefer_ceil": lambda s: np.floor(s + 0.5),
        }  # fmt: skip
        nearest = rounded[rounding](source)
        matrix[rows, np.clip(nearest, 0, axis.old - 1).astype(int)] = 1
    else:
        n.refuse(mode not in ("linear", "cubic"), f"mode {mode!r}")
        shrunk = min(axis.scale, 1.0) if n.attribute("antialias", 0) else 1.0
        kernel = _triangle if mode == "linear" else _cubic(n.attribute("cubic_coeff_a", -0.75))
        reach = math.ceil((1 if mode == "linear" else 2) / shrunk)
        pixels = np.floor(source).astype(int)[:, None] + np.arange(1 - reach, reach + 1)
        weights = kernel(np.abs(pixels - source[:, None]) * shrunk)
        if n.attribute("exclude_outside", 0):
            weights = np.where((pixels < 0) | (pixels >= axis.old), 0.0, weights)
        weights = weights / weights.sum(1, keepdims=True)
        np.add.at(matrix, (rows[:, None], np.clip(pixels, 0, axis.old - 1)), weights)
    if place == "tf_crop_and_resize":
        matrix[(source < 0) | (source > axis.old - 1)] = 0
    return matrix.T


def _source(n: Node, axis: _Axis, place: str) -> np.ndarray:
    """Where among the old pixels each new one lies."""
    new, whole = np.arange(axis.new, dtype=np.float64), axis.scale * axis.old
    if place == "asymmetric":
        return new / axis.scale
    if place == "align_corners":
        return new * 0 if whole == 1 else new * (axis.old - 1) / (whole - 1)
    if place == "tf_crop_and_resize":
        first, last = (edge * (axis.old - 1) for edge in axis.region)
        return new * 0 + (first + last) / 2 if axis.new == 1 else first + new * (last - first) / (whole - 1)
    if place == "pytorch_half_pixel" and axis.new == 1:
        return new * 0 - 0.5
    shift = axis.old / 2 * (1 - axis.new / whole) if place == "half_pixel_symmetric" else 0.0
    n.refuse(place not in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"), place)
    return shift + (new + 0.5) / axis.scale - 0.5


def _triangle(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1 - distance, 0.0)


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    """Keys, Cubic Convolution Interpolation for Digital Image Processing (1981), equation 15, for any a."""

    def kernel(d: np.ndarray) -> np.ndarray:
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = a * (((d - 5) * d + 8) * d - 4)
        return np.where(d <= 1, near, np.where(d < 2, far, 0.0))

    return kernel


OPERATORS = {"Resize": _resize}
