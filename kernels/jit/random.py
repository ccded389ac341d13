"""Random fills and dropout: Philox 4x32-10 (Salmon et al. 2011), the same bits as every other engine.

Plain version: ten rounds as NumPy expressions, forty passes over arrays of 64-bit words. Here a vector holds one word
of as many blocks as it has lanes of 64 bits, four such vectors go through the rounds side by side, since each round
waits for the one before, and what is drawn is made of their words while they are in registers, so that memory works
meanwhile. With words in buffers of 1024 and a second loop over them dropout took 1.5 times as long on arrays in the
caches, 2.1 times on larger ones. A counter-based generator needs no state, so that pieces run on all cores and give the
same bits.
"""

# An intrinsic is called without its first parameter, the typing context.
# mypy: disable-error-code="call-arg"

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .lanes import (
    BYTES,
    Lanes,
    address,
    as_reals,
    at_least,
    choose,
    finish_stores,
    goes_past,
    load,
    splat,
    spread,
    store,
    store_past,
)
from .scalar import log, quarter_wave
from .stream import BLOCK, new_block
from .threads import elementwise_jit, elementwise_kernel, strict_kernel

Array = Any

_ROUNDS = 10
_BLOCKS = 4 * BYTES // 8
_STEP = 4 * _BLOCKS  # words at a time
assert _STEP <= BLOCK  # a last step that is not whole goes through a block


@intrinsic
def _philox(typing, block, seed):
    """The first 24 bits of _STEP words, from a block on, of which each holds four.

    All arithmetic is in 64 bits. Factors are cut to their low halves, which a vector's product of 32 bits does by
    itself; what stands in the high halves of the rest never comes down.
    """
    to = Lanes(types.int32, _STEP)

    def code(context, builder, signature, arguments):
        word, wide = ir.IntType(64), ir.VectorType(ir.IntType(64), _BLOCKS)
        low, half, m0, m1, c2 = (
            ir.Constant(wide, [value] * _BLOCKS) for value in (0xFFFFFFFF, 32, 0xD2511F53, 0xCD9E8D57, 0)
        )
        block, k0 = arguments
        k1 = builder.lshr(k0, word(32))
        c0 = builder.add(spread(builder, block, _BLOCKS), ir.Constant(wide, [*range(_BLOCKS)]))
        c1, c3 = builder.lshr(c0, half), c2
        for _ in range(_ROUNDS):
            p0 = builder.mul(m0, builder.and_(c0, low))
            p1 = builder.mul(m1, builder.and_(c2, low))
            c0 = builder.xor(builder.xor(builder.lshr(p1, half), c1), spread(builder, k0, _BLOCKS))
            c2 = builder.xor(builder.xor(builder.lshr(p0, half), c3), spread(builder, k1, _BLOCKS))
            c1, c3 = p1, p0
            k0, k1 = builder.add(k0, word(0x9E3779B9)), builder.add(k1, word(0xBB67AE85))
        pairs = [builder.or_(builder.and_(a, low), builder.shl(b, half)) for a, b in ((c0, c1), (c2, c3))]
        order = [i + j * _BLOCKS for i in range(_BLOCKS) for j in range(2)]
        words = builder.shuffle_vector(*pairs, ir.Constant(ir.VectorType(ir.IntType(32), 2 * _BLOCKS), order))
        whole = context.get_value_type(to)
        return builder.lshr(builder.bitcast(words, whole), ir.Constant(whole, [8] * _STEP))

    return to(types.uint64, types.uint64), code


@elementwise_jit
def _unit(bits, real):
    return real(bits) * real(2.0**-24)


@strict_kernel
def _uniform(start, stop, y, low, span, seed, offset, past):
    real = y.dtype.type
    rest = new_block(y)
    for s in range(start, stop):
        first = s * _STEP
        whole = first + _STEP <= y.size
        here = _philox(offset + np.uint64(s * _BLOCKS), seed)
        unit = as_reals(here, real(0)) * splat(real(2.0**-24), here)
        drawn = splat(real(low), here) + splat(real(span), here) * unit
        if whole and past:
            store_past(address(y) + y.itemsize * first, drawn)
        elif whole:
            store(address(y) + y.itemsize * first, drawn)
        else:
            store(address(rest), drawn)
            for i in range(y.size - first):
                y[first + i] = rest[i]
    finish_stores()


@elementwise_kernel
def _normal(start, stop, y, mean, stddev, seed, offset):
    real = y.dtype.type
    mean, stddev = real(mean), real(stddev)
    bits = np.empty(_STEP, np.int32)
    even, odd = np.empty(_STEP // 2, y.dtype), np.empty(_STEP // 2, y.dtype)
    for s in range(start, stop):
        store(address(bits), _philox(offset + np.uint64(s * _BLOCKS), seed))
        _box_muller(bits, even, odd)
        z = y[s * _STEP :][:_STEP]
        for i in range(z.size // 2):
            z[2 * i] = mean + stddev * even[i]
            z[2 * i + 1] = mean + stddev * odd[i]
        if z.size % 2:
            z[z.size - 1] = mean + stddev * even[z.size // 2]


@elementwise_jit
def _box_muller(bits, even, odd):
    """Two normal numbers of each two of 24 bits."""
    real = even.dtype.type
    for i in range(even.size):
        radius = np.sqrt(real(-2) * log(_unit(bits[2 * i], real) + real(2.0**-24)))
        # The angle in quarter turns is exact, and so is what remains after the nearest whole number of them.
        turns = real(4) * _unit(bits[2 * i + 1], real)
        quadrant = np.int32(turns + real(0.5))
        angle = (turns - real(quadrant)) * real(math.pi / 2)
        even[i] = radius * quarter_wave(angle, quadrant + np.int32(1))
        odd[i] = radius * quarter_wave(angle, quadrant)


@elementwise_kernel
def _dropout(start, stop, x, y, threshold, kept, seed, offset, past):
    real = x.dtype.type
    rest = new_block(x)
    for s in range(start, stop):
        first = s * _STEP
        whole = first + _STEP <= x.size
        if not whole:
            for i in range(x.size - first):
                rest[i] = x[first + i]
        here = _philox(offset + np.uint64(s * _BLOCKS), seed)
        dropped = splat(real(0), here)
        survivors = load(address(x) + x.itemsize * first if whole else address(rest), dropped) / splat(real(kept), here)
        result = choose(at_least(here, splat(np.int32(threshold), here)), survivors, dropped)
        if whole and past:
            store_past(address(y) + x.itemsize * first, result)
        elif whole:
            store(address(y) + x.itemsize * first, result)
        else:
            store(address(rest), result)
            for i in range(x.size - first):
                y[first + i] = rest[i]
    finish_stores()


def _steps(size: int) -> int:
    return -(-size // _STEP)


def _counter(seed: int, offset: int) -> tuple[np.uint64, np.uint64]:
    return np.uint64(seed % 2**64), np.uint64(offset % 2**64)


def random_uniform(y: Array, low: float, high: float, seed: int, offset: int) -> None:
    _uniform(
        _steps(y.size), y.size * 6,
        y.ravel(), float(low), float(high - low), *_counter(seed, offset), goes_past(y),
    )  # fmt: skip


def random_normal(y: Array, mean: float, stddev: float, seed: int, offset: int) -> None:
    _normal(
        _steps(y.size), y.size * 12,
        y.ravel(), float(mean), float(stddev), *_counter(seed, offset),
    )  # fmt: skip


def dropout(x: Array, y: Array, rate: float, seed: int, offset: int) -> None:
    threshold = math.ceil(rate * 2**24)
    past = x is not y and goes_past(y, x)
    _dropout(
        _steps(x.size), x.size * 6,
        x.ravel(), y.ravel(), threshold, float(1 - rate), *_counter(seed, offset), past,
    )  # fmt: skip
