"""1,797 real handwritten digits, in the package: no network needed. Source and licence: DIGITS.txt beside this file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

Split = tuple[np.ndarray, np.ndarray]


def load_data(image_size: tuple[int, int] = (8, 8)) -> tuple[Split, Split]:
    """The UCI optical handwritten digits (Alpaydin & Kaynak 1998), a fixed fifth of them held out.

    Of each digit, the 3rd, 8th, 13th … image is held out: the digits have the same share in both parts, and what is
    held out is spread over the whole file and so over its 13 writers. Accuracy is for these hands, not unknown ones.

    Args:
        image_size: (height, width) to resize the 8 × 8 originals to, bilinearly.

    Returns:
        (x_train, y_train), (x_test, y_test): images float32 `[1438, H, W, 1]` and `[359, H, W, 1]` in 0 … 1, ink high;
        labels int64 `[1438]` and `[359]` in 0 … 9.

    Raises:
        ValueError: image_size is not two positive whole numbers.
    """
    height, width = _checked_size(image_size)
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        pixels, labels = file["x"], file["y"].astype(np.int64)
    test = np.zeros(len(labels), bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[2::5]] = True
    images = resize(pixels.astype(np.float32) / 16, height, width)[..., None]
    return (images[~test], labels[~test]), (images[test], labels[test])


def resize(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation between pixel centres, edges held. images `[N, H, W]`; gives `[N, height, width]`."""
    return _interpolate(_interpolate(images, 1, height), 2, width)


def _interpolate(images: np.ndarray, axis: int, size: int) -> np.ndarray:
    old = images.shape[axis]
    if size == old:
        return images
    centre = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    low = np.minimum(centre.astype(np.intp), max(old - 2, 0))
    weight = (centre - low).astype(images.dtype).reshape((-1,) + (1,) * (images.ndim - 1 - axis))
    high = np.minimum(low + 1, old - 1)
    return images.take(low, axis) * (1 - weight) + images.take(high, axis) * weight


def _checked_size(image_size: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = (int(n) for n in image_size if int(n) == n and n > 0)
    except (TypeError, ValueError):
        raise ValueError(f"image_size must be two positive whole numbers (height, width), got {image_size!r}") from None
    return height, width
