"""Sums and means over all batches, and the mean of any function of labels and predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import losses
from ..backends import current
from ..naming import to_snake_case
from ..tensor import Tensor, no_grad
from .base import Metric, host, numbers, same_rank, spread_weight

MOST_PENDING = 64  # updates that wait for values on a device; each holds on to what it was given


class _Reduction(Metric):
    """Sum of values and of their weights. What lives on a device waits in `_pending` until it is asked for, so that the
    device need not be waited for at every step."""

    def __init__(self, name: str | None, dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.reset_state()

    def __getstate__(self) -> dict[str, Any]:
        self._drain()
        return self.__dict__.copy()

    def reset_state(self) -> None:
        self._total = 0.0
        self._count = 0.0
        self._pending: list[Callable[[], None]] = []

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add values: a scalar, or an array whose first axis is the samples, each with a weight if given."""
        if _can_wait(values):
            values = values.data.copy()  # the next step may put its own there
            self._wait(lambda: self._add(host(values), sample_weight))
        else:
            self._add(host(values), sample_weight)

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
        if values.dtype.kind not in "fiub":
            values = numbers(values, "values")
        if sample_weight is None:
            self._total += float(self._fold(values, tuple(range(1, values.ndim))).sum(dtype=np.float64))
            self._count += values.shape[0] if values.ndim else 1
            return
        weight = numbers(sample_weight, "sample_weight")
        values, weight = same_rank(np.asarray(values, np.float64), weight)
        if values.ndim > weight.ndim:
            values = self._fold(values, tuple(range(weight.ndim, values.ndim)))
        weight = spread_weight(weight, values.shape)
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
        if self._pending:
            self._drain()
        return self._total / self._count if self._count else 0.0


class MeanMetricWrapper(Mean):
    """The mean of `fn(y_true, y_pred, **kwargs)`, a value for each sample."""

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        if not callable(fn):
            raise TypeError(f"Argument `fn` must be a function of labels and predictions. Received: {fn!r}")
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
        self._add(host(values), sample_weight)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if type(self) is MeanMetricWrapper:
            config["fn"] = losses.serialize(self.fn)
        return {**config, **self.kwargs}


def _masked_weight(sample_weight: Any, mask: Any) -> np.ndarray:
    weight = np.asarray(host(mask), np.float64)
    if sample_weight is None:
        return weight
    sample_weight = numbers(sample_weight, "sample_weight")
    if sample_weight.ndim < weight.ndim:
        sample_weight = sample_weight.reshape(sample_weight.shape + (1,) * (weight.ndim - sample_weight.ndim))
    return weight * sample_weight


def _can_wait(x: Any) -> bool:
    """Whether x is a tensor on a device, whose values can be read later: not where a step is being recorded, which must
    notice that they are read."""
    return isinstance(x, Tensor) and not isinstance(x.data, np.ndarray) and not hasattr(current(), "engine")
