"""Matrix products and the dense layer made of them: cuBLAS, then one pass for bias and activation."""

from __future__ import annotations

from typing import Any

from .gemm import gemm
from .launch import BLOCK, FUSED, Kernel
from .scratch import scratch

Array = Any

BLOCKS = 1024  # enough to fill any GPU a few times over
ROWS = 16  # fewer for a thread to add up are not worth another block
SECTOR = 8  # the fewest neighbouring numbers worth reading: 32 bytes of float32

_bias_activation = Kernel(
    "linear", "bias_activation", "REAL* y, const REAL* bias, long long n, int columns, int activation"
)
_column_sums = Kernel(
    "linear",
    "column_sums",
    "const REAL* x, REAL* y, long long rows, int columns, int width, long long slab, bool accumulate",
)


def linear(x: Array, w: Array, b: Array | None, y: Array, activation: str) -> None:
    """See `Backend.linear`."""
    gemm(x, w, y)
    epilogue(y, b, activation)


def linear_backward_input(dz: Array, w: Array, dx: Array) -> None:
    """See `Backend.linear_backward_input`."""
    gemm(dz, w.T, dx)


def linear_backward_weight(x: Array, dz: Array, dw: Array, db: Array | None, accumulate: bool = False) -> None:
    """See `Backend.linear_backward_weight`."""
    gemm(x.T, dz, dw, accumulate)
    if db is not None:
        column_sums(dz, db, accumulate)


def matmul(a: Array, b: Array, y: Array, transpose_a: bool, transpose_b: bool) -> None:
    """See `Backend.matmul`."""
    gemm(a.swapaxes(1, 2) if transpose_a else a, b.swapaxes(1, 2) if transpose_b else b, y)


def epilogue(y: Array, b: Array | None, activation: str) -> None:
    """y = activation(y + b) in place; b belongs to the last axis of y."""
    if b is not None or activation != "linear":
        _bias_activation(y.size, y, b, y.size, y.shape[-1], FUSED[activation])


def column_sums(x: Array, y: Array, accumulate: bool) -> None:
    """y = sums over the rows of x `[R, C]`, or y += those."""
    rows, columns = x.shape
    stripes, width, slabs, slab = cut(rows, columns)
    if slabs == 1:
        _column_sums.blocks(stripes)(x, y, rows, columns, width, slab, accumulate)
        return
    parts = scratch(x, slabs, columns)
    _column_sums.blocks((stripes, slabs))(x, parts, rows, columns, width, slab, False)
    add_slabs(parts, y, accumulate)


def add_slabs(parts: Array, y: Array, accumulate: bool) -> None:
    """y = sums over the rows of what slabs left, `[slabs, C]`, or y += those: narrow stripes, so that few columns too
    are shared out among blocks."""
    slabs, columns = parts.shape
    width = min(columns, SECTOR)
    _column_sums.blocks(-(-columns // width) if columns else 0)(parts, y, slabs, columns, width, slabs, accumulate)


def cut(rows: int, columns: int, copies: int = 1) -> tuple[int, int, int, int]:
    """How a sum over the rows of a matrix is cut into blocks: stripes, columns of each, slabs, rows of each.

    Few columns are one stripe, of which a block meets several rows at once; many are cut into those of a warp. There
    are as many slabs as leave every thread some rows to add up, up to BLOCKS blocks. copies: how many such sums one
    launch makes.
    """
    width = columns if 0 < columns <= 64 else 32
    stripes = -(-columns // width)
    met = BLOCK // width
    slabs = max(1, min(-(-rows // (ROWS * met)), BLOCKS // max(stripes * copies, 1)))
    slab = max(1, -(-rows // slabs))
    return stripes, width, max(1, -(-rows // slab)), slab
