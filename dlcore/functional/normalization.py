"""Batch and layer normalisation."""

from __future__ import annotations

from math import prod
from typing import Any

from ..backends.interface import Array, Backend
from ..backends.registry import current
from ..tensor import Tensor, on_tape, parameter_gradients, weights_changed
from .arguments import axis_of, before_activation, fused_activation, like_tensor, op, real_tensor
from .shaping import transpose


def _per_feature(name: str, value: Any, argument: str, x: Tensor) -> Tensor:
    value = like_tensor(name, value, argument, x)
    if value.data.shape != x.data.shape[-1:]:
        raise ValueError(
            f"{name}: {argument} must have shape ({x.data.shape[-1]},), one value per feature, got {value.data.shape}"
        )
    return value


@op
def batchnorm(
    x: Any,
    gamma: Any,
    beta: Any,
    moving_mean: Any,
    moving_var: Any,
    training: bool,
    momentum: float = 0.99,
    eps: float = 1e-3,
    axis: int = -1,
    activation: str = "linear",
) -> Tensor:
    """activation(gamma · x̂ + beta), x̂ normalised per feature of axis (Ioffe & Szegedy 2015).

    x `[..., C]`; gamma and beta `[C]` or None; moving_mean and moving_var `[C]`. In training x̂ uses the statistics of
    the batch, and the moving ones change in place: m ← momentum · m + (1 − momentum) · statistic. Otherwise x̂ uses
    the moving ones.

    Raises:
        ValueError: a shape does not fit, or a training batch has no rows.
        TypeError: a dtype is not real or differs from x's, or moving statistics that are not tensors in training.
    """
    x = real_tensor("batchnorm", x)
    ndim = x.data.ndim
    if ndim < 2:
        raise ValueError(f"batchnorm: x must have shape [N, ..., C], got {x.data.shape}")
    place = axis_of("batchnorm", axis, ndim)
    if place != ndim - 1:
        forth = [i for i in range(ndim) if i != place] + [place]
        y = batchnorm(
            transpose(x, forth), gamma, beta, moving_mean, moving_var, training, momentum, eps, -1, activation
        )
        return transpose(y, [forth.index(i) for i in range(ndim)])
    fused_activation("batchnorm", activation)
    if gamma is not None:
        gamma = _per_feature("batchnorm", gamma, "gamma", x)
    if beta is not None:
        beta = _per_feature("batchnorm", beta, "beta", x)
    if training and not (isinstance(moving_mean, Tensor) and isinstance(moving_var, Tensor)):
        raise TypeError(
            "batchnorm: moving_mean and moving_var must be tensors to be updated in training, got "
            f"{type(moving_mean).__name__} and {type(moving_var).__name__}"
        )
    moving_mean = _per_feature("batchnorm", moving_mean, "moving_mean", x)
    moving_var = _per_feature("batchnorm", moving_var, "moving_var", x)

    backend = current()
    shape = x.data.shape
    rows = prod(shape[:-1])
    flat = x.data.reshape(rows, shape[-1])
    gd = None if gamma is None else gamma.data
    bd = None if beta is None else beta.data
    y = backend.empty(flat.shape, flat.dtype)
    if training:
        if rows < 1:
            raise ValueError(f"batchnorm: a training batch must have at least one row, got x of shape {shape}")
        mean = backend.empty(shape[-1:], flat.dtype)
        inv_std = backend.empty(shape[-1:], flat.dtype)
        backend.batchnorm(
            flat, gd, bd, moving_mean.data, moving_var.data, y, mean, inv_std, float(momentum), float(eps), activation
        )
        weights_changed()
    else:
        mean, inv_std = moving_mean.data, None
        variance = moving_var.data
        backend.batchnorm_inference(flat, gd, bd, mean, variance, y, float(eps), activation)
    after = None if activation == "linear" else y
    want_x = x.requires_grad
    want_gamma, want_beta = gamma is not None and gamma.requires_grad, beta is not None and beta.requires_grad

    def backward(dy: Array) -> tuple:
        dz = before_activation(backend, dy.reshape(flat.shape), after, activation)
        std = inv_std if inv_std is not None else _inverse_std(backend, variance, float(eps))
        dx = backend.empty(flat.shape, flat.dtype) if want_x else None
        (dgamma, dbeta), accumulate, returned = parameter_gradients(
            backend, (gamma if want_gamma else None, beta if want_beta else None)
        )
        if training:
            backend.batchnorm_backward(dz, flat, gd, mean, std, dx, dgamma, dbeta, accumulate)
        else:
            if want_gamma or want_beta:
                backend.batchnorm_backward(dz, flat, gd, mean, std, None, dgamma, dbeta, accumulate)
            if want_x:  # the statistics are constants here
                slope = std
                if gd is not None:
                    slope = backend.empty(std.shape, std.dtype)
                    backend.binary(std, gd, slope, "mul")
                backend.binary(dz, slope, dx, "mul")
        if want_x:
            dx = dx.reshape(shape)
        return (dx, dgamma, dbeta) if returned else (dx, None, None)

    return on_tape(y.reshape(shape), (x, gamma, beta), backward, backend)


def _inverse_std(backend: Backend, variance: Array, eps: float) -> Array:
    std = backend.empty(variance.shape, variance.dtype)
    backend.fill(std, eps)
    backend.binary(std, variance, std, "add")
    backend.unary(std, std, "sqrt")
    backend.unary(std, std, "reciprocal")
    return std


@op
def layernorm(x: Any, gamma: Any, beta: Any, eps: float = 1e-3) -> Tensor:
    """gamma · x̂ + beta, x̂ normalised over the last axis (Ba et al. 2016).

    x `[..., C]`; gamma and beta `[C]` or None.

    Raises:
        ValueError: a shape does not fit.
        TypeError: a dtype is not real or differs from x's.
    """
    x = real_tensor("layernorm", x)
    shape = x.data.shape
    if not shape or shape[-1] < 1:
        raise ValueError(f"layernorm: x must have shape [..., C] with C at least 1, got {shape}")
    if gamma is not None:
        gamma = _per_feature("layernorm", gamma, "gamma", x)
    if beta is not None:
        beta = _per_feature("layernorm", beta, "beta", x)
    backend = current()
    flat = x.data.reshape(prod(shape[:-1]), shape[-1])
    gd = None if gamma is None else gamma.data
    y = backend.empty(flat.shape, flat.dtype)
    mean = backend.empty(flat.shape[:1], flat.dtype)
    inv_std = backend.empty(flat.shape[:1], flat.dtype)
    backend.layernorm(flat, gd, None if beta is None else beta.data, y, mean, inv_std, float(eps))
    want_x = x.requires_grad
    want_gamma, want_beta = gamma is not None and gamma.requires_grad, beta is not None and beta.requires_grad

    def backward(dy: Array) -> tuple:
        dx = backend.empty(flat.shape, flat.dtype) if want_x else None
        (dgamma, dbeta), accumulate, returned = parameter_gradients(
            backend, (gamma if want_gamma else None, beta if want_beta else None)
        )
        backend.layernorm_backward(dy.reshape(flat.shape), flat, gd, mean, inv_std, dx, dgamma, dbeta, accumulate)
        if want_x:
            dx = dx.reshape(shape)
        return (dx, dgamma, dbeta) if returned else (dx, None, None)

    return on_tape(y.reshape(shape), (x, gamma, beta), backward, backend)
