"""Matrix products by cuBLAS, through CuPy's binding of it; those of few rows by kernels of their own (gemm.cu).

cupy.matmul would do for the plain product. It cannot add to what is there (gradients that accumulate, a recurrent step
on top of its input projection) and copies operands whose rows are strided (one step of a sequence, one group of a
filter); cuBLAS itself does both, so `gemm` calls it. cuBLAS counts matrices by columns: a C-contiguous matrix is to it
its own transpose, and c = a b is asked for as cᵀ = bᵀ aᵀ.

CuPy (14 and before) refuses every call of cuBLAS while a stream records a CUDA graph, though cuBLAS can be recorded
(its manual, "CUDA Graphs Support"). A product that is refused for that is therefore asked of the library itself, with
CuPy's handle.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from .launch import Kernel, flat

Array = Any

# Rows, and elements of b, up to which our kernels take less time than cuBLAS.
FEW_ROWS, FEW = 32, 1 << 20
_TILE, _TRANSPOSED_TILE = (8, 32), (8, 8)  # rows and columns of a block of theirs
_PARAMETERS = (
    "const REAL* a, const REAL* b, REAL* c, int m, int n, int k, long long lda, long long ldb, long long ldc, bool add"
)
_few = Kernel("gemm", "multiply_few", _PARAMETERS)
_few_transposed = Kernel("gemm", "multiply_few_transposed", _PARAMETERS)

_SCALARS = {np.dtype(t): (np.zeros(1, t), np.ones(1, t)) for t in (np.float32, np.float64)}
# Handle, two operations, m, n, k, alpha, a, lda (stride), b, ldb (stride), beta, c, ldc (stride, batch).
_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
_SIZES = (_POINTER, _INT, _INT, _INT, _INT, _INT)
_GEMM = (*_SIZES, _POINTER, _POINTER, _INT, _POINTER, _INT, _POINTER, _POINTER, _INT)
_BATCHED = (
    *_SIZES, _POINTER, _POINTER, _INT, _LONG, _POINTER, _INT, _LONG, _POINTER, _POINTER, _INT, _LONG, _INT,
)  # fmt: skip
# CuPy's name -> the library's, and its parameters.
_LIBRARY = {
    "sgemm": ("cublasSgemm_v2", _GEMM),
    "dgemm": ("cublasDgemm_v2", _GEMM),
    "sgemmStridedBatched": ("cublasSgemmStridedBatched", _BATCHED),
    "dgemmStridedBatched": ("cublasDgemmStridedBatched", _BATCHED),
}


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
    zero, one = (scalar.ctypes.data for scalar in _SCALARS[c.dtype])
    (op_a, lda), (op_b, ldb), (_, ldc) = _layout(a), _layout(b), _layout(c)
    if c.ndim == 2 and m <= FEW_ROWS and k * n <= FEW and not op_a:
        kernel, (rows, columns) = (_few_transposed, _TRANSPOSED_TILE) if op_b else (_few, _TILE)
        memory = (flat(matrix)[0] for matrix in (a, b, c))
        kernel.blocks((-(-n // columns), -(-m // rows)))(*memory, m, n, k, lda, ldb, ldc, add)
        return
    beta = one if add else zero
    kind = "s" if c.dtype == np.float32 else "d"
    if c.ndim == 2:
        _call(f"{kind}gemm", op_b, op_a, n, m, k, one, b.data.ptr, ldb, a.data.ptr, lda, beta, c.data.ptr, ldc)
        return
    jump_a, jump_b, jump_c = (array.strides[0] // array.itemsize for array in (a, b, c))
    _call(
        f"{kind}gemmStridedBatched", op_b, op_a, n, m, k, one, b.data.ptr, ldb, jump_b, a.data.ptr, lda, jump_a, beta,
        c.data.ptr, ldc, jump_c, c.shape[0],
    )  # fmt: skip


def _layout(matrix: Array) -> tuple[int, int]:
    """How cuBLAS is told of a matrix: CUBLAS_OP_N where the elements of a row lie side by side, CUBLAS_OP_T where those
    of a column do, and the distance from one such line to the next."""
    rows, columns = matrix.shape[-2:]
    down, right = (stride // matrix.itemsize for stride in matrix.strides[-2:])
    if right == 1 or columns == 1:
        return 0, down if rows > 1 else columns
    return 1, right


def _call(name: str, *arguments: int) -> None:
    blas, get_handle = _cublas()
    handle = get_handle()
    try:
        getattr(blas, name)(handle, *arguments)
    except NotImplementedError:
        _call_library(name, handle, *arguments)


def _call_library(name: str, handle: int, *arguments: int) -> None:
    import cupy

    library = _library()
    library.cublasSetStream_v2.argtypes = (_POINTER, _POINTER)
    own_name, types = _LIBRARY[name]
    function = getattr(library, own_name)
    function.argtypes = types
    status = library.cublasSetStream_v2(handle, cupy.cuda.get_current_stream().ptr) or function(handle, *arguments)
    if status:
        raise RuntimeError(f"{own_name}: cuBLAS answers with status {status}")


@cache
def _library() -> ctypes.CDLL:
    blas, _ = _cublas()
    return ctypes.CDLL(blas.__file__)  # looks names up in what the file is linked with, too: cuBLAS


@cache
def _cublas() -> tuple[Any, Any]:
    from cupy.cuda import cublas
    from cupy.cuda.device import get_cublas_handle

    return cublas, get_cublas_handle
