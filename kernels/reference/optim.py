"""Optimizer updates of one flat parameter buffer, the formulas of the papers as Keras writes them.

Each is a handful of passes over memory here; the fast engines make it one.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

Array = np.ndarray


def sgd(p: Array, g: Array, lr: float) -> None:
    """See `Backend.sgd`."""
    p -= lr * g


def momentum(p: Array, g: Array, m: Array, lr: float, momentum: float, form: str) -> None:
    """See `Backend.momentum`."""
    m *= momentum
    if form == "averaged":
        m += (1 - momentum) * g
        p -= lr * m
        return
    m -= lr * g
    if form == "classical":
        p += m
    elif form == "nesterov":
        p += momentum * m - lr * g
    else:
        raise ValueError(f"form: unknown momentum form {form!r}")


def adagrad(p: Array, g: Array, s: Array, lr: float, eps: float) -> None:
    """See `Backend.adagrad`."""
    s += g * g
    p -= lr * g / np.sqrt(s + eps)


def rmsprop(
    p: Array,
    g: Array,
    s: Array,
    m: Array | None,
    gbar: Array | None,
    lr: float,
    rho: float,
    momentum: float,
    eps: float,
) -> None:
    """See `Backend.rmsprop`."""
    s *= rho
    s += (1 - rho) * g * g
    d = s
    if gbar is not None:
        gbar *= rho
        gbar += (1 - rho) * g
        d = s - gbar * gbar
    step = lr * g / np.sqrt(d + eps)
    if m is not None and momentum > 0:
        m *= momentum
        m += step
        step = m
    p -= step


def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    vhat: Array | None,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    step: int,
) -> None:
    """See `Backend.adam`."""
    if weight_decay > 0:
        p -= lr * weight_decay * p
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    if vhat is not None:
        np.maximum(vhat, v, out=vhat)
        v = vhat
    rate = lr * sqrt(1 - beta2**step) / (1 - beta1**step)
    p -= rate * m / (np.sqrt(v) + eps)
