"""Recurrent layers over whole sequences: per step one product by cuBLAS and one kernel for all the rest of the cell."""

from __future__ import annotations

from typing import Any

from .gemm import gemm
from .launch import FUSED, Kernel
from .linear import column_sums
from .scratch import scratch

Array = Any

_STEP = "long long n, int t, int steps, int size"
_previous_states = Kernel(
    "recurrent",
    "previous_states",
    "const REAL* first, const REAL* states, REAL* previous, long long n, int steps, int size",
)
_simple_rnn_step = Kernel(
    "recurrent",
    "simple_rnn_step",
    f"const REAL* b, const REAL* h0, const unsigned char* mask, REAL* h, {_STEP}, int activation",
)
_simple_rnn_backward_step = Kernel(
    "recurrent",
    "simple_rnn_backward_step",
    "const REAL* dh, const REAL* h, const unsigned char* mask, REAL* carry, REAL* dz, " + _STEP + ", int activation",
)
_lstm_step = Kernel(
    "recurrent",
    "lstm_step",
    "REAL* z, const REAL* b, const REAL* h0, const REAL* c0, const unsigned char* mask, REAL* h, REAL* c, "
    f"{_STEP}, bool keep",
)
_lstm_backward_step = Kernel(
    "recurrent",
    "lstm_backward_step",
    "const REAL* dh, const REAL* c0, const REAL* c, const REAL* gates, const unsigned char* mask, REAL* carry_h, "
    f"REAL* carry_c, REAL* dz, {_STEP}",
)
_gru_step = Kernel(
    "recurrent",
    "gru_step",
    "const REAL* projected, const REAL* recurrent, const REAL* b, const REAL* h0, const unsigned char* mask, REAL* h, "
    f"REAL* gates, {_STEP}",
)
_gru_reset_step = Kernel(
    "recurrent",
    "gru_reset_step",
    f"REAL* projected, const REAL* b, const REAL* h0, const REAL* h, REAL* q, REAL* gates, {_STEP}",
)
_gru_output_step = Kernel(
    "recurrent",
    "gru_output_step",
    "const REAL* projected, const REAL* b, const REAL* h0, const unsigned char* mask, REAL* h, REAL* gates, " + _STEP,
)
_gru_backward_step = Kernel(
    "recurrent",
    "gru_backward_step",
    "const REAL* dh, const REAL* h0, const REAL* h, const REAL* gates, const unsigned char* mask, REAL* carry, "
    f"REAL* dz_input, REAL* dz_recurrent, {_STEP}",
)
_gru_reset_backward_step = Kernel(
    "recurrent",
    "gru_reset_backward_step",
    "const REAL* dq, const REAL* h0, const REAL* h, const REAL* gates, REAL* carry, REAL* dz_input, " + _STEP,
)


def simple_rnn(
    x: Array, h0: Array, w: Array, u: Array, b: Array | None, mask: Array | None, h: Array, activation: str
) -> None:
    """See `Backend.simple_rnn`."""
    steps, size = h.shape[1:]
    gemm(_flat(x), w, _flat(h))
    for t in range(steps):
        gemm(h[:, t - 1] if t else h0, u, h[:, t], add=True)
        _simple_rnn_step(h0.size, b, h0, mask, h, h0.size, t, steps, size, FUSED[activation])


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
    steps, size = h.shape[1:]
    dz = scratch(h, *h.shape)
    carry = _carry(dh0, h0)
    for t in reversed(range(steps)):
        _simple_rnn_backward_step(h0.size, dh, h, mask, carry, dz, h0.size, t, steps, size, FUSED[activation])
        gemm(dz[:, t], u.T, carry, add=mask is not None)
    _input_gradients(dz, x, w, dx, dw, accumulate)
    gemm(_flat(_previous(h0, h)).T, _flat(dz), du, accumulate)
    if db is not None:
        column_sums(_flat(dz), db, accumulate)


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
    n, steps, size = h.shape
    z = scratch(h, n, steps, 4 * size) if gates is None else gates
    gemm(_flat(x), w, _flat(z))
    for t in range(steps):
        gemm(h[:, t - 1] if t else h0, u, z[:, t], add=True)
        _lstm_step(h0.size, z, b, h0, c0, mask, h, c, h0.size, t, steps, size, gates is not None)


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
    steps, size = h.shape[1:]
    dz = scratch(gates, *gates.shape)
    carry_h, carry_c = _carry(dh0, h0), _carry(dc0, c0)
    if dc_last is not None:
        carry_c[...] = dc_last
    for t in reversed(range(steps)):
        _lstm_backward_step(h0.size, dh, c0, c, gates, mask, carry_h, carry_c, dz, h0.size, t, steps, size)
        gemm(dz[:, t], u.T, carry_h, add=mask is not None)
    _input_gradients(dz, x, w, dx, dw, accumulate)
    gemm(_flat(_previous(h0, h)).T, _flat(dz), du, accumulate)
    if db is not None:
        column_sums(_flat(dz), db, accumulate)


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
    n, steps, size = h.shape
    projected = scratch(h, n, steps, 3 * size)
    gemm(_flat(x), w, _flat(projected))
    recurrent = scratch(h, n, (3 if reset_after else 1) * size)
    for t in range(steps):
        step = (h0.size, t, steps, size)
        state = h[:, t - 1] if t else h0
        if reset_after:
            gemm(state, u, recurrent)
            _gru_step(h0.size, projected, recurrent, b, h0, mask, h, gates, *step)
        else:
            gemm(state, u[:, : 2 * size], projected[:, t, : 2 * size], add=True)
            _gru_reset_step(h0.size, projected, b, h0, h, recurrent, gates, *step)
            gemm(recurrent, u[:, 2 * size :], projected[:, t, 2 * size :], add=True)
            _gru_output_step(h0.size, projected, b, h0, mask, h, gates, *step)


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
    dz_input = scratch(h, n, steps, 3 * size)
    dz_recurrent = scratch(h, n, steps, 3 * size) if reset_after else None
    carry, dq = _carry(dh0, h0), scratch(h0, *h0.shape)
    for t in reversed(range(steps)):
        step = (h0.size, t, steps, size)
        _gru_backward_step(h0.size, dh, h0, h, gates, mask, carry, dz_input, dz_recurrent, *step)
        if reset_after:
            gemm(dz_recurrent[:, t], u.T, carry, add=True)
        else:
            gemm(dz_input[:, t, 2 * size :], u[:, 2 * size :].T, dq)
            _gru_reset_backward_step(h0.size, dq, h0, h, gates, carry, dz_input, *step)
            gemm(dz_input[:, t, : 2 * size], u[:, : 2 * size].T, carry, add=True)
    _input_gradients(dz_input, x, w, dx, dw, accumulate)
    previous = _flat(_previous(h0, h)).T
    if reset_after:
        gemm(previous, _flat(dz_recurrent), du, accumulate)
    else:
        gemm(previous, _flat(dz_input)[:, : 2 * size], du[:, : 2 * size], accumulate)
        gemm(_flat(gates)[:, 3 * size :].T, _flat(dz_input)[:, 2 * size :], du[:, 2 * size :], accumulate)
    if db is None:
        return
    column_sums(_flat(dz_input), db[0] if reset_after else db, accumulate)
    if reset_after:
        column_sums(_flat(dz_recurrent), db[1], accumulate)


def _flat(a: Array) -> Array:
    """`[N, T, F]` as `[N·T, F]`."""
    return a.reshape(a.shape[0] * a.shape[1], a.shape[2])


def _previous(first: Array, states: Array) -> Array:
    """The state before each step."""
    previous = scratch(states, *states.shape)
    _previous_states(states.size, first, states, previous, states.size, *states.shape[1:])
    return previous


def _carry(gradient: Array | None, state: Array) -> Array:
    """What walks back through the steps, zero at first; it ends as the gradient of the initial state, if that is asked
    for."""
    carry = scratch(state, *state.shape) if gradient is None else gradient
    carry.fill(0)
    return carry


def _input_gradients(dz: Array, x: Array, w: Array, dx: Array | None, dw: Array, accumulate: bool) -> None:
    gemm(_flat(x).T, _flat(dz), dw, accumulate)
    if dx is not None:
        gemm(_flat(dz), w.T, _flat(dx))
