"""Elementwise operations with broadcasting.

Plain version: a ufunc per operation, one pass on one core. Here the pass is cut over the cores, and gradients of unary
operations are one pass where NumPy needs two or three. Operations on two arrays walk both row by row, in loops that
know either neighbouring elements of both or one number for a whole row; what is of one shape is one row. With that, and
a step from row to row, one kernel serves the common kinds of broadcasting. (A number laid out as a tile of 4096, to be
reread from the cache, took 1.5 times as long.) Large results go past the caches, block by block (see `stream`).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ...backends.interface import BINARY_OPS, COMPARE_OPS, UNARY_OPS
from .gemm_tile import transpose
from .lanes import PAST_BYTES, address, finish_stores, use_whole_registers
from .scalar import FAR, cos, exp, log, sin
from .stream import BLOCK, are_apart, ask_ahead, new_block, store_block
from .threads import elementwise_jit, elementwise_kernel, inline_jit, num_threads

Array = Any

_UNARY = {op: i for i, op in enumerate(UNARY_OPS)}
_BINARY = {op: i for i, op in enumerate(op for op in BINARY_OPS if op != "pow")}  # which is left to NumPy
_COMPARE = {op: i for i, op in enumerate(COMPARE_OPS)}
_TURNED = (0, 1, 4, 5, 2, 3)  # the comparison of b with a that says the same
_UFUNCS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power,
    **{op: getattr(np, op) for op in ("maximum", "minimum", *_COMPARE)},
}  # fmt: skip
# Elements up to which NumPy's call costs less than ours: a copy's, a selection's, those that are filled or copied as
# they lie, or transposed with a short axis, a comparison's, and those of operands of different shapes, whose walk takes
# some thought.
_SMALL = 1 << 13
_SMALL_SELECT = 1 << 9
_SMALL_FILL = 1 << 16
_SMALL_NARROW = 1 << 18
_SMALL_COMPARE = 1 << 17
_SMALL_BROADCAST = 1 << 16
# Elements from which memory sets the pace, and NumPy's sums and products on one core are a twentieth ahead of LLVM's.
_LARGE_ALONE = 1 << 18
# Rows of fewer elements cost more than they hold, but so few of them less than NumPy's call.
_SHORT = 64
_FEW_ROWS = 64
# Rough cost of an element against one addition, for the decision to use more threads.
_TRANSCENDENTAL = 4


@elementwise_jit
def _wave(x, y, cosine):
    """Sines or cosines of some numbers: the library's, one by one, if any of them is far from zero."""
    use_whole_registers()
    far = 0
    for i in range(x.size):
        far += not abs(x[i]) < FAR
    if far:
        for i in range(x.size):
            y[i] = math.cos(x[i]) if cosine else math.sin(x[i])
    elif cosine:
        for i in range(x.size):
            y[i] = cos(x[i])
    else:
        for i in range(x.size):
            y[i] = sin(x[i])


@elementwise_jit
def _exponentials(x, y):
    use_whole_registers()
    for i in range(x.size):
        y[i] = exp(x[i])


@elementwise_jit
def _unary_loop(x, y, op):
    zero = x.dtype.type(0)
    one = x.dtype.type(1)
    if op == 0:
        for i in range(x.size):
            y[i] = -x[i]
    elif op == 1:
        _exponentials(x, y)
    elif op == 2:
        for i in range(x.size):
            y[i] = log(x[i])
    elif op == 3:
        for i in range(x.size):
            y[i] = np.sqrt(x[i])
    elif op == 4:
        for i in range(x.size):
            y[i] = x[i] * x[i]
    elif op == 5:
        for i in range(x.size):
            y[i] = abs(x[i])
    elif op == 6:
        for i in range(x.size):
            v = x[i]
            y[i] = one if v > zero else (-one if v < zero else v)
    elif op == 7:
        for i in range(x.size):
            y[i] = one / x[i]
    else:
        for first in range(0, x.size, BLOCK):
            _wave(x[first:][:BLOCK], y[first:][:BLOCK], op == 9)


@elementwise_kernel
def _unary(start, stop, x, y, op):
    large = x.nbytes + y.nbytes >= PAST_BYTES
    apart = are_apart(y, x)
    x = x[start:stop]
    y = y[start:stop]
    if apart and not large:
        _unary_loop(x, y, op)
        return
    block = new_block(y)
    for first in range(0, y.size, BLOCK):
        if large:
            ask_ahead(x, first)
        part = block[: y.size - first]
        _unary_loop(x[first:][:BLOCK], part, op)
        store_block(part, y, first, large and apart)
    finish_stores()


@elementwise_jit
def _unary_backward_loop(dy, x, y, dx, op):
    zero = x.dtype.type(0)
    half = x.dtype.type(0.5)
    if op == 0:
        for i in range(x.size):
            dx[i] = -dy[i]
    elif op == 1:
        for i in range(x.size):
            dx[i] = dy[i] * y[i]
    elif op == 2:
        for i in range(x.size):
            dx[i] = dy[i] / x[i]
    elif op == 3:
        for i in range(x.size):
            dx[i] = half * dy[i] / y[i]
    elif op == 4:
        for i in range(x.size):
            dx[i] = dy[i] * (x[i] + x[i])
    elif op == 5:
        for i in range(x.size):
            v = x[i]
            dx[i] = dy[i] if v > zero else (-dy[i] if v < zero else zero)
    elif op == 6:
        for i in range(x.size):
            dx[i] = zero
    elif op == 7:
        for i in range(x.size):
            dx[i] = -dy[i] * (y[i] * y[i])
    else:
        slope = new_block(x)
        for first in range(0, x.size, BLOCK):
            d = dy[first:][:BLOCK]
            target = dx[first:][:BLOCK]
            _wave(x[first:][:BLOCK], slope[: d.size], op == 8)
            for i in range(d.size):
                target[i] = d[i] * slope[i] if op == 8 else -d[i] * slope[i]


@elementwise_kernel
def _unary_backward(start, stop, dy, x, y, dx, op):
    large = dy.nbytes + x.nbytes + y.nbytes + dx.nbytes >= PAST_BYTES
    apart = are_apart(dx, dy) and are_apart(dx, x) and are_apart(dx, y)
    dy = dy[start:stop]
    x = x[start:stop]
    y = y[start:stop]
    dx = dx[start:stop]
    if apart and not large:
        _unary_backward_loop(dy, x, y, dx, op)
        return
    block = new_block(dx)
    for first in range(0, dx.size, BLOCK):
        if large:
            ask_ahead(dy, first)
            if op:
                ask_ahead(y if op in (1, 3, 7) else x, first)
        part = block[: dx.size - first]
        _unary_backward_loop(dy[first:][:BLOCK], x[first:][:BLOCK], y[first:][:BLOCK], part, op)
        store_block(part, dx, first, large and apart)
    finish_stores()


@inline_jit
def _stretch(start, z, width):
    """Of elements z, from number `start` on, those in the first row: its number, the first one's place in it, they."""
    row = start // width
    first = start - row * width
    return row, first, z[: width - first]


@elementwise_jit
def _of_pairs(u, v, z, op):
    if op == 0:
        for i in range(z.size):
            z[i] = u[i] + v[i]
    elif op == 1:
        for i in range(z.size):
            z[i] = u[i] - v[i]
    elif op == 2:
        for i in range(z.size):
            z[i] = u[i] * v[i]
    elif op == 3:
        for i in range(z.size):
            z[i] = u[i] / v[i]
    elif op == 4:
        for i in range(z.size):
            z[i] = u[i] if u[i] > v[i] or u[i] != u[i] else v[i]
    else:
        for i in range(z.size):
            z[i] = u[i] if u[i] < v[i] or u[i] != u[i] else v[i]


@elementwise_jit
def _with_number(u, v, z, op, turned):
    # `turned`: the number comes first.
    if op == 0:
        for i in range(z.size):
            z[i] = u[i] + v
    elif op == 1 and turned:
        for i in range(z.size):
            z[i] = v - u[i]
    elif op == 1:
        for i in range(z.size):
            z[i] = u[i] - v
    elif op == 2:
        for i in range(z.size):
            z[i] = u[i] * v
    elif op == 3 and turned:
        for i in range(z.size):
            z[i] = v / u[i]
    elif op == 3:
        for i in range(z.size):
            z[i] = u[i] / v
    elif op == 4:
        for i in range(z.size):
            z[i] = u[i] if u[i] > v or u[i] != u[i] else v
    else:
        for i in range(z.size):
            z[i] = u[i] if u[i] < v or u[i] != u[i] else v


@elementwise_jit
def _binary_loop(start, a, a_row, a_step, b, b_row, b_step, y, width, op):
    # y: the result's elements from number `start` on.
    while y.size:
        row, first, z = _stretch(start, y, width)
        u = a[row * a_row + first * a_step :]
        v = b[row * b_row + first * b_step :]
        if a_step == 0:
            _with_number(v[: z.size], u[0], z, op, True)
        elif b_step == 0:
            _with_number(u[: z.size], v[0], z, op, False)
        else:
            _of_pairs(u[: z.size], v[: z.size], z, op)
        start += z.size
        y = y[z.size :]


@elementwise_kernel
def _binary(start, stop, a, a_row, a_step, b, b_row, b_step, y, width, op):
    large = a.nbytes + b.nbytes + y.nbytes >= PAST_BYTES
    apart = are_apart(y, a) and are_apart(y, b)
    if apart and not large:
        _binary_loop(start, a, a_row, a_step, b, b_row, b_step, y[start:stop], width, op)
        return
    block = new_block(y)
    for first in range(start, stop, BLOCK):
        if large and a.size == y.size:
            ask_ahead(a, first)
        if large and b.size == y.size:
            ask_ahead(b, first)
        part = block[: stop - first]
        _binary_loop(first, a, a_row, a_step, b, b_row, b_step, part, width, op)
        store_block(part, y, first, large and apart)
    finish_stores()


@elementwise_jit
def _compare_pairs(u, v, z, op):
    if op == 0:
        for i in range(z.size):
            z[i] = u[i] == v[i]
    elif op == 1:
        for i in range(z.size):
            z[i] = u[i] != v[i]
    elif op == 2:
        for i in range(z.size):
            z[i] = u[i] < v[i]
    else:
        for i in range(z.size):
            z[i] = u[i] <= v[i]


@elementwise_jit
def _compare_number(u, v, z, op):
    if op == 0:
        for i in range(z.size):
            z[i] = u[i] == v
    elif op == 1:
        for i in range(z.size):
            z[i] = u[i] != v
    elif op == 2:
        for i in range(z.size):
            z[i] = u[i] < v
    elif op == 3:
        for i in range(z.size):
            z[i] = u[i] <= v
    elif op == 4:
        for i in range(z.size):
            z[i] = u[i] > v
    else:
        for i in range(z.size):
            z[i] = u[i] >= v


@elementwise_kernel
def _compare(start, stop, a, a_row, a_step, b, b_row, b_step, y, width, op):
    # If one of them is a number, it is b; pairs know no > and ≥.
    y = y[start:stop]
    while y.size:
        row, first, z = _stretch(start, y, width)
        u = a[row * a_row + first * a_step :][: z.size]
        v = b[row * b_row + first * b_step :]
        if b_step == 0:
            _compare_number(u, v[0], z, op)
        else:
            _compare_pairs(u, v[: z.size], z, op)
        start += z.size
        y = y[z.size :]


@elementwise_jit
def _select_loop(start, condition, a, a_row, a_step, b, b_row, b_step, y, width):
    # y: the result's elements from number `start` on.
    while y.size:
        row, first, z = _stretch(start, y, width)
        c = condition[start : start + z.size]
        u = a[row * a_row + first * a_step :]
        v = b[row * b_row + first * b_step :]
        # Both are read in any case, or the loop would branch at every element.
        if a_step == 0 and b_step == 0:
            yes = u[0]
            no = v[0]
            for i in range(z.size):
                z[i] = yes if c[i] else no
        elif a_step == 0:
            yes = u[0]
            v = v[: z.size]
            for i in range(z.size):
                no = v[i]
                z[i] = yes if c[i] else no
        elif b_step == 0:
            no = v[0]
            u = u[: z.size]
            for i in range(z.size):
                yes = u[i]
                z[i] = yes if c[i] else no
        else:
            u = u[: z.size]
            v = v[: z.size]
            for i in range(z.size):
                yes = u[i]
                no = v[i]
                z[i] = yes if c[i] else no
        start += z.size
        y = y[z.size :]


@elementwise_kernel
def _select(start, stop, condition, a, a_row, a_step, b, b_row, b_step, y, width):
    large = condition.nbytes + a.nbytes + b.nbytes + y.nbytes >= PAST_BYTES
    apart = are_apart(y, a) and are_apart(y, b)
    if apart and not large:
        _select_loop(start, condition, a, a_row, a_step, b, b_row, b_step, y[start:stop], width)
        return
    block = new_block(y)
    for first in range(start, stop, BLOCK):
        if large:
            ask_ahead(condition, first)
        if large and a.size == y.size:
            ask_ahead(a, first)
        if large and b.size == y.size:
            ask_ahead(b, first)
        part = block[: stop - first]
        _select_loop(first, condition, a, a_row, a_step, b, b_row, b_step, part, width)
        store_block(part, y, first, large and apart)
    finish_stores()


Walk = tuple[Array, int, int]  # an operand as a flat array, and its steps from row to row and within one


@lru_cache(1024)
def _plan(y: tuple[int, ...], *operands: tuple[int, ...]) -> tuple[int, int, list[tuple[int, int]]] | None:
    """For these shapes the width of y's rows, how often a row that is always the same is repeated, operands' steps."""
    sizes = [math.prod(shape) for shape in operands]
    if all(shape == y or size == 1 for shape, size in zip(operands, sizes, strict=True)):
        return math.prod(y), 1, [(0, int(size > 1)) for size in sizes]
    shapes = [(1,) * (len(y) - len(shape)) + shape for shape in operands]
    kinds = [[length != 1 for length in lengths] for n, *lengths in zip(y, *shapes, strict=True) if n > 1]
    lengths = [n for n in y if n > 1]
    outer, inner = kinds[0], kinds[-1]
    count = len(kinds)
    while count and kinds[count - 1] == inner:
        count -= 1
    if any(kind != outer for kind in kinds[:count]):
        return None
    width = math.prod(lengths[count:])
    varies = list(zip(outer, inner, strict=True))  # from row to row, within a row
    if width >= _SHORT:
        return width, 1, [((width if inside else 1) if by_row else 0, int(inside)) for by_row, inside in varies]
    # A short row that is always the same is repeated until it is long.
    if not all(inside and (by_row or size == width) for (by_row, inside), size in zip(varies, sizes, strict=True)):
        return None
    repeats = _SHORT * 4 // width
    return width * repeats, repeats, [(width * repeats if by_row else 0, 1) for by_row, _ in varies]


def _walks(y: Array, *operands: Array) -> tuple[int, list[Walk]] | None:
    """The width of y's rows, all elements or all that follow some axis, and how operands are walked in them.

    Each is either one number or as wide as y in every row, and either a new one in every row or the same in all.
    None where shapes are otherwise, or where rows are short. Planned once for all arrays of these shapes: after a pass
    over large arrays the interpreter finds nothing in the caches, and 6 µs of thought take 30.
    """
    plan = _plan(y.shape, *[a.shape for a in operands])
    if plan is None:
        return None
    width, repeats, steps = plan
    return width, [
        (a.ravel() if row or repeats == 1 else np.tile(a.ravel(), repeats), row, step)
        for a, (row, step) in zip(operands, steps, strict=True)
    ]


def unary(x: Array, y: Array, op: str) -> None:
    if op == "log" and num_threads() == 1:  # of all functions the one that NumPy takes faster
        with np.errstate(all="ignore"):
            np.log(x, y)
        return
    work = x.size * (_TRANSCENDENTAL if op in ("exp", "log", "sin", "cos") else 1)
    _unary(x.size, work, x.ravel(), y.ravel(), _UNARY[op])


def unary_backward(dy: Array, x: Array, y: Array, dx: Array, op: str) -> None:
    work = x.size * (_TRANSCENDENTAL if op in ("sin", "cos") else 1)
    _unary_backward(x.size, work, dy.ravel(), x.ravel(), y.ravel(), dx.ravel(), _UNARY[op])


def binary(a: Array, b: Array, y: Array, op: str) -> None:
    # NumPy's power is vectorised and a loop over the C library's is not.
    if op == "pow" or not _binary_by_kernel(a, b, y, op):
        with np.errstate(all="ignore"):
            _UFUNCS[op](a, b, out=y)


def _binary_by_kernel(a: Array, b: Array, y: Array, op: str) -> bool:
    """Compute, if the kernel does it faster than NumPy."""
    n, u_size, v_size = y.size, a.size, b.size
    code = _BINARY[op]
    if (u_size == n or u_size == 1) and (v_size == n or v_size == 1):
        if n > _LARGE_ALONE and num_threads() == 1 and code < 4:
            return False
        _binary(n, n, a.ravel(), 0, int(u_size == n), b.ravel(), 0, int(v_size == n), y.ravel(), n, code)
        return True
    width = y.shape[-1]
    if u_size == n and (width >= _SHORT or n <= _FEW_ROWS * width):
        if v_size == width == b.shape[-1]:
            _binary(n, n, a.ravel(), width, 1, b.ravel(), 0, 1, y.ravel(), width, code)
            return True
        if v_size * width == n and b.shape[-1] == 1:
            _binary(n, n, a.ravel(), width, 1, b.ravel(), 1, 0, y.ravel(), width, code)
            return True
    found = _walks(y, a, b) if n > _SMALL_BROADCAST else None
    if found is None:
        return False
    width, (u, v) = found
    _binary(n, n, *u, *v, y.ravel(), width, code)
    return True


def compare(a: Array, b: Array, y: Array, op: str) -> None:
    if y.size <= _SMALL_COMPARE:
        _UFUNCS[op](a, b, y)
        return
    found = _walks(y, a, b) if num_threads() > 1 else None
    if found is None:
        _UFUNCS[op](a, b, y)
        return
    width, (u, v) = found
    code = _COMPARE[op]
    if not u[2] or (code > 3 and v[2]):
        u, v, code = v, u, _TURNED[code]
    _compare(y.size, y.size, *u, *v, y.ravel(), width, code)


def select(condition: Array, a: Array, b: Array, y: Array) -> None:
    n, u_size, v_size = y.size, a.size, b.size
    if condition.size == n:
        if n <= _SMALL_SELECT and (u_size == n or u_size == 1):
            y[...] = b
            np.putmask(y, condition, a)
            return
        if (u_size == n or u_size == 1) and (v_size == n or v_size == 1):
            _select(
                n, n, condition.ravel(), a.ravel(), 0, int(u_size == n), b.ravel(), 0, int(v_size == n),
                y.ravel(), n,
            )  # fmt: skip
            return
        found = _walks(y, a, b) if n > _SMALL_BROADCAST else None
        if found:
            width, (u, v) = found
            _select(y.size, y.size, condition.ravel(), *u, *v, y.ravel(), width)
            return
    y[...] = np.where(condition, a, b)


@elementwise_kernel
def _copy(start, stop, x, y):
    past = x.nbytes + y.nbytes >= PAST_BYTES and are_apart(y, x)
    x = x[start:stop]
    y = y[start:stop]
    if not past:
        for i in range(x.size):
            y[i] = x[i]
        return
    for first in range(0, y.size, BLOCK):
        ask_ahead(x, first)
        store_block(x[first:][:BLOCK], y, first, True)
    finish_stores()


@elementwise_kernel
def _copy_transposed(start, stop, x, x_batch, x_column, y, y_batch, y_row, rows, columns):
    # y[n, r, c] = x[n, r, c], of which x has neighbours along the rows and y along the columns; a task is 8 rows of an
    # image n. Squares are transposed in registers, so that both sides are met in whole lines of the cache.
    zero = y.dtype.type(0)
    size = y.itemsize
    stripes = -(-rows // 8)
    for task in range(start, stop):
        n = task // stripes
        first = (task - n * stripes) * 8
        source = n * x_batch + first
        target = n * y_batch + first * y_row
        count = min(8, rows - first)
        whole = columns // 8 * 8 if count == 8 else 0
        for c in range(0, whole, 8):
            transpose(
                address(x) + size * (source + c * x_column), x_column, address(y) + size * (target + c), y_row, zero
            )
        for r in range(count):
            for c in range(whole, columns):
                y[np.uint64(target + r * y_row + c)] = x[np.uint64(source + r + c * x_column)]


def _transposition(x: Array, y: Array) -> tuple[Any, ...] | None:
    """How `_copy_transposed` walks two views of one shape, y contiguous: its arguments, or None if it cannot.

    Axes are merged where they are walked as one.
    """
    if x.ndim == 2:
        if min(x.shape) < 8 and y.size <= _SMALL_NARROW:
            return None
        if x.T.flags.c_contiguous and min(x.shape) >= 8:
            return x.T.ravel(), 0, len(x), y.ravel(), 0, y.shape[1], *y.shape
    size = y.itemsize
    # Where neighbours are neighbours already, or none are, NumPy's copy does as well.
    if x.strides[-1] <= size or size not in x.strides or min(x.strides) < 0:
        return None
    # Images of few channels: a vector of them is none.
    narrow_pays = num_threads() > 1 and y.size > _SMALL_NARROW
    if x.shape[x.strides.index(size)] < 8 and not narrow_pays:
        return None
    axes: list[tuple[int, int]] = []  # length and stride of x in elements
    for n, stride in zip(x.shape, x.strides, strict=True):
        if axes and axes[-1][1] == n * stride // size:
            axes[-1] = axes[-1][0] * n, stride // size
        elif n > 1:
            axes.append((n, stride // size))
    if len(axes) not in (2, 3) or axes[-2][1] != 1:
        return None
    (n, batch), (rows, _), (columns, step) = [(1, 0), *axes][-3:]
    if min(rows, columns) < 8 and not narrow_pays:
        return None
    span = 1 + sum((length - 1) * stride for length, stride in axes)
    source = np.lib.stride_tricks.as_strided(x, (span,), (size,))
    return source, batch, step, y.ravel(), rows * columns, columns, rows, columns


def copy(x: Array, y: Array) -> None:
    # NumPy's own copy orders and merges the axes of any two strided views and converts between any two types, for
    # which a compiled kernel would need a specialisation per pair of types and number of axes.
    if x.dtype == y.dtype:
        if y.size <= _SMALL or x.dtype.kind != "f" or not y.flags.c_contiguous or not _copy_by_kernel(x, y):
            y[...] = x
    elif x.dtype.kind != "f" or (y.dtype.kind == "f" and y.itemsize > x.itemsize):
        y[...] = x
    else:
        # Rounding to fewer digits may overflow, and what is not a number has no whole one.
        with np.errstate(all="ignore"):
            y[...] = x


def _copy_by_kernel(x: Array, y: Array) -> bool:
    """Copy, if one of the kernels does it faster than NumPy."""
    if x.flags.c_contiguous:
        if num_threads() == 1 or y.size <= _SMALL_FILL:
            return False
        _copy(y.size, y.size, x.ravel(), y.ravel())
        return True
    found = _transposition(x, y)
    if found is None:
        return False
    *_, rows, columns = found
    _copy_transposed(y.size // (rows * columns) * -(-rows // 8), y.size * 2, *found)
    return True


@elementwise_kernel
def _fill(start, stop, y, value):
    past = y.nbytes >= PAST_BYTES
    y = y[start:stop]
    if not past:
        y[:] = value
        return
    block = new_block(y)
    block[:] = value
    for first in range(0, y.size, BLOCK):
        store_block(block[: y.size - first], y, first, True)
    finish_stores()


def fill(y: Array, value: float) -> None:
    if y.size > _SMALL_FILL and y.flags.c_contiguous and y.dtype.kind == "f":
        _fill(y.size, y.size // 2, y.ravel(), y.dtype.type(value))
    else:
        y.fill(value)
