"""How often predictions are right."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..checking import is_whole
from ..losses import check_shapes
from ..tensor import Tensor
from .base import host, matched
from .reduction import MeanMetricWrapper


def accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where y_true equals y_pred, else 0."""
    y_true, y_pred = matched(host(y_true), host(y_pred))
    return (y_true == y_pred).astype(np.float32)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> np.ndarray:
    """1 where (y_pred > threshold) equals y_true, else 0."""
    y_true, y_pred = matched(host(y_true), host(y_pred))
    return (y_true == (y_pred > threshold)).astype(np.float32)


def categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where the largest entries of y_true and y_pred [..., C] agree, else 0. Shape [...]."""
    check_shapes(*_like_arrays(y_true, y_pred))
    return (_argmax(y_true) == _argmax(y_pred)).astype(np.float32)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where the label y_true is the largest entry of y_pred [..., C], else 0. Shape [...]."""
    _, y_pred = _like_arrays(y_true, y_pred)
    labels = _labels(y_true, y_pred)
    guess = _argmax(y_pred)
    return (labels == guess).astype(np.float32)


def _like_arrays(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Both with shapes: tensors as they are, so that the engine keeps working on them, others as arrays."""
    first, second = (x if isinstance(x, Tensor) else host(x) for x in (y_true, y_pred))
    return first, second


def _labels(y_true: Any, y_pred: Any) -> np.ndarray:
    """Labels without a last axis of 1, one for each row of y_pred."""
    labels = host(y_true)
    if labels.ndim == len(y_pred.shape) and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.shape != tuple(y_pred.shape[:-1]):
        raise ValueError(
            "`y_true` must hold one label for each row of `y_pred`. "
            f"Received: y_true.shape={labels.shape}, y_pred.shape={tuple(y_pred.shape)}"
        )
    return labels


def _argmax(x: Any) -> np.ndarray:
    """Places of the largest entries along the last axis, on the host; found by the engine where x is a tensor."""
    return host(F.argmax(x)) if isinstance(x, Tensor) else np.argmax(host(x), axis=-1)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> np.ndarray:
    """1 where the class of the one-hot y_true is among the k largest entries of y_pred, else 0."""
    check_shapes(*_like_arrays(y_true, y_pred))
    return sparse_top_k_categorical_accuracy(_argmax(y_true), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> np.ndarray:
    """1 where the label y_true is among the k largest entries of y_pred, else 0; so for one that is no class. Ties
    count for the label."""
    if not is_whole(k, 1):
        raise ValueError(f"Argument `k` must be a whole number of at least 1. Received: k={k!r}")
    scores = host(y_pred)
    labels = _labels(y_true, scores).astype(np.int64)
    known = (labels >= 0) & (labels < scores.shape[-1])
    own = np.take_along_axis(scores, np.where(known, labels, 0)[..., None], axis=-1)
    return (known & ((scores > own).sum(axis=-1) < k)).astype(np.float32)


class Accuracy(MeanMetricWrapper):
    """How often predictions equal labels."""

    direction = "up"

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """How often predictions above `threshold` match binary labels."""

    direction = "up"

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)


class CategoricalAccuracy(MeanMetricWrapper):
    """How often the largest prediction is the class of the one-hot label."""

    direction = "up"

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """How often the largest prediction is the integer label."""

    direction = "up"

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the class of the one-hot label is among the k largest predictions."""

    direction = "up"

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)


class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the integer label is among the k largest predictions."""

    direction = "up"

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k)
