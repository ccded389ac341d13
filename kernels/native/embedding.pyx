"""Binds embedding.c; contracts in backends/interface.py."""
from libc.stdint cimport int32_t

cdef extern from "embedding.h":
    ctypedef struct embedding_kernels:
        void (*embedding)(long m, long d, int32_t *ids, void *table, void *y) nogil
        void (*embedding_backward)(long m, long v, long d, void *dy, int32_t *ids, void *dtable, int accumulate) nogil

include "binding.pxi"


def embedding(ndarray ids, ndarray table, ndarray y):
    cdef const embedding_kernels *kernels = <const embedding_kernels *>engine_of(table).embedding
    cdef long m = ids.shape[0], d = table.shape[1]
    cdef int32_t *pi = <int32_t *>pointer(ids)
    cdef void *pt = pointer(table)
    cdef void *py = pointer(y)
    with nogil:
        kernels.embedding(m, d, pi, pt, py)


def embedding_backward(ndarray dy, ndarray ids, ndarray dtable, bint accumulate=False):
    cdef const embedding_kernels *kernels = <const embedding_kernels *>engine_of(dy).embedding
    cdef long m = ids.shape[0], v = dtable.shape[0], d = dtable.shape[1]
    cdef void *pdy = pointer(dy)
    cdef int32_t *pi = <int32_t *>pointer(ids)
    cdef void *pt = pointer(dtable)
    with nogil:
        kernels.embedding_backward(m, v, d, pdy, pi, pt, accumulate)
