"""Matrix products and the dense layer made of them.

Plain version: a product, an addition of the bias and an activation, three passes over y and two temporaries. Here sums
start from the bias and are rectified before they leave the registers (see `gemm`); the other activations follow in one
pass over y. Small products are left to NumPy's BLAS, where that keeps to one thread (`is_small`); but not those of many
short rows, whose bias would be a pass of its own (10,000×8×8: 41 µs, in the product 30).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .activation import CODES, apply_fused
from .activation import activation as activate
from .gemm import SMALL_VECTOR, by_numpy, gemm, is_small
from .gemm import matmul as matmul
from .gemm_few import FEW, LARGE, STORED, ZERO, multiply_few_rows_transposed
from .reduce import column_sums
from .threads import absent, elementwise_kernel

Array = Any

# Elements to which short rows are joined.
_WIDTH = 512
# Elements up to which a bias is NumPy's to add.
_SMALL_BIAS = 1 << 13


@elementwise_kernel
def _epilogue(start, stop, y, b, width, code):
    for s in range(start, stop):
        row = y[s * width :][:width]
        for i in range(min(row.size, b.size)):
            row[i] += b[i]
        apply_fused(row, code)


def _small_epilogue(y: Array, b: Array | None, activation: str) -> None:
    if b is not None:
        np.add(y, b, y)
    if activation == "tanh":
        np.tanh(y, y)
    elif activation != "linear":
        activate(y, y, activation, 0.0)


def epilogue(y: Array, b: Array | None, activation: str) -> None:
    """y = activation(y + b) in place; y `[R, C]`."""
    code = CODES[activation]
    if y.size == 0 or (b is None and code == 0):
        return
    if y.size <= _SMALL_BIAS:
        _small_epilogue(y, b, activation)
        return
    rows, columns = y.shape
    # Short rows are walked several at a time, with the bias repeated.
    repeats = min(max(1, _WIDTH // columns), rows)
    width = repeats * columns
    bias = absent(y.dtype) if b is None else np.tile(b, repeats) if repeats > 1 else b
    _epilogue(-(-y.size // width), y.size * (2 if code < 2 else 5), y.ravel(), bias, width, code)


def linear(x: Array, w: Array, b: Array | None, y: Array, activation: str) -> None:
    columns = w.shape[1]
    if columns == 1 and x.size > SMALL_VECTOR:
        if b is not None:
            y[...] = b
        multiply_few_rows_transposed(w.T, x, y.T, ZERO if b is None else STORED)
        epilogue(y, None, activation)
    elif y.size <= _SMALL_BIAS and is_small(*x.shape, columns):
        x.dot(w, y)
        _small_epilogue(y, b, activation)
    else:
        gemm(x, w, y, b, activation == "relu")
        if activation in ("sigmoid", "tanh"):
            epilogue(y, None, activation)


def linear_backward_input(dz: Array, w: Array, dx: Array) -> None:
    rows, depth = dz.shape
    if rows <= FEW and w.size < LARGE:
        multiply_few_rows_transposed(dz, w, dx)
    elif rows > FEW and is_small(rows, depth, len(w), True):
        by_numpy(dz, w.T, dx)
    else:
        gemm(dz, w.T, dx)


def linear_backward_weight(x: Array, dz: Array, dw: Array, db: Array | None, accumulate: bool = False) -> None:
    if not is_small(x.shape[1], *dz.shape):
        gemm(x.T, dz, dw, add=accumulate)
    elif accumulate:
        dw += x.T.dot(dz)
    else:
        by_numpy(x.T, dz, dw)
    if db is not None:
        column_sums(dz, db, accumulate)
