"""Rows of a table by number."""

from __future__ import annotations

from typing import Any

from ..backends.registry import current
from ..tensor import Array, Tensor, on_tape, parameter_gradients
from .arguments import checked_ids, integer_array, op, real_tensor


@op
def embedding(ids: Any, table: Any) -> Tensor:
    """table[ids]. ids: integers of any shape, table `[V, D]`; result `[..., D]`.

    Raises:
        TypeError: ids are not integers or the table is not float.
        ValueError: an id lies outside 0 … V − 1, or the table is not a matrix.
    """
    ids = integer_array("embedding", ids, "ids")
    table = real_tensor("embedding", table, "table")
    td = table.data
    if td.ndim != 2:
        raise ValueError(f"embedding: table must have shape [V, D], got {td.shape}")
    backend = current()
    places = checked_ids("embedding", backend, ids, "ids", td.shape[0], f"table has {td.shape[0]} rows")
    flat = places.reshape(ids.size)
    y = backend.empty((ids.size, td.shape[1]), td.dtype)
    backend.embedding(flat, td, y)
    y_shape = y.shape

    def backward(dy: Array) -> tuple:
        (dtable,), accumulate, returned = parameter_gradients(backend, (table,))
        backend.embedding_backward(dy.reshape(y_shape), flat, dtable, accumulate)
        return (dtable if returned else None,)

    return on_tape(y.reshape(*ids.shape, td.shape[1]), (table,), backward, backend)
