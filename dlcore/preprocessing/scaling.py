"""Standardisation and min–max scaling, fitted on the training set only; labels as numbers and one-hot.

`fit`, `transform` and `inverse_transform` are scikit-learn's words, `to_categorical` and `normalize` are Keras's.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class _Scaler:
    """(x − shift) / spread per feature: the last axis, or what `axis` names."""

    _shift: np.ndarray | None = None
    _spread: np.ndarray

    def __init__(self, axis: int | tuple[int, ...] | None = -1) -> None:
        """axis: of the features that have figures of their own; None for one pair of figures for all of the data."""
        self.axis = axis

    def _fitted(self, x: Any, method: str) -> np.ndarray:
        if self._shift is None:
            raise ValueError(f"{type(self).__name__} is not fitted: call fit() on the training set before {method}()")
        x = _numbers(x)
        if x.ndim != self._shift.ndim or any(n not in (1, m) for n, m in zip(self._shift.shape, x.shape, strict=True)):
            raise ValueError(
                f"{type(self).__name__} was fitted for figures of shape {self._shift.shape}, got {x.shape}"
            )
        return x

    def _others(self, x: np.ndarray) -> tuple[int, ...]:
        """The axes over which figures are taken."""
        own = () if self.axis is None else (self.axis,) if isinstance(self.axis, int) else tuple(self.axis)
        if any(not -x.ndim <= axis < x.ndim for axis in own):
            raise ValueError(f"axis of {type(self).__name__} is {self.axis}, the data have shape {x.shape}")
        return tuple(i for i in range(x.ndim) if i not in {axis % x.ndim for axis in own})

    def _keep(self, shift: np.ndarray, spread: np.ndarray) -> None:
        """A feature that never varies is shifted and not scaled."""
        self._shift, self._spread = shift, np.where(spread > 0, spread, 1.0)

    def fit(self, x: Any) -> Any:
        """Take the figures from an array `[N, ...]`; gives itself."""
        raise NotImplementedError

    def transform(self, x: Any) -> np.ndarray:
        """x scaled by the figures of `fit`; float32, or float64 where x is."""
        x = self._fitted(x, "transform")
        return ((x - self._shift) / self._spread).astype(x.dtype)

    def fit_transform(self, x: Any) -> np.ndarray:
        """`fit`, then `transform` of the same data."""
        return self.fit(x).transform(x)

    def inverse_transform(self, x: Any) -> np.ndarray:
        """What `transform` makes x of."""
        x = self._fitted(x, "inverse_transform")
        return (x * self._spread + self._shift).astype(x.dtype)


class StandardScaler(_Scaler):
    """(x − μ) / σ per feature.

    Attributes:
        mean, std: μ and σ, of the data's rank, with length 1 where they are shared.
    """

    def fit(self, x: Any) -> StandardScaler:
        x = _numbers(x)
        others = self._others(x)
        self.mean = x.mean(axis=others, keepdims=True, dtype=np.float64)
        self.std = x.std(axis=others, keepdims=True, dtype=np.float64)
        self._keep(self.mean, self.std)
        return self


class MinMaxScaler(_Scaler):
    """x brought to feature_range, (0, 1) by default, per feature; data outside the fitted range fall outside it.

    Attributes:
        minimum, maximum: of the data that were fitted, of their rank, with length 1 where they are shared.
    """

    def __init__(
        self, feature_range: tuple[float, float] = (0.0, 1.0), axis: int | tuple[int, ...] | None = -1
    ) -> None:
        super().__init__(axis)
        low, high = feature_range
        if not low < high:
            raise ValueError(f"feature_range of MinMaxScaler must be (low, high), got {feature_range!r}")
        self.feature_range = float(low), float(high)

    def fit(self, x: Any) -> MinMaxScaler:
        x = _numbers(x)
        others = self._others(x)
        self.minimum = x.min(axis=others, keepdims=True).astype(np.float64)
        self.maximum = x.max(axis=others, keepdims=True).astype(np.float64)
        low, high = self.feature_range
        spread = (self.maximum - self.minimum) / (high - low)
        self._keep(self.minimum - low * np.where(spread > 0, spread, 1.0), spread)
        return self


class LabelEncoder:
    """Labels of any kind that can be sorted, strings above all, as whole numbers 0 … K − 1.

    Attributes:
        classes: the labels in order; number i stands for classes[i].
    """

    classes: np.ndarray | None = None

    def fit(self, labels: Any) -> LabelEncoder:
        """Learn which labels there are, from `[N]`."""
        self.classes = np.unique(np.asarray(labels))
        return self

    def _known(self, method: str) -> np.ndarray:
        if self.classes is None:
            raise ValueError(f"LabelEncoder is not fitted: call fit() on the training labels before {method}()")
        return self.classes

    def transform(self, labels: Any) -> np.ndarray:
        """The labels' numbers, int64 `[N]`. Raises ValueError for a label that `fit` did not see."""
        classes, labels = self._known("transform"), np.asarray(labels)
        places = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
        unknown = classes[places] != labels
        if unknown.any():
            from ..naming import unknown_name

            raise unknown_name("label", str(labels[unknown].flat[0]), [str(label) for label in classes])
        return places.astype(np.int64)

    def fit_transform(self, labels: Any) -> np.ndarray:
        """`fit`, then `transform` of the same labels."""
        return self.fit(labels).transform(labels)

    def inverse_transform(self, numbers: Any) -> np.ndarray:
        """The labels that numbers stand for. Raises ValueError for one that stands for none."""
        classes, numbers = self._known("inverse_transform"), np.asarray(numbers)
        if numbers.size and (numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() >= len(classes)):
            raise ValueError(f"numbers must be whole and lie in 0 … {len(classes) - 1}, got {numbers!r}")
        return classes[numbers]


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """One-hot: whole numbers of any shape to float32 `[..., num_classes]`, 1 at the number and 0 elsewhere.

    Args:
        x: labels 0 … K − 1; strings are first brought to numbers by `LabelEncoder`.
        num_classes: K; the largest label and one if None.

    Raises:
        ValueError: a label is not whole or lies outside 0 … num_classes − 1.
    """
    x = np.asarray(x)
    if x.ndim > 1 and x.shape[-1] == 1:
        x = x[..., 0]
    whole = x.astype(np.int64) if x.dtype.kind in "iuf" else None
    if whole is None or (x.dtype.kind == "f" and not np.array_equal(whole, x)):
        raise ValueError(f"x must hold whole numbers, got {x.dtype} (strings: LabelEncoder makes numbers of them)")
    count = int(whole.max(initial=-1)) + 1 if num_classes is None else num_classes
    if whole.size and (whole.min() < 0 or whole.max() >= count):
        raise ValueError(f"x must lie in 0 … {count - 1}, got {whole.min()} … {whole.max()}")
    return np.eye(count, dtype=np.float32)[whole]


def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray:
    """x over its norm along axis; what has norm 0 stays 0.

    Args:
        x: numbers of any shape.
        order: of the norm: 2 is Euclid's, 1 the sum of the absolute values.
    """
    x = np.atleast_1d(np.asarray(x))
    size = np.linalg.norm(x, order, axis, keepdims=True)
    return x / np.where(size == 0, 1.0, size)


def _numbers(x: Any) -> np.ndarray:
    """x as float32, or as float64 where it is that."""
    x = np.asarray(x)
    if x.dtype.kind not in "iufb" or not x.size or x.ndim < 1:
        raise ValueError(f"x must be an array of numbers [N, ...], not empty, got {x.dtype} of shape {x.shape}")
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
