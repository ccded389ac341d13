"""Activations, softmax and their gradients: one launch each."""

from __future__ import annotations

from typing import Any

from ...backends.interface import ACTIVATIONS
from .launch import Kernel

Array = Any

_ACTIVATION = {
    kind: Kernel("activation", f"activation_{kind}", "const REAL* x, REAL* y, long long n, REAL alpha")
    for kind in ACTIVATIONS
}
_ACTIVATION_BACKWARD = {
    kind: Kernel(
        "activation",
        f"activation_backward_{kind}",
        "const REAL* dy, const REAL* x, const REAL* y, REAL* dx, long long n, REAL alpha",
    )
    for kind in ACTIVATIONS
}
_softmax = Kernel("activation", "softmax", "const REAL* x, REAL* y, int columns")
_softmax_backward = Kernel("activation", "softmax_backward", "const REAL* dy, const REAL* y, REAL* dx, int columns")
_log_softmax = Kernel("activation", "log_softmax", "const REAL* x, REAL* y, int columns")
_log_softmax_backward = Kernel(
    "activation", "log_softmax_backward", "const REAL* dy, const REAL* y, REAL* dx, int columns"
)


def activation(x: Array, y: Array, kind: str, alpha: float) -> None:
    """See `Backend.activation`."""
    _ACTIVATION[kind](x.size, x, y, x.size, alpha)


def activation_backward(dy: Array, x: Array | None, y: Array, dx: Array, kind: str, alpha: float) -> None:
    """See `Backend.activation_backward`."""
    _ACTIVATION_BACKWARD[kind](y.size, dy, x, y, dx, y.size, alpha)


def softmax(x: Array, y: Array) -> None:
    """See `Backend.softmax`."""
    _by_rows(_softmax, x, y)


def softmax_backward(dy: Array, y: Array, dx: Array) -> None:
    """See `Backend.softmax_backward`."""
    _by_rows(_softmax_backward, dy, y, dx)


def log_softmax(x: Array, y: Array) -> None:
    """See `Backend.log_softmax`."""
    _by_rows(_log_softmax, x, y)


def log_softmax_backward(dy: Array, y: Array, dx: Array) -> None:
    """See `Backend.log_softmax_backward`."""
    _by_rows(_log_softmax_backward, dy, y, dx)


def _by_rows(kernel: Kernel, *arrays: Array) -> None:
    rows, columns = arrays[0].shape
    if columns:
        kernel.blocks(rows, team(columns))(*arrays, columns)


def team(length: int) -> int:
    """Threads of a block that works on one row: some four elements for each, in whole warps, at most 256."""
    return min(256, max(32, -(-length // 128) * 32))
