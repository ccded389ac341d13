"""Matrix products and the dense layer made of them.

Plain version: a product, an addition of the bias and an activation, three passes over y and two temporaries. Here the
product is the BLAS's, called through NumPy with transposed operands as views and straight into y; bias and activation
follow in one pass over y's rows. Products are called outside of `run` only, because the BLAS has threads of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .activation import CODES, apply_fused
from .reduce import column_sums
from .threads import absent, elementwise_jit, run

Array = Any

# Elements to which short rows are joined.
_WIDTH = 512


def gemm(a: Array, b: Array, y: Array) -> None:
    """y = a b; a and b `[.., ..]` contiguous or transposes of contiguous arrays, y C-contiguous."""
    # NaN and infinity are data here, as in every kernel, and no reason for a warning.
    with np.errstate(all="ignore"):
        np.matmul(a, b, out=y)


@elementwise_jit
def _epilogue(start, stop, y, b, width, code):
    for s in range(start, stop):
        row = y[s * width :][:width]
        for i in range(min(row.size, b.size)):
            row[i] += b[i]
        apply_fused(row, code)


def epilogue(y: Array, b: Array | None, activation: str) -> None:
    """y = activation(y + b) in place; y `[R, C]`."""
    code = CODES[activation]
    if y.size == 0 or (b is None and code == 0):
        return
    rows, columns = y.shape
    # Short rows are walked several at a time, with the bias repeated.
    repeats = min(max(1, _WIDTH // columns), rows)
    width = repeats * columns
    bias = absent(y.dtype) if b is None else np.tile(b, repeats) if repeats > 1 else b
    run(_epilogue, -(-y.size // width), y.size * (2 if code < 2 else 5), y.reshape(-1), bias, width, code)


def linear(x: Array, w: Array, b: Array | None, y: Array, activation: str) -> None:
    gemm(x, w, y)
    epilogue(y, b, activation)


def linear_backward_input(dz: Array, w: Array, dx: Array) -> None:
    gemm(dz, w.T, dx)


def linear_backward_weight(x: Array, dz: Array, dw: Array, db: Array | None, accumulate: bool = False) -> None:
    if accumulate:
        product = np.empty_like(dw)
        gemm(x.T, dz, product)
        np.add(dw, product, out=dw)
    else:
        gemm(x.T, dz, dw)
    if db is not None:
        column_sums(dz, db, accumulate)


def matmul(a: Array, b: Array, y: Array, transpose_a: bool, transpose_b: bool) -> None:
    gemm(a.swapaxes(1, 2) if transpose_a else a, b.swapaxes(1, 2) if transpose_b else b, y)
