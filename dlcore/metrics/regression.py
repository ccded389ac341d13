"""Errors of regression: means of losses, the root mean squared error, R²."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import losses
from ..naming import unknown_name
from .base import Metric, host, matched, numbers, spread_weight
from .reduction import Mean, MeanMetricWrapper


class MeanSquaredError(MeanMetricWrapper):
    """Mean squared error."""

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_error, name, dtype)


class MeanAbsoluteError(MeanMetricWrapper):
    """Mean absolute error."""

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_absolute_error, name, dtype)


class MeanAbsolutePercentageError(MeanMetricWrapper):
    """Mean absolute percentage error."""

    def __init__(self, name: str = "mean_absolute_percentage_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_absolute_percentage_error, name, dtype)


class MeanSquaredLogarithmicError(MeanMetricWrapper):
    """Mean squared logarithmic error."""

    def __init__(self, name: str = "mean_squared_logarithmic_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_logarithmic_error, name, dtype)


class LogCoshError(MeanMetricWrapper):
    """Logarithm of the hyperbolic cosine of the error."""

    def __init__(self, name: str = "logcosh", dtype: Any = None) -> None:
        super().__init__(losses.log_cosh, name, dtype)


class RootMeanSquaredError(Mean):
    """Square root of the mean squared error over all batches."""

    direction = "down"

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        y_true, y_pred = matched(host(y_true), host(y_pred))
        super().update_state(np.square(y_pred - y_true), sample_weight)

    def result(self) -> float:
        return math.sqrt(super().result())


class CosineSimilarity(MeanMetricWrapper):
    """Cosine of the angle between label and prediction: 1 for equal directions (the loss of that name is its minus)."""

    def __init__(self, name: str = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(losses.cosine_similarity, name, dtype, axis=axis)
        self.direction = "up"

    def result(self) -> float:
        return -super().result()


class Poisson(MeanMetricWrapper):
    """Poisson negative log-likelihood up to a constant."""

    def __init__(self, name: str = "poisson", dtype: Any = None) -> None:
        super().__init__(losses.poisson, name, dtype)


class R2Score(Metric):
    """Coefficient of determination, 1 − residual / total sum of squares, averaged over the outputs.

    Args:
        class_aggregation: "uniform_average", "variance_weighted_average" or None (one score per output).
    """

    direction = "up"

    def __init__(
        self, class_aggregation: str | None = "uniform_average", name: str = "r2_score", dtype: Any = None
    ) -> None:
        super().__init__(dtype, name)
        if class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            raise unknown_name(
                "class_aggregation", class_aggregation, ("uniform_average", "variance_weighted_average", "None")
            )
        self.class_aggregation = class_aggregation
        self.reset_state()

    def reset_state(self) -> None:
        self._sums: Any = 0.0  # rows: weight, y, y², squared error

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = matched(numbers(y_true, "y_true"), numbers(y_pred, "y_pred"))
        y_true, y_pred = (a.reshape(len(a), math.prod(a.shape[1:])) for a in (y_true, y_pred))
        weight = numbers(1.0 if sample_weight is None else sample_weight, "sample_weight")
        if weight.ndim:
            weight = weight.reshape(len(weight), math.prod(weight.shape[1:]))
        weight = spread_weight(weight, y_true.shape)
        rows = (weight, weight * y_true, weight * y_true**2, weight * (y_true - y_pred) ** 2)
        self._sums = self._sums + np.stack([row.sum(axis=0) for row in rows])

    def result(self) -> Any:
        if np.ndim(self._sums) == 0:
            return 0.0
        count, total, squares, residual = self._sums
        spread = squares - total**2 / count
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = 1.0 - residual / spread
        scores = np.where(np.isinf(scores), 0.0, scores)
        if self.class_aggregation is None:
            return scores
        if self.class_aggregation == "uniform_average":
            return float(scores.mean())
        return float((spread * scores).sum() / spread.sum())

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "class_aggregation": self.class_aggregation}
