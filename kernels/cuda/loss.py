"""Cross-entropies on logits: one launch for losses and gradient."""

from __future__ import annotations

from typing import Any

from .activation import team
from .launch import Kernel

Array = Any

_softmax_cross_entropy = Kernel(
    "loss",
    "softmax_cross_entropy",
    "const REAL* logits, const int* labels, const REAL* weight, REAL* losses, REAL* dlogits, REAL scale, int columns",
)
_DENSE = (
    "const REAL* logits, const REAL* targets, const REAL* weight, REAL* losses, REAL* dlogits, REAL scale, int columns"
)
_softmax_cross_entropy_dense = Kernel("loss", "softmax_cross_entropy_dense", _DENSE)
_sigmoid_cross_entropy = Kernel("loss", "sigmoid_cross_entropy", _DENSE)


def softmax_cross_entropy(
    logits: Array, labels: Array, weight: Array | None, losses: Array, dlogits: Array | None, scale: float
) -> None:
    """See `Backend.softmax_cross_entropy`."""
    _launch(_softmax_cross_entropy, logits, labels, weight, losses, dlogits, scale)


def softmax_cross_entropy_dense(
    logits: Array, targets: Array, weight: Array | None, losses: Array, dlogits: Array | None, scale: float
) -> None:
    """See `Backend.softmax_cross_entropy_dense`."""
    _launch(_softmax_cross_entropy_dense, logits, targets, weight, losses, dlogits, scale)


def sigmoid_cross_entropy(
    logits: Array, targets: Array, weight: Array | None, losses: Array, dlogits: Array | None, scale: float
) -> None:
    """See `Backend.sigmoid_cross_entropy`."""
    _launch(_sigmoid_cross_entropy, logits, targets, weight, losses, dlogits, scale)


def _launch(kernel: Kernel, logits: Array, *arguments: Any) -> None:
    rows, columns = logits.shape
    if columns:
        kernel.blocks(rows, team(columns))(logits, *arguments, columns)
