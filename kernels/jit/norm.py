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
def _normalise(start, stop, x, y, tiles, code):
    width = tiles.shape[1]
    mean = tiles[0]
    scale = tiles[1]
    beta = tiles[2]
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
    centre = np.empty(width, x.dtype)
    for s in range(0, width, columns):
        centre[s : s + columns] = mean
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
                product[i] += d[i] * (u[i] - centre[i])
        fold(plain, partial[k, 0])
        fold(product, partial[k, 1])


@elementwise_kernel
def _backward_input(start, stop, dz, x, dx, tiles):
    width = tiles.shape[1]
    mean = tiles[0]
    scale = tiles[1]
    mean_dz = tiles[2]
    slope = tiles[3]
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


@elementwise_kernel
def _merge_moments(start, stop, moments, step, rows, momentum, eps, gamma, beta, running_mean, running_var, mean,
                   inv_std, tiles):  # fmt: skip
    """Statistics of columns start … stop from the blocks' means and squares, in double precision."""
    blocks, columns = moments.shape[1], moments.shape[2]
    total = max(rows, 1)
    for i in range(start, stop):
        middle = 0.0
        for k in range(blocks):
            middle += np.float64(moments[0, k, i]) * (min((k + 1) * step, rows) - k * step)
        middle /= total
        squares = 0.0
        for k in range(blocks):
            d = moments[0, k, i] - middle
            squares += moments[1, k, i] + d * d * (min((k + 1) * step, rows) - k * step)
        var = squares / total
        inverse = 1.0 / np.sqrt(var + eps)
        mean[i] = middle
        inv_std[i] = inverse
        running_mean[i] = momentum * np.float64(running_mean[i]) + (1.0 - momentum) * middle
        running_var[i] = momentum * np.float64(running_var[i]) + (1.0 - momentum) * var
        scale = inverse * gamma[i] if gamma.size else inverse
        for s in range(i, tiles.shape[1], columns):
            tiles[0, s] = mean[i]
            tiles[1, s] = scale
            tiles[2, s] = beta[i] if beta.size else beta.dtype.type(0)


@elementwise_kernel
def _lay_out(start, stop, running_mean, running_var, eps, gamma, beta, tiles):
    columns = running_mean.size
    for i in range(start, stop):
        inverse = 1.0 / np.sqrt(running_var[i] + eps)
        scale = inverse * gamma[i] if gamma.size else inverse
        for s in range(i, tiles.shape[1], columns):
            tiles[0, s] = running_mean[i]
            tiles[1, s] = scale
            tiles[2, s] = beta[i] if beta.size else beta.dtype.type(0)


@elementwise_kernel
def _merge_gradients(start, stop, partial, rows, gamma, mean, inv_std, dgamma, dbeta, accumulate, tiles):
    blocks, columns = partial.shape[0], partial.shape[2]
    total = max(rows, 1)
    for i in range(start, stop):
        plain = 0.0
        product = 0.0
        for k in range(blocks):
            plain += partial[k, 0, i]
            product += partial[k, 1, i]
        product *= inv_std[i]
        if dgamma.size:
            dgamma[i] = dgamma[i] + product if accumulate else product
        if dbeta.size:
            dbeta[i] = dbeta[i] + plain if accumulate else plain
        scale = inv_std[i] * gamma[i] if gamma.size else inv_std[i]
        for s in range(i, tiles.shape[1], columns):
            tiles[0, s] = mean[i]
            tiles[1, s] = scale
            tiles[2, s] = plain / total
            tiles[3, s] = product * inv_std[i] / total


def _block_rows(columns: int) -> int:
    rows = max(32, _BLOCK // columns)
    unit = lane_width(columns) // columns
    return -(-rows // unit) * unit


def _tiles(count: int, columns: int, dtype: np.dtype[Any]) -> Array:
    """Room for vectors over the columns, each to be repeated to about _TILE elements."""
    return scratch("tiles", (count, max(1, _TILE // columns) * columns), dtype)


def _apply(x: Array, tiles: Array, y: Array, activation: str) -> None:
    code = CODES[activation]
    segments = -(-x.size // tiles.shape[1])
    run(_normalise, segments, x.size * (2 if code < 2 else 6), x.reshape(-1), y.reshape(-1), tiles, code)


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
    none, tiles = absent(x.dtype), _tiles(3, columns, x.dtype)
    run(
        _merge_moments, columns, columns * blocks, moments, step, rows, float(momentum), float(eps),
        none if gamma is None else gamma, none if beta is None else beta, running_mean, running_var, mean, inv_std,
        tiles,
    )  # fmt: skip
    _apply(x, tiles, y, activation)


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
    none, tiles = absent(x.dtype), _tiles(3, x.shape[1], x.dtype)
    run(
        _lay_out, x.shape[1], tiles.size, running_mean, running_var, float(eps), none if gamma is None else gamma,
        none if beta is None else beta, tiles,
    )  # fmt: skip
    _apply(x, tiles, y, activation)


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
    run(_backward_sums, len(partial), x.size * 2, dz, x, step, mean, partial, width)
    none, tiles = absent(x.dtype), _tiles(4, columns, x.dtype)
    run(
        _merge_gradients, columns, columns * len(partial), partial, rows, none if gamma is None else gamma, mean,
        inv_std, none if dgamma is None else dgamma, none if dbeta is None else dbeta, accumulate, tiles,
    )  # fmt: skip
    if dx is not None:
        segments = -(-x.size // tiles.shape[1])
        run(_backward_input, segments, x.size * 3, dz.reshape(-1), x.reshape(-1), dx.reshape(-1), tiles)


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
