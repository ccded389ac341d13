"""Data in two parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..random import host_generator


def split_dataset(
    dataset: Any,
    left_size: float | int | None = None,
    right_size: float | int | None = None,
    shuffle: bool = False,
    seed: int | None = None,
) -> tuple[Any, Any]:
    """Arrays in two parts, of which the second is the rest, as in Keras; each nested as the whole is.

    Args:
        dataset: an array, or arrays of one length in a list, tuple or dict.
        left_size, right_size: a share between 0 and 1, or a number of samples; one of them may be None.
        shuffle: whether samples go to the parts in an order drawn once, from `seed` or from the library's.

    Raises:
        ValueError: no size, sizes that leave a part empty, or arrays of different lengths.
    """
    from ..batches import count_samples
    from ..symbolic import map_structure

    arrays = map_structure(np.asarray, dataset)
    total = count_samples(arrays)
    left, right = (_count(name, size, total) for name, size in (("left_size", left_size), ("right_size", right_size)))
    if left is None and right is None:
        raise ValueError("left_size or right_size must be given, got None for both")
    left = total - right if left is None else left  # type: ignore[operator]
    right = total - left if right is None else right
    if left < 1 or right < 1 or left + right > total:
        raise ValueError(
            f"left_size and right_size must leave samples for both parts of {total}, got {left} and {right}"
        )
    order = np.arange(total)
    if shuffle:
        order = (host_generator() if seed is None else np.random.default_rng(seed)).permutation(total)

    def part(rows: np.ndarray) -> Any:
        return map_structure(lambda a: a[rows], arrays)

    return part(order[:left]), part(order[left : left + right])


def _count(name: str, size: Any, total: int) -> int | None:
    if size is None:
        return None
    if (
        isinstance(size, bool)
        or not isinstance(size, (int, float))
        or size < 0
        or (isinstance(size, float) and size > 1)
    ):
        raise ValueError(f"{name} must be a share between 0 and 1 or a number of samples, got {size!r}")
    return round(size * total) if isinstance(size, float) else size
