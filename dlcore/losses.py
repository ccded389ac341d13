"""Losses with Keras's names and formulas, as classes and as functions.

A function takes `(y_true, y_pred)` and gives one loss per sample (the last axis averaged or summed away); a class adds
weights, masks and the reduction to a scalar. Targets come as host arrays, lists or tensors and are converted to the
type of the predictions.

Cross-entropies are taken from logits wherever logits can be had: with `from_logits=True`, and also where the
predictions come straight from a softmax (a sigmoid), whose input is then used. That path neither overflows nor takes
the logarithm of zero. Other probabilities are clipped to [1e-7, 1 − 1e-7] first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import functional as F
from .backends import current
from .checking import is_number, is_whole
from .functional.arguments import checked_ids, integer_array
from .naming import to_snake_case, unknown_name
from .tensor import Settings, Tensor, as_tensor

EPSILON = 1e-7  # Keras's backend.epsilon()

_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
_REDUCTIONS = (*_MEANS, "sum", "none", None)


# ---- shapes, weights and reductions ------------------------------------------------------------------------------


def _prediction(y_pred: Any) -> Tensor:
    if isinstance(y_pred, Tensor):
        return y_pred
    array = np.asarray(y_pred)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"Argument `y_pred` must hold numbers; received an array of dtype {array.dtype}.")
    return as_tensor(array if array.dtype == np.float64 else array.astype(np.float32))


def _target(y_true: Any, dtype: Any, argument: str = "y_true") -> Tensor:
    """`y_true` as a constant tensor of `dtype`. Raises TypeError for labels that are not numbers."""
    if isinstance(y_true, Tensor):
        return y_true if y_true.dtype == dtype else F.cast(y_true, dtype)
    if not hasattr(y_true, "dtype"):
        y_true = np.asarray(y_true)
    if y_true.dtype.kind not in "fiub":
        hint = " Encode string labels as integers or one-hot rows first." if argument == "y_true" else ""
        raise TypeError(f"Argument `{argument}` must hold numbers; received an array of dtype {y_true.dtype}.{hint}")
    if y_true.dtype.kind == "f" and y_true.dtype.itemsize not in (4, 8):
        y_true = y_true.astype(dtype)  # tensors hold neither float16 nor long double
    return F.cast(as_tensor(y_true), dtype)


def _same_rank(a: Tensor, b: Tensor, expand_rank_1: bool = True) -> tuple[Tensor, Tensor]:
    """Drop (or, for rank 1, add) a last axis of length 1 where the ranks differ by one."""
    rank_a, rank_b = len(a.shape), len(b.shape)
    if rank_a == rank_b + 1 and a.shape[-1] == 1:
        if rank_b == 1 and expand_rank_1:
            return a, F.expand_dims(b, -1)
        return F.squeeze(a, -1), b
    if rank_b == rank_a + 1 and b.shape[-1] == 1:
        if rank_a == 1 and expand_rank_1:
            return F.expand_dims(a, -1), b
        return a, F.squeeze(b, -1)
    return a, b


def _pair(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    y_pred = _prediction(y_pred)
    y_true, y_pred = _same_rank(_target(y_true, y_pred.dtype), y_pred)
    if y_true.shape != y_pred.shape:
        check_shapes(y_true, y_pred)
    return y_true, y_pred


def check_shapes(y_true: Any, y_pred: Any) -> None:
    """Raise ValueError unless the shapes go with each other."""
    try:
        np.broadcast_shapes(y_true.shape, y_pred.shape)
    except ValueError:
        raise ValueError(
            "Arguments `y_true` and `y_pred` must have the same shape. "
            f"Received: y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}"
        ) from None


def _check_reduction(reduction: str | None) -> str | None:
    if reduction not in _REDUCTIONS:
        raise ValueError(f"Argument `reduction` must be one of {_REDUCTIONS}. Received: reduction={reduction!r}")
    return reduction


def mask_of(tensor: Any) -> Any:
    """The mask that layers put on a tensor (boolean, one per time step), or None."""
    return getattr(tensor, "mask", None)


def _merge_mask(sample_weight: Tensor | None, mask: Any, dtype: Any, reduction: str | None) -> Tensor | None:
    """Masked entries weigh 0; for a mean the others weigh total / valid, so that only valid ones are averaged."""
    if mask is None:
        return sample_weight
    weight = _target(mask, dtype)
    if reduction in ("mean", "sum_over_batch_size"):
        weight = weight * (weight.size / F.maximum(weight.sum(), 1.0))
    if sample_weight is None:
        return weight
    weight, sample_weight = _same_rank(weight, sample_weight)
    return sample_weight * weight


def reduce_weighted_values(
    values: Tensor, sample_weight: Any = None, mask: Any = None, reduction: str | None = "sum_over_batch_size"
) -> Tensor:
    """Per-sample losses times their weights, reduced as Keras does.

    Args:
        values: losses, any shape.
        sample_weight: array that broadcasts against `values` once a last axis of 1 is dropped or added, or None.
        mask: boolean array of the same kind, or None.
        reduction: "sum_over_batch_size" and "mean" divide by the number of losses, "mean_with_sample_weight" by the sum
            of the weights; "sum" only sums; "none" and None give the weighted losses themselves.
    """
    if sample_weight is not None:
        sample_weight = _target(sample_weight, values.dtype, "sample_weight")
    sample_weight = _merge_mask(sample_weight, mask, values.dtype, reduction)
    if sample_weight is not None:
        values, sample_weight = _same_rank(values, sample_weight)
        try:
            np.broadcast_shapes(values.shape, sample_weight.shape)
        except ValueError:
            raise ValueError(
                "Argument `sample_weight` does not fit the losses it weighs. "
                f"Received: sample_weight.shape={tuple(sample_weight.shape)}, losses of shape {tuple(values.shape)}"
            ) from None
        values = values * sample_weight
    if reduction is None or reduction == "none" or values.shape == ():
        return values
    if reduction == "sum":
        return values.sum()
    if reduction == "mean_with_sample_weight" and sample_weight is not None:
        total = float(sample_weight.sum().item())
        return values.sum() * (1.0 / total if total else 0.0)
    return values.mean()


# ---- the functions -----------------------------------------------------------------------------------------------


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """Mean over the last axis of (y_true − y_pred)². Shapes [..., D] to [...]."""
    y_true, y_pred = _pair(y_true, y_pred)
    return F.square(y_pred - y_true).mean(axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """Mean over the last axis of |y_true − y_pred|."""
    y_true, y_pred = _pair(y_true, y_pred)
    return F.abs(y_pred - y_true).mean(axis=-1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Tensor:
    """100 times the mean of |y_true − y_pred| / max(|y_true|, 1e-7)."""
    y_true, y_pred = _pair(y_true, y_pred)
    return 100.0 * F.abs((y_true - y_pred) / F.maximum(F.abs(y_true), EPSILON)).mean(axis=-1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Tensor:
    """Mean of (log(1 + y_true) − log(1 + y_pred))², both clipped to at least 1e-7."""
    y_true, y_pred = _pair(y_true, y_pred)
    first = F.log(F.maximum(y_pred, EPSILON) + 1.0)
    second = F.log(F.maximum(y_true, EPSILON) + 1.0)
    return F.square(first - second).mean(axis=-1)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """Mean of e²/2 where |e| ≤ δ and δ|e| − δ²/2 elsewhere (Huber 1964)."""
    if not is_number(delta) or not delta >= 0:
        raise ValueError(f"Argument `delta` must be a number of at least 0. Received: delta={delta!r}")
    y_true, y_pred = _pair(y_true, y_pred)
    size = F.abs(y_pred - y_true)
    inner = F.minimum(size, delta)  # e²/2 and δ|e| − δ²/2 are both inner·|e| − inner²/2
    return (inner * (size - 0.5 * inner)).mean(axis=-1)


def log_cosh(y_true: Any, y_pred: Any) -> Tensor:
    """Mean of log cosh e = e + softplus(−2e) − log 2."""
    y_true, y_pred = _pair(y_true, y_pred)
    error = y_pred - y_true
    return (error + F.softplus(error * -2.0) - math.log(2.0)).mean(axis=-1)


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """Minus the cosine of the angle between the vectors along `axis`: −1 for equal directions."""
    y_true, y_pred = _pair(y_true, y_pred)
    return -(_normalize(y_true, axis) * _normalize(y_pred, axis)).sum(axis=axis)


def _normalize(x: Tensor, axis: int) -> Tensor:
    return x / F.sqrt(F.maximum(F.square(x).sum(axis=axis, keepdims=True), 1e-12))


def kl_divergence(y_true: Any, y_pred: Any) -> Tensor:
    """Σ y_true · log(y_true / y_pred), both clipped to [1e-7, 1]."""
    y_true, y_pred = _pair(y_true, y_pred)
    y_true = F.clip(y_true, EPSILON, 1.0)
    return (y_true * F.log(y_true / F.clip(y_pred, EPSILON, 1.0))).sum(axis=-1)


def poisson(y_true: Any, y_pred: Any) -> Tensor:
    """Mean of y_pred − y_true · log(y_pred + 1e-7)."""
    y_true, y_pred = _pair(y_true, y_pred)
    return (y_pred - y_true * F.log(y_pred + EPSILON)).mean(axis=-1)


def _signed_labels(y_true: Any) -> Any:
    """Labels 0 and 1 become −1 and 1; others stay."""
    host = y_true.numpy() if isinstance(y_true, Tensor) else np.asarray(y_true)
    return 2.0 * host - 1.0 if np.all((host == 0) | (host == 1)) else y_true


def hinge(y_true: Any, y_pred: Any) -> Tensor:
    """Mean of max(1 − y_true · y_pred, 0) for labels −1 and 1 (0 and 1 are converted)."""
    y_true, y_pred = _pair(_signed_labels(y_true), y_pred)
    return F.maximum(1.0 - y_true * y_pred, 0.0).mean(axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """Mean of max(1 − y_true · y_pred, 0)²."""
    y_true, y_pred = _pair(_signed_labels(y_true), y_pred)
    return F.square(F.maximum(1.0 - y_true * y_pred, 0.0)).mean(axis=-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """max(1 + the largest wrong score − the right score, 0), y_true one-hot."""
    y_true, y_pred = _pair(y_true, y_pred)
    right = (y_true * y_pred).sum(axis=-1)
    wrong = ((1.0 - y_true) * y_pred).max(axis=-1)
    return F.maximum(wrong - right + 1.0, 0.0)


def _logits(y_pred: Tensor, activation: str, from_logits: bool) -> Tensor | None:
    """The logits behind `y_pred`, where they are known."""
    if from_logits:
        return y_pred
    return y_pred.logits if y_pred.logits is not None and y_pred.logits_kind == activation else None


def _check_smoothing(label_smoothing: Any) -> None:
    if not is_number(label_smoothing) or not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"Argument `label_smoothing` must be a number in 0 … 1. Received: label_smoothing={label_smoothing!r}"
        )


def _to_last(x: Tensor, axis: int) -> Tensor:
    rank = len(x.shape)
    if not is_whole(axis):
        raise TypeError(f"Argument `axis` must be a whole number. Received: axis={axis!r}")
    if not -rank <= axis < rank:
        raise ValueError(f"Argument `axis` must lie in the rank of `y_pred`, {rank}. Received: axis={axis}")
    axis %= rank
    if axis == rank - 1:
        return x
    return F.transpose(x, [i for i in range(rank) if i != axis] + [axis])


def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
    reduction: str = "none",
) -> Tensor:
    """Mean over `axis` of −y·log p − (1 − y)·log(1 − p).

    Args:
        y_true: probabilities of the class 1, like y_pred.
        y_pred: probabilities, or logits with `from_logits`.
        label_smoothing: s moves the labels to y·(1 − s) + s/2.
        reduction: "none", or "sum" or "mean" over all losses, which costs less than reducing them afterwards.
    """
    y_pred = _prediction(y_pred)
    logits = _logits(y_pred, "sigmoid", from_logits)
    y_true, output = _pair(y_true, y_pred if logits is None else logits)
    if y_true.shape != output.shape:
        y_true = F.broadcast_to(y_true, output.shape)
    if label_smoothing:
        _check_smoothing(label_smoothing)
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if logits is None:
        p = F.clip(output, EPSILON, 1.0 - EPSILON)
        losses = -(y_true * F.log(p) + (1.0 - y_true) * F.log(1.0 - p)).mean(axis=axis)
        return _reduced(losses, reduction)
    return F.sigmoid_cross_entropy(_to_last(output, axis), _to_last(y_true, axis), None, reduction)


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()


def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
    reduction: str = "none",
) -> Tensor:
    """−Σ over the classes of y_true · log p.

    Args:
        y_true: one-hot rows or any distribution, like y_pred.
        y_pred: probabilities, or logits with `from_logits`, classes along `axis`.
        label_smoothing: s moves the labels to y·(1 − s) + s/C.
        reduction: as in `binary_crossentropy`.
    """
    y_pred = _prediction(y_pred)
    y_true = _target(y_true, y_pred.dtype)
    if y_true.shape != y_pred.shape:
        raise ValueError(
            "categorical_crossentropy takes `y_true` (one-hot rows) and `y_pred` of the same shape. "
            f"Received: y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}. "
            "For integer labels use sparse_categorical_crossentropy."
        )
    if label_smoothing:
        _check_smoothing(label_smoothing)
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[axis]
    logits = _logits(y_pred, "softmax", from_logits)
    y_true = _to_last(y_true, axis)
    if logits is None:
        return _reduced(-(y_true * _log_probabilities(_to_last(y_pred, axis))).sum(axis=-1), reduction)
    return F.softmax_cross_entropy(_to_last(logits, axis), y_true, None, reduction)


def _log_probabilities(p: Tensor) -> Tensor:
    return F.log(F.clip(p / p.sum(axis=-1, keepdims=True), EPSILON, 1.0 - EPSILON))


def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
    reduction: str = "none",
) -> Tensor:
    """−log p[label].

    Args:
        y_true: integer labels, of y_pred's shape without `axis` (or with length 1 there).
        y_pred: probabilities, or logits with `from_logits`, classes along `axis`.
        ignore_class: label whose entries get loss 0.
        reduction: as in `binary_crossentropy`.

    Raises:
        ValueError: a label lies outside 0 … C−1, or the shapes do not fit.
        TypeError: the labels are not whole numbers, or ignore_class is none.
    """
    if ignore_class is not None and not is_whole(ignore_class):
        raise TypeError(f"Argument `ignore_class` must be a whole number or None. Received: {ignore_class!r}")
    y_pred = _prediction(y_pred)
    logits = _logits(y_pred, "softmax", from_logits)
    output = _to_last(y_pred if logits is None else logits, axis)
    labels = _labels(y_true, output.shape)
    weight = None
    if ignore_class is not None:
        host = labels.numpy() if isinstance(labels, Tensor) else np.asarray(labels)
        valid = host != ignore_class
        labels = np.where(valid, host, 0)
        weight = valid.astype(output.dtype)
    if logits is None:
        name, classes = "sparse_categorical_crossentropy", output.shape[-1]
        ids = integer_array(name, labels, "labels")
        picked = F.one_hot(
            checked_ids(name, current(), ids, "labels", classes, f"y_pred has {classes} classes"), classes
        )
        losses = -(F.cast(picked, output.dtype) * _log_probabilities(output)).sum(axis=-1)
        return _reduced(losses if weight is None else losses * weight, reduction)
    return F.softmax_cross_entropy(output, labels, weight, reduction)


def _labels(y_true: Any, shape: tuple[int, ...]) -> Any:
    """Integer labels that fit predictions of `shape` [..., C], as they came but for a last axis of 1."""
    if not hasattr(y_true, "dtype"):
        y_true = np.asarray(y_true)
    kind = np.dtype(y_true.dtype).kind
    if kind not in "iub":
        host = y_true.numpy() if isinstance(y_true, Tensor) else y_true
        if kind != "f" or not np.all(host == np.rint(host)):
            raise TypeError(
                "sparse_categorical_crossentropy takes integer labels as `y_true`. "
                f"Received: dtype {host.dtype}, shape {tuple(host.shape)}"
            )
        y_true = host.astype(np.int32)
    elif kind == "b":
        y_true = F.cast(y_true, np.int32)
    if len(y_true.shape) == len(shape) and y_true.shape[-1] == 1:
        y_true = y_true.reshape(*y_true.shape[:-1])
    if tuple(y_true.shape) != tuple(shape[:-1]):
        hint = " For one-hot labels use categorical_crossentropy." if tuple(y_true.shape) == tuple(shape) else ""
        raise ValueError(
            "sparse_categorical_crossentropy takes one integer label for each row of `y_pred`. "
            f"Received: y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(shape)}.{hint}"
        )
    return y_true


# ---- the classes -------------------------------------------------------------------------------------------------


class Loss(Settings):
    """Base of all losses: override `call(y_true, y_pred)` to give per-sample losses.

    Args:
        name: shown in logs; the class name in snake_case by default.
        reduction: see `reduce_weighted_values`.
        dtype: type that predictions and targets are cast to; that of the predictions by default.
    """

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        self.name = name or to_snake_case(type(self).__name__)
        self.reduction = _check_reduction(reduction)
        self.dtype = dtype

    def call(self, y_true: Any, y_pred: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must override call(y_true, y_pred).")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The reduced loss: a scalar tensor, or per-sample losses where `reduction` is "none" or None."""
        mask = mask_of(y_pred)
        y_pred = _prediction(y_pred)
        if self.dtype is not None:
            y_pred = F.cast(y_pred, self.dtype)
        if not isinstance(self, LossFunctionWrapper):  # a user's class computes with tensors throughout
            y_true = _target(y_true, y_pred.dtype)
        return reduce_weighted_values(self.call(y_true, y_pred), sample_weight, mask, self.reduction)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name!r} reduction={self.reduction!r}>"


class LossFunctionWrapper(Loss):
    """A loss made of a function `fn(y_true, y_pred, **kwargs)`, Keras's or a user's own."""

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name or getattr(fn, "__name__", None), reduction, dtype)
        self.fn = fn
        self.kwargs = kwargs

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        if sample_weight is None and self.dtype is None and self.fn in _CROSS_ENTROPIES:
            y_pred = _prediction(y_pred)
            if y_pred.mask is None and self.kwargs.get("ignore_class") is None:
                reduction = "mean" if self.reduction in _MEANS else self.reduction or "none"
                return self.fn(y_true, y_pred, **self.kwargs, reduction=reduction)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Tensor) -> Tensor:
        if self.fn not in _FUNCTIONS.values():  # a user's function computes with tensors throughout
            y_true = _target(y_true, y_pred.dtype)
            y_true, y_pred = _same_rank(y_true, y_pred)
        return as_tensor(self.fn(y_true, y_pred, **self.kwargs))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if type(self) is LossFunctionWrapper:
            config["fn"] = self.fn.__name__
        return {**config, **self.kwargs}


class MeanSquaredError(LossFunctionWrapper):
    """Mean squared error; the loss of a Gaussian output."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name="mean_squared_error", dtype=None) -> None:
        super().__init__(mean_squared_error, reduction, name, dtype)


class MeanAbsoluteError(LossFunctionWrapper):
    """Mean absolute error."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name="mean_absolute_error", dtype=None) -> None:
        super().__init__(mean_absolute_error, reduction, name, dtype)


class MeanAbsolutePercentageError(LossFunctionWrapper):
    """Mean absolute percentage error."""

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name="mean_absolute_percentage_error", dtype=None
    ) -> None:
        super().__init__(mean_absolute_percentage_error, reduction, name, dtype)


class MeanSquaredLogarithmicError(LossFunctionWrapper):
    """Mean squared logarithmic error."""

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name="mean_squared_logarithmic_error", dtype=None
    ) -> None:
        super().__init__(mean_squared_logarithmic_error, reduction, name, dtype)


class CosineSimilarity(LossFunctionWrapper):
    """Minus the cosine similarity along `axis`."""

    def __init__(
        self, axis: int = -1, reduction: str | None = "sum_over_batch_size", name="cosine_similarity", dtype=None
    ) -> None:
        super().__init__(cosine_similarity, reduction, name, dtype, axis=axis)


class Huber(LossFunctionWrapper):
    """Huber loss: quadratic up to `delta`, linear beyond."""

    def __init__(
        self, delta: float = 1.0, reduction: str | None = "sum_over_batch_size", name="huber_loss", dtype=None
    ) -> None:
        super().__init__(huber, reduction, name, dtype, delta=delta)


class LogCosh(LossFunctionWrapper):
    """Logarithm of the hyperbolic cosine of the error."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name="log_cosh", dtype=None) -> None:
        super().__init__(log_cosh, reduction, name, dtype)


class Hinge(LossFunctionWrapper):
    """Hinge loss."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name="hinge", dtype=None) -> None:
        super().__init__(hinge, reduction, name, dtype)


class SquaredHinge(LossFunctionWrapper):
    """Squared hinge loss."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name="squared_hinge", dtype=None) -> None:
        super().__init__(squared_hinge, reduction, name, dtype)


class CategoricalHinge(LossFunctionWrapper):
    """Hinge loss over one-hot classes."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name="categorical_hinge", dtype=None) -> None:
        super().__init__(categorical_hinge, reduction, name, dtype)


class KLDivergence(LossFunctionWrapper):
    """Kullback–Leibler divergence."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name="kl_divergence", dtype=None) -> None:
        super().__init__(kl_divergence, reduction, name, dtype)


class Poisson(LossFunctionWrapper):
    """Poisson negative log-likelihood up to a constant."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name="poisson", dtype=None) -> None:
        super().__init__(poisson, reduction, name, dtype)


class BinaryCrossentropy(LossFunctionWrapper):
    """Binary cross-entropy; the loss of a Bernoulli output. See `binary_crossentropy`."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            binary_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalCrossentropy(LossFunctionWrapper):
    """Cross-entropy with one-hot targets; the loss of a multinoulli output. See `categorical_crossentropy`."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(LossFunctionWrapper):
    """Cross-entropy with integer targets. See `sparse_categorical_crossentropy`."""

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            sparse_categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        ignored = self.kwargs["ignore_class"]
        if ignored is None:
            return super().__call__(y_true, y_pred, sample_weight)
        mask = mask_of(y_pred)
        y_pred = _prediction(y_pred)
        if self.dtype is not None:
            y_pred = F.cast(y_pred, self.dtype)
        losses = self.call(y_true, y_pred)
        valid = np.asarray(y_true).reshape(losses.shape) != ignored
        if mask is not None:
            valid &= np.asarray(as_tensor(mask).numpy(), dtype=bool)
        return reduce_weighted_values(losses, sample_weight, valid, self.reduction)


# ---- names -------------------------------------------------------------------------------------------------------

_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    fn.__name__: fn
    for fn in (
        mean_squared_error,
        mean_absolute_error,
        mean_absolute_percentage_error,
        mean_squared_logarithmic_error,
        cosine_similarity,
        huber,
        log_cosh,
        hinge,
        squared_hinge,
        categorical_hinge,
        kl_divergence,
        poisson,
        binary_crossentropy,
        categorical_crossentropy,
        sparse_categorical_crossentropy,
    )
}
_CROSS_ENTROPIES = (binary_crossentropy, categorical_crossentropy, sparse_categorical_crossentropy)
_CLASSES: dict[str, type[Loss]] = {
    cls.__name__: cls
    for cls in (
        MeanSquaredError,
        MeanAbsoluteError,
        MeanAbsolutePercentageError,
        MeanSquaredLogarithmicError,
        CosineSimilarity,
        Huber,
        LogCosh,
        Hinge,
        SquaredHinge,
        CategoricalHinge,
        KLDivergence,
        Poisson,
        BinaryCrossentropy,
        CategoricalCrossentropy,
        SparseCategoricalCrossentropy,
    )
}
_ALIASES: dict[str, Callable[..., Tensor]] = {
    alias: fn
    for short, fn in (
        ("mse", mean_squared_error),
        ("mae", mean_absolute_error),
        ("mape", mean_absolute_percentage_error),
        ("msle", mean_squared_logarithmic_error),
        ("bce", binary_crossentropy),
        ("kld", kl_divergence),
    )
    for alias in (short, short.upper())
}


def serialize(loss: Any) -> Any:
    """A name for a function, `{"class_name", "config"}` for a `Loss`."""
    if isinstance(loss, Loss):
        return {"class_name": type(loss).__name__, "config": loss.get_config()}
    return loss.__name__


def deserialize(name: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The loss that `serialize` described. Raises ValueError for an unknown name."""
    known: dict[str, Any] = {**_FUNCTIONS, **_CLASSES, **_ALIASES, **(custom_objects or {})}
    config = None
    if isinstance(name, dict):
        name, config = name["class_name"], dict(name.get("config", {}))
    if name not in known:
        if name == "LossFunctionWrapper" and config and config.get("fn") in known:
            return LossFunctionWrapper(known[config.pop("fn")], **config)
        raise unknown_name("loss", name, known)
    found: Any = known[name]
    if isinstance(found, type):
        return found.from_config(config or {})  # type: ignore[attr-defined]
    return found


def get(identifier: Any) -> Any:
    """A loss from its name, its configuration, a function, a class or an instance; None stays None.

    Raises:
        ValueError: no loss of that name.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str | dict):
        return deserialize(identifier)
    if isinstance(identifier, type):
        return identifier()
    if callable(identifier):
        return identifier
    raise ValueError(f"Argument `loss` must be a name, a function or a Loss. Received: {identifier!r}")


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("losses", name, list(globals()))
