"""Matrix products and the dense layer made of them.

Plain version: a product, an addition of the bias and an activation, three passes over y and two temporaries. Here sums
start from the bias and are rectified before they leave the registers (see `gemm`); the other activations follow in one
pass over y.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reference import linear as reference
from .activation import CODES, apply_fused
from .gemm import SMALL, batched, gemm
from .reduce import column_sums
from .threads import absent, elementwise_kernel, run

Array = Any

# Elements to which short rows are joined.
_WIDTH = 512
# Multiplications of a matrix with a vector up to which NumPy's call costs less than ours.
_SMALL_VECTOR = 1 << 13


@elementwise_kernel
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


def _is_small(rows: int, depth: int, columns: int) -> bool:
    # The BLAS gives a product with a vector to several threads much earlier than others.
    return rows * depth * columns <= (SMALL if rows > 1 and columns > 1 else _SMALL_VECTOR)


def linear(x: Array, w: Array, b: Array | None, y: Array, activation: str) -> None:
    if _is_small(len(x), *w.shape):
        reference.linear(x, w, b, y, activation)
        return
    gemm(x, w, y, b, activation == "relu")
    if activation in ("sigmoid", "tanh"):
        epilogue(y, None, activation)


def linear_backward_input(dz: Array, w: Array, dx: Array) -> None:
    if _is_small(len(dz), *w.shape):
        np.matmul(dz, w.T, out=dx)
        return
    gemm(dz, w.T, dx)


def linear_backward_weight(x: Array, dz: Array, dw: Array, db: Array | None, accumulate: bool = False) -> None:
    if _is_small(len(x), *dw.shape):
        reference.linear_backward_weight(x, dz, dw, db, accumulate)
        return
    gemm(x.T, dz, dw, add=accumulate)
    if db is not None:
        column_sums(dz, db, accumulate)


def matmul(a: Array, b: Array, y: Array, transpose_a: bool, transpose_b: bool) -> None:
    batched(a, b, y, transpose_a, transpose_b)
