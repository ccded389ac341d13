"""Runs a case on a backend and compares with the float64 reference."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from dlcore.backends.interface import PRIMITIVES, Backend

from .table import Arguments, Array, Case, InOut, Out, View

TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-11}
_GUARD = 67  # elements before and behind each array


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
