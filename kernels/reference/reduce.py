"""Reductions over one axis.

NumPy adds pairwise along a contiguous axis but one after the other along any other, where float32 loses a digit for
every hundredfold length. So `sum_middle` adds blocks of 64, then the blocks' sums, and so on; the other families use
it for their sums over rows too.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

_BLOCK = 64


def sum_middle(x: Array) -> Array:
    """Sum of x `[A, R, B]` over the middle axis, `[A, B]`, with an error that grows with log R only."""
    while x.shape[1] > _BLOCK:
        a, r, b = x.shape
        whole = r // _BLOCK * _BLOCK
        blocks = x[:, :whole].reshape(a, whole // _BLOCK, _BLOCK, b).sum(axis=2)
        x = blocks if whole == r else np.concatenate([blocks, x[:, whole:].sum(axis=1, keepdims=True)], axis=1)
    return x.sum(axis=1)


def sum_rows(x: Array) -> Array:
    """Column sums of x `[R, C]`, `[C]`."""
    return sum_middle(x[None])[0]


def reduce(x: Array, y: Array, op: str) -> None:
    """See `Backend.reduce`."""
    if op == "sum":
        y[...] = sum_middle(x)
    elif op == "mean":
        y[...] = sum_middle(x) / max(x.shape[1], 1)
    elif op == "max":
        np.maximum.reduce(x, axis=1, out=y)
    elif op == "min":
        np.minimum.reduce(x, axis=1, out=y)
    else:
        raise ValueError(f"op: unknown reduction {op!r}")


def argmax(x: Array, y: Array) -> None:
    """See `Backend.argmax`."""
    if y.size:
        y[...] = x.argmax(axis=1)
