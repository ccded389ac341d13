"""Random numbers: one seed gives the same weights, shuffles and masks on every engine.

Two sources. `host_generator` draws what is drawn once, on the host: initial weights, shuffles. Masks and noise are
drawn on the engine by counter-based Philox (see `random` in `dlcore.backends.interface`): a stream is a seed and an
offset into it, so every engine gives the same bits and nothing depends on the order in which others draw.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .backends.registry import current

if TYPE_CHECKING:
    import numpy as np

    from .tensor import Tensor

__all__ = ["SeedGenerator", "dropout", "host_generator", "normal", "seeded", "set_seed", "uniform"]

_BLOCK = 4  # numbers per block of the counter
_MASK = (1 << 64) - 1

_seed: int | None = None
_streams = 0
_host: np.random.Generator | None = None


def set_seed(seed: int) -> None:
    """Start all random numbers of the process anew from seed, a non-negative int.

    The host generator and the streams of generators made from now on follow from it; a SeedGenerator that was made
    before goes on where it was.

    Raises:
        TypeError: seed is not an int.
        ValueError: seed is negative.
    """
    global _seed, _streams, _host
    _seed, _streams, _host = _checked(seed), 0, None
    _fills.forget()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within it, random numbers follow from seed as after `set_seed`; afterwards they go on where they were before.

    They are the whole process's: do not let another thread draw meanwhile.
    """
    global _seed, _streams, _host
    before, fills = (_seed, _streams, _host), _fills.keep()
    set_seed(seed)
    try:
        yield
    finally:
        _seed, _streams, _host = before
        _fills.restore(fills)


def host_generator() -> np.random.Generator:
    """The generator of everything drawn on the host."""
    global _host
    if _host is None:
        from numpy.random import default_rng

        _host = default_rng(_root())
    return _host


class SeedGenerator:
    """A stream of random numbers: a seed, and how many blocks of four numbers were used.

    Args:
        seed: the stream; by default the next of those that follow from `set_seed`.
        name: as in Keras.
    """

    __slots__ = ("_offset", "_seed", "initial_seed", "name")

    def __init__(self, seed: int | None = None, name: str | None = None) -> None:
        self.initial_seed = seed
        self.name = "seed_generator" if name is None else name
        self._seed = _next_stream() if seed is None else _checked(seed) & _MASK
        self._offset = 0

    def next(self, count: int = 0) -> tuple[int, int]:
        """(seed, offset) for a draw of count numbers, and advance past them (to a whole block of four)."""
        offset = self._offset
        self._offset = (offset + -(-count // _BLOCK)) & _MASK
        return current().note_draw(self, (self._seed, offset), count)

    @property
    def state(self) -> tuple[int, int]:
        """(seed, offset): assign it to go on from there."""
        return self._seed, self._offset

    @state.setter
    def state(self, value: tuple[int, int]) -> None:
        self._seed, self._offset = int(value[0]) & _MASK, int(value[1]) & _MASK

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.initial_seed, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        return cls(**config)


class _Fills(SeedGenerator):
    """The stream of draws that were given no seed. One object throughout, since recorded steps hold on to it: what
    `set_seed` changes is the stream, which it takes at its first draw."""

    __slots__ = ("_started",)
    _started: bool

    def __init__(self) -> None:
        self.initial_seed, self.name = None, "fills"
        self.restore(((0, 0), False))

    def next(self, count: int = 0) -> tuple[int, int]:
        if not self._started:
            self.state, self._started = (_next_stream(), 0), True
        return super().next(count)

    def forget(self) -> None:
        """Take another stream at the next draw."""
        self._started = False

    def keep(self) -> tuple[tuple[int, int], bool]:
        """Where it is, for `restore`."""
        return self.state, self._started

    def restore(self, kept: tuple[tuple[int, int], bool]) -> None:
        self.state, self._started = kept


_fills = _Fills()


def normal(
    shape: tuple[int, ...],
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: Any = "float32",
    seed: int | SeedGenerator | None = None,
) -> Tensor:
    """A Tensor of normally distributed numbers, drawn on the engine. An int seed gives the same numbers every time."""
    y = _empty(shape, dtype)
    current().random_normal(y, float(mean), float(stddev), *_draw(seed, y.size))
    return _tensor(y, shape)


def uniform(
    shape: tuple[int, ...],
    minval: float = 0.0,
    maxval: float = 1.0,
    dtype: Any = "float32",
    seed: int | SeedGenerator | None = None,
) -> Tensor:
    """A Tensor of numbers uniform in [minval, maxval), drawn on the engine. Seed as in `normal`."""
    y = _empty(shape, dtype)
    current().random_uniform(y, float(minval), float(maxval), *_draw(seed, y.size))
    return _tensor(y, shape)


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: int | SeedGenerator | None = None) -> Tensor:
    """Zero each element with probability rate and divide the others by 1 − rate; see `functional.dropout`.

    Args:
        noise_shape: the shape of the mask, which is broadcast against inputs.
        seed: as in `normal`.
    """
    from math import prod

    from .functional import dropout as drop
    from .tensor import as_tensor

    inputs = as_tensor(inputs)
    lengths = inputs.shape if noise_shape is None else noise_shape
    return drop(
        inputs, rate, *_draw(seed, prod(n or m for n, m in zip(lengths, inputs.shape, strict=True))), noise_shape
    )


def _empty(shape: tuple[int, ...], dtype: Any) -> Any:
    import numpy as np

    wanted = np.dtype(dtype)
    if wanted.name not in ("float32", "float64"):
        raise TypeError(f"dtype must be float32 or float64, got {wanted.name}")
    return current().empty(tuple(shape) or (1,), wanted)


def _tensor(y: Any, shape: tuple[int, ...]) -> Tensor:
    from .tensor import wrap

    return wrap(y.reshape(tuple(shape)))


def _draw(seed: int | SeedGenerator | None, count: int) -> tuple[int, int]:
    if isinstance(seed, SeedGenerator):
        return seed.next(count)
    if seed is not None:
        return _checked(seed) & _MASK, 0
    return _fills.next(count)


def _root() -> int:
    global _seed
    if _seed is None:
        _seed = int.from_bytes(os.urandom(8), "little")
    return _seed


def _next_stream() -> int:
    """Seeds that look unrelated, from the root seed and a count: SplitMix64 (Steele et al. 2014)."""
    global _streams
    _streams += 1
    z = (_root() + _streams * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _checked(seed: Any) -> int:
    import operator

    try:
        value = operator.index(seed)
    except TypeError:
        raise TypeError(f"seed must be an int, got {type(seed).__name__}") from None
    if value < 0:
        raise ValueError(f"seed must not be negative, got {value}")
    return value


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("random", name, __all__)
