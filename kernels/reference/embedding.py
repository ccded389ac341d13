"""Table look-up and its gradient, a sum of rows by identifier.

The rows are sorted by identifier, so that each identifier's rows stand together and are added in one go.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def embedding(ids: Array, table: Array, y: Array) -> None:
    """See `Backend.embedding`."""
    y[...] = table[ids]


def embedding_backward(dy: Array, ids: Array, dtable: Array, accumulate: bool = False) -> None:
    """See `Backend.embedding_backward`."""
    if not accumulate:
        dtable[...] = 0
    if ids.size == 0:
        return
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    dtable[found] += np.add.reduceat(dy[order], starts, axis=0)
