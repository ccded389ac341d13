"""Pooling of images `[N, H, W, C]`.

padding is "valid", "same" or, beyond Keras, so many rows and columns: a number, (vertical, horizontal) or
((top, bottom), (left, right)). It never counts: it is no maximum, and a mean is that of the pixels inside.
"""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..symbolic import Shape
from ..tensor import Tensor
from .base import InputSpec, Layer, pair
from .conv import channels_last, padding_argument, padding_config, windows_along


class _Pooling(Layer):
    _real_inputs = True

    def __init__(
        self,
        pool_size: Any,
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        kind = type(self).__name__
        self.pool_size = pair(pool_size, f"pool_size of {kind}")
        self.strides = self.pool_size if strides is None else pair(strides, f"strides of {kind}")
        self.padding = padding_argument(padding, f"padding of {kind}")
        self.data_format = channels_last(data_format, kind)
        self.input_spec = InputSpec(ndim=4)
        self.built = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        lengths = windows_along(input_shape[1:3], self.pool_size, self.strides, self.padding, self, what="window")
        return (input_shape[0], *lengths, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": list(self.pool_size),
            "strides": list(self.strides),
            "padding": padding_config(self.padding),
            "data_format": self.data_format,
        }


class MaxPooling2D(_Pooling):
    """The largest value of each window."""

    def __init__(self, pool_size: Any = (2, 2), *args: Any, **kwargs: Any) -> None:
        super().__init__(pool_size, *args, **kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        return F.max_pool2d(inputs, self.pool_size, self.strides, self.padding)


class AveragePooling2D(_Pooling):
    """The mean of each window."""

    def call(self, inputs: Tensor) -> Tensor:
        return F.avg_pool2d(inputs, self.pool_size, self.strides, self.padding)


class _GlobalPooling(Layer):
    _real_inputs = True

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = channels_last(data_format, type(self).__name__)
        self.keepdims = keepdims
        self.input_spec = InputSpec(ndim=4)
        self.built = True

    def _shaped(self, y: Tensor) -> Tensor:
        return F.reshape(y, (y.shape[0], 1, 1, y.shape[1])) if self.keepdims else y

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], 1, 1, input_shape[3]) if self.keepdims else (input_shape[0], input_shape[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean of each channel: `[N, C]`, or `[N, 1, 1, C]` with keepdims."""

    def call(self, inputs: Tensor) -> Tensor:
        return self._shaped(F.global_avg_pool2d(inputs))


class GlobalMaxPooling2D(_GlobalPooling):
    """The largest value of each channel: `[N, C]`, or `[N, 1, 1, C]` with keepdims."""

    def call(self, inputs: Tensor) -> Tensor:
        return self._shaped(F.global_max_pool2d(inputs))


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
