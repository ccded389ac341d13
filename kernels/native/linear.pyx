"""Binds linear.c; contracts in backends/interface.py."""

cdef extern from "prepared.h":
    ctypedef struct prepared

cdef extern from "linear.h":
    ctypedef struct linear_kernels:
        int (*linear)(long m, long n, long k, void *x, void *w, void *b, void *y, int activation) nogil
        int (*linear_backward_input)(long m, long n, long k, void *dz, void *w, void *dx) nogil
        int (*linear_backward_weight)(long m, long n, long k, void *x, void *dz, void *dw, void *db, int accumulate) nogil
        prepared *(*prepare)(long m, long n, long k, void *x, void *w, void *b, void *y, int activation, int levels) nogil
        int (*matmul)(long batch, long m, long n, long k, void *a, void *b, void *y, int transpose_a, int transpose_b) nogil

include "binding.pxi"


def linear(ndarray x, ndarray w, ndarray b, ndarray y, activation):
    cdef const linear_kernels *kernels = <const linear_kernels *>engine_of(x).linear
    cdef int code = FUSED[activation], status
    cdef long m = x.shape[0], k = x.shape[1], n = w.shape[1]
    cdef void *px = pointer(x)
    cdef void *pw = pointer(w)
    cdef void *pb = pointer(b)
    cdef void *py = pointer(y)
    with nogil:
        status = kernels.linear(m, n, k, px, pw, pb, py, code)
    check(status)


def prepare_linear(ndarray x, ndarray w, ndarray b, ndarray y, activation, levels=None):
    """linear on fixed arrays with the weights packed: call the result after the contents of x have changed.

    y = activation(x w + b). w and b must not change any more. levels: how often a product in float32 is halved for
    Strassen's algorithm, at most 2; None, as often as makes it faster.
    """
    cdef const linear_kernels *kernels = <const linear_kernels *>engine_of(x).linear
    cdef prepared *plan = kernels.prepare(
        x.shape[0], w.shape[1], x.shape[1], pointer(x), pointer(w), pointer(b), pointer(y), FUSED[activation],
        -1 if levels is None else levels,
    )
    return prepared_call(plan, (x, w, b, y))


def linear_backward_input(ndarray dz, ndarray w, ndarray dx):
    cdef const linear_kernels *kernels = <const linear_kernels *>engine_of(dz).linear
    cdef int status
    cdef long m = dz.shape[0], k = w.shape[0], n = w.shape[1]
    cdef void *pdz = pointer(dz)
    cdef void *pw = pointer(w)
    cdef void *pdx = pointer(dx)
    with nogil:
        status = kernels.linear_backward_input(m, n, k, pdz, pw, pdx)
    check(status)


def linear_backward_weight(ndarray x, ndarray dz, ndarray dw, ndarray db, bint accumulate=False):
    cdef const linear_kernels *kernels = <const linear_kernels *>engine_of(x).linear
    cdef int status
    cdef long m = x.shape[0], k = x.shape[1], n = dz.shape[1]
    cdef void *px = pointer(x)
    cdef void *pdz = pointer(dz)
    cdef void *pdw = pointer(dw)
    cdef void *pdb = pointer(db)
    with nogil:
        status = kernels.linear_backward_weight(m, n, k, px, pdz, pdw, pdb, accumulate)
    check(status)


def matmul(ndarray a, ndarray b, ndarray y, bint transpose_a, bint transpose_b):
    cdef const linear_kernels *kernels = <const linear_kernels *>engine_of(a).linear
    cdef int status
    cdef long batch = y.shape[0], m = y.shape[1], n = y.shape[2], k = a.shape[1 if transpose_a else 2]
    cdef void *pa = pointer(a)
    cdef void *pb = pointer(b)
    cdef void *py = pointer(y)
    with nogil:
        status = kernels.matmul(batch, m, n, k, pa, pb, py, transpose_a, transpose_b)
    check(status)
