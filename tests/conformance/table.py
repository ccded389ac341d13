"""The table, and what its families build their cases with."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import cycle
from typing import Any

import numpy as np

from dlcore.backends.interface import PRIMITIVES, signature

Array = Any
Arguments = dict[str, Any]
Rng = np.random.Generator


@dataclass(frozen=True)
class Out:
    """An output that the kernel must fill; `dtype` None means the real dtype of the run."""

    shape: tuple[int, ...]
    dtype: Any = None


@dataclass(frozen=True)
class InOut:
    """An array that the kernel reads and changes: a state, or a gradient that is added to."""

    start: np.ndarray


@dataclass(frozen=True)
class View:
    """A strided view of an array; where it is written to, the rest of `base` must keep its bits."""

    base: np.ndarray
    view: Callable[[Array], Array]
    written: bool = False


@dataclass(frozen=True)
class Case:
    """One situation of one primitive.

    Attributes:
        primitive: its name.
        label: what is special, unique within the primitive.
        build: the arguments by name, from a seeded generator: float64 arrays (cast to the dtype under test), integer
            and bool arrays (kept), `Out`, `InOut`, `View`, None and attributes.
        in_place: output -> the input whose array it shares.
        floor: least scale that errors are relative to.
        tolerance: replaces TOLERANCE of a dtype.
        exact: real outputs must be equal to the last bit.
        same_zeros: real outputs must be zero exactly where the reference is.
        defined: output -> which of its elements are defined, from the arguments; the others need only be finite.
    """

    primitive: str
    label: str
    build: Callable[[Rng], Arguments]
    in_place: dict[str, str] = field(default_factory=dict)
    floor: float = 0.0
    tolerance: dict[np.dtype, float] = field(default_factory=dict)
    exact: bool = False
    same_zeros: bool = False
    defined: dict[str, Callable[[Arguments], np.ndarray]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.primitive}-{self.label}"

    def arguments(self, dtype: np.dtype) -> Arguments:
        """The case's arguments with every real array rounded to `dtype`."""
        made = self.build(np.random.default_rng(zlib.crc32(str(self).encode())))
        names = list(signature(self.primitive).parameters)
        return {name: _round(made[name], dtype) for name in names if name in made}


def _round(value: Any, dtype: np.dtype) -> Any:
    if isinstance(value, InOut):
        return InOut(_round(value.start, dtype))
    if isinstance(value, View):
        return View(_round(value.base, dtype), value.view, value.written)
    if isinstance(value, np.ndarray | np.generic):  # arithmetic on arrays without dimension gives scalars
        value = np.asarray(value, order="C")
        return value.astype(dtype) if value.dtype == np.float64 else value
    return value


CASES: list[Case] = []


# ---- what the families build their cases with -----------------------------------------------------------------------


def _add(primitive: str, label: str, build: Callable[[Rng], Arguments], **options: Any) -> None:
    CASES.append(Case(primitive, label, build, **options))


def _label(**parts: Any) -> str:
    return ",".join(f"{k}={'x'.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in parts.items())


def _n(rng: Rng, *shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape))


def _maybe(condition: Any, value: Any) -> Any:
    return value if condition else None


def _gradient(rng: Rng, accumulate: bool, *shape: int) -> Out | InOut:
    return InOut(_n(rng, *shape)) if accumulate else Out(shape)


def _switch(values: tuple[Any, ...]) -> Iterator[Any]:
    return cycle(values)


def _ties(rng: Rng, *shape: int) -> np.ndarray:
    """Few distinct values, so that many are equal."""
    return rng.integers(-1, 2, shape).astype(np.float64)


def _special(rng: Rng, *shape: int) -> np.ndarray:
    """Infinities, mostly negative, and a few NaN among small integers."""
    x = _ties(rng, *shape)
    draw = rng.random(shape)
    x[draw < 0.5] = -np.inf
    x[draw > 0.97] = np.inf
    x[(draw > 0.5) & (draw < 0.53)] = np.nan
    return x


def _kernel(primitive: str) -> Callable[..., None]:
    return getattr(import_module(f"dlcore.kernels.reference.{PRIMITIVES[primitive]}"), primitive)
