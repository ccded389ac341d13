"""Layers that make one tensor of several."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from .. import functional as F
from ..checking import is_whole
from ..symbolic import Shape, is_shape, map_structure
from ..tensor import Tensor, as_tensor
from .base import Layer, get_mask
from .norm import unit_vectors


class _Merge(Layer):
    """Elementwise, with broadcasting; of inputs of different rank the smaller get axes of length 1 after the batch."""

    _real_inputs = True
    _least = 1

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        if is_shape(input_shape) or len(input_shape) < self._least:
            raise ValueError(
                f"{self._said} expected a list of {self._least} or more inputs, got the shape(s) {input_shape}"
            )
        self.compute_output_shape(input_shape)

    def call(self, inputs: Any) -> Tensor:
        if not isinstance(inputs, (list, tuple)) or len(inputs) < self._least:
            raise ValueError(f"{self._said} expected a list of {self._least} or more inputs, got {inputs!r}")
        rank = max(x.ndim for x in inputs)
        return self._merge(
            [x if x.ndim == rank else F.reshape(x, (x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:])) for x in inputs]
        )

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Shape:
        rank = max(len(shape) for shape in input_shape)
        result: list[int | None] = [1] * rank
        for shape in input_shape:
            padded = (shape[0], *(1,) * (rank - len(shape)), *shape[1:])
            for axis, n in enumerate(padded):
                if result[axis] == 1:
                    result[axis] = n
                elif n not in (1, None, result[axis]) and result[axis] is not None:
                    raise ValueError(
                        f"{self._said} cannot merge inputs of shapes {', '.join(str(tuple(s)) for s in input_shape)}"
                    )
                elif result[axis] is None and n not in (1, None):
                    result[axis] = None if axis == 0 else n
        return tuple(result)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        masks = [] if mask is None else list(mask)
        if not masks or any(m is None for m in masks):
            return None
        return _as_bool(
            sum((F.cast(as_tensor(m), "float32") for m in masks[1:]), F.cast(as_tensor(masks[0]), "float32"))
        )


class Add(_Merge):
    """The sum of its inputs."""

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        return reduce(F.add, inputs)


class Subtract(_Merge):
    """The first of two inputs minus the second."""

    _least = 2

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        if len(inputs) != 2:
            raise ValueError(f"{self._said} expected exactly 2 inputs, got {len(inputs)}")
        return F.subtract(*inputs)


class Multiply(_Merge):
    """The product of its inputs, without those whose mask leaves a step out; 0 where all masks do."""

    def call(self, inputs: Any) -> Tensor:
        masks = map_structure(get_mask, inputs)
        if not isinstance(inputs, (list, tuple)) or all(mask is None for mask in masks):
            return super().call(inputs)
        counted = [
            x if mask is None else F.where(F.expand_dims(as_tensor(mask), -1), x, 1.0)
            for x, mask in zip(inputs, masks, strict=True)
        ]
        y, mask = super().call(counted), self.compute_mask(inputs, masks)
        return y if mask is None else F.where(F.expand_dims(as_tensor(mask), -1), y, 0.0)

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        return reduce(F.multiply, inputs)


class Average(_Merge):
    """The mean of its inputs."""

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        return reduce(F.add, inputs) * (1.0 / len(inputs))


class Maximum(_Merge):
    """The largest of its inputs at each place."""

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        return reduce(F.maximum, inputs)


class Minimum(_Merge):
    """The smallest of its inputs at each place."""

    def _merge(self, inputs: list[Tensor]) -> Tensor:
        return reduce(F.minimum, inputs)


class Concatenate(_Merge):
    """Its inputs one after the other along `axis`."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not is_whole(axis):
            raise ValueError(f"axis of Concatenate must be a whole number, got {axis!r}")
        self.axis = int(axis)

    def call(self, inputs: Any) -> Tensor:
        if not isinstance(inputs, (list, tuple)) or not inputs:
            raise ValueError(f"{self._said} expected a list of inputs, got {inputs!r}")
        return F.concatenate(list(inputs), self.axis)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        first = list(input_shape[0])
        rank = len(first)
        if any(len(shape) != rank for shape in input_shape) or not -rank <= self.axis < rank:
            raise ValueError(
                f"{self._said} with axis={self.axis} cannot join inputs of shapes "
                f"{', '.join(str(tuple(s)) for s in input_shape)}"
            )
        at = self.axis % rank
        for shape in input_shape[1:]:
            for axis, n in enumerate(shape):
                if axis == at:
                    first[at] = None if first[at] is None or n is None else first[at] + n
                elif first[axis] is None:
                    first[axis] = None if axis == 0 else n
                elif n is not None and n != first[axis]:
                    raise ValueError(
                        f"{self._said} with axis={self.axis} cannot join inputs of shapes "
                        f"{', '.join(str(tuple(s)) for s in input_shape)}"
                    )
        return tuple(first)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None or all(m is None for m in mask):
            return None
        parts = []
        for x, m in zip(inputs, mask, strict=True):
            if m is None:
                parts.append(F.cast(np.ones(x.shape, bool), "float32"))
            else:
                m = F.cast(as_tensor(m), "float32")
                m = F.reshape(m, (*m.shape, *(1,) * (x.ndim - m.ndim)))
                parts.append(F.broadcast_to(m, x.shape))
        joined = F.concatenate(parts, self.axis)
        while joined.ndim > 2:
            joined = F.min(joined, axis=-1)
        return F.greater(joined, 0.0).data

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Dot(_Merge):
    """Products of two inputs, summed along one axis of each: `[N, ..., K]` and `[N, K, ...]` to `[N, ..., ...]`.

    Args:
        axes: the axis to sum along, in both inputs or of each; never the batch.
        normalize: divide both by their L2 norms along it first, which gives cosines.
    """

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        pair = [axes, axes] if isinstance(axes, int) else axes
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(type(axis) is int for axis in pair):
            raise ValueError(f"axes of Dot must be a whole number or two of them, got {axes!r}")
        self.axes = axes if isinstance(axes, int) else list(axes)
        self.normalize = normalize

    def _places(self, input_shape: Any) -> tuple[int, int]:
        """The axes, counted from the front; a ValueError if the inputs do not fit."""
        if is_shape(input_shape) or len(input_shape) != 2:
            raise ValueError(f"{self._said} expected a list of two inputs, got the shape(s) {input_shape}")
        first, second = input_shape
        pair = [self.axes, self.axes] if isinstance(self.axes, int) else self.axes
        places = []
        for axis, shape in zip(pair, input_shape, strict=True):
            if not -len(shape) <= axis < len(shape) or axis % len(shape) == 0:
                raise ValueError(f"{self._said} sums along axis {axis}, one of its inputs has shape {tuple(shape)}")
            places.append(axis % len(shape))
        if None not in (first[0], second[0]) and first[0] != second[0]:
            raise ValueError(f"{self._said} expected two inputs of one batch size, got {first[0]} and {second[0]}")
        a, b = first[places[0]], second[places[1]]
        if None not in (a, b) and a != b:
            raise ValueError(
                f"{self._said} cannot sum along axes {self.axes} of inputs of shapes {tuple(first)} and {tuple(second)}"
            )
        return places[0], places[1]

    def call(self, inputs: Any) -> Tensor:
        a, b = self._places([x.shape for x in inputs])
        x, y = (unit_vectors(t, (axis,)) if self.normalize else t for t, axis in zip(inputs, (a, b), strict=True))
        shape = self.compute_output_shape([x.shape, y.shape])
        batch, length = x.shape[0], x.shape[a]
        x = F.transpose(x, [*(i for i in range(x.ndim) if i != a), a])
        y = F.transpose(y, [0, b, *(i for i in range(1, y.ndim) if i != b)])
        rows, columns = math.prod(x.shape[1:-1]), math.prod(y.shape[2:])
        return F.reshape(F.matmul(F.reshape(x, (batch, rows, length)), F.reshape(y, (batch, length, columns))), shape)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        a, b = self._places(input_shape)
        first, second = input_shape
        shape = (*first[:a], *first[a + 1 :], *second[1:b], *second[b + 1 :])
        return (*shape, 1) if len(shape) == 1 else shape

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def _as_bool(counts: Tensor) -> Any:
    return F.greater(counts, 0.0).data


def add(inputs: Any, **kwargs: Any) -> Any:
    """The sum of tensors, as a layer."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """The first of two tensors minus the second, as a layer."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """The product of tensors, as a layer."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """The mean of tensors, as a layer."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """The largest of tensors at each place, as a layer."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """The smallest of tensors at each place, as a layer."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """Tensors one after the other along an axis, as a layer."""
    return Concatenate(axis, **kwargs)(inputs)


def dot(inputs: Any, axes: Any = -1, **kwargs: Any) -> Any:
    """Products of two tensors summed along an axis of each, as a layer."""
    return Dot(axes, **kwargs)(inputs)
