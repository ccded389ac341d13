"""What every op does with its arguments before a kernel sees them."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, TypeVar

import numpy as np

from ..backends.interface import ACTIVATIONS, FUSED_ACTIVATIONS, Array, Backend
from ..tensor import FLOAT32, FLOAT64, SymbolicArgument, Tensor, as_tensor

INT32 = np.dtype(np.int32)
BOOL = np.dtype(np.bool_)
UINT8 = np.dtype(np.uint8)
UINT32 = np.dtype(np.uint32)
Function = TypeVar("Function", bound=Callable)


def op(function: Function) -> Function:
    """Mark a public op: called on symbolic tensors it becomes a node of the functional graph instead.

    Every op turns its inputs into tensors first, which a symbolic one refuses, so tensors pay for no check here.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except SymbolicArgument as met:
            symbolic = met.tensor
        return symbolic._apply(call, *args, **kwargs)

    return call  # type: ignore[return-value]


def real_tensor(name: str, x: Any, argument: str = "x") -> Tensor:
    """x as a Tensor of float32 or float64."""
    if not isinstance(x, Tensor):
        x = as_tensor(x)
    dtype = x.data.dtype
    if dtype is not FLOAT32 and dtype is not FLOAT64 and dtype.kind != "f":
        raise TypeError(
            f"{name}: {argument} must be float32 or float64, got {dtype.name}; convert it with "
            f"functional.cast({argument}, 'float32')"
        )
    return x


def like_tensor(name: str, value: Any, argument: str, x: Tensor, x_name: str = "x") -> Tensor:
    """value as a Tensor of x's dtype, which Python numbers and lists adopt and arrays must have."""
    if not isinstance(value, Tensor):
        value = Tensor(value, dtype=x.data.dtype) if isinstance(value, (int, float, list)) else as_tensor(value)
    if value.data.dtype is not x.data.dtype and value.data.dtype != x.data.dtype:
        raise_dtypes(name, argument, value.data.dtype, x_name, x.data.dtype)
    return value


def raise_dtypes(name: str, a: str, a_dtype: np.dtype, b: str, b_dtype: np.dtype) -> None:
    raise TypeError(
        f"{name}: {a} is {a_dtype.name} but {b} is {b_dtype.name}; convert one of them, as in "
        f"functional.cast({a}, '{b_dtype.name}')"
    )


def pair(name: str, argument: str, value: Any, least: int = 1) -> tuple[int, int]:
    """A length for height and width: one int for both, or two."""
    values = (value, value) if isinstance(value, (int, np.integer)) else value
    if (
        not isinstance(values, (tuple, list))
        or len(values) != 2
        or not all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in values)
    ):
        raise ValueError(f"{name}: {argument} must be an int or two ints, got {value!r}")
    if min(values) < least:
        raise ValueError(f"{name}: {argument} must be at least {least}, got {value!r}")
    return int(values[0]), int(values[1])


def hashable(value: Any) -> Any:
    """Lists as tuples, those within too, for the cached plans."""
    return tuple([hashable(v) for v in value]) if isinstance(value, (list, tuple)) else value


def lengths_of(name: str, shape: Any, least: int = 0) -> tuple[int, ...]:
    """A shape, which may be one int, as a tuple. Raises ValueError unless all are ints of at least `least`."""
    try:
        lengths = tuple(map(operator.index, (shape,) if isinstance(shape, (int, np.integer)) else shape))
    except TypeError:
        raise ValueError(f"{name}: shape must be an int or a sequence of ints, got {shape!r}") from None
    if lengths and min(lengths) < least:
        raise ValueError(f"{name}: shape must hold no length below {least}, got {shape!r}")
    return lengths


def whole(name: str, argument: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: {argument} must be an int, got {value!r}") from None


def number(name: str, argument: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: {argument} must be a number, got {value!r}") from None


def fused_activation(name: str, kind: Any) -> None:
    if kind not in FUSED_ACTIVATIONS:
        if kind in ACTIVATIONS:
            raise ValueError(
                f"{name}: activation must be one of {', '.join(FUSED_ACTIVATIONS)} to be fused, got {kind!r}; "
                f"apply functional.activation(y, {kind!r}) to the result"
            )
        raise ValueError(f"{name}: activation must be one of {', '.join(FUSED_ACTIVATIONS)}, got {kind!r}{meant(kind)}")


def meant(word: Any, known: Sequence[str] = ACTIVATIONS) -> str:
    close = difflib.get_close_matches(str(word).lower(), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def before_activation(backend: Backend, dy: Array, y: Array | None, kind: str) -> Array:
    """The gradient before a fused activation from the one after it."""
    if kind == "linear":
        return dy
    dz = backend.empty(dy.shape, dy.dtype)
    backend.activation_backward(dy, None, y, dz, kind, 0.0)
    return dz


def axis_of(name: str, axis: Any, ndim: int) -> int:
    """axis counted from the front."""
    if not isinstance(axis, (int, np.integer)) or isinstance(axis, bool):
        raise TypeError(f"{name}: axis must be an int, got {axis!r}")
    if not -ndim <= axis < ndim:
        raise ValueError(f"{name}: axis {axis} is out of range for {ndim} axes")
    return int(axis) % ndim


def at_least_1d(array: Array) -> Array:
    """Kernels see no arrays of shape ()."""
    return array if array.ndim else array.reshape(1)


def converted(backend: Backend, array: Array, dtype: np.dtype) -> Array:
    """array in another dtype, itself if it has that one."""
    if array.dtype == dtype:
        return array
    y = backend.empty(array.shape, dtype)
    backend.copy(at_least_1d(array), at_least_1d(y))
    return y


def integer_array(name: str, x: Any, argument: str) -> Array:
    """x as an array of integers in the engine's memory, of whatever integer type it has."""
    if not isinstance(x, Tensor):
        if not hasattr(x, "dtype") and not hasattr(x, "_apply"):
            x = np.asarray(x)
            if x.size == 0:
                x = x.astype(INT32)
        x = as_tensor(x)
    if x.data.dtype.kind not in "iu":
        raise TypeError(f"{name}: {argument} must be integers, got {x.data.dtype.name}")
    return x.data


def checked_ids(name: str, backend: Backend, ids: Array, argument: str, limit: int, what: str) -> Array:
    """Integers as int32, each in 0 … limit − 1. Raises ValueError naming one that is not."""

    def check(ids: Array) -> None:
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= limit:
            wrong = low if low < 0 else high
            allowed = f"0 … {limit - 1}" if limit else "nothing"
            raise ValueError(f"{name}: {argument} must lie in {allowed} ({what}), got {wrong}")

    if ids.size:
        backend.on_host(check, ids)
    return converted(backend, ids, INT32)


@lru_cache(maxsize=4096)
def broadcast_shape(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    if a == b:
        return a
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ValueError(f"{name}: shapes {a} and {b} cannot be broadcast together") from None
