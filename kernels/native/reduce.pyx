"""Binds reduce.c; contracts in backends/interface.py."""
from libc.stdint cimport int32_t

cdef extern from "reduce.h":
    ctypedef struct reduce_kernels:
        int (*reduce)(long a, long r, long b, void *x, void *y, int op) nogil
        void (*argmax)(long rows, long n, void *x, int32_t *y) nogil

include "binding.pxi"

from dlcore.backends.interface import REDUCE_OPS

cdef dict OP = {name: code for code, name in enumerate(REDUCE_OPS)}


def reduce(ndarray x, ndarray y, op):
    cdef const reduce_kernels *kernels = <const reduce_kernels *>engine_of(x).reduce
    cdef int code = OP[op], status
    cdef long a = x.shape[0], r = x.shape[1], b = x.shape[2]
    cdef void *px = pointer(x)
    cdef void *py = pointer(y)
    with nogil:
        status = kernels.reduce(a, r, b, px, py, code)
    check(status)


def argmax(ndarray x, ndarray y):
    cdef const reduce_kernels *kernels = <const reduce_kernels *>engine_of(x).reduce
    cdef long rows = x.shape[0], n = x.shape[1]
    cdef void *px = pointer(x)
    cdef int32_t *py = <int32_t *>pointer(y)
    with nogil:
        kernels.argmax(rows, n, px, py)
