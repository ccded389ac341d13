"""What the architectures share: checks of their arguments, and the layers that end a model without its head."""

from __future__ import annotations

from typing import Any

from ..layers import GlobalAveragePooling2D, GlobalMaxPooling2D
from ..layers.base import Layer

Images = tuple[int | None, int | None, int]


def check_images(input_shape: Any, least: int, weights: Any) -> tuple[Any, ...]:
    """input_shape as a tuple (height, width, channels).

    Raises:
        ValueError: it is none, an image is smaller than least × least, or weights are asked for by name.
    """
    shape = tuple(input_shape)
    if len(shape) != 3 or not shape[2] or any(n is not None and n < least for n in shape[:2]):
        raise ValueError(f"input_shape must be (height, width, channels), at least {least} × {least}, got {shape}")
    if weights is not None:
        raise ValueError(
            f"weights must be None, got {weights!r}: no trained weights come with the library; build the model and "
            "read a file with load_weights()"
        )
    return shape


def feature_pooling(pooling: str | None, include_top: bool) -> list[Layer]:
    """The layers after the last features of a model without its head: none, or one that pools each channel.

    Raises:
        ValueError: pooling is not None, "avg" or "max", or is given with the head.
    """
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"pooling must be None, 'avg' or 'max', got {pooling!r}")
    if pooling is not None and include_top:
        raise ValueError(f"pooling={pooling!r} goes with include_top=False: the head has its own way from features")
    if pooling is None:
        return []
    return [GlobalAveragePooling2D(name="avg_pool") if pooling == "avg" else GlobalMaxPooling2D(name="max_pool")]
