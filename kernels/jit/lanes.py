"""Vectors of neighbouring elements as values, for loops that LLVM does not vectorise well.

Plain version: a loop over slices, one per row or pixel, which LLVM vectorises. Where such a row has the channels of one
pixel, 6 or 64, that costs more than it does: the bounds of each slice, and whether any two overlap, are looked into
before every few vectors; and sums leave the registers between two loops. Here a kernel says itself what a vector
instruction does, as C does with vector extensions; whole windows are summed in registers, rows narrower than a vector
are masked, and large results can go past the caches. LLVM still chooses instructions and splits vectors.

Places are addresses, in bytes. What is to be like `zero`, a number, fills one register with such numbers; like another
vector, it has as many lanes as that.
"""

from __future__ import annotations

import operator
import platform
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, models, overload, register_model

from .threads import inline_jit

# Of the processor that Numba compiles for.
_FEATURES = (config.CPU_FEATURES or binding.get_host_cpu_features().flatten()).split(",")
BYTES = 64 if "+avx512f" in _FEATURES else 32 if "+avx" in _FEATURES else 16
# A result larger than this, with what it is made of, goes past the caches: else its lines would be read beforehand.
PAST_BYTES = 16 << 20

_WORD = ir.IntType(64)
_INT = ir.IntType(32)
_PLACE = ir.IntType(8).as_pointer()


def goes_past(result: Any, *parts: Any) -> bool:
    """Whether a result is so large, with what it is made of, that it goes past the caches, and begins where it can."""
    return result.nbytes + sum(part.nbytes for part in parts) >= PAST_BYTES and result.ctypes.data % BYTES == 0


class Lanes(types.Type):
    """Real numbers, or as many integers or truths about them."""

    def __init__(self, element: Any, count: int) -> None:
        self.element, self.count = element, count
        super().__init__(f"lanes({element}, {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, ir.VectorType(llvm_element(kind.element), kind.count))


def llvm_element(element: Any) -> Any:
    if element in (types.float32, types.float64):
        return ir.FloatType() if element == types.float32 else ir.DoubleType()
    return ir.IntType(1 if element == types.boolean else element.bitwidth)


def _like(zero: Any) -> Lanes:
    return zero if isinstance(zero, Lanes) else Lanes(zero, BYTES * 8 // zero.bitwidth)


def pointer(builder: Any, place: Any, offset: Any, kind: Any) -> Any:
    """Pointer to a value of type `kind`, `offset` elements of its own element type after the address."""
    element = kind.element if isinstance(kind, ir.VectorType) else kind
    found = builder.gep(builder.inttoptr(place, element.as_pointer()), [offset])
    return builder.bitcast(found, kind.as_pointer())


def spread(builder: Any, value: Any, width: int) -> Any:
    """A vector that has the value in all lanes."""
    vector = ir.VectorType(value.type, width)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _INT(0))
    return builder.shuffle_vector(
        one, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(_INT, width), [0] * width)
    )


def first_lanes(builder: Any, count: Any, width: int) -> Any:
    """A mask of the first `count` lanes."""
    lanes = ir.Constant(ir.VectorType(_INT, width), list(range(width)))
    return builder.icmp_signed("<", lanes, spread(builder, builder.trunc(count, _INT), width))


def masked(builder: Any, vector: Any, operation: str) -> Any:
    """LLVM's masked load or store of a vector type."""
    mask, size = ir.VectorType(ir.IntType(1), vector.count), bits(vector.element)
    name = f"llvm.masked.{operation}.v{vector.count}{'i' if isinstance(vector.element, ir.IntType) else 'f'}{size}.p0"
    if operation == "load":
        kind = ir.FunctionType(vector, [vector.as_pointer(), _INT, mask, vector])
    else:
        kind = ir.FunctionType(ir.VoidType(), [vector, vector.as_pointer(), _INT, mask])
    return cgutils.get_or_insert_function(builder.module, kind, name)


def prefetch(builder: Any, at: Any, count: int, for_store: bool) -> None:
    """Ask for the lines of the cache that hold `count` bytes from an address on, to write to them or to read them."""
    kind = ir.FunctionType(ir.VoidType(), [_PLACE, _INT, _INT, _INT])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    how = [_INT(1), _INT(3)] if for_store else [_INT(0), _INT(2)]
    for offset in range(0, count, 64):
        place = builder.inttoptr(builder.add(at, _WORD(offset)), _PLACE)
        builder.call(function, [place, *how, _INT(1)])  # 1: data


@intrinsic
def ask_for_line(typing, place):
    """Ask for the line of the cache that holds a place, which is read soon; it need not be an array's."""

    def code(context, builder, signature, arguments):
        prefetch(builder, arguments[0], 1, False)

    return types.void(types.int64), code


def bits(element: Any) -> int:
    return element.width if isinstance(element, ir.IntType) else 32 if isinstance(element, ir.FloatType) else 64


@intrinsic
def address(typing, array):
    """Where an array's first element lies."""

    def code(context, builder, signature, arguments):
        data = context.make_array(array)(context, builder, arguments[0]).data
        return builder.ptrtoint(data, _WORD)

    return types.int64(array), code


@inline_jit
def room_on_a_line(count, like):
    """Memory for so many elements of an array's type that begins on a line of the cache.

    Half of what Numba allocates does not, and vectors that lie on two lines made products take 1.1 times as long.
    """
    room = np.empty(count + 64 // like.itemsize, like.dtype)
    return room[-address(room) % 64 // like.itemsize :]


@overload(len)
def _len(lanes):
    if isinstance(lanes, Lanes):
        count = lanes.count
        return lambda lanes: count
    return None


@intrinsic
def splat(typing, value, zero):
    """A number in all lanes."""
    to = Lanes(value, _like(zero).count)
    return to(value, zero), lambda context, builder, signature, arguments: spread(builder, arguments[0], to.count)


@intrinsic
def twice(typing, zero):
    """Two registers of zeros, which as one value spare half of the counting and give the processor more to overlap."""
    one = _like(zero)
    to = Lanes(one.element, 2 * one.count)
    return to(zero), lambda context, builder, signature, arguments: ir.Constant(context.get_value_type(to), None)


def _load(builder: Any, place: Any, vector: Any, count: Any) -> Any:
    size = bits(vector.element) // 8
    at = pointer(builder, place, _WORD(0), vector)
    if count is None:
        return builder.load(at, align=size)
    mask = first_lanes(builder, count, vector.count)
    return builder.call(masked(builder, vector, "load"), [at, _INT(size), mask, ir.Constant(vector, None)])


def _store(builder: Any, place: Any, value: Any, count: Any) -> None:
    size = bits(value.type.element) // 8
    at = pointer(builder, place, _WORD(0), value.type)
    if count is None:
        builder.store(value, at, align=size)
    else:
        mask = first_lanes(builder, count, value.type.count)
        builder.call(masked(builder, value.type, "store"), [value, at, _INT(size), mask])


@intrinsic
def load(typing, place, zero):
    """A vector of the elements from `place` on."""
    to = _like(zero)

    def code(context, builder, signature, arguments):
        return _load(builder, arguments[0], context.get_value_type(to), None)

    return to(types.int64, zero), code


@intrinsic
def load_some(typing, place, zero, count):
    """The first `count` elements, or as many as there are lanes, and zeros."""
    to = _like(zero)

    def code(context, builder, signature, arguments):
        return _load(builder, arguments[0], context.get_value_type(to), arguments[2])

    return to(types.int64, zero, types.int64), code


@intrinsic
def load_over(typing, place, lanes, count):
    """The vector with its first `count` lanes, or all, loaded."""

    def code(context, builder, signature, arguments):
        place, lanes, count = arguments
        size = bits(lanes.type.element) // 8
        mask = first_lanes(builder, count, lanes.type.count)
        at = pointer(builder, place, _WORD(0), lanes.type)
        return builder.call(masked(builder, lanes.type, "load"), [at, _INT(size), mask, lanes])

    return lanes(types.int64, lanes, types.int64), code


@intrinsic
def store(typing, place, lanes):
    def code(context, builder, signature, arguments):
        _store(builder, *arguments, None)

    return types.void(types.int64, lanes), code


@intrinsic
def store_some(typing, place, lanes, count):
    """The first `count` lanes, or all."""

    def code(context, builder, signature, arguments):
        _store(builder, *arguments)

    return types.void(types.int64, lanes, types.int64), code


@intrinsic
def store_past(typing, place, lanes):
    """Past the caches, to a place that is a multiple of BYTES; `finish_stores` comes before anybody reads it."""

    def code(context, builder, signature, arguments):
        place, value = arguments
        stored = builder.store(value, pointer(builder, place, _WORD(0), value.type), align=BYTES)
        stored.set_metadata("nontemporal", builder.module.add_metadata([_INT(1)]))

    return types.void(types.int64, lanes), code


@intrinsic
def finish_stores(typing):
    """What was stored past the caches comes before what follows."""

    def code(context, builder, signature, arguments):
        if platform.machine().lower() in ("x86_64", "amd64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse.sfence"), [])

    return types.void(), code


@intrinsic
def use_whole_registers(typing):
    """Loops of this function are vectorised for registers of BYTES; LLVM takes Intel's processors to prefer half."""

    def code(context, builder, signature, arguments):
        # llvmlite knows no attributes with a value, but writes them down as they come.
        set.add(builder.function.attributes, f'"prefer-vector-width"="{8 * BYTES}"')

    return types.void(), code


@intrinsic
def load_places(typing, place, index, zero, count):
    """Numbers of places as int32, from memory that holds elements of the type of `index`."""
    to = Lanes(types.int32, _like(zero).count)

    def code(context, builder, signature, arguments):
        vector = ir.VectorType(llvm_element(index), to.count)
        held = _load(builder, arguments[0], vector, arguments[3])
        return held if index.bitwidth == 32 else builder.zext(held, context.get_value_type(to))

    return to(types.int64, index, zero, types.int64), code


@intrinsic
def store_places(typing, place, lanes, index, count):
    """The reverse of `load_places`."""

    def code(context, builder, signature, arguments):
        place, value, _, count = arguments
        if index.bitwidth != 32:
            value = builder.trunc(value, ir.VectorType(llvm_element(index), lanes.count))
        _store(builder, place, value, count)

    return types.void(types.int64, lanes, index, types.int64), code


@intrinsic
def as_reals(typing, whole, zero):
    """Whole numbers as real ones, of the type of `zero`."""
    to = Lanes(zero, whole.count)

    def code(context, builder, signature, arguments):
        return builder.sitofp(arguments[0], context.get_value_type(to))

    return to(whole, zero), code


@intrinsic
def beats(typing, new, best):
    """Where `new` is larger than `best`, or the first NaN."""
    to = Lanes(types.boolean, new.count)

    def code(context, builder, signature, arguments):
        new, best = arguments
        return builder.and_(builder.fcmp_unordered(">", new, best), builder.fcmp_ordered("ord", best, best))

    return to(new, best), code


def _halves(builder: Any, value: Any) -> list[Any]:
    count = value.type.count // 2
    places = (ir.VectorType(_INT, count)([*range(start, start + count)]) for start in (0, count))
    return [builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), half) for half in places]


def _choice(sign: str) -> tuple[Any, Any]:
    def pick(builder: Any, a: Any, b: Any) -> Any:
        return builder.select(builder.fcmp_ordered(sign, a, b), a, b)

    @intrinsic
    def of_two(typing, a, b):
        return a(a, b), lambda context, builder, signature, arguments: pick(builder, *arguments)

    @intrinsic
    def of_lanes(typing, lanes):
        def code(context, builder, signature, arguments):
            (value,) = arguments
            while value.type.count > 1:
                value = pick(builder, *_halves(builder, value))
            return builder.extract_element(value, _INT(0))

        return lanes.element(lanes), code

    return of_two, of_lanes


@intrinsic
def multiply_add(typing, a, b, c):
    """a·b + c, rounded once where the processor can."""

    def code(context, builder, signature, arguments):
        vector = arguments[0].type
        name = f"llvm.fmuladd.v{vector.count}f{bits(vector.element)}"
        kind = ir.FunctionType(vector, [vector] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    return c(a, b, c), code


@intrinsic
def sums_of_four(typing, a, b, c, d):
    """The sums of the lanes of each of four vectors, as a vector."""
    to = Lanes(a.element, 4)

    def folded(builder: Any, one: Any, other: Any, group: int) -> Any:
        # Both have groups of lanes that belong together: the first half of each is added to the second.
        low = [i for i in range(2 * one.type.count if other else one.type.count) if i % group < group // 2]
        halves = (ir.Constant(ir.VectorType(_INT, len(low)), [i + shift for i in low]) for shift in (0, group // 2))
        return builder.fadd(*(builder.shuffle_vector(one, other or one, half) for half in halves))

    def code(context, builder, signature, arguments):
        group = a.count
        one, other = (folded(builder, *arguments[i : i + 2], group) for i in (0, 2))
        if group == 2:
            return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_INT, 4), [0, 1, 2, 3]))
        value = folded(builder, one, other, group // 2)
        for width in range(group.bit_length() - 3, 0, -1):
            value = folded(builder, value, None, 1 << width)
        return value

    return to(a, b, c, d), code


@intrinsic
def sum_of_lanes(typing, lanes):
    """As a tree, half to half."""

    def code(context, builder, signature, arguments):
        (value,) = arguments
        while value.type.count > 1:
            value = builder.fadd(*_halves(builder, value))
        return builder.extract_element(value, _INT(0))

    return lanes.element(lanes), code


# The larger or smaller of two vectors in each lane, b's where either is NaN, and of the lanes of one: one instruction
# on x86. NaN is found beside it, by magnitude, which takes two, none of them with a mask, or by `nan_bits`.
larger, largest_lane = _choice(">")
smaller, smallest_lane = _choice("<")


_INFINITY = {32: 0xFF000000, 64: 0xFFE0000000000000}  # its magnitude


def _whole(lanes: Lanes) -> Lanes:
    return Lanes(types.uint32 if lanes.element == types.float32 else types.uint64, lanes.count)


@intrinsic
def magnitude(typing, lanes):
    """Whole numbers in the order of the lanes' magnitudes: of infinity the largest but for NaN."""
    to = _whole(lanes)

    def code(context, builder, signature, arguments):
        whole = builder.bitcast(arguments[0], context.get_value_type(to))
        return builder.add(whole, whole)

    return to(lanes), code


@intrinsic
def largest(typing, a, b):
    """The larger of whole numbers in each lane."""

    def code(context, builder, signature, arguments):
        return builder.select(builder.icmp_unsigned(">", *arguments), *arguments)

    return a(a, b), code


@intrinsic
def beyond_infinity(typing, lanes):
    """Where a magnitude is NaN's."""
    to = Lanes(types.boolean, lanes.count)

    def code(context, builder, signature, arguments):
        kind = arguments[0].type
        infinity = _INFINITY[kind.element.width]
        return builder.icmp_unsigned(">", arguments[0], ir.Constant(kind, [infinity] * kind.count))

    return to(lanes), code


@intrinsic
def nan_bits(typing, lanes):
    """A number that is not zero if a lane is NaN; one comparison for two lanes."""

    def code(context, builder, signature, arguments):
        found = builder.fcmp_unordered("uno", *_halves(builder, arguments[0]))
        return builder.zext(builder.bitcast(found, ir.IntType(lanes.count // 2)), _WORD)

    return types.int64(lanes), code


@intrinsic
def strange(typing, lanes):
    """Where there is no number."""
    to = Lanes(types.boolean, lanes.count)
    return to(lanes), lambda context, builder, signature, arguments: builder.fcmp_unordered("uno", *arguments * 2)


@intrinsic
def same(typing, a, b):
    """Where numbers are equal."""
    to = Lanes(types.boolean, a.count)
    return to(a, b), lambda context, builder, signature, arguments: builder.fcmp_ordered("==", *arguments)


@intrinsic
def at_least(typing, a, b):
    """Where integers of a are at least as large as those of b."""
    to = Lanes(types.boolean, a.count)
    return to(a, b), lambda context, builder, signature, arguments: builder.icmp_signed(">=", *arguments)


@intrinsic
def first_true(typing, lanes):
    """The first lane where a condition holds, the number of lanes if it holds nowhere."""

    def code(context, builder, signature, arguments):
        truths = builder.bitcast(arguments[0], ir.IntType(lanes.count))
        if lanes.count < 64:
            truths = builder.or_(builder.zext(truths, _WORD), _WORD(1 << lanes.count))
        return builder.cttz(truths, ir.IntType(1)(0))

    return types.int64(lanes), code


@intrinsic
def rectified(typing, lanes):
    """Nothing negative; NaN stays."""

    def code(context, builder, signature, arguments):
        nothing = ir.Constant(arguments[0].type, None)
        return builder.select(builder.fcmp_ordered("<=", arguments[0], nothing), nothing, arguments[0])

    return lanes(lanes), code


@intrinsic
def equal(typing, a, b):
    """Where integers are equal."""
    to = Lanes(types.boolean, a.count)
    return to(a, b), lambda context, builder, signature, arguments: builder.icmp_signed("==", *arguments)


@intrinsic
def choose(typing, condition, a, b):
    """Lanes of a where the condition holds, of b elsewhere."""
    return a(condition, a, b), lambda context, builder, signature, arguments: builder.select(*arguments)


def _arithmetic(operation: Any, instruction: str) -> None:
    @intrinsic
    def compute(typing, a, b):
        return a(a, b), lambda context, builder, signature, arguments: getattr(builder, instruction)(*arguments)

    @overload(operation)
    def _compute(a, b):
        if isinstance(a, Lanes) and a == b:
            return lambda a, b: compute(a, b)
        return None


for _operation, _instruction in (
    (operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv"),
):  # fmt: skip
    _arithmetic(_operation, _instruction)
