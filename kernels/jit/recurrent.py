"""Recurrent layers over whole sequences.

Plain version: per step two products, an addition and a handful of passes for the gates. Here the input projection of
all steps is one product that starts from the bias, and a step adds the recurrent product to it in place (see `gemm`,
whose packed weights are read by every step) and makes a single pass from pre-activations to new state. The batch is cut
over the cores for the whole sequence, so that no step waits for another core. The products stay with this engine's own
threads (`jit_gemm`): beside those of the native engine a sequence began late, and took 1.01 to 1.04 of the time. The
backward stores the gradients of the pre-activations of all steps, so that those of the weights are one product each at
the end. A masked step leaves the state as it is and hands its gradient on untouched.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .activation import CODES, apply_fused
from .gemm import jit_gemm, pack_matrix
from .gemm_few import STORED, ZERO
from .gemm_tile import WIDTH, call_multiplier, multiplier
from .lanes import address
from .reduce import column_sums
from .scalar import sigmoid, tanh
from .threads import GRAIN, absent, elementwise_jit, elementwise_kernel, num_threads

Array = Any


@elementwise_jit
def _multiply(function, a, t, packed, c, s, mode):
    """c[:, s] = a[:, t] · packed or, if mode is STORED, that much more; a and c `[N, T, ..]`."""
    size = c.itemsize
    depth = a.shape[2]
    columns = c.shape[2]
    panels = -(-columns // (WIDTH if size == 4 else WIDTH // 2))
    call_multiplier(
        function, address(a) + size * t * depth, a.shape[1] * depth, 1, len(c), address(packed), depth, 0, panels,
        columns, address(c) + size * s * columns, c.shape[1] * columns, mode, 0, 0,
    )  # fmt: skip


@elementwise_jit
def _step(function, first, states, t, packed, c, s, mode):
    """c[:, s] = the state before step t, which is in `first` or in `states`, · packed; mode as in `_multiply`."""
    if t == 0:
        _multiply(function, first, 0, packed, c, s, mode)
    else:
        _multiply(function, states, t - 1, packed, c, s, mode)


@elementwise_jit
def _skipped(mask, n, t):
    return mask.size > 0 and mask[n, t] == 0


@elementwise_kernel
def _simple_rnn(start, stop, function, h, h0, u, mask, code):
    # h holds the input projection and becomes the output; h0 [N, 1, H].
    h, h0, mask = h[start:stop], h0[start:stop], mask[start:stop]
    rows, steps, size = h.shape
    for t in range(steps):
        _step(function, h0, h, t, u, h, t, STORED)
        for n in range(rows):
            z = h[n, t]
            if _skipped(mask, n, t):
                before = h0[n, 0] if t == 0 else h[n, t - 1]
                for k in range(size):
                    z[k] = before[k]
            else:
                apply_fused(z, code)


@elementwise_kernel
def _simple_rnn_backward(start, stop, function, dh, h, u, mask, dz, carry, code):
    # carry [N, 1, H] is the gradient of the state before the step.
    dh, h, mask, dz, carry = dh[start:stop], h[start:stop], mask[start:stop], dz[start:stop], carry[start:stop]
    rows, steps, size = h.shape
    one = h.dtype.type(1)
    zero = h.dtype.type(0)
    total = np.empty((rows, size), h.dtype)
    carry[:] = zero
    for t in range(steps - 1, -1, -1):
        for n in range(rows):
            d = dh[n, t]
            o = h[n, t]
            a = total[n]
            z = dz[n, t]
            keep = carry[n, 0]
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
        _multiply(function, dz, t, u, carry, 0, ZERO)
        for n in range(rows):
            if _skipped(mask, n, t):
                carry[n, 0] = total[n]


@elementwise_kernel
def _lstm(start, stop, function, gates, h0, c0, u, mask, h, c):
    # gates hold the input projection and become the gates; h0 and c0 [N, 1, H].
    gates, h0, c0, mask, h = gates[start:stop], h0[start:stop], c0[start:stop], mask[start:stop], h[start:stop]
    c = c[start:stop]
    rows, steps, size = h.shape
    for t in range(steps):
        _step(function, h0, h, t, u, gates, t, STORED)
        for n in range(rows):
            z = gates[n, t]
            before = c0[n, 0] if t == 0 else c[n, t - 1]
            h_out = h[n, t]
            c_out = c[n, t]
            # Ranges from 0 and few arrays in a loop: else LLVM leaves exponentials one by one.
            apply_fused(z[: 2 * size], 2)
            apply_fused(z[2 * size : 3 * size], 3)
            apply_fused(z[3 * size :], 2)
            if _skipped(mask, n, t):
                h_before = h0[n, 0] if t == 0 else h[n, t - 1]
                for k in range(size):
                    c_out[k] = before[k]
                    h_out[k] = h_before[k]
            else:
                i = z[:size]
                f = z[size:][:size]
                g = z[2 * size :][:size]
                o = z[3 * size :]
                for k in range(size):
                    c_out[k] = f[k] * before[k] + i[k] * g[k]
                for k in range(size):
                    h_out[k] = o[k] * tanh(c_out[k])


@elementwise_kernel
def _lstm_backward(start, stop, function, dh, c0, u, mask, c, gates, dz, carry_h, carry_c):
    # carry_c holds the gradient of the last cell state; both carries and c0 are [N, 1, H].
    dh, c0, mask, c, gates = dh[start:stop], c0[start:stop], mask[start:stop], c[start:stop], gates[start:stop]
    dz, carry_h, carry_c = dz[start:stop], carry_h[start:stop], carry_c[start:stop]
    rows, steps, size = dh.shape
    one = dh.dtype.type(1)
    zero = dh.dtype.type(0)
    total = np.empty((rows, size), dh.dtype)
    carry_h[:] = zero
    for t in range(steps - 1, -1, -1):
        for n in range(rows):
            d = dh[n, t]
            a = total[n]
            keep = carry_h[n, 0]
            z = dz[n, t]
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
                before = c0[n, 0] if t == 0 else c[n, t - 1]
                dc = carry_c[n, 0]
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
        _multiply(function, dz, t, u, carry_h, 0, ZERO)
        for n in range(rows):
            if _skipped(mask, n, t):
                carry_h[n, 0] = total[n]


@elementwise_kernel
def _gru_reset_after(start, stop, function, projected, h0, u, b, mask, h, gates):
    projected, h0, mask, h = projected[start:stop], h0[start:stop], mask[start:stop], h[start:stop]
    gates = gates[start:stop]
    rows, steps, size = h.shape
    recurrent = np.empty((rows, 1, 3 * size), h.dtype)
    for t in range(steps):
        _step(function, h0, h, t, u, recurrent, 0, ZERO)
        for n in range(rows):
            p = projected[n, t]
            r = recurrent[n, 0]
            zr = gates[n, t, : 2 * size]
            for k in range(zr.size):
                zr[k] = sigmoid(p[k] + (r[k] + b[k]))
            reset = zr[size:]
            g = gates[n, t, 2 * size :][:size]
            q = gates[n, t, 3 * size :]
            rg = r[2 * size :]
            pg = p[2 * size :]
            bg = b[2 * size :]
            for k in range(size):
                v = rg[k] + bg[k]
                q[k] = v
                g[k] = tanh(pg[k] + reset[k] * v)
            before = h0[n, 0] if t == 0 else h[n, t - 1]
            _gru_update(gates[n, t], before, h[n, t], _skipped(mask, n, t))


@elementwise_jit
def _gru_update(gates, before, h, skipped):
    size = h.size
    one = h.dtype.type(1)
    z = gates[:size]
    g = gates[2 * size :][:size]
    if skipped:
        for k in range(size):
            h[k] = before[k]
    else:
        for k in range(size):
            h[k] = z[k] * before[k] + (one - z[k]) * g[k]


@elementwise_kernel
def _gru_reset_before(start, stop, function, projected, h0, u_zr, u_h, mask, h, gates):
    projected, h0, mask, h = projected[start:stop], h0[start:stop], mask[start:stop], h[start:stop]
    gates = gates[start:stop]
    rows, steps, size = h.shape
    reset_state = np.empty((rows, 1, size), h.dtype)
    recurrent = np.empty((rows, 1, 2 * size), h.dtype)
    candidate = np.empty((rows, 1, size), h.dtype)
    for t in range(steps):
        _step(function, h0, h, t, u_zr, recurrent, 0, ZERO)
        for n in range(rows):
            p = projected[n, t]
            v = recurrent[n, 0]
            zr = gates[n, t, : 2 * size]
            for k in range(zr.size):
                zr[k] = sigmoid(p[k] + v[k])
            r = zr[size:]
            q = gates[n, t, 3 * size :]
            s = h0[n, 0] if t == 0 else h[n, t - 1]
            rs = reset_state[n, 0]
            for k in range(size):
                q[k] = r[k] * s[k]
                rs[k] = q[k]
        _multiply(function, reset_state, 0, u_h, candidate, 0, ZERO)
        for n in range(rows):
            p = projected[n, t, 2 * size :]
            v = candidate[n, 0]
            g = gates[n, t, 2 * size : 3 * size]
            for k in range(size):
                g[k] = tanh(p[k] + v[k])
            before = h0[n, 0] if t == 0 else h[n, t - 1]
            _gru_update(gates[n, t], before, h[n, t], _skipped(mask, n, t))


@elementwise_kernel
def _gru_backward(start, stop, function, dh, h0, u, u_h, mask, h, gates, dz_input, dz_recurrent, carry, reset_after):
    # Packed and transposed: u is the whole recurrent kernel where the reset comes after the product, else its part for
    # z and r, and u_h that for the candidate.
    dh, h0, mask, h, gates = dh[start:stop], h0[start:stop], mask[start:stop], h[start:stop], gates[start:stop]
    dz_input, dz_recurrent, carry = dz_input[start:stop], dz_recurrent[start:stop], carry[start:stop]
    rows, steps, size = h.shape
    one = h.dtype.type(1)
    zero = h.dtype.type(0)
    step_g = np.empty((rows, 1, size), h.dtype)
    step_zr = np.empty((rows, 1, 2 * size), h.dtype)
    back = np.empty((rows, 1, size), h.dtype)
    direct = np.empty((rows, size), h.dtype)
    carry[:] = zero
    for t in range(steps - 1, -1, -1):
        for n in range(rows):
            z = gates[n, t, :size]
            r = gates[n, t, size : 2 * size]
            g = gates[n, t, 2 * size : 3 * size]
            q = gates[n, t, 3 * size :]
            before = h0[n, 0] if t == 0 else h[n, t - 1]
            d = dh[n, t]
            keep = carry[n, 0]
            past = direct[n]
            out = dz_input[n, t]
            dz = out[:size]
            dr = out[size:][:size]
            dg = out[2 * size :]
            if _skipped(mask, n, t):
                for k in range(size):
                    past[k] = d[k] + keep[k]
                for k in range(out.size):
                    out[k] = zero
            else:
                for k in range(size):
                    a = d[k] + keep[k]
                    dz[k] = a * (before[k] - g[k]) * z[k] * (one - z[k])
                    dg[k] = a * (one - z[k]) * (one - g[k] * g[k])
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
            else:
                dg_step = step_g[n, 0]
                for k in range(size):
                    dg_step[k] = dg[k]
        if reset_after:
            _multiply(function, dz_recurrent, t, u, back, 0, ZERO)
        else:
            _multiply(function, step_g, 0, u_h, back, 0, ZERO)
            for n in range(rows):
                r = gates[n, t, size : 2 * size]
                before = h0[n, 0] if t == 0 else h[n, t - 1]
                out = dz_input[n, t]
                dr = out[size:][:size]
                dq = back[n, 0]
                past = direct[n]
                for k in range(size):
                    dr[k] = dq[k] * before[k] * r[k] * (one - r[k])
                    past[k] += dq[k] * r[k]
                s = step_zr[n, 0]
                for k in range(s.size):
                    s[k] = out[k]
            _multiply(function, step_zr, 0, u, back, 0, ZERO)
        for n in range(rows):
            keep = carry[n, 0]
            past = direct[n]
            more = back[n, 0]
            for k in range(size):
                keep[k] = past[k] + more[k]


def _work(h: Array, u: Array) -> int:
    # Cut so that pieces have the rows of a whole tile: a product of one row reads the weights for nothing else.
    pieces = max(num_threads(), len(h) // 12)
    return min(h.shape[0] * h.shape[1] * (u.size // 16 + 8 * u.shape[1]), GRAIN * pieces)


def _rows(a: Array) -> Array:
    """`[N, T, F]` as `[N·T, F]`."""
    return a.reshape(a.shape[0] * a.shape[1], a.shape[2])


def _mask(mask: Array | None) -> Array:
    return absent(np.dtype(np.uint8)).reshape(0, 0) if mask is None else mask


def _previous(first: Array, states: Array) -> Array:
    """The state before each step."""
    before = np.empty_like(states)
    before[:, :1] = first[:, None]
    before[:, 1:] = states[:, :-1]
    return before


def _store_product(a: Array, b: Array, target: Array, accumulate: bool) -> None:
    jit_gemm(a.T, b, target, add=accumulate)


def _store_inputs(dz: Array, x: Array, w: Array, dx: Array | None, dw: Array, accumulate: bool) -> None:
    _store_product(_rows(x), _rows(dz), dw, accumulate)
    if dx is not None:
        jit_gemm(_rows(dz), w.T, _rows(dx))


def simple_rnn(
    x: Array, h0: Array, w: Array, u: Array, b: Array | None, mask: Array | None, h: Array, activation: str
) -> None:
    jit_gemm(_rows(x), w, _rows(h), b)
    if h.size:
        _simple_rnn(
            len(h), _work(h, u), multiplier(h.dtype), h, h0[:, None], pack_matrix(u, "u"), _mask(mask),
            CODES[activation],
        )  # fmt: skip


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
    if dz.size:
        _simple_rnn_backward(
            len(h), _work(h, u), multiplier(h.dtype), dh, h, pack_matrix(u.T, "u"), _mask(mask),
            dz, carry[:, None], CODES[activation],
        )  # fmt: skip
    else:
        carry[...] = 0
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
    jit_gemm(_rows(x), w, _rows(gates), b)
    if h.size:
        _lstm(
            len(h), _work(h, u), multiplier(h.dtype), gates, h0[:, None], c0[:, None], pack_matrix(u, "u"),
            _mask(mask), h, c,
        )  # fmt: skip


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
    if dz.size:
        _lstm_backward(
            len(h), _work(h, u), multiplier(h.dtype), dh, c0[:, None], pack_matrix(u.T, "u"),
            _mask(mask), c, gates, dz, carry_h[:, None], carry_c[:, None],
        )  # fmt: skip
    else:
        carry_h[...] = 0
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
    first, second = (None, np.zeros(3 * size, h.dtype)) if b is None else b if reset_after else (b, None)
    jit_gemm(_rows(x), w, _rows(projected), first)
    if not h.size:
        return
    common = len(h), _work(h, u), multiplier(h.dtype), projected, h0[:, None]
    if reset_after:
        _gru_reset_after(*common, pack_matrix(u, "u"), second, _mask(mask), h, gates)
    else:
        _gru_reset_before(*common, *_parts(u, False), _mask(mask), h, gates)


def _parts(u: Array, transposed: bool) -> list[Array]:
    """The packed recurrent kernel of z and r, and that of the candidate."""
    size = len(u)
    parts = np.ascontiguousarray(u[:, : 2 * size]), np.ascontiguousarray(u[:, 2 * size :])
    return [pack_matrix(p.T if transposed else p, slot) for p, slot in zip(parts, ("u", "u_h"), strict=True)]


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
    if h.size:
        packed = [pack_matrix(u.T, "u"), absent(u.dtype)] if reset_after else _parts(u, True)
        _gru_backward(
            len(h), _work(h, u), multiplier(h.dtype), dh, h0[:, None], *packed, _mask(mask), h, gates,
            dz_input, dz_recurrent, carry[:, None], reset_after,
        )  # fmt: skip
    else:
        carry[...] = 0
    _store_inputs(dz_input, x, w, dx, dw, accumulate)
    before = _rows(_previous(h0, h))
    if reset_after:
        _store_product(before, _rows(dz_recurrent), du, accumulate)
    else:
        total = np.empty_like(du)
        jit_gemm(before.T, _rows(dz_input), total)
        candidate = np.empty((size, size), du.dtype)
        q = np.ascontiguousarray(_rows(gates)[:, 3 * size :])
        jit_gemm(q.T, np.ascontiguousarray(_rows(dz_input)[:, 2 * size :]), candidate)
        total[:, 2 * size :] = candidate
        np.add(du, total, out=du) if accumulate else np.copyto(du, total)
    if db is not None:
        if reset_after:
            column_sums(_rows(dz_input), db[0], accumulate)
            column_sums(_rows(dz_recurrent), db[1], accumulate)
        else:
            column_sums(_rows(dz_input), db, accumulate)
