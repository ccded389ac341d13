"""Sequences of different lengths in one array."""

from __future__ import annotations

from typing import Any

import numpy as np


def pad_sequences(
    sequences: Any,
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float = 0.0,
) -> np.ndarray:
    """Sequences of different lengths as one array, as in Keras: the short ones filled up, the long ones cut.

    `Masking(value)`, or `Embedding(..., mask_zero=True)` for words numbered from 1, tells recurrent layers to skip what
    was filled in.

    Args:
        sequences: lists of numbers, or arrays `[T, ...]` that differ in T alone.
        maxlen: T of the result; that of the longest sequence if None.
        dtype: of the result; of float sequences it must be given.
        padding, truncating: "pre" or "post": which end is filled up, which is cut.
        value: what is filled in.

    Returns:
        `[N, maxlen, ...]`.

    Raises:
        ValueError: steps of different shapes, an argument that is none of these, or numbers that dtype cannot hold.
    """
    for name, end in (("padding", padding), ("truncating", truncating)):
        if end not in ("pre", "post"):
            raise ValueError(f"{name} must be 'pre' or 'post', got {end!r}")
    arrays = [np.asarray(sequence) for sequence in sequences]
    if any(a.ndim < 1 for a in arrays):
        raise ValueError("sequences must hold lists of numbers or arrays [T, ...], got a number")
    steps = {a.shape[1:] for a in arrays if len(a)}
    if len(steps) > 1:
        raise ValueError(f"sequences must have steps of one shape, got {sorted(steps)}")
    length = max((len(a) for a in arrays), default=0) if maxlen is None else maxlen
    padded = np.full((len(arrays), length, *(steps.pop() if steps else ())), value, dtype)
    for row, a in zip(padded, arrays, strict=True):
        if a.size and not np.can_cast(a.dtype, padded.dtype, "same_kind"):
            raise ValueError(f"dtype {padded.dtype} cannot hold sequences of {a.dtype}: give dtype='float32'")
        part = a[max(len(a) - length, 0) :] if truncating == "pre" else a[:length]
        if len(part):
            row[length - len(part) if padding == "pre" else 0 :][: len(part)] = part
    return padded
