"""Table look-up and its gradient: a gather, and sums of rows in the order of the batch."""

from __future__ import annotations

from typing import Any

from .launch import BLOCK, Kernel

Array = Any

_embedding = Kernel("embedding", "embedding", "const int* ids, const REAL* table, REAL* y, long long n, int columns")
_embedding_backward = Kernel(
    "embedding",
    "embedding_backward",
    "const REAL* dy, const int* ids, REAL* dtable, int rows, int columns, int width, int bits",
)
_BITS = 10  # of an identifier: rows of the table are dealt out among 2^10 blocks at most


def embedding(ids: Array, table: Array, y: Array) -> None:
    """See `Backend.embedding`."""
    _embedding(y.size, ids, table, y, y.size, table.shape[1])


def embedding_backward(dy: Array, ids: Array, dtable: Array, accumulate: bool = False) -> None:
    """See `Backend.embedding_backward`."""
    if not accumulate:
        dtable.fill(0)
    identifiers, columns = dtable.shape
    if dy.size:
        bits = min(_BITS, identifiers.bit_length() - 1)
        _embedding_backward.blocks(1 << bits)(dy, ids, dtable, ids.size, columns, min(columns, BLOCK), bits)
