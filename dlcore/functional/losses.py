"""Cross-entropies from logits: loss and gradient in one pass over the logits."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..backends.interface import Array, Backend
from ..backends.registry import current
from ..tensor import Tensor, as_tensor, is_recording, is_seed, on_tape
from .arguments import INT32, checked_ids, converted, integer_array, op, real_tensor

_REDUCTIONS = ("none", "sum", "mean")


def _target_array(name: str, backend: Backend, targets: Any, logits: Tensor) -> Array:
    """Targets as an array of the logits' shape and dtype."""
    if not isinstance(targets, Tensor):
        targets = as_tensor(targets)
    if targets.data.shape != logits.data.shape:
        raise ValueError(f"{name}: targets must have the logits' shape {logits.data.shape}, got {targets.data.shape}")
    _constant(name, targets, "targets")
    return converted(backend, targets.data, logits.data.dtype)


def _constant(name: str, tensor: Tensor, argument: str) -> None:
    if is_recording(tensor):
        raise ValueError(
            f"{name}: no gradient is computed for {argument}, which requires one; pass {argument}.detach()"
        )


def _weights(name: str, backend: Backend, weight: Any, shape: tuple[int, ...], dtype: np.dtype) -> Array | None:
    if weight is None:
        return None
    if not isinstance(weight, Tensor):
        weight = as_tensor(weight)
    if weight.data.shape != shape:
        raise ValueError(f"{name}: weight must have shape {shape}, one value per loss, got {weight.data.shape}")
    _constant(name, weight, "weight")
    return converted(backend, weight.data, dtype).reshape(prod(shape))


def _cross_entropy(
    name: str, kernel: Any, backend: Backend, logits: Tensor, targets: Array, weight: Any, reduction: str
) -> Tensor:
    if reduction not in _REDUCTIONS:
        raise ValueError(f"{name}: reduction must be one of {', '.join(_REDUCTIONS)}, got {reduction!r}")
    shape = logits.data.shape
    rows = prod(shape[:-1])
    if reduction == "mean" and not rows:
        raise ValueError(f"{name}: there is no mean of no losses, got logits of shape {shape}")
    flat = (rows, shape[-1])
    dtype = logits.data.dtype
    weights = _weights(name, backend, weight, shape[:-1], dtype)
    losses = backend.empty((rows,), dtype)
    dlogits = backend.empty(flat, dtype) if is_recording(logits) else None
    scale = 1.0 / rows if reduction == "mean" else 1.0
    kernel(logits.data.reshape(flat), targets, weights, losses, dlogits, scale)
    if reduction == "none":
        result = losses.reshape(shape[:-1])
    else:
        result = backend.empty((1, 1), dtype)
        backend.reduce(losses.reshape(1, rows, 1), result, reduction)
        result = result.reshape(())

    def backward(dy: Array) -> tuple:
        if not is_seed(dy):
            backend.binary(dlogits, dy.reshape(rows if reduction == "none" else 1, 1), dlogits, "mul")
        return (dlogits.reshape(shape),)

    return on_tape(result, (logits,), backward, backend)


@op
def softmax_cross_entropy(logits: Any, targets: Any, weight: Any = None, reduction: str = "none") -> Tensor:
    """−log softmax(logits)[label], or −Σ targets · log softmax(logits), over the last axis.

    logits `[..., C]`; targets: integer labels `[...]` in 0 … C − 1, or non-negative rows `[..., C]` (constants: they
    get no gradient); weight `[...]` multiplies the losses. Result: losses `[...]`, or with reduction "sum" or "mean"
    one value. The gradient is computed along with the losses, and with "sum" or "mean" it is final: a backward that
    starts from the result has nothing left to do.

    Raises:
        ValueError: a label is out of range, or a shape does not fit.
        TypeError: logits are not float, or labels are neither integers nor of the logits' shape.
    """
    name = "softmax_cross_entropy"
    logits = real_tensor(name, logits, "logits")
    shape = logits.data.shape
    if not shape or shape[-1] < 1:
        raise ValueError(f"{name}: logits must have shape [..., C] with C at least 1, got {shape}")
    backend = current()
    if isinstance(targets, (int, list, tuple)):
        targets = np.asarray(targets)
        if targets.shape == (0,):
            targets = targets.astype(INT32)
    if not isinstance(targets, Tensor):
        targets = as_tensor(targets)
    if targets.data.shape == shape and (targets.data.dtype.kind == "f" or len(shape) > 1):
        rows = _target_array(name, backend, targets, logits).reshape(prod(shape[:-1]), shape[-1])
        return _cross_entropy(name, backend.softmax_cross_entropy_dense, backend, logits, rows, weight, reduction)
    if targets.data.dtype.kind == "f":
        raise TypeError(
            f"{name}: targets must be integer labels of shape {shape[:-1]} or rows of shape {shape}, "
            f"got {targets.data.dtype.name} of shape {targets.data.shape}"
        )
    labels = integer_array(name, targets, "labels")
    if labels.shape not in (shape[:-1], (*shape[:-1], 1)):
        raise ValueError(
            f"{name}: labels must have shape {shape[:-1]}, one per row of logits {list(shape)}, got {labels.shape}"
        )
    labels = checked_ids(name, backend, labels, "labels", shape[-1], f"logits have {shape[-1]} classes")
    return _cross_entropy(
        name, backend.softmax_cross_entropy, backend, logits, labels.reshape(labels.size), weight, reduction
    )


@op
def sigmoid_cross_entropy(logits: Any, targets: Any, weight: Any = None, reduction: str = "none") -> Tensor:
    """Mean over the last axis of −t·log σ(z) − (1 − t)·log(1 − σ(z)), z the logits and t the targets.

    logits and targets `[..., C]` (targets are constants: they get no gradient), weight `[...]`. Result and reduction
    as in `softmax_cross_entropy`.

    Raises:
        ValueError: a shape does not fit.
        TypeError: logits are not float.
    """
    name = "sigmoid_cross_entropy"
    logits = real_tensor(name, logits, "logits")
    shape = logits.data.shape
    if not shape or shape[-1] < 1:
        raise ValueError(f"{name}: logits must have shape [..., C] with C at least 1, got {shape}")
    backend = current()
    rows = _target_array(name, backend, targets, logits).reshape(prod(shape[:-1]), shape[-1])
    return _cross_entropy(name, backend.sigmoid_cross_entropy, backend, logits, rows, weight, reduction)
