"""Metrics with Keras's names: what training reports beside the loss.

A metric gathers state over the batches: `update_state(y_true, y_pred, sample_weight=None)`, `result()` and
`reset_state()`; calling it does the first two. Results are Python floats (arrays where there are several). Sums are
kept on the host in double precision; what needs the whole prediction (an arg-max, a loss per sample) is computed by the
active engine, and values on a device are brought to the host only when `result` is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import functional as F
from . import losses
from .backends import current
from .losses import (  # noqa: F401  (Keras has them here, too)
    binary_crossentropy,
    categorical_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from .naming import to_snake_case, unknown_name
from .tensor import Tensor, Variable, no_grad

MOST_PENDING = 64  # updates that wait for values on a device; each holds on to what it was given


def _host(x: Any) -> np.ndarray:
    """An array on the host, from a tensor, an engine's array, or anything that NumPy takes."""
    if isinstance(x, Tensor):
        return x.numpy()
    if isinstance(x, np.ndarray) or not hasattr(x, "__cuda_array_interface__"):
        return np.asarray(x)
    return current().to_numpy(x)


def _can_wait(x: Any) -> bool:
    """Whether x is a tensor on a device, whose values can be read later: not where a step is being recorded, which must
    notice that they are read."""
    return isinstance(x, Tensor) and not isinstance(x.data, np.ndarray) and not hasattr(current(), "engine")


def _same_rank(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b[:, None]) if b.ndim == 1 else (a[..., 0], b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a[:, None], b) if a.ndim == 1 else (a, b[..., 0])
    return a, b


def _divide(a: Any, b: Any) -> Any:
    """a / b, and 0 where b is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b != 0)


class Metric:
    """Base of all metrics: override `update_state`, `result` and `reset_state`.

    Attributes:
        direction: "up" or "down", whichever is better, for callbacks with mode="auto"; None if unknown.
    """

    direction: str | None = None

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        self.name = name or to_snake_case(type(self).__name__)
        self.dtype = dtype or "float32"

    def add_variable(
        self, shape: Any = (), initializer: Any = "zeros", dtype: Any = None, name: str | None = None
    ) -> Variable:
        """A Variable for the state of a metric of your own, which `reset_state` sets to zeros."""
        variable = Variable(initializer or "zeros", shape, dtype or "float32", trainable=False, name=name)
        self.variables.append(variable)
        return variable

    add_weight = add_variable

    @property
    def variables(self) -> list[Variable]:
        """What `add_variable` made."""
        return vars(self).setdefault("_variables", [])

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} must override update_state().")

    def result(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must override result().")

    def reset_state(self) -> None:
        if not self.variables:
            raise NotImplementedError(f"{type(self).__name__} must override reset_state().")
        for variable in self.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name!r}>"


class _Reduction(Metric):
    """Sum of values and of their weights. What lives on a device waits in `_pending` until it is asked for, so that the
    device need not be waited for at every step."""

    def __init__(self, name: str | None, dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.reset_state()

    def reset_state(self) -> None:
        self._total = 0.0
        self._count = 0.0
        self._pending: list[Callable[[], None]] = []

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add values: a scalar, or an array whose first axis is the samples, each with a weight if given."""
        if _can_wait(values):
            values = values.data.copy()  # the next step may put its own there
            self._wait(lambda: self._add(_host(values), sample_weight))
        else:
            self._add(_host(values), sample_weight)

    def _wait(self, update: Callable[[], None]) -> None:
        self._pending.append(update)
        if len(self._pending) == MOST_PENDING:
            self._drain()

    def _drain(self) -> None:
        pending, self._pending = self._pending, []
        for update in pending:
            update()

    def _add(self, values: np.ndarray, sample_weight: Any) -> None:
        if values.size == 1 and isinstance(sample_weight, int):  # a batch's loss and its number of samples
            self._total += values.item() * sample_weight
            self._count += sample_weight
            return
        if sample_weight is None:
            self._total += float(self._fold(values, tuple(range(1, values.ndim))).sum(dtype=np.float64))
            self._count += values.shape[0] if values.ndim else 1
            return
        weight = np.asarray(_host(sample_weight), np.float64)
        values, weight = _same_rank(np.asarray(values, np.float64), weight)
        if values.ndim > weight.ndim:
            values = self._fold(values, tuple(range(weight.ndim, values.ndim)))
        weight = np.broadcast_to(weight, values.shape)
        self._total += float(self._fold(values * weight, tuple(range(1, values.ndim))).sum())
        self._count += float(self._fold(weight, tuple(range(1, weight.ndim))).sum())

    def _fold(self, values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        raise NotImplementedError


class Sum(_Reduction):
    """The (weighted) sum of the values."""

    def __init__(self, name: str = "sum", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def _fold(self, values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return values.sum(axis=axes) if axes else values

    def result(self) -> float:
        self._drain()
        return self._total


class Mean(_Reduction):
    """The (weighted) mean of the values; 0 before any came."""

    def __init__(self, name: str = "mean", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def _fold(self, values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return values.mean(axis=axes) if axes else values

    def result(self) -> float:
        self._drain()
        return self._total / self._count if self._count else 0.0


class MeanMetricWrapper(Mean):
    """The mean of `fn(y_true, y_pred, **kwargs)`, a value for each sample."""

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(name or getattr(fn, "__name__", None) or to_snake_case(type(self).__name__), dtype)
        self.fn = fn
        self.kwargs = kwargs
        if isinstance(fn, losses.Loss) or fn in losses._FUNCTIONS.values():
            self.direction = "down"

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        if _can_wait(y_pred):
            y_true = np.array(y_true) if isinstance(y_true, np.ndarray) else y_true  # a source may reuse its arrays
            self._wait(lambda: self._update(y_true, y_pred, sample_weight))
        else:
            self._update(y_true, y_pred, sample_weight)

    def _update(self, y_true: Any, y_pred: Any, sample_weight: Any) -> None:
        mask = losses.mask_of(y_pred)
        with no_grad():
            values = self.fn(y_true, y_pred, **self.kwargs)
        if mask is not None:
            sample_weight = _masked_weight(sample_weight, mask)
        self._add(_host(values), sample_weight)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if type(self) is MeanMetricWrapper:
            config["fn"] = losses.serialize(self.fn)
        return {**config, **self.kwargs}


def _masked_weight(sample_weight: Any, mask: Any) -> np.ndarray:
    weight = np.asarray(_host(mask), np.float64)
    if sample_weight is None:
        return weight
    sample_weight = np.asarray(_host(sample_weight), np.float64)
    if sample_weight.ndim < weight.ndim:
        sample_weight = sample_weight.reshape(sample_weight.shape + (1,) * (weight.ndim - sample_weight.ndim))
    return weight * sample_weight


# ---- accuracies --------------------------------------------------------------------------------------------------


def accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where y_true equals y_pred, else 0."""
    y_true, y_pred = _same_rank(_host(y_true), _host(y_pred))
    return (y_true == y_pred).astype(np.float32)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> np.ndarray:
    """1 where (y_pred > threshold) equals y_true, else 0."""
    y_true, y_pred = _same_rank(_host(y_true), _host(y_pred))
    return (y_true == (y_pred > threshold)).astype(np.float32)


def categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where the largest entries of y_true and y_pred [..., C] agree, else 0. Shape [...]."""
    return (_argmax(y_true) == _argmax(y_pred)).astype(np.float32)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where the label y_true is the largest entry of y_pred [..., C], else 0. Shape [...]."""
    guess = _argmax(y_pred)
    labels = _host(y_true)
    if labels.ndim == guess.ndim + 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    return (labels == guess).astype(np.float32)


def _argmax(x: Any) -> np.ndarray:
    """Places of the largest entries along the last axis, on the host; found by the engine where x is a tensor."""
    return _host(F.argmax(x)) if isinstance(x, Tensor) else np.argmax(_host(x), axis=-1)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> np.ndarray:
    """1 where the class of the one-hot y_true is among the k largest entries of y_pred, else 0."""
    return sparse_top_k_categorical_accuracy(_argmax(y_true), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> np.ndarray:
    """1 where the label y_true is among the k largest entries of y_pred, else 0. Ties count for the label."""
    scores, labels = _host(y_pred), _host(y_true).astype(np.int64)
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


# ---- means of losses ---------------------------------------------------------------------------------------------


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
        y_true, y_pred = _same_rank(_host(y_true), _host(y_pred))
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


class KLDivergence(MeanMetricWrapper):
    """Kullback–Leibler divergence."""

    def __init__(self, name: str = "kl_divergence", dtype: Any = None) -> None:
        super().__init__(losses.kl_divergence, name, dtype)


class Poisson(MeanMetricWrapper):
    """Poisson negative log-likelihood up to a constant."""

    def __init__(self, name: str = "poisson", dtype: Any = None) -> None:
        super().__init__(losses.poisson, name, dtype)


class Hinge(MeanMetricWrapper):
    """Hinge loss."""

    def __init__(self, name: str = "hinge", dtype: Any = None) -> None:
        super().__init__(losses.hinge, name, dtype)


class SquaredHinge(MeanMetricWrapper):
    """Squared hinge loss."""

    def __init__(self, name: str = "squared_hinge", dtype: Any = None) -> None:
        super().__init__(losses.squared_hinge, name, dtype)


class CategoricalHinge(MeanMetricWrapper):
    """Hinge loss over one-hot classes."""

    def __init__(self, name: str = "categorical_hinge", dtype: Any = None) -> None:
        super().__init__(losses.categorical_hinge, name, dtype)


class BinaryCrossentropy(MeanMetricWrapper):
    """Binary cross-entropy."""

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            losses.binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing
        )


class CategoricalCrossentropy(MeanMetricWrapper):
    """Cross-entropy with one-hot labels."""

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        super().__init__(
            losses.categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """Cross-entropy with integer labels."""

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(losses.sparse_categorical_crossentropy, name, dtype, from_logits=from_logits, axis=axis)


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
        y_true, y_pred = _same_rank(np.asarray(_host(y_true), np.float64), np.asarray(_host(y_pred), np.float64))
        y_true, y_pred = (a.reshape(len(a), -1) for a in (y_true, y_pred))
        weight = 1.0 if sample_weight is None else np.asarray(_host(sample_weight), np.float64).reshape(len(y_true), -1)
        weight = np.broadcast_to(weight, y_true.shape)
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


# ---- counts of true and false positives and negatives ------------------------------------------------------------


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
        y_pred, y_true = _same_rank(np.asarray(_host(y_pred), np.float64), _host(y_true))
        if self.top_k is not None:
            kth = -np.sort(-y_pred, axis=-1)[..., self.top_k - 1 : self.top_k]
            y_pred = np.where(y_pred >= kth, y_pred, -math.inf)
        if self.class_id is not None:
            y_true, y_pred = y_true[..., self.class_id], y_pred[..., self.class_id]
        weight = np.asarray(1.0 if sample_weight is None else _host(sample_weight), np.float64)
        if weight.ndim:
            weight = weight.reshape(weight.shape + (1,) * (y_pred.ndim - weight.ndim))
        weight = np.broadcast_to(weight, y_pred.shape).reshape(-1)
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
            y_pred = 1.0 / (1.0 + np.exp(-np.asarray(_host(y_pred), np.float64)))
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
        y_true, y_pred = np.asarray(_host(y_true), np.float64), _host(y_pred)
        if y_true.ndim != 2 or y_true.shape != y_pred.shape:
            raise ValueError(
                f"{type(self).__name__} takes one-hot `y_true` and `y_pred` of shape [N, C]. "
                f"Received: y_true.shape={y_true.shape}, y_pred.shape={y_pred.shape}"
            )
        if self.threshold is None:
            guess = (y_pred >= y_pred.max(axis=-1, keepdims=True)) & (np.abs(y_pred) > 1e-9)
        else:
            guess = y_pred > self.threshold
        weight = 1.0 if sample_weight is None else np.asarray(_host(sample_weight), np.float64).reshape(-1, 1)
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


# ---- names -------------------------------------------------------------------------------------------------------

_CLASSES: dict[str, type[Metric]] = {
    cls.__name__: cls
    for cls in (
        Mean,
        Sum,
        Accuracy,
        BinaryAccuracy,
        CategoricalAccuracy,
        SparseCategoricalAccuracy,
        TopKCategoricalAccuracy,
        SparseTopKCategoricalAccuracy,
        MeanSquaredError,
        RootMeanSquaredError,
        MeanAbsoluteError,
        MeanAbsolutePercentageError,
        MeanSquaredLogarithmicError,
        LogCoshError,
        CosineSimilarity,
        KLDivergence,
        Poisson,
        Hinge,
        SquaredHinge,
        CategoricalHinge,
        BinaryCrossentropy,
        CategoricalCrossentropy,
        SparseCategoricalCrossentropy,
        R2Score,
        TruePositives,
        TrueNegatives,
        FalsePositives,
        FalseNegatives,
        Precision,
        Recall,
        AUC,
        FBetaScore,
        F1Score,
    )
}
_NAMES: dict[str, Any] = {
    **_CLASSES,
    **{to_snake_case(name): cls for name, cls in _CLASSES.items()},
    "r2_score": R2Score,
    "f1_score": F1Score,
    **{
        alias: cls
        for short, cls in (
            ("mse", MeanSquaredError),
            ("mae", MeanAbsoluteError),
            ("mape", MeanAbsolutePercentageError),
            ("msle", MeanSquaredLogarithmicError),
            ("bce", BinaryCrossentropy),
            ("rmse", RootMeanSquaredError),
        )
        for alias in (short, short.upper())
    },
}


def serialize(metric: Any) -> Any:
    """A name for a function, `{"class_name", "config"}` for a `Metric`."""
    if isinstance(metric, Metric):
        return {"class_name": type(metric).__name__, "config": metric.get_config()}
    return metric.__name__


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The metric that `serialize` described. Raises ValueError for an unknown name."""
    known = {**_NAMES, **(custom_objects or {})}
    arguments: dict[str, Any] = {}
    if isinstance(config, dict):
        config, arguments = config["class_name"], dict(config.get("config", {}))
    if config not in known:
        if config == "MeanMetricWrapper" and "fn" in arguments:
            return MeanMetricWrapper(losses.deserialize(arguments.pop("fn"), custom_objects), **arguments)
        raise unknown_name("metric", config, {*known, "accuracy"})
    found: Any = known[config]
    return found.from_config(arguments) if isinstance(found, type) else found  # type: ignore[attr-defined]


def get(identifier: Any) -> Any:
    """A metric from its name, its configuration, a function, a class or an instance; None stays None.

    "accuracy" is Accuracy here; `Model.compile` chooses the kind by the shapes of labels and predictions.

    Raises:
        ValueError: no metric of that name.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str | dict):
        return deserialize(identifier)
    if isinstance(identifier, type):
        return identifier()
    if callable(identifier):
        return identifier
    raise ValueError(f"Argument `metrics` must hold names, functions or Metrics. Received: {identifier!r}")


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("metrics", name, list(globals()))
