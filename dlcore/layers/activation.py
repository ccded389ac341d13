"""Activation functions as layers."""

from __future__ import annotations

from typing import Any

from .. import activations
from .. import functional as F
from ..symbolic import Shape
from ..tensor import Tensor
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
        if max_value is not None and max_value < 0:
            raise ValueError(f"max_value of ReLU must be at least 0, got {max_value!r}")
        if negative_slope is None or negative_slope < 0:
            raise ValueError(f"negative_slope of ReLU must be at least 0, got {negative_slope!r}")
        if threshold is None or threshold < 0:
            raise ValueError(f"threshold of ReLU must be at least 0, got {threshold!r}")
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

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
        if negative_slope is None or negative_slope < 0:
            raise ValueError(f"negative_slope of LeakyReLU must be at least 0, got {negative_slope!r}")
        self.negative_slope = negative_slope

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
        self.shared_axes = (
            None if shared_axes is None else [shared_axes] if isinstance(shared_axes, int) else list(shared_axes)
        )

    def build(self, input_shape: Shape) -> None:
        shape: list[int | None] = list(input_shape[1:])
        for axis in self.shared_axes or ():
            shape[axis - 1] = 1
        lengths = [known(n, axis + 1, input_shape, self) for axis, n in enumerate(shape)]
        self.alpha = self._add_described("alpha", lengths)
        shared = self.shared_axes or ()
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
        self.alpha = alpha

    def call(self, inputs: Tensor) -> Tensor:
        return F.elu(inputs, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


class Softmax(_Elementwise):
    """Softmax along `axis`; places where a mask is False get 0. The mask must broadcast to the inputs."""

    def __init__(self, axis: int | list[int] | tuple[int, ...] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

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
        return {**super().get_config(), "axis": self.axis if isinstance(self.axis, int) else list(self.axis)}
