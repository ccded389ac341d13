"""Binds elementwise.c; contracts in backends/interface.py."""
from libc.stdint cimport intptr_t

cdef extern from "elementwise.h":
    ctypedef struct operand:
        void *data
        int rank
        const intptr_t *shape
    ctypedef struct view:
        char *data
        const intptr_t *stride
    ctypedef struct elementwise_kernels:
        void (*unary)(long n, void *x, void *y, int op) nogil
        void (*unary_backward)(long n, void *dy, void *x, void *y, void *dx, int op) nogil
        void (*binary)(operand a, operand b, operand y, int op) nogil
        void (*compare)(operand a, operand b, operand y, int op) nogil
        void (*select)(operand condition, operand a, operand b, operand y) nogil
        void (*copy)(int rank, const intptr_t *shape, view x, view y, long item) nogil

include "binding.pxi"

from numpy cimport (
    NPY_DOUBLE, PyArray_CopyInto, PyArray_DIMS, PyArray_EquivTypenums, PyArray_ISBOOL, PyArray_ISINTEGER, PyArray_ITEMSIZE,
    PyArray_NDIM, PyArray_SIZE, PyArray_STRIDES,
)

import numpy as np

from dlcore.backends.interface import BINARY_OPS, COMPARE_OPS, UNARY_OPS

cdef dict UNARY = {name: code for code, name in enumerate(UNARY_OPS)}
cdef dict BINARY = {name: code for code, name in enumerate(BINARY_OPS)}
cdef dict COMPARE = {name: code for code, name in enumerate(COMPARE_OPS)}


cdef inline operand operand_of(ndarray x) noexcept:
    return operand(PyArray_DATA(x), PyArray_NDIM(x), <const intptr_t *>PyArray_DIMS(x))


cdef inline view view_of(ndarray x) noexcept:
    return view(<char *>PyArray_DATA(x), <const intptr_t *>PyArray_STRIDES(x))


def unary(ndarray x, ndarray y, op):
    cdef const elementwise_kernels *kernels = <const elementwise_kernels *>engine_of(x).elementwise
    cdef int code = UNARY[op]
    cdef long n = PyArray_SIZE(x)
    cdef void *px = pointer(x)
    cdef void *py = pointer(y)
    with nogil:
        kernels.unary(n, px, py, code)


def unary_backward(ndarray dy, ndarray x, ndarray y, ndarray dx, op):
    cdef const elementwise_kernels *kernels = <const elementwise_kernels *>engine_of(dy).elementwise
    cdef int code = UNARY[op]
    cdef long n = PyArray_SIZE(dy)
    cdef void *pdy = pointer(dy)
    cdef void *px = pointer(x)
    cdef void *py = pointer(y)
    cdef void *pdx = pointer(dx)
    with nogil:
        kernels.unary_backward(n, pdy, px, py, pdx, code)


def binary(ndarray a, ndarray b, ndarray y, op):
    cdef const elementwise_kernels *kernels = <const elementwise_kernels *>engine_of(y).elementwise
    cdef int code = BINARY[op]
    cdef operand left = operand_of(a), right = operand_of(b), out = operand_of(y)
    with nogil:
        kernels.binary(left, right, out, code)


def compare(ndarray a, ndarray b, ndarray y, op):
    cdef const elementwise_kernels *kernels = <const elementwise_kernels *>engine_of(a).elementwise
    cdef int code = COMPARE[op]
    cdef operand left = operand_of(a), right = operand_of(b), out = operand_of(y)
    with nogil:
        kernels.compare(left, right, out, code)


def select(ndarray condition, ndarray a, ndarray b, ndarray y):
    cdef const elementwise_kernels *kernels = <const elementwise_kernels *>engine_of(y).elementwise
    cdef operand chosen = operand_of(condition), yes = operand_of(a), no = operand_of(b), out = operand_of(y)
    with nogil:
        kernels.select(chosen, yes, no, out)


def copy(ndarray x, ndarray y):
    cdef const elementwise_kernels *kernels = <const elementwise_kernels *>begin(f32).elementwise
    cdef view source, target
    if not PyArray_EquivTypenums(PyArray_TYPE(x), PyArray_TYPE(y)):
        # Conversions happen once a batch at most, and NumPy has a loop for every pair of types.
        if PyArray_ISINTEGER(x) or PyArray_ISBOOL(x):
            PyArray_CopyInto(y, x)
        else:
            with np.errstate(all="ignore"):
                np.copyto(y, x, casting="unsafe")
        return
    cdef int rank = PyArray_NDIM(y)
    cdef const intptr_t *shape = <const intptr_t *>PyArray_DIMS(y)
    cdef long item = PyArray_ITEMSIZE(y)
    source = view_of(x)
    target = view_of(y)
    with nogil:
        kernels.copy(rank, shape, source, target, item)


cdef intptr_t[64] STANDING  # strides of an array that is one item everywhere


def fill(ndarray y, value):
    cdef const elementwise_kernels *kernels = <const elementwise_kernels *>begin(f32).elementwise
    cdef float single
    cdef double real
    cdef view source, target
    cdef int kind = PyArray_TYPE(y), rank = PyArray_NDIM(y)
    cdef long item = PyArray_ITEMSIZE(y)
    cdef const intptr_t *shape = <const intptr_t *>PyArray_DIMS(y)
    if kind == NPY_FLOAT:
        single = value
        source = view(<char *>&single, &STANDING[0])
    elif kind == NPY_DOUBLE:
        real = value
        source = view(<char *>&real, &STANDING[0])
    else:
        with np.errstate(all="ignore"):
            np.copyto(y, value, casting="unsafe")
        return
    target = view_of(y)
    with nogil:
        kernels.copy(rank, shape, source, target, item)
