"""Batch, layer and group normalisation, by norms, and standardisation by the statistics of a data set."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import functional as F
from .. import initializers
from ..checking import real_number
from ..symbolic import Shape
from ..tensor import Tensor, Variable, no_grad
from .arguments import axis_argument, positive_int
from .base import Layer
from .core import known
from .input_spec import InputSpec


class BatchNormalization(Layer):
    """Normalises each feature over the batch, and at inference by running statistics (Ioffe & Szegedy 2015).

    Weights: gamma, beta, moving_mean, moving_variance, each of the length of `axis`. The running statistics follow
    `moving = momentum · moving + (1 − momentum) · batch statistic`. With `trainable = False` it runs as at inference.
    """

    _mixes_samples = True
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
        if synchronized:
            raise ValueError("synchronized of BatchNormalization must be False: there is one device")
        self.axis = int(axis)
        self.input_spec = InputSpec()
        self.momentum = real_number(momentum, "momentum of BatchNormalization", 0, 1)
        self.epsilon = real_number(epsilon, "epsilon of BatchNormalization", 0)
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
        self.axis = axis_argument(axis, "LayerNormalization")
        self.input_spec = InputSpec()
        self.epsilon = real_number(epsilon, "epsilon of LayerNormalization", 0)
        self.center = center
        self.scale = scale
        self._take_weight_arguments("beta", beta_initializer, beta_regularizer, beta_constraint)
        self._take_weight_arguments("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self.gamma: Variable | None = None
        self.beta: Variable | None = None
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        axes = axes_within(self.axis, len(input_shape), self)
        shape = tuple(known(input_shape[axis], axis, input_shape, self) for axis in axes)
        if self.scale:
            self.gamma = self._add_described("gamma", shape)
        if self.center:
            self.beta = self._add_described("beta", shape)
        self.input_spec = InputSpec(ndim=len(input_shape), axes=dict(zip(axes, shape, strict=True)))

    def call(self, inputs: Tensor) -> Tensor:
        ndim = inputs.ndim
        axes = axes_within(self.axis, ndim, self)
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


class GroupNormalization(Layer):
    """Normalises each sample over groups of its channels and all places (Wu & He 2018).

    Weights: gamma and beta, of the length of `axis`, the channels. groups -1 stands for as many as there are channels
    (instance normalisation).
    """

    _real_inputs = True

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
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
        self.groups = groups if groups == -1 else positive_int(groups, "groups of GroupNormalization")
        self.axis = axis
        self.input_spec = InputSpec()
        self.epsilon = real_number(epsilon, "epsilon of GroupNormalization", 0)
        self.center = center
        self.scale = scale
        self._take_weight_arguments("beta", beta_initializer, beta_regularizer, beta_constraint)
        self._take_weight_arguments("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self.gamma: Variable | None = None
        self.beta: Variable | None = None
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        ndim = len(input_shape)
        (axis,) = axes_within(self.axis, ndim, self)
        if axis == 0:
            raise ValueError(f"{self._said} cannot normalise along the batch, got axis={self.axis}")
        channels = known(input_shape[axis], axis, input_shape, self)
        if channels % self.groups:
            raise ValueError(f"{self._said} has groups={self.groups}, which does not divide {channels} channels")
        if self.scale:
            self.gamma = self._add_described("gamma", (channels,))
        if self.center:
            self.beta = self._add_described("beta", (channels,))
        self.input_spec = InputSpec(ndim=ndim, axes={axis: channels})

    def call(self, inputs: Tensor) -> Tensor:
        axis = self.axis % inputs.ndim
        last = [i for i in range(inputs.ndim) if i != axis] + [axis]
        x = inputs if axis == inputs.ndim - 1 else F.transpose(inputs, last)
        batch, channels = x.shape[0], x.shape[-1]
        groups = channels if self.groups == -1 else self.groups
        each, places = channels // groups, math.prod(x.shape[1:-1])
        grouped = F.transpose(F.reshape(x, (batch, places, groups, each)), (0, 2, 1, 3))
        normal = F.layernorm(F.reshape(grouped, (batch, groups, places * each)), None, None, self.epsilon)
        y = F.transpose(F.reshape(normal, grouped.shape), (0, 2, 1, 3))
        y = F.reshape(y, x.shape)
        y = y if self.gamma is None else y * self.gamma
        y = y if self.beta is None else y + self.beta
        return y if x is inputs else F.transpose(y, [last.index(i) for i in range(inputs.ndim)])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "groups": self.groups,
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
        }


class RMSNormalization(Layer):
    """x · scale / √(mean of x² + epsilon) over `axis`, the last axis or several (Zhang & Sennrich 2019).

    Weight: scale, of the shape of those axes.
    """

    _real_inputs = True

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis_argument(axis, "RMSNormalization")
        self.input_spec = InputSpec()
        self.epsilon = real_number(epsilon, "epsilon of RMSNormalization", 0)

    def build(self, input_shape: Shape) -> None:
        axes = axes_within(self.axis, len(input_shape), self)
        shape = tuple(known(input_shape[axis], axis, input_shape, self) for axis in axes)
        self.scale = self.add_weight(shape, "ones", name="scale")
        self.input_spec = InputSpec(ndim=len(input_shape), axes=dict(zip(axes, shape, strict=True)))

    def call(self, inputs: Tensor) -> Tensor:
        axes = axes_within(self.axis, inputs.ndim, self)
        along = tuple(n if axis in axes else 1 for axis, n in enumerate(inputs.shape))
        squares = F.mean(F.square(inputs), axis=axes, keepdims=True)
        return inputs / F.sqrt(squares + self.epsilon) * F.reshape(self.scale, along)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}


class UnitNormalization(Layer):
    """x divided by its L2 norm over `axis`, the last axis or several; zeros stay zeros."""

    _real_inputs = True

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis_argument(axis, "UnitNormalization")
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return unit_vectors(inputs, axes_within(self.axis, inputs.ndim, self))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        axes_within(self.axis, len(input_shape), self)
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Normalization(Layer):
    """(x − mean) / √variance per feature of `axis`, by given statistics or those of the data that `adapt` saw.

    Weights after `adapt`: mean, variance, and a count that stays 0 as Keras's does, none of them trained. `invert`
    undoes the standardisation.
    """

    _real_inputs = True

    def __init__(
        self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if (mean is None) != (variance is None):
            raise ValueError("mean and variance of Normalization must be given both or neither")
        given = [] if axis is None or axis in ([], ()) else axis_argument(axis, "Normalization")
        self.axis = (given,) if isinstance(given, int) else tuple(given)
        self.invert = invert
        self._given = None if mean is None else (np.asarray(mean), np.asarray(variance))
        if self._given is not None:
            for name, statistic in zip(("mean", "variance"), self._given, strict=True):
                if statistic.dtype.kind not in "fiub" or (name == "variance" and (statistic < 0).any()):
                    least = " of at least 0" if name == "variance" else ""
                    raise ValueError(f"{name} of Normalization must hold numbers{least}, got {statistic!r}")
        self.supports_masking = True

    def _axes(self, ndim: int) -> tuple[int, ...]:
        axes = axes_within(self.axis, ndim, self)
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

    def call(self, inputs: Tensor) -> Tensor:
        mean, variance = self._given or (self.adapt_mean.numpy(), self.adapt_variance.numpy())
        mean = mean.reshape(self._shape(mean)).astype(self.dtype)
        spread = np.maximum(np.sqrt(variance), 1e-7).reshape(self._shape(variance)).astype(self.dtype)
        return inputs * spread + mean if self.invert else (inputs - mean) / spread

    def _shape(self, statistic: np.ndarray) -> tuple[int, ...]:
        if statistic.size not in (1, math.prod(self._along)):
            raise ValueError(
                f"mean and variance of {self._said} must hold one number, or {math.prod(self._along)} for its input, "
                f"got shape {statistic.shape}"
            )
        return self._along if statistic.size == math.prod(self._along) else (1,) * len(self._along)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        mean, variance = self._given or (None, None)
        return {
            **super().get_config(),
            "axis": list(self.axis),
            "invert": self.invert,
            "mean": None if mean is None else mean.tolist(),
            "variance": None if variance is None else variance.tolist(),
        }


def axes_within(axis: Any, ndim: int, layer: Layer) -> tuple[int, ...]:
    """One axis or several, counted from the front and in order, or a ValueError if an input has too few."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if any(not -ndim <= axis < ndim for axis in axes):
        raise ValueError(f"{layer._said} normalises axis {axis}, its input has only {ndim} axes")
    places = tuple(sorted({axis % ndim for axis in axes}))
    if len(places) != len(axes):
        raise ValueError(f"{layer._said} names an axis of its input, which has {ndim} axes, twice: {axis}")
    return places


def unit_vectors(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """x with L2 norms of 1 over axes; zeros stay zeros."""
    return x / F.sqrt(F.maximum(F.sum(F.square(x), axis=axes, keepdims=True), 1e-24))
