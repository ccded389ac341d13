"""Layers that move elements about: reshaping, padding, cropping, repeating, rescaling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import functional as F
from ..checking import is_whole
from ..symbolic import Shape
from ..tensor import Tensor
from .arguments import one_of, positive_int
from .base import Layer
from .input_spec import InputSpec
from .spatial import Spatial, channels_last


class Flatten(Layer):
    """`[N, ...]` to `[N, K]`; `[N]` to `[N, 1]`."""

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = channels_last(data_format, "Flatten")
        self.input_spec = InputSpec(min_ndim=1)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return F.reshape(inputs, (inputs.shape[0], math.prod(inputs.shape[1:])))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        rest = input_shape[1:]
        return (input_shape[0], None if None in rest else math.prod(rest))  # type: ignore[arg-type]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(Layer):
    """Each sample in shape `target_shape`, one length of which may be -1."""

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        shape = (target_shape,) if isinstance(target_shape, (int, np.integer)) else tuple(target_shape)
        if any(not is_whole(n, -1) for n in shape) or (shape.count(-1) > 1):
            raise ValueError(f"target_shape of Reshape must hold lengths, at most one of them -1, got {target_shape!r}")
        self.target_shape = tuple(int(n) for n in shape)
        self.input_spec = InputSpec(min_ndim=1)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return F.reshape(inputs, (inputs.shape[0], *self.compute_output_shape(inputs.shape)[1:]))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        rest = input_shape[1:]
        given = math.prod(n for n in self.target_shape if n != -1)
        if None in rest:
            return (input_shape[0], *(None if n == -1 else n for n in self.target_shape))
        size = math.prod(rest)  # type: ignore[arg-type]
        if (given and size % given if -1 in self.target_shape else size != given) or (given == 0 and size):
            raise ValueError(
                f"{self._said} cannot turn samples of shape {tuple(rest)} ({size} elements) into {self.target_shape}"
            )
        return (input_shape[0], *((size // given if given else 0) if n == -1 else n for n in self.target_shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": list(self.target_shape)}


class Permute(Layer):
    """The axes of each sample in another order; `dims` counts from 1, the batch stays first."""

    def __init__(self, dims: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(dims, (list, tuple)):
            raise ValueError(f"dims of Permute must be the order of the axes, got {dims!r}")
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"dims of Permute must be an order of 1 … {len(self.dims)}, got {dims!r}")
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return F.transpose(inputs, (0, *self.dims))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *(input_shape[axis] for axis in self.dims))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": list(self.dims)}


class RepeatVector(Layer):
    """`[N, K]` to `[N, n, K]`."""

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = positive_int(n, "n of RepeatVector")
        self.input_spec = InputSpec(ndim=2)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        batch, features = inputs.shape
        return F.broadcast_to(F.reshape(inputs, (batch, 1, features)), (batch, self.n, features))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.n, input_shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


class _ZeroPadding(Spatial):
    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.padding = self._margins(padding, "padding")
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return F.pad(inputs, ((0, 0), *self.padding, (0, 0)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        lengths = (None if n is None else n + sum(m) for n, m in zip(input_shape[1:-1], self.padding, strict=True))
        return (input_shape[0], *lengths, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "padding": self._margins_config(self.padding),
            "data_format": self.data_format,
        }


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after sequences: a number, or (before, after)."""

    _rank = 1


class ZeroPadding2D(_ZeroPadding):
    """Zeros around images: a number, (vertical, horizontal) or ((top, bottom), (left, right))."""

    _rank = 2


class _Cropping(Spatial):
    def __init__(self, cropping: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.cropping = self._margins(cropping, "cropping")
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        lengths = self.compute_output_shape(inputs.shape)[1:-1]
        inside = (slice(m[0], m[0] + n) for n, m in zip(lengths, self.cropping, strict=True))  # type: ignore[operator]
        return inputs[(slice(None), *inside)]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        lengths = tuple(
            None if n is None else n - sum(m) for n, m in zip(input_shape[1:-1], self.cropping, strict=True)
        )
        if any(n is not None and n <= 0 for n in lengths):
            raise ValueError(f"{self._said} would crop all of an input of shape {tuple(input_shape)}")
        return (input_shape[0], *lengths, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cropping": self._margins_config(self.cropping)}


class Cropping1D(_Cropping):
    """Sequences without their ends: a number, or (before, after)."""

    _rank = 1

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__(cropping, **kwargs)


class Cropping2D(_Cropping):
    """Images without their edges: a number, (vertical, horizontal) or ((top, bottom), (left, right))."""

    _rank = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class _UpSampling(Spatial):
    def __init__(self, size: Any = 2, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self._times = self._lengths(size, "size")
        self.built = True

    def _repeated(self, images: Tensor) -> Tensor:
        n, h, w, c = images.shape
        sh, sw = self._plane(self._times)
        spread = F.broadcast_to(F.reshape(images, (n, h, 1, w, 1, c)), (n, h, sh, w, sw, c))
        return F.reshape(spread, (n, h * sh, w * sw, c))

    def call(self, inputs: Tensor) -> Tensor:
        return self._over_images(self._repeated, inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        lengths = (None if n is None else n * times for n, times in zip(input_shape[1:-1], self._times, strict=True))
        return (input_shape[0], *lengths, input_shape[-1])


class UpSampling1D(_UpSampling):
    """Each step of a sequence repeated `size` times."""

    _rank = 1

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(size, **kwargs)
        self.size = self._times[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


class UpSampling2D(_UpSampling):
    """Each pixel repeated `size` times along rows and columns (interpolation "nearest")."""

    _rank = 2

    def __init__(
        self, size: Any = 2, data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(size, data_format, **kwargs)
        self.size = self._times
        self.interpolation = one_of(interpolation, "interpolation of UpSampling2D", ("nearest",))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "size": list(self.size),
            "data_format": self.data_format,
            "interpolation": self.interpolation,
        }


class Rescaling(Layer):
    """x · scale + offset."""

    _real_inputs = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale if isinstance(scale, (int, float)) else np.asarray(scale)
        self.offset = offset if isinstance(offset, (int, float)) else np.asarray(offset)
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            if np.asarray(value).dtype.kind not in "fiu":
                raise ValueError(f"{name} of Rescaling must be a number or an array of numbers, got {value!r}")
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return inputs * self._like(self.scale) + self._like(self.offset)

    def _like(self, value: Any) -> Any:
        return value if isinstance(value, (int, float)) else value.astype(self.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        scale, offset = (v if isinstance(v, (int, float)) else v.tolist() for v in (self.scale, self.offset))
        return {**super().get_config(), "scale": scale, "offset": offset}
