"""How often predictions are right."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..tensor import Tensor
from .base import host, same_rank
from .reduction import MeanMetricWrapper


def accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where y_true equals y_pred, else 0."""
    y_true, y_pred = same_rank(host(y_true), host(y_pred))
    return (y_true == y_pred).astype(np.float32)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> np.ndarray:
    """1 where (y_pred > threshold) equals y_true, else 0."""
    y_true, y_pred = same_rank(host(y_true), host(y_pred))
    return (y_true == (y_pred > threshold)).astype(np.float32)


def categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where the largest entries of y_true and y_pred [..., C] agree, else 0. Shape [...]."""
    return (_argmax(y_true) == _argmax(y_pred)).astype(np.float32)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where the label y_true is the largest entry of y_pred [..., C], else 0. Shape [...]."""
    guess = _argmax(y_pred)
    labels = host(y_true)
    if labels.ndim == guess.ndim + 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    return (labels == guess).astype(np.float32)


def _argmax(x: Any) -> np.ndarray:
    """Places of the largest entries along the last axis, on the host; found by the engine where x is a tensor."""
    return host(F.argmax(x)) if isinstance(x, Tensor) else np.argmax(host(x), axis=-1)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> np.ndarray:
    """1 where the class of the one-hot y_true is among the k largest entries of y_pred, else 0."""
    return sparse_top_k_categorical_accuracy(_argmax(y_true), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> np.ndarray:
    """1 where the label y_true is among the k largest entries of y_pred, else 0. Ties count for the label."""
    scores, labels = host(y_pred), host(y_true).astype(np.int64)
    if labels.ndim == scores.ndim and labels.shape[-1] == 1:
        labels = labels[..., 0]
    own = np.take_along_axis(scores, labels[..., None], axis=-1)
    return ((scores > own).sum(axis=-1) < k).astype(np.float32)


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
