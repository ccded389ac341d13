"""How this engine uses several cores: serial kernels on ranges, shared out in machine code.

Numba's own `parallel=True` is not used. Its three threading layers each have a way to end the process: "workqueue"
aborts when two Python threads enter parallel kernels at once (also where one of them runs somebody else's Numba code,
which no lock of ours could see), GNU OpenMP terminates a forked child, TBB is an extra most machines lack. And every
parallel kernel costs seconds to compile. Instead each kernel is serial, releases the GIL (`nogil=True`) and takes a
range `start, stop` as its first arguments.

The plain version is a queue that hands pieces of the range to Python threads; it costs two wake-ups of a sleeping
thread and a fight for the GIL, some 100 µs, more than a pass over a megabyte. Here each ranged kernel is compiled into
a launcher that posts its arguments and a function pointer in shared memory, takes pieces itself until none is left and
waits for those that others took. The caller takes them from the end, workers from the beginning: in a row of kernels
each finds in its cache what it has read or written before. The workers are Python threads inside one compiled loop,
without the GIL: they spin for a moment after the last job, since a network calls one primitive right after the other,
and a job reaches them in well under a microsecond; then they sleep. A worker that wakes too late finds nothing left and
is not waited for. A caller that finds the post taken, by another Python thread, does all pieces by itself.

That is safe from any number of threads and after a fork, and uses the same machine code for one core. What a kernel
computes never depends on the number of pieces: reductions are cut into blocks of a size fixed by the shape.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import os
import platform
import sys
import threading
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Work (elements touched, one cheap operation each) below which a piece costs more than it brings.
GRAIN = 1 << 14
# Pieces for each thread, so that one that is late or slowed finds less to do.
_PIECES = 2
_TASKS = 16
# Scratch a thread keeps for its next call; larger requests are allocated and freed.
SCRATCH_KEPT = 32 << 20

# Contraction (a·b + c as one instruction) leaves NaN and infinity alone, so it is on everywhere; reassociation lets
# sums be vectorised and is for kernels that hold no compensated arithmetic.
_COMMON: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False}
_CONTRACT = {"contract"}
_REASSOCIATE = {"contract", "reassoc", "nsz"}
elementwise_jit: Callable[..., Any] = numba.njit(fastmath=_CONTRACT, **_COMMON)
inline_jit: Callable[..., Any] = numba.njit(fastmath=_CONTRACT, forceinline=True, **_COMMON)
reduction_jit: Callable[..., Any] = numba.njit(fastmath=_REASSOCIATE, **_COMMON)
# For results that are the same bits on every engine.
strict_jit: Callable[..., Any] = numba.njit(**_COMMON)

_ABSENT = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64, np.uint8, np.int32)}

# The shared memory of a pool, as indices of 64-bit words, a cache line apart where several threads write.
_BUSY, _JOBS, _LEFT, _DONE, _FUNCTION, _ARGUMENTS, _COUNT, _STEP, _WORDS = 0, 8, 16, 24, 32, 33, 34, 35, 40
# Where the two ends of the pieces are counted from: more than there are threads.
_FEWEST = 1 << 16
# Polls, each some tens of nanoseconds, before a worker without work sleeps.
_POLLS = 4000
# Polls before a caller that waits for the last piece lets other threads of the core run.
_PATIENCE = 2000

_WORD = ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()
_PIECE = ir.FunctionType(ir.VoidType(), [_WORD, _WORD, _BYTES])


def _word(builder: Any, crew: Any, index: int) -> Any:
    return builder.gep(builder.inttoptr(crew, _WORD.as_pointer()), [_WORD(index)])


def _load(builder: Any, crew: Any, index: int) -> Any:
    return builder.load_atomic(_word(builder, crew, index), "acquire", 8)


def _store(builder: Any, crew: Any, index: int, value: Any) -> None:
    builder.store_atomic(value, _word(builder, crew, index), "release", 8)


def _take_pieces(builder: Any, crew: Any, from_end: bool) -> None:
    """Run pieces of the posted job, the first or the last that is left each time, until none is."""
    # One word decides who runs what: its low half is where the pieces that are left end, its high half where they
    # begin, both above _FEWEST, so that nobody who comes in vain borrows from the other half. Whoever finds an end
    # above the beginning has the piece there. Between two jobs it is not above: a worker which comes late, or in the
    # middle of a posting, goes away empty-handed.
    function = builder.function
    more = function.append_basic_block("take")
    mine = function.append_basic_block("mine")
    done = function.append_basic_block("taken")
    builder.branch(more)
    builder.position_at_end(more)
    change = _WORD(-1 if from_end else 1 << 32)
    left = builder.atomic_rmw("add", _word(builder, crew, _LEFT), change, "acq_rel")
    end, begin = builder.and_(left, _WORD((1 << 32) - 1)), builder.lshr(left, _WORD(32))
    builder.cbranch(builder.icmp_unsigned(">", end, begin), mine, done)
    builder.position_at_end(mine)
    index = builder.sub(end, _WORD(_FEWEST + 1)) if from_end else builder.sub(begin, _WORD(_FEWEST))
    count, step = (builder.load(_word(builder, crew, i)) for i in (_COUNT, _STEP))
    start = builder.mul(index, step)
    stop = builder.add(start, step)
    stop = builder.select(builder.icmp_signed("<", stop, count), stop, count)
    piece = builder.inttoptr(builder.load(_word(builder, crew, _FUNCTION)), _PIECE.as_pointer())
    arguments = builder.inttoptr(builder.load(_word(builder, crew, _ARGUMENTS)), _BYTES)
    builder.call(piece, [start, stop, arguments])
    builder.atomic_rmw("add", _word(builder, crew, _DONE), _WORD(1), "acq_rel")
    builder.branch(more)
    builder.position_at_end(done)


def _pause(builder: Any) -> None:
    """Tell an x86 processor that this is a waiting loop; others wait without."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        hint = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause")
        builder.call(hint, [])


@intrinsic
def _serve_pieces(typing, crew):
    """Take pieces once."""

    def code(context, builder, signature, arguments):
        _take_pieces(builder, arguments[0], from_end=False)

    return types.void(types.int64), code


@intrinsic
def _read(typing, crew, index):
    def code(context, builder, signature, arguments):
        crew, index = arguments
        at = builder.gep(builder.inttoptr(crew, _WORD.as_pointer()), [index])
        return builder.load_atomic(at, "acquire", 8)

    return types.int64(types.int64, types.int64), code


@intrinsic
def _relax(typing):
    def code(context, builder, signature, arguments):
        _pause(builder)

    return types.void(), code


@intrinsic
def _give_way(typing):
    """Let another thread of this core run."""

    def code(context, builder, signature, arguments):
        if os.name == "posix":
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield"
            )
            builder.call(function, [])
        else:
            _pause(builder)

    return types.void(), code


@numba.njit(types.int64(types.int64, types.int64), nogil=True, cache=True)
def _serve(crew, seen):
    """Work on jobs as they come, until none has come for a while; gives the number of the last job seen."""
    polls = 0
    while polls < _POLLS:
        job = _read(crew, _JOBS)
        if job != seen:
            seen = job
            polls = 0
            _serve_pieces(crew)
        else:
            polls += 1
            # Should worker and caller share a core, whoever has work gets it at once and not after a time slice.
            if polls % 64:
                _relax()
            else:
                _give_way()
    return seen


@numba.njit(nogil=True)
def _wait(crew, pieces):
    polls = 0
    while _read(crew, _DONE) < pieces:
        polls += 1
        if polls < _PATIENCE:
            _relax()
        else:
            _give_way()


@intrinsic
def _post(typing, kernel, crew, count, step, arguments):
    """Post kernel(start, stop, *arguments) over range(count) and take pieces; True if others may have taken some.

    A range of one step, and any while the post is taken, is done at once instead.
    """
    signature = kernel.get_call_type(typing, (types.int64, types.int64, *arguments.types), {})

    def code(context, builder, _, values):
        _, crew, count, step, packed = values
        compiled = kernel.dispatcher.get_compile_result(signature)
        context.active_code_library.add_linking_library(compiled.library)
        piece = ir.Function(builder.module, _PIECE, builder.module.get_unique_name("piece"))
        piece.linkage = "internal"
        piece.attributes.add("noinline")  # one copy of the kernel is enough
        inner = ir.IRBuilder(piece.append_basic_block())
        here = inner.load(inner.bitcast(piece.args[2], packed.type.as_pointer()))
        parts = [inner.extract_value(here, i) for i in range(len(arguments.types))]
        context.call_internal_no_propagate(inner, compiled.fndesc, signature, [*piece.args[:2], *parts])
        inner.ret_void()

        place = cgutils.alloca_once_value(builder, packed)
        won = cgutils.alloca_once_value(builder, cgutils.false_bit)
        with builder.if_then(builder.icmp_signed("<", step, count)):
            before = builder.cmpxchg(_word(builder, crew, _BUSY), _WORD(0), _WORD(1), "acq_rel", "monotonic")
            builder.store(builder.extract_value(before, 1), won)
        with builder.if_else(builder.load(won)) as (share, alone):
            with share:
                for index, value in (
                    (_FUNCTION, builder.ptrtoint(piece, _WORD)),
                    (_ARGUMENTS, builder.ptrtoint(place, _WORD)),
                    (_COUNT, count),
                    (_STEP, step),
                    (_DONE, _WORD(0)),
                ):
                    builder.store(value, _word(builder, crew, index))
                pieces = builder.sdiv(builder.sub(builder.add(count, step), _WORD(1)), step)
                _store(builder, crew, _LEFT, builder.add(pieces, _WORD(_FEWEST << 32 | _FEWEST)))
                builder.atomic_rmw("add", _word(builder, crew, _JOBS), _WORD(1), "acq_rel")
                _take_pieces(builder, crew, from_end=True)
            with alone:
                builder.call(piece, [_WORD(0), count, builder.bitcast(place, _BYTES)])
        return builder.load(won)

    return types.boolean(kernel, types.int64, types.int64, types.int64, arguments), code


@intrinsic
def _release(typing, crew):
    """Let others post; gives the number of this thread's core, −1 where the system does not tell."""

    def code(context, builder, signature, arguments):
        _store(builder, arguments[0], _BUSY, _WORD(0))
        if not sys.platform.startswith("linux"):
            return _WORD(-1)
        number = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), "sched_getcpu")
        return builder.sext(builder.call(number, []), _WORD)

    return types.int64(types.int64), code


@intrinsic
def borrow(typing, value):
    """The same array without an owner.

    A slice of an array counts a reference to its owner up and down, atomically, and two cores that cut rows out of one
    array would spend most of their time passing that counter back and forth.
    """

    def code(context, builder, signature, arguments):
        if not isinstance(value, types.Array):
            return arguments[0]
        array = context.make_array(value)(context, builder, arguments[0])
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()

    return value(value), code


# `place`, which holds the arguments, lives in the launcher's frame: post, wait and release must be inlined into it.
# Numba's cache keeps what a function closes over as part of its key: here the sources that a kernel may call.
_LAUNCHER = """
def _make(_sources):
    def {name}(_crew, _count, _step, {names}):
        _sources
{borrowed}
        if _post(_kernel, _crew, _count, _step, ({names},)):
            _wait(_crew, (_count + _step - 1) // _step)
            return _release(_crew)
        return -1
    return {name}
"""

# What a kernel's name stands for: short work is done at once. Written out for each kernel, since Python takes longer to
# collect arguments and to spread them again (0.19 µs) than many a small array takes.
_CALL = """
def {name}(_count, _work, {names}):
    if _work < 2 * _threads.GRAIN or _count < 2 or _threads._pool.threads == 1:
        _launch(0, _count, _count, {names})
    else:
        _threads.share(_launch, _count, _work, {names})
"""


@cache
def _sources(module: str) -> frozenset[tuple[str, int]]:
    """Checksums of the sources of a module of this package and of those in it from which that has taken something."""
    loaded = sys.modules[module]
    names = {getattr(value, "__module__", None) or getattr(value, "__name__", "") for value in vars(loaded).values()}
    others = [name for name in names if name != module and name.rpartition(".")[0] == __package__]
    return frozenset({(module, zlib.crc32(Path(loaded.__file__).read_bytes()))}.union(*map(_sources, others)))


LAUNCHERS: list[Any] = []


def _ranged(jit: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that makes kernel(count, work, ...) of kernel(start, stop, ...).

    That does the whole of range(count), in pieces on several threads if `work` is worth it. Its launcher is kept in
    Numba's cache on disk.
    """

    def decorate(function: Callable[..., None]) -> Any:
        names = [*inspect.signature(function).parameters][2:]
        code = function.__code__
        scope: dict[str, Any] = {
            "_kernel": jit(function), "_borrow": borrow, "_post": _post, "_wait": _wait, "_release": _release,
            "__name__": function.__module__,
        }  # fmt: skip
        # The cache finds its place by the file and the line that the function claims to come from, and takes what it
        # holds for stale when that file has changed.
        source = "\n" * (code.co_firstlineno - 3) + _LAUNCHER.format(
            name=function.__name__,
            names=", ".join(names),
            borrowed="\n".join(f"        {name} = _borrow({name})" for name in names),
        )
        exec(compile(source, code.co_filename, "exec"), scope)
        launcher = scope["_make"](str(sorted(_sources(function.__module__))))
        launcher.__qualname__ = function.__name__
        launch = numba.njit(cache=True, **_COMMON)(launcher)
        LAUNCHERS.append(launch)
        around = {"_launch": launch, "_threads": sys.modules[__name__], "__name__": function.__module__}
        exec(_CALL.format(name=function.__name__, names=", ".join(names)), around)
        return around[function.__name__]

    return decorate


elementwise_kernel = _ranged(elementwise_jit)
reduction_kernel = _ranged(reduction_jit)
strict_kernel = _ranged(strict_jit)


class _Pool:
    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.workers = 0
        self.memory = np.zeros(_WORDS + 8, np.int64)
        self.crew = (self.memory.ctypes.data + 63) // 64 * 64
        self.jobs = self.memory[(self.crew - self.memory.ctypes.data) // 8 + _JOBS :][:1]
        self.home = -1
        self.asleep: deque[threading.Lock] = deque()
        self.lock = threading.Lock()
        self.crew_threads: list[threading.Thread] = []
        self.open = True

    def start(self) -> None:
        with self.lock:
            while self.workers < self.threads - 1:
                worker = threading.Thread(target=self._work, name="dlcore-numba", daemon=True)
                worker.start()
                self.crew_threads.append(worker)
                self.workers += 1
                self.home = -1

    def bind(self, home: int) -> None:
        """Bind the workers to the cores after the caller's, going round.

        Linux leaves a woken worker on the caller's core for whole milliseconds, which would halve the speed.
        """
        with self.lock:
            self.home = home
            cores = sorted(os.sched_getaffinity(0))
            if home not in cores or len(cores) <= self.workers:
                return
            place = cores.index(home)
            for i, worker in enumerate(self.crew_threads, 1):
                if worker.native_id is not None:
                    with suppress(ProcessLookupError):  # it has ended since, for others now set the number of threads
                        os.sched_setaffinity(worker.native_id, {cores[(place + i) % len(cores)]})

    def _work(self) -> None:
        gate = threading.Lock()
        gate.acquire()
        seen = -1
        while self.open:
            seen = _serve(self.crew, seen)
            self.asleep.append(gate)
            # Whoever has posted a job while this thread waited for the GIL found nobody to wake.
            if self.open and (self.jobs[0] == seen or not self._withdraw(gate)):
                gate.acquire()

    def _withdraw(self, gate: threading.Lock) -> bool:
        """Take the gate off those asleep; False where a caller has done so, which opens it."""
        try:
            self.asleep.remove(gate)
        except ValueError:
            return False
        return True

    def close(self) -> None:
        """Let the workers end."""
        self.open = False
        while self.asleep:
            self.asleep.pop().release()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_pool = _Pool(_usable_cores())
_local = threading.local()


def _after_fork() -> None:
    # The child has none of the parent's workers, and the parent may have been in the middle of a job.
    global _pool
    _pool = _Pool(_pool.threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def num_threads() -> int:
    return _pool.threads


def set_num_threads(count: int) -> None:
    """Threads of the kernels, and of NumPy's BLAS where that is an OpenBLAS; another one keeps its own setting."""
    global _pool
    former, _pool = _pool, _Pool(max(1, int(count)))
    former.close()
    # Symbols of the library that an extension module depends on are found through the module's handle; their names
    # differ between wheels, conda and distributions.
    handle = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    for prefix, suffix in product(("scipy_", ""), ("64_", "")):
        function = getattr(handle, f"{prefix}openblas_set_num_threads{suffix}", None)
        if function is not None:
            function(ctypes.c_int(_pool.threads))
            break


def share(launch: Callable[..., int], count: int, work: int, *args: Any) -> None:
    """kernel(start, stop, *args) over the whole of range(count), in pieces on several threads."""
    pool = _pool
    pieces = min(count, work // GRAIN)
    # A few tasks are handed out one by one, many in stretches.
    if count > _TASKS * pool.threads:
        pieces = min(pieces, _PIECES * pool.threads)
    step = -(-count // pieces)
    # Long ranges are cut at multiples of 64 elements, so that no two threads write to the same cache line.
    if step > 512:
        step = -(-step // 64) * 64
    if pool.workers < pool.threads - 1:
        pool.start()
    for _ in range(min(len(pool.asleep), pool.threads - 1)):
        try:
            pool.asleep.pop().release()
        except IndexError:  # another caller was faster
            break
    home = launch(pool.crew, count, step, *args)
    if home != pool.home and home >= 0:
        pool.bind(home)


def scratch(slot: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Uninitialised memory for the current call, reused by the next one of this thread that names the same slot.

    It begins on a line of the cache: from anywhere else, every vector that is loaded lies on two.
    """
    size = dtype.itemsize
    for length in shape:
        size *= length
    held = _local.__dict__.get(slot)
    if held is None or held.size < size:
        room = np.empty(size + 64, np.uint8)
        held = room[-room.ctypes.data % 64 :]
        if size <= SCRATCH_KEPT:
            _local.__dict__[slot] = held
    return held[:size].view(dtype).reshape(shape)


def absent(dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """What a kernel gets for an array that is None: an empty one, which spares a second compilation."""
    return _ABSENT[dtype]
