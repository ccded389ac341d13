"""Philox 4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3") and what is drawn from it.

A block of four 32-bit words is a function of (seed, block number) and nothing else, so any element can be computed
alone, in any order, by any number of threads, with the same bits. Here a slab of blocks at a time, in 64-bit integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, pi

import numpy as np

Array = np.ndarray

_MULTIPLY = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10
_SLAB = 1 << 16  # blocks at once


def philox(counter: tuple[Array, Array, Array, Array], key: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """Four words of 32 bits, in uint64 arrays, from four counter words (arrays alike) and two key words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0 = _MULTIPLY[0] * c0
        product1 = _MULTIPLY[1] * c2
        c0, c1, c2, c3 = (
            (product1 >> _HALF) ^ c1 ^ np.uint64(k0),
            product1 & _LOW,
            (product0 >> _HALF) ^ c3 ^ np.uint64(k1),
            product0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def random_uniform(y: Array, low: float, high: float, seed: int, offset: int) -> None:
    """See `Backend.random_uniform`."""
    flat = y.reshape(y.size)
    for part, words in _slabs(y.size, seed, offset):
        flat[part] = low + (high - low) * _unit(words, y.dtype)[: part.stop - part.start]


def random_normal(y: Array, mean: float, stddev: float, seed: int, offset: int) -> None:
    """See `Backend.random_normal`."""
    flat = y.reshape(y.size)
    for part, words in _slabs(y.size, seed, offset):
        u = _unit(words, y.dtype)
        radius = np.sqrt(-2 * np.log(u[0::2] + 2.0**-24))
        angle = 2 * pi * u[1::2]
        normal = np.empty_like(u)
        normal[0::2] = radius * np.cos(angle)
        normal[1::2] = radius * np.sin(angle)
        flat[part] = mean + stddev * normal[: part.stop - part.start]


def dropout(x: Array, y: Array, rate: float, seed: int, offset: int) -> None:
    """See `Backend.dropout`."""
    source, target = x.reshape(x.size), y.reshape(y.size)
    threshold = np.uint64(ceil(rate * 2**24))
    for part, words in _slabs(x.size, seed, offset):
        kept = (words >> np.uint64(8))[: part.stop - part.start] >= threshold
        target[part] = np.where(kept, source[part] / (1 - rate), 0)


def _slabs(size: int, seed: int, offset: int) -> Iterator[tuple[slice, Array]]:
    """Cuts of `size` elements and the words of their blocks, always whole blocks."""
    seed, offset = seed % 2**64, offset % 2**64
    key = (seed & 0xFFFFFFFF, seed >> 32)
    for first in range(0, size, 4 * _SLAB):
        last = min(first + 4 * _SLAB, size)
        blocks = np.arange(-(-(last - first) // 4), dtype=np.uint64) + np.uint64((offset + first // 4) % 2**64)
        zero = np.zeros_like(blocks)
        words = philox((blocks & _LOW, blocks >> _HALF, zero, zero), key)
        yield slice(first, last), np.stack(words, axis=1).reshape(4 * len(blocks))


def _unit(words: Array, dtype: np.dtype) -> Array:
    """(word >> 8) · 2⁻²⁴ in [0, 1), exact in float32."""
    return (words >> np.uint64(8)).astype(dtype) * 2.0**-24
