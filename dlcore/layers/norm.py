"""Batch and layer normalisation, and standardisation by the statistics of a data set."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import functional as F
from .. import initializers
from ..symbolic import Shape
from ..tensor import Tensor, Variable, no_grad
from .base import InputSpec, Layer
from .core import known


class BatchNormalization(Layer):
    """Normalises each feature over the batch, and at inference by running statistics (Ioffe & Szegedy 2015).

    Weights: gamma, beta, moving_mean, moving_variance, each of the length of `axis`. The running statistics follow
    `moving = momentum · moving + (1 − momentum) · batch statistic`. With `trainable = False` it runs as at inference.
    """

    _real_inputs = True

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(axis, (int, np.integer)):
            raise ValueError(f"axis of BatchNormalization must be a whole number, got {axis!r}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum of BatchNormalization must lie in 0 … 1, got {momentum!r}")
        if epsilon < 0:
            raise ValueError(f"epsilon of BatchNormalization must be at least 0, got {epsilon!r}")
        if synchronized:
            raise ValueError("synchronized of BatchNormalization must be False: there is one device")
        self.axis = int(axis)
        self.momentum = float(momentum)
        self.epsilon = float(epsilon)
        self.center = center
        self.scale = scale
        self._take_weight_arguments("beta", beta_initializer, beta_regularizer, beta_constraint)
        self._take_weight_arguments("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.gamma: Variable | None = None
        self.beta: Variable | None = None
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        ndim = len(input_shape)
        if not -ndim <= self.axis < ndim:
            raise ValueError(f"{self._said} normalises axis {self.axis}, its input has shape {tuple(input_shape)}")
        length = known(input_shape[self.axis], self.axis, input_shape, self)
        if self.scale:
            self.gamma = self._add_described("gamma", (length,))
        if self.center:
            self.beta = self._add_described("beta", (length,))
        self.moving_mean = self.add_weight((length,), self.moving_mean_initializer, trainable=False, name="moving_mean")
        self.moving_variance = self.add_weight(
            (length,), self.moving_variance_initializer, trainable=False, name="moving_variance"
        )
        self.input_spec = InputSpec(ndim=ndim, axes={self.axis: length})

    def call(self, inputs: Tensor, training: bool | None = None, mask: Any = None) -> Tensor:
        training = bool(training) and self._trainable
        if training and mask is not None:
            return self._masked(inputs, mask)
        return F.batchnorm(
            inputs, self.gamma, self.beta, self.moving_mean, self.moving_variance, training, self.momentum,
            self.epsilon, self.axis,
        )  # fmt: skip

    def _masked(self, x: Tensor, mask: Any) -> Tensor:
        """Statistics over the places that the mask `[N, T]` lets count."""
        axis = self.axis % x.ndim
        axes = tuple(i for i in range(x.ndim) if i != axis)
        along = tuple(x.shape[axis] if i == axis else 1 for i in range(x.ndim))
        counts = F.reshape(F.cast(mask, x.dtype), (*mask.shape, *(1,) * (x.ndim - mask.ndim)))
        total = F.sum(counts, axis=axes, keepdims=True) + 1e-7
        mean = F.sum(x * counts, axis=axes, keepdims=True) / total
        variance = F.sum(F.square(x - mean) * counts, axis=axes, keepdims=True) / total
        with no_grad():
            for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + F.reshape(now, moving.shape) * (1 - self.momentum))
        y = (x - mean) / F.sqrt(variance + self.epsilon)
        if self.gamma is not None:
            y = y * F.reshape(self.gamma, along)
        return y if self.beta is None else y + F.reshape(self.beta, along)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
        }


class LayerNormalization(Layer):
    """Normalises each sample over `axis` (Ba et al. 2016): the last axis, or several.

    Weights: gamma and beta, of the shape of those axes.
    """

    _real_inputs = True

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(axis, (int, list, tuple)) or (not axis and not isinstance(axis, int)):
            raise ValueError(f"axis of LayerNormalization must be a whole number or several, got {axis!r}")
        self.axis = axis if isinstance(axis, int) else list(axis)
        self.epsilon = float(epsilon)
        self.center = center
        self.scale = scale
        self._take_weight_arguments("beta", beta_initializer, beta_regularizer, beta_constraint)
        self._take_weight_arguments("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self.gamma: Variable | None = None
        self.beta: Variable | None = None
        self.supports_masking = True

    def _axes(self, ndim: int) -> tuple[int, ...]:
        axes = (self.axis,) if isinstance(self.axis, int) else tuple(self.axis)
        if any(not -ndim <= axis < ndim for axis in axes):
            raise ValueError(f"{self._said} normalises axis {self.axis}, its input has only {ndim} axes")
        return tuple(sorted(axis % ndim for axis in axes))

    def build(self, input_shape: Shape) -> None:
        axes = self._axes(len(input_shape))
        shape = tuple(known(input_shape[axis], axis, input_shape, self) for axis in axes)
        if self.scale:
            self.gamma = self._add_described("gamma", shape)
        if self.center:
            self.beta = self._add_described("beta", shape)
        self.input_spec = InputSpec(ndim=len(input_shape), axes=dict(zip(axes, shape, strict=True)))

    def call(self, inputs: Tensor) -> Tensor:
        ndim = inputs.ndim
        axes = self._axes(ndim)
        if axes == (ndim - 1,):
            return F.layernorm(inputs, self.gamma, self.beta, self.epsilon)
        others = [axis for axis in range(ndim) if axis not in axes]
        order = [*others, *axes]  # the normalised axes go last and become one
        x = inputs if order == list(range(ndim)) else F.transpose(inputs, order)
        length = math.prod(inputs.shape[axis] for axis in axes)
        flat = F.reshape(x, (*(inputs.shape[axis] for axis in others), length))
        gamma = None if self.gamma is None else F.reshape(self.gamma, (length,))
        beta = None if self.beta is None else F.reshape(self.beta, (length,))
        y = F.reshape(F.layernorm(flat, gamma, beta, self.epsilon), x.shape)
        return y if x is inputs else F.transpose(y, [order.index(axis) for axis in range(ndim)])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
        }


class Normalization(Layer):
    """(x − mean) / √variance per feature of `axis`, by given statistics or those of the data that `adapt` saw.

    Weights after `adapt`: mean, variance, count, none of them trained. `invert` undoes the standardisation.
    """

    _real_inputs = True

    def __init__(
        self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if (mean is None) != (variance is None):
            raise ValueError("mean and variance of Normalization must be given both or neither")
        self.axis = axis if axis is None or isinstance(axis, int) else list(axis)
        self.invert = invert
        self._given = None if mean is None else (np.asarray(mean), np.asarray(variance))
        self.supports_masking = True

    def _axes(self, ndim: int) -> tuple[int, ...]:
        axes = () if self.axis is None else (self.axis,) if isinstance(self.axis, int) else tuple(self.axis)
        axes = tuple(sorted(axis % ndim for axis in axes))
        if 0 in axes:
            raise ValueError(f"{self._said} cannot keep the batch axis apart, got axis={self.axis}")
        return axes

    def build(self, input_shape: Shape) -> None:
        axes = self._axes(len(input_shape))
        lengths = tuple(known(input_shape[axis], axis, input_shape, self) for axis in axes)
        self._along = tuple(input_shape[i] if i in axes else 1 for i in range(len(input_shape)))
        self.input_spec = InputSpec(ndim=len(input_shape), axes=dict(zip(axes, lengths, strict=True)))
        if self._given is None:
            self.adapt_mean = self.add_weight(lengths, "zeros", trainable=False, name="mean")
            self.adapt_variance = self.add_weight(lengths, "ones", trainable=False, name="variance")
            self.count = self.add_weight((), "zeros", dtype="int32", trainable=False, name="count")

    def adapt(self, data: Any) -> None:
        """Take mean and variance from an array `[N, ...]`."""
        if self._given is not None:
            raise ValueError(f"{self._said} has a given mean and variance; adapt() would change them")
        data = np.asarray(data)
        if data.ndim == 1:
            data = data[:, None]
        if not self.built:
            self.build((None, *data.shape[1:]))
        self._check_inputs(data)
        others = tuple(i for i in range(data.ndim) if i not in self._axes(data.ndim))
        self.adapt_mean.assign(data.mean(axis=others, dtype=np.float64))
        self.adapt_variance.assign(data.var(axis=others, dtype=np.float64))
        self.count.assign(np.asarray(data.shape[0], np.int32))

    def call(self, inputs: Tensor) -> Tensor:
        mean, variance = self._given or (self.adapt_mean.numpy(), self.adapt_variance.numpy())
        mean = mean.reshape(self._shape(mean)).astype(self.dtype)
        spread = np.maximum(np.sqrt(variance), 1e-7).reshape(self._shape(variance)).astype(self.dtype)
        return inputs * spread + mean if self.invert else (inputs - mean) / spread

    def _shape(self, statistic: np.ndarray) -> tuple[int, ...]:
        return self._along if statistic.size == math.prod(self._along) else (1,) * len(self._along)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        mean, variance = self._given or (None, None)
        return {
            **super().get_config(),
            "axis": self.axis,
            "invert": self.invert,
            "mean": None if mean is None else mean.tolist(),
            "variance": None if variance is None else variance.tolist(),
        }
