"""Binds conv.c; contracts in backends/interface.py.

DLCORE_CONV=direct|winograd|auto, read at import, chooses how 3x3 convolutions of stride 1 or 2 and 5x5 ones of stride 1 are
computed in float32. With "winograd" images lie in lanes (`images_in_lanes` of the interface) only where Winograd's way is
taken there; with "direct" it is never taken there.
"""
from dlcore.backends.settings import CONVOLUTION_WAYS, convolution_way

cdef extern from "prepared.h":
    ctypedef struct prepared

cdef extern from "conv.h":
    ctypedef struct conv_shape:
        long n, h, w, c, oh, ow, k, kh, kw, sh, sw, top, left, dh, dw, groups
        int pooled, x_lanes, y_lanes

    ctypedef struct conv_kernels:
        int (*conv2d)(const conv_shape *s, void *x, void *w, void *b, void *y, int activation) nogil
        int (*conv2d_backward_input)(const conv_shape *s, void *dz, void *w, void *dx, void *residual, void *gate) nogil
        int (*conv2d_backward_weight)(const conv_shape *s, void *x, void *dz, void *dw, void *db, int accumulate) nogil
        prepared *(*prepare)(const conv_shape *s, void *x, void *w, void *b, void *y, int activation, void *residual) nogil
        void (*choose_way)(int way)
        int (*pools)(const conv_shape *s, int activation)
        int (*in_lanes)(const conv_shape *s)

include "binding.pxi"


(<const conv_kernels *>f32.conv).choose_way(CONVOLUTION_WAYS.index(convolution_way()))
(<const conv_kernels *>f64.conv).choose_way(CONVOLUTION_WAYS.index(convolution_way()))


cdef dict POOLED = {"mean": 1, "max": 2}  # numbered as in conv.h


cdef conv_shape shape_of(ndarray x, ndarray w, ndarray y, stride, padding, dilation, long groups):
    cdef conv_shape s
    s.pooled = False
    s.x_lanes, s.y_lanes = x.ndim == 5, y.ndim == 5  # [N / L, H, W, C, L]: see backends/layout.py
    s.n, s.h, s.w, s.c = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    if s.x_lanes:
        s.n *= x.shape[4]
    s.oh, s.ow, s.k = y.shape[1], y.shape[2], y.shape[3]
    s.kh, s.kw = w.shape[0], w.shape[1]
    s.sh, s.sw = stride
    s.top, s.left = padding[0], padding[2]
    s.dh, s.dw = dilation
    s.groups = groups
    return s


def conv2d(ndarray x, ndarray w, ndarray b, ndarray y, stride, padding, dilation, long groups, activation):
    cdef const conv_kernels *kernels = <const conv_kernels *>engine_of(x).conv
    cdef conv_shape s = shape_of(x, w, y, stride, padding, dilation, groups)
    cdef int code = FUSED[activation], status
    cdef void *px = pointer(x)
    cdef void *pw = pointer(w)
    cdef void *pb = pointer(b)
    cdef void *py = pointer(y)
    with nogil:
        status = kernels.conv2d(&s, px, pw, pb, py, code)
    check(status)


def prepare_conv2d(ndarray x, ndarray w, ndarray b, ndarray y, stride, padding, dilation, long groups, activation,
                   ndarray residual=None, pooled=None):
    """conv2d on fixed arrays, everything decided and the filters packed: call the result after the contents of x have changed.

    y = activation(conv(x, w) + b + residual), or of windows of 2x2 of that the mean or max, where `pools` says so. w and b must
    not change any more.
    """
    cdef const conv_kernels *kernels = <const conv_kernels *>engine_of(x).conv
    cdef conv_shape s = shape_of(x, w, y, stride, padding, dilation, groups)
    if pooled:
        s.pooled, s.oh, s.ow = POOLED[pooled], 2 * s.oh, 2 * s.ow
    return prepared_call(
        kernels.prepare(&s, pointer(x), pointer(w), pointer(b), pointer(y), FUSED[activation], pointer(residual)),
        (x, w, b, y, residual),
    )


cdef backward_input(ndarray dz, ndarray w, ndarray dx, stride, padding, dilation, long groups, ndarray residual, ndarray gate):
    cdef const conv_kernels *kernels = <const conv_kernels *>engine_of(dz).conv
    cdef conv_shape s = shape_of(dx, w, dz, stride, padding, dilation, groups)
    cdef int status
    cdef void *pdz = pointer(dz)
    cdef void *pw = pointer(w)
    cdef void *pdx = pointer(dx)
    cdef void *presidual = pointer(residual)
    cdef void *pgate = pointer(gate)
    with nogil:
        status = kernels.conv2d_backward_input(&s, pdz, pw, pdx, presidual, pgate)
    check(status)


def conv2d_backward_input(ndarray dz, ndarray w, ndarray dx, stride, padding, dilation, long groups):
    backward_input(dz, w, dx, stride, padding, dilation, groups, None, None)


def conv2d_gated_backward_input(
    ndarray dz, ndarray w, ndarray dx, stride, padding, dilation, long groups, ndarray residual, ndarray gate=None
):
    """conv2d_backward_input, residual added to dx where it is not None; dx is 0 where gate is given and not positive."""
    backward_input(dz, w, dx, stride, padding, dilation, groups, residual, gate)


def conv2d_backward_weight(
    ndarray x, ndarray dz, ndarray dw, ndarray db, stride, padding, dilation, long groups, bint accumulate=False
):
    cdef const conv_kernels *kernels = <const conv_kernels *>engine_of(x).conv
    cdef conv_shape s = shape_of(x, dw, dz, stride, padding, dilation, groups)
    cdef int status
    cdef void *px = pointer(x)
    cdef void *pdz = pointer(dz)
    cdef void *pdw = pointer(dw)
    cdef void *pdb = pointer(db)
    with nogil:
        status = kernels.conv2d_backward_weight(&s, px, pdz, pdw, pdb, accumulate)
    check(status)


cdef conv_shape shape_from(x, w, y, stride, padding, dilation, long groups):
    cdef conv_shape s
    s.n, s.h, s.w, s.c = x
    s.oh, s.ow, s.k = y[1:]
    s.kh, s.kw = w[:2]
    s.sh, s.sw = stride
    s.top, s.left = padding[0], padding[2]
    s.dh, s.dw = dilation
    s.groups = groups
    s.pooled = s.x_lanes = s.y_lanes = False
    return s


def in_lanes(x, w, y, stride, padding, dilation, long groups, dtype):
    """L if the kernels of a layer of these shapes compute on vectors of L images: then each of x and y may lie as
    [N / L, H, W, C, L]; else 0."""
    cdef const conv_kernels *kernels = <const conv_kernels *>begin(f32 if dtype == "float32" else f64).conv
    cdef conv_shape s = shape_from(x, w, y, stride, padding, dilation, groups)
    return kernels.in_lanes(&s)


def pools(x, w, y, stride, padding, dilation, long groups, activation, dtype, pooled):
    """Whether prepare_conv2d, for these shapes, takes `pooled`, "mean" or "max"."""
    cdef const conv_kernels *kernels = <const conv_kernels *>begin(f32 if dtype == "float32" else f64).conv
    cdef conv_shape s = shape_from(x, w, y, stride, padding, dilation, groups)
    s.pooled = POOLED[pooled]
    return bool(kernels.pools(&s, FUSED[activation]))
