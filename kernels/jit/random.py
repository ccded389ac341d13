"""Random fills and dropout: Philox 4x32-10 (Salmon et al. 2011), the same bits as every other engine.

Plain version: ten rounds as NumPy expressions, forty passes over arrays of 64-bit words. Here a stretch of blocks is
generated into a buffer in the first-level cache by one vectorised loop (four words per block, each to an array of its
own) and turned into numbers at once. A counter-based generator needs no state, so that pieces run on all cores and
give the same bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .lanes import (
    address,
    at_least,
    choose,
    finish_stores,
    goes_past,
    load_places,
    load_some,
    splat,
    store_past,
    store_some,
)
from .scalar import log, quarter_wave
from .threads import elementwise_jit, elementwise_kernel, strict_kernel

Array = Any

# Blocks generated at a time: 4 words each. A few kB in all, so that memory has not long to wait for the next pass over
# what they become: with 1024 dropout took 1.3 to 1.9 times as long on large arrays.
_STRETCH = 256


@elementwise_jit
def _philox(first, seed, words):
    """words[j, i] = word j of block first + i.

    All arithmetic is in 64 bits. Factors are cut to their low halves, which a vector's product of 32 bits does by
    itself; what stands in the high halves of the rest never comes down.
    """
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    m0 = np.uint64(0xD2511F53)
    m1 = np.uint64(0xCD9E8D57)
    a = words[0]
    b = words[1]
    c = words[2]
    d = words[3]
    for i in range(a.size):
        counter = first + np.uint64(i)
        c0 = counter & low
        c1 = counter >> half
        c2 = np.uint64(0)
        c3 = np.uint64(0)
        k0 = seed & low
        k1 = seed >> half
        for _ in range(10):
            p0 = m0 * (c0 & low)
            p1 = m1 * (c2 & low)
            c0 = (p1 >> half) ^ c1 ^ k0
            c2 = (p0 >> half) ^ c3 ^ k1
            c1 = p1
            c3 = p0
            k0 = (k0 + np.uint64(0x9E3779B9)) & low
            k1 = (k1 + np.uint64(0xBB67AE85)) & low
        a[i] = np.uint32(c0)
        b[i] = np.uint32(c1)
        c[i] = np.uint32(c2)
        d[i] = np.uint32(c3)


@elementwise_jit
def _unit(word, real):
    return real(np.int32(word >> np.uint32(8))) * real(2.0**-24)


@strict_kernel
def _uniform(start, stop, y, low, span, seed, offset):
    words = np.empty((4, _STRETCH), np.uint32)
    real = y.dtype.type
    low, span = real(low), real(span)
    for s in range(start, stop):
        _philox(offset + np.uint64(s * _STRETCH), seed, words)
        z = y[s * 4 * _STRETCH :][: 4 * _STRETCH]
        # The four words of a block in one loop, for which LLVM shuffles vectors; in four it would store one by one.
        a, b, c, d = words[0], words[1], words[2], words[3]
        for i in range(z.size // 4):
            z[4 * i] = low + span * _unit(a[i], real)
            z[4 * i + 1] = low + span * _unit(b[i], real)
            z[4 * i + 2] = low + span * _unit(c[i], real)
            z[4 * i + 3] = low + span * _unit(d[i], real)
        for i in range(z.size // 4 * 4, z.size):
            z[i] = low + span * _unit(words[i % 4, i // 4], real)


@elementwise_kernel
def _normal(start, stop, y, mean, stddev, seed, offset):
    words = np.empty((4, _STRETCH), np.uint32)
    mean, stddev = y.dtype.type(mean), y.dtype.type(stddev)
    even = np.empty(_STRETCH, y.dtype)
    odd = np.empty(_STRETCH, y.dtype)
    for s in range(start, stop):
        _philox(offset + np.uint64(s * _STRETCH), seed, words)
        z = y[s * 4 * _STRETCH :][: 4 * _STRETCH]
        for j in range(0, 4, 2):
            _box_muller(words[j], words[j + 1], even, odd)
            for i in range((z.size - j + 3) // 4):
                z[4 * i + j] = mean + stddev * even[i]
            for i in range((z.size - j + 2) // 4):
                z[4 * i + j + 1] = mean + stddev * odd[i]


@elementwise_jit
def _box_muller(first, second, even, odd):
    real = even.dtype.type
    for i in range(first.size):
        radius = np.sqrt(real(-2) * log(_unit(first[i], real) + real(2.0**-24)))
        # The angle in quarter turns is exact, and so is what remains after the nearest whole number of them.
        turns = real(4) * _unit(second[i], real)
        quadrant = np.int32(turns + real(0.5))
        angle = (turns - real(quadrant)) * real(math.pi / 2)
        even[i] = radius * quarter_wave(angle, quadrant + np.int32(1))
        odd[i] = radius * quarter_wave(angle, quadrant)


@elementwise_kernel
def _dropout(start, stop, x, y, threshold, kept, seed, offset, past):
    words = np.empty((4, _STRETCH), np.uint32)
    flat = np.empty(4 * _STRETCH, np.int32)
    eight = np.uint32(8)
    zero = x.dtype.type(0)
    dropped = splat(zero, zero)
    divisor = splat(x.dtype.type(kept), zero)
    least = splat(np.int32(threshold), dropped)
    for s in range(start, stop):
        _philox(offset + np.uint64(s * _STRETCH), seed, words)
        for i in range(_STRETCH):
            flat[4 * i] = np.int32(words[0, i] >> eight)
            flat[4 * i + 1] = np.int32(words[1, i] >> eight)
            flat[4 * i + 2] = np.int32(words[2, i] >> eight)
            flat[4 * i + 3] = np.int32(words[3, i] >> eight)
        first = s * 4 * _STRETCH
        source = address(x) + x.itemsize * first
        target = address(y) + x.itemsize * first
        for i in range(0, min(4 * _STRETCH, x.size - first), len(dropped)):
            count = x.size - first - i
            survivor = load_some(source + x.itemsize * i, dropped, count) / divisor
            here = load_places(address(flat) + 4 * i, np.int32(0), dropped, count)
            result = choose(at_least(here, least), survivor, dropped)
            if past and count >= len(dropped):
                store_past(target + x.itemsize * i, result)
            else:
                store_some(target + x.itemsize * i, result, count)
    finish_stores()


def _stretches(size: int) -> int:
    return -(-size // (4 * _STRETCH))


def _counter(seed: int, offset: int) -> tuple[np.uint64, np.uint64]:
    return np.uint64(seed % 2**64), np.uint64(offset % 2**64)


def random_uniform(y: Array, low: float, high: float, seed: int, offset: int) -> None:
    _uniform(
        _stretches(y.size), y.size * 6,
        y.ravel(), float(low), float(high - low), *_counter(seed, offset),
    )  # fmt: skip


def random_normal(y: Array, mean: float, stddev: float, seed: int, offset: int) -> None:
    _normal(
        _stretches(y.size), y.size * 12,
        y.ravel(), float(mean), float(stddev), *_counter(seed, offset),
    )  # fmt: skip


def dropout(x: Array, y: Array, rate: float, seed: int, offset: int) -> None:
    threshold = math.ceil(rate * 2**24)
    past = x is not y and goes_past(y, x)
    _dropout(
        _stretches(x.size), x.size * 6,
        x.ravel(), y.ravel(), threshold, float(1 - rate), *_counter(seed, offset), past,
    )  # fmt: skip
