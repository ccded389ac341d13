"""Binds loss.c; contracts in backends/interface.py."""
from libc.stdint cimport int32_t

cdef extern from "loss.h":
    ctypedef struct loss_kernels:
        void (*softmax_cross_entropy)(long rows, long n, void *logits, int32_t *labels, void *weight, void *losses,
                                      void *dlogits, double scale) nogil
        void (*softmax_cross_entropy_dense)(long rows, long n, void *logits, void *targets, void *weight, void *losses,
                                            void *dlogits, double scale) nogil
        void (*sigmoid_cross_entropy)(long rows, long n, void *logits, void *targets, void *weight, void *losses,
                                      void *dlogits, double scale) nogil

include "binding.pxi"


def softmax_cross_entropy(
    ndarray logits, ndarray labels, ndarray weight, ndarray losses, ndarray dlogits, double scale
):
    cdef const loss_kernels *kernels = <const loss_kernels *>engine_of(logits).loss
    cdef long rows = logits.shape[0], n = logits.shape[1]
    cdef void *pz = pointer(logits)
    cdef int32_t *pl = <int32_t *>pointer(labels)
    cdef void *pw = pointer(weight)
    cdef void *py = pointer(losses)
    cdef void *pdz = pointer(dlogits)
    with nogil:
        kernels.softmax_cross_entropy(rows, n, pz, pl, pw, py, pdz, scale)


def softmax_cross_entropy_dense(
    ndarray logits, ndarray targets, ndarray weight, ndarray losses, ndarray dlogits, double scale
):
    cdef const loss_kernels *kernels = <const loss_kernels *>engine_of(logits).loss
    cdef long rows = logits.shape[0], n = logits.shape[1]
    cdef void *pz = pointer(logits)
    cdef void *pt = pointer(targets)
    cdef void *pw = pointer(weight)
    cdef void *py = pointer(losses)
    cdef void *pdz = pointer(dlogits)
    with nogil:
        kernels.softmax_cross_entropy_dense(rows, n, pz, pt, pw, py, pdz, scale)


def sigmoid_cross_entropy(
    ndarray logits, ndarray targets, ndarray weight, ndarray losses, ndarray dlogits, double scale
):
    cdef const loss_kernels *kernels = <const loss_kernels *>engine_of(logits).loss
    cdef long rows = logits.shape[0], n = logits.shape[1]
    cdef void *pz = pointer(logits)
    cdef void *pt = pointer(targets)
    cdef void *pw = pointer(weight)
    cdef void *py = pointer(losses)
    cdef void *pdz = pointer(dlogits)
    with nogil:
        kernels.sigmoid_cross_entropy(rows, n, pz, pt, pw, py, pdz, scale)
