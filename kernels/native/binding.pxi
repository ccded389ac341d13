# What every binding module shares: the engine of each precision, and array arguments as pointers. Included by text, so
# that a call pays no more than the checks of its own arguments (about 60 ns; typed memoryviews would cost ten times that).
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from numpy cimport NPY_FLOAT, PyArray_DATA, PyArray_TYPE, import_array, ndarray

from dlcore.kernels.native import core as _core

import_array()

cdef extern from "engine.h":
    ctypedef struct engine:  # a table of kernels per family; each module knows the type of its own
        void (*begin)() noexcept
        const void *activation
        const void *conv
        const void *elementwise
        const void *embedding
        const void *linear
        const void *loss
        const void *norm
        const void *optim
        const void *pool
        const void *random
        const void *recurrent
        const void *reduce

cdef const engine *f32 = <const engine *>PyCapsule_GetPointer(_core.engine32, "engine")
cdef const engine *f64 = <const engine *>PyCapsule_GetPointer(_core.engine64, "engine")

# Numbered as in gemm.h.
cdef dict FUSED = {"linear": 0, "relu": 1, "sigmoid": 2, "tanh": 3}


cdef inline const engine *begin(const engine *found) noexcept:
    found.begin()
    return found


cdef inline const engine *engine_of(ndarray array) noexcept:
    return begin(f32 if PyArray_TYPE(array) == NPY_FLOAT else f64)


cdef inline void *pointer(ndarray array) noexcept:
    return NULL if array is None else PyArray_DATA(array)


cdef inline int check(int status) except -1:
    if status:
        raise MemoryError("the native engine ran out of memory for its scratch buffers")
    return 0


cdef inline object prepared_call(void *plan, tuple arrays):
    check(-(plan == NULL))
    return _core.Prepared(PyCapsule_New(plan, "prepared", NULL), arrays)
