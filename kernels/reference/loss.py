"""Cross-entropies on logits: value and gradient in one call.

Both start from logits, so that the logarithm meets the exponential analytically: log softmax is z − max z − log Σ exp(z
− max z), and the binary loss max(z, 0) − z·t + log(1 + exp(−|z|)). Neither overflows, however large the logits.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def softmax_cross_entropy(
    logits: Array, labels: Array, weight: Array | None, losses: Array, dlogits: Array | None, scale: float
) -> None:
    """See `Backend.softmax_cross_entropy`."""
    if logits.size == 0:
        return
    log_p = _log_softmax(logits)
    rows = np.arange(len(labels))
    losses[...] = -log_p[rows, labels]
    if weight is not None:
        losses *= weight
    if dlogits is not None:
        np.exp(log_p, out=dlogits)
        dlogits[rows, labels] -= 1
        _scale(dlogits, weight, scale)


def softmax_cross_entropy_dense(
    logits: Array, targets: Array, weight: Array | None, losses: Array, dlogits: Array | None, scale: float
) -> None:
    """See `Backend.softmax_cross_entropy_dense`."""
    if logits.size == 0:
        return
    log_p = _log_softmax(logits)
    losses[...] = -(targets * log_p).sum(axis=1)
    if weight is not None:
        losses *= weight
    if dlogits is not None:
        dlogits[...] = np.exp(log_p) * targets.sum(axis=1, keepdims=True) - targets
        _scale(dlogits, weight, scale)


def sigmoid_cross_entropy(
    logits: Array, targets: Array, weight: Array | None, losses: Array, dlogits: Array | None, scale: float
) -> None:
    """See `Backend.sigmoid_cross_entropy`."""
    if logits.size == 0:
        return
    e = np.exp(-np.abs(logits))
    losses[...] = (np.maximum(logits, 0) - logits * targets + np.log1p(e)).mean(axis=1)
    if weight is not None:
        losses *= weight
    if dlogits is not None:
        dlogits[...] = np.where(logits >= 0, 1, e) / (1 + e) - targets
        _scale(dlogits, weight, scale / logits.shape[1])


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def _scale(dlogits: Array, weight: Array | None, scale: float) -> None:
    dlogits *= scale
    if weight is not None:
        dlogits *= weight[:, None]
