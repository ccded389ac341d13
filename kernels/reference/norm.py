"""Batch and layer normalisation.

Two passes: the mean first, then the variance of what is left after subtracting it; the one-pass formula E[x²] − E[x]²
cancels where the mean is large. The fast engines get there in one pass with Chan's update of shifted moments.
"""

from __future__ import annotations

import numpy as np

from .activation import activation as activate
from .linear import store
from .reduce import sum_rows

Array = np.ndarray


def batchnorm(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array,
    running_var: Array,
    y: Array,
    mean: Array,
    inv_std: Array,
    momentum: float,
    eps: float,
    activation: str,
) -> None:
    """See `Backend.batchnorm`."""
    rows = x.shape[0]
    if rows == 0:  # no rows have no statistics, and leave the running ones alone
        mean[...] = inv_std[...] = 0
        return
    mean[...] = sum_rows(x) / rows
    np.subtract(x, mean, out=y)
    var = sum_rows(y * y) / rows
    inv_std[...] = 1 / np.sqrt(var + eps)
    running_mean[...] = momentum * running_mean + (1 - momentum) * mean
    running_var[...] = momentum * running_var + (1 - momentum) * var
    y *= inv_std
    _scale_and_activate(y, gamma, beta, activation)


def batchnorm_inference(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array,
    running_var: Array,
    y: Array,
    eps: float,
    activation: str,
) -> None:
    """See `Backend.batchnorm_inference`."""
    np.subtract(x, running_mean, out=y)
    y /= np.sqrt(running_var + eps)
    _scale_and_activate(y, gamma, beta, activation)


def batchnorm_backward(
    dz: Array,
    x: Array,
    gamma: Array | None,
    mean: Array,
    inv_std: Array,
    dx: Array | None,
    dgamma: Array | None,
    dbeta: Array | None,
    accumulate: bool = False,
) -> None:
    """See `Backend.batchnorm_backward`."""
    rows = max(x.shape[0], 1)
    normalised = (x - mean) * inv_std
    sum_dz = sum_rows(dz)
    sum_dz_x = sum_rows(dz * normalised)
    if dgamma is not None:
        store(dgamma, sum_dz_x, accumulate)
    if dbeta is not None:
        store(dbeta, sum_dz, accumulate)
    if dx is not None:
        scale = inv_std if gamma is None else gamma * inv_std
        dx[...] = scale * (dz - sum_dz / rows - normalised * (sum_dz_x / rows))


def layernorm(
    x: Array, gamma: Array | None, beta: Array | None, y: Array, mean: Array, inv_std: Array, eps: float
) -> None:
    """See `Backend.layernorm`."""
    features = max(x.shape[1], 1)
    mean[...] = x.sum(axis=1) / features
    np.subtract(x, mean[:, None], out=y)
    inv_std[...] = 1 / np.sqrt((y * y).sum(axis=1) / features + eps)
    y *= inv_std[:, None]
    _scale_and_activate(y, gamma, beta, "linear")


def layernorm_backward(
    dy: Array,
    x: Array,
    gamma: Array | None,
    mean: Array,
    inv_std: Array,
    dx: Array | None,
    dgamma: Array | None,
    dbeta: Array | None,
    accumulate: bool = False,
) -> None:
    """See `Backend.layernorm_backward`."""
    features = max(x.shape[1], 1)
    normalised = (x - mean[:, None]) * inv_std[:, None]
    if dgamma is not None:
        store(dgamma, sum_rows(dy * normalised), accumulate)
    if dbeta is not None:
        store(dbeta, sum_rows(dy), accumulate)
    if dx is not None:
        d = dy if gamma is None else dy * gamma
        mean_d = d.sum(axis=1, keepdims=True) / features
        mean_d_x = (d * normalised).sum(axis=1, keepdims=True) / features
        dx[...] = inv_std[:, None] * (d - mean_d - normalised * mean_d_x)


def _scale_and_activate(y: Array, gamma: Array | None, beta: Array | None, activation: str) -> None:
    if gamma is not None:
        y *= gamma
    if beta is not None:
        y += beta
    activate(y, y, activation, 0.0)
