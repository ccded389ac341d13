"""The register tile of the matrix products, written as LLVM vectors, and the packing of what it reads.

Plain version: three loops, which Numba compiles without keeping a tile of sums in registers. So `_tile` writes what a
compiler's vector extensions would: `rows` vectors of `width` sums, and per step one vector of b and one broadcast
element of each row of a. LLVM splits the vectors to what the processor has. Tiles of few rows add to several sums in
turn. A row of a may be cut into `lines`, so that the windows of an image need not be laid out as rows before they are
multiplied.

b is packed into panels of one tile's width, so that a tile reads it in one stream (`pack`; transposed operands are
transposed on the way by shuffles in registers); a is read where it lies, by rows or by columns. Sums start from zero,
from the bias, or from what the result holds; the rectifier is applied before they are stored. All addresses are
integers and all strides count elements.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic

from .gemm_few import BIAS, STORED
from .lanes import (
    BYTES,
    address,
    first_lanes,
    llvm_element,
    load,
    load_some,
    masked,
    pointer,
    prefetch,
    splat,
    spread,
    store,
    store_some,
    twice,
)
from .threads import elementwise_jit, inline_jit

# Sums take rows · 2 registers of 32 or 16; two more hold b, one an element of a.
ROWS = 12 if BYTES == 64 else 6
WIDTH = 2 * BYTES // 4  # of a panel of float32; one of float64 has half as many columns
# Steps between two stores of a tile: a panel of so many rows stays in the caches while row after row of a passes.
DEPTH = 512
# Rows of a that are multiplied with one panel after the other: they stay in the second-level cache meanwhile.
_BLOCK = 8 * ROWS

# Additions under way at a time, so that none waits for the one before: low tiles add to several sums in turn.
_CHAINS = 8

# Steps up to which the stores of a product take a good part of its time, and bytes that a task writes far away.
SHALLOW, _FAR = 128, 1 << 20


def _tile(rows: int, halvings: int, fetches: bool = False) -> Callable[..., None]:
    """A tile of `rows` rows and a panel's width halved so many times.

    If it `fetches`, each step asks for the lines of as many columns, `ahead_step` elements after the last.
    """

    @intrinsic
    def tile(
        typing, a, a_row, a_step, a_line, b, b_step, b_line, lines, c, c_row, depth, columns, start, bias, rectify,
        ahead, ahead_step, zero
    ):  # fmt: skip
        word, real = ir.IntType(64), llvm_element(zero)
        width = (WIDTH if zero == types.float32 else WIDTH // 2) >> halvings
        vector = ir.VectorType(real, width)
        size = 4 if zero == types.float32 else 8
        chains = max(1, min(4, _CHAINS // (rows if halvings else 2 * rows)))

        def code(context, builder, signature, arguments):
            (
                a, a_row, a_step, a_line, b, b_step, b_line, lines, c, c_row, depth, columns, start, bias, rectify,
                ahead, ahead_step, _,
            ) = arguments  # fmt: skip
            mask = first_lanes(builder, columns, width)
            load, store = masked(builder, vector, "load"), masked(builder, vector, "store")
            multiply_add = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{width}f{8 * size}"
            )
            alignment = ir.IntType(32)(size)
            nothing = ir.Constant(vector, None)
            row_of_c = [builder.mul(c_row, word(i)) for i in range(rows)]

            function = builder.function
            from_bias, not_bias, from_c, begin, line, loop, rest, single, turn, joined, end, clip, finish = (
                function.append_basic_block() for _ in range(13)
            )
            builder.cbranch(builder.icmp_signed("==", start, word(BIAS)), from_bias, not_bias)
            builder.position_at_end(from_bias)
            biases = builder.call(load, [pointer(builder, bias, word(0), vector), alignment, mask, nothing])
            builder.branch(begin)
            builder.position_at_end(not_bias)
            # What is stored at the end is on its way into the cache meanwhile: 1.1 times faster where c is large.
            for r in row_of_c:
                prefetch(builder, builder.add(c, builder.mul(r, word(size))), width * size, True)
            builder.cbranch(builder.icmp_signed("==", start, word(STORED)), from_c, begin)
            builder.position_at_end(from_c)
            held = [builder.call(load, [pointer(builder, c, r, vector), alignment, mask, nothing]) for r in row_of_c]
            builder.branch(begin)

            builder.position_at_end(begin)
            firsts = []
            for i in range(rows):
                first = builder.phi(vector)
                first.add_incoming(biases, from_bias)
                first.add_incoming(nothing, not_bias)
                first.add_incoming(held[i], from_c)
                firsts.append(first)
            a_bytes, b_bytes, a_line_bytes, b_line_bytes = (
                builder.mul(elements, word(size)) for elements in (a_step, b_step, a_line, b_line)
            )
            row_of_a = [builder.mul(a_row, word(i)) for i in range(rows)]
            builder.cbranch(builder.icmp_signed(">", depth, word(0)), line, end)

            def phis(*kinds: Any) -> list[Any]:
                return [builder.phi(kind) for kind in kinds]

            def incoming(targets: list[Any], values: list[Any], block: Any) -> None:
                for target, value in zip(targets, values, strict=True):
                    target.add_incoming(value, block)

            def step(a_now: Any, b_now: Any, sums: list[Any]) -> list[Any]:
                values = builder.load(pointer(builder, b_now, word(0), vector), align=size)
                added = []
                for i in range(rows):
                    element = builder.load(pointer(builder, a_now, row_of_a[i], real), align=size)
                    added.append(builder.call(multiply_add, [spread(builder, element, width), values, sums[i]]))
                return added

            # Sums in turn, rows of them at a time, as many as hide how long one addition takes.
            places, all_sums = [word] * 3, [vector] * (rows * chains)
            builder.position_at_end(line)
            number, a_first, b_first, *carried = phis(*places, *all_sums)
            others = [nothing] * (rows * (chains - 1))
            incoming([number, a_first, b_first, *carried], [word(0), a, b, *firsts, *others], begin)
            builder.cbranch(builder.icmp_signed("<", depth, word(chains)), rest, loop)

            builder.position_at_end(loop)
            k, a_now, b_now, *sums = phis(*places, *all_sums)
            incoming([k, a_now, b_now, *sums], [word(0), a_first, b_first, *carried], line)
            if fetches:
                passed = builder.mul(k, builder.mul(ahead_step, word(size)))
                prefetch(builder, builder.add(ahead, passed), width * size, False)
            a_next, b_next, added = a_now, b_now, []
            for chain in range(chains):
                added += step(a_next, b_next, sums[chain * rows : (chain + 1) * rows])
                a_next, b_next = builder.add(a_next, a_bytes), builder.add(b_next, b_bytes)
            k_next = builder.add(k, word(chains))
            incoming([k, a_now, b_now, *sums], [k_next, a_next, b_next, *added], loop)
            builder.cbranch(builder.icmp_signed("<=", builder.add(k_next, word(chains)), depth), loop, rest)

            builder.position_at_end(rest)
            after = phis(*places, *all_sums)
            incoming(after, [word(0), a_first, b_first, *carried], line)
            incoming(after, [k_next, a_next, b_next, *added], loop)
            builder.cbranch(builder.icmp_signed("<", after[0], depth), single, turn)

            builder.position_at_end(single)
            k, a_now, b_now, *sums = after
            done = [
                builder.add(k, word(1)), builder.add(a_now, a_bytes), builder.add(b_now, b_bytes),
                *step(a_now, b_now, sums[:rows]), *sums[rows:],
            ]  # fmt: skip
            incoming(after, done, single)
            builder.branch(rest)

            builder.position_at_end(turn)
            number_next = builder.add(number, word(1))
            turned = [number_next, builder.add(a_first, a_line_bytes), builder.add(b_first, b_line_bytes), *after[3:]]
            incoming([number, a_first, b_first, *carried], turned, turn)
            builder.cbranch(builder.icmp_signed("<", number_next, lines), line, joined)

            builder.position_at_end(joined)
            together = after[3 : 3 + rows]
            for chain in range(1, chains):
                together = [
                    builder.fadd(one, other) for one, other in zip(together, after[3 + chain * rows :], strict=False)
                ]
            builder.branch(end)

            builder.position_at_end(end)
            totals = phis(*[vector] * rows)
            incoming(totals, firsts, begin)
            incoming(totals, together, joined)
            builder.cbranch(rectify, clip, finish)
            builder.position_at_end(clip)
            # NaN is not ≤ 0 and stays.
            clipped = [builder.select(builder.fcmp_ordered("<=", total, nothing), nothing, total) for total in totals]
            builder.branch(finish)
            builder.position_at_end(finish)
            for i in range(rows):
                result = builder.phi(vector)
                result.add_incoming(totals[i], end)
                result.add_incoming(clipped[i], clip)
                totals[i] = result
            for i in range(rows):
                builder.call(store, [totals[i], pointer(builder, c, row_of_c[i], vector), alignment, mask])

        integers = [types.int64] * 14
        return types.void(*integers, types.boolean, types.int64, types.int64, zero), code

    return tile


def _height(rows: int) -> Callable[..., None]:
    wide, half, quarter = (_tile(rows, halvings) for halvings in range(3))

    @elementwise_jit
    def height(
        a, a_row, a_step, a_line, b, b_step, b_line, lines, c, c_row, depth, columns, start, bias, rectify, zero, width
    ):
        if columns * 2 > width:
            wide(
                a, a_row, a_step, a_line, b, b_step, b_line, lines, c, c_row, depth, columns, start, bias, rectify,
                0, 0, zero,
            )  # fmt: skip
        elif columns * 4 > width:
            half(
                a, a_row, a_step, a_line, b, b_step, b_line, lines, c, c_row, depth, columns, start, bias, rectify,
                0, 0, zero,
            )  # fmt: skip
        else:
            quarter(
                a, a_row, a_step, a_line, b, b_step, b_line, lines, c, c_row, depth, columns, start, bias, rectify,
                0, 0, zero,
            )  # fmt: skip

    return height


@intrinsic
def copy(typing, source, target, count, zero):
    """Copy `count` elements."""

    def code(context, builder, signature, arguments):
        source, target, count, _ = arguments
        size = 4 if zero == types.float32 else 8
        pointers = (builder.inttoptr(place, ir.IntType(8).as_pointer()) for place in (target, source))
        cgutils.raw_memcpy(builder, *pointers, count, size)

    return types.void(types.int64, types.int64, types.int64, zero), code


@intrinsic
def transpose(typing, source, source_row, target, target_row, zero):
    """target[j, i] = source[i, j] for a square of 8 rows."""

    def code(context, builder, signature, arguments):
        source, source_row, target, target_row, _ = arguments
        word, vector = ir.IntType(64), ir.VectorType(llvm_element(zero), _SQUARE)
        size = 4 if zero == types.float32 else 8
        offsets = [[builder.mul(row, word(i)) for i in range(_SQUARE)] for row in (source_row, target_row)]
        rows = [builder.load(pointer(builder, source, offset, vector), align=size) for offset in offsets[0]]
        half, places = _SQUARE // 2, range(_SQUARE)
        choices = [
            ir.Constant(
                ir.VectorType(ir.IntType(32), _SQUARE), [part * half + i // 2 + i % 2 * _SQUARE for i in places]
            )
            for part in (0, 1)
        ]
        # A perfect shuffle of all elements, as often as the number of rows can be halved, is the transposition.
        for _ in range(_SQUARE.bit_length() - 1):
            rows = [builder.shuffle_vector(rows[i], rows[i + half], choice) for i in range(half) for choice in choices]
        for row, offset in zip(rows, offsets[1], strict=True):
            builder.store(row, pointer(builder, target, offset, vector), align=size)

    return types.void(types.int64, types.int64, types.int64, types.int64, zero), code


_SQUARE = 8
# Rows of b that are packed for all panels before the next: as many as prefetchers follow, or as fill lines of a panel.
_STRIPE = 8
_STRIPE_TRANSPOSED = 32
_HEIGHTS = (12, 8, 4, 2, 1) if ROWS == 12 else (6, 4, 2, 1)
_heights = [_height(rows) for rows in _HEIGHTS]
_full, (_h8, _h4, _h2, _h1) = _heights[0], (_heights[1], *_heights[-3:])
_fetching = _tile(ROWS, 0, True)


@elementwise_jit
def _panel_width(columns, width):
    """Columns that a panel holds for so many columns of b."""
    return width if columns * 2 > width else width // 2 if columns * 4 > width else width // 4


@elementwise_jit
def pack(b, b_row, b_column, depth, columns, packed, k0, k1):
    """Lay b, flat, b[(k − k0)·b_row + j·b_column], out as rows k0 … k1 of panels, filled up with zeros.

    Some rows of all panels come before the next, so that b is read by lines of the cache that follow one another.
    """
    width = WIDTH if packed.itemsize == 4 else WIDTH // 2
    stripe = _STRIPE_TRANSPOSED if b_row == 1 and b_column != 1 else _STRIPE
    for k in range(k0, k1, stripe):
        stop = min(k + stripe, k1)
        for j in range(0, columns, width):
            count = min(width, columns - j)
            at = (k - k0) * b_row + j * b_column
            if b_row == 1 and b_column != 1:
                _pack_transposed(b, at, b_column, packed, j * depth, k, stop, count, width)
            else:
                _pack_rows(b, at, b_row, b_column, packed, j * depth, k, stop, count, width)


@elementwise_jit
def _pack_rows(b, at, b_row, b_column, packed, panel, k0, k1, count, width):
    zero = packed.dtype.type(0)
    size = packed.itemsize
    step = _panel_width(count, width)
    wide, single = twice(zero), splat(zero, zero)
    for k in range(k0, k1):
        source = at + (k - k0) * b_row
        target = panel + k * step
        if b_column == 1 and count == width:
            store(address(packed) + size * target, load(address(b) + size * source, wide))
        elif b_column == 1 and step == width:
            store(address(packed) + size * target, load_some(address(b) + size * source, wide, count))
        elif b_column == 1:
            row = load_some(address(b) + size * source, single, count)
            store_some(address(packed) + size * target, row, step)
        else:
            for n in range(count):
                packed[np.uint64(target + n)] = b[np.uint64(source + n * b_column)]
            for n in range(count, step):
                packed[np.uint64(target + n)] = zero


@elementwise_jit
def _pack_transposed(b, at, b_column, packed, panel, k0, k1, count, width):
    zero = packed.dtype.type(0)
    size = packed.itemsize
    step = _panel_width(count, width)
    k = k0
    while k1 - k >= _SQUARE:
        source = at + k - k0
        whole = count // _SQUARE * _SQUARE
        for i in range(0, whole, _SQUARE):
            transpose(
                address(b) + size * (source + i * b_column), b_column,
                address(packed) + size * (panel + k * step + i), step, zero,
            )  # fmt: skip
        for m in range(_SQUARE):
            target = panel + (k + m) * step
            for n in range(whole, count):
                packed[np.uint64(target + n)] = b[np.uint64(source + m + n * b_column)]
            for n in range(count, step):
                packed[np.uint64(target + n)] = zero
        k += _SQUARE
    if k < k1:
        _pack_rows(b, at + k - k0, 1, b_column, packed, panel, k, k1, count, width)


def _multiply(zero: Any) -> Callable[..., None]:
    real, size = zero.dtype, zero.itemsize
    width = WIDTH * 4 // size

    def multiply(
        a, a_row, a_step, a_line, lines, rows, packed, depth, first, last, columns, c, c_row, start, bias, rectify,
        ahead, ahead_row
    ):  # fmt: skip
        # Rows or steps of a that lie a page apart compete for the same few lines of the cache: where a is read often
        # enough, a block of it is copied to where they lie close together.
        copied = lines == 1 and last - first > 1 and rows > ROWS and size * max(a_row, a_step) >= 1024
        width_of_block = min(depth, DEPTH) + 16
        block = np.empty(_BLOCK * width_of_block if copied else 1, real)
        # A large result of a few steps is written by whole rows.
        high = ROWS if lines == 1 and depth <= SHALLOW and size * rows * c_row > _FAR else _BLOCK
        for r in range(0, rows, high):
            count = min(high, rows - r)
            for k in range(0, max(depth, 1), DEPTH):
                steps = min(DEPTH, depth - k)
                mode = start if k == 0 else STORED
                clip = rectify != 0 and k + steps == depth
                u, u_row, u_step = a + size * (r * a_row + k * a_step), a_row, a_step
                if copied:
                    if a_step == 1:
                        u_row, u_step = width_of_block, 1
                        for i in range(count):
                            copy(u + size * i * a_row, address(block) + size * i * u_row, steps, zero)
                    else:
                        u_row, u_step = 1, _BLOCK
                        for i in range(steps):
                            copy(u + size * i * a_step, address(block) + size * i * u_step, count, zero)
                    u = address(block)
                for p in range(first, last):
                    j = p * width
                    n = min(width, columns - j)
                    w = _panel_width(n, width)
                    b = packed + size * (j * depth * lines + k * w)
                    beta = bias + size * j
                    v = c + size * (r * c_row + j)
                    i = 0
                    if ahead != 0 and r == 0 and n == width and count >= ROWS:
                        _fetching(
                            u, u_row, u_step, a_line, b, w, depth * w, lines, v, c_row, steps, n, mode, beta, clip,
                            ahead + size * j, ahead_row, zero,
                        )  # fmt: skip
                        i = ROWS
                    while count - i >= ROWS:
                        _full(
                            u + size * i * u_row, u_row, u_step, a_line, b, w, depth * w, lines, v + size * i * c_row,
                            c_row, steps, n, mode, beta, clip, zero, width,
                        )  # fmt: skip
                        i += ROWS
                    if count - i >= 8:
                        _h8(
                            u + size * i * u_row, u_row, u_step, a_line, b, w, depth * w, lines, v + size * i * c_row,
                            c_row, steps, n, mode, beta, clip, zero, width,
                        )  # fmt: skip
                        i += 8
                    if count - i >= 4:
                        _h4(
                            u + size * i * u_row, u_row, u_step, a_line, b, w, depth * w, lines, v + size * i * c_row,
                            c_row, steps, n, mode, beta, clip, zero, width,
                        )  # fmt: skip
                        i += 4
                    if count - i >= 2:
                        _h2(
                            u + size * i * u_row, u_row, u_step, a_line, b, w, depth * w, lines, v + size * i * c_row,
                            c_row, steps, n, mode, beta, clip, zero, width,
                        )  # fmt: skip
                        i += 2
                    if count > i:
                        _h1(
                            u + size * i * u_row, u_row, u_step, a_line, b, w, depth * w, lines, v + size * i * c_row,
                            c_row, steps, n, mode, beta, clip, zero, width,
                        )  # fmt: skip

    return multiply


@cache
def multiplier(dtype: np.dtype[Any]) -> int:
    """Address of the product of rows of a and panels of b, compiled once per dtype for all kernels that call it.

    c[:, panels first … last] = start + a b, clipped at zero if `rectify`; a and c by address and strides, b packed.
    A row of a is `lines` stretches of `depth` elements, a_line from one to the next, as a window lies in an image.
    `ahead` is where a block of b lies that is packed next, by rows ahead_row apart, and is fetched meanwhile, or 0.
    """
    signature = types.void(*[types.int64] * 18)
    compiled = cfunc(signature, cache=True, nopython=True, error_model="numpy")(_multiply(dtype.type(0)))
    return int(compiled.address)


@intrinsic
def call_fetching_multiplier(
    typing, function, a, a_row, a_step, a_line, lines, rows, packed, depth, first, last, columns, c, c_row, start, bias,
    rectify, ahead, ahead_row
):  # fmt: skip
    """Call what `multiplier` has given."""

    def code(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 18)
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])

    return types.void(*[types.int64] * 19), code


@inline_jit
def call_window_multiplier(
    function, a, a_row, a_step, a_line, lines, rows, packed, depth, first, last, columns, c, c_row, start, bias, rectify
):
    """The same without fetching anything."""
    call_fetching_multiplier(
        function, a, a_row, a_step, a_line, lines, rows, packed, depth, first, last, columns, c, c_row, start, bias,
        rectify, 0, 0,
    )  # fmt: skip


@inline_jit
def call_multiplier(
    function, a, a_row, a_step, rows, packed, depth, first, last, columns, c, c_row, start, bias, rectify
):
    """The same for rows that are one stretch each."""
    call_window_multiplier(
        function, a, a_row, a_step, 0, 1, rows, packed, depth, first, last, columns, c, c_row, start, bias, rectify
    )


@elementwise_jit
def transpose_block(block, rows, count, y, at, y_row):
    """y[i, j] = block[j, i] for `rows` rows and `count` columns of y from a place on."""
    size = y.itemsize
    zero = y.dtype.type(0)
    # Down a column of squares rows of y that lie a power of two apart would drive each other out of the cache.
    for i in range(0, rows, _SQUARE):
        for j in range(0, count, _SQUARE):
            if count - j >= _SQUARE and rows - i >= _SQUARE:
                source = address(block) + size * (j * rows + i)
                transpose(source, rows, address(y) + size * (at + i * y_row + j), y_row, zero)
            else:
                for m in range(i, min(i + _SQUARE, rows)):
                    for n in range(j, min(j + _SQUARE, count)):
                        y[np.uint64(at + m * y_row + n)] = block[np.uint64(n * rows + m)]


def packed_elements(depth: int, columns: int, width: int) -> int:
    """Elements of a packed matrix."""
    whole = columns // width * width
    rest = columns - whole
    return depth * (
        whole + (width if rest * 2 > width else width // 2 if rest * 4 > width else width // 4 if rest else 0)
    )
