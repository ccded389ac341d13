"""Losses that some files end with."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import functional as F
from .graph import Node, Value, moved_last


def _likelihood(n: Node, x: Any, dtype: np.dtype) -> Value:
    """−log p of each target, weighted and reduced; x holds log p, the classes along axis 1."""
    classes = x.shape[1]
    n.refuse(classes is None, "an unknown number of classes")
    targets = n.value(1).to()
    ignored = n.attribute("ignore_index")
    counts = F.one_hot(targets, classes, dtype.name)  # zeros for a target that is no class
    if ignored is not None:
        counts = counts * F.expand_dims(F.cast(F.not_equal(targets, ignored), dtype.name), -1)
    if n.given(2):
        counts = counts * n.value(2).to()
    counts = Value(counts, moved_last(1, len(x.shape))).to()
    losses = F.neg(F.sum(x * counts, axis=1))
    reduction = n.attribute("reduction", "mean")
    if reduction == "none":
        return Value(losses)
    total = F.sum(losses)
    return Value(total if reduction == "sum" else total / F.sum(counts))


def _negative_log_likelihood(n: Node) -> Value:
    x = n.real()
    return _likelihood(n, x.to(), x.dtype)


def _softmax_cross_entropy(n: Node) -> list[Value]:
    x = n.real()
    log = F.log_softmax(x.to(), axis=1)
    return [_likelihood(n, log, x.dtype), Value(log)]


OPERATORS = {
    "NegativeLogLikelihoodLoss": _negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": _softmax_cross_entropy,
}
