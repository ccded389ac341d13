"""Figures from counts of true and false positives and negatives: precision, recall, AUC, F scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import losses
from ..checking import is_whole
from ..naming import to_snake_case, unknown_name
from .base import Metric, host, matched, numbers, spread_weight


class _Confusion(Metric):
    """Weighted counts per threshold: true and false positives, true and false negatives."""

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        if top_k is not None and not is_whole(top_k, 1):
            raise ValueError(f"Argument `top_k` must be a whole number of at least 1. Received: top_k={top_k!r}")
        if class_id is not None and not is_whole(class_id):
            raise ValueError(f"Argument `class_id` must be a whole number. Received: class_id={class_id!r}")
        self.init_thresholds = thresholds
        default = 0.5 if top_k is None else -math.inf
        self.thresholds = np.atleast_1d(np.asarray(default if thresholds is None else thresholds, np.float64))
        if thresholds is not None and not np.all((self.thresholds >= 0) & (self.thresholds <= 1)):
            raise ValueError(f"Argument `thresholds` must lie in 0 … 1. Received: thresholds={thresholds}")
        self.top_k = top_k
        self.class_id = class_id
        self.reset_state()

    def reset_state(self) -> None:
        self.true_positives, self.false_positives, self.true_negatives, self.false_negatives = np.zeros(
            (4, len(self.thresholds))
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = matched(numbers(y_true, "y_true"), numbers(y_pred, "y_pred"))
        y_pred = np.where(np.isnan(y_pred), -math.inf, y_pred)  # as nothing else, it exceeds no threshold
        if self.top_k is not None:
            kth = -np.sort(-y_pred, axis=-1)[..., self.top_k - 1 : self.top_k]
            y_pred = np.where(y_pred >= kth, y_pred, -math.inf)
        if self.class_id is not None:
            if not -y_pred.shape[-1] <= self.class_id < y_pred.shape[-1]:
                raise ValueError(
                    f"Argument `class_id` must name one of the {y_pred.shape[-1]} classes of `y_pred`. "
                    f"Received: class_id={self.class_id}"
                )
            y_true, y_pred = y_true[..., self.class_id], y_pred[..., self.class_id]
        weight = numbers(1.0 if sample_weight is None else sample_weight, "sample_weight")
        if weight.ndim:
            weight = weight.reshape(weight.shape + (1,) * (y_pred.ndim - weight.ndim))
        weight = spread_weight(weight, y_pred.shape).reshape(-1)
        positive = y_true.reshape(-1).astype(bool)
        scores = y_pred.reshape(-1)
        order = np.argsort(scores, kind="stable")
        # entries after the last score ≤ threshold are predicted positive
        cut = np.searchsorted(scores[order], self.thresholds, side="right")
        for label, above, below in (
            (positive, self.true_positives, self.false_negatives),
            (~positive, self.false_positives, self.true_negatives),
        ):
            passed = np.concatenate([[0.0], np.cumsum((weight * label)[order])])
            above += passed[-1] - passed[cut]
            below += passed[cut]

    def _one(self, values: np.ndarray) -> Any:
        return float(values[0]) if len(self.thresholds) == 1 else values

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "thresholds": self.init_thresholds,
            "top_k": self.top_k,
            "class_id": self.class_id,
        }


class _Count(_Confusion):
    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(thresholds, name=name, dtype=dtype)

    def result(self) -> Any:
        return self._one(getattr(self, to_snake_case(type(self).__name__)).copy())

    def get_config(self) -> dict[str, Any]:
        return {**Metric.get_config(self), "thresholds": self.init_thresholds}


class TruePositives(_Count):
    """How many positives were found."""


class TrueNegatives(_Count):
    """How many negatives were left alone."""


class FalsePositives(_Count):
    """How many negatives were taken for positives."""


class FalseNegatives(_Count):
    """How many positives were missed."""


class Precision(_Confusion):
    """True positives among all predicted positives; one value per threshold."""

    direction = "up"

    def result(self) -> Any:
        return self._one(_divide(self.true_positives, self.true_positives + self.false_positives))


class Recall(_Confusion):
    """True positives among all positives; one value per threshold."""

    direction = "up"

    def result(self) -> Any:
        return self._one(_divide(self.true_positives, self.true_positives + self.false_negatives))


class AUC(_Confusion):
    """Area under the ROC curve (or under precision against recall), by the trapezoid rule over thresholds.

    Args:
        num_thresholds: evenly spaced in 0 … 1, both ends widened by 1e-7 so that they admit all and none.
        curve: "ROC" or "PR" (interpolated as Davis & Goadrich 2006).
        thresholds: inner thresholds instead of even ones.
        from_logits: a sigmoid is applied to the predictions first.
    """

    direction = "up"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        if curve not in ("ROC", "PR"):
            raise unknown_name("curve", curve, ("ROC", "PR"))
        if thresholds is None and num_thresholds <= 1:
            raise ValueError(f"Argument `num_thresholds` must be an integer > 1. Received: {num_thresholds}")
        super().__init__(name=name, dtype=dtype)
        inner = sorted(thresholds) if thresholds is not None else np.linspace(0.0, 1.0, num_thresholds)[1:-1]
        self.init_thresholds = thresholds
        self.num_thresholds = len(inner) + 2
        self.thresholds = np.array([-losses.EPSILON, *inner, 1.0 + losses.EPSILON])
        self.curve = curve
        self.from_logits = from_logits
        self.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        if self.from_logits:
            y_pred = 1.0 / (1.0 + np.exp(-np.asarray(host(y_pred), np.float64)))
        super().update_state(y_true, y_pred, sample_weight)

    def result(self) -> float:
        tp, fp, tn, fn = self.true_positives, self.false_positives, self.true_negatives, self.false_negatives
        if self.curve == "ROC":
            x, y = _divide(fp, fp + tn), _divide(tp, tp + fn)
            return float(((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2.0).sum())
        positives = tp + fp
        d_tp = tp[:-1] - tp[1:]
        slope = _divide(d_tp, np.maximum(positives[:-1] - positives[1:], 0.0))
        intercept = tp[1:] - slope * positives[1:]
        both = (positives[:-1] > 0) & (positives[1:] > 0)
        ratio = np.where(both, _divide(positives[:-1], np.maximum(positives[1:], 0.0)), 1.0)
        area = slope * (d_tp + intercept * np.log(np.where(ratio > 0, ratio, 1.0)))
        return float(_divide(area, np.maximum(tp[1:] + fn[1:], 0.0)).sum())

    def get_config(self) -> dict[str, Any]:
        return {
            **Metric.get_config(self),
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "thresholds": self.init_thresholds,
            "from_logits": self.from_logits,
        }


class FBetaScore(Metric):
    """(1 + β²)·precision·recall / (β²·precision + recall), for one-hot labels [N, C].

    Args:
        average: None (one score per class), "micro", "macro" or "weighted".
        threshold: above it a class is predicted; None predicts the largest.
    """

    direction = "up"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        if average not in (None, "micro", "macro", "weighted"):
            raise unknown_name("average", average, ("micro", "macro", "weighted", "None"))
        if beta <= 0.0:
            raise ValueError(f"Argument `beta` must be > 0. Received: beta={beta}")
        self.average = average
        self.beta = beta
        self.threshold = threshold
        self.reset_state()

    def reset_state(self) -> None:
        self._counts: Any = 0.0  # rows: true positives, false positives, false negatives, positives

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = np.asarray(host(y_true), np.float64), host(y_pred)
        if y_true.ndim != 2 or y_true.shape != y_pred.shape:
            raise ValueError(
                f"{type(self).__name__} takes one-hot `y_true` and `y_pred` of shape [N, C]. "
                f"Received: y_true.shape={y_true.shape}, y_pred.shape={y_pred.shape}"
            )
        if self.threshold is None:
            guess = (y_pred >= y_pred.max(axis=-1, keepdims=True)) & (np.abs(y_pred) > 1e-9)
        else:
            guess = y_pred > self.threshold
        weight = numbers(1.0 if sample_weight is None else sample_weight, "sample_weight").reshape(-1, 1)
        weight = spread_weight(weight, (len(y_true), 1))
        axis = None if self.average == "micro" else 0
        rows = (guess * y_true, guess * (1.0 - y_true), (1.0 - guess) * y_true, y_true)
        self._counts = self._counts + np.stack([(row * weight).sum(axis=axis) for row in rows])

    def result(self) -> Any:
        if np.ndim(self._counts) == 0:
            return 0.0
        tp, fp, fn, positives = self._counts
        precision, recall = tp / (tp + fp + losses.EPSILON), tp / (tp + fn + losses.EPSILON)
        square = self.beta**2
        score = (1.0 + square) * precision * recall / (square * precision + recall + losses.EPSILON)
        if self.average == "weighted":
            return float((score * positives).sum() / (positives.sum() + losses.EPSILON))
        return score if self.average is None else float(np.mean(score))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "average": self.average, "beta": self.beta, "threshold": self.threshold}


class F1Score(FBetaScore):
    """Harmonic mean of precision and recall."""

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str = "f1_score", dtype: Any = None
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config


def _divide(a: Any, b: Any) -> Any:
    """a / b, and 0 where b is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b != 0)
