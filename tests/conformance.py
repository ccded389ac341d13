"""The conformance table: what any backend must compute, as data.

`CASES` holds one entry per situation that a primitive must handle; `check(backend, case)` runs one on a backend and
raises AssertionError with the primitive, the case and what went wrong. An engine of your own is tested by

    for case in CASES:
        check(MyBackend(), case)

What is checked, in float32 and float64, with arrays aligned to 64 bytes and again one element off:

* Real outputs lie within the case's tolerance of the reference kernel run in float64 on the same (rounded) inputs. The
  error is relative to the largest magnitude in that output (not element by element: sums cancel), or to the case's
  `floor` where that is larger. Infinities and NaNs must stand where the reference has them.
* Integer and bool outputs, dropout masks and uniform random bits are equal to the last bit.
* Every element of an output is written: outputs hold NaN (or a sentinel) before the call.
* Inputs keep their bits, and so does the memory in front of and behind every array, which holds NaN so that a value
  read from there shows too.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import cycle
from typing import Any

import numpy as np

from dlcore.backends.interface import (
    ACTIVATIONS,
    BINARY_OPS,
    COMPARE_OPS,
    FUSED_ACTIVATIONS,
    PRIMITIVES,
    REDUCE_OPS,
    UNARY_OPS,
    Backend,
    signature,
)

Array = Any
Arguments = dict[str, Any]
Rng = np.random.Generator

TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-11}
_GUARD = 67  # elements before and behind each array


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


CASES: list[Case] = []


# ---- the runner -----------------------------------------------------------------------------------------------------


def check(
    backend: Backend,
    case: Case,
    dtypes: tuple[Any, ...] = (np.float32, np.float64),
    shifts: tuple[int | None, ...] = (0, 1),
) -> None:
    """Run a case on a backend in every dtype, aligned and not; AssertionError says what is wrong.

    shifts: places of the arrays, in elements off 64 bytes. None gives each array an allocation of exactly its size, so
    that AddressSanitizer sees every access outside it.
    """
    for dtype in map(np.dtype, dtypes):
        arguments = case.arguments(dtype)
        expected = _reference(case, arguments)
        for shift in shifts:
            where = f"{case} on {backend.name}, {dtype}, {'aligned' if not shift else 'one element off alignment'}"
            _run(backend, case, dtype, arguments, expected, shift, where)


def _round(value: Any, dtype: np.dtype) -> Any:
    if isinstance(value, InOut):
        return InOut(_round(value.start, dtype))
    if isinstance(value, View):
        return View(_round(value.base, dtype), value.view, value.written)
    if isinstance(value, np.ndarray | np.generic):  # arithmetic on arrays without dimension gives scalars
        value = np.asarray(value, order="C")
        return value.astype(dtype) if value.dtype == np.float64 else value
    return value


def _reference(case: Case, arguments: Arguments) -> dict[str, np.ndarray]:
    """Every written array after the reference kernel has run in float64."""
    bound: list[Any] = []
    written: dict[str, np.ndarray] = {}
    for name, value in arguments.items():
        array, argument = None, value
        if isinstance(value, Out):
            array = argument = np.zeros(value.shape, value.dtype or np.float64)
        elif isinstance(value, InOut):
            array = argument = _double(value.start, copy=True)
        elif isinstance(value, View):
            array = _double(value.base, copy=True)
            argument = value.view(array)
            array = array if value.written else None
        elif isinstance(value, np.ndarray):
            argument = _double(value)
        bound.append(argument)
        if array is not None:
            written[name] = array
    kernel = getattr(import_module(f"dlcore.kernels.reference.{PRIMITIVES[case.primitive]}"), case.primitive)
    kernel(*bound)
    return written


def _double(array: np.ndarray, copy: bool = False) -> np.ndarray:
    return array.astype(np.float64 if array.dtype.kind == "f" else array.dtype, copy=copy)


def outputs(backend: Backend, case: Case, dtype: Any) -> dict[str, np.ndarray]:
    """All arrays of a call after it, by argument."""
    arguments = case.arguments(np.dtype(dtype))
    placed = _call(backend, case, np.dtype(dtype), arguments, 0, str(case))
    return {name: place.read()[1] for name, place in placed.items()}


def _run(
    backend: Backend,
    case: Case,
    dtype: np.dtype,
    arguments: Arguments,
    expected: dict[str, np.ndarray],
    shift: int | None,
    where: str,
) -> None:
    placed = _call(backend, case, dtype, arguments, shift, where)
    for name, place in placed.items():
        start, now, intact = place.read()
        assert intact, f"{where}: wrote outside {name}"
        if name not in expected and name not in case.in_place.values():
            assert start.tobytes() == now.tobytes(), f"{where}: changed its input {name}"
    for name, want in expected.items():
        _, got, _ = placed[case.in_place.get(name, name)].read()
        defined = case.defined[name](arguments) if name in case.defined else None
        _compare(case, got, want, defined, dtype, f"{where}: {name}")


def _call(
    backend: Backend, case: Case, dtype: np.dtype, arguments: Arguments, shift: int | None, where: str
) -> dict[str, _Placed]:
    """The arrays of a call, by argument."""
    placed: dict[str, _Placed] = {}
    bound = {}
    for name, value in arguments.items():
        if isinstance(value, Out) and name in case.in_place:
            bound[name] = bound[case.in_place[name]]
        elif isinstance(value, Out):
            start = np.empty(value.shape, value.dtype or dtype)
            start[...] = _sentinel(start.dtype, shift)
            placed[name] = _Placed(backend, start, shift)
            bound[name] = placed[name].array
        elif isinstance(value, InOut):
            placed[name] = _Placed(backend, value.start, shift)
            bound[name] = placed[name].array
        elif isinstance(value, View):
            placed[name] = _Placed(backend, value.base, shift)
            bound[name] = value.view(placed[name].array)
        elif isinstance(value, np.ndarray):
            placed[name] = _Placed(backend, value, shift)
            bound[name] = placed[name].array
        else:
            bound[name] = value
    result = getattr(backend, case.primitive)(*bound.values())
    backend.synchronize()
    assert result is None, f"{where}: returned {type(result).__name__}; a primitive returns nothing"
    return placed


def _compare(
    case: Case, got: np.ndarray, want: np.ndarray, defined: np.ndarray | None, dtype: np.dtype, where: str
) -> None:
    if defined is not None:
        defined = np.broadcast_to(defined, want.shape)
        assert np.isfinite(got).all(), f"{where} holds NaN or infinity where its value is not defined"
        got, want = got[defined], want[defined]
    if want.dtype.kind != "f":
        wrong = np.argwhere(got != want)
        assert not len(wrong), f"{where}{wrong[0].tolist()} = {got[tuple(wrong[0])]}, not {want[tuple(wrong[0])]}"
        return
    if not want.size:
        return
    with np.errstate(over="ignore"):
        rounded = want.astype(dtype)  # what overflows in the dtype under test is an infinity there
    finite = np.isfinite(rounded)
    odd = ~finite & ~((got == rounded) | (np.isnan(got) & np.isnan(rounded))) | finite & ~np.isfinite(got)
    if odd.any():
        first = tuple(np.argwhere(odd)[0])
        raise AssertionError(f"{where}{list(map(int, first))} = {got[first]}, not {want[first]} ({odd.sum()} such)")
    if case.exact:
        assert (got[finite] == want[finite]).all(), f"{where} is not equal to the last bit"
    if case.same_zeros:
        assert ((got == 0) == (want == 0)).all(), f"{where} has zeros in other places"
    if not finite.any():
        return
    error = np.where(finite, np.abs(np.where(finite, got, 0).astype(np.float64) - np.where(finite, want, 0)), 0)
    scale = max(np.abs(want[finite]).max(), case.floor)
    allowed = case.tolerance.get(dtype, TOLERANCE[dtype]) * scale
    if error.max() > allowed:
        first = np.unravel_index(error.argmax(), error.shape)
        raise AssertionError(
            f"{where}{list(map(int, first))} = {got[first]!r}, not {want[first]!r}: "
            f"error {error.max():.3g}, allowed {allowed:.3g} (scale {scale:.3g})"
        )


def _sentinel(dtype: np.dtype, shift: int | None) -> Any:
    """What an output holds before the call. Bool has but two values: each is tried once."""
    return {"f": np.nan, "b": bool(shift)}.get(dtype.kind, 0x5A)


class _Placed:
    """An array in the engine's memory between two guards, its first element `shift` elements off 64 bytes."""

    def __init__(self, backend: Backend, start: np.ndarray, shift: int | None) -> None:
        self._backend = backend
        self._start = start
        if shift is None:
            self._first, self._before = 0, start.ravel()
            self._buffer = backend.asarray(self._before.copy())
            self.array = self._buffer.reshape(start.shape)
            return
        itemsize = start.dtype.itemsize
        host = np.empty(2 * _GUARD + start.size + 64 // itemsize + 1, start.dtype)
        host[...] = _sentinel(start.dtype, 0)
        self._buffer = backend.asarray(host)
        aligned = -((_address(self._buffer) // itemsize) + _GUARD) % (64 // itemsize)
        self._first = _GUARD + aligned + shift
        host[self._first : self._first + start.size] = start.ravel()
        self._before = host.copy()
        if self._backend.to_numpy(self._buffer) is not host:
            address = _address(self._buffer)
            self._buffer = backend.asarray(host)
            assert (_address(self._buffer) - address) % 64 == 0, "the engine's allocator is not aligned to 64 bytes"
        self.array = self._buffer[self._first : self._first + start.size].reshape(start.shape)

    def read(self) -> tuple[np.ndarray, np.ndarray, bool]:
        """The array before the call, the array now, and whether the guards hold."""
        now = np.asarray(self._backend.to_numpy(self._buffer))
        last = self._first + self._start.size
        intact = (
            now[: self._first].tobytes() == self._before[: self._first].tobytes()
            and now[last:].tobytes() == self._before[last:].tobytes()
        )
        return self._start, now[self._first : last].reshape(self._start.shape), intact


def _address(array: Array) -> int:
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return interface["data"][0]


# ---- the table ------------------------------------------------------------------------------------------------------


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


def _linear_cases() -> None:
    sizes = (1, 2, 3, 5, 6, 7, 13, 16, 17, 31, 33, 64, 65, 100, 129)
    shapes = [(s, sizes[(4 * i + 3) % 15], sizes[(7 * i + 5) % 15]) for i, s in enumerate(sizes)]
    shapes += [(s, s, s) for s in sizes[::2]] + [(6, 1, 16), (6, 16, 16), (12, 32, 17), (1, 300, 10), (97, 1, 1)]
    shapes += [(1, 530, 520), (2, 520, 530), (3, 2100, 1090), (16, 1040, 1030), (20, 1040, 1030)]  # large weights
    shapes += [(31, 250, 420), (47, 530, 130)]  # and such that few rows make not worth packing
    shapes += [(300, 520, 130), (0, 5, 7), (5, 0, 7), (5, 7, 0), (0, 0, 0), (257, 9, 3), (3, 9, 257), (4, 1030, 4)]
    shapes += [(2000, 65, 1), (300, 7, 1), (600, 530, 1)]  # a single column
    kinds = _switch(FUSED_ACTIVATIONS)
    for number, (m, i, o) in enumerate(shapes):
        kind, bias, accumulate = next(kinds), number % 3 != 0, number % 2 == 1
        label = _label(m=m, i=i, o=o)

        def forward(rng: Rng, m=m, i=i, o=o, kind=kind, bias=bias) -> Arguments:
            scale = 1 / np.sqrt(max(i, 1))
            return {
                "x": _n(rng, m, i), "w": _n(rng, i, o) * scale, "b": _maybe(bias, _n(rng, o)), "y": Out((m, o)),
                "activation": kind,
            }  # fmt: skip

        def backward_input(rng: Rng, m=m, i=i, o=o) -> Arguments:
            return {"dz": _n(rng, m, o), "w": _n(rng, i, o), "dx": Out((m, i))}

        def backward_weight(rng: Rng, m=m, i=i, o=o, bias=bias, accumulate=accumulate) -> Arguments:
            return {
                "x": _n(rng, m, i), "dz": _n(rng, m, o), "dw": _gradient(rng, accumulate, i, o),
                "db": _maybe(bias, _gradient(rng, accumulate, o)), "accumulate": accumulate,
            }  # fmt: skip

        _add("linear", f"{label},{kind},bias={bias}", forward)
        _add("linear_backward_input", label, backward_input)
        _add("linear_backward_weight", f"{label},bias={bias},accumulate={accumulate}", backward_weight)

    def default(rng: Rng) -> Arguments:
        return {"x": _n(rng, 5, 4), "dz": _n(rng, 5, 3), "dw": Out((4, 3)), "db": Out((3,))}

    _add("linear_backward_weight", "accumulate left out", default)

    batches = ((1, 5, 7, 3), (3, 6, 16, 16), (7, 1, 13, 1), (2, 33, 17, 65), (5, 16, 64, 2), (0, 3, 4, 5), (3, 4, 0, 2))
    for b, m, k, n in (*batches, (2, 0, 3, 4), (1, 130, 70, 31)):
        for ta, tb in ((False, False), (True, False), (False, True), (True, True)):

            def product(rng: Rng, b=b, m=m, k=k, n=n, ta=ta, tb=tb) -> Arguments:
                return {
                    "a": _n(rng, b, *((k, m) if ta else (m, k))), "b": _n(rng, b, *((n, k) if tb else (k, n))),
                    "y": Out((b, m, n)), "transpose_a": ta, "transpose_b": tb,
                }  # fmt: skip

            _add("matmul", _label(b=b, m=m, k=k, n=n, ta=ta, tb=tb), product)


# N, H, W, C, K, kernel, stride, padding, dilation, groups
_CONVOLUTIONS = (
    (2, 5, 5, 1, 1, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (2, 8, 8, 3, 8, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (1, 7, 9, 4, 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (3, 11, 6, 6, 16, (5, 5), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (2, 28, 28, 1, 6, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 1),
    (2, 14, 14, 6, 16, (5, 5), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (1, 9, 9, 8, 8, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (2, 7, 7, 16, 17, (1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1),
    (2, 6, 5, 17, 24, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (2, 6, 7, 24, 32, (3, 3), (2, 2), (0, 1, 0, 1), (1, 1), 1),
    (1, 12, 12, 32, 64, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (1, 10, 10, 64, 32, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (1, 6, 6, 64, 64, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (2, 13, 5, 3, 4, (3, 2), (1, 2), (2, 0, 1, 3), (1, 1), 1),
    (2, 5, 13, 4, 3, (2, 3), (3, 1), (0, 2, 3, 0), (1, 1), 1),
    (1, 12, 11, 3, 5, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 1),
    (2, 15, 9, 2, 7, (3, 2), (2, 1), (3, 1, 0, 2), (3, 2), 1),
    (1, 16, 16, 3, 16, (7, 7), (2, 2), (3, 3, 3, 3), (1, 1), 1),
    (1, 23, 23, 3, 8, (11, 11), (4, 4), (0, 0, 0, 0), (1, 1), 1),
    (2, 3, 3, 5, 4, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (2, 3, 4, 5, 4, (3, 4), (5, 5), (0, 0, 0, 0), (1, 1), 1),
    (2, 1, 17, 3, 4, (1, 3), (1, 1), (0, 0, 1, 1), (1, 1), 1),
    (2, 17, 1, 3, 4, (3, 1), (2, 1), (1, 1, 0, 0), (1, 1), 1),
    (1, 1, 1, 1, 1, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (1, 1, 1, 3, 2, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (2, 4, 4, 2, 3, (2, 2), (3, 3), (0, 0, 0, 0), (1, 1), 1),
    (1, 6, 6, 2, 3, (2, 2), (1, 1), (4, 4, 4, 4), (1, 1), 1),
    (2, 7, 8, 4, 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 2),
    (1, 9, 7, 6, 9, (3, 2), (2, 1), (1, 0, 0, 1), (1, 1), 3),
    (2, 6, 6, 32, 32, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 4),
    (1, 5, 5, 16, 32, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 8),
    (2, 9, 9, 8, 8, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 8),
    (2, 9, 8, 17, 17, (3, 3), (2, 2), (0, 1, 0, 1), (1, 1), 17),
    (1, 8, 8, 3, 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 3),
    (1, 12, 9, 4, 12, (5, 3), (1, 2), (2, 2, 0, 0), (2, 1), 4),
    (1, 7, 7, 33, 33, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 33),
    (0, 6, 6, 3, 4, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (0, 6, 6, 4, 4, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 4),
    (1, 40, 37, 3, 8, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (5, 4, 4, 16, 8, (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), 1),
    (2, 19, 13, 8, 24, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (1, 1, 130, 16, 16, (1, 5), (1, 1), (0, 0, 4, 0), (1, 1), 1),
    (2, 14, 14, 64, 96, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (1, 33, 30, 32, 40, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (3, 16, 15, 50, 33, (3, 3), (1, 1), (2, 0, 1, 2), (1, 1), 1),
    (1, 14, 13, 300, 200, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (2, 6, 7, 17, 18, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (3, 4, 9, 16, 20, (3, 3), (1, 1), (2, 1, 0, 2), (1, 1), 1),
    (32, 7, 6, 3, 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (32, 8, 7, 6, 16, (5, 5), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (32, 8, 10, 6, 16, (5, 5), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (48, 22, 18, 7, 13, (5, 5), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (48, 5, 6, 11, 5, (3, 2), (1, 1), (1, 2, 0, 1), (1, 1), 1),
    (40, 2, 2, 64, 48, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (150, 2, 2, 33, 20, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (3, 19, 14, 40, 70, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
    (5, 33, 30, 20, 24, (3, 3), (2, 2), (0, 1, 0, 1), (1, 1), 1),
    (1, 12, 15, 70, 300, (3, 3), (2, 2), (0, 0, 2, 2), (1, 1), 1),
    (2, 15, 13, 24, 36, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 1),
    (1, 27, 26, 50, 48, (5, 5), (1, 1), (0, 3, 1, 2), (1, 1), 1),
    (2, 7, 6, 5, 5, (1, 1), (2, 2), (1, 1, 1, 1), (1, 1), 5),
    (2, 6, 5, 0, 4, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (2, 6, 5, 3, 0, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (2, 6, 5, 0, 40, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (2, 7, 8, 24, 0, (3, 3), (2, 2), (0, 1, 0, 1), (1, 1), 1),
    (32, 7, 6, 0, 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (32, 7, 6, 3, 0, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 1),
    (2, 0, 6, 3, 4, (3, 3), (1, 1), (2, 2, 1, 1), (1, 1), 1),
)  # fmt: skip


def _conv_cases() -> None:
    kinds = _switch(FUSED_ACTIVATIONS)
    for number, (n, h, w, c, k, kernel, stride, padding, dilation, groups) in enumerate(_CONVOLUTIONS):
        oh = (h + padding[0] + padding[1] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
        ow = (w + padding[2] + padding[3] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
        x, y, filters = (n, h, w, c), (n, oh, ow, k), (*kernel, c // groups, k)
        geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        kind, bias, accumulate = next(kinds), number % 3 != 1, number % 2 == 1
        label = _label(x=x, k=k, w=kernel, s=stride, p=padding, d=dilation, g=groups)

        def forward(rng: Rng, x=x, y=y, filters=filters, geometry=geometry, kind=kind, bias=bias) -> Arguments:
            scale = 1 / np.sqrt(max(math.prod(filters[:3]), 1))
            return {
                "x": _n(rng, *x), "w": _n(rng, *filters) * scale, "b": _maybe(bias, _n(rng, y[3])), "y": Out(y),
                **geometry, "activation": kind,
            }  # fmt: skip

        def backward_input(rng: Rng, x=x, y=y, filters=filters, geometry=geometry) -> Arguments:
            return {"dz": _n(rng, *y), "w": _n(rng, *filters), "dx": Out(x), **geometry}

        def backward_weight(
            rng: Rng, x=x, y=y, filters=filters, geometry=geometry, bias=bias, accumulate=accumulate
        ) -> Arguments:
            return {
                "x": _n(rng, *x), "dz": _n(rng, *y), "dw": _gradient(rng, accumulate, *filters),
                "db": _maybe(bias, _gradient(rng, accumulate, y[3])), **geometry, "accumulate": accumulate,
            }  # fmt: skip

        _add("conv2d", f"{label},{kind},bias={bias}", forward)
        _add("conv2d_backward_input", label, backward_input)
        _add("conv2d_backward_weight", f"{label},bias={bias},accumulate={accumulate}", backward_weight)


# x, size, stride, padding
_POOLS = (
    ((2, 6, 6, 3), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((2, 7, 5, 16), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((2, 7, 5, 17), (2, 2), (2, 2), (0, 1, 0, 1)),
    ((1, 9, 11, 4), (3, 3), (2, 2), (0, 0, 0, 0)),
    ((1, 9, 10, 33), (3, 3), (2, 2), (0, 0, 0, 1)),
    ((2, 8, 8, 8), (3, 3), (1, 1), (1, 1, 1, 1)),
    ((1, 12, 7, 1), (3, 2), (1, 2), (1, 0, 0, 1)),
    ((1, 5, 6, 5), (2, 3), (3, 1), (0, 0, 2, 2)),
    ((2, 4, 4, 64), (4, 4), (4, 4), (0, 0, 0, 0)),
    ((1, 20, 18, 2), (17, 16), (1, 1), (0, 0, 0, 0)),
    ((1, 20, 20, 3), (16, 16), (2, 3), (3, 4, 5, 6)),
    ((1, 21, 19, 3), (17, 17), (2, 1), (8, 8, 8, 8)),
    ((3, 1, 9, 2), (1, 3), (1, 3), (0, 0, 0, 0)),
    ((2, 3, 3, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((2, 5, 5, 6), (1, 1), (2, 3), (0, 0, 0, 0)),
    ((2, 7, 7, 4), (2, 2), (4, 3), (1, 1, 1, 0)),
    ((0, 6, 6, 3), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((2, 28, 28, 6), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((1, 1, 1, 1), (3, 3), (1, 1), (1, 1, 1, 1)),
)  # fmt: skip


def _pool_cases() -> None:
    for number, (x, size, stride, padding) in enumerate(_POOLS):
        oh = (x[1] + padding[0] + padding[1] - size[0]) // stride[0] + 1
        ow = (x[2] + padding[2] + padding[3] - size[1]) // stride[1] + 1
        y = (x[0], oh, ow, x[3])
        index_dtype = np.uint8 if size[0] * size[1] <= 256 else np.int32
        geometry = {"size": size, "stride": stride, "padding": padding}
        label = _label(x=x, w=size, s=stride, p=padding)

        def maximum(rng: Rng, x=x, y=y, geometry=geometry, dtype=index_dtype, index=True, made=_n) -> Arguments:
            return {"x": made(rng, *x), "y": Out(y), "index": _maybe(index, Out(y, dtype)), **geometry}

        def maximum_backward(rng: Rng, x=x, y=y, geometry=geometry, dtype=index_dtype) -> Arguments:
            index = np.empty(y, dtype)
            _kernel("max_pool2d")(_ties(rng, *x), np.empty(y), index, *geometry.values())
            return {"dy": _n(rng, *y), "index": index, "dx": Out(x), **geometry}

        def average(rng: Rng, x=x, y=y, geometry=geometry) -> Arguments:
            return {"x": _n(rng, *x), "y": Out(y), **geometry}

        def average_backward(rng: Rng, x=x, y=y, geometry=geometry) -> Arguments:
            return {"dy": _n(rng, *y), "dx": Out(x), **geometry}

        def ties(rng: Rng, build=maximum) -> Arguments:
            return build(rng, made=_ties)

        def special(rng: Rng, build=maximum, index=bool(number % 2)) -> Arguments:
            return build(rng, made=_special, index=index)

        def no_index(rng: Rng, build=maximum) -> Arguments:
            return build(rng, index=False)

        _add("max_pool2d", label, maximum)
        _add("max_pool2d", f"{label},no index", no_index)
        _add("max_pool2d", f"{label},ties", ties)
        _add("max_pool2d", f"{label},NaN and infinities", special)
        _add("max_pool2d_backward", label, maximum_backward)
        _add("avg_pool2d", label, average)
        _add("avg_pool2d_backward", label, average_backward)

    for n, s, c in ((2, 49, 16), (1, 1, 1), (3, 7, 5), (2, 100, 33), (4, 1, 8), (0, 4, 3), (1, 1000, 3), (2, 9, 1)):
        label = _label(n=n, s=s, c=c)
        _add("global_avg_pool", label, lambda rng, n=n, s=s, c=c: {"x": _n(rng, n, s, c), "y": Out((n, c))})
        _add("global_avg_pool_backward", label, lambda rng, n=n, s=s, c=c: {"dy": _n(rng, n, c), "dx": Out((n, s, c))})
        for made in (_n, _ties, _special):
            for index in (True, False):

                def maximum(rng: Rng, n=n, s=s, c=c, made=made, index=index) -> Arguments:
                    return {"x": made(rng, n, s, c), "y": Out((n, c)), "index": _maybe(index, Out((n, c), np.int32))}

                _add("global_max_pool", f"{label},{made.__name__},index={index}", maximum)

        def maximum_backward(rng: Rng, n=n, s=s, c=c) -> Arguments:
            index = rng.integers(0, s, (n, c), np.int32)
            return {"dy": _n(rng, n, c), "index": index, "dx": Out((n, s, c))}

        _add("global_max_pool_backward", label, maximum_backward)


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


def _norm_cases() -> None:
    kinds = _switch(FUSED_ACTIVATIONS)
    shapes = ((1, 1), (1, 5), (2, 3), (7, 1), (5, 17), (16, 16), (33, 8), (100, 6), (64, 65), (1000, 3), (130, 33))
    for number, (r, c) in enumerate((*shapes, (5, 0))):
        kind, scaled, shifted, accumulate = next(kinds), number % 3 != 1, number % 3 != 2, number % 2 == 1
        label = _label(r=r, c=c, gamma=scaled, beta=shifted)

        def training(rng: Rng, r=r, c=c, kind=kind, scaled=scaled, shifted=shifted, offset=1.0) -> Arguments:
            return {
                "x": _n(rng, r, c) * 2 + offset, "gamma": _maybe(scaled, _n(rng, c)),
                "beta": _maybe(shifted, _n(rng, c)), "running_mean": InOut(_n(rng, c)),
                "running_var": InOut(_n(rng, c) ** 2), "y": Out((r, c)), "mean": Out((c,)), "inv_std": Out((c,)),
                "momentum": 0.9, "eps": 1e-3, "activation": kind,
            }  # fmt: skip

        def inference(rng: Rng, r=r, c=c, kind=kind, scaled=scaled, shifted=shifted) -> Arguments:
            return {
                "x": _n(rng, r, c), "gamma": _maybe(scaled, _n(rng, c)), "beta": _maybe(shifted, _n(rng, c)),
                "running_mean": _n(rng, c), "running_var": _n(rng, c) ** 2, "y": Out((r, c)), "eps": 1e-3,
                "activation": kind,
            }  # fmt: skip

        def backward(
            rng: Rng, r=r, c=c, scaled=scaled, accumulate=accumulate, axis=0, wanted=("dx", "dgamma", "dbeta")
        ) -> Arguments:
            x, count = _n(rng, r, c) * 2 + 1, max((r, c)[axis], 1)
            mean = x.sum(axis=axis, keepdims=True) / count
            return {
                "dz" if axis == 0 else "dy": _n(rng, r, c), "x": x, "gamma": _maybe(scaled, _n(rng, c)),
                "mean": mean.reshape(-1), "inv_std": 1 / np.sqrt(((x - mean) ** 2).sum(axis=axis) / count + 1e-3),
                "dx": _maybe("dx" in wanted, Out((r, c))),
                "dgamma": _maybe("dgamma" in wanted, _gradient(rng, accumulate, c)),
                "dbeta": _maybe("dbeta" in wanted, _gradient(rng, accumulate, c)), "accumulate": accumulate,
            }  # fmt: skip

        def layer(rng: Rng, r=r, c=c, scaled=scaled, shifted=shifted, offset=1.0) -> Arguments:
            return {
                "x": _n(rng, r, c) * 2 + offset, "gamma": _maybe(scaled, _n(rng, c)),
                "beta": _maybe(shifted, _n(rng, c)), "y": Out((r, c)), "mean": Out((r,)), "inv_std": Out((r,)),
                "eps": 1e-3,
            }  # fmt: skip

        def layer_backward(rng: Rng, build=backward, wanted=("dx", "dgamma", "dbeta")) -> Arguments:
            return build(rng, axis=1, wanted=wanted)

        def only_dx(rng: Rng, build=backward) -> Arguments:
            return build(rng, wanted=("dx",))

        def no_dx(rng: Rng, build=backward) -> Arguments:
            return build(rng, wanted=("dgamma", "dbeta"))

        def layer_only_dx(rng: Rng, build=layer_backward) -> Arguments:
            return build(rng, wanted=("dx",))

        def layer_no_dx(rng: Rng, build=layer_backward) -> Arguments:
            return build(rng, wanted=("dgamma", "dbeta"))

        # With one or two values per statistic the gradient is all cancellation: errors are relative to its terms.
        floor = 50.0 if r == 1 else 1.0
        row_floor = 50.0 if c == 1 else 1.0
        _add("batchnorm", f"{label},{kind}", training, floor=1.0)
        _add("batchnorm", f"{label},{kind},in place", training, floor=1.0, in_place={"y": "x"})
        _add("batchnorm_inference", f"{label},{kind}", inference)
        _add("batchnorm_inference", f"{label},{kind},in place", inference, in_place={"y": "x"})
        _add("batchnorm_backward", f"{label},accumulate={accumulate}", backward, floor=floor)
        _add("batchnorm_backward", f"{label},in place", backward, floor=floor, in_place={"dx": "dz"})
        _add("layernorm", label, layer, floor=1.0)
        _add("layernorm_backward", f"{label},accumulate={accumulate}", layer_backward, floor=row_floor)
        if number % 4 == 0:
            _add("batchnorm_backward", f"{label},only dx", only_dx, floor=floor)
            _add("batchnorm_backward", f"{label},no dx", no_dx, floor=floor)
            _add("layernorm_backward", f"{label},only dx", layer_only_dx, floor=row_floor)
            _add("layernorm_backward", f"{label},no dx", layer_no_dx, floor=row_floor)
        if number in (8, 10):
            # The values themselves carry rounding errors of 2e4·2⁻²⁴ against a deviation of 2: only the variance, and
            # so everything but a shift of that size, can be right.
            def far(rng: Rng, build=training) -> Arguments:
                return build(rng, offset=2e4)

            def layer_far(rng: Rng, build=layer) -> Arguments:
                return build(rng, offset=2e4)

            loose = {np.dtype(np.float32): 2e-3, np.dtype(np.float64): 1e-10}
            _add("batchnorm", f"{label},mean 10,000 times the deviation", far, tolerance=loose)
            _add("layernorm", f"{label},mean 10,000 times the deviation", layer_far, tolerance=loose)

    def empty(rng: Rng) -> Arguments:
        return {
            "x": _n(rng, 0, 3), "gamma": _n(rng, 3), "beta": _n(rng, 3), "running_mean": _n(rng, 3),
            "running_var": _n(rng, 3) ** 2, "y": Out((0, 3)), "eps": 1e-3, "activation": "relu",
        }  # fmt: skip

    def layer_empty(rng: Rng) -> Arguments:
        return {
            "x": _n(rng, 0, 3), "gamma": _n(rng, 3), "beta": _n(rng, 3), "y": Out((0, 3)), "mean": Out((0,)),
            "inv_std": Out((0,)), "eps": 1e-3,
        }  # fmt: skip

    def layer_backward_empty(rng: Rng) -> Arguments:
        return {
            "dy": _n(rng, 0, 3), "x": _n(rng, 0, 3), "gamma": _n(rng, 3), "mean": _n(rng, 0), "inv_std": _n(rng, 0),
            "dx": Out((0, 3)), "dgamma": Out((3,)), "dbeta": InOut(np.zeros(3)),
        }  # fmt: skip

    _add("batchnorm_inference", "empty batch", empty)
    _add("layernorm", "empty batch", layer_empty)
    _add("layernorm_backward", "empty batch", layer_backward_empty)


# N, T, I, H
_SEQUENCES = (
    (1, 1, 1, 1), (2, 3, 1, 3), (3, 5, 4, 8), (5, 2, 17, 16), (4, 7, 3, 17), (6, 4, 8, 33), (17, 3, 16, 64),
    (1, 9, 5, 5), (33, 2, 6, 8), (0, 3, 4, 5), (7, 1, 12, 24), (16, 3, 40, 70), (35, 3, 33, 47), (48, 2, 64, 96),
    (3, 4, 5, 0), (6, 4, 0, 33), (20, 3, 0, 70),
)  # fmt: skip


def _recurrent_cases() -> None:
    kinds = _switch(("tanh", "relu", "sigmoid", "linear"))
    for number, (n, t, i, h) in enumerate(_SEQUENCES):
        for masked in (False, True):
            number += masked
            bias, accumulate, all_wanted, kind = number % 3 != 1, number % 2 == 1, number % 4 != 2, next(kinds)
            label = _label(n=n, t=t, i=i, h=h, mask=masked, bias=bias)
            variants = [("simple_rnn", 1, {"activation": kind}), ("lstm", 4, {})]
            variants += [("gru", 3, {"reset_after": True}), ("gru", 3, {"reset_after": False})]
            for cell, gates, attributes in variants:
                common = (cell, n, t, i, h, gates, bias, masked, attributes)

                def forward(rng: Rng, common=common) -> Arguments:
                    return _recurrent_forward(rng, *common)

                def backward(rng: Rng, common=common, accumulate=accumulate, all_wanted=all_wanted) -> Arguments:
                    return _recurrent_backward(rng, accumulate, all_wanted, *common)

                kinds_of = "".join(f",{v if isinstance(v, str) else f'{k}={v}'}" for k, v in attributes.items())
                defined = {"gates": _unmasked} if masked and cell != "simple_rnn" else {}
                _add(cell, label + kinds_of, forward, defined=defined)
                if cell != "simple_rnn":

                    def inference(rng: Rng, common=common) -> Arguments:
                        return {**_recurrent_forward(rng, *common), "gates": None}

                    _add(cell, f"{label}{kinds_of},inference", inference)
                _add(
                    f"{cell}_backward", f"{label}{kinds_of},accumulate={accumulate},all={all_wanted}", backward,
                    floor=1e-3,
                )  # fmt: skip


def _unmasked(arguments: Arguments) -> np.ndarray:
    return arguments["mask"][:, :, None] != 0


def _recurrent_forward(
    rng: Rng,
    cell: str,
    n: int,
    t: int,
    i: int,
    h: int,
    gates: int,
    bias: bool,
    masked: bool,
    attributes: Arguments,
) -> Arguments:
    b_shape = (2, gates * h) if attributes.get("reset_after") else (gates * h,)
    mask = (rng.random((n, t)) < 0.6).astype(np.uint8)
    arguments = {"x": _n(rng, n, t, i), "h0": _n(rng, n, h) * 0.5}
    if cell == "lstm":
        arguments["c0"] = _n(rng, n, h) * 0.5
    arguments |= {
        "w": _n(rng, i, gates * h) / np.sqrt(max(i, 1)), "u": _n(rng, h, gates * h) * 0.7 / np.sqrt(max(h, 1)),
        "b": _maybe(bias, _n(rng, *b_shape) * 0.5), "mask": _maybe(masked, mask), "h": Out((n, t, h)),
    }  # fmt: skip
    if cell == "lstm":
        arguments["c"] = Out((n, t, h))
    if cell != "simple_rnn":
        arguments["gates"] = Out((n, t, 4 * h))
    return arguments | attributes


def _recurrent_backward(rng: Rng, accumulate: bool, all_wanted: bool, cell: str, *shape: Any) -> Arguments:
    """The forward's arrays, with any finite numbers as the gates of masked steps, and random output gradients."""
    forward = _recurrent_forward(rng, cell, *shape)
    n, t, i, h, _, bias, masked, attributes = shape
    forward = {k: np.zeros(v.shape) if isinstance(v, Out) else v for k, v in forward.items()}
    _kernel(cell)(*(forward[name] for name in signature(cell).parameters))
    if masked and cell != "simple_rnn":
        skipped = np.broadcast_to(forward["mask"][:, :, None] == 0, forward["gates"].shape)
        forward["gates"][skipped] = _n(rng, int(skipped.sum()))
    b = np.zeros((2, 3 * h)) if attributes.get("reset_after") else np.zeros(forward["w"].shape[1])
    return {
        **{k: v for k, v in forward.items() if k != "b"}, "dh": _n(rng, n, t, h),
        "dc_last": _maybe(all_wanted, _n(rng, n, h)), "dx": _maybe(all_wanted, Out((n, t, i))),
        "dh0": _maybe(all_wanted, Out((n, h))), "dc0": _maybe(all_wanted, Out((n, h))),
        "dw": _gradient(rng, accumulate, *forward["w"].shape), "du": _gradient(rng, accumulate, *forward["u"].shape),
        "db": _maybe(bias, _gradient(rng, accumulate, *b.shape)), **attributes, "accumulate": accumulate,
    }  # fmt: skip


def _embedding_cases() -> None:
    for number, (m, v, d) in enumerate(
        ((1, 1, 1), (5, 3, 4), (100, 7, 16), (33, 1000, 17), (0, 4, 3), (64, 2, 65), (2100, 5, 3))
    ):
        accumulate = number % 2 == 1

        def forward(rng: Rng, m=m, v=v, d=d) -> Arguments:
            return {"ids": rng.integers(0, v, m, np.int32), "table": _n(rng, v, d), "y": Out((m, d))}

        def backward(rng: Rng, m=m, v=v, d=d, accumulate=accumulate) -> Arguments:
            return {
                "dy": _n(rng, m, d), "ids": rng.integers(0, v, m, np.int32),
                "dtable": _gradient(rng, accumulate, v, d), "accumulate": accumulate,
            }  # fmt: skip

        _add("embedding", _label(m=m, v=v, d=d), forward, exact=True)
        _add("embedding_backward", _label(m=m, v=v, d=d, accumulate=accumulate), backward)


_FROM_OUTPUT = ("linear", "relu", "sigmoid", "tanh", "leaky_relu", "elu", "selu", "exponential")


def _activation_cases() -> None:
    shapes = _switch(((1,), (7,), (3, 5), (2, 3, 4, 5), (0, 3), (129,), (1, 1000), (17, 33)))
    for kind in ACTIVATIONS:
        alpha = {"leaky_relu": 0.2, "elu": 0.7}.get(kind, 0.0)
        variants = [(next(shapes), spread) for spread in (1.0, 5.0, 1.0)] + [((4096 + 5,), 3.0), ((2, 9), 0.0)]
        for shape, spread in variants:
            label = _label(kind=kind, shape=shape, spread=spread)

            def values(rng: Rng, shape=shape, spread=spread) -> np.ndarray:
                if spread:
                    return _n(rng, *shape) * spread
                # Extremes, ±0 and the kinks.
                return np.array([[0.0, -0.0, 1e4, -1e4, 88.0, -88.0, 3.0, -3.0, 6.0]] * 2) * [[1], [0.5]]

            def forward(rng: Rng, kind=kind, alpha=alpha, values=values, shape=shape) -> Arguments:
                x = values(rng)
                if kind == "exponential":
                    x = np.minimum(x, 60)
                return {"x": x, "y": Out(shape), "kind": kind, "alpha": alpha}

            def backward(rng: Rng, kind=kind, alpha=alpha, forward=forward, shape=shape, x_given=True) -> Arguments:
                x = forward(rng)["x"].astype(np.float32).astype(np.float64)
                y = np.empty(shape)
                _kernel("activation")(x, y, kind, alpha)
                return {
                    "dy": _n(rng, *shape), "x": _maybe(x_given, x), "y": y, "dx": Out(shape), "kind": kind,
                    "alpha": alpha,
                }  # fmt: skip

            def from_output(rng: Rng, backward=backward) -> Arguments:
                return backward(rng, x_given=False)

            _add("activation", label, forward)
            _add("activation_backward", label, backward)
            if spread == 5.0:
                _add("activation", f"{label},in place", forward, in_place={"y": "x"})
                _add("activation_backward", f"{label},in place", backward, in_place={"dx": "dy"})
            if spread != 1.0 and kind in _FROM_OUTPUT:
                _add("activation_backward", f"{label},no x", from_output)

    row_shapes = ((1, 1), (3, 10), (0, 4), (5, 17), (64, 3), (2, 1000), (33, 16), (1, 65))
    for number, (r, c) in enumerate(row_shapes):
        for spread in (1.0, 1e4):
            label = _label(r=r, c=c, spread=spread)
            in_place = number % 2 == 1

            def rows(rng: Rng, r=r, c=c, spread=spread) -> Arguments:
                return {"x": _n(rng, r, c) * spread, "y": Out((r, c))}

            for name in ("softmax", "log_softmax"):

                def rows_backward(rng: Rng, r=r, c=c, spread=spread, name=name) -> Arguments:
                    y = np.empty((r, c))
                    _kernel(name)(_n(rng, r, c) * spread, y)
                    return {"dy": _n(rng, r, c), "y": y, "dx": Out((r, c))}

                options = {"floor": 1e-3} if c > 1 else {"floor": 1.0}
                _add(name, label, rows)
                _add(f"{name}_backward", label, rows_backward, **options)
                if in_place:
                    _add(name, f"{label},in place", rows, in_place={"y": "x"})
                    _add(f"{name}_backward", f"{label},in place", rows_backward, in_place={"dx": "dy"}, **options)


def _loss_cases() -> None:
    shapes = ((1, 1), (3, 10), (0, 4), (32, 10), (5, 17), (64, 3), (2, 1000), (7, 1), (33, 16), (257, 2))
    for number, (r, c) in enumerate(shapes):
        for spread in (1.0, 1e4):
            number += 1
            weighted, wanted, scale = number % 3 != 1, number % 4 != 2, (1.0, 1 / max(r, 1), 0.3)[number % 3]
            label = _label(r=r, c=c, spread=spread, weight=weighted, gradient=wanted)

            def build(rng: Rng, given, r=r, c=c, spread=spread, weighted=weighted, wanted=wanted, scale=scale):
                return {
                    "logits": _n(rng, r, c) * spread, **given(rng, r, c), "weight": _maybe(weighted, rng.random(r)),
                    "losses": Out((r,)), "dlogits": _maybe(wanted, Out((r, c))), "scale": scale,
                }  # fmt: skip

            def sparse(rng: Rng, build=build) -> Arguments:
                return build(rng, lambda g, m, k: {"labels": g.integers(0, k, m, np.int32)})

            def dense(rng: Rng, build=build) -> Arguments:
                return build(rng, lambda g, m, k: {"targets": g.dirichlet(np.ones(k), m)})

            def unnormalised(rng: Rng, build=build) -> Arguments:
                return build(rng, lambda g, m, k: {"targets": g.integers(0, 3, (m, k)) * 0.5})

            def binary(rng: Rng, build=build) -> Arguments:
                return build(rng, lambda g, m, k: {"targets": g.random((m, k)).round(g.integers(0, 2))})

            floor = 1e-6 if c > 1 else 1.0
            _add("softmax_cross_entropy", label, sparse, floor=floor)
            _add("softmax_cross_entropy_dense", label, dense, floor=max(floor, 0.1 * min(scale, 1)))
            _add("softmax_cross_entropy_dense", f"{label},rows of any sum", unnormalised, floor=floor)
            _add("sigmoid_cross_entropy", label, binary, floor=floor)

    def sure(rng: Rng) -> Arguments:
        targets = rng.random((3, 200)).round()
        logits = (2 * targets - 1) * rng.uniform(12, 14, (3, 200))
        return {
            "logits": logits, "targets": targets, "weight": None, "losses": Out((3,)), "dlogits": None, "scale": 1.0,
        }  # fmt: skip

    _add("sigmoid_cross_entropy", "3x200, losses of a millionth", sure, floor=1e-9)


def _elementwise_cases() -> None:
    shapes = _switch(((1,), (7,), (3, 5), (2, 3, 4, 5), (0, 3), (129,), (), (1, 1000)))
    for op in UNARY_OPS:
        for spread in (1.0, 4.0, 1.5):
            shape = next(shapes)

            def forward(rng: Rng, op=op, shape=shape, spread=spread) -> Arguments:
                x = _n(rng, *shape) * spread
                return {
                    "x": np.abs(x) + 0.05 if op in ("log", "sqrt", "reciprocal") else x, "y": Out(shape), "op": op
                }  # fmt: skip

            def backward(rng: Rng, op=op, forward=forward, shape=shape) -> Arguments:
                x = forward(rng)["x"]
                y = np.empty(shape)
                _kernel("unary")(x, y, op)
                return {"dy": _n(rng, *shape), "x": x, "y": y, "dx": Out(shape), "op": op}

            label = _label(op=op, shape=shape, spread=spread)
            _add("unary", label, forward, floor=1e-2)
            _add("unary_backward", label, backward, floor=1e-2)
            if spread == 1.0:
                _add("unary", f"{label},in place", forward, floor=1e-2, in_place={"y": "x"})
                _add("unary_backward", f"{label},in place", backward, floor=1e-2, in_place={"dx": "dy"})

    def extremes(rng: Rng, op: str) -> Arguments:
        x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0])
        return {"x": x, "y": Out(x.shape), "op": op}

    for op in ("neg", "exp", "log", "sqrt", "square", "abs", "reciprocal"):
        _add("unary", f"op={op},extremes", lambda rng, op=op: extremes(rng, op))

    def kinks(rng: Rng, op: str) -> Arguments:
        x = np.array([0.0, -0.0, 2.0, -2.0])
        return {"dy": _n(rng, 4), "x": x, "y": np.abs(x) if op == "abs" else np.sign(x), "dx": Out((4,)), "op": op}

    for op in ("abs", "sign"):
        _add("unary_backward", f"op={op},kink", lambda rng, op=op: kinks(rng, op))

    pairs = (
        ((5,), (5,)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((2, 3, 4), (3, 1)), ((1,), (7,)), ((), (3, 2)), ((0, 3), (3,)),
        ((2, 1, 5, 1), (1, 3, 1, 17)), ((1030,), (1030,)), ((64, 33), (64, 1)), ((4, 5), ()), ((2, 3, 2, 3, 2), (3, 2)),
        ((), ()), ((33, 16), (16,)), ((2, 1, 3, 1, 2), (1, 2, 1, 3, 1)),
    )  # fmt: skip
    for number, (a, b) in enumerate(pairs):
        shape = np.broadcast_shapes(a, b)
        for op in BINARY_OPS if number < 4 else (BINARY_OPS[number % 7], BINARY_OPS[(number + 3) % 7]):

            def arithmetic(rng: Rng, a=a, b=b, op=op, shape=shape) -> Arguments:
                left, right = _n(rng, *a), _n(rng, *b)
                if op == "pow":
                    left = np.abs(left) + 0.1
                if op == "div":
                    right = right + np.copysign(0.1, right)
                return {"a": left, "b": right, "y": Out(shape), "op": op}

            _add("binary", _label(op=op, a=a, b=b), arithmetic)
            if a == shape:
                _add("binary", f"{_label(op=op, a=a, b=b)},y is a", arithmetic, in_place={"y": "a"})
            if b == shape:
                _add("binary", f"{_label(op=op, a=a, b=b)},y is b", arithmetic, in_place={"y": "b"})
        for op in COMPARE_OPS if number < 3 else (COMPARE_OPS[number % 6],):

            def comparison(rng: Rng, a=a, b=b, op=op, shape=shape) -> Arguments:
                return {"a": _ties(rng, *a), "b": _ties(rng, *b), "y": Out(shape, bool), "op": op}

            _add("compare", _label(op=op, a=a, b=b), comparison)

    def not_numbers(rng: Rng, op: str, dtype: Any = None) -> Arguments:
        values = np.array([0.0, 1.0, -2.0, np.nan, np.inf, -np.inf])
        a, b = (np.ascontiguousarray(v) for v in np.broadcast_arrays(values[:, None], values))
        return {"a": a, "b": b, "y": Out((6, 6), dtype), "op": op}

    for op in ("add", "sub", "mul", "div", "maximum", "minimum"):
        _add("binary", f"op={op},NaN and infinities", lambda rng, op=op: not_numbers(rng, op))
    for op in COMPARE_OPS:
        _add("compare", f"op={op},NaN and infinities", lambda rng, op=op: not_numbers(rng, op, bool))

    selections = (
        ((5,), (5,), (5,)), ((3, 1), (4,), (3, 4)), ((), (2, 3), (1,)), ((2, 3, 4), (1,), (4,)), ((0, 2), (2,), ()),
        ((1030,), (1,), (1030,)), ((2, 1, 3), (5, 1), ()), ((2, 1, 3, 1, 2), (2, 1, 3, 1), (3, 1, 1)),
    )  # fmt: skip
    for condition, a, b in selections:

        def selection(rng: Rng, condition=condition, a=a, b=b) -> Arguments:
            chosen = np.asarray(rng.random(condition) < 0.5)
            return {"condition": chosen, "a": _n(rng, *a), "b": _n(rng, *b),
                    "y": Out(np.broadcast_shapes(condition, a, b))}  # fmt: skip

        _add("select", _label(c=condition, a=a, b=b), selection, exact=True)

    _copy_cases()


def _copy_cases() -> None:
    views: dict[str, tuple[tuple[int, ...], Callable[[Array], Array]]] = {
        "whole": ((3, 4), lambda a: a),
        "one dimension": ((1030,), lambda a: a),
        "no dimension": ((), lambda a: a),
        "transpose": ((5, 7), lambda a: a.T),
        "permute": ((2, 3, 4, 5), lambda a: a.transpose(3, 0, 2, 1)),
        "slice": ((9, 8), lambda a: a[1:7, 2:5]),
        "step": ((9, 8), lambda a: a[::2, 1::3]),
        "flip": ((4, 5, 3), lambda a: a[::-1, :, ::-1]),
        "new axis": ((4, 5), lambda a: a[:, None, 1:]),
        "empty": ((3, 4), lambda a: a[1:1]),
        "large transpose": ((70, 65), lambda a: a.T),
        "five axes": ((2, 3, 2, 3, 2), lambda a: a.transpose(4, 1, 0, 3, 2)[:, ::-1]),
        "six axes": ((2, 2, 2, 2, 2, 3), lambda a: a.transpose(5, 0, 4, 1, 3, 2)),
    }
    for label, (shape, view) in views.items():
        target = view(np.empty(shape)).shape

        def read(rng: Rng, shape=shape, view=view, target=target) -> Arguments:
            return {"x": View(_n(rng, *shape), view), "y": Out(target)}

        def write(rng: Rng, shape=shape, view=view, target=target) -> Arguments:
            return {"x": _n(rng, *target), "y": View(_n(rng, *shape), view, written=True)}

        def fill(rng: Rng, shape=shape, view=view) -> Arguments:
            return {"y": View(_n(rng, *shape), view, written=True), "value": -1.5}

        _add("copy", f"from {label}", read, exact=True)
        _add("copy", f"to {label}", write, exact=True)
        _add("fill", label, fill, exact=True)

    for shape, target in (((1, 5), (4, 5)), ((3, 1), (3, 7)), ((1, 1, 1), (2, 3, 4)), ((2, 1, 3), (2, 6, 3))):

        def broadcast(rng: Rng, shape=shape, target=target) -> Arguments:
            return {"x": View(_n(rng, *shape), lambda a: np.broadcast_to(a, target)), "y": Out(target)}

        _add("copy", _label(broadcast=shape, to=target), broadcast, exact=True)

    types = (bool, np.uint8, np.int32, np.int64, np.float64)
    for source in types:
        for destination in types:

            def convert(rng: Rng, source=source, destination=destination) -> Arguments:
                x = rng.integers(0, 2 if source is bool else 100, (6, 5)).astype(source)
                if source is np.float64:
                    x += 0.75
                out = Out((5, 6), None if destination is np.float64 else destination)
                return {"x": View(x, lambda a: a.T), "y": out}

            _add("copy", f"{np.dtype(source)} to {np.dtype(destination)}", convert, exact=True)

    for dtype in (np.uint8, np.int32, np.int64, bool):
        _add("fill", f"{np.dtype(dtype)}", lambda rng, dtype=dtype: {"y": Out((3, 5), dtype), "value": 1.0})
    for value in (0.0, float("inf"), float("nan")):
        _add("fill", f"value {value}", lambda rng, value=value: {"y": Out((17,)), "value": value})


def _reduce_cases() -> None:
    shapes = (
        (1, 1, 1), (3, 4, 5), (1, 1000, 1), (7, 3, 1), (1, 33, 17), (2, 129, 3), (5, 1, 6), (0, 3, 4), (1, 70, 64),
        (3, 4, 0), (16, 65, 1), (3, 50, 7), (2, 784, 3), (2, 49, 64), (1, 2, 3000), (1, 4100, 1), (2, 8, 8),
        (1, 130, 300),
    )  # fmt: skip
    for a, r, b in shapes:
        for op in REDUCE_OPS:
            label = _label(op=op, a=a, r=r, b=b)
            floor = 1.0 if op in ("sum", "mean") else 0.0

            def reduction(rng: Rng, a=a, r=r, b=b, op=op, made=_n) -> Arguments:
                return {"x": made(rng, a, r, b), "y": Out((a, b)), "op": op}

            def special(rng: Rng, build=reduction) -> Arguments:
                return build(rng, made=_special)

            _add("reduce", label, reduction, floor=floor)
            if op in ("max", "min"):
                _add("reduce", f"{label},NaN and infinities", special)
    _add("reduce", "op=sum,nothing to add", lambda rng: {"x": _n(rng, 3, 0, 4), "y": Out((3, 4)), "op": "sum"})
    for a, r, b in ((1, 300_000, 1), (1, 100_000, 3), (2, 100_000, 1)):
        for op in ("sum", "mean"):

            def long(rng: Rng, a=a, r=r, b=b, op=op) -> Arguments:
                return {"x": rng.random((a, r, b)) + 0.1, "y": Out((a, b)), "op": op}

            accurate = {np.dtype(np.float32): 2e-6}
            _add("reduce", f"{_label(op=op, a=a, r=r, b=b)},one sign", long, tolerance=accurate)
    for r, c in ((1, 1), (3, 10), (0, 4), (5, 17), (64, 3), (2, 1000), (33, 16)):
        for made in (_n, _ties, _special):

            def place(rng: Rng, r=r, c=c, made=made) -> Arguments:
                return {"x": made(rng, r, c), "y": Out((r,), np.int32)}

            _add("argmax", f"{_label(r=r, c=c)},{made.__name__}", place)


def _random_cases() -> None:
    streams = (
        ((1,), 0, 0), ((3, 5), 1, 0), ((1027,), 12345, 7), ((64, 33), 2**32 + 5, 2**32 - 3), ((0,), 1, 1),
        ((4,), 2**64 - 1, 2**63), ((9,), 2**63, 2**64 - 1), ((300_001,), 42, 10),
    )  # fmt: skip
    for shape, seed, offset in streams:
        label = _label(shape=shape, seed=seed, offset=offset)
        stream = {"seed": seed, "offset": offset}
        for low, high in ((0.0, 1.0), (-0.3, 2.1)):

            def uniform(rng: Rng, shape=shape, low=low, high=high, stream=stream) -> Arguments:
                return {"y": Out(shape), "low": low, "high": high, **stream}

            _add("random_uniform", f"{label},low={low},high={high}", uniform, exact=low == 0.0)

        def normal(rng: Rng, shape=shape, stream=stream, mean=0.5, stddev=2.0) -> Arguments:
            return {"y": Out(shape), "mean": mean, "stddev": stddev, **stream}

        _add("random_normal", label, normal, floor=1.0)
        for rate in (0.0, 0.1, 0.5, 0.999):

            def drop(rng: Rng, shape=shape, rate=rate, stream=stream) -> Arguments:
                x = _n(rng, *shape)
                return {"x": np.where(np.abs(x) < 1e-3, 1.0, x), "y": Out(shape), "rate": rate, **stream}

            _add("dropout", f"{label},rate={rate}", drop, same_zeros=True, exact=rate == 0.0)
            if rate == 0.5:
                _add("dropout", f"{label},rate={rate},in place", drop, same_zeros=True, in_place={"y": "x"})


def _optim_cases() -> None:
    def flat(rng: Rng, size: int, *states: str, **attributes: Any) -> Arguments:
        arguments = {"p": InOut(_n(rng, size)), "g": _n(rng, size) * 0.1}
        for name in states:
            start = _n(rng, size) * 0.1
            positive = name in ("s", "v", "vhat")
            arguments[name] = None if name.startswith("no ") else InOut(np.abs(start) + 0.02 if positive else start)
        return {name.removeprefix("no "): value for name, value in arguments.items()} | attributes

    adam = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7}
    rms = {"lr": 1e-2, "rho": 0.9, "eps": 1e-7}
    for size in (0, 1, 7, 16, 33, 1000, 4099):
        entries: list[tuple[str, str, tuple[str, ...], Arguments]] = [
            ("sgd", "", (), {"lr": 0.1}),
            ("adagrad", "", ("s",), {"lr": 0.1, "eps": 1e-7}),
            ("rmsprop", ",plain", ("s", "no m", "no gbar"), {**rms, "momentum": 0.0}),
            ("rmsprop", ",momentum", ("s", "m", "no gbar"), {**rms, "momentum": 0.8}),
            ("rmsprop", ",centered", ("s", "no m", "gbar"), {**rms, "momentum": 0.0}),
            ("rmsprop", ",both", ("s", "m", "gbar"), {**rms, "momentum": 0.8}),
            ("adam", ",step 1", ("m", "v", "no vhat"), {**adam, "weight_decay": 0.0, "step": 1}),
            ("adam", ",amsgrad", ("m", "v", "vhat"), {**adam, "weight_decay": 0.0, "step": 7}),
            ("adam", ",decay", ("m", "v", "no vhat"), {**adam, "weight_decay": 0.04, "step": 1000}),
            ("adam", ",both", ("m", "v", "vhat"), {**adam, "weight_decay": 0.04, "step": 3}),
        ]
        for form in ("classical", "nesterov", "averaged"):
            entries.append(("momentum", f",{form}", ("m",), {"lr": 0.1, "momentum": 0.9, "form": form}))
        for name, suffix, states, attributes in entries:
            if name == "rmsprop" and "gbar" in states:
                # s must exceed gbar² as a mean of squares does.
                def build(rng: Rng, size=size, states=states, attributes=attributes) -> Arguments:
                    arguments = flat(rng, size, *states, **attributes)
                    arguments["s"] = InOut(arguments["s"].start + 2 * arguments["gbar"].start ** 2)
                    return arguments
            else:

                def build(rng: Rng, size=size, states=states, attributes=attributes) -> Arguments:
                    return flat(rng, size, *states, **attributes)

            _add(name, f"size={size}{suffix}", build)


for _family in (
    _linear_cases, _conv_cases, _pool_cases, _norm_cases, _recurrent_cases, _embedding_cases, _activation_cases,
    _loss_cases, _elementwise_cases, _reduce_cases, _random_cases, _optim_cases,
):  # fmt: skip
    _family()


def main(names: list[str]) -> int:
    """Run the table on the named backends; print each failure and a count. --exact: see `check`'s shifts."""
    from dlcore.backends import registry

    shifts: tuple[int | None, ...] = (None,) if "--exact" in names else (0, 1)
    names = [name for name in names if name != "--exact"]
    failures = 0
    for name in names or ["numpy"]:
        backend = registry.get_backend(name)
        for case in CASES:
            try:
                check(backend, case, shifts=shifts)
            except Exception as error:
                failures += 1
                print(f"{type(error).__name__}: {case}: {error}")
        print(f"{name}: {len(CASES)} cases, {failures} failures so far")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
