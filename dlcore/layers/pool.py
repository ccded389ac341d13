"""Pooling of images `[N, H, W, C]` and of sequences `[N, T, C]`.

padding is "valid", "same" or, beyond Keras, so many rows and columns: a number, for images also (vertical, horizontal)
or ((top, bottom), (left, right)), for sequences (before, after). It never counts: it is no maximum, and a mean is that
of the elements inside.
"""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..symbolic import Shape
from ..tensor import Tensor
from .spatial import Spatial


class _Pooling(Spatial):
    _real_inputs = True

    def __init__(
        self,
        pool_size: Any,
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.pool_size = self._lengths(pool_size, "pool_size")
        self.strides = self.pool_size if strides is None else self._lengths(strides, "strides")
        self.padding = self._padding(padding)
        self.built = True

    def _pool(self, x: Tensor, pool_size: Any, strides: Any, padding: Any) -> Tensor:
        """Pooling of images by functional's arguments."""
        raise NotImplementedError

    def call(self, inputs: Tensor) -> Tensor:
        size, strides, padding = (
            self._plane(self.pool_size),
            self._plane(self.strides),
            self._plane_padding(self.padding),
        )
        return self._over_images(lambda x: self._pool(x, size, strides, padding), inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        lengths = self._windows(input_shape, self.pool_size, self.strides, self.padding, what="window")
        return (input_shape[0], *lengths, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": list(self.pool_size),
            "strides": list(self.strides),
            "padding": self._padding_config(self.padding),
            "data_format": self.data_format,
        }


class _MaxPooling(_Pooling):
    def __init__(self, pool_size: Any = 2, *args: Any, **kwargs: Any) -> None:
        super().__init__(pool_size, *args, **kwargs)

    def _pool(self, x: Tensor, pool_size: Any, strides: Any, padding: Any) -> Tensor:
        return F.max_pool2d(x, pool_size, strides, padding)


class MaxPooling1D(_MaxPooling):
    """The largest value of each window of a sequence."""

    _rank = 1


class MaxPooling2D(_MaxPooling):
    """The largest value of each window."""

    _rank = 2


class _AveragePooling(_Pooling):
    def _pool(self, x: Tensor, pool_size: Any, strides: Any, padding: Any) -> Tensor:
        return F.avg_pool2d(x, pool_size, strides, padding)


class AveragePooling1D(_AveragePooling):
    """The mean of each window of a sequence."""

    _rank = 1


class AveragePooling2D(_AveragePooling):
    """The mean of each window."""

    _rank = 2


class _GlobalPooling(Spatial):
    _real_inputs = True

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.keepdims = keepdims
        self.built = True

    def _pool(self, images: Tensor) -> Tensor:
        """One value per channel: images `[N, H, W, C]` to `[N, C]`."""
        raise NotImplementedError

    def call(self, inputs: Tensor) -> Tensor:
        y = self._pool(self._as_images(inputs))
        return F.reshape(y, self.compute_output_shape(inputs.shape)) if self.keepdims else y

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        kept = (1,) * self._rank if self.keepdims else ()
        return (input_shape[0], *kept, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class _GlobalAveragePooling(_GlobalPooling):
    def _pool(self, images: Tensor) -> Tensor:
        return F.global_avg_pool2d(images)


class GlobalAveragePooling1D(_GlobalAveragePooling):
    """The mean of each channel along a sequence, over the steps that a mask `[N, T]` lets count: `[N, C]`, or
    `[N, 1, C]` with keepdims."""

    _rank = 1

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(data_format, keepdims, **kwargs)
        self.supports_masking = True

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        if mask is None:
            return super().call(inputs)
        counts = F.expand_dims(F.cast(mask, inputs.dtype), -1)
        counted = F.where(F.expand_dims(mask, -1), inputs, 0.0)
        return F.sum(counted, 1, self.keepdims) / F.sum(counts, 1, self.keepdims)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None


class GlobalAveragePooling2D(_GlobalAveragePooling):
    """The mean of each channel: `[N, C]`, or `[N, 1, 1, C]` with keepdims."""

    _rank = 2


class _GlobalMaxPooling(_GlobalPooling):
    def _pool(self, images: Tensor) -> Tensor:
        return F.global_max_pool2d(images)


class GlobalMaxPooling1D(_GlobalMaxPooling):
    """The largest value of each channel along a sequence: `[N, C]`, or `[N, 1, C]` with keepdims."""

    _rank = 1


class GlobalMaxPooling2D(_GlobalMaxPooling):
    """The largest value of each channel: `[N, C]`, or `[N, 1, 1, C]` with keepdims."""

    _rank = 2


MaxPool1D, MaxPool2D = MaxPooling1D, MaxPooling2D
AvgPool1D, AvgPool2D = AveragePooling1D, AveragePooling2D
GlobalAvgPool1D, GlobalAvgPool2D = GlobalAveragePooling1D, GlobalAveragePooling2D
GlobalMaxPool1D, GlobalMaxPool2D = GlobalMaxPooling1D, GlobalMaxPooling2D
