"""Batch and layer normalisation.

Plain version: mean, difference, square, mean again and four more passes to scale, shift and activate. Here batch
statistics take one pass over memory: a block of rows that fits the cache is summed, its mean subtracted and the
squares summed while it is still there, and the blocks' moments are merged in double precision (Chan, Golub & LeVeque
1979), so that nothing cancels where the mean is large. Scale, shift and activation are one more pass. Sums over rows
whose features fill a vector stay in registers (see `lanes`: 187 us for 12544 rows of 64 in one thread, else 414); rows
of fewer are walked several at a time, with the per-feature vectors repeated to that width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reference import norm as reference
from .activation import CODES, SMALL_TANH, apply_fused
from .lanes import (
    BYTES,
    PAST_BYTES,
    address,
    finish_stores,
    load,
    load_some,
    rectified,
    splat,
    store,
    store_past,
    store_some,
    twice,
)
from .reduce import NARROW, add_wide, fold, lane_width, row_sum, sum_rows
from .stream import are_apart, keep, room_for_row, rows_go_past, store_block
from .threads import absent, borrow, elementwise_jit, elementwise_kernel, inline_jit, reduction_kernel, scratch

Array = Any

# NaN and infinity are data in kernels, and the arithmetic on statistics below is no exception.
_quiet = np.errstate(all="ignore")

# Elements in a block of rows: 256 kB of float32, which the second-level cache holds.
_BLOCK = 1 << 16
# Width that per-feature vectors are repeated to.
_TILE = 1024
# Elements up to which NumPy's passes cost less than our calls.
_SMALL = 1 << 9


@inline_jit
def _sum_of_squares(x, step, rows, mean, zero, count):
    even, odd = zero, zero
    end = x + rows * step
    while end - x >= 2 * step:
        d = load_some(x, zero, count) - mean
        e = load_some(x + step, zero, count) - mean
        even = even + d * d
        odd = odd + e * e
        x += 2 * step
    if x < end:
        d = load_some(x, zero, count) - mean
        even = even + d * d
    return even + odd


@elementwise_jit
def _sum_squares(x, first, rows, mean, total):
    """total = the sum of the squares of rows first … of x, less their mean."""
    columns = total.size
    size = total.itemsize
    zero = total.dtype.type(0)
    single, wide = splat(zero, zero), twice(zero)
    step = size * columns
    source, centre, target = address(x) + first * step, address(mean), address(total)
    c = 0
    while columns - c >= len(wide):
        m = load_some(centre + size * c, wide, len(wide))
        store(target + size * c, _sum_of_squares(source + size * c, step, rows, m, wide, len(wide)))
        c += len(wide)
    while c < columns:
        count = min(len(single), columns - c)
        m = load_some(centre + size * c, single, count)
        store_some(target + size * c, _sum_of_squares(source + size * c, step, rows, m, single, count), count)
        c += len(single)


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
        if columns >= NARROW:
            sum_rows(x, k * step, last - k * step, mean)
            for i in range(columns):
                mean[i] = mean[i] / count
            _sum_squares(x, k * step, last - k * step, mean, squares[k])
            continue
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
    zero = y.dtype.type(0)
    for s in range(start, stop):
        u = x[s * width :][:width]
        v = y[s * width :][:width]
        if code == 1:
            for i in range(u.size):
                z = (u[i] - mean[i]) * scale[i] + beta[i]
                v[i] = zero if z <= zero else z
        else:
            for i in range(u.size):
                v[i] = (u[i] - mean[i]) * scale[i] + beta[i]
            apply_fused(v, code)


@inline_jit
def _gradient_sums(dz, x, step, rows, mean, plain, product, zero, count):
    sum0, sum1, product0, product1 = zero, zero, zero, zero
    end = x + rows * step
    while end - x >= 2 * step:
        d = load_some(dz, zero, count)
        e = load_some(dz + step, zero, count)
        sum0 = sum0 + d
        sum1 = sum1 + e
        product0 = product0 + d * (load_some(x, zero, count) - mean)
        product1 = product1 + e * (load_some(x + step, zero, count) - mean)
        x += 2 * step
        dz += 2 * step
    if x < end:
        d = load_some(dz, zero, count)
        sum0 = sum0 + d
        product0 = product0 + d * (load_some(x, zero, count) - mean)
    store_some(plain, sum0 + sum1, count)
    store_some(product, product0 + product1, count)


@elementwise_jit
def _sum_gradients(dz, x, first, rows, mean, plain, product):
    columns = mean.size
    size = x.itemsize
    zero = x.dtype.type(0)
    single, wide = splat(zero, zero), twice(zero)
    step = size * columns
    gradient, source = address(dz) + first * step, address(x) + first * step
    c = 0
    while columns - c >= len(wide):
        _gradient_sums(
            gradient + size * c, source + size * c, step, rows, load_some(address(mean) + size * c, wide, len(wide)),
            address(plain) + size * c, address(product) + size * c, wide, len(wide),
        )  # fmt: skip
        c += len(wide)
    while c < columns:
        count = min(len(single), columns - c)
        _gradient_sums(
            gradient + size * c, source + size * c, step, rows, load_some(address(mean) + size * c, single, count),
            address(plain) + size * c, address(product) + size * c, single, count,
        )  # fmt: skip
        c += len(single)


@elementwise_kernel
def _normalise_past(start, stop, x, y, tiles, rectify):
    # The same for a large y, past the caches; a tile has whole vectors, and y begins at a whole vector's address.
    width = tiles.shape[1]
    size = x.itemsize
    zero = x.dtype.type(0)
    step = size * len(splat(zero, zero))
    mean, scale, beta = address(tiles), address(tiles) + size * width, address(tiles) + 2 * size * width
    for s in range(start, stop):
        source, target = address(x) + size * s * width, address(y) + size * s * width
        end = size * min(width, x.size - s * width)
        at = 0
        while end - at >= step:
            z = (load(source + at, zero) - load(mean + at, zero)) * load(scale + at, zero) + load(beta + at, zero)
            store_past(target + at, rectified(z) if rectify else z)
            at += step
        left = (end - at) // size
        z = load_some(source + at, zero, left) - load_some(mean + at, zero, left)
        z = z * load_some(scale + at, zero, left) + load_some(beta + at, zero, left)
        store_some(target + at, rectified(z) if rectify else z, left)
    finish_stores()


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
        if columns >= NARROW:
            _sum_gradients(dz, x, k * step, min(step, rows - k * step), mean, partial[k, 0], partial[k, 1])
            continue
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
    eps = real(eps)
    count = real(max(x.shape[1], 1))
    past = rows_go_past(y, x.nbytes) and are_apart(y, x)
    room = room_for_row(y, past)
    row = borrow(room)
    flat = y.reshape(-1)
    for r in range(start, stop):
        u = x[r]
        v = row if past else y[r]
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
        if past:
            store_block(row, flat, r * row.size, True)
    finish_stores()
    keep(room)


@reduction_kernel
def _layernorm_backward(start, stop, dy, x, gamma, mean, inv_std, dx, partial, step):
    real = x.dtype.type
    rows, columns = x.shape
    count = real(max(columns, 1))
    ones = np.full(columns, real(1)) if gamma.size == 0 else gamma
    past = rows_go_past(dx, dy.nbytes + x.nbytes) and are_apart(dx, dy) and are_apart(dx, x)
    room = room_for_row(dx, past)
    row = borrow(room)
    flat = dx.reshape(-1)
    for block in range(start, stop):
        if partial.size:
            partial[block] = real(0)
        for r in range(block * step, min((block + 1) * step, rows)):
            u = x[r]
            d = dy[r]
            m = mean[r]
            k = inv_std[r]
            if dx.size:
                v = row if past else dx[r]
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
                if past:
                    store_block(row, flat, r * columns, True)
            if partial.size:
                dgamma = partial[block, 0]
                dbeta = partial[block, 1]
                for i in range(columns):
                    dgamma[i] += d[i] * ((u[i] - m) * k)
                    dbeta[i] += d[i]
    finish_stores()
    keep(room)


# Below, columns start … stop are worked on in short loops over two or three arrays each, which LLVM vectorises; where
# there are more it does not look whether they overlap.


@elementwise_jit
def _repeat(tile, columns, start, stop):
    """Copy columns start … stop to where the tile repeats them."""
    for s in range(columns, tile.size, columns):
        for i in range(start, stop):
            tile[s + i] = tile[i]


@elementwise_jit
def _inverse_roots(variances, eps):
    """1 / √(v + eps) in place."""
    for i in range(variances.size):
        variances[i] = 1.0 / np.sqrt(variances[i] + eps)


@elementwise_jit
def _fill_tiles(start, stop, columns, mean, inverse, gamma, beta, tiles):
    """What `_normalise` takes, of mean and 1 / standard deviation, both of columns start … stop."""
    means, scales, shifts = tiles[0], tiles[1], tiles[2]
    for i in range(start, stop):
        means[i] = mean[i - start]
    for i in range(start, stop):
        scales[i] = inverse[i - start]
    if gamma.size:
        for i in range(start, stop):
            scales[i] = inverse[i - start] * gamma[i]
    shifts[start:stop] = tiles.dtype.type(0)
    for i in range(start, min(stop, beta.size)):
        shifts[i] = beta[i]
    _repeat(means, columns, start, stop)
    _repeat(scales, columns, start, stop)
    _repeat(shifts, columns, start, stop)


@elementwise_jit
def _blend(running, momentum, now, start):
    for i in range(now.size):
        running[start + i] = momentum * np.float64(running[start + i]) + (1.0 - momentum) * now[i]


@elementwise_kernel
def _merge_moments(start, stop, moments, step, rows, momentum, eps, gamma, beta, running_mean, running_var, mean,
                   inv_std, tiles):  # fmt: skip
    """Statistics of columns start … stop from the blocks' means and squares, in double precision."""
    blocks, columns = moments.shape[1], moments.shape[2]
    total = np.float64(rows)
    middle = np.zeros(stop - start)
    var = np.zeros(stop - start)
    for k in range(blocks):
        weight = np.float64(min((k + 1) * step, rows) - k * step) / total
        part = moments[0, k, start:stop]
        for i in range(part.size):
            middle[i] += np.float64(part[i]) * weight
    for k in range(blocks):
        weight = np.float64(min((k + 1) * step, rows) - k * step)
        part = moments[0, k, start:stop]
        squares = moments[1, k, start:stop]
        for i in range(part.size):
            d = part[i] - middle[i]
            var[i] += (squares[i] + d * d * weight) / total
    _blend(running_mean, momentum, middle, start)
    _blend(running_var, momentum, var, start)
    _inverse_roots(var, eps)
    for i in range(middle.size):
        mean[start + i] = middle[i]
    for i in range(var.size):
        inv_std[start + i] = var[i]
    _fill_tiles(start, stop, columns, middle, var, gamma, beta, tiles)


@elementwise_kernel
def _lay_out(start, stop, running_mean, running_var, eps, gamma, beta, tiles):
    inverse = np.empty(stop - start)
    for i in range(inverse.size):
        inverse[i] = running_var[start + i]
    _inverse_roots(inverse, eps)
    _fill_tiles(start, stop, running_mean.size, running_mean[start:stop], inverse, gamma, beta, tiles)


@elementwise_kernel
def _merge_gradients(start, stop, partial, rows, gamma, mean, inv_std, dgamma, dbeta, accumulate, tiles):
    blocks, columns = partial.shape[0], partial.shape[2]
    total = np.float64(max(rows, 1))
    plain = np.zeros(stop - start)
    product = np.zeros(stop - start)
    for k in range(blocks):
        part = partial[k, 0, start:stop]
        for i in range(part.size):
            plain[i] += part[i]
        part = partial[k, 1, start:stop]
        for i in range(part.size):
            product[i] += part[i]
    means, scales, mean_dz, slopes = tiles[0], tiles[1], tiles[2], tiles[3]
    for i in range(product.size):
        product[i] *= inv_std[start + i]
    for i in range(start, min(stop, dgamma.size)):
        dgamma[i] = (dgamma[i] if accumulate else dgamma.dtype.type(0)) + product[i - start]
    for i in range(start, min(stop, dbeta.size)):
        dbeta[i] = (dbeta[i] if accumulate else dbeta.dtype.type(0)) + plain[i - start]
    for i in range(start, stop):
        means[i] = mean[i]
    for i in range(start, stop):
        scales[i] = inv_std[i]
    for i in range(start, min(stop, gamma.size)):
        scales[i] = inv_std[i] * gamma[i]
    for i in range(start, stop):
        mean_dz[i] = plain[i - start] / total
    for i in range(start, stop):
        slopes[i] = product[i - start] * inv_std[i] / total
    for tile in (means, scales, mean_dz, slopes):
        _repeat(tile, columns, start, stop)


def _block_rows(columns: int) -> int:
    rows = max(32, _BLOCK // columns)
    unit = lane_width(columns) // columns
    return -(-rows // unit) * unit


def _tiles(count: int, columns: int, dtype: np.dtype[Any]) -> Array:
    """Room for vectors over the columns, each to be repeated to about _TILE elements."""
    return scratch("tiles", (count, max(1, _TILE // columns) * columns), dtype)


def _goes_past(x: Array, y: Array, tiles: Array) -> bool:
    """Whether y goes past the caches: it is large, made of whole vectors, and none that has just been read."""
    if x.nbytes + y.nbytes < PAST_BYTES or np.may_share_memory(x, y):
        return False
    return tiles.shape[1] * y.itemsize % BYTES == 0 and y.ctypes.data % BYTES == 0


def _apply(x: Array, tiles: Array, y: Array, activation: str) -> None:
    if activation == "tanh" and x.size <= SMALL_TANH:  # NumPy's, as in `activation`: fused or not, the same bits
        _apply(x, tiles, y, "linear")
        np.tanh(y, y)
        return
    code = CODES[activation]
    segments = -(-x.size // tiles.shape[1])
    if code < 2 and _goes_past(x, y, tiles):
        _normalise_past(segments, x.size * 2, x.ravel(), y.ravel(), tiles, code == 1)
        return
    _normalise(segments, x.size * (2 if code < 2 else 6), x.ravel(), y.ravel(), tiles, code)


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
    if x.size == 0:  # no rows have no statistics, and leave the running ones alone
        mean[...] = inv_std[...] = 0
        return
    step = _block_rows(columns)
    blocks = -(-rows // step)
    moments = scratch("moments", (2, blocks, columns), x.dtype)
    _moments(blocks, x.size * 2, x, step, moments[0], moments[1], lane_width(columns))
    none, tiles = absent(x.dtype), _tiles(3, columns, x.dtype)
    _merge_moments(
        columns, columns * blocks, moments, step, rows, float(momentum), float(eps),
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
    if x.size <= _SMALL:
        reference.batchnorm_inference(x, gamma, beta, running_mean, running_var, y, eps, activation)
        return
    none, tiles = absent(x.dtype), _tiles(3, x.shape[1], x.dtype)
    _lay_out(
        x.shape[1], tiles.size, running_mean, running_var, float(eps), none if gamma is None else gamma,
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
    _backward_sums(len(partial), x.size * 2, dz, x, step, mean, partial, width)
    none, tiles = absent(x.dtype), _tiles(4, columns, x.dtype)
    _merge_gradients(
        columns, columns * len(partial), partial, rows, none if gamma is None else gamma, mean,
        inv_std, none if dgamma is None else dgamma, none if dbeta is None else dbeta, accumulate, tiles,
    )  # fmt: skip
    if dx is not None:
        segments = -(-x.size // tiles.shape[1])
        _backward_input(segments, x.size * 3, dz.ravel(), x.ravel(), dx.ravel(), tiles)


def layernorm(
    x: Array, gamma: Array | None, beta: Array | None, y: Array, mean: Array, inv_std: Array, eps: float
) -> None:
    none = absent(x.dtype)
    _layernorm(
        x.shape[0], x.size * 4, x, none if gamma is None else gamma, none if beta is None else beta,
        y, mean, inv_std, float(eps),
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
    _layernorm_backward(
        blocks, x.size * 6, dy, x, none if gamma is None else gamma, mean, inv_std,
        none.reshape(0, 0) if dx is None else dx, partial, step,
    )  # fmt: skip
    if wanted:
        sum_dy_x, sum_dy = partial.sum(axis=0, dtype=np.float64)
        _store(dgamma, sum_dy_x, accumulate)
        _store(dbeta, sum_dy, accumulate)


def _store(target: Array | None, value: Array, accumulate: bool) -> None:
    if target is not None:
        target[...] = target + value if accumulate else value
