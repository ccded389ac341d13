"""Batch normalisation in two readings of x, layer normalisation a block per row."""

from __future__ import annotations

from typing import Any

from .launch import BLOCK, FUSED, Kernel
from .linear import SECTOR, cut
from .scratch import scratch

Array = Any

_moments = Kernel(
    "norm", "moments", "const REAL* x, REAL* parts, long long rows, int columns, int width, long long slab"
)
_batchnorm_statistics = Kernel(
    "norm",
    "batchnorm_statistics",
    "const REAL* x, const REAL* parts, REAL* running_mean, REAL* running_var, REAL* mean, REAL* inv_std, "
    "long long rows, int columns, int width, int slabs, long long slab, REAL momentum, REAL eps",
)
_batchnorm_apply = Kernel(
    "norm",
    "batchnorm_apply",
    "const REAL* x, const REAL* gamma, const REAL* beta, const REAL* mean, const REAL* inv_std, REAL* y, long long n, "
    "int columns, int activation",
)
_batchnorm_infer = Kernel(
    "norm",
    "batchnorm_infer",
    "const REAL* x, const REAL* gamma, const REAL* beta, const REAL* mean, const REAL* var, REAL* y, long long n, "
    "int columns, REAL eps, int activation",
)
_gradient_sums = Kernel(
    "norm",
    "gradient_sums",
    "const REAL* dz, const REAL* x, const REAL* mean, const REAL* inv_std, REAL* parts, long long rows, int columns, "
    "int width, long long slab, bool per_row",
)
_gradient_totals = Kernel(
    "norm",
    "gradient_totals",
    "const REAL* parts, REAL* sums, REAL* dgamma, REAL* dbeta, int columns, int width, int slabs, bool accumulate",
)
_batchnorm_backward_apply = Kernel(
    "norm",
    "batchnorm_backward_apply",
    "const REAL* dz, const REAL* x, const REAL* gamma, const REAL* mean, const REAL* inv_std, const REAL* sums, "
    "REAL* dx, long long n, long long rows, int columns",
)
_layernorm_row = Kernel(
    "norm",
    "layernorm_row",
    "const REAL* x, const REAL* gamma, const REAL* beta, REAL* y, REAL* mean, REAL* inv_std, int columns, REAL eps",
)
_layernorm_backward_row = Kernel(
    "norm",
    "layernorm_backward_row",
    "const REAL* dy, const REAL* x, const REAL* gamma, const REAL* mean, const REAL* inv_std, REAL* dx, int columns",
)


def batchnorm(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array,
    running_var: Array,
    y: Array,
    mean: Array,
    inv_std: Array,
    momentum: float,
    eps: float,
    activation: str,
) -> None:
    """See `Backend.batchnorm`."""
    rows, columns = x.shape
    if rows == 0:  # no rows have no statistics, and leave the running ones alone
        mean.fill(0)
        inv_std.fill(0)
        return
    stripes, width, slabs, slab = cut(rows, columns)
    parts = scratch(x, slabs, 2, columns)
    _moments.blocks((stripes, slabs))(x, parts, rows, columns, width, slab)
    stripes, width = _narrow(columns)
    _batchnorm_statistics.blocks(stripes)(
        x, parts, running_mean, running_var, mean, inv_std, rows, columns, width, slabs, slab, momentum, eps
    )
    _batchnorm_apply(x.size, x, gamma, beta, mean, inv_std, y, x.size, columns, FUSED[activation])


def batchnorm_inference(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array,
    running_var: Array,
    y: Array,
    eps: float,
    activation: str,
) -> None:
    """See `Backend.batchnorm_inference`."""
    _batchnorm_infer(x.size, x, gamma, beta, running_mean, running_var, y, x.size, x.shape[1], eps, FUSED[activation])


def batchnorm_backward(
    dz: Array,
    x: Array,
    gamma: Array | None,
    mean: Array,
    inv_std: Array,
    dx: Array | None,
    dgamma: Array | None,
    dbeta: Array | None,
    accumulate: bool = False,
) -> None:
    """See `Backend.batchnorm_backward`."""
    sums = _gradients(dz, x, mean, inv_std, dgamma, dbeta, accumulate, per_row=False)
    if dx is not None:
        rows, columns = x.shape
        _batchnorm_backward_apply(x.size, dz, x, gamma, mean, inv_std, sums, dx, x.size, rows, columns)


def layernorm(
    x: Array, gamma: Array | None, beta: Array | None, y: Array, mean: Array, inv_std: Array, eps: float
) -> None:
    """See `Backend.layernorm`."""
    rows, columns = x.shape
    _layernorm_row.blocks(rows, _warps(columns))(x, gamma, beta, y, mean, inv_std, columns, eps)


def layernorm_backward(
    dy: Array,
    x: Array,
    gamma: Array | None,
    mean: Array,
    inv_std: Array,
    dx: Array | None,
    dgamma: Array | None,
    dbeta: Array | None,
    accumulate: bool = False,
) -> None:
    """See `Backend.layernorm_backward`."""
    if dgamma is not None or dbeta is not None:
        _gradients(dy, x, mean, inv_std, dgamma, dbeta, accumulate, per_row=True)
    if dx is not None:
        rows, columns = x.shape
        _layernorm_backward_row.blocks(rows, _warps(columns))(dy, x, gamma, mean, inv_std, dx, columns)


def _gradients(
    dz: Array,
    x: Array,
    mean: Array,
    inv_std: Array,
    dgamma: Array | None,
    dbeta: Array | None,
    accumulate: bool,
    per_row: bool,
) -> Array:
    """dgamma and dbeta; returns the sums of this call alone, `[2, C]`."""
    rows, columns = x.shape
    stripes, width, slabs, slab = cut(rows, columns)
    parts, sums = scratch(x, slabs, 2, columns), scratch(x, 2, columns)
    _gradient_sums.blocks((stripes, slabs))(dz, x, mean, inv_std, parts, rows, columns, width, slab, per_row)
    stripes, width = _narrow(columns)
    _gradient_totals.blocks(stripes)(parts, sums, dgamma, dbeta, columns, width, slabs, accumulate)
    return sums


def _narrow(columns: int) -> tuple[int, int]:
    """Stripes, and columns of each, for joining slabs: few columns too are shared out among blocks."""
    width = max(1, min(columns, SECTOR))
    return -(-columns // width), width


def _warps(columns: int) -> int:
    """Threads of a block that works on one row: whole warps, no more than the row can use."""
    return min(BLOCK, max(1, -(-columns // 32)) * 32)
