"""Binds norm.c; contracts in backends/interface.py."""

cdef extern from "norm.h":
    ctypedef struct norm_kernels:
        int (*batchnorm)(long rows, long n, void *x, void *gamma, void *beta, void *running_mean, void *running_var,
                         void *y, void *mean, void *inv_std, double momentum, double eps, int activation,
                         void *residual) nogil
        int (*batchnorm_inference)(long rows, long n, void *x, void *gamma, void *beta, void *running_mean,
                                   void *running_var, void *y, double eps, int activation) nogil
        int (*batchnorm_backward)(long rows, long n, void *dz, void *x, void *gamma, void *mean, void *inv_std, void *dx,
                                  void *dgamma, void *dbeta, int accumulate, int relu, void *beta) nogil
        int (*layernorm)(long rows, long n, void *x, void *gamma, void *beta, void *y, void *mean, void *inv_std,
                         double eps) nogil
        int (*layernorm_backward)(long rows, long n, void *dy, void *x, void *gamma, void *mean, void *inv_std, void *dx,
                                  void *dgamma, void *dbeta, int accumulate) nogil

include "binding.pxi"


cdef inline const norm_kernels *kernels_of(ndarray x) noexcept:
    return <const norm_kernels *>engine_of(x).norm


def batchnorm(
    ndarray x, ndarray gamma, ndarray beta, ndarray running_mean, ndarray running_var, ndarray y, ndarray mean,
    ndarray inv_std, double momentum, double eps, activation
):
    batchnorm_residual(x, gamma, beta, running_mean, running_var, y, mean, inv_std, momentum, eps, activation, None)


def batchnorm_residual(
    ndarray x, ndarray gamma, ndarray beta, ndarray running_mean, ndarray running_var, ndarray y, ndarray mean,
    ndarray inv_std, double momentum, double eps, activation, ndarray residual
):
    """y = activation(gamma x̂ + beta + residual)."""
    cdef const norm_kernels *kernels = kernels_of(x)
    cdef int code = FUSED[activation], status
    cdef long rows = x.shape[0], n = x.shape[1]
    cdef void *px = pointer(x)
    cdef void *pgamma = pointer(gamma)
    cdef void *pbeta = pointer(beta)
    cdef void *prunning_mean = pointer(running_mean)
    cdef void *prunning_var = pointer(running_var)
    cdef void *py = pointer(y)
    cdef void *pmean = pointer(mean)
    cdef void *pinv_std = pointer(inv_std)
    cdef void *presidual = pointer(residual)
    with nogil:
        status = kernels.batchnorm(
            rows, n, px, pgamma, pbeta, prunning_mean, prunning_var, py, pmean, pinv_std, momentum, eps, code, presidual
        )
    check(status)


def batchnorm_inference(
    ndarray x, ndarray gamma, ndarray beta, ndarray running_mean, ndarray running_var, ndarray y, double eps, activation
):
    cdef const norm_kernels *kernels = kernels_of(x)
    cdef int code = FUSED[activation], status
    cdef long rows = x.shape[0], n = x.shape[1]
    cdef void *px = pointer(x)
    cdef void *pgamma = pointer(gamma)
    cdef void *pbeta = pointer(beta)
    cdef void *prunning_mean = pointer(running_mean)
    cdef void *prunning_var = pointer(running_var)
    cdef void *py = pointer(y)
    with nogil:
        status = kernels.batchnorm_inference(rows, n, px, pgamma, pbeta, prunning_mean, prunning_var, py, eps, code)
    check(status)


cdef backward(
    ndarray dz, ndarray x, ndarray gamma, ndarray mean, ndarray inv_std, ndarray dx, ndarray dgamma, ndarray dbeta,
    bint accumulate, bint relu, ndarray beta
):
    cdef const norm_kernels *kernels = kernels_of(x)
    cdef int status
    cdef long rows = x.shape[0], n = x.shape[1]
    cdef void *pdz = pointer(dz)
    cdef void *px = pointer(x)
    cdef void *pgamma = pointer(gamma)
    cdef void *pmean = pointer(mean)
    cdef void *pinv_std = pointer(inv_std)
    cdef void *pdx = pointer(dx)
    cdef void *pdgamma = pointer(dgamma)
    cdef void *pdbeta = pointer(dbeta)
    cdef void *pbeta = pointer(beta)
    with nogil:
        status = kernels.batchnorm_backward(
            rows, n, pdz, px, pgamma, pmean, pinv_std, pdx, pdgamma, pdbeta, accumulate, relu, pbeta
        )
    check(status)


def batchnorm_backward(
    ndarray dz, ndarray x, ndarray gamma, ndarray mean, ndarray inv_std, ndarray dx, ndarray dgamma, ndarray dbeta,
    bint accumulate=False
):
    backward(dz, x, gamma, mean, inv_std, dx, dgamma, dbeta, accumulate, False, None)


def batchnorm_relu_backward(
    ndarray dy, ndarray x, ndarray gamma, ndarray mean, ndarray inv_std, ndarray dx, ndarray dgamma, ndarray dbeta,
    bint accumulate, ndarray relu_beta
):
    """batchnorm_backward from the gradient after a ReLU; relu_beta is the beta of the forward call."""
    backward(dy, x, gamma, mean, inv_std, dx, dgamma, dbeta, accumulate, True, relu_beta)


def layernorm(ndarray x, ndarray gamma, ndarray beta, ndarray y, ndarray mean, ndarray inv_std, double eps):
    cdef const norm_kernels *kernels = kernels_of(x)
    cdef int status
    cdef long rows = x.shape[0], n = x.shape[1]
    cdef void *px = pointer(x)
    cdef void *pgamma = pointer(gamma)
    cdef void *pbeta = pointer(beta)
    cdef void *py = pointer(y)
    cdef void *pmean = pointer(mean)
    cdef void *pinv_std = pointer(inv_std)
    with nogil:
        status = kernels.layernorm(rows, n, px, pgamma, pbeta, py, pmean, pinv_std, eps)
    check(status)


def layernorm_backward(
    ndarray dy, ndarray x, ndarray gamma, ndarray mean, ndarray inv_std, ndarray dx, ndarray dgamma, ndarray dbeta,
    bint accumulate=False
):
    cdef const norm_kernels *kernels = kernels_of(x)
    cdef int status
    cdef long rows = x.shape[0], n = x.shape[1]
    cdef void *pdy = pointer(dy)
    cdef void *px = pointer(x)
    cdef void *pgamma = pointer(gamma)
    cdef void *pmean = pointer(mean)
    cdef void *pinv_std = pointer(inv_std)
    cdef void *pdx = pointer(dx)
    cdef void *pdgamma = pointer(dgamma)
    cdef void *pdbeta = pointer(dbeta)
    with nogil:
        status = kernels.layernorm_backward(rows, n, pdy, px, pgamma, pmean, pinv_std, pdx, pdgamma, pdbeta, accumulate)
    check(status)
