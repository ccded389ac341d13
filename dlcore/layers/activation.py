"""Activation functions as layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import activations
from .. import functional as F
from ..checking import is_number, real_number
from ..symbolic import Shape
from ..tensor import Tensor
from .arguments import axis_argument
from .base import Layer
from .core import known
from .input_spec import InputSpec


class _Elementwise(Layer):
    _real_inputs = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.built = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)


class Activation(_Elementwise):
    """An activation function, by name or as a callable."""

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, inputs: Tensor) -> Tensor:
        return self.activation(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class ReLU(_Elementwise):
    """x above `threshold`, negative_slope·(x − threshold) below it, at most `max_value`."""

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if max_value is not None and not (is_number(max_value) and max_value >= 0):
            raise ValueError(f"max_value of ReLU must be None or a number of at least 0, got {max_value!r}")
        self.max_value = None if max_value is None else float(max_value)
        self.negative_slope = real_number(negative_slope, "negative_slope of ReLU", 0)
        self.threshold = real_number(threshold, "threshold of ReLU", 0)

    def call(self, inputs: Tensor) -> Tensor:
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


class LeakyReLU(_Elementwise):
    """x above 0, negative_slope·x below."""

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        negative_slope = kwargs.pop("alpha", negative_slope)
        super().__init__(**kwargs)
        self.negative_slope = real_number(negative_slope, "negative_slope of LeakyReLU", 0)

    def call(self, inputs: Tensor) -> Tensor:
        return F.leaky_relu(inputs, self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "negative_slope": self.negative_slope}


class PReLU(Layer):
    """x above 0, alpha·x below, alpha learned per element of a sample or shared along `shared_axes` (1 the first)."""

    _real_inputs = True

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self._take_weight_arguments("alpha", alpha_initializer, alpha_regularizer, alpha_constraint)
        axes = [shared_axes] if isinstance(shared_axes, (int, np.integer)) else shared_axes
        if axes is not None and not (isinstance(axes, (list, tuple)) and all(map(_is_axis, axes))):
            raise ValueError(f"shared_axes of PReLU must be axes that are not the batch, got {shared_axes!r}")
        self.shared_axes = None if axes is None else [int(axis) for axis in axes]
        self.input_spec = InputSpec(min_ndim=2)

    def build(self, input_shape: Shape) -> None:
        shape: list[int | None] = list(input_shape[1:])
        shared = [axis % len(input_shape) if axis < 0 else axis for axis in self.shared_axes or ()]
        if any(not 0 < axis < len(input_shape) for axis in shared):
            raise ValueError(f"{self._said} shares axes {self.shared_axes}, its input has shape {tuple(input_shape)}")
        for axis in shared:
            shape[axis - 1] = 1
        lengths = [known(n, axis + 1, input_shape, self) for axis, n in enumerate(shape)]
        self.alpha = self._add_described("alpha", lengths)
        axes = {axis: n for axis, n in enumerate(input_shape) if axis and axis not in shared}
        self.input_spec = InputSpec(ndim=len(input_shape), axes=axes)

    def call(self, inputs: Tensor) -> Tensor:
        return F.prelu(inputs, self.alpha)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shared_axes": self.shared_axes}


class ELU(_Elementwise):
    """x above 0, alpha·(eˣ − 1) below."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = real_number(alpha, "alpha of ELU")

    def call(self, inputs: Tensor) -> Tensor:
        return F.elu(inputs, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


class Softmax(_Elementwise):
    """Softmax along `axis`; places where a mask is False get 0. The mask must broadcast to the inputs."""

    def __init__(self, axis: int | list[int] | tuple[int, ...] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis: Any = axis_argument(axis, "Softmax")

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        if mask is None:
            return self._softmax(inputs)
        lengths = zip(reversed(mask.shape), reversed(inputs.shape), strict=False)
        if mask.ndim > inputs.ndim or any(m not in (1, n) for m, n in lengths):
            raise ValueError(
                f"mask of {self._said} must broadcast to its input of shape {tuple(inputs.shape)}, "
                f"got shape {tuple(mask.shape)}"
            )
        return F.where(mask, self._softmax(F.where(mask, inputs, -1e9)), 0.0)

    def _softmax(self, x: Tensor) -> Tensor:
        if isinstance(self.axis, int):
            return F.softmax(x, self.axis)
        if len(self.axis) == 1:
            return F.softmax(x, self.axis[0])
        shifted = F.exp(x - F.max(x, axis=tuple(self.axis), keepdims=True))
        return shifted / F.sum(shifted, axis=tuple(self.axis), keepdims=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def _is_axis(axis: Any) -> bool:
    return isinstance(axis, (int, np.integer)) and not isinstance(axis, bool) and axis != 0
