"""Binds optim.c; contracts in backends/interface.py."""

cdef extern from "optim.h":
    ctypedef struct optim_kernels:
        void (*sgd)(long n, void *p, void *g, double lr) nogil
        void (*momentum)(long n, void *p, void *g, void *m, double lr, double momentum, int form) nogil
        void (*adagrad)(long n, void *p, void *g, void *s, double lr, double eps) nogil
        void (*rmsprop)(long n, void *p, void *g, void *s, void *m, void *gbar, double lr, double rho, double momentum,
                        double eps) nogil
        void (*adam)(long n, void *p, void *g, void *m, void *v, void *vhat, double lr, double beta1, double beta2,
                     double eps, double weight_decay, long step) nogil

include "binding.pxi"

from numpy cimport PyArray_SIZE

# Numbered as in optim.h.
cdef dict FORM = {"classical": 0, "nesterov": 1, "averaged": 2}


def sgd(ndarray p, ndarray g, double lr):
    cdef const optim_kernels *kernels = <const optim_kernels *>engine_of(p).optim
    cdef long n = PyArray_SIZE(p)
    cdef void *pp = pointer(p)
    cdef void *pg = pointer(g)
    with nogil:
        kernels.sgd(n, pp, pg, lr)


def momentum(ndarray p, ndarray g, ndarray m, double lr, double momentum, form):
    cdef const optim_kernels *kernels = <const optim_kernels *>engine_of(p).optim
    cdef int code = FORM[form]
    cdef long n = PyArray_SIZE(p)
    cdef void *pp = pointer(p)
    cdef void *pg = pointer(g)
    cdef void *pm = pointer(m)
    with nogil:
        kernels.momentum(n, pp, pg, pm, lr, momentum, code)


def adagrad(ndarray p, ndarray g, ndarray s, double lr, double eps):
    cdef const optim_kernels *kernels = <const optim_kernels *>engine_of(p).optim
    cdef long n = PyArray_SIZE(p)
    cdef void *pp = pointer(p)
    cdef void *pg = pointer(g)
    cdef void *ps = pointer(s)
    with nogil:
        kernels.adagrad(n, pp, pg, ps, lr, eps)


def rmsprop(
    ndarray p, ndarray g, ndarray s, ndarray m, ndarray gbar, double lr, double rho, double momentum, double eps
):
    cdef const optim_kernels *kernels = <const optim_kernels *>engine_of(p).optim
    cdef long n = PyArray_SIZE(p)
    cdef void *pp = pointer(p)
    cdef void *pg = pointer(g)
    cdef void *ps = pointer(s)
    cdef void *pm = pointer(m)
    cdef void *pb = pointer(gbar)
    with nogil:
        kernels.rmsprop(n, pp, pg, ps, pm, pb, lr, rho, momentum, eps)


def adam(
    ndarray p, ndarray g, ndarray m, ndarray v, ndarray vhat, double lr, double beta1, double beta2, double eps,
    double weight_decay, long step
):
    cdef const optim_kernels *kernels = <const optim_kernels *>engine_of(p).optim
    cdef long n = PyArray_SIZE(p)
    cdef void *pp = pointer(p)
    cdef void *pg = pointer(g)
    cdef void *pm = pointer(m)
    cdef void *pv = pointer(v)
    cdef void *ph = pointer(vhat)
    with nogil:
        kernels.adam(n, pp, pg, pm, pv, ph, lr, beta1, beta2, eps, weight_decay, step)
