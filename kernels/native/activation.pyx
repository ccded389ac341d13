"""Binds activation.c; contracts in backends/interface.py."""

cdef extern from "activation.h":
    ctypedef struct activation_kernels:
        void (*activation)(long n, void *x, void *y, int kind, double alpha) nogil
        void (*activation_backward)(long n, void *dy, void *x, void *y, void *dx, int kind, double alpha) nogil
        void (*softmax)(long rows, long n, void *x, void *y) nogil
        void (*softmax_backward)(long rows, long n, void *dy, void *y, void *dx) nogil
        void (*log_softmax)(long rows, long n, void *x, void *y) nogil
        void (*log_softmax_backward)(long rows, long n, void *dy, void *y, void *dx) nogil

include "binding.pxi"

from numpy cimport PyArray_SIZE

from dlcore.backends.interface import ACTIVATIONS

cdef dict KIND = {name: code for code, name in enumerate(ACTIVATIONS)}


def activation(ndarray x, ndarray y, kind, double alpha):
    cdef const activation_kernels *kernels = <const activation_kernels *>engine_of(x).activation
    cdef int code = KIND[kind]
    cdef long n = PyArray_SIZE(x)
    cdef void *px = pointer(x)
    cdef void *py = pointer(y)
    with nogil:
        kernels.activation(n, px, py, code, alpha)


def activation_backward(ndarray dy, ndarray x, ndarray y, ndarray dx, kind, double alpha):
    cdef const activation_kernels *kernels = <const activation_kernels *>engine_of(dy).activation
    cdef int code = KIND[kind]
    cdef long n = PyArray_SIZE(dy)
    cdef void *pdy = pointer(dy)
    cdef void *px = pointer(x)
    cdef void *py = pointer(y)
    cdef void *pdx = pointer(dx)
    with nogil:
        kernels.activation_backward(n, pdy, px, py, pdx, code, alpha)


def softmax(ndarray x, ndarray y):
    cdef const activation_kernels *kernels = <const activation_kernels *>engine_of(x).activation
    cdef long rows = x.shape[0], n = x.shape[1]
    cdef void *px = pointer(x)
    cdef void *py = pointer(y)
    with nogil:
        kernels.softmax(rows, n, px, py)


def softmax_backward(ndarray dy, ndarray y, ndarray dx):
    cdef const activation_kernels *kernels = <const activation_kernels *>engine_of(dy).activation
    cdef long rows = dy.shape[0], n = dy.shape[1]
    cdef void *pdy = pointer(dy)
    cdef void *py = pointer(y)
    cdef void *pdx = pointer(dx)
    with nogil:
        kernels.softmax_backward(rows, n, pdy, py, pdx)


def log_softmax(ndarray x, ndarray y):
    cdef const activation_kernels *kernels = <const activation_kernels *>engine_of(x).activation
    cdef long rows = x.shape[0], n = x.shape[1]
    cdef void *px = pointer(x)
    cdef void *py = pointer(y)
    with nogil:
        kernels.log_softmax(rows, n, px, py)


def log_softmax_backward(ndarray dy, ndarray y, ndarray dx):
    cdef const activation_kernels *kernels = <const activation_kernels *>engine_of(dy).activation
    cdef long rows = dy.shape[0], n = dy.shape[1]
    cdef void *pdy = pointer(dy)
    cdef void *py = pointer(y)
    cdef void *pdx = pointer(dx)
    with nogil:
        kernels.log_softmax_backward(rows, n, pdy, py, pdx)
