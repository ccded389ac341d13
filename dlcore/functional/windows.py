"""Where windows fall on an image: strides, padding, dilation and the sizes that follow."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .arguments import pair

Padding = tuple[int, int, int, int]  # top, bottom, left, right


def padding_of(
    name: str, padding: Any, image: tuple[int, int], extent: tuple[int, int], stride: tuple[int, int]
) -> Padding:
    """ "valid", "same" (as in TensorFlow: ⌈n / stride⌉ windows, an odd pixel goes to the end) or four numbers."""
    if isinstance(padding, str):
        kind = padding.lower()
        if kind == "valid":
            return 0, 0, 0, 0
        if kind == "same":
            total = [
                max((-(-n // s) - 1) * s + e - n, 0) if n else 0 for n, e, s in zip(image, extent, stride, strict=True)
            ]
            return total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2
    elif (
        isinstance(padding, (tuple, list))
        and len(padding) == 4
        and all(isinstance(p, (int, np.integer)) and p >= 0 for p in padding)
    ):
        return tuple(int(p) for p in padding)  # type: ignore[return-value]
    raise ValueError(
        f"{name}: padding must be 'valid', 'same' or (top, bottom, left, right), none negative, got {padding!r}"
    )


@lru_cache(maxsize=4096)
def windows(
    name: str, image: tuple[int, int], size: Any, strides: Any, padding: Any, dilation: Any
) -> tuple[tuple[int, int], tuple[int, int], Padding, tuple[int, int], tuple[int, int]]:
    """size, stride, padding, dilation as tuples, and how many windows fit in height and width.

    Raises:
        ValueError: an argument is malformed, or the window is larger than the padded image.
    """
    size = pair(name, "w" if name.startswith("conv") else "pool_size", size)
    stride = pair(name, "strides", strides)
    rate = pair(name, "dilation", dilation)
    extent = rate[0] * (size[0] - 1) + 1, rate[1] * (size[1] - 1) + 1
    pad = padding_of(name, padding, image, extent, stride)
    padded = image[0] + pad[0] + pad[1], image[1] + pad[2] + pad[3]
    if extent[0] > padded[0] or extent[1] > padded[1]:
        if min(image) == 0:
            raise ValueError(f"{name}: x must have at least one pixel, got height {image[0]} and width {image[1]}")
        dilated = f" (dilation {rate[0]}×{rate[1]})" if rate != (1, 1) else ""
        raise ValueError(
            f"{name}: the window {extent[0]}×{extent[1]}{dilated} is larger than the padded image "
            f"{padded[0]}×{padded[1]} (image {image[0]}×{image[1]}, padding {pad})"
        )
    count = (padded[0] - extent[0]) // stride[0] + 1, (padded[1] - extent[1]) // stride[1] + 1
    return size, stride, pad, rate, count
