"""Binds pool.c; contracts in backends/interface.py."""

cdef extern from "pool.h":
    ctypedef struct pool_shape:
        long n, h, w, c, oh, ow, ph, pw, sh, sw, top, left

    ctypedef struct pool_kernels:
        void (*max_pool2d)(const pool_shape *s, void *x, void *y, void *index, int index_bytes) nogil
        void (*max_pool2d_backward)(const pool_shape *s, void *dy, void *index, int index_bytes, void *dx) nogil
        void (*avg_pool2d)(const pool_shape *s, void *x, void *y) nogil
        void (*avg_pool2d_backward)(const pool_shape *s, void *dy, void *dx) nogil
        void (*avg_pool2d_activation_backward)(const pool_shape *s, void *dy, void *y, int kind, void *dz) nogil
        void (*global_avg_pool)(long n, long places, long c, void *x, void *y) nogil
        void (*global_avg_pool_backward)(long n, long places, long c, void *dy, void *dx) nogil
        void (*global_max_pool)(long n, long places, long c, void *x, void *y, void *index) nogil
        void (*global_max_pool_backward)(long n, long places, long c, void *dy, void *index, void *dx) nogil

include "binding.pxi"


cdef pool_shape shape_of(ndarray x, ndarray y, size, stride, padding):
    cdef pool_shape s
    s.n, s.h, s.w, s.c = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    s.oh, s.ow = y.shape[1], y.shape[2]
    s.ph, s.pw = size
    s.sh, s.sw = stride
    s.top, s.left = padding[0], padding[2]
    return s


def max_pool2d(ndarray x, ndarray y, ndarray index, size, stride, padding):
    cdef const pool_kernels *kernels = <const pool_kernels *>engine_of(x).pool
    cdef pool_shape s = shape_of(x, y, size, stride, padding)
    cdef int index_bytes = 0 if index is None else index.itemsize
    cdef void *px = pointer(x)
    cdef void *py = pointer(y)
    cdef void *pindex = pointer(index)
    with nogil:
        kernels.max_pool2d(&s, px, py, pindex, index_bytes)


def max_pool2d_backward(ndarray dy, ndarray index, ndarray dx, size, stride, padding):
    cdef const pool_kernels *kernels = <const pool_kernels *>engine_of(dy).pool
    cdef pool_shape s = shape_of(dx, dy, size, stride, padding)
    cdef int index_bytes = index.itemsize
    cdef void *pdy = pointer(dy)
    cdef void *pindex = pointer(index)
    cdef void *pdx = pointer(dx)
    with nogil:
        kernels.max_pool2d_backward(&s, pdy, pindex, index_bytes, pdx)


def avg_pool2d(ndarray x, ndarray y, size, stride, padding):
    cdef const pool_kernels *kernels = <const pool_kernels *>engine_of(x).pool
    cdef pool_shape s = shape_of(x, y, size, stride, padding)
    cdef void *px = pointer(x)
    cdef void *py = pointer(y)
    with nogil:
        kernels.avg_pool2d(&s, px, py)


def avg_pool2d_backward(ndarray dy, ndarray dx, size, stride, padding):
    cdef const pool_kernels *kernels = <const pool_kernels *>engine_of(dy).pool
    cdef pool_shape s = shape_of(dx, dy, size, stride, padding)
    cdef void *pdy = pointer(dy)
    cdef void *pdx = pointer(dx)
    with nogil:
        kernels.avg_pool2d_backward(&s, pdy, pdx)


def avg_pool2d_activation_backward(ndarray dy, ndarray dz, size, stride, padding, kind, ndarray y):
    """avg_pool2d_backward and the activation_backward after it; y, the activation's output, is like dz."""
    cdef const pool_kernels *kernels = <const pool_kernels *>engine_of(dy).pool
    cdef pool_shape s = shape_of(dz, dy, size, stride, padding)
    cdef int code = FUSED[kind]
    cdef void *pdy = pointer(dy)
    cdef void *py = pointer(y)
    cdef void *pdz = pointer(dz)
    with nogil:
        kernels.avg_pool2d_activation_backward(&s, pdy, py, code, pdz)


def global_avg_pool(ndarray x, ndarray y):
    cdef const pool_kernels *kernels = <const pool_kernels *>engine_of(x).pool
    cdef long n = x.shape[0], places = x.shape[1], c = x.shape[2]
    cdef void *px = pointer(x)
    cdef void *py = pointer(y)
    with nogil:
        kernels.global_avg_pool(n, places, c, px, py)


def global_avg_pool_backward(ndarray dy, ndarray dx):
    cdef const pool_kernels *kernels = <const pool_kernels *>engine_of(dy).pool
    cdef long n = dx.shape[0], places = dx.shape[1], c = dx.shape[2]
    cdef void *pdy = pointer(dy)
    cdef void *pdx = pointer(dx)
    with nogil:
        kernels.global_avg_pool_backward(n, places, c, pdy, pdx)


def global_max_pool(ndarray x, ndarray y, ndarray index):
    cdef const pool_kernels *kernels = <const pool_kernels *>engine_of(x).pool
    cdef long n = x.shape[0], places = x.shape[1], c = x.shape[2]
    cdef void *px = pointer(x)
    cdef void *py = pointer(y)
    cdef void *pindex = pointer(index)
    with nogil:
        kernels.global_max_pool(n, places, c, px, py, pindex)


def global_max_pool_backward(ndarray dy, ndarray index, ndarray dx):
    cdef const pool_kernels *kernels = <const pool_kernels *>engine_of(dy).pool
    cdef long n = dx.shape[0], places = dx.shape[1], c = dx.shape[2]
    cdef void *pdy = pointer(dy)
    cdef void *pindex = pointer(index)
    cdef void *pdx = pointer(dx)
    with nogil:
        kernels.global_max_pool_backward(n, places, c, pdy, pindex, pdx)
