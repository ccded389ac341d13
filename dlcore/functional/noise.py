"""Dropout."""

from __future__ import annotations

from typing import Any

from ..backends.registry import current
from ..tensor import Array, Tensor, on_tape
from .arguments import at_least_1d, number, op, real_tensor, whole


@op
def dropout(x: Any, rate: float, seed: int, offset: int = 0, noise_shape: Any = None) -> Tensor:
    """Zero each element with probability rate and divide the others by 1 − rate (Srivastava et al. 2014, inverted).

    The mask follows from seed and offset alone (see `dlcore.random`) and is the same on every engine; the backward
    draws it again rather than keep it. noise_shape: the shape of the mask, which is broadcast against x.

    Raises:
        ValueError: rate is not in [0, 1), or noise_shape does not fit.
        TypeError: rate is no number, or seed or offset no int.
    """
    x = real_tensor("dropout", x)
    whole("dropout", "seed", seed)
    whole("dropout", "offset", offset)
    if not 0 <= number("dropout", "rate", rate) < 1:
        raise ValueError(f"dropout: rate must lie in [0, 1), got {rate}")
    if rate == 0:
        return x
    backend = current()
    xd = x.data
    shape = xd.shape
    y = backend.empty(shape, xd.dtype)
    if noise_shape is not None:
        noise_shape = tuple(noise_shape)
        if len(noise_shape) == len(shape):
            noise_shape = tuple([n if m is None else m for n, m in zip(shape, noise_shape, strict=True)])
    if noise_shape is None or noise_shape == shape:
        backend.dropout(at_least_1d(xd), at_least_1d(y), rate, seed, offset)

        def backward(dy: Array) -> tuple:
            dx = backend.empty(shape, dy.dtype)
            backend.dropout(at_least_1d(dy), at_least_1d(dx), rate, seed, offset)
            return (dx,)

        return on_tape(y, (x,), backward, backend)

    if len(noise_shape) != len(shape) or any(m not in (1, n) for n, m in zip(shape, noise_shape, strict=True)):
        raise ValueError(f"dropout: noise_shape must have 1 or x's length on each axis of {shape}, got {noise_shape}")
    mask = backend.empty(noise_shape, xd.dtype)
    backend.fill(mask, 1.0)
    backend.dropout(mask, mask, rate, seed, offset)
    backend.binary(xd, mask, y, "mul")

    def backward_of_mask(dy: Array) -> tuple:
        dx = backend.empty(shape, dy.dtype)
        backend.binary(dy, mask, dx, "mul")
        return (dx,)

    return on_tape(y, (x,), backward_of_mask, backend)
