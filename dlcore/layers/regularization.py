"""Layers that act in training only: dropout, noise, and a penalty on what passes."""

from __future__ import annotations

import math
from typing import Any

from .. import functional as F
from .. import regularizers
from ..backends import current
from ..checking import is_number, real_number
from ..random import SeedGenerator
from ..symbolic import Shape
from ..tensor import Tensor, as_tensor
from .base import Layer
from .input_spec import InputSpec
from .spatial import channels_last


class Dropout(Layer):
    """In training sets a share `rate` of the elements to 0 and divides the others by 1 − rate (Srivastava et al. 2014).

    Args:
        rate: 0 ≤ rate < 1, or 1 to drop everything.
        noise_shape: shape of the mask, 1 or None … where it is shared or the input's own length.
        seed: of its stream of masks; from the global seed if None.
    """

    _real_inputs = True

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = real_number(rate, f"rate of {type(self).__name__}", 0, 1)
        self.seed = seed
        if noise_shape is not None and not isinstance(noise_shape, (list, tuple)):
            raise ValueError(f"noise_shape of {type(self).__name__} must be a shape or None, got {noise_shape!r}")
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self._seeds = SeedGenerator(seed)
        self.supports_masking = True
        self.built = True

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        if self.noise_shape is None:
            return None
        if len(self.noise_shape) != len(shape):
            raise ValueError(f"{self._said} has noise_shape {self.noise_shape}, its input has shape {tuple(shape)}")
        return tuple(n if given is None else given for given, n in zip(self.noise_shape, shape, strict=True))

    def call(self, inputs: Tensor, training: bool | None = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        if self.rate == 1:
            return inputs * 0.0
        shape = self._mask_shape(inputs.shape)
        seed, offset = self._seeds.next(math.prod(inputs.shape if shape is None else shape))
        return F.dropout(inputs, self.rate, seed, offset, shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        noise_shape = None if self.noise_shape is None else list(self.noise_shape)
        return {**super().get_config(), "rate": self.rate, "noise_shape": noise_shape, "seed": self.seed}


class _SpatialDropout(Dropout):
    _rank: int

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, seed=seed, **kwargs)
        self.input_spec = InputSpec(ndim=self._rank + 2)

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], *(1,) * self._rank, shape[-1])

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["noise_shape"]
        return config


class SpatialDropout1D(_SpatialDropout):
    """Drops whole channels of sequences `[N, T, C]`."""

    _rank = 1


class SpatialDropout2D(_SpatialDropout):
    """Drops whole channels of images `[N, H, W, C]`."""

    _rank = 2

    def __init__(self, rate: float, data_format: str | None = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, seed, **kwargs)
        self.data_format = channels_last(data_format, "SpatialDropout2D")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class AlphaDropout(Dropout):
    """In training sets a share `rate` of the elements to SELU's lower limit, then scales and shifts all so that mean 0
    and variance 1 stay (Klambauer et al. 2017, section 2). Arguments as for `Dropout`, rate below 1."""

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(_below_one(rate, "AlphaDropout"), noise_shape, seed, **kwargs)

    def call(self, inputs: Tensor, training: bool | None = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        kept = super().call(inputs - _SELU_LIMIT, training) * (1 - self.rate) + _SELU_LIMIT
        a = ((1 - self.rate) * (1 + self.rate * _SELU_LIMIT**2)) ** -0.5
        return kept * a - a * _SELU_LIMIT * self.rate


_SELU_LIMIT = -1.6732632423543772 * 1.0507009873554805  # −α·λ, what selu goes to


class _Noise(Layer):
    _real_inputs = True

    def __init__(self, seed: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self._seeds = SeedGenerator(seed)
        self.supports_masking = True
        self.built = True

    def _normal(self, x: Tensor, mean: float, stddev: float) -> Tensor:
        """Normal numbers in x's shape and dtype."""
        engine = current()
        noise = engine.empty(x.shape, x.dtype)
        engine.random_normal(noise, mean, stddev, *self._seeds.next(math.prod(x.shape)))
        return as_tensor(noise)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


class GaussianNoise(_Noise):
    """In training adds normal noise of standard deviation `stddev`."""

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.stddev = real_number(stddev, "stddev of GaussianNoise", 0, 1)

    def call(self, inputs: Tensor, training: bool | None = False) -> Tensor:
        if not training or self.stddev == 0:
            return inputs
        return inputs + self._normal(inputs, 0.0, self.stddev)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev}


class GaussianDropout(_Noise):
    """In training multiplies by normal numbers of mean 1 and the variance that dropout of this rate has,
    rate / (1 − rate) (Srivastava et al. 2014, section 10)."""

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.rate = _below_one(rate, "GaussianDropout")

    def call(self, inputs: Tensor, training: bool | None = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        return inputs * self._normal(inputs, 1.0, math.sqrt(self.rate / (1 - self.rate)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


class ActivityRegularization(Layer):
    """Passes its input on and adds l1·Σ|x| + l2·Σx² of it, divided by the batch size, to the loss."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1=l1, l2=l2), **kwargs)
        self.l1 = l1
        self.l2 = l2
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return inputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "l1": self.l1, "l2": self.l2}
        del config["activity_regularizer"]
        return config


def _below_one(rate: Any, layer: str) -> float:
    if not is_number(rate) or not 0 <= rate < 1:
        raise ValueError(f"rate of {layer} must be a number of at least 0 and below 1, got {rate!r}")
    return float(rate)
