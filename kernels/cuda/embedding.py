"""Table look-up and its gradient: a gather, and a scatter that adds."""

from __future__ import annotations

from typing import Any

from .launch import Kernel

Array = Any

_embedding = Kernel("embedding", "embedding", "const int* ids, const REAL* table, REAL* y, long long n, int columns")
_embedding_backward = Kernel(
    "embedding", "embedding_backward", "const REAL* dy, const int* ids, REAL* dtable, long long n, int columns"
)


def embedding(ids: Array, table: Array, y: Array) -> None:
    """See `Backend.embedding`."""
    _embedding(y.size, ids, table, y, y.size, table.shape[1])


def embedding_backward(dy: Array, ids: Array, dtable: Array, accumulate: bool = False) -> None:
    """See `Backend.embedding_backward`."""
    if not accumulate:
        dtable.fill(0)
    _embedding_backward(dy.size, dy, ids, dtable, dy.size, dtable.shape[1])
