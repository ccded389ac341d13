"""Optimizers: one update of a flat parameter buffer.

Plain version: NumPy expressions, up to fifteen passes over buffers as large as the model. Here every update is one
pass that reads each buffer once and writes it once, cut over the cores. Factors are worked out once, in double
precision, and passed as Python's numbers: NumPy's would take half a microsecond each.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .threads import absent, elementwise_kernel

Array = Any


@elementwise_kernel
def _sgd(start, stop, p, g, lr):
    lr = p.dtype.type(lr)
    p = p[start:stop]
    g = g[start:stop]
    for i in range(p.size):
        p[i] -= lr * g[i]


@elementwise_kernel
def _momentum(start, stop, p, g, m, lr, momentum, rest, form):
    real = p.dtype.type
    lr, momentum, rest = real(lr), real(momentum), real(rest)
    p = p[start:stop]
    g = g[start:stop]
    m = m[start:stop]
    if form == 0:
        for i in range(p.size):
            v = momentum * m[i] - lr * g[i]
            m[i] = v
            p[i] += v
    elif form == 1:
        for i in range(p.size):
            d = lr * g[i]
            v = momentum * m[i] - d
            m[i] = v
            p[i] += momentum * v - d
    else:
        for i in range(p.size):
            v = momentum * m[i] + rest * g[i]
            m[i] = v
            p[i] -= lr * v


@elementwise_kernel
def _adagrad(start, stop, p, g, s, lr, eps):
    real = p.dtype.type
    lr, eps = real(lr), real(eps)
    p = p[start:stop]
    g = g[start:stop]
    s = s[start:stop]
    for i in range(p.size):
        v = s[i] + g[i] * g[i]
        s[i] = v
        p[i] -= lr * g[i] / np.sqrt(v + eps)


@elementwise_kernel
def _rmsprop(start, stop, p, g, s, m, gbar, lr, rho, rest, momentum, eps):
    real = p.dtype.type
    lr, rho, rest, momentum, eps = real(lr), real(rho), real(rest), real(momentum), real(eps)
    p = p[start:stop]
    g = g[start:stop]
    s = s[start:stop]
    m = m[start:stop]
    gbar = gbar[start:stop]
    has_momentum = m.size > 0
    centered = gbar.size > 0
    # A block's steps are kept on the stack of the cache between the loops, each of which is then free of branches.
    step = np.empty(1024, p.dtype)
    for first in range(0, p.size, 1024):
        count = min(1024, p.size - first)
        pb = p[first:][:count]
        gb = g[first:][:count]
        sb = s[first:][:count]
        if centered:
            hb = gbar[first:][:count]
            for i in range(count):
                v = rho * sb[i] + rest * (gb[i] * gb[i])
                sb[i] = v
                h = rho * hb[i] + rest * gb[i]
                hb[i] = h
                step[i] = lr * gb[i] / np.sqrt(v - h * h + eps)
        else:
            for i in range(count):
                v = rho * sb[i] + rest * (gb[i] * gb[i])
                sb[i] = v
                step[i] = lr * gb[i] / np.sqrt(v + eps)
        if has_momentum:
            mb = m[first:][:count]
            for i in range(count):
                v = momentum * mb[i] + step[i]
                mb[i] = v
                pb[i] -= v
        else:
            for i in range(count):
                pb[i] -= step[i]


@elementwise_kernel
def _adam(start, stop, p, g, m, v, vhat, beta1, rest1, beta2, rest2, eps, keep, rate):
    real = p.dtype.type
    beta1, rest1, beta2, rest2 = real(beta1), real(rest1), real(beta2), real(rest2)
    eps, keep, rate = real(eps), real(keep), real(rate)
    p = p[start:stop]
    g = g[start:stop]
    m = m[start:stop]
    v = v[start:stop]
    vhat = vhat[start:stop]
    if vhat.size:
        for i in range(p.size):
            a = beta1 * m[i] + rest1 * g[i]
            b = beta2 * v[i] + rest2 * (g[i] * g[i])
            m[i] = a
            v[i] = b
            h = b if b > vhat[i] or b != b else vhat[i]
            vhat[i] = h
            p[i] = p[i] * keep - rate * a / (np.sqrt(h) + eps)
    else:
        for i in range(p.size):
            a = beta1 * m[i] + rest1 * g[i]
            b = beta2 * v[i] + rest2 * (g[i] * g[i])
            m[i] = a
            v[i] = b
            p[i] = p[i] * keep - rate * a / (np.sqrt(b) + eps)


def sgd(p: Array, g: Array, lr: float) -> None:
    _sgd(p.size, p.size, p, g, float(lr))


def momentum(p: Array, g: Array, m: Array, lr: float, momentum: float, form: str) -> None:
    code = ("classical", "nesterov", "averaged").index(form)
    _momentum(p.size, p.size * 2, p, g, m, float(lr), float(momentum), float(1 - momentum), code)


def adagrad(p: Array, g: Array, s: Array, lr: float, eps: float) -> None:
    _adagrad(p.size, p.size * 3, p, g, s, float(lr), float(eps))


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
    velocity = absent(p.dtype) if m is None or momentum <= 0 else m
    mean = absent(p.dtype) if gbar is None else gbar
    _rmsprop(
        p.size, p.size * 4, p, g, s, velocity, mean,
        float(lr), float(rho), float(1 - rho), float(momentum), float(eps),
    )  # fmt: skip


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
    rate = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)
    _adam(
        p.size, p.size * 4, p, g, m, v, absent(p.dtype) if vhat is None else vhat,
        float(beta1), float(1 - beta1), float(beta2), float(1 - beta2), float(eps), float(1 - lr * weight_decay),
        float(rate),
    )  # fmt: skip
