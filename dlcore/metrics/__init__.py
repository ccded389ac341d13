"""Metrics with Keras's names: what training reports beside the loss.

A metric gathers state over the batches: `update_state(y_true, y_pred, sample_weight=None)`, `result()` and
`reset_state()`; calling it does the first two. Results are Python floats (arrays where there are several). Sums are
kept on the host in double precision; what needs the whole prediction (an arg-max, a loss per sample) is computed by the
active engine, and values on a device are brought to the host only when `result` is asked for.
"""

from __future__ import annotations

from typing import Any

from .. import losses
from ..losses import (  # Keras has them here, too
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
from ..naming import to_snake_case, unknown_name
from .accuracies import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from .base import Metric
from .classification import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    Hinge,
    KLDivergence,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from .confusion import (
    AUC,
    F1Score,
    FalseNegatives,
    FalsePositives,
    FBetaScore,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from .reduction import Mean, MeanMetricWrapper, Sum
from .regression import (
    CosineSimilarity,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    R2Score,
    RootMeanSquaredError,
)

__all__ = [
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
    "CategoricalHinge", "CosineSimilarity", "F1Score", "FBetaScore", "FalseNegatives", "FalsePositives", "Hinge",
    "KLDivergence", "LogCoshError", "Mean", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanMetricWrapper",
    "MeanSquaredError", "MeanSquaredLogarithmicError", "Metric", "Poisson", "Precision", "R2Score", "Recall",
    "RootMeanSquaredError", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy", "SquaredHinge", "Sum", "TopKCategoricalAccuracy", "TrueNegatives", "TruePositives",
    "accuracy", "binary_accuracy", "binary_crossentropy", "categorical_accuracy", "categorical_crossentropy",
    "categorical_hinge", "deserialize", "get", "hinge", "huber", "kl_divergence", "log_cosh", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error", "poisson", "serialize",
    "sparse_categorical_accuracy", "sparse_categorical_crossentropy", "sparse_top_k_categorical_accuracy",
    "squared_hinge", "top_k_categorical_accuracy",
]  # fmt: skip

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
    from ..absent import absent

    raise absent("metrics", name, __all__)
