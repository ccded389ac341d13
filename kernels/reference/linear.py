"""Matrix products: BLAS through `np.matmul`, then bias and activation as passes of their own.

The fast engines do the same with bias and activation applied to each tile while it is still in registers.
"""

from __future__ import annotations

import numpy as np

from .activation import activation as activate
from .reduce import sum_rows

Array = np.ndarray


def linear(x: Array, w: Array, b: Array | None, y: Array, activation: str) -> None:
    """See `Backend.linear`."""
    np.matmul(x, w, out=y)
    if b is not None:
        y += b
    activate(y, y, activation, 0.0)


def linear_backward_input(dz: Array, w: Array, dx: Array) -> None:
    """See `Backend.linear_backward_input`."""
    np.matmul(dz, w.T, out=dx)


def linear_backward_weight(x: Array, dz: Array, dw: Array, db: Array | None, accumulate: bool = False) -> None:
    """See `Backend.linear_backward_weight`."""
    if accumulate:
        dw += x.T @ dz
    else:
        np.matmul(x.T, dz, out=dw)
    if db is not None:
        store(db, sum_rows(dz), accumulate)


def matmul(a: Array, b: Array, y: Array, transpose_a: bool, transpose_b: bool) -> None:
    """See `Backend.matmul`."""
    np.matmul(a.swapaxes(1, 2) if transpose_a else a, b.swapaxes(1, 2) if transpose_b else b, out=y)


def store(gradient: Array, value: Array, accumulate: bool) -> None:
    """Write a parameter gradient, or add to it."""
    if accumulate:
        gradient += value
    else:
        gradient[...] = value
