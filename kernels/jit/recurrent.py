"""Recurrent layers over whole sequences.

Plain version: per step two products, an addition and a handful of passes for the gates. Here the input projection of
all steps is one product, a step is the recurrent product and a single fused pass from pre-activations to new state,
and the loop over time runs inside one compiled function. The backward stores the gradients of the pre-activations of
all steps, so that those of the weights are one product each at the end. A masked step leaves the state as it is and
hands its gradient on untouched.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .activation import CODES, apply_fused
from .linear import gemm
from .reduce import column_sums
from .scalar import sigmoid, tanh
from .threads import absent, elementwise_jit

Array = Any


@elementwise_jit
def _multiply(a, b, y):
    """y = a b, also where a dimension is 0."""
    if y.size and b.size:
        np.dot(a, b, y)
    else:
        y[:] = y.dtype.type(0)


@elementwise_jit
def _skipped(mask, n, t):
    return mask.size > 0 and mask[n, t] == 0


@elementwise_jit
def _simple_rnn(h, h0, u, b, mask, code):
    # h holds the input projection and becomes the output.
    batch, steps, size = h.shape
    state = h0.copy()
    recurrent = np.empty_like(state)
    for t in range(steps):
        _multiply(state, u, recurrent)
        for n in range(batch):
            z = h[n, t]
            r = recurrent[n]
            s = state[n]
            if _skipped(mask, n, t):
                for k in range(size):
                    z[k] = s[k]
            else:
                for k in range(size):
                    z[k] = z[k] + r[k] + b[k]
                apply_fused(z, code)
                for k in range(size):
                    s[k] = z[k]


@elementwise_jit
def _simple_rnn_backward(dh, h, u, mask, dz, carry, code):
    batch, steps, size = h.shape
    one = h.dtype.type(1)
    zero = h.dtype.type(0)
    step = np.empty_like(carry)
    total = np.empty_like(carry)
    carry[:] = zero
    for t in range(steps - 1, -1, -1):
        for n in range(batch):
            d = dh[n, t]
            o = h[n, t]
            a = total[n]
            z = step[n]
            keep = carry[n]
            for k in range(size):
                a[k] = d[k] + keep[k]
            if _skipped(mask, n, t):
                for k in range(size):
                    z[k] = zero
            elif code == 0:
                for k in range(size):
                    z[k] = a[k]
            elif code == 1:
                for k in range(size):
                    z[k] = a[k] if o[k] > zero else zero
            elif code == 2:
                for k in range(size):
                    z[k] = a[k] * o[k] * (one - o[k])
            else:
                for k in range(size):
                    z[k] = a[k] * (one - o[k] * o[k])
            out = dz[n, t]
            for k in range(size):
                out[k] = z[k]
        _multiply(step, u.T, carry)
        for n in range(batch):
            if _skipped(mask, n, t):
                carry[n] = total[n]


@elementwise_jit
def _lstm(gates, h0, c0, u, b, mask, h, c):
    # gates hold the input projection and become the gates.
    batch, steps, size = h.shape
    state = h0.copy()
    cell = c0.copy()
    recurrent = np.empty((batch, 4 * size), h.dtype)
    for t in range(steps):
        _multiply(state, u, recurrent)
        for n in range(batch):
            z = gates[n, t]
            r = recurrent[n]
            for k in range(2 * size):
                z[k] = sigmoid(z[k] + r[k] + b[k])
            for k in range(2 * size, 3 * size):
                z[k] = tanh(z[k] + r[k] + b[k])
            for k in range(3 * size, 4 * size):
                z[k] = sigmoid(z[k] + r[k] + b[k])
            s = state[n]
            m = cell[n]
            if not _skipped(mask, n, t):
                i = z[:size]
                f = z[size:][:size]
                g = z[2 * size :][:size]
                o = z[3 * size :]
                for k in range(size):
                    v = f[k] * m[k] + i[k] * g[k]
                    m[k] = v
                    s[k] = o[k] * tanh(v)
            h_out = h[n, t]
            c_out = c[n, t]
            for k in range(size):
                h_out[k] = s[k]
                c_out[k] = m[k]


@elementwise_jit
def _lstm_backward(dh, c0, u, mask, c, gates, dz, carry_h, carry_c):
    # carry_c holds the gradient of the last cell state.
    batch, steps, size = dh.shape
    one = dh.dtype.type(1)
    zero = dh.dtype.type(0)
    step = np.empty((batch, 4 * size), dh.dtype)
    total = np.empty_like(carry_h)
    carry_h[:] = zero
    for t in range(steps - 1, -1, -1):
        for n in range(batch):
            d = dh[n, t]
            a = total[n]
            keep = carry_h[n]
            z = step[n]
            for k in range(size):
                a[k] = d[k] + keep[k]
            if _skipped(mask, n, t):
                for k in range(z.size):
                    z[k] = zero
            else:
                i = gates[n, t, :size]
                f = gates[n, t, size : 2 * size]
                g = gates[n, t, 2 * size : 3 * size]
                o = gates[n, t, 3 * size :]
                di = z[:size]
                df = z[size:][:size]
                dg = z[2 * size :][:size]
                do = z[3 * size :]
                cell = c[n, t]
                before = c0[n] if t == 0 else c[n, t - 1]
                dc = carry_c[n]
                for k in range(size):
                    tanh_c = tanh(cell[k])
                    v = dc[k] + a[k] * o[k] * (one - tanh_c * tanh_c)
                    di[k] = v * g[k] * i[k] * (one - i[k])
                    dg[k] = v * i[k] * (one - g[k] * g[k])
                    do[k] = a[k] * tanh_c * o[k] * (one - o[k])
                    dc[k] = v
                for k in range(size):
                    v = dc[k]
                    df[k] = v * before[k] * f[k] * (one - f[k])
                    dc[k] = v * f[k]
            out = dz[n, t]
            for k in range(z.size):
                out[k] = z[k]
        _multiply(step, u.T, carry_h)
        for n in range(batch):
            if _skipped(mask, n, t):
                carry_h[n] = total[n]


@elementwise_jit
def _gru_reset_after(projected, h0, u, b0, b1, mask, h, gates):
    batch, steps, size = h.shape
    one = h.dtype.type(1)
    state = h0.copy()
    recurrent = np.empty((batch, 3 * size), h.dtype)
    for t in range(steps):
        _multiply(state, u, recurrent)
        for n in range(batch):
            p = projected[n, t]
            r = recurrent[n]
            for k in range(r.size):
                p[k] += b0[k]
                r[k] += b1[k]
            zr = gates[n, t, : 2 * size]
            for k in range(zr.size):
                zr[k] = sigmoid(p[k] + r[k])
            _gru_candidate(p[2 * size :], zr[size:], r[2 * size :], gates[n, t])
            q = gates[n, t, 3 * size :]
            rq = r[2 * size :]
            for k in range(size):
                q[k] = rq[k]
            _gru_update(gates[n, t], state[n], h[n, t], one, _skipped(mask, n, t))


@elementwise_jit
def _gru_candidate(p, reset, q, gates):
    size = p.size
    g = gates[2 * size :][:size]
    for k in range(size):
        g[k] = tanh(p[k] + reset[k] * q[k])


@elementwise_jit
def _gru_update(gates, state, h, one, skipped):
    size = state.size
    z = gates[:size]
    g = gates[2 * size :][:size]
    if not skipped:
        for k in range(size):
            state[k] = z[k] * state[k] + (one - z[k]) * g[k]
    for k in range(size):
        h[k] = state[k]


@elementwise_jit
def _gru_reset_before(projected, h0, u_zr, u_h, b, mask, h, gates):
    batch, steps, size = h.shape
    one = h.dtype.type(1)
    state = h0.copy()
    reset_state = np.empty_like(state)
    recurrent_zr = np.empty((batch, 2 * size), h.dtype)
    recurrent_h = np.empty_like(state)
    for t in range(steps):
        _multiply(state, u_zr, recurrent_zr)
        for n in range(batch):
            p = projected[n, t]
            v = recurrent_zr[n]
            zr = gates[n, t, : 2 * size]
            for k in range(zr.size):
                zr[k] = sigmoid(p[k] + v[k] + b[k])
            r = zr[size:]
            q = gates[n, t, 3 * size :]
            s = state[n]
            rs = reset_state[n]
            for k in range(size):
                q[k] = r[k] * s[k]
                rs[k] = q[k]
        _multiply(reset_state, u_h, recurrent_h)
        for n in range(batch):
            p = projected[n, t, 2 * size :]
            v = recurrent_h[n]
            bias = b[2 * size :]
            g = gates[n, t, 2 * size : 3 * size]
            for k in range(size):
                g[k] = tanh(p[k] + v[k] + bias[k])
            _gru_update(gates[n, t], state[n], h[n, t], one, _skipped(mask, n, t))


@elementwise_jit
def _gru_backward(dh, h0, u_zr, u_h, u, mask, h, gates, dz_input, dz_recurrent, carry, reset_after):
    # u_zr and u_h are used where the reset comes before the product, u where it comes after.
    batch, steps, size = h.shape
    one = h.dtype.type(1)
    zero = h.dtype.type(0)
    width = 3 * size if reset_after else 2 * size
    step = np.empty((batch, width), h.dtype)
    step_g = np.empty_like(carry)
    back = np.empty_like(carry)
    direct = np.empty_like(carry)
    carry[:] = zero
    for t in range(steps - 1, -1, -1):
        for n in range(batch):
            z = gates[n, t, :size]
            r = gates[n, t, size : 2 * size]
            g = gates[n, t, 2 * size : 3 * size]
            q = gates[n, t, 3 * size :]
            before = h0[n] if t == 0 else h[n, t - 1]
            d = dh[n, t]
            keep = carry[n]
            past = direct[n]
            out = dz_input[n, t]
            dz = out[:size]
            dr = out[size:][:size]
            dg = out[2 * size :]
            dg_step = step_g[n]
            if _skipped(mask, n, t):
                for k in range(size):
                    past[k] = d[k] + keep[k]
                    dg_step[k] = zero
                for k in range(out.size):
                    out[k] = zero
            else:
                for k in range(size):
                    a = d[k] + keep[k]
                    dz[k] = a * (before[k] - g[k]) * z[k] * (one - z[k])
                    v = a * (one - z[k]) * (one - g[k] * g[k])
                    dg[k] = v
                    dg_step[k] = v
                    past[k] = a * z[k]
                if reset_after:
                    for k in range(size):
                        dr[k] = dg[k] * q[k] * r[k] * (one - r[k])
            if reset_after:
                rec = dz_recurrent[n, t]
                for k in range(2 * size):
                    rec[k] = out[k]
                rec_g = rec[2 * size :]
                for k in range(size):
                    rec_g[k] = dg[k] * r[k]
                s = step[n]
                for k in range(s.size):
                    s[k] = rec[k]
        if reset_after:
            _multiply(step, u.T, back)
        else:
            _multiply(step_g, u_h.T, back)
            for n in range(batch):
                r = gates[n, t, size : 2 * size]
                before = h0[n] if t == 0 else h[n, t - 1]
                out = dz_input[n, t]
                dr = out[size:][:size]
                dq = back[n]
                past = direct[n]
                for k in range(size):
                    dr[k] = dq[k] * before[k] * r[k] * (one - r[k])
                    past[k] += dq[k] * r[k]
                s = step[n]
                for k in range(s.size):
                    s[k] = out[k]
            _multiply(step, u_zr.T, back)
        for n in range(batch):
            keep = carry[n]
            past = direct[n]
            more = back[n]
            for k in range(size):
                keep[k] = past[k] + more[k]


def _rows(a: Array) -> Array:
    """`[N, T, F]` as `[N·T, F]`."""
    return a.reshape(a.shape[0] * a.shape[1], a.shape[2])


def _mask(mask: Array | None) -> Array:
    return absent(np.dtype(np.uint8)).reshape(0, 0) if mask is None else mask


def _previous(first: Array, states: Array) -> Array:
    """The state before each step."""
    before = np.empty_like(states)
    before[:, 0] = first
    before[:, 1:] = states[:, :-1]
    return before


def _store_product(a: Array, b: Array, target: Array, accumulate: bool) -> None:
    if accumulate:
        product = np.empty_like(target)
        gemm(a.T, b, product)
        np.add(target, product, out=target)
    else:
        gemm(a.T, b, target)


def _store_inputs(dz: Array, x: Array, w: Array, dx: Array | None, dw: Array, accumulate: bool) -> None:
    _store_product(_rows(x), _rows(dz), dw, accumulate)
    if dx is not None:
        gemm(_rows(dz), w.T, _rows(dx))


def simple_rnn(
    x: Array, h0: Array, w: Array, u: Array, b: Array | None, mask: Array | None, h: Array, activation: str
) -> None:
    gemm(_rows(x), w, _rows(h))
    _simple_rnn(h, h0, u, np.zeros(u.shape[1], u.dtype) if b is None else b, _mask(mask), CODES[activation])


def simple_rnn_backward(
    dh: Array,
    x: Array,
    h0: Array,
    w: Array,
    u: Array,
    mask: Array | None,
    h: Array,
    dx: Array | None,
    dh0: Array | None,
    dw: Array,
    du: Array,
    db: Array | None,
    activation: str,
    accumulate: bool = False,
) -> None:
    dz = np.empty_like(dh)
    carry = np.empty_like(h0) if dh0 is None else dh0
    _simple_rnn_backward(dh, h, u, _mask(mask), dz, carry, CODES[activation])
    _store_inputs(dz, x, w, dx, dw, accumulate)
    _store_product(_rows(_previous(h0, h)), _rows(dz), du, accumulate)
    if db is not None:
        column_sums(_rows(dz), db, accumulate)


def lstm(
    x: Array,
    h0: Array,
    c0: Array,
    w: Array,
    u: Array,
    b: Array | None,
    mask: Array | None,
    h: Array,
    c: Array,
    gates: Array | None,
) -> None:
    gates = np.empty((*h.shape[:2], u.shape[1]), h.dtype) if gates is None else gates
    gemm(_rows(x), w, _rows(gates))
    _lstm(gates, h0, c0, u, np.zeros(u.shape[1], u.dtype) if b is None else b, _mask(mask), h, c)


def lstm_backward(
    dh: Array,
    dc_last: Array | None,
    x: Array,
    h0: Array,
    c0: Array,
    w: Array,
    u: Array,
    mask: Array | None,
    h: Array,
    c: Array,
    gates: Array,
    dx: Array | None,
    dh0: Array | None,
    dc0: Array | None,
    dw: Array,
    du: Array,
    db: Array | None,
    accumulate: bool = False,
) -> None:
    dz = np.empty_like(gates)
    carry_h = np.empty_like(h0) if dh0 is None else dh0
    carry_c = np.empty_like(c0) if dc0 is None else dc0
    carry_c[...] = 0 if dc_last is None else dc_last
    _lstm_backward(dh, c0, u, _mask(mask), c, gates, dz, carry_h, carry_c)
    _store_inputs(dz, x, w, dx, dw, accumulate)
    _store_product(_rows(_previous(h0, h)), _rows(dz), du, accumulate)
    if db is not None:
        column_sums(_rows(dz), db, accumulate)


def gru(
    x: Array,
    h0: Array,
    w: Array,
    u: Array,
    b: Array | None,
    mask: Array | None,
    h: Array,
    gates: Array | None,
    reset_after: bool,
) -> None:
    size = h0.shape[1]
    gates = np.empty((*h.shape[:2], 4 * size), h.dtype) if gates is None else gates
    projected = np.empty((*h.shape[:2], 3 * size), h.dtype)
    gemm(_rows(x), w, _rows(projected))
    if reset_after:
        b0, b1 = np.zeros((2, 3 * size), h.dtype) if b is None else b
        _gru_reset_after(projected, h0, u, b0, b1, _mask(mask), h, gates)
    else:
        u_zr, u_h = np.ascontiguousarray(u[:, : 2 * size]), np.ascontiguousarray(u[:, 2 * size :])
        bias = np.zeros(3 * size, h.dtype) if b is None else b
        _gru_reset_before(projected, h0, u_zr, u_h, bias, _mask(mask), h, gates)


def gru_backward(
    dh: Array,
    x: Array,
    h0: Array,
    w: Array,
    u: Array,
    mask: Array | None,
    h: Array,
    gates: Array,
    dx: Array | None,
    dh0: Array | None,
    dw: Array,
    du: Array,
    db: Array | None,
    reset_after: bool,
    accumulate: bool = False,
) -> None:
    size = h0.shape[1]
    dz_input = np.empty((*h.shape[:2], 3 * size), h.dtype)
    dz_recurrent = np.empty_like(dz_input) if reset_after else dz_input
    carry = np.empty_like(h0) if dh0 is None else dh0
    u_zr, u_h = np.ascontiguousarray(u[:, : 2 * size]), np.ascontiguousarray(u[:, 2 * size :])
    _gru_backward(dh, h0, u_zr, u_h, u, _mask(mask), h, gates, dz_input, dz_recurrent, carry, reset_after)
    _store_inputs(dz_input, x, w, dx, dw, accumulate)
    before = _rows(_previous(h0, h))
    if reset_after:
        _store_product(before, _rows(dz_recurrent), du, accumulate)
    else:
        total = np.empty_like(du)
        gemm(before.T, _rows(dz_input), total)
        candidate = np.empty((size, size), du.dtype)
        q = np.ascontiguousarray(_rows(gates)[:, 3 * size :])
        gemm(q.T, np.ascontiguousarray(_rows(dz_input)[:, 2 * size :]), candidate)
        total[:, 2 * size :] = candidate
        np.add(du, total, out=du) if accumulate else np.copyto(du, total)
    if db is not None:
        if reset_after:
            column_sums(_rows(dz_input), db[0], accumulate)
            column_sums(_rows(dz_recurrent), db[1], accumulate)
        else:
            column_sums(_rows(dz_input), db, accumulate)
