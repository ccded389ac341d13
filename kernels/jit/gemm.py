"""Matrix products in machine code of our own, callable from any kernel.

Plain version: the BLAS through NumPy. It is fast for large matrices, but it brings threads of its own, which spin for a
while after each call and take the cores from the loops between two products; it cannot be called on the tiles of an
image before they have left the cache; and a small product costs it a microsecond or more. Here the register tile is
ours (`gemm_tile`), and so are the threads: each packs itself what it reads of b. Products of 2²⁰ multiplications and
more, or with an operand of 2¹⁶ elements, are the native engine's, where that is built (`gemm_native`).

A large transposed b beside fewer rows of a, as the gradient of a dense layer's input has it, is not packed at all: its
rows lie as the tile reads those of a, so that the transpose of y is the product of b and the transpose of a, which is
packed instead. 32×1000 with the transpose of 4096×1000, one thread: 5.5 ms with b packed, 2.5 so, NumPy 5.1. Of a large
b that is packed, the tiles fetch the next block while they multiply this one: 32×4096×1000, one thread, 4.3 ms without,
3.4 so, NumPy 4.0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import imputils
from numba.extending import intrinsic
from numba.np import arrayobj

from .gemm_few import (
    BIAS,
    FEW,
    LARGE,
    STORED,
    ZERO,
    few_rows,
    multiply_few_rows,
    multiply_few_rows_transposed,
    multiply_few_steps,
)
from .gemm_native import multiply_natively
from .gemm_tile import (
    DEPTH,
    ROWS,
    SHALLOW,
    WIDTH,
    call_fetching_multiplier,
    call_multiplier,
    multiplier,
    pack,
    packed_elements,
    transpose_block,
)
from .lanes import BYTES, address, room_on_a_line
from .threads import GRAIN, absent, elementwise_jit, elementwise_kernel, num_threads, scratch

Array = Any

# Elements of a block of b that stays in the second-level cache, and of one beside which the next is fetched.
_CACHED, _FETCHED = 1 << 17, 3 << 15


@intrinsic
def flat(typing, array):
    """All elements of a contiguous array of either order as they lie in memory."""
    result = types.Array(array.dtype, 1, "C")

    def code(context, builder, signature, arguments):
        source = context.make_array(array)(context, builder, arguments[0])
        target = context.make_array(result)(context, builder)
        size = context.get_abi_sizeof(context.get_data_type(array.dtype))
        arrayobj.populate_array(
            target, data=source.data, shape=[source.nitems], strides=[ir.IntType(64)(size)],
            itemsize=source.itemsize, meminfo=source.meminfo, parent=source.parent,
        )  # fmt: skip
        return imputils.impl_ret_borrowed(context, builder, result, target._getvalue())

    return result(array), code


@elementwise_jit
def _strides(a):
    """The strides of a matrix, counted in elements."""
    return a.strides[0] // a.itemsize, a.strides[1] // a.itemsize


@elementwise_kernel
def _pack(start, stop, b, packed):
    b_row, b_column = _strides(b)
    pack(flat(b)[start * b_row :], b_row, b_column, b.shape[0], b.shape[1], packed, start, stop)


@elementwise_kernel
def _product(start, stop, function, a, b, y, bias, mode, clip, lines, panels, steps, group, fetches):
    # A task is `lines` rows by `panels` panels of the result. It packs what it reads of b itself, in blocks of `steps`
    # rows and `group` panels that stay in its cache: what another core has just packed costs more to read (8 µs for
    # 64 KB) than to pack again. While a block of a b from far away is multiplied the next is fetched.
    rows, depth = a.shape
    columns = y.shape[1]
    size = y.itemsize
    width = WIDTH if size == 4 else WIDTH // 2
    across = -(-columns // (panels * width))
    packed = room_on_a_line(steps * group * width, y)
    a_row, a_step = _strides(a)
    b_row, b_column = _strides(b)
    for task in range(start, stop):
        row = task // across * lines
        first = task % across * panels * width
        last = min(first + panels * width, columns)
        for j in range(first, last, group * width):
            count = min(group * width, last - j)
            last_panel = -(-count // width)
            for k in range(0, max(depth, 1), steps):
                deep = min(steps, depth - k)
                block = flat(b)[k * b_row + j * b_column :]
                pack(block, b_row, b_column, deep, count, packed, 0, deep)
                ahead = 0
                if fetches and k + steps < depth:
                    ahead = address(b) + size * ((k + steps) * b_row + j)
                elif fetches and j + group * width < last:
                    ahead = address(b) + size * (j + group * width)
                call_fetching_multiplier(
                    function, address(a) + size * (row * a_row + k * a_step), a_row, a_step, 0, 1,
                    min(lines, rows - row), address(packed), deep, 0, last_panel, count,
                    address(y) + size * (row * columns + j), columns, mode if k == 0 else STORED,
                    address(bias) + size * j, clip and k + deep == depth, ahead, b_row,
                )  # fmt: skip


@elementwise_kernel
def _product_transposed(start, stop, function, a, packed_size, b, y, share):
    # y = a bᵀ as the transpose of b aᵀ: the few rows of a are packed, and b is read where it lies. A task is `share`
    # columns of y.
    rows, columns = y.shape
    depth = b.shape[1]
    size = y.itemsize
    width = WIDTH if size == 4 else WIDTH // 2
    panels = -(-rows // width)
    packed = room_on_a_line(packed_size, y)
    a_row, a_step = _strides(a)
    pack(flat(a), a_step, a_row, depth, rows, packed, 0, depth)
    block = np.empty(_STRIP * rows, y.dtype)
    for task in range(start, stop):
        last = min((task + 1) * share, columns)
        for j in range(task * share, last, _STRIP):
            count = min(_STRIP, last - j)
            # One panel at a time, so that nothing of b is copied: it is in the cache for the second.
            for p in range(panels):
                call_multiplier(
                    function, address(b) + size * j * depth, depth, 1, count, address(packed), depth, p, p + 1, rows,
                    address(block), rows, ZERO, 0, 0,
                )  # fmt: skip
            transpose_block(block, rows, count, flat(y), j, columns)


@elementwise_kernel
def _batched(start, stop, function, a, a_row, a_step, b, b_row, b_column, y, depth, packed_size):
    _, rows, columns = y.shape
    packed = room_on_a_line(packed_size, y)
    panels = -(-columns // (WIDTH if y.itemsize == 4 else WIDTH // 2))
    size = y.itemsize
    for n in range(start, stop):
        pack(b[n * depth * columns :], b_row, b_column, depth, columns, packed, 0, depth)
        call_multiplier(
            function, address(a) + size * n * rows * depth, a_row, a_step, rows, address(packed), depth, 0, panels,
            columns, address(y) + size * n * rows * columns, columns, ZERO, 0, 0,
        )  # fmt: skip


# Flops of a product that take as long as one element of a cheap loop.
_FLOPS = 16
# Multiplications up to which NumPy's call costs less than ours, and its BLAS keeps to one thread: OpenBLAS starts the
# others above 2¹⁸, for a matrix and a vector above 2¹³, and has kernels for small products on processors with AVX-512,
# which do without a packed b. Where there is but one thread, they are worth it to the end, at a million.
SMALL = 1 << 18
SMALL_VECTOR = 1 << 13
_SMALL_TRANSPOSED = 1 << 17
_SMALL_UNPACKED = 1 << 19 if BYTES == 64 else SMALL
_SMALL_ALONE = 1_000_000
# Columns up to which half of a tile goes to waste.
_NARROW = 16 if BYTES == 64 else 0
# Steps up to which those kernels are quicker for a transposed b of more columns, too.
_FEW_STEPS = 32
# Elements of a result that are cleared in less time.
_SMALL_RESULT = 1 << 13
# Multiplications of each of many products up to which NumPy's call costs less than ours.
_SMALL_BATCHED = 1 << 13
# Panels of a task that make the passing of a little beside the products.
_WIDE = 16
# Rows of a that take a hundred times as long as the packing of b.
_LONG = 1024
# Rows of a up to which a large b is passed once, by inner products, in the least time.
_FEW_DOTS = 8
# Rows of a up to which the packing of a large b waits for it longer than the prefetcher helps.
_WAITING = 300
# Elements of a that each thread packs at most: 16 MB of float32 in scratch memory.
_PACKED_A = 1 << 22
# Columns of a result that are multiplied at a time as rows of its transpose, and as many that packing a is little.
_STRIP, _SHARE = 4 * ROWS, 512


def is_small(rows: int, depth: int, columns: int, transposed: bool = False) -> bool:
    """Whether `by_numpy(a, b, y)` costs less than `gemm(a, b, y)`; `transposed`: b is read by columns."""
    multiplications = rows * depth * columns
    # NumPy multiplies a column and a row element by element, or clears y first.
    if multiplications <= SMALL_VECTOR or depth == 1:
        return multiplications <= SMALL_VECTOR
    if rows == 1 or columns == 1:
        return num_threads() == 1
    if transposed and depth > _FEW_STEPS and columns > _NARROW:
        return multiplications <= _SMALL_TRANSPOSED
    if multiplications <= _SMALL_UNPACKED:
        return True
    return multiplications <= _SMALL_ALONE and (columns <= _NARROW or num_threads() == 1)


def by_numpy(a: Array, b: Array, y: Array) -> None:
    """NumPy's product y = a b. Its `dot` is called in a third of the time that `matmul` takes, but clears y first."""
    if y.size <= _SMALL_RESULT:
        a.dot(b, y)
    else:
        np.matmul(a, b, y)


def gemm(a: Array, b: Array, y: Array, bias: Array | None = None, rectify: bool = False, add: bool = False) -> None:
    """What `jit_gemm` does; a long product, or one with a large operand, by the native engine, where that is built."""
    if not multiply_natively(a, b, y, bias, rectify, add):
        jit_gemm(a, b, y, bias, rectify, add)


def jit_gemm(a: Array, b: Array, y: Array, bias: Array | None = None, rectify: bool = False, add: bool = False) -> None:
    """y = a b, or max(a b + bias, 0) if asked; y += a b if `add`.

    a and b `[.., ..]` contiguous or transposes of contiguous arrays, y C-contiguous.
    """
    rows, depth = a.shape
    columns = b.shape[1]
    if rows == 0 or columns == 0:
        return
    if columns == 1 and rows > 1 and bias is None and not rectify:
        jit_gemm(b.T, a.T, y.T, add=add)
        return
    mode = STORED if add else ZERO if bias is None else BIAS
    start = absent(y.dtype) if bias is None else bias
    if mode == ZERO and not rectify and not b.flags.c_contiguous and _packs_a(rows, depth, columns):
        _gemm_transposed(a, b.T, y)
        return
    if rows <= few_rows(b) and depth > 1 and a.flags.c_contiguous:
        if b.flags.c_contiguous:
            multiply_few_rows(a, b, y, start, mode, rectify)
            return
        if bias is None and not rectify:
            multiply_few_rows_transposed(a, b.T, y, mode)
            return
    if 0 < depth <= 4 and columns >= 64 and b.flags.c_contiguous:
        multiply_few_steps(a, b, y, start, mode, rectify)
        return
    width = WIDTH * 4 // y.itemsize
    lines, panels = _tasks(rows, depth, columns, width, num_threads())
    tasks = -(-rows // lines) * -(-columns // (panels * width))
    steps, group, fetches = _blocks(rows, depth, panels, width, b)
    function, work = multiplier(y.dtype), rows * depth * columns // _FLOPS
    _product(tasks, work, function, a, b, y, start, mode, rectify, lines, panels, steps, group, fetches)


def _blocks(rows: int, depth: int, panels: int, width: int, b: Array) -> tuple[int, int, bool]:
    """Steps and panels of a block of b, and whether the next is fetched meanwhile."""
    if depth * panels * width <= _CACHED:
        return max(depth, 1), panels, False
    if rows <= _WAITING and b.size >= LARGE and b.flags.c_contiguous:
        steps = min(depth, DEPTH // 2)
        return steps, min(panels, _FETCHED // (steps * width)), True
    # Beside few rows a block is flat: what comes from far away comes in long stretches.
    steps = _even(depth, DEPTH // 8 if rows <= 4 * ROWS else DEPTH)
    # Beside many rows it may lie in the third-level cache: a passes it less often.
    return steps, _even(panels, (_CACHED if rows <= _WAITING else 2 * _CACHED) // (steps * width)), False


def _even(total: int, most: int) -> int:
    """Size of the parts of `total`, none larger than `most`, of which the last is not much smaller than the others."""
    return -(-total // -(-total // most))


def _packs_a(rows: int, depth: int, columns: int) -> bool:
    """Whether `_gemm_transposed` is the quickest for b read by columns.

    Each thread packs all of a and transposes its part of y, else it packs its part of b: an element takes as long as a
    dozen multiplications. Lanes past the last row of a do nothing.
    """
    if rows <= (_FEW_DOTS if depth * columns >= LARGE else FEW):
        return False
    idle = packed_elements(1, rows, WIDTH) - rows
    if rows * depth > _PACKED_A:
        return False
    return 3 * rows * (depth * num_threads() + columns) + idle * depth * columns // 6 <= 2 * depth * columns


def _gemm_transposed(a: Array, b: Array, y: Array) -> None:
    """y = a bᵀ as the transpose of b aᵀ; b C-contiguous."""
    columns, depth = b.shape
    threads = num_threads()
    parts = threads * max(1, min(4, columns // (_SHARE * threads)))
    share = -(-columns // parts // ROWS) * ROWS
    packed_size = packed_elements(depth, len(a), WIDTH * 4 // y.itemsize)
    tasks, work = -(-columns // share), y.size * depth // _FLOPS
    _product_transposed(tasks, work, multiplier(y.dtype), a, packed_size, b, y, share)


@lru_cache(1024)
def _tasks(rows: int, depth: int, columns: int, width: int, threads: int) -> tuple[int, int]:
    """Rows and panels of a task.

    Columns are cut first, which packs nothing twice, and rows where there are too few panels for all threads, or so
    many rows that packing b again costs nothing beside them.
    """
    total = -(-columns // width)
    work = rows * depth * columns // _FLOPS
    if work < 2 * GRAIN:
        return rows, total
    wanted = max(1, min(4, work // (4 * GRAIN * threads))) * threads
    # Narrower tasks would pass a more often.
    panels = max(1, total // max(threads, min(wanted, total // _WIDE)))
    across = -(-total // panels)
    # Three tasks would leave one of two threads waiting, and so does a narrow last one.
    uneven = (across % threads and threads % across) or across * panels * width - columns > panels * width // 4
    # Cores that write neighbouring lines of the result take them from each other: the less there is to add up, the more
    # often.
    if (across < 2 * threads and uneven) or (depth <= SHALLOW and rows >= 8 * depth):
        panels, across = total, 1
    copies = min(max(threads // across, min(wanted // across, rows // _LONG)), -(-rows // ROWS))
    if copies <= 1:
        return rows, panels
    return -(-rows // copies // ROWS) * ROWS, panels


def _is_numpys(a: Array, y: Array, transpose_a: bool, transpose_b: bool) -> bool:
    count, rows, columns = y.shape
    depth = a.shape[1 if transpose_a else 2]
    if rows * depth * columns <= _SMALL_BATCHED:
        return True
    return (count < num_threads() * 2 or num_threads() == 1) and is_small(rows, depth, columns, transpose_b)


def matmul(a: Array, b: Array, y: Array, transpose_a: bool, transpose_b: bool) -> None:
    """y[i] = op(a[i]) op(b[i]) for contiguous a, b and y."""
    if a.size * y.shape[2] <= SMALL or _is_numpys(a, y, transpose_a, transpose_b):
        if len(y) == 1:
            a, b, y = a[0], b[0], y[0]
            by_numpy(a.T if transpose_a else a, b.T if transpose_b else b, y)
            return
        np.matmul(a.swapaxes(1, 2) if transpose_a else a, b.swapaxes(1, 2) if transpose_b else b, y)
        return
    count, rows, columns = y.shape
    depth = a.shape[1 if transpose_a else 2]
    if count < 2 * num_threads():
        for i in range(count):
            gemm(a[i].T if transpose_a else a[i], b[i].T if transpose_b else b[i], y[i])
        return
    _batched(
        count, y.size * depth // _FLOPS, multiplier(y.dtype),
        a.ravel(), *((1, rows) if transpose_a else (depth, 1)),
        b.ravel(), *((1, depth) if transpose_b else (columns, 1)),
        y, depth, packed_elements(depth, columns, WIDTH * 4 // y.itemsize),
    )  # fmt: skip


def pack_matrix(b: Array, slot: str) -> Array:
    """b `[K, N]`, contiguous or the transpose of a contiguous matrix, as panels in scratch memory."""
    packed = scratch(slot, (packed_elements(*b.shape, WIDTH * 4 // b.itemsize),), b.dtype)
    _pack(b.shape[0], b.size, b, packed)
    return packed
