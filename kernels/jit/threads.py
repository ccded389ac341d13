"""How this engine uses several cores: plain kernels on slices, handed to a small pool of Python threads.

Numba's own `parallel=True` is not used. Its three threading layers each have a way to end the process: "workqueue"
aborts when two Python threads enter parallel kernels at once (also where one of them runs somebody else's Numba code,
which no lock of ours could see), GNU OpenMP terminates a forked child, TBB is an extra most machines lack. And every
parallel kernel costs seconds to compile. Instead each kernel is serial, releases the GIL (`nogil=True`) and takes a
range `start, stop` as its first arguments; `run` cuts the range and lets the caller do the first piece and sleeping
worker threads the others. That is safe from any number of threads and after a fork, costs some 20 µs, and uses the
same machine code for one core.

Workers sleep while they wait, so they do not fight with the threads of the BLAS, which is only called outside of
`run`. What a kernel computes never depends on the number of pieces: reductions are cut into blocks of a size fixed by
the shape.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from collections.abc import Callable
from itertools import product
from queue import SimpleQueue
from typing import Any

import numba
import numpy as np

# Work (elements touched, one cheap operation each) below which a second thread costs more than it brings.
GRAIN = 1 << 15
# Scratch a thread keeps for its next call; larger requests are allocated and freed.
SCRATCH_KEPT = 32 << 20

# Contraction (a·b + c as one instruction) leaves NaN and infinity alone, so it is on everywhere; reassociation lets
# sums be vectorised and is for kernels that hold no compensated arithmetic.
elementwise_jit: Callable[..., Any] = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract"}, boundscheck=False
)
reduction_jit: Callable[..., Any] = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}, boundscheck=False
)
# For results that are the same bits on every engine.
strict_jit: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)

_ABSENT = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64, np.uint8, np.int32)}


class _Pool:
    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.workers = 0
        self.tasks: SimpleQueue[Any] = SimpleQueue()
        self.lock = threading.Lock()

    def start(self) -> None:
        with self.lock:
            while self.workers < self.threads - 1:
                threading.Thread(target=_work, args=(self.tasks,), name="dlcore-numba", daemon=True).start()
                self.workers += 1


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_pool = _Pool(_usable_cores())
_local = threading.local()


def _after_fork() -> None:
    # The child has none of the parent's workers, and the parent's queue may have been locked at that moment.
    global _pool
    _pool = _Pool(_pool.threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _work(tasks: SimpleQueue[Any]) -> None:
    while True:
        kernel, start, stop, args, done = tasks.get()
        error = None
        try:
            kernel(start, stop, *args)
        except BaseException as caught:
            error = caught
        done.put(error)
        # While it sleeps a worker must not keep arrays alive.
        del kernel, args, done, error


def num_threads() -> int:
    return _pool.threads


def set_num_threads(count: int) -> None:
    """Threads of `run`, and of the BLAS where that is an OpenBLAS; another one keeps its own setting."""
    _pool.threads = max(1, int(count))
    # NumPy's multiplies matrices, SciPy's is the one that compiled kernels call. Symbols of the library that an
    # extension module depends on are found through the module's handle; their names differ between wheels, conda and
    # distributions.
    for module in ("numpy._core._multiarray_umath", "scipy.linalg.cython_blas"):
        handle = ctypes.CDLL(importlib.import_module(module).__file__)
        for prefix, suffix in product(("scipy_", ""), ("64_", "")):
            function = getattr(handle, f"{prefix}openblas_set_num_threads{suffix}", None)
            if function is not None:
                function(ctypes.c_int(_pool.threads))
                break


def run(kernel: Callable[..., None], count: int, work: int, *args: Any) -> None:
    """kernel(start, stop, *args) over the whole of range(count), in pieces on several threads if `work` is worth it."""
    pool = _pool
    pieces = min(pool.threads, count, work // GRAIN)
    if pieces <= 1:
        kernel(0, count, *args)
        return
    if pool.workers < pool.threads - 1:
        pool.start()
    # Long ranges are cut at multiples of 64 elements, so that no two threads write to the same cache line.
    unit = 64 if count >= 1024 * pieces else 1
    cuts = [count * i // (pieces * unit) * unit for i in range(pieces)] + [count]
    done: SimpleQueue[BaseException | None] = SimpleQueue()
    for i in range(1, pieces):
        pool.tasks.put((kernel, cuts[i], cuts[i + 1], args, done))
    errors: list[BaseException | None] = []
    try:
        kernel(0, cuts[1], *args)
    finally:
        errors = [done.get() for _ in range(1, pieces)]
    for error in errors:
        if error is not None:
            raise error


def scratch(slot: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Uninitialised memory for the current call, reused by the next one of this thread that names the same slot."""
    size = dtype.itemsize
    for length in shape:
        size *= length
    if size > SCRATCH_KEPT:
        return np.empty(shape, dtype)
    held = _local.__dict__.get(slot)
    if held is None or held.size < size:
        held = _local.__dict__[slot] = np.empty(size, np.uint8)
    return held[:size].view(dtype).reshape(shape)


def absent(dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """What a kernel gets for an array that is None: an empty one, which spares a second compilation."""
    return _ABSENT[dtype]
