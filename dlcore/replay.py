"""Steps that record themselves: the first batches of a shape run eagerly, those after by replay.

`Step` wraps what a model does with one batch. A shape of batch that comes twice in a row is worth recording: its second
and third batch run under a recorder (they are ordinary steps all the same), and if both recordings agree, every further
one is copied to where the recorded calls read it and the calls are made again (see `backends/capture.py`). What was
recorded holds as long as the model is what it was: same layers and attributes, same arrays behind its variables, same
variables trainable. A step that cannot be replayed says why, once, and runs eagerly from then on.
"""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .backends.capture import Call, Program, Recorder, difference
from .backends.interface import Backend
from .backends.layout import images_in_lanes
from .backends.registry import stand_in
from .backends.rewrite import split_constant
from .symbolic import flatten, map_structure
from .tensor import as_tensor, weights_version, wrap

MOST = 4  # shapes of batches for which recordings are kept, per step
PATIENCE = 2  # recordings during which a step may change the model's attributes before it is given up

_steps: weakref.WeakSet[Step] = weakref.WeakSet()

Rewrite = Callable[[list[Call], list[Any], dict[int, Any], Backend], list[Call]]


class _Staged:
    """The arrays from which recorded calls read a batch."""

    def __init__(self, engine: Backend, leaves: list[np.ndarray]) -> None:
        self.arrays = [engine.empty(leaf.shape, leaf.dtype) for leaf in leaves]
        self._inlets = [*enumerate(map(engine.inlet, self.arrays))]

    def load(self, leaves: Sequence[Any]) -> bool:
        """Copy a batch there; whether it is one of their shapes and dtypes."""
        for i, inlet in self._inlets:  # noqa: SIM110, all() takes twice as long
            if not inlet(leaves[i]):
                return False
        return True


class _Recording:
    """Recorded calls on batches of one shape, and the program made from them."""

    def __init__(self, traits: list[Any], data: tuple, staged: _Staged, recorder: Recorder, results: Any) -> None:
        self.traits = traits
        self.staged = staged
        self.recorder = recorder
        self.engine = recorder.engine
        self.results = results
        self._absent = [i for i, part in enumerate(data) if part is None]
        given = data[: len(data) - len(self._absent)]
        self._plain = all(type(part) is np.ndarray for part in given)  # arrays, and None only behind them
        leaves = flatten(results)
        self._views = [recorder.view_of(leaf.data) for leaf in leaves]
        self._masks = [None if leaf.mask is None else recorder.view_of(leaf.mask) for leaf in leaves]
        self.program: Program | None = None
        self._checks: list[tuple[Callable[..., None], int, tuple[int, ...]]] = []
        self.version = weights_version()  # of those that the program may have packed

    def takes(self, engine: Backend, traits: list[Any] | None, data: tuple) -> bool:
        """Stage a batch, if it is of this engine, model and shape of batch; whether it was. Told quickly for plain
        arrays, else False."""
        if not self._plain or self.engine is not engine or (traits is not self.traits and traits != self.traits):
            return False
        for i in self._absent:
            if data[i] is not None:
                return False
        return self.staged.load(data)

    def bind(self, rewrite: Rewrite | None, constant: dict[int, Any]) -> None:
        """Make the program, and tensors in which it leaves the results."""
        recorder, views = self.recorder, [*self._views, *self._masks]
        calls, engine = recorder.calls, self.engine
        self._checks = [check for call in calls if (check := self._check_of_batch(call)) is not None]
        calls = [call for call in calls if self._check_of_batch(call) is None]
        if rewrite is not None:
            calls = rewrite(calls, views, constant, engine)
        calls = images_in_lanes(calls, views, engine)
        once, calls = split_constant(calls, views, engine)
        program = self.program = Program(engine, calls, recorder.draws, views, constant, once)
        tensors = [wrap(program.array(view)) for view in self._views]
        for tensor, mask in zip(tensors, self._masks, strict=True):
            tensor.mask = program.array(mask)
        remaining = iter(tensors)
        self.results = map_structure(lambda _: next(remaining), self.results)

    def _check_of_batch(self, call: Call) -> tuple[Callable[..., None], int, tuple[int, ...]] | None:
        """A check on the host of a part of the batch: its function, which part, and the shape in which it sees that."""
        if call.function is None or len(call.arguments) != 1:
            return None
        (value,) = call.arguments.values()
        engine = self.engine
        if isinstance(value, engine.array_type):
            for i, array in enumerate(self.staged.arrays):
                same = value.dtype == array.dtype and value.size == array.size
                if same and engine.address(value) == engine.address(array):
                    return call.function, i, value.shape
        return None

    def run(self, data: tuple) -> Any:
        """Replay on the batch that is staged; gives the results. What is to be checked of it is checked on the host."""
        leaves = data if self._plain else _leaves(data)
        for function, i, shape in self._checks:
            function(leaves[i].reshape(shape))
        self.program.run()  # type: ignore[union-attr]
        return self.results


class Step:
    """One kind of step of a model.

    Args:
        function: takes the parts of a batch (x, y, sample weights; any may be None or nested) as tensors of the
            active engine, and gives a structure of tensors.
        name: what a warning calls it.
        traits: gives what a recording depends on, in a form that is cheap to make and compare.
        rewrite: gives the calls to be bound from the recorded calls, the results, the constants by id, and the engine.
        constants: for a step that changes no weights, gives their arrays, which a program may then pack or fold.

    Attributes:
        replayed: whether the last call was a replay.
        lock: to be held from a call until its results are read, where several threads may call.
    """

    replayed = False

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        traits: Callable[[], list[Any]],
        rewrite: Rewrite | None = None,
        constants: Callable[[], list[np.ndarray]] | None = None,
    ) -> None:
        self._function = function
        self._name = name
        self._traits = traits
        self._rewrite = rewrite
        self._constants = constants
        self._recordings: dict[Any, _Recording] = {}
        self._last: Any = None  # what the last batch looked like
        self._latest: _Recording | None = None  # what the last call replayed
        self._first: _Recording | None = None  # a recording that waits for a second to compare it with
        self._unsteady = 0
        self._problem: str | None = None
        self.lock = threading.RLock()
        _steps.add(self)

    def __call__(self, engine: Backend, traits: list[Any] | None, data: tuple) -> Any:
        """The step's results for a batch of host arrays; the next call overwrites them.

        Args:
            traits: as they are now, or None if the model is not ready to be recorded.
        """
        latest = self._latest
        if latest is not None and latest.takes(engine, traits, data):
            self.replayed = self._is_bound(latest)
            return latest.run(data) if self.replayed else self.eagerly(data)
        self.replayed = False
        if self._problem is not None:
            return self.eagerly(data)
        key = engine, *map(_look_of, data)
        found = self._recordings.get(key)
        if found is not None and found.traits == traits and found.staged.load(_leaves(data)):
            self._last = key
            self.replayed = self._is_bound(found)
            if not self.replayed:
                return self.eagerly(data)
            self._latest = found
            return found.run(data)
        self._latest = None
        if found is not None:
            del self._recordings[key]
        if key != self._last or traits is None:
            self._last, self._first = key, None
            return self.eagerly(data)
        return self._record(engine, key, traits, data)

    def eagerly(self, data: tuple) -> Any:
        """The step without recording or replay."""
        return self._function(*[part if part is None else map_structure(_as_tensor, part) for part in data])

    def _is_bound(self, found: _Recording) -> bool:
        """Whether the program of a recording is up to date, or made so: not at once when weights have changed, for they
        may change at every step."""
        if self._constants is None:
            return True
        version = weights_version()
        if found.version != version:
            found.version = version
            found.program = None
            return False
        if found.program is None:
            found.bind(self._rewrite, {id(array): array for array in self._constants()})
        return True

    def _record(self, engine: Backend, key: Any, traits: list[Any], data: tuple) -> Any:
        leaves = _leaves(data)
        first, self._first = self._first, None
        if first is not None and first.traits != traits:
            first = None
        staged = _Staged(engine, leaves) if first is None else first.staged
        staged.load(leaves)
        places = iter(staged.arrays)
        tensors = [
            None if part is None else map_structure(lambda a: None if a is None else wrap(next(places)), part)
            for part in data
        ]
        recorder = Recorder(engine)
        with stand_in(recorder):
            results = self._function(*tensors)
        recording = _Recording(traits, data, staged, recorder, results)
        problem = recorder.problem or (difference(first.recorder, recorder) if first is not None else None)
        if self._traits() != traits:
            self._unsteady += 1
            if self._unsteady > PATIENCE:
                problem = "it sets attributes of its layers"
        elif first is None:
            self._first = recording
        elif problem is None:
            if len(self._recordings) == MOST:
                del self._recordings[next(iter(self._recordings))]
            if self._constants is None:
                recording.bind(self._rewrite, {})
            self._recordings[key] = recording
        if problem is not None:
            self._problem = problem
            self._latest = None
            self._recordings.clear()
            warnings.warn(f"{self._name} runs eagerly, not by replay, because {problem}.", stacklevel=6)
        return results


def _unlock_all() -> None:
    for step in _steps:
        step.lock = threading.RLock()  # a thread that is not in the child may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_all)


def _look_of(part: Any) -> Any:
    if type(part) is np.ndarray:
        return part.shape, part.dtype
    if part is None:
        return None
    return repr(map_structure(lambda a: None if a is None else (*a.shape, a.dtype.str), part))


def _leaves(data: tuple) -> list[np.ndarray]:
    return [leaf for leaf in flatten(data) if leaf is not None]


def _as_tensor(leaf: Any) -> Any:
    return None if leaf is None else as_tensor(leaf)
