"""Matrix products by cuBLAS, through CuPy's binding of it.

cupy.matmul would do for the plain product. It cannot add to what is there (gradients that accumulate, a recurrent step
on top of its input projection) and copies operands whose rows are strided (one step of a sequence, one group of a
filter); cuBLAS itself does both, so `gemm` calls it. cuBLAS counts matrices by columns: a C-contiguous matrix is to it
its own transpose, and c = a b is asked for as cᵀ = bᵀ aᵀ.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

Array = Any

_SCALARS = {np.dtype(t): (np.zeros(1, t), np.ones(1, t)) for t in (np.float32, np.float64)}


def gemm(a: Array, b: Array, c: Array, add: bool = False) -> None:
    """c = a b, or c += a b.

    Args:
        a: `[M, K]`, b: `[K, N]`, c: `[M, N]`, or stacks of those `[B, …]`; views are welcome as long as the elements of
            each row of c, and of each row or of each column of a and b, lie side by side.
    """
    if c.size == 0:
        return
    m, n = c.shape[-2:]
    k = a.shape[-1]
    if k == 0:
        if not add:
            c.fill(0)
        return
    blas, handle = _cublas()
    zero, one = (scalar.ctypes.data for scalar in _SCALARS[c.dtype])
    (op_a, lda), (op_b, ldb), (_, ldc) = _layout(a), _layout(b), _layout(c)
    beta = one if add else zero
    single = c.dtype == np.float32
    if c.ndim == 2:
        function = blas.sgemm if single else blas.dgemm
        function(handle(), op_b, op_a, n, m, k, one, b.data.ptr, ldb, a.data.ptr, lda, beta, c.data.ptr, ldc)
        return
    function = blas.sgemmStridedBatched if single else blas.dgemmStridedBatched
    jump_a, jump_b, jump_c = (array.strides[0] // array.itemsize for array in (a, b, c))
    function(
        handle(), op_b, op_a, n, m, k, one, b.data.ptr, ldb, jump_b, a.data.ptr, lda, jump_a, beta, c.data.ptr, ldc,
        jump_c, c.shape[0],
    )  # fmt: skip


def _layout(matrix: Array) -> tuple[int, int]:
    """How cuBLAS is told of a matrix: CUBLAS_OP_N where the elements of a row lie side by side, CUBLAS_OP_T where those
    of a column do, and the distance from one such line to the next."""
    rows, columns = matrix.shape[-2:]
    down, right = (stride // matrix.itemsize for stride in matrix.strides[-2:])
    if right == 1 or columns == 1:
        return 0, down if rows > 1 else columns
    return 1, right


@cache
def _cublas() -> tuple[Any, Any]:
    from cupy.cuda import cublas
    from cupy.cuda.device import get_cublas_handle

    return cublas, get_cublas_handle
