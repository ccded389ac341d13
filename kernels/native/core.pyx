"""The native engine's core: the build in use, its threads, its memory. Holds the C code of all kernel families."""
import os

from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stddef cimport size_t
from libc.string cimport memcpy, memset
from numpy cimport (
    PyArray_CopyInto, PyArray_DATA, PyArray_EquivArrTypes, PyArray_IS_C_CONTIGUOUS, PyArray_NBYTES, PyArray_SAMESHAPE,
    PyDataMem_Handler, import_array, ndarray
)

import numpy as np

from dlcore.backends.settings import SettingError

import_array()

cdef extern from "engine.h":
    ctypedef struct engine:
        const char *isa
    const engine *find_engine(int bits, const char *isa)
    const char *find_runnable "runnable_isas"()

cdef extern from "threads.h":
    ctypedef void (*pool_function)(void *job, long item, int worker) noexcept nogil
    void pool_for(long items, pool_function function, void *job) nogil
    void pool_begin() nogil
    int pool_threads()
    void pool_limit(int threads)
    void pool_resize(int threads)
    void pool_assume_apart(int apart)

cdef extern from "arena.h":
    void *arena_allocate(size_t bytes) nogil
    void arena_free(void *block) nogil
    size_t arena_size(const void *block) nogil
    void arena_release() nogil
    void arena_survive_fork()

cdef extern from "prepared.h":
    ctypedef struct prepared:
        int (*run)(prepared *self) nogil
        void (*release)(void *self)

cdef extern from "numpy/arrayobject.h":
    object PyDataMem_SetHandler(object handler)


def _choose_engine(bits):
    wanted = os.environ.get("DLCORE_ISA")
    cdef const engine *found = find_engine(bits, NULL) if not wanted else NULL
    if wanted:
        name = wanted.encode()
        found = find_engine(bits, name)
    if found == NULL:
        raise SettingError(f"DLCORE_ISA={wanted!r}: expected one of {', '.join(runnable_isas())} on this processor")
    return PyCapsule_New(<void *>found, "engine", NULL)


def runnable_isas():
    """The builds that run on this processor, best first."""
    return find_runnable().decode().split()


engine32 = _choose_engine(32)
engine64 = _choose_engine(64)
isa = os.environ.get("DLCORE_ISA") or runnable_isas()[0]


def num_threads():
    """Threads a primitive may use."""
    return pool_threads()


def set_num_threads(int count):
    """Use `count` threads (1 … 64) from the next primitive on."""
    pool_resize(count)


def limit_threads(int count):
    """Calls that this Python thread makes from now on use `count` threads at most; 0: as many as there are."""
    pool_limit(count)


def assume_apart(apart):
    """For tests: take the cores to share no cache (True) or one (False) instead of finding out (None)."""
    pool_assume_apart(-1 if apart is None else apart)


# ---- arrays from the arena: NumPy keeps the handler of each array with it and frees through it -------------------------

cdef void *_malloc(void *context, size_t size) noexcept nogil:
    return arena_allocate(size)


cdef void *_calloc(void *context, size_t count, size_t size) noexcept nogil:
    cdef void *block = arena_allocate(count * size)
    if block != NULL:
        memset(block, 0, count * size)
    return block


cdef void *_realloc(void *context, void *old, size_t size) noexcept nogil:
    cdef void *block
    cdef size_t had
    if old == NULL:
        return arena_allocate(size)
    had = arena_size(old)
    if had >= size:
        return old
    block = arena_allocate(size)
    if block != NULL:
        memcpy(block, old, had)
        arena_free(old)
    return block


cdef void _free(void *context, void *block, size_t size) noexcept nogil:
    arena_free(block)


cdef PyDataMem_Handler _handler
memcpy(_handler.name, b"dlcore_arena", 13)
_handler.version = 1
_handler.allocator.ctx = NULL
_handler.allocator.malloc = _malloc
_handler.allocator.calloc = _calloc
_handler.allocator.realloc = _realloc
_handler.allocator.free = _free
_capsule = PyCapsule_New(&_handler, "mem_handler", NULL)


def empty(shape, dtype):
    """An uninitialised C-contiguous array in the arena: aligned to 64 bytes, recycled without page faults."""
    previous = PyDataMem_SetHandler(_capsule)
    try:
        return np.empty(shape, dtype)
    finally:
        PyDataMem_SetHandler(previous)


def zeros(shape, dtype):
    """The same, filled with zeros."""
    previous = PyDataMem_SetHandler(_capsule)
    try:
        return np.zeros(shape, dtype)
    finally:
        PyDataMem_SetHandler(previous)


def release():
    """Give the arena's unused blocks back to the system."""
    arena_release()


cdef enum:
    COPIED_BYTES = 16 << 10  # at a time, by each thread

ctypedef struct copy_job:
    char *to
    const char *source
    size_t bytes


cdef void _copy_item(void *job, long item, int worker) noexcept nogil:
    cdef copy_job *g = <copy_job *>job
    cdef size_t first = item * <size_t>COPIED_BYTES
    memcpy(g.to + first, g.source + first, min(<size_t>COPIED_BYTES, g.bytes - first))


cdef class Inlet:
    """Copies host arrays of the shape and dtype of `array` into it: a sixth of the cost of np.copyto on small ones, and
    each thread has its share of large ones in its cache, where the first kernel looks for it."""

    cdef ndarray array  # C-contiguous

    def __init__(self, ndarray array not None):
        self.array = array

    def __call__(self, given):
        cdef copy_job g
        cdef long items
        if not isinstance(given, ndarray):
            return False
        cdef ndarray host = given
        if not PyArray_SAMESHAPE(host, self.array) or not PyArray_EquivArrTypes(host, self.array):
            return False
        if not PyArray_IS_C_CONTIGUOUS(host):
            PyArray_CopyInto(self.array, host)
            return True
        g.to, g.source = <char *>PyArray_DATA(self.array), <char *>PyArray_DATA(host)
        g.bytes = PyArray_NBYTES(host)
        if g.bytes <= 2 * COPIED_BYTES:
            memcpy(g.to, g.source, g.bytes)
            return True
        items = (g.bytes + COPIED_BYTES - 1) // COPIED_BYTES
        with nogil:
            pool_begin()
            pool_for(items, _copy_item, &g)
        return True


cdef class Prepared:
    """A primitive on fixed arrays: call it after their contents have changed. It runs those `joined` to it, too, one after
    the other with no Python in between (30 ns a call)."""

    cdef prepared *plan
    cdef prepared **plans # with those of what was joined
    cdef long count
    cdef list owned

    def __cinit__(self, capsule, arrays):
        self.plan = <prepared *>PyCapsule_GetPointer(capsule, "prepared")
        self.owned = [arrays]
        self.append(self.plan)

    cdef append(self, prepared *plan):
        cdef void *plans = PyMem_Realloc(self.plans, (self.count + 1) * sizeof(prepared *))
        if plans == NULL:
            raise MemoryError
        self.plans = <prepared **>plans
        self.plans[self.count] = plan
        self.count += 1

    def join(self, Prepared following not None):
        self.append(following.plan)
        self.owned.append(following)

    def __call__(self):
        cdef int status = 0
        cdef long i
        with nogil:
            pool_begin()
            for i in range(self.count):
                status |= self.plans[i].run(self.plans[i])
        if status:
            raise MemoryError("the native engine ran out of memory for its scratch buffers")

    def __dealloc__(self):
        PyMem_Free(self.plans)
        if self.plan != NULL:
            self.plan.release(self.plan)


cdef class Sequence:
    """Calls that are made one after the other, without the interpreter's loop in between (20 ns a call)."""

    cdef list calls

    def __init__(self, list calls not None):
        self.calls = calls

    def __call__(self):
        for call in self.calls:
            call()


arena_survive_fork()
pool_resize(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
