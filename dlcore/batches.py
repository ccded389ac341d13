"""From what users give to `fit`, `evaluate` and `predict` to batches: arrays, sequences of batches, generators.

Every source yields tuples `(x,)`, `(x, y)` or `(x, y, sample_weight)` of host arrays, or of nested lists, tuples and
dicts of them. Floating arrays come in the model's dtype.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .checking import is_number
from .random import host_generator
from .symbolic import flatten, map_structure
from .tensor import Tensor


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """`(x, y, sample_weight)` from a batch: a tuple of one to three of these, or x alone. Absent ones are None."""
    if type(data) is tuple and len(data) == 2:  # the usual case, for which a tenth of a microsecond counts
        return data[0], data[1], None
    if isinstance(data, list):
        data = tuple(data)
    if not isinstance(data, tuple):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise ValueError(
            "A batch must be x, (x,), (x, y) or (x, y, sample_weight). "
            f"Received a tuple of {len(data)}: {[type(part).__name__ for part in data]}"
        )
    return (*data, None, None)[:3]  # type: ignore[return-value]


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """A batch as `unpack_x_y_sample_weight` takes it apart; x alone where there are no labels."""
    if y is None:
        return x if not isinstance(x, tuple | list) else (x,)
    return (x, y) if sample_weight is None else (x, y, sample_weight)


class PyDataset:
    """Base of sequences of batches: a subclass gives a whole batch, `(x, y)` or `(x, y, sample_weight)`, for each index
    below its length.

    `fit` needs no base class for that; this one is Keras's. Batches are made one after the other, where they are used.

    Args:
        workers, use_multiprocessing, max_queue_size: taken, and without effect.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    @property
    def num_batches(self) -> int:
        return len(self)

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__, the number of batches")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__, which gives a batch")

    def on_epoch_begin(self) -> None:
        """Before each pass over the batches."""

    def on_epoch_end(self) -> None:
        """After each pass over the batches."""


def _pack(x: Any, y: Any, sample_weight: Any) -> tuple:
    if sample_weight is not None:
        return x, y, sample_weight
    return (x,) if y is None else (x, y)


def to_arrays(structure: Any, dtype: Any, argument: str) -> Any:
    """Host arrays for every leaf, floats in `dtype`; nested lists of plain numbers become one array.

    Raises:
        TypeError: the argument holds something other than real numbers.
    """
    if type(structure) is np.ndarray:
        return _to_array(structure, dtype, argument)
    if structure is None:
        return None
    if isinstance(structure, list | tuple) and not any(hasattr(leaf, "shape") for leaf in flatten(structure)):
        structure = np.asarray(structure)
    return map_structure(lambda leaf: _to_array(leaf, dtype, argument), structure)


def _to_array(leaf: Any, dtype: Any, argument: str) -> Any:
    if leaf is None:
        return None
    array = _host(leaf, argument)
    if array.dtype.kind not in "fiub":
        hint = " Encode string labels as integers or one-hot rows first." if array.dtype.kind in "USO" else ""
        raise TypeError(f"Argument `{argument}` must hold numbers; received dtype {array.dtype}.{hint}")
    return array.astype(dtype) if array.dtype.kind == "f" and array.dtype != dtype else array


def _host(leaf: Any, argument: str) -> np.ndarray:
    """The leaf as an array, whatever its type; of a data frame, columns of different types as floats together."""
    if isinstance(leaf, Tensor):
        return leaf.numpy()
    if not hasattr(leaf, "to_numpy") or not hasattr(leaf, "iloc"):
        return np.asarray(leaf)
    columns = leaf.dtypes.items() if leaf.ndim == 2 else [(leaf.name, leaf.dtype)]
    wrong = [f"{name!r} ({dtype})" for name, dtype in columns if getattr(dtype, "kind", "O") not in "fiub"]
    if wrong:
        raise TypeError(
            f"Argument `{argument}` must hold numbers; received a data frame whose columns {', '.join(wrong)} do not. "
            "Encode them as integers or one-hot columns first."
        )
    array = leaf.to_numpy()
    return array if array.dtype.kind in "fiub" else leaf.astype("float64").to_numpy()


def count_samples(x: Any, y: Any = None, sample_weight: Any = None) -> int:
    """The common length of all arrays.

    Raises:
        ValueError: lengths differ, an array has no first axis, or there are no samples.
    """
    lengths: dict[int, list[str]] = {}
    for name, structure in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        for leaf in flatten(structure):
            if leaf is None:
                continue
            if not leaf.shape:
                raise ValueError(f"Argument `{name}` must hold arrays with a first axis of samples. Received a scalar")
            lengths.setdefault(leaf.shape[0], []).append(f"{name} with {leaf.shape[0]}")
    if not lengths:
        raise ValueError("Argument `x` must hold data. Received: None")
    if len(lengths) > 1:
        found = ", ".join(text for texts in lengths.values() for text in texts)
        raise ValueError(f"All arrays must have the same number of samples. Received: {found}")
    samples = next(iter(lengths))
    if samples == 0:
        raise ValueError("The data set is empty: argument `x` has 0 samples")
    return samples


def class_weights(y: Any, class_weight: dict[int, float]) -> np.ndarray:
    """One weight per sample, by the class in y (integers, or rows whose largest entry tells the class)."""
    if y is None:
        raise ValueError("Argument `class_weight` needs labels; `y` is None")
    if isinstance(y, list | tuple | dict):
        raise ValueError("Argument `class_weight` is only supported for models with a single output.")
    if not isinstance(class_weight, dict) or not all(map(is_number, (*class_weight, *class_weight.values()))):
        raise ValueError(
            f"Argument `class_weight` must map classes to weights, both numbers. Received: {class_weight!r}"
        )
    labels = y.numpy() if isinstance(y, Tensor) else np.asarray(y)
    if labels.ndim > 1:
        labels = labels[..., 0] if labels.shape[-1] == 1 else labels.argmax(axis=-1)
    labels = np.rint(labels).astype(np.int64)
    found, places = np.unique(labels, return_inverse=True)
    weights = np.array([class_weight.get(int(label), 1.0) for label in found], np.float32)
    return weights[places.reshape(labels.shape)]


class Batches:
    """A source of batches that is gone through once per epoch.

    Attributes:
        steps: batches in an epoch, or None where only the data can tell.
        samples: rows in an epoch, or None.
        batch_size: rows in a batch, or None.
    """

    samples: int | None = None
    batch_size: int | None = None

    def __init__(self, steps: int | None, total: int | None) -> None:
        self._limit = steps
        self._iterator: Iterator[tuple] | None = None
        self.steps = steps or total

    def epoch(self) -> Iterator[tuple]:
        """The batches of the next epoch. With a number of steps per epoch, it goes on where the last one ended."""
        if self._limit is None:
            yield from self._pass()
            return
        for step in range(self._limit):
            if self._iterator is None:
                self._iterator = self._pass()
            batch = next(self._iterator, None)
            if batch is None:
                self._iterator = None
                if step == 0:
                    batch = next(self._restart(), None)
                if batch is None:
                    warnings.warn(
                        f"The data ran out after {step} of {self._limit} steps; the epoch ends here.", stacklevel=3
                    )
                    return
            yield batch

    def _restart(self) -> Iterator[tuple]:
        self._iterator = self._pass()
        return self._iterator

    def _pass(self) -> Iterator[tuple]:
        raise NotImplementedError


class ArrayBatches(Batches):
    """Slices of arrays, in order or shuffled anew each epoch; the last may be smaller."""

    def __init__(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int | None,
        shuffle: bool | str,
        steps: int | None,
        generator: Callable[[], np.random.Generator] = host_generator,
    ) -> None:
        samples = count_samples(x, y, sample_weight)
        size = 32 if batch_size is None else batch_size
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(f"Argument `batch_size` must be a positive integer. Received: {batch_size!r}")
        total = -(-samples // int(size))
        super().__init__(steps, total)
        self.batch_size = int(size)
        self.samples = samples if steps is None else min(steps * self.batch_size, samples)
        self._rows = samples
        self._data = _pack(x, y, sample_weight)
        self._plain = all(isinstance(part, np.ndarray) for part in self._data)
        self._shuffle = shuffle
        self._generator = generator

    def _pass(self) -> Iterator[tuple]:
        size, data = self.batch_size or 1, self._data
        starts: Any = range(0, self._rows, size)
        order = None
        if self._shuffle == "batch":
            starts = self._generator().permutation(np.arange(0, self._rows, size))
        elif self._shuffle:
            order = self._generator().permutation(self._rows)
        for start in starts:
            if order is None:
                rows: Any = slice(start, start + size)
                pick = lambda a: None if a is None else a[rows]  # noqa: E731, B023
            else:
                rows = order[start : start + size]
                pick = lambda a: None if a is None else a.take(rows, axis=0)  # noqa: E731, B023
            if self._plain:
                yield tuple([pick(part) for part in data])
            else:
                yield tuple([map_structure(pick, part) for part in data])


class SourceBatches(Batches):
    """Batches that a sequence (`len`, `[]`), a loader (`iter` starts anew) or a generator gives."""

    def __init__(
        self,
        source: Any,
        shuffle: Any,
        steps: int | None,
        dtype: Any,
        class_weight: Any,
        generator: Callable[[], np.random.Generator] = host_generator,
    ) -> None:
        self._source = source
        self._indexed = hasattr(source, "__getitem__") and hasattr(source, "__len__")
        self._once = not self._indexed and iter(source) is source
        total = len(source) if hasattr(source, "__len__") else None
        if total == 0:
            raise ValueError("The data set is empty: argument `x` has 0 batches")
        super().__init__(steps, total)
        self._shuffle = bool(shuffle) and self._indexed
        self._dtype = dtype
        self._class_weight = class_weight
        self._generator = generator

    def _pass(self) -> Iterator[tuple]:
        if hasattr(self._source, "on_epoch_begin"):
            self._source.on_epoch_begin()
        if self._once:
            raw: Any = self._source
        elif self._indexed:
            order: Any = range(len(self._source))
            if self._shuffle:
                order = self._generator().permutation(len(self._source))
            raw = (self._source[int(i)] for i in order)
        else:
            raw = iter(self._source)
        for batch in raw:
            yield self._ready(batch)
        if hasattr(self._source, "on_epoch_end"):
            self._source.on_epoch_end()

    def _ready(self, batch: Any) -> tuple:
        x, y, sample_weight = unpack_x_y_sample_weight(batch)
        x, y = to_arrays(x, self._dtype, "x"), to_arrays(y, self._dtype, "y")
        sample_weight = to_arrays(sample_weight, self._dtype, "sample_weight")
        if self._class_weight is not None:
            if sample_weight is not None:
                raise ValueError("Arguments `class_weight` and `sample_weight` cannot be given at the same time.")
            sample_weight = class_weights(y, self._class_weight)
        count_samples(x, y, sample_weight)
        return _pack(x, y, sample_weight)

    def peek(self) -> tuple | None:
        """The first batch, without using it up."""
        if self._once and self._iterator is None:
            first = next(self._source, None)
            if first is None:
                return None
            source = self._source
            self._source = _chain(first, source)
            return self._ready(first)
        return self._ready(self._source[0]) if self._indexed else next(self._pass(), None)


def _chain(first: Any, rest: Iterator) -> Iterator:
    yield first
    yield from rest


def make_batches(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None = None,
    shuffle: bool | str = False,
    steps: int | None = None,
    class_weight: dict[int, float] | None = None,
    dtype: Any = np.float32,
    generator: Callable[[], np.random.Generator] = host_generator,
) -> Batches:
    """Batches from whatever a user gave as `x`: arrays (then `y` goes beside), or something that yields batches.

    `generator` gives what draws the orders, and is asked before each epoch.

    Raises:
        ValueError: lengths differ, no samples, or arguments that exclude each other.
        TypeError: not numbers, or of a type that gives no batches.
    """
    if isinstance(x, np.ndarray | list | tuple | dict | Tensor) or hasattr(x, "__array__"):
        x, y = to_arrays(x, dtype, "x"), to_arrays(y, dtype, "y")
        sample_weight = to_arrays(sample_weight, dtype, "sample_weight")
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError("Arguments `class_weight` and `sample_weight` cannot be given at the same time.")
            sample_weight = class_weights(y, class_weight)
        return ArrayBatches(x, y, sample_weight, batch_size, shuffle, steps, generator)
    if x is None:
        raise ValueError("Argument `x` must hold data. Received: None")
    if not hasattr(x, "__iter__") and not (hasattr(x, "__getitem__") and hasattr(x, "__len__")):
        raise TypeError(f"Argument `x` must hold arrays or yield batches. Received: {type(x).__name__}")
    if y is not None or sample_weight is not None:
        raise ValueError("With batches as `x`, labels and weights come in its batches: leave `y` and `sample_weight`.")
    return SourceBatches(x, shuffle, steps, dtype, class_weight, generator)


def split_validation(x: Any, y: Any, sample_weight: Any, fraction: float) -> tuple[tuple, tuple]:
    """The leading part of arrays for training and the last `fraction` of them for validation.

    Raises:
        ValueError: not arrays, a fraction outside 0 … 1, or too few samples for two parts.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"Argument `validation_split` must lie between 0 and 1. Received: {fraction}")
    if not (isinstance(x, np.ndarray | list | tuple | dict | Tensor) or hasattr(x, "__array__")):
        raise ValueError(f"Argument `validation_split` needs arrays. Received: x of type {type(x).__name__}")
    data = [
        map_structure(lambda leaf: leaf.numpy() if isinstance(leaf, Tensor) else leaf, part)
        if part is None or not isinstance(part, list | tuple) or any(hasattr(a, "shape") for a in flatten(part))
        else np.asarray(part)
        for part in (x, y, sample_weight)
    ]
    data = [
        map_structure(lambda leaf: None if leaf is None else _host(leaf, name), part)  # noqa: B023  (called at once)
        for name, part in zip(("x", "y", "sample_weight"), data, strict=True)
    ]
    samples = count_samples(*data)
    at = int(samples * (1.0 - fraction))
    if at in (0, samples):
        raise ValueError(f"{samples} samples are too few for validation_split={fraction}: one part would be empty.")

    def part(rows: slice) -> tuple:
        return tuple(map_structure(lambda leaf: None if leaf is None else leaf[rows], p) for p in data)

    return part(slice(0, at)), part(slice(at, None))
