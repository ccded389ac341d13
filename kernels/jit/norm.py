"""Batch and layer normalisation.

Plain version: mean, difference, square, mean again and four more passes to scale, shift and activate. Here batch
statistics take one pass over memory: a block of rows that fits the cache is summed, its mean subtracted and the
squares summed while it is still there, and the blocks' moments are merged in double precision (Chan, Golub & LeVeque
1983), so that nothing cancels where the mean is large. Scale, shift and activation are one more pass. Rows of few
features are walked several at a time, with the per-feature vectors repeated to that width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .activation import CODES, apply_fused
from .reduce import add_wide, fold, lane_width, row_sum
from .threads import absent, elementwise_kernel, reduction_kernel, run, scratch

Array = Any

# NaN and infinity are data in kernels, and the arithmetic on statistics below is no exception.
_quiet = np.errstate(all="ignore")

# Elements in a block of rows: 256 kB of float32, which the second-level cache holds.
_BLOCK = 1 << 16
# Width that per-feature vectors are repeated to.
_TILE = 1024


@elementwise_kernel
def _moments(start, stop, x, step, means, squares, width):
    rows, columns = x.shape
    flat = x.reshape(-1)
    lanes = np.empty(width, x.dtype)
    shift = np.empty(width, x.dtype)
    for k in range(start, stop):
        last = min((k + 1) * step, rows)
        block = flat[k * step * columns : last * columns]
        count = x.dtype.type(last - k * step)
        mean = means[k]
        lanes[:] = x.dtype.type(0)
        add_wide(block, lanes)
        fold(lanes, mean)
        for i in range(columns):
            mean[i] = mean[i] / count
        for s in range(0, width, columns):
            for i in range(columns):
                shift[s + i] = mean[i]
        lanes[:] = x.dtype.type(0)
        for s in range(-(-block.size // width)):
            row = block[s * width :][:width]
            for i in range(row.size):
                d = row[i] - shift[i]
                lanes[i] += d * d
        fold(lanes, squares[k])


@elementwise_kernel
def _normalise(start, stop, x, y, mean, scale, beta, code):
    width = mean.size
    for s in range(start, stop):
        u = x[s * width :][:width]
        v = y[s * width :][:width]
        for i in range(u.size):
            v[i] = (u[i] - mean[i]) * scale[i] + beta[i]
        apply_fused(v, code)


@elementwise_kernel
def _backward_sums(start, stop, dz, x, step, mean, partial, width):
    rows, columns = x.shape
    flat_x = x.reshape(-1)
    flat_dz = dz.reshape(-1)
    plain = np.empty(width, x.dtype)
    product = np.empty(width, x.dtype)
    for k in range(start, stop):
        first = k * step * columns
        last = min((k + 1) * step, rows) * columns
        plain[:] = x.dtype.type(0)
        product[:] = x.dtype.type(0)
        for s in range(first, last, width):
            count = min(width, last - s)
            u = flat_x[s:][:count]
            d = flat_dz[s:][:count]
            for i in range(count):
                plain[i] += d[i]
                product[i] += d[i] * (u[i] - mean[i])
        fold(plain, partial[k, 0])
        fold(product, partial[k, 1])


@elementwise_kernel
def _backward_input(start, stop, dz, x, dx, mean, scale, mean_dz, slope):
    width = mean.size
    for s in range(start, stop):
        u = x[s * width :][:width]
        d = dz[s * width :][:width]
        v = dx[s * width :][:width]
        for i in range(u.size):
            v[i] = scale[i] * (d[i] - mean_dz[i] - (u[i] - mean[i]) * slope[i])


@reduction_kernel
def _layernorm(start, stop, x, gamma, beta, y, mean, inv_std, eps):
    real = x.dtype.type
    count = real(max(x.shape[1], 1))
    for r in range(start, stop):
        u = x[r]
        v = y[r]
        m = row_sum(u) / count
        squares = real(0)
        for i in range(u.size):
            d = u[i] - m
            squares += d * d
        k = real(1) / np.sqrt(squares / count + eps)
        mean[r] = m
        inv_std[r] = k
        if gamma.size:
            for i in range(u.size):
                v[i] = (u[i] - m) * k * gamma[i]
        else:
            for i in range(u.size):
                v[i] = (u[i] - m) * k
        for i in range(beta.size):
            v[i] += beta[i]


@reduction_kernel
def _layernorm_backward(start, stop, dy, x, gamma, mean, inv_std, dx, partial, step):
    real = x.dtype.type
    rows, columns = x.shape
    count = real(max(columns, 1))
    ones = np.full(columns, real(1)) if gamma.size == 0 else gamma
    for block in range(start, stop):
        if partial.size:
            partial[block] = real(0)
        for r in range(block * step, min((block + 1) * step, rows)):
            u = x[r]
            d = dy[r]
            m = mean[r]
            k = inv_std[r]
            if dx.size:
                v = dx[r]
                plain = real(0)
                product = real(0)
                for i in range(columns):
                    g = d[i] * ones[i]
                    plain += g
                    product += g * ((u[i] - m) * k)
                plain /= count
                product /= count
                for i in range(columns):
                    v[i] = k * (d[i] * ones[i] - plain - (u[i] - m) * k * product)
            if partial.size:
                dgamma = partial[block, 0]
                dbeta = partial[block, 1]
                for i in range(columns):
                    dgamma[i] += d[i] * ((u[i] - m) * k)
                    dbeta[i] += d[i]


def _block_rows(columns: int) -> int:
    rows = max(32, _BLOCK // columns)
    unit = lane_width(columns) // columns
    return -(-rows // unit) * unit


def _tiles(columns: int, dtype: np.dtype[Any], *vectors: Array) -> Array:
    """The vectors as rows of one array, each repeated to about _TILE elements."""
    tiles = np.empty((len(vectors), max(1, _TILE // columns), columns), dtype)
    for tile, vector in zip(tiles, vectors, strict=True):
        tile[...] = vector
    return tiles.reshape(len(vectors), -1)


def _apply(x: Array, mean: Array, scale: Array, beta: Array | None, y: Array, activation: str) -> None:
    code = CODES[activation]
    tiles = _tiles(x.shape[1], x.dtype, mean, scale, 0 if beta is None else beta)
    segments = -(-x.size // tiles.shape[1])
    run(_normalise, segments, x.size * (2 if code < 2 else 6), x.reshape(-1), y.reshape(-1), *tiles, code)


@_quiet
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
    rows, columns = x.shape
    if columns == 0:
        return
    step = _block_rows(columns)
    blocks = -(-rows // step)
    moments = scratch("moments", (2, blocks, columns), x.dtype)
    run(_moments, blocks, x.size * 2, x, step, moments[0], moments[1], lane_width(columns))
    counts = np.full((blocks, 1), step, np.float64)
    counts[-1:] = rows - (blocks - 1) * step
    # R ≥ 1 by contract; an empty batch gives zero statistics rather than a division by zero.
    total = max(rows, 1)
    exact_mean = (counts * moments[0]).sum(axis=0) / total
    spread = moments[0] - exact_mean
    var = (moments[1].sum(axis=0, dtype=np.float64) + (counts * spread * spread).sum(axis=0)) / total
    exact_inv_std = 1 / np.sqrt(var + eps)
    mean[...] = exact_mean
    inv_std[...] = exact_inv_std
    running_mean[...] = momentum * running_mean.astype(np.float64) + (1 - momentum) * exact_mean
    running_var[...] = momentum * running_var.astype(np.float64) + (1 - momentum) * var
    _apply(x, mean, exact_inv_std if gamma is None else gamma * exact_inv_std, beta, y, activation)


@_quiet
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
    if x.shape[1] == 0:
        return
    inv_std = 1 / np.sqrt(running_var.astype(np.float64) + eps)
    _apply(x, running_mean, inv_std if gamma is None else gamma * inv_std, beta, y, activation)


@_quiet
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
    rows, columns = x.shape
    if columns == 0:
        return
    step = _block_rows(columns)
    width = lane_width(columns)
    partial = scratch("moments", (-(-rows // step), 2, columns), x.dtype)
    (centre,) = _tiles(columns, x.dtype, mean)
    run(_backward_sums, len(partial), x.size * 2, dz, x, step, centre[:width], partial, width)
    sum_dz, sum_dz_x = partial.sum(axis=0, dtype=np.float64)
    sum_dz_x *= inv_std
    _store(dgamma, sum_dz_x, accumulate)
    _store(dbeta, sum_dz, accumulate)
    if dx is not None:
        total = max(rows, 1)
        tiles = _tiles(
            columns, x.dtype, mean, inv_std if gamma is None else gamma * inv_std, sum_dz / total,
            sum_dz_x * inv_std / total,
        )  # fmt: skip
        segments = -(-x.size // tiles.shape[1])
        run(_backward_input, segments, x.size * 3, dz.reshape(-1), x.reshape(-1), dx.reshape(-1), *tiles)


def layernorm(
    x: Array, gamma: Array | None, beta: Array | None, y: Array, mean: Array, inv_std: Array, eps: float
) -> None:
    none = absent(x.dtype)
    run(
        _layernorm, x.shape[0], x.size * 4, x, none if gamma is None else gamma, none if beta is None else beta,
        y, mean, inv_std, x.dtype.type(eps),
    )  # fmt: skip


@_quiet
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
    rows, columns = x.shape
    none = absent(x.dtype)
    step = max(32, (1 << 13) // max(columns, 1))
    blocks = -(-rows // step)
    wanted = dgamma is not None or dbeta is not None
    partial = scratch("moments", (blocks if wanted else 0, 2, columns), x.dtype)
    run(
        _layernorm_backward, blocks, x.size * 6, dy, x, none if gamma is None else gamma, mean, inv_std,
        none.reshape(0, 0) if dx is None else dx, partial, step,
    )  # fmt: skip
    if wanted:
        sum_dy_x, sum_dy = partial.sum(axis=0, dtype=np.float64)
        _store(dgamma, sum_dy_x, accumulate)
        _store(dbeta, sum_dy, accumulate)


def _store(target: Array | None, value: Array, accumulate: bool) -> None:
    if target is not None:
        target[...] = target + value if accumulate else value
