"""Windows of a long series, in batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checking import is_whole
from ..random import host_generator


class Windows:
    """Batches of windows of a series, to be given to `fit`: a sequence of `(x, y)`, or of `x` without targets.

    Windows are cut out as they are asked for; the series is kept once.
    """

    def __init__(self, data: Any, targets: Any, starts: np.ndarray, steps: np.ndarray, batch_size: int | None) -> None:
        self._data, self._targets = data, targets
        self._starts, self._steps = starts, steps
        self._size = batch_size

    def __len__(self) -> int:
        return len(self._starts) if self._size is None else -(-len(self._starts) // self._size)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"index must lie within the {len(self)} batches, got {index}")
        one = self._size is None
        starts = self._starts[index] if one else self._starts[index * self._size : (index + 1) * self._size]  # type: ignore[operator]
        x = self._data[np.asarray(starts)[..., None] + self._steps]
        return x if self._targets is None else (x, self._targets[starts])


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> Windows:
    """Windows of equal length from a series, as in Keras; an object to give to `fit` in place of a tf.data.Dataset.

    Args:
        data: `[T, ...]`, one entry per time step.
        targets: `[T, ...]`, of which each window gets the entry where it starts; or None.
        sequence_length: steps of a window.
        sequence_stride: steps from the start of one window to that of the next.
        sampling_rate: steps from one entry of a window to the next.
        batch_size: windows in a batch; None for single windows.
        shuffle: whether windows come in an order drawn once, from `seed` or from the library's.
        start_index, end_index: the part of the series to take windows from.

    Returns:
        Batches of `x` `[batch_size, sequence_length, ...]`, with `y` `[batch_size, ...]` where there are targets.

    Raises:
        ValueError: an argument is out of range, or the series is too short for one window.
    """
    data = np.asarray(data)
    targets = None if targets is None else np.asarray(targets)
    for name, value in (
        ("sequence_length", sequence_length),
        ("sequence_stride", sequence_stride),
        ("sampling_rate", sampling_rate),
        ("batch_size", 1 if batch_size is None else batch_size),
    ):
        if not is_whole(value, 1):
            raise ValueError(f"{name} must be a positive whole number, got {value!r}")
    begin, end = start_index or 0, len(data) if end_index is None else end_index
    if not 0 <= begin < end <= len(data):
        raise ValueError(f"start_index and end_index must lie in 0 … {len(data)} in this order, got {begin} and {end}")
    count = end - begin - (sequence_length - 1) * sampling_rate
    if targets is not None:
        targets = targets[begin:]
        count = min(count, len(targets))
    starts = np.arange(0, max(count, 0), sequence_stride)
    if not len(starts):
        raise ValueError(
            f"the series has no window of {sequence_length} steps at a sampling_rate of {sampling_rate} that has a "
            f"target: there are {end - begin} steps"
        )
    if shuffle:
        starts = (host_generator() if seed is None else np.random.default_rng(seed)).permutation(starts)
    return Windows(data[begin:end], targets, starts, np.arange(sequence_length) * sampling_rate, batch_size)
