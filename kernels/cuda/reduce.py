"""Reductions over one axis, in as many stages as its length asks for, and arg-max of rows."""

from __future__ import annotations

from typing import Any

from .activation import team
from .launch import BLOCK, Kernel
from .scratch import scratch

Array = Any

_REDUCE = {
    op: Kernel(
        "reduce",
        f"reduce_{op}",
        "const REAL* x, REAL* y, long long length, long long columns, int width, long long step, REAL count",
    )
    for op in ("sum", "max", "min")
}
_argmax = Kernel("reduce", "argmax", "const REAL* x, int* y, int columns")

_TURNS = 32  # elements that a thread takes, one after the other
_GRID = 65535  # blocks along the second axis of a grid


def reduce(x: Array, y: Array, op: str) -> None:
    """See `Backend.reduce`."""
    if y.size == 0:
        return
    if x.size == 0:
        y.fill(0)
        return
    _reduce(x, y, _REDUCE["sum" if op == "mean" else op], x.shape[1] if op == "mean" else 1)


def _reduce(x: Array, y: Array, kernel: Kernel, count: int) -> None:
    a, length, columns = x.shape
    width = columns if columns <= BLOCK else 32
    threads = min(BLOCK, -(-width * length // 32) * 32)
    step = max(threads // width * _TURNS, -(-length // _GRID))
    pieces = -(-length // step)
    out = y if pieces == 1 else scratch(x, a, pieces, columns)
    stripes = -(-columns // width)
    kernel.blocks((a * stripes, pieces), threads)(
        x, out, length, columns, width, step, count if pieces == 1 else 1
    )  # fmt: skip
    if pieces > 1:
        _reduce(out, y, kernel, count)


def argmax(x: Array, y: Array) -> None:
    """See `Backend.argmax`."""
    rows, columns = x.shape
    _argmax.blocks(rows, team(columns))(x, y, columns)
