"""Binds recurrent.c; contracts in backends/interface.py."""

cdef extern from "recurrent.h":
    ctypedef struct sequence_shape:
        long n, t, i, h
    ctypedef struct recurrent_kernels:
        int (*simple_rnn)(sequence_shape s, void *x, void *h0, void *w, void *u, void *b, const unsigned char *mask,
                          void *h, int activation) nogil
        int (*simple_rnn_backward)(sequence_shape s, void *dh, void *x, void *h0, void *w, void *u,
                                   const unsigned char *mask, void *h, void *dx, void *dh0, void *dw, void *du,
                                   void *db, int activation, int accumulate) nogil
        int (*lstm)(sequence_shape s, void *x, void *h0, void *c0, void *w, void *u, void *b,
                    const unsigned char *mask, void *h, void *c, void *gates) nogil
        int (*lstm_backward)(sequence_shape s, void *dh, void *dc_last, void *x, void *h0, void *c0, void *w,
                             void *u, const unsigned char *mask, void *h, void *c, void *gates, void *dx, void *dh0,
                             void *dc0, void *dw, void *du, void *db, int accumulate) nogil
        int (*gru)(sequence_shape s, void *x, void *h0, void *w, void *u, void *b, const unsigned char *mask,
                   void *h, void *gates, int reset_after) nogil
        int (*gru_backward)(sequence_shape s, void *dh, void *x, void *h0, void *w, void *u,
                            const unsigned char *mask, void *h, void *gates, void *dx, void *dh0, void *dw, void *du,
                            void *db, int reset_after, int accumulate) nogil

include "binding.pxi"


cdef inline const recurrent_kernels *kernels_of(ndarray x) noexcept:
    return <const recurrent_kernels *>engine_of(x).recurrent


cdef inline sequence_shape shape_of(ndarray x, ndarray h0) noexcept:
    return sequence_shape(x.shape[0], x.shape[1], x.shape[2], h0.shape[1])


def simple_rnn(
    ndarray x, ndarray h0, ndarray w, ndarray u, ndarray b, ndarray mask, ndarray h, activation
):
    cdef const recurrent_kernels *kernels = kernels_of(x)
    cdef sequence_shape s = shape_of(x, h0)
    cdef int status, code = FUSED[activation]
    cdef void *px = pointer(x)
    cdef void *ph0 = pointer(h0)
    cdef void *pw = pointer(w)
    cdef void *pu = pointer(u)
    cdef void *pb = pointer(b)
    cdef const unsigned char *pmask = <const unsigned char *>pointer(mask)
    cdef void *ph = pointer(h)
    with nogil:
        status = kernels.simple_rnn(s, px, ph0, pw, pu, pb, pmask, ph, code)
    check(status)


def simple_rnn_backward(
    ndarray dh, ndarray x, ndarray h0, ndarray w, ndarray u, ndarray mask, ndarray h, ndarray dx, ndarray dh0,
    ndarray dw, ndarray du, ndarray db, activation, bint accumulate=False
):
    cdef const recurrent_kernels *kernels = kernels_of(x)
    cdef sequence_shape s = shape_of(x, h0)
    cdef int status, code = FUSED[activation]
    cdef void *pdh = pointer(dh)
    cdef void *px = pointer(x)
    cdef void *ph0 = pointer(h0)
    cdef void *pw = pointer(w)
    cdef void *pu = pointer(u)
    cdef const unsigned char *pmask = <const unsigned char *>pointer(mask)
    cdef void *ph = pointer(h)
    cdef void *pdx = pointer(dx)
    cdef void *pdh0 = pointer(dh0)
    cdef void *pdw = pointer(dw)
    cdef void *pdu = pointer(du)
    cdef void *pdb = pointer(db)
    with nogil:
        status = kernels.simple_rnn_backward(
            s, pdh, px, ph0, pw, pu, pmask, ph, pdx, pdh0, pdw, pdu, pdb, code, accumulate
        )
    check(status)


def lstm(
    ndarray x, ndarray h0, ndarray c0, ndarray w, ndarray u, ndarray b, ndarray mask, ndarray h, ndarray c,
    ndarray gates
):
    cdef const recurrent_kernels *kernels = kernels_of(x)
    cdef sequence_shape s = shape_of(x, h0)
    cdef int status
    cdef void *px = pointer(x)
    cdef void *ph0 = pointer(h0)
    cdef void *pc0 = pointer(c0)
    cdef void *pw = pointer(w)
    cdef void *pu = pointer(u)
    cdef void *pb = pointer(b)
    cdef const unsigned char *pmask = <const unsigned char *>pointer(mask)
    cdef void *ph = pointer(h)
    cdef void *pc = pointer(c)
    cdef void *pgates = pointer(gates)
    with nogil:
        status = kernels.lstm(s, px, ph0, pc0, pw, pu, pb, pmask, ph, pc, pgates)
    check(status)


def lstm_backward(
    ndarray dh, ndarray dc_last, ndarray x, ndarray h0, ndarray c0, ndarray w, ndarray u, ndarray mask, ndarray h,
    ndarray c, ndarray gates, ndarray dx, ndarray dh0, ndarray dc0, ndarray dw, ndarray du, ndarray db,
    bint accumulate=False
):
    cdef const recurrent_kernels *kernels = kernels_of(x)
    cdef sequence_shape s = shape_of(x, h0)
    cdef int status
    cdef void *pdh = pointer(dh)
    cdef void *pdc_last = pointer(dc_last)
    cdef void *px = pointer(x)
    cdef void *ph0 = pointer(h0)
    cdef void *pc0 = pointer(c0)
    cdef void *pw = pointer(w)
    cdef void *pu = pointer(u)
    cdef const unsigned char *pmask = <const unsigned char *>pointer(mask)
    cdef void *ph = pointer(h)
    cdef void *pc = pointer(c)
    cdef void *pgates = pointer(gates)
    cdef void *pdx = pointer(dx)
    cdef void *pdh0 = pointer(dh0)
    cdef void *pdc0 = pointer(dc0)
    cdef void *pdw = pointer(dw)
    cdef void *pdu = pointer(du)
    cdef void *pdb = pointer(db)
    with nogil:
        status = kernels.lstm_backward(
            s, pdh, pdc_last, px, ph0, pc0, pw, pu, pmask, ph, pc, pgates, pdx, pdh0, pdc0, pdw, pdu, pdb, accumulate
        )
    check(status)


def gru(
    ndarray x, ndarray h0, ndarray w, ndarray u, ndarray b, ndarray mask, ndarray h, ndarray gates, bint reset_after
):
    cdef const recurrent_kernels *kernels = kernels_of(x)
    cdef sequence_shape s = shape_of(x, h0)
    cdef int status
    cdef void *px = pointer(x)
    cdef void *ph0 = pointer(h0)
    cdef void *pw = pointer(w)
    cdef void *pu = pointer(u)
    cdef void *pb = pointer(b)
    cdef const unsigned char *pmask = <const unsigned char *>pointer(mask)
    cdef void *ph = pointer(h)
    cdef void *pgates = pointer(gates)
    with nogil:
        status = kernels.gru(s, px, ph0, pw, pu, pb, pmask, ph, pgates, reset_after)
    check(status)


def gru_backward(
    ndarray dh, ndarray x, ndarray h0, ndarray w, ndarray u, ndarray mask, ndarray h, ndarray gates, ndarray dx,
    ndarray dh0, ndarray dw, ndarray du, ndarray db, bint reset_after, bint accumulate=False
):
    cdef const recurrent_kernels *kernels = kernels_of(x)
    cdef sequence_shape s = shape_of(x, h0)
    cdef int status
    cdef void *pdh = pointer(dh)
    cdef void *px = pointer(x)
    cdef void *ph0 = pointer(h0)
    cdef void *pw = pointer(w)
    cdef void *pu = pointer(u)
    cdef const unsigned char *pmask = <const unsigned char *>pointer(mask)
    cdef void *ph = pointer(h)
    cdef void *pgates = pointer(gates)
    cdef void *pdx = pointer(dx)
    cdef void *pdh0 = pointer(dh0)
    cdef void *pdw = pointer(dw)
    cdef void *pdu = pointer(du)
    cdef void *pdb = pointer(db)
    with nogil:
        status = kernels.gru_backward(
            s, pdh, px, ph0, pw, pu, pmask, ph, pgates, pdx, pdh0, pdw, pdu, pdb, reset_after, accumulate
        )
    check(status)
