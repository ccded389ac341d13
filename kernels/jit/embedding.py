"""Table look-up and its gradient.

Plain version: `table[ids]` and `np.add.at`, which goes element by element. Here rows are gathered on all cores, and
the gradient is added in the order of the ids, each core taking some columns of the table, so that repeated ids need no
locks and the sum does not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

from .elementwise import fill
from .threads import elementwise_kernel

Array = Any

# Elements of a row for which a slice would cost more than they do.
_SHORT = 8


@elementwise_kernel
def _gather(start, stop, ids, table, y):
    if y.shape[1] < _SHORT:
        for m in range(start, stop):
            for i in range(y.shape[1]):
                y[m, i] = table[ids[m], i]
        return
    for m in range(start, stop):
        source = table[ids[m]]
        target = y[m]
        for i in range(target.size):
            target[i] = source[i]


@elementwise_kernel
def _scatter_add(start, stop, dy, ids, dtable):
    for m in range(ids.size):
        source = dy[m][start:stop]
        target = dtable[ids[m]][start:stop]
        for i in range(source.size):
            target[i] += source[i]


def embedding(ids: Array, table: Array, y: Array) -> None:
    _gather(ids.size, y.size, ids, table, y)


def embedding_backward(dy: Array, ids: Array, dtable: Array, accumulate: bool = False) -> None:
    if not accumulate:
        fill(dtable, 0)
    _scatter_add(dtable.shape[1], dy.size, dy, ids, dtable)
