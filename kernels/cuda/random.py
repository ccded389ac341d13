"""Random fills and dropout: one launch each, a thread for every four elements."""

from __future__ import annotations

from math import ceil
from typing import Any

from .launch import Kernel

Array = Any

_random_uniform = Kernel(
    "random",
    "random_uniform",
    "REAL* y, long long n, REAL low, REAL span, unsigned long long seed, unsigned long long offset",
)
_random_normal = Kernel(
    "random",
    "random_normal",
    "REAL* y, long long n, REAL mean, REAL stddev, unsigned long long seed, unsigned long long offset",
)
_dropout = Kernel(
    "random",
    "dropout",
    "const REAL* x, REAL* y, long long n, unsigned int threshold, REAL kept, "
    "unsigned long long seed, unsigned long long offset",
)


def random_uniform(y: Array, low: float, high: float, seed: int, offset: int) -> None:
    """See `Backend.random_uniform`."""
    _random_uniform(_blocks(y), y, y.size, low, high - low, seed % 2**64, offset % 2**64)


def random_normal(y: Array, mean: float, stddev: float, seed: int, offset: int) -> None:
    """See `Backend.random_normal`."""
    _random_normal(_blocks(y), y, y.size, mean, stddev, seed % 2**64, offset % 2**64)


def dropout(x: Array, y: Array, rate: float, seed: int, offset: int) -> None:
    """See `Backend.dropout`."""
    threshold = ceil(rate * 2**24)
    _dropout(_blocks(y), x, y, y.size, threshold, 1 - rate, seed % 2**64, offset % 2**64)


def _blocks(y: Array) -> int:
    return -(-y.size // 4)
