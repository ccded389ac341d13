"""Dense layers and matrix products."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

from ..backends.registry import current
from ..tensor import Array, Tensor, on_tape, parameter_gradients
from .arguments import before_activation, broadcast_shape, fused_activation, like_tensor, op, real_tensor
from .reduction import summed_to
from .shaping import broadcast_array


@lru_cache(maxsize=4096)
def _plan(xs: tuple, ws: tuple, bs: tuple | None, activation: str) -> tuple[int, int, tuple]:
    if len(ws) != 2:
        raise ValueError(f"linear: w must have shape [I, O], got {ws}")
    if not xs:
        raise ValueError("linear: x must have shape [..., I], got ()")
    if xs[-1] != ws[0]:
        raise ValueError(f"linear: x has {xs[-1]} features but w expects {ws[0]} (x is {list(xs)}, w is {list(ws)})")
    if bs is not None and bs != (ws[1],):
        raise ValueError(f"linear: b must have shape ({ws[1]},), one value per column of w, got {bs}")
    fused_activation("linear", activation)
    return prod(xs[:-1]), ws[1], (*xs[:-1], ws[1])


@op
def linear(x: Any, w: Any, b: Any = None, activation: str = "linear") -> Tensor:
    """activation(x w + b).

    x `[..., I]`, w `[I, O]`, b `[O]` or None, activation one of FUSED_ACTIVATIONS; result `[..., O]`.

    Raises:
        ValueError: the shapes do not fit, or the activation cannot be fused.
        TypeError: a dtype is not real or differs from x's.
    """
    x = real_tensor("linear", x)
    w = like_tensor("linear", w, "w", x)
    xd, wd, bd = x.data, w.data, None
    if b is not None:
        b = like_tensor("linear", b, "b", x)
        bd = b.data
    rows, columns, shape = _plan(xd.shape, wd.shape, None if bd is None else bd.shape, activation)
    backend = current()
    flat = xd if xd.ndim == 2 else xd.reshape(rows, wd.shape[0])
    y = backend.empty((rows, columns), xd.dtype)
    backend.linear(flat, wd, bd, y, activation)
    after = None if activation == "linear" else y
    want_x, want_w, want_b = x.requires_grad, w.requires_grad, b is not None and b.requires_grad
    x_shape = xd.shape

    def backward(dy: Array) -> tuple:
        dz = before_activation(backend, dy.reshape(rows, columns), after, activation)
        dx = dw = db = None
        if want_x:
            dx = backend.empty(flat.shape, flat.dtype)
            backend.linear_backward_input(dz, wd, dx)
            dx = dx.reshape(x_shape)
        if want_w or want_b:
            (dw, db), accumulate, returned = parameter_gradients(backend, (w, b))
            backend.linear_backward_weight(flat, dz, dw, db, accumulate)
            if not returned:
                return dx, None, None
        return dx, dw if want_w else None, db if want_b else None

    return on_tape(y if y.shape == shape else y.reshape(shape), (x, w, b), backward, backend)


@op
def matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    """Matrix product over the last two axes, the leading ones broadcast as in NumPy.

    transpose_a and transpose_b swap the last two axes first. A vector on the left is a row, on the right a column,
    and that axis is dropped again.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: a dtype is not real, or they differ.
    """
    a = real_tensor("matmul", a, "a")
    b = like_tensor("matmul", b, "b", a, "a")
    ad, bd = a.data, b.data
    a_shape, b_shape = ad.shape, bd.shape
    if not a_shape or not b_shape:
        raise ValueError(f"matmul: a and b must have at least one axis, got shapes {a_shape} and {b_shape}")
    if (len(a_shape) == 1 and transpose_a) or (len(b_shape) == 1 and transpose_b):
        raise ValueError(f"matmul: a vector cannot be transposed, got shapes {a_shape} and {b_shape}")
    if len(a_shape) == 1:
        ad = ad.reshape(1, a_shape[0])
    if len(b_shape) == 1:
        bd = bd.reshape(b_shape[0], 1)
    m, k = ad.shape[-2:] if not transpose_a else ad.shape[:-3:-1]
    k_b, n = bd.shape[-2:] if not transpose_b else bd.shape[:-3:-1]
    if k != k_b:
        raise ValueError(
            f"matmul: a has {k} columns but b has {k_b} rows (a is {list(a_shape)}, b is {list(b_shape)}, "
            f"transpose_a={transpose_a}, transpose_b={transpose_b})"
        )
    backend = current()
    batch = broadcast_shape("matmul", ad.shape[:-2], bd.shape[:-2])
    if bd.ndim == 2 and ad.ndim > 2 and not transpose_a:
        folded: tuple[int, ...] = (1, prod(batch) * m, n)  # one product with all rows of the batch
        a3, b3 = ad.reshape(1, folded[1], k), bd.reshape(1, *bd.shape)
    else:
        folded = (prod(batch), m, n)
        a3 = broadcast_array(backend, ad, batch + ad.shape[-2:]).reshape(folded[0], *ad.shape[-2:])
        b3 = broadcast_array(backend, bd, batch + bd.shape[-2:]).reshape(folded[0], *bd.shape[-2:])
    y = backend.empty(folded, ad.dtype)
    backend.matmul(a3, b3, y, transpose_a, transpose_b)
    shape = batch + (() if len(a_shape) == 1 else (m,)) + (() if len(b_shape) == 1 else (n,))
    want_a, want_b = a.requires_grad, b.requires_grad
    full_a, full_b = ad.shape, bd.shape

    def backward(dy: Array) -> tuple:
        dy = dy.reshape(folded)
        da = db = None
        if want_a:
            da = backend.empty(a3.shape, a3.dtype)
            if transpose_a:
                backend.matmul(b3, dy, da, transpose_b, True)
            else:
                backend.matmul(dy, b3, da, False, not transpose_b)
            spread = full_a if folded[0] == 1 else batch + full_a[-2:]
            da = summed_to(backend, da.reshape(spread), full_a).reshape(a_shape)
        if want_b:
            db = backend.empty(b3.shape, b3.dtype)
            if transpose_b:
                backend.matmul(dy, a3, db, True, transpose_a)
            else:
                backend.matmul(a3, dy, db, not transpose_a, False)
            spread = full_b if folded[0] == 1 else batch + full_b[-2:]
            db = summed_to(backend, db.reshape(spread), full_b).reshape(b_shape)
        return da, db

    return on_tape(y.reshape(shape), (a, b), backward, backend)
