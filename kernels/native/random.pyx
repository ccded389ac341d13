"""Binds random.c; contracts in backends/interface.py."""
from libc.stdint cimport uint64_t

cdef extern from "random.h":
    ctypedef struct random_kernels:
        void (*random_uniform)(long n, void *y, double low, double high, uint64_t seed, uint64_t offset) nogil
        void (*random_normal)(long n, void *y, double mean, double stddev, uint64_t seed, uint64_t offset) nogil
        void (*dropout)(long n, void *x, void *y, double rate, uint64_t seed, uint64_t offset) nogil

cdef extern from "Python.h":
    # Modulo 2^64, as the stream is defined: `cdef uint64_t` arguments would refuse negative numbers.
    uint64_t PyLong_AsUnsignedLongLongMask(object) except? 0xffffffffffffffff

include "binding.pxi"

from numpy cimport PyArray_SIZE


def random_uniform(ndarray y, double low, double high, seed, offset):
    cdef const random_kernels *kernels = <const random_kernels *>engine_of(y).random
    cdef uint64_t key = PyLong_AsUnsignedLongLongMask(seed), start = PyLong_AsUnsignedLongLongMask(offset)
    cdef long n = PyArray_SIZE(y)
    cdef void *py = pointer(y)
    with nogil:
        kernels.random_uniform(n, py, low, high, key, start)


def random_normal(ndarray y, double mean, double stddev, seed, offset):
    cdef const random_kernels *kernels = <const random_kernels *>engine_of(y).random
    cdef uint64_t key = PyLong_AsUnsignedLongLongMask(seed), start = PyLong_AsUnsignedLongLongMask(offset)
    cdef long n = PyArray_SIZE(y)
    cdef void *py = pointer(y)
    with nogil:
        kernels.random_normal(n, py, mean, stddev, key, start)


def dropout(ndarray x, ndarray y, double rate, seed, offset):
    cdef const random_kernels *kernels = <const random_kernels *>engine_of(x).random
    cdef uint64_t key = PyLong_AsUnsignedLongLongMask(seed), start = PyLong_AsUnsignedLongLongMask(offset)
    cdef long n = PyArray_SIZE(x)
    cdef void *px = pointer(x)
    cdef void *py = pointer(y)
    with nogil:
        kernels.dropout(n, px, py, rate, key, start)
