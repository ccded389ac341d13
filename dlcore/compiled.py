"""What `compile` is given, made ready for the outputs a model has: their losses and metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import losses as losses_module
from . import metrics as metrics_module
from .backends import current
from .metrics import Mean, Metric
from .symbolic import flatten, map_structure
from .tensor import Tensor


def _keyed(structure: Any, names: list[str] | None) -> dict[Any, Any]:
    """The outputs of a model (or what goes with them) by name, or by position where they have no names."""
    if isinstance(structure, dict):
        return structure
    if isinstance(structure, list | tuple):
        if names is not None and len(names) == len(structure):
            return dict(zip(names, structure, strict=True))
        return dict(enumerate(structure))
    return {0 if names is None else names[0]: structure}


def _match(structure: Any, keys: list[Any], names: list[str] | None, argument: str) -> dict[Any, Any]:
    """`structure` by the keys of the outputs. Raises ValueError where it names none of them or not enough."""
    if isinstance(structure, dict):
        unknown = [key for key in structure if key not in keys]
        if unknown:
            raise ValueError(f"Argument `{argument}` names {unknown}, which are not outputs of the model: {keys}")
        return {key: structure.get(key) for key in keys}
    if isinstance(structure, list | tuple):
        if len(structure) != len(keys):
            raise ValueError(
                f"Argument `{argument}` has {len(structure)} entries for a model with {len(keys)} outputs: {keys}"
            )
        return dict(zip(keys, structure, strict=True))
    return dict.fromkeys(keys, structure)


def _kind(y_true: Any, y_pred: Tensor) -> str:
    """What labels and predictions say about the task: "binary", "sparse" or "categorical"."""
    if y_pred.shape and y_pred.shape[-1] == 1:
        return "binary"
    true_shape = np.shape(y_true) if not isinstance(y_true, Tensor) else y_true.shape
    if len(true_shape) < len(y_pred.shape) or (true_shape and true_shape[-1] == 1):
        return "sparse"
    return "categorical"


_CROSS_ENTROPY = {
    "binary": losses_module.binary_crossentropy,
    "sparse": losses_module.sparse_categorical_crossentropy,
    "categorical": losses_module.categorical_crossentropy,
}
_ACCURACY = {
    "binary": metrics_module.BinaryAccuracy,
    "sparse": metrics_module.SparseCategoricalAccuracy,
    "categorical": metrics_module.CategoricalAccuracy,
}


def _by_shape(identifier: Any, names: tuple[str, ...]) -> bool:
    return isinstance(identifier, str) and identifier.lower() in names


def check_losses(loss: Any) -> None:
    for part in flatten(loss) if not _is_config(loss) else [loss]:
        if not _by_shape(part, ("crossentropy", "ce")):
            losses_module.get(part)


def check_metrics(metrics: Any, argument: str) -> None:
    if metrics is None or _is_config(metrics):
        return
    if not isinstance(metrics, list | tuple | dict):
        raise ValueError(f"Argument `{argument}` must be a list, tuple or dict. Received: {metrics!r}")
    for part in flatten(metrics):
        if part is not None and not _by_shape(part, ("accuracy", "acc")):
            metrics_module.get(part)


def _is_config(value: Any) -> bool:
    return isinstance(value, dict) and "class_name" in value


def make_loss(identifier: Any, y_true: Any, y_pred: Tensor) -> losses_module.Loss:
    if _by_shape(identifier, ("crossentropy", "ce")):
        found: Any = _CROSS_ENTROPY[_kind(y_true, y_pred)]
    else:
        found = losses_module.get(identifier)
    if isinstance(found, losses_module.Loss):
        return found
    return losses_module.LossFunctionWrapper(found, name=identifier if isinstance(identifier, str) else None)


def _make_metric(identifier: Any, y_true: Any, y_pred: Tensor) -> Metric:
    if _by_shape(identifier, ("accuracy", "acc")):
        return _ACCURACY[_kind(y_true, y_pred)](name=identifier)
    found = metrics_module.get(identifier)
    if not isinstance(found, Metric):
        found = metrics_module.MeanMetricWrapper(found)
    if isinstance(identifier, str):
        found.name = identifier
    return found


class CompiledLoss:
    """The losses of all outputs and their weighted sum."""

    def __init__(self, loss: Any, weights: Any, names: list[str] | None) -> None:
        self._loss = loss
        self._weights = weights
        self._names = names
        self._terms: list[tuple[Any, losses_module.Loss, float | None, Mean | None]] | None = None
        self._single = False
        self.metrics: list[Mean] = []  # one per output where there are several

    def _build(self, y: Any, y_pred: Any) -> None:
        outputs = _keyed(y_pred, self._names)
        keys = list(outputs)
        config = _is_config(self._loss)
        losses = dict.fromkeys(keys, self._loss) if config else _match(self._loss, keys, self._names, "loss")
        weights = {} if self._weights is None else _match(self._weights, keys, self._names, "loss_weights")
        self._single = isinstance(y_pred, Tensor)
        labels = {keys[0]: y} if self._single and not isinstance(y, dict) else self._labels(y, keys, losses)
        self._terms = []
        wanted = [key for key in keys if losses[key] is not None]
        for key in wanted:
            loss = make_loss(losses[key], labels[key], outputs[key])
            tracker = None
            if len(wanted) > 1:
                name = key if isinstance(key, str) else loss.name
                tracker = Mean(name=f"{name}_loss")
                self.metrics.append(tracker)
            self._terms.append((key, loss, weights.get(key), tracker))

    def _labels(self, y: Any, keys: list[Any], losses: dict[Any, Any]) -> dict[Any, Any]:
        if isinstance(y, list | tuple) and len(y) != len(keys):
            wanted = [key for key in keys if losses[key] is not None]
            if len(y) == len(wanted):
                return dict(zip(wanted, y, strict=True))
        if not isinstance(y, dict | list | tuple) and len(keys) > 1:
            raise ValueError(f"Argument `y` must hold labels for each of the outputs {keys}. Received one array")
        return _match(y, keys, self._names, "y")

    def __call__(self, y: Any, y_pred: Any, sample_weight: Any) -> Tensor | None:
        if y is None:
            raise ValueError("The model was compiled with a loss, but no labels were given: argument `y` is None.")
        if self._terms is None:
            self._build(y, y_pred)
        assert self._terms is not None
        if self._single and len(self._terms) == 1 and not isinstance(y, dict | list | tuple):
            _, loss, weight, _ = self._terms[0]
            value = loss(y, y_pred, sample_weight)
            return value if weight is None else value * weight
        outputs = _keyed(y_pred, self._names)
        keys = list(outputs)
        labels = self._labels(
            y,
            keys,
            {key: loss for key, loss, _, _ in self._terms}
            | dict.fromkeys(set(keys) - {key for key, _, _, _ in self._terms}),
        )
        sample_weights = _match(sample_weight, keys, self._names, "sample_weight")
        total = None
        for key, loss, weight, tracker in self._terms:
            value = loss(labels[key], outputs[key], sample_weights[key])
            if tracker is not None:  # in replays, too
                rows = outputs[key].shape[0]
                current().on_host(lambda loss, tracker=tracker, rows=rows: tracker.update_state(loss, rows), value.data)
            if weight is not None:
                value = value * weight
            total = value if total is None else total + value
        return total


class CompiledMetrics(Metric):
    """The metrics of all outputs, unweighted and weighted."""

    def __init__(self, metrics: Any, weighted: Any, names: list[str] | None) -> None:
        super().__init__(name="compile_metrics")
        self._given = ((metrics, "metrics", False), (weighted, "weighted_metrics", True))
        self._names = names
        self._terms: list[tuple[Any, str, Metric, bool]] | None = None
        self._single = False

    @property
    def metrics(self) -> list[Metric]:
        return [metric for _, _, metric, _ in self._terms or ()]

    def _build(self, y: Any, y_pred: Any) -> None:
        outputs = _keyed(y_pred, self._names)
        keys = list(outputs)
        self._single = len(keys) == 1
        labels = (
            {keys[0]: y}
            if isinstance(y_pred, Tensor) and not isinstance(y, dict)
            else _match(y, keys, self._names, "y")
        )
        self._terms = []
        taken: dict[str, int] = {}
        for given, argument, weighted in self._given:
            if given is None:
                continue
            if self._single:
                per_output = {keys[0]: flatten(given)}
            elif isinstance(given, dict) or any(isinstance(part, list | tuple) for part in given):
                per_output = _match(given, keys, self._names, argument)
            elif len(given) == len(keys):
                per_output = dict(zip(keys, given, strict=True))
            else:
                raise ValueError(
                    f"Argument `{argument}` must be a dict or a list by output for a model with several outputs: "
                    f"{keys}. Received: {given!r}"
                )
            for key, wanted in per_output.items():
                for identifier in wanted if isinstance(wanted, list | tuple) else [wanted]:
                    if identifier is None:
                        continue
                    metric = _make_metric(identifier, labels[key], outputs[key])
                    prefix = "" if self._single or not isinstance(key, str) else f"{key}_"
                    name = f"{prefix}{metric.name}"
                    if name in taken and weighted:
                        name = f"{prefix}weighted_{metric.name}"
                    if name in taken:
                        taken[name] += 1
                        name = f"{name}_{taken[name] - 1}"
                    taken[name] = taken.get(name, 0) + 1
                    self._terms.append((key, name, metric, weighted))

    def update_state(self, y: Any, y_pred: Any, sample_weight: Any = None) -> None:
        if self._terms is None:
            self._build(y, y_pred)
        assert self._terms is not None
        if self._single and isinstance(y_pred, Tensor) and not isinstance(y, dict | list | tuple):
            for _, _, metric, weighted in self._terms:
                metric.update_state(y, y_pred, sample_weight if weighted else None)
            return
        outputs = _keyed(y_pred, self._names)
        keys = list(outputs)
        labels = _match(y, keys, self._names, "y")
        weights = _match(sample_weight, keys, self._names, "sample_weight")
        for key, _, metric, weighted in self._terms:
            metric.update_state(labels[key], outputs[key], weights[key] if weighted else None)

    def result(self) -> dict[str, Any]:
        return {name: metric.result() for _, name, metric, _ in self._terms or ()}

    def reset_state(self) -> None:
        for _, _, metric, _ in self._terms or ():
            metric.reset_state()


# ---- as configurations -------------------------------------------------------------------------------------------


def serialized(structure: Any, module: Any) -> Any:
    def one(leaf: Any) -> Any:
        return leaf if leaf is None or isinstance(leaf, str) else module.serialize(leaf)

    return structure if _is_config(structure) else map_structure(one, structure)


def deserialized(structure: Any, module: Any) -> Any:
    if _is_config(structure):
        return module.deserialize(structure)
    if isinstance(structure, list | tuple):
        return [deserialized(part, module) for part in structure]
    if isinstance(structure, dict):
        return {key: deserialized(part, module) for key, part in structure.items()}
    return structure
