"""Record and replay: a step as the list of primitives it called, on arrays of its own.

All work crosses the backend interface, so a step can be recorded by standing in for the engine while it runs once
(`Recorder`): which primitives, on which arrays, with which attributes. A `Program` made from that runs the same calls
again with no tape, no checks and no allocation: what a CUDA graph is to a GPU, on every engine (and on CuPy it is one:
`Backend.join`). The kernels and their order are those of the recorded step, so a replay gives the bits that the step
gives.

Arrays of a recording are of three kinds: those the step made (they become views of one workspace, in which arrays that
are not alive at the same time share memory), those it was given (parameters, gradients, the staged batch: used in
place), and constants it made on the host. What a step computes on the host from data cannot be replayed; it shows as a
constant that differs between two recordings of different batches, so a step is recorded twice and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from .interface import PRIMITIVES, Array, Backend, signature

ALIGNMENT = 64  # bytes
_PARAMETERS = {name: tuple(signature(name).parameters) for name in PRIMITIVES}
_DEFAULTS = {
    name: {p.name: p.default for p in signature(name).parameters.values() if p.default is not p.empty}
    for name in PRIMITIVES
}
_RANDOM = frozenset(name for name, names in _PARAMETERS.items() if names[-2:] == ("seed", "offset"))


class Draw:
    """A draw from a stream of random numbers: each replay takes the next one."""

    __slots__ = ("count", "generator", "key")

    def __init__(self, generator: Any, key: tuple[int, int], count: int) -> None:
        self.generator = generator
        self.key = key  # (seed, offset), of the last replay
        self.count = count


class _Offset(int):
    """The offset of a draw under a recorder: by it calls that use the draw are known, also those of the backward."""

    draw: Draw


class Buffer:
    """Memory that the step made: one array of the workspace."""

    __slots__ = ("index", "nbytes", "place")

    def __init__(self, index: int, nbytes: int) -> None:
        self.index = index
        self.nbytes = nbytes
        self.place = 0


class View:
    """An array within a Buffer."""

    __slots__ = ("buffer", "dtype", "offset", "shape", "strides")

    def __init__(self, buffer: Buffer, offset: int, array: Any) -> None:  # array: whose shape, strides and dtype it has
        self.buffer = buffer
        self.offset = offset
        self.shape = array.shape
        self.strides = array.strides
        self.dtype = array.dtype

    def layout(self) -> tuple:
        return self.buffer.index, self.offset, self.shape, self.strides, self.dtype


class Call:
    """One recorded call: a primitive with its arguments by name, or work on the host (`function` is set)."""

    __slots__ = ("arguments", "function", "name")

    def __init__(self, name: str, arguments: dict[str, Any], function: Callable[..., None] | None = None) -> None:
        self.name = name
        self.arguments = arguments
        self.function = function


class _Lease:
    """Owner of an array made while recording, found again from every view of it (`Backend.owner_of`)."""

    __slots__ = ("__array_interface__", "array", "buffer", "recorder")

    def __init__(self, recorder: Recorder, array: Array) -> None:
        self.array = array
        self.recorder = recorder
        self.buffer = Buffer(len(recorder.buffers), array.nbytes)


class Recorder(Backend):
    """Stands in for an engine while a step runs: does what it is asked, and notes it.

    Attributes:
        calls: what was asked, in order. buffers: the memory that was made.
        draws: draws from random streams that the step made, in order.
        problem: why the step cannot be replayed; None while nothing speaks against it.
    """

    def __init__(self, engine: Backend) -> None:
        self.engine = engine
        self.name = engine.name  # type: ignore[misc]
        self.native, self.fallbacks = engine.native, engine.fallbacks
        self.calls: list[Call] = []
        self.buffers: list[Buffer] = []
        self.draws: list[Draw] = []
        self.problem: str | None = None
        for name in PRIMITIVES:
            setattr(self, name, self._noting(name, getattr(engine, name)))

    def _noting(self, name: str, kernel: Callable[..., None]) -> Callable[..., None]:
        parameters, defaults = _PARAMETERS[name], _DEFAULTS[name]

        def call(*args: Any, **kwargs: Any) -> None:
            given = defaults | dict(zip(parameters, args, strict=False)) | kwargs
            offset = given.get("offset")
            if type(offset) is _Offset:
                kernel(**given | {"offset": int(offset)})
                given["seed"] = given["offset"] = offset.draw
            else:
                kernel(*args, **kwargs)
            self.calls.append(Call(name, {key: self._noted(given[key]) for key in parameters}))

        return call

    def _noted(self, value: Any) -> Any:
        """An argument as it is kept: arrays of the step's own as views of buffers, so that they can die as they do."""
        if not isinstance(value, self.engine.array_type):
            return value
        owner = self.engine.owner_of(value)
        if type(owner) is not _Lease:
            return value
        if owner.recorder is not self:
            self.refuse("it uses an array that an earlier step made")
            return value
        return View(owner.buffer, self.engine.address(value) - self.engine.address(owner.array), value)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        lease = _Lease(self, self.engine.empty(shape, dtype))
        self.buffers.append(lease.buffer)
        return self.engine.lend(lease.array, lease)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        array = self.empty(shape, dtype)
        self.fill(array if array.ndim else array.reshape(1), 0.0)
        return array

    def asarray(self, host: np.ndarray) -> Array:
        return self.engine.asarray(host)

    def to_numpy(self, array: Array) -> np.ndarray:
        self.refuse("it reads values on the host")
        return self.engine.to_numpy(array)

    def share(self, array: Array) -> Array:
        self.refuse("it hands an array to another library")
        return array

    def note_draw(self, generator: Any, key: tuple[int, int], count: int) -> tuple[int, int]:
        offset = _Offset(key[1])
        offset.draw = Draw(generator, key, count)
        self.draws.append(offset.draw)
        return key[0], offset

    def refuse(self, problem: str) -> None:
        """Note why the step cannot be replayed. It goes on all the same, since it is a step like any other."""
        self.problem = self.problem or problem

    def on_host(self, function: Callable[..., None], *arrays: Array) -> None:
        self.engine.on_host(function, *arrays)
        arguments = {str(i): self._noted(array) for i, array in enumerate(arrays)}
        self.calls.append(Call(function.__qualname__, arguments, function))

    def view_of(self, array: Array) -> Any:
        """What stands for an array in recorded calls: a View, or itself where the step did not make it."""
        return self._noted(array)


def difference(a: Recorder, b: Recorder) -> str | None:
    """Why two recordings of a step on different data are not one program, or None."""
    if a.problem or b.problem:
        return a.problem or b.problem
    names = [call.name for call in a.calls], [call.name for call in b.calls]
    if names[0] != names[1]:
        return "it does not call the same operations every time"
    if len(a.draws) != len(b.draws):
        return "it does not draw the same random numbers every time"
    for one, other in zip(a.calls, b.calls, strict=True):
        for key, value in one.arguments.items():
            if not _same(value, other.arguments[key], a, b):
                return f"argument {key} of {one.name} is computed on the host and differs from step to step"
    return None


def _same(a: Any, b: Any, recorder_a: Recorder, recorder_b: Recorder) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) is View:
        return a.layout() == b.layout()
    if type(a) is Draw:
        return recorder_a.draws.index(a) == recorder_b.draws.index(b)
    if isinstance(a, recorder_a.engine.array_type):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        a, b = recorder_a.engine.to_numpy(a), recorder_b.engine.to_numpy(b)
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return a == b


class Program:
    """A recorded step, bound to a workspace and ready to run.

    Args:
        engine: runs it.
        calls: from a Recorder, perhaps rewritten.
        draws: the random numbers it takes.
        results: Views of arrays that are read after a run.
        constant: arrays that do not change while the program lives, by id: their kernels may prepare them.
        once: calls to be made only now, whose results the others read in every run.
    """

    def __init__(
        self,
        engine: Backend,
        calls: list[Call],
        draws: list[Draw],
        results: Iterable[Any] = (),
        constant: Container[int] = (),
        once: Sequence[Call] = (),
    ) -> None:
        self._engine = engine
        self._draws = draws
        engine.release()  # the memory of eager steps, whose place the workspace takes
        lasting = [value for call in once for value in call.arguments.values()]
        self._workspace = engine.empty((_plan_memory(calls, results, lasting),), np.uint8)
        for call in once:
            self._bind(call, constant)()
        self._steps: list[Callable[[], None]] = []
        for fixed, group in groupby(calls, _is_fixed):
            steps = [self._bind(call, constant) for call in group]
            self._steps += [engine.join(steps)] if fixed else steps

    def _bind(self, call: Call, constant: Container[int]) -> Callable[[], None]:
        engine = self._engine
        arguments = {key: self.array(value) for key, value in call.arguments.items()}
        if call.function is not None:
            return partial(engine.on_host, call.function, *arguments.values())
        if call.name in _RANDOM and type(arguments["seed"]) is Draw:
            return _random_step(getattr(engine, call.name), arguments)
        fixed = frozenset(key for key, value in arguments.items() if id(value) in constant or value is None)
        return engine.bind(call.name, arguments, fixed)

    def array(self, value: Any) -> Any:
        """The array that a View stands for in this program; anything else as it is."""
        if type(value) is not View:
            return value
        place = value.buffer.place + value.offset
        return self._engine.view(self._workspace, place, value.shape, value.dtype, value.strides)

    def run(self) -> None:
        """Do all of it."""
        for draw in self._draws:
            draw.key = draw.generator.next(draw.count)
        for step in self._steps:
            step()


def _is_fixed(call: Call) -> bool:
    """Whether a call is the same in every run: not work on the host, no numbers drawn anew."""
    return call.function is None and not (call.name in _RANDOM and type(call.arguments["seed"]) is Draw)


def _random_step(kernel: Callable[..., None], arguments: dict[str, Any]) -> Callable[[], None]:
    draw = arguments["seed"]
    fixed = list(arguments.values())[:-2]
    return lambda: kernel(*fixed, *draw.key)


def _plan_memory(calls: list[Call], results: Iterable[Any], lasting: Iterable[Any]) -> int:
    """Give each buffer a place such that no two that are alive at the same time overlap; gives the bytes needed.
    Views among `results` are alive to the end, those among `lasting` throughout.

    Largest first, each at the lowest place that is free while it lives ("greedy by size", Pisarchyk & Lee 2020).
    """
    lives: dict[Buffer, list[int]] = {}
    for time, call in enumerate(calls):
        for value in call.arguments.values():
            if type(value) is View:
                lives.setdefault(value.buffer, [time, time])[1] = time
    for value in results:
        if type(value) is View:
            lives.setdefault(value.buffer, [0, 0])[1] = len(calls)
    for value in lasting:
        if type(value) is View:
            lives[value.buffer] = [0, len(calls)]
    placed = np.zeros((4, len(lives)), np.int64)  # place, end, first and last use, by place
    for count, (buffer, (first, last)) in enumerate(sorted(lives.items(), key=lambda item: -item[0].nbytes)):
        size = -(-buffer.nbytes // ALIGNMENT) * ALIGNMENT
        places, ends, since, until = placed[:, :count]
        alive = (since <= last) & (until >= first)
        buffer.place = _first_gap(places[alive], ends[alive], size)
        at = places.searchsorted(buffer.place)
        placed[:, at + 1 : count + 1] = placed[:, at:count]
        placed[:, at] = buffer.place, buffer.place + size, first, last
    return int(placed[1].max(initial=0))


def _first_gap(places: np.ndarray, ends: np.ndarray, size: int) -> int:
    """The lowest place where `size` bytes overlap none of the memory from `places`, in order, to `ends`."""
    free = np.maximum.accumulate(np.append(0, ends))  # from where on nothing that begins lower is in the way
    fits = free[:-1] + size <= places
    return int(free[fits.argmax()] if fits.any() else free[-1])
