"""Large arrays, block by block: read ahead of, worked on in the first-level cache, written past all caches.

Plain version: y[i] = f(x[i]) in one loop. Of a large array that reaches about half of the memory's speed: each line of
y is read before it is written, and the processor, whose own prefetcher begins anew on every page of 4 KB, has too few
loads under way beside the arithmetic. Vectorised loops cannot be told to store past the caches. So the same loop fills
a block that lies on the stack, and whole vectors of that are stored; beforehand what a later block is made of is asked
for. On two cores that copy at 48 GB/s squares went from 27 to 45 GB/s, sums of two arrays from 31 to 40, sigmoid, which
is mostly arithmetic, from 21 to 26.

A result in the place of what it is made of is worked out in blocks, too, of any size: a loop that reads and writes one
array is not vectorised (exponentials of 100 000 numbers in place: 116 µs, now 26).

Rows that are passed over several times (layer normalisation, the gradient of softmax; softmax itself in `rows`) are put
together in memory that stays in a cache, and stored from there. What is asked for must come in small bursts; layer
normalisation, which computes little, loses by it (24 GB/s, without 27).

Neither a block nor a row has an owner. What has one counts its references where it is sliced, by instructions that wait
until all earlier stores have reached memory: that halved the speed of blocks of 512 elements.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from .lanes import BYTES, PAST_BYTES, address, ask_for_line, load, load_some, store, store_past, store_some
from .threads import inline_jit

# Elements in a block; with 128 calls cost too much, with 512 stores and loads come in too long bursts.
BLOCK = 256
# Bytes from what is being worked on to what is asked for.
AHEAD = 2048
# Rows are passed over more than once, so that there is more time, and the second-level cache takes what is asked for.
_ROWS_AHEAD = 8192
# Bytes of a row from which that is worth while, and those that the second-level cache holds beside what is read.
_SHORTEST_ROW, _LONGEST_ROW = 512, 256 << 10


@intrinsic
def new_block(typing, array):
    """Room for BLOCK elements of the array's type in the frame of the caller."""
    to = types.Array(array.dtype, 1, "C")

    def code(context, builder, signature, arguments):
        element = context.get_data_type(array.dtype)
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(element, BLOCK))
        memory.align = 64
        count, size = (context.get_constant(types.intp, n) for n in (BLOCK, context.get_abi_sizeof(element)))
        made = context.make_array(to)(context, builder)
        data = builder.bitcast(memory, element.as_pointer())
        populate_array(made, data, shape=[count], strides=[size], itemsize=size, meminfo=None)
        return made._getvalue()

    return to(array), code


@inline_jit
def are_apart(y, x):
    """Whether two arrays share no memory."""
    return address(y) + y.nbytes <= address(x) or address(x) + x.nbytes <= address(y)


@inline_jit
def ask_for(place, count):
    """Ask for the lines of `count` bytes from a place on."""
    for line in range(place, place + count, 64):
        ask_for_line(line)


@inline_jit
def ask_ahead(x, first):
    """Ask for a block of x that comes after the one which begins at element `first`."""
    ask_for(address(x) + x.itemsize * first + AHEAD, x.itemsize * BLOCK)


@inline_jit
def ask_for_half(x, row, half):
    """Ask for the first or second half of as much as a row of x, some rows after this one."""
    width = x.itemsize * x.shape[1]
    ask_for(address(x) + width * row + _ROWS_AHEAD + half * (width // 2), width // 2)


@inline_jit
def rows_go_past(y, read):
    """Whether the rows of y, made of so many bytes, are put together in a cache to be stored past all of them."""
    return y.nbytes + read >= PAST_BYTES and _SHORTEST_ROW <= y.itemsize * y.shape[1] <= _LONGEST_ROW


@inline_jit
def room_for_row(y, past):
    """Memory for a row of y, to be borrowed; none where rows do not go past the caches."""
    return np.empty(y.shape[1], y.dtype) if past else y.reshape(-1)[:0]


@inline_jit
def keep(array):
    """What was borrowed from the array is in use until here."""


@inline_jit
def store_block(block, y, first, past):
    """To y from element `first` on; past the caches, if that is wanted, in whole vectors."""
    size = y.itemsize
    zero = y.dtype.type(0)
    source, target = address(block), address(y) + size * first
    end = target + size * block.size
    if past and target % size == 0:
        before = min(-target % BYTES // size, block.size)
        if before:
            store_some(target, load_some(source, zero, before), before)
            source += size * before
            target += size * before
        while end - target >= BYTES:
            store_past(target, load(source, zero))
            source += BYTES
            target += BYTES
    while end - target >= BYTES:
        store(target, load(source, zero))
        source += BYTES
        target += BYTES
    if target < end:
        count = (end - target) // size
        store_some(target, load_some(source, zero, count), count)
