"""Cutting arrays into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..checking import is_whole


class BatchLoader:
    """Batches of one array, or of several in step, along their first axis; a fresh order each time it is iterated.

    The order of epoch e follows from `seed` and e alone, so that a run can be repeated, or taken up again by setting
    `epoch`. The last batch may be smaller than the others. Batches in the original order are views.

    Args:
        arrays: one array, or a sequence of arrays of equal length.
        batch_size: rows in a batch.
        shuffle: a new order each epoch.
        seed: where the orders come from; None draws one from the library's seed (`dlcore.random.set_seed`).
        drop_last: leave out a last batch that is not full.

    Yields a tuple of arrays (an array alone, where `arrays` is one).

    Raises:
        ValueError: no rows, lengths that differ, or a batch_size below 1.
    """

    def __init__(
        self,
        arrays: Any,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
    ) -> None:
        self._single = not isinstance(arrays, (tuple, list))
        self.arrays: Sequence[np.ndarray] = [np.asarray(a) for a in ([arrays] if self._single else arrays)]
        if not self.arrays or any(a.ndim == 0 for a in self.arrays):
            raise ValueError("arrays must be one array or a sequence of arrays, each with a first axis to cut along")
        lengths = [len(a) for a in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(f"arrays must have the same length, got lengths {lengths}")
        if not lengths[0]:
            raise ValueError("arrays must have at least one row, got an empty data set")
        if not is_whole(batch_size, 1):
            raise ValueError(f"batch_size must be a positive whole number, got {batch_size!r}")
        if seed is None and shuffle:
            from ..random import host_generator

            seed = int(host_generator().integers(1 << 32))
        self.rows = lengths[0]
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.seed = seed or 0
        self.drop_last = drop_last
        self.epoch = 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.rows // self.batch_size if self.drop_last else -(-self.rows // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """The rows in the order in which `epoch` gives them."""
        if not self.shuffle:
            return np.arange(self.rows)
        return np.random.default_rng([self.seed, epoch]).permutation(self.rows)

    def __iter__(self) -> Iterator[Any]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        order = self.order(epoch) if self.shuffle else None
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            rows: Any = slice(start, start + self.batch_size)
            if order is not None:
                rows = order[rows]
            batch = tuple(a[rows] for a in self.arrays)
            yield batch[0] if self._single else batch
