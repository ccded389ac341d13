"""Optimizers: one launch for the flat buffer of all parameters."""

from __future__ import annotations

from math import sqrt
from typing import Any

from .launch import Kernel

Array = Any

_sgd = Kernel("optim", "sgd", "REAL* p, const REAL* g, long long n, REAL lr")
_MOMENTUM = {
    form: Kernel("optim", f"momentum_{form}", "REAL* p, const REAL* g, REAL* m, long long n, REAL lr, REAL momentum")
    for form in ("classical", "nesterov", "averaged")
}
_adagrad = Kernel("optim", "adagrad", "REAL* p, const REAL* g, REAL* s, long long n, REAL lr, REAL eps")
_rmsprop = Kernel(
    "optim",
    "rmsprop",
    "REAL* p, const REAL* g, REAL* s, REAL* m, REAL* gbar, long long n, "
    "REAL lr, REAL rho, REAL rest, REAL momentum, REAL eps",
)
_adam = Kernel(
    "optim",
    "adam",
    "REAL* p, const REAL* g, REAL* m, REAL* v, REAL* vhat, long long n, "
    "REAL beta1, REAL rest1, REAL beta2, REAL rest2, REAL eps, REAL keep, REAL rate",
)


def sgd(p: Array, g: Array, lr: float) -> None:
    """See `Backend.sgd`."""
    _sgd(p.size, p, g, p.size, lr)


def momentum(p: Array, g: Array, m: Array, lr: float, momentum: float, form: str) -> None:
    """See `Backend.momentum`."""
    _MOMENTUM[form](p.size, p, g, m, p.size, lr, momentum)


def adagrad(p: Array, g: Array, s: Array, lr: float, eps: float) -> None:
    """See `Backend.adagrad`."""
    _adagrad(p.size, p, g, s, p.size, lr, eps)


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
    velocity = m if momentum > 0 else None
    _rmsprop(p.size, p, g, s, velocity, gbar, p.size, lr, rho, 1 - rho, momentum, eps)


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
    rate = lr * sqrt(1 - beta2**step) / (1 - beta1**step)
    keep = 1 - lr * weight_decay
    _adam(p.size, p, g, m, v, vhat, p.size, beta1, 1 - beta1, beta2, 1 - beta2, eps, keep, rate)
