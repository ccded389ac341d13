"""Elementwise operations with broadcasting, and copies between views: axes are merged here and walked in the kernels.

CuPy does what its own kernels do as well: conversions between types, fills, and more axes than ours walk.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from ...backends.interface import BINARY_OPS, COMPARE_OPS, UNARY_OPS
from .launch import Kernel, flat

Array = Any
Axis = tuple[int, ...]  # its length, then a stride in elements for each of the views that are walked together

_AXES = 4  # that the kernels walk


def _strides(view: str) -> str:
    return ", ".join(f"long long {view}{axis}" for axis in range(_AXES))


_LENGTHS = "long long n, int axes, long long n1, long long n2, long long n3"
_UNARY = {op: Kernel("elementwise", f"unary_{op}", "const REAL* x, REAL* y, long long n") for op in UNARY_OPS}
_UNARY_BACKWARD = {
    op: Kernel(
        "elementwise",
        f"unary_backward_{op}",
        "const REAL* dy, const REAL* x, const REAL* y, REAL* dx, long long n",
    )
    for op in UNARY_OPS
}
_BINARY = {
    op: Kernel(
        "elementwise",
        f"binary_{op}",
        f"const REAL* a, const REAL* b, REAL* y, {_LENGTHS}, {_strides('a')}, {_strides('b')}",
    )
    for op in BINARY_OPS
}
_COMPARE = {
    op: Kernel(
        "elementwise",
        f"compare_{op}",
        f"const REAL* a, const REAL* b, bool* y, {_LENGTHS}, {_strides('a')}, {_strides('b')}",
    )
    for op in COMPARE_OPS
}
_select = Kernel(
    "elementwise",
    "select_where",
    f"const bool* condition, const REAL* a, const REAL* b, REAL* y, {_LENGTHS}, "
    f"{_strides('c')}, {_strides('a')}, {_strides('b')}",
)
_copy_axes = Kernel(
    "copy",
    "copy_axes",
    f"const VALUE* x, long long x_first, VALUE* y, long long y_first, {_LENGTHS}, {_strides('x')}, {_strides('y')}",
)
_copy_transposed = Kernel(
    "copy",
    "copy_transposed",
    "const VALUE* x, long long x_first, VALUE* y, long long y_first, long long rows, long long columns, "
    "long long x_batch, long long x_column, long long y_batch, long long y_row",
)
_CUPY = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "pow": "power"}


def unary(x: Array, y: Array, op: str) -> None:
    """See `Backend.unary`."""
    _UNARY[op](x.size, x, y, x.size)


def unary_backward(dy: Array, x: Array, y: Array, dx: Array, op: str) -> None:
    """See `Backend.unary_backward`."""
    _UNARY_BACKWARD[op](x.size, dy, x, y, dx, x.size)


def binary(a: Array, b: Array, y: Array, op: str) -> None:
    """See `Backend.binary`."""
    layout = _broadcast(y.shape, a.shape, b.shape)
    if layout is None:
        import cupy

        getattr(cupy, _CUPY.get(op, op))(a, b, out=y)
        return
    _BINARY[op](y.size, a, b, y, y.size, *layout)


def compare(a: Array, b: Array, y: Array, op: str) -> None:
    """See `Backend.compare`."""
    layout = _broadcast(y.shape, a.shape, b.shape)
    if layout is None:
        import cupy

        getattr(cupy, op)(a, b, out=y)
        return
    _COMPARE[op](y.size, a, b, y, y.size, *layout)


def select(condition: Array, a: Array, b: Array, y: Array) -> None:
    """See `Backend.select`."""
    layout = _broadcast(y.shape, condition.shape, a.shape, b.shape)
    if layout is None:
        import cupy

        cupy.copyto(y, cupy.where(condition, a, b))
        return
    _select(y.size, condition, a, b, y, y.size, *layout)


def copy(x: Array, y: Array) -> None:
    """See `Backend.copy`."""
    if y.size == 0:
        return
    size = y.itemsize
    steps = ((n, s // size, t // size) for n, s, t in zip(y.shape, x.strides, y.strides, strict=True))
    axes = _merged(sorted(steps, key=lambda axis: -abs(axis[2])))
    whole = not axes or (len(axes) == 1 and axes[0][1:] == (1, 1))  # a single copy by the driver
    if x.dtype != y.dtype or len(axes) > _AXES or whole:
        import cupy

        cupy.copyto(y, x, casting="unsafe")
        return
    source, target = flat(x), flat(y)
    if len(axes) in (2, 3) and axes[-2][1] == 1 and axes[-1][2] == 1 and min(axes[-2][0], axes[-1][0]) >= 16:
        (batches, x_batch, y_batch), (rows, _, y_row), (columns, x_column, _) = [(1, 0, 0), *axes][-3:]
        squares = batches * -(-rows // 32) * -(-columns // 32)
        _copy_transposed.blocks(squares)(*source, *target, rows, columns, x_batch, x_column, y_batch, y_row)
    else:
        _copy_axes(y.size, *source, *target, y.size, *_padded(axes, 2))


def fill(y: Array, value: float) -> None:
    """See `Backend.fill`."""
    y.fill(y.dtype.type(value))


@lru_cache(4096)
def _broadcast(shape: tuple[int, ...], *operands: tuple[int, ...]) -> tuple[int, ...] | None:
    """What the kernels are told of contiguous operands that are broadcast to a shape: number and lengths of the axes,
    then each operand's strides. None where there are more axes than they walk."""
    strides = []
    for operand in operands:
        aligned = (1,) * (len(shape) - len(operand)) + operand
        step, of_operand = 1, []
        for length in reversed(aligned):
            of_operand.append(step if length > 1 else 0)
            step *= length
        strides.append(of_operand[::-1])
    axes = _merged(zip(shape, *strides, strict=True))
    return _padded(axes, len(operands)) if len(axes) <= _AXES else None


def _merged(axes: Iterable[Axis]) -> list[Axis]:
    """The axes without those of length 1, neighbours that every view walks as one made one."""
    merged: list[Axis] = []
    for length, *strides in axes:
        if length == 1:
            continue
        if merged and merged[-1][1:] == tuple(length * stride for stride in strides):
            merged[-1] = (merged[-1][0] * length, *strides)
        else:
            merged.append((length, *strides))
    return merged


def _padded(axes: list[Axis], views: int) -> tuple[int, ...]:
    lengths, *strides = zip(*[(1, *[0] * views)] * (_AXES - len(axes)), *axes, strict=True)
    return (len(axes), *lengths[1:], *(stride for of_view in strides for stride in of_view))
