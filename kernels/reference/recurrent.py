"""Recurrent layers over whole sequences.

The input projection of all steps is one GEMM before the loop; each step then adds h[t−1] u and applies the cell. The
backward walks the steps in reverse, keeping the gradient before the gates' activations of every step, so that the
weight gradients are one GEMM each at the end. A masked step hands its gradient on to the step before, untouched.
"""

from __future__ import annotations

import numpy as np

from .activation import activation as activate
from .activation import activation_backward as activate_backward
from .linear import store
from .reduce import sum_rows

Array = np.ndarray


def simple_rnn(
    x: Array, h0: Array, w: Array, u: Array, b: Array | None, mask: Array | None, h: Array, activation: str
) -> None:
    """See `Backend.simple_rnn`."""
    projected = _project(x, w, b)
    state = h0
    for t in range(x.shape[1]):
        new = projected[:, t] + state @ u
        activate(new, new, activation, 0.0)
        state = h[:, t] = _carry(mask, t, new, state)


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
    """See `Backend.simple_rnn_backward`."""
    dz = np.empty_like(dh)
    carry = np.zeros_like(h0)
    for t in reversed(range(x.shape[1])):
        active, skipped = _split(mask, t, dh[:, t] + carry)
        activate_backward(active, None, h[:, t], dz[:, t], activation, 0.0)
        carry = dz[:, t] @ u.T + skipped
    if dh0 is not None:
        dh0[...] = carry
    _input_gradients(dz, x, w, dx, dw, accumulate)
    store(du, _flat(_previous(h0, h)).T @ _flat(dz), accumulate)
    if db is not None:
        store(db, sum_rows(_flat(dz)), accumulate)


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
    """See `Backend.lstm`."""
    size = h0.shape[1]
    projected = _project(x, w, b)
    state, cell = h0, c0
    for t in range(x.shape[1]):
        z = projected[:, t] + state @ u
        activate(z[:, : 2 * size], z[:, : 2 * size], "sigmoid", 0.0)
        activate(z[:, 2 * size : 3 * size], z[:, 2 * size : 3 * size], "tanh", 0.0)
        activate(z[:, 3 * size :], z[:, 3 * size :], "sigmoid", 0.0)
        if gates is not None:
            gates[:, t] = z
        i, f, g, o = _gates(z, 4)
        new_cell = f * cell + i * g
        state = h[:, t] = _carry(mask, t, o * np.tanh(new_cell), state)
        cell = c[:, t] = _carry(mask, t, new_cell, cell)


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
    """See `Backend.lstm_backward`."""
    dz = np.empty_like(gates)
    carry_h = np.zeros_like(h0)
    carry_c = np.zeros_like(c0) if dc_last is None else dc_last
    previous_c = _previous(c0, c)
    for t in reversed(range(x.shape[1])):
        active_h, skipped_h = _split(mask, t, dh[:, t] + carry_h)
        active_c, skipped_c = _split(mask, t, carry_c)
        i, f, g, o = _gates(gates[:, t], 4)
        di, df, dg, do = _gates(dz[:, t], 4)
        tanh_c = np.tanh(c[:, t])
        dc = active_c + active_h * o * (1 - tanh_c * tanh_c)
        di[...] = dc * g * i * (1 - i)
        df[...] = dc * previous_c[:, t] * f * (1 - f)
        dg[...] = dc * i * (1 - g * g)
        do[...] = active_h * tanh_c * o * (1 - o)
        carry_h = dz[:, t] @ u.T + skipped_h
        carry_c = dc * f + skipped_c
    if dh0 is not None:
        dh0[...] = carry_h
    if dc0 is not None:
        dc0[...] = carry_c
    _input_gradients(dz, x, w, dx, dw, accumulate)
    store(du, _flat(_previous(h0, h)).T @ _flat(dz), accumulate)
    if db is not None:
        store(db, sum_rows(_flat(dz)), accumulate)


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
    """See `Backend.gru`."""
    size = h0.shape[1]
    gates = np.empty((*h.shape[:2], 4 * size), h.dtype) if gates is None else gates
    projected = _project(x, w, b[0] if b is not None and reset_after else b)
    state = h0
    for t in range(x.shape[1]):
        z, r, g, q = _gates(gates[:, t], 4)
        pre_z, pre_r, pre_g = _gates(projected[:, t], 3)
        if reset_after:
            recurrent = state @ u if b is None else state @ u + b[1]
            rec_z, rec_r, rec_g = _gates(recurrent, 3)
            q[...] = rec_g
        else:
            rec_z, rec_r = _gates(state @ u[:, : 2 * size], 2)
        activate(pre_z + rec_z, z, "sigmoid", 0.0)
        activate(pre_r + rec_r, r, "sigmoid", 0.0)
        if reset_after:
            np.tanh(pre_g + r * q, out=g)
        else:
            q[...] = r * state
            np.tanh(pre_g + q @ u[:, 2 * size :], out=g)
        state = h[:, t] = _carry(mask, t, z * state + (1 - z) * g, state)


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
    """See `Backend.gru_backward`."""
    n, steps, size = h.shape
    dz_input = np.empty((n, steps, 3 * size), h.dtype)
    dz_recurrent = np.empty_like(dz_input) if reset_after else dz_input
    carry = np.zeros_like(h0)
    previous = _previous(h0, h)
    for t in reversed(range(steps)):
        active, skipped = _split(mask, t, dh[:, t] + carry)
        z, r, g, q = _gates(gates[:, t], 4)
        dz, dr, dg = _gates(dz_input[:, t], 3)
        dz[...] = active * (previous[:, t] - g) * z * (1 - z)
        dg[...] = active * (1 - z) * (1 - g * g)
        carry = active * z + skipped
        if reset_after:
            dr[...] = dg * q * r * (1 - r)
            dz_recurrent[:, t, : 2 * size] = dz_input[:, t, : 2 * size]
            dz_recurrent[:, t, 2 * size :] = dg * r
            carry += dz_recurrent[:, t] @ u.T
        else:
            dq = dg @ u[:, 2 * size :].T
            dr[...] = dq * previous[:, t] * r * (1 - r)
            carry += dq * r + dz_input[:, t, : 2 * size] @ u[:, : 2 * size].T
    if dh0 is not None:
        dh0[...] = carry
    _input_gradients(dz_input, x, w, dx, dw, accumulate)
    total = _flat(previous).T @ _flat(dz_recurrent)
    if not reset_after:
        total[:, 2 * size :] = _flat(gates[:, :, 3 * size :]).T @ _flat(dz_input[:, :, 2 * size :])
    store(du, total, accumulate)
    if db is not None:
        bias = sum_rows(_flat(dz_input))
        store(db, np.stack([bias, sum_rows(_flat(dz_recurrent))]) if reset_after else bias, accumulate)


def _flat(a: Array) -> Array:
    """`[N, T, F]` as `[N·T, F]`."""
    return a.reshape(a.shape[0] * a.shape[1], a.shape[2])


def _project(x: Array, w: Array, b: Array | None) -> Array:
    projected = _flat(x) @ w
    if b is not None:
        projected += b
    return projected.reshape(*x.shape[:2], w.shape[1])


def _gates(a: Array, count: int) -> list[Array]:
    """Equal parts of the last axis, as views."""
    return np.split(a, count, axis=1)


def _previous(first: Array, states: Array) -> Array:
    """The state before each step."""
    return np.concatenate([first[:, None], states], axis=1)[:, :-1]


def _carry(mask: Array | None, t: int, new: Array, old: Array) -> Array:
    return new if mask is None else np.where(mask[:, t, None] != 0, new, old)


def _split(mask: Array | None, t: int, d: Array) -> tuple[Array, Array | float]:
    """The gradient that goes through step t, and the one that passes it by."""
    if mask is None:
        return d, 0.0
    runs = mask[:, t, None] != 0
    return np.where(runs, d, 0), np.where(runs, 0, d)


def _input_gradients(dz: Array, x: Array, w: Array, dx: Array | None, dw: Array, accumulate: bool) -> None:
    store(dw, _flat(x).T @ _flat(dz), accumulate)
    if dx is not None:
        dx[...] = (_flat(dz) @ w.T).reshape(dx.shape)
