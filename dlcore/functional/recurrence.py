"""Recurrent layers over whole sequences, and their cells: the same primitives over one step."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..backends.interface import Array, Backend
from ..backends.registry import current
from ..tensor import Tensor, as_tensor, is_recording, on_tape, parameter_gradients, record_pair
from .arguments import BOOL, UINT8, converted, fused_activation, like_tensor, op, real_tensor
from .shaping import contiguous


@lru_cache(maxsize=4096)
def _plan(
    name: str, cell: bool, gates: int, xs: tuple, ws: tuple, us: tuple, bs: tuple | None, two_biases: bool
) -> tuple[int, int, int]:
    """N, T, H."""
    layout = "[N, I]" if cell else "[N, T, I]"
    if len(xs) != (2 if cell else 3):
        raise ValueError(f"{name}: x must have shape {layout}, got {xs}")
    if not cell and xs[1] < 1:
        raise ValueError(f"{name}: x must have at least one time step, got shape {xs}")
    if len(us) != 2 or us[1] != gates * us[0]:
        columns = "H" if gates == 1 else f"{gates}·H"
        raise ValueError(f"{name}: u must have shape [H, {columns}], got {us}")
    units = us[0]
    if len(ws) != 2 or ws[1] != gates * units:
        raise ValueError(f"{name}: w must have shape [I, {gates * units}] to fit u {list(us)}, got {ws}")
    if xs[-1] != ws[0]:
        raise ValueError(f"{name}: x has {xs[-1]} features but w expects {ws[0]} (x is {list(xs)}, w is {list(ws)})")
    expected = (2, gates * units) if two_biases else (gates * units,)
    if bs is not None and bs != expected:
        raise ValueError(f"{name}: b must have shape {expected}, got {bs}")
    return xs[0], 1 if cell else xs[1], units


class _Arguments:
    """Checked arguments of a recurrent op: tensors, and the arrays that the kernels take."""

    __slots__ = (
        "b", "backend", "bd", "dtype", "h_shape", "mask", "sequence", "steps", "u", "ud", "units", "w", "wd", "x", "xd",
    )  # fmt: skip

    def __init__(
        self, name: str, cell: bool, gates: int, x: Any, w: Any, u: Any, b: Any, mask: Any, two_biases: bool = False
    ) -> None:
        self.x = x = real_tensor(name, x)
        self.w = w = like_tensor(name, w, "w", x)
        self.u = u = like_tensor(name, u, "u", x)
        self.b = b = None if b is None else like_tensor(name, b, "b", x)
        self.wd, self.ud, self.bd = w.data, u.data, None if b is None else b.data
        self.dtype = x.data.dtype
        rows, self.steps, self.units = _plan(
            name, cell, gates, x.data.shape, w.data.shape, u.data.shape, None if b is None else b.data.shape, two_biases
        )
        self.backend = current()
        self.sequence = (rows, self.steps, self.units)
        self.h_shape = (rows, self.units) if cell else self.sequence
        self.xd = x.data.reshape(rows, 1, x.data.shape[-1]) if cell else x.data
        self.mask = None if mask is None else _mask(name, self.backend, mask, (rows, self.steps))

    def state(self, name: str, value: Any, argument: str) -> tuple[Tensor | None, Array]:
        """An initial state, zeros by default."""
        shape = (self.sequence[0], self.units)
        if value is None:
            return None, self.backend.zeros(shape, self.dtype)
        value = like_tensor(name, value, argument, self.x)
        if value.data.shape != shape:
            raise ValueError(f"{name}: {argument} must have shape {shape}, got {value.data.shape}")
        return value, value.data

    def empty(self, *shape: int) -> Array:
        return self.backend.empty(shape, self.dtype)


def _mask(name: str, backend: Backend, mask: Any, shape: tuple[int, int]) -> Array:
    data = (
        mask.data if isinstance(mask, Tensor) else as_tensor(np.asarray(mask) if isinstance(mask, list) else mask).data
    )
    if data.shape != shape:
        raise ValueError(f"{name}: mask must have shape {shape}, one value per time step, got {data.shape}")
    return converted(backend, data if data.dtype == UINT8 else converted(backend, data, BOOL), UINT8)


def _wanted(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.requires_grad


def _gradients(a: _Arguments) -> tuple[list[Array | None], bool, bool]:
    return parameter_gradients(a.backend, (a.w, a.u, a.b))


def _given(a: _Arguments, grads: list[Array | None], returned: bool) -> tuple:
    if not returned:
        return None, None, None
    return tuple([g if _wanted(t) else None for g, t in zip(grads, (a.w, a.u, a.b), strict=True)])


def _simple_rnn(name: str, cell: bool, x: Any, w: Any, u: Any, b: Any, h0: Any, mask: Any, activation: str) -> Tensor:
    fused_activation(name, activation)
    a = _Arguments(name, cell, 1, x, w, u, b, mask)
    h0, start = a.state(name, h0, "h0")
    backend, xd, steps_mask = a.backend, a.xd, a.mask
    h = a.empty(*a.sequence)
    backend.simple_rnn(xd, start, a.wd, a.ud, a.bd, steps_mask, h, activation)
    want_x, want_h0, x_shape = _wanted(a.x), _wanted(h0), a.x.data.shape

    def backward(dy: Array) -> tuple:
        dx = backend.empty(xd.shape, xd.dtype) if want_x else None
        dh0 = backend.empty(start.shape, xd.dtype) if want_h0 else None
        grads, accumulate, returned = _gradients(a)
        backend.simple_rnn_backward(
            dy.reshape(a.sequence), xd, start, a.wd, a.ud, steps_mask, h, dx, dh0, *grads, activation, accumulate
        )
        return dx.reshape(x_shape) if want_x else None, *_given(a, grads, returned), dh0

    return on_tape(h.reshape(a.h_shape), (a.x, a.w, a.u, a.b, h0), backward, backend)


@op
def simple_rnn(
    x: Any, w: Any, u: Any, b: Any = None, h0: Any = None, mask: Any = None, activation: str = "tanh"
) -> Tensor:
    """h[t] = activation(x[t] w + h[t−1] u + b) for every t.

    x `[N, T, I]`, w `[I, H]`, u `[H, H]`, b `[H]` or None, h0 `[N, H]` (zeros by default), mask `[N, T]`: where it is 0
    the state is carried over; activation one of FUSED_ACTIVATIONS. Result h `[N, T, H]`.

    Raises:
        ValueError: a shape does not fit, or there is no time step.
        TypeError: a dtype is not real or differs from x's.
    """
    return _simple_rnn("simple_rnn", False, x, w, u, b, h0, mask, activation)


@op
def simple_rnn_cell(x: Any, w: Any, u: Any, b: Any = None, h: Any = None, activation: str = "tanh") -> Tensor:
    """One step of `simple_rnn`: x `[N, I]` and the state h `[N, H]` give the new state `[N, H]`."""
    return _simple_rnn("simple_rnn_cell", True, x, w, u, b, h, None, activation)


def _lstm(name: str, cell: bool, x: Any, w: Any, u: Any, b: Any, h0: Any, c0: Any, mask: Any) -> tuple[Tensor, Tensor]:
    a = _Arguments(name, cell, 4, x, w, u, b, mask)
    h0, h_start = a.state(name, h0, "h0")
    c0, c_start = a.state(name, c0, "c0")
    backend, xd, steps_mask = a.backend, a.xd, a.mask
    h, c = a.empty(*a.sequence), a.empty(*a.sequence)
    inputs = (a.x, a.w, a.u, a.b, h0, c0)
    gates = a.empty(*a.sequence[:2], 4 * a.units) if is_recording(*inputs) else None
    backend.lstm(xd, h_start, c_start, a.wd, a.ud, a.bd, steps_mask, h, c, gates)
    want_x, want_h0, want_c0, x_shape = _wanted(a.x), _wanted(h0), _wanted(c0), a.x.data.shape

    def backward(dh: Array | None, dc: Array | None) -> tuple:
        dh = backend.zeros(h.shape, h.dtype) if dh is None else dh.reshape(h.shape)
        dx = backend.empty(xd.shape, xd.dtype) if want_x else None
        dh0 = backend.empty(h_start.shape, xd.dtype) if want_h0 else None
        dc0 = backend.empty(c_start.shape, xd.dtype) if want_c0 else None
        grads, accumulate, returned = _gradients(a)
        backend.lstm_backward(
            dh, dc, xd, h_start, c_start, a.wd, a.ud, steps_mask, h, c, gates, dx, dh0, dc0, *grads, accumulate
        )
        return dx.reshape(x_shape) if want_x else None, *_given(a, grads, returned), dh0, dc0

    last = contiguous(backend, c[:, -1])
    return record_pair(h.reshape(a.h_shape), last, inputs, backward, backend)


@op
def lstm(
    x: Any, w: Any, u: Any, b: Any = None, h0: Any = None, c0: Any = None, mask: Any = None
) -> tuple[Tensor, Tensor]:
    """LSTM (Hochreiter & Schmidhuber 1997) with Keras's gate order i · f · c · o: every h `[N, T, H]`, last c `[N, H]`.

    x `[N, T, I]`, w `[I, 4H]`, u `[H, 4H]`, b `[4H]` or None, h0 and c0 `[N, H]` (zeros by default), mask `[N, T]`:
    where it is 0 the states are carried over. Errors as in `simple_rnn`.
    """
    return _lstm("lstm", False, x, w, u, b, h0, c0, mask)


@op
def lstm_cell(x: Any, w: Any, u: Any, b: Any = None, h: Any = None, c: Any = None) -> tuple[Tensor, Tensor]:
    """One step of `lstm`: x `[N, I]` and the states h, c `[N, H]` give the new h and c."""
    return _lstm("lstm_cell", True, x, w, u, b, h, c, None)


def _gru(name: str, cell: bool, x: Any, w: Any, u: Any, b: Any, h0: Any, mask: Any, reset_after: bool) -> Tensor:
    reset_after = bool(reset_after)
    a = _Arguments(name, cell, 3, x, w, u, b, mask, reset_after)
    h0, start = a.state(name, h0, "h0")
    backend, xd, steps_mask = a.backend, a.xd, a.mask
    h = a.empty(*a.sequence)
    inputs = (a.x, a.w, a.u, a.b, h0)
    gates = a.empty(*a.sequence[:2], 4 * a.units) if is_recording(*inputs) else None
    backend.gru(xd, start, a.wd, a.ud, a.bd, steps_mask, h, gates, reset_after)
    want_x, want_h0, x_shape = _wanted(a.x), _wanted(h0), a.x.data.shape

    def backward(dy: Array) -> tuple:
        dx = backend.empty(xd.shape, xd.dtype) if want_x else None
        dh0 = backend.empty(start.shape, xd.dtype) if want_h0 else None
        grads, accumulate, returned = _gradients(a)
        backend.gru_backward(
            dy.reshape(a.sequence), xd, start, a.wd, a.ud, steps_mask, h, gates, dx, dh0, *grads, reset_after,
            accumulate,
        )  # fmt: skip
        return dx.reshape(x_shape) if want_x else None, *_given(a, grads, returned), dh0

    return on_tape(h.reshape(a.h_shape), inputs, backward, backend)


@op
def gru(x: Any, w: Any, u: Any, b: Any = None, h0: Any = None, mask: Any = None, reset_after: bool = True) -> Tensor:
    """GRU (Cho et al. 2014) with Keras's gate order z · r · h: every h `[N, T, H]`.

    x `[N, T, I]`, w `[I, 3H]`, u `[H, 3H]`, b `[2, 3H]` if reset_after, else `[3H]`, or None; h0 and mask as in
    `simple_rnn`, errors too.
    """
    return _gru("gru", False, x, w, u, b, h0, mask, reset_after)


@op
def gru_cell(x: Any, w: Any, u: Any, b: Any = None, h: Any = None, reset_after: bool = True) -> Tensor:
    """One step of `gru`: x `[N, I]` and the state h `[N, H]` give the new state."""
    return _gru("gru_cell", True, x, w, u, b, h, None, reset_after)
