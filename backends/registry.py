"""Which engines there are, which of them run here, and which one is active.

The engines of this package are named in `_BUILT_IN`; other distributions add theirs through the entry-point group
`dlcore.backends` (name -> subclass of `Backend`), which is read only when a name is not built in or when all are
listed. Nothing is imported before it is asked for, and an engine that cannot be imported is unavailable with that
error as its reason: it never disturbs the others. But an environment variable that is set to what it may not be is an
error: passing over the engine that reads it would change results without a word.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module

from .interface import PRIMITIVES, Backend, BackendUnavailableError
from .settings import SettingError, convolution_way, num_threads

_BUILT_IN = {
    "numpy": "dlcore.backends.numpy_backend:NumpyBackend",
    "numba": "dlcore.backends.numba_backend:NumbaBackend",
    "cython": "dlcore.backends.cython_backend:CythonBackend",
    "cupy": "dlcore.backends.cupy_backend:CupyBackend",
}
_PREFERENCE = ("cupy", "cython", "numba", "numpy")  # the choice when nobody chooses
_ENTRY_POINTS = "dlcore.backends"

_lock = threading.RLock()
_classes: dict[str, type[Backend]] = {}
_instances: dict[str, Backend] = {}  # keyed by the name asked for, device included
_default: Backend | None = None
_setter: weakref.ref[use_backend] | None = None  # the call that set the default, while it may still become a block
_override: ContextVar[Backend | None] = ContextVar("dlcore_backend", default=None)


def current() -> Backend:
    """The active engine: that of the innermost `with use_backend(...)` of this context, else the process's default.

    The default is resolved at first use from DLCORE_BACKEND, or is the best engine that works here.

    Raises:
        BackendUnavailableError: DLCORE_BACKEND names nothing that can run here.
        ValueError: DLCORE_BACKEND names an unknown engine.
        SettingError: another environment variable holds what it may not.
    """
    backend = _override.get()
    if backend is not None:
        return backend
    if _default is not None:
        return _default
    return _resolve_default()


def is_active(backend: Backend) -> bool:
    """Whether this is the active engine, be it behind a recorder (capture.py)."""
    active = current()
    return active is backend or getattr(active, "engine", None) is backend


@contextmanager
def stand_in(backend: Backend) -> Iterator[None]:
    """Make `backend` the active engine of this thread until the block ends, with no say in the process's default."""
    token = _override.set(backend)
    try:
        yield
    finally:
        _override.reset(token)


class use_backend:
    """Make an engine the active one.

    As a call, `use_backend("numba")`, it holds from now on: for the whole process, or, inside a `with use_backend`
    block, until that block ends. As a context manager, `with use_backend("numba"):`, it holds for this thread (or
    asyncio task) until the block ends.

    Args:
        name: an engine's name, `name:device`, several of these separated by commas in order of preference, or a
            `Backend` that `get_backend` gave.

    Raises:
        ValueError: the name is unknown.
        BackendUnavailableError: the engine cannot run here, or has fallbacks while DLCORE_STRICT=1.
    """

    # Only __enter__ can tell a block from a call, so the constructor sets the process's default and __enter__ takes
    # that back. Other threads may have set it in between: a chain of who set it over whom keeps every order right.

    def __init__(self, name: str | Backend) -> None:
        global _default, _setter
        self.backend = _activate(name)
        self._outer: list[Backend | None] = []
        self._around = _override.get()
        self._entered = self._around is not None  # inside a block there is no default to take back
        if self._around is not None:
            _override.set(self.backend)
            return
        with _lock:
            self._over = _default, _setter() if _setter is not None else None
            _default, _setter = self.backend, weakref.ref(self)

    def __enter__(self) -> Backend:
        global _default, _setter
        if not self._entered:
            self._entered = True
            with _lock:
                if _setter is not None and _setter() is self:
                    default, setter = self._over
                    while setter is not None and setter._entered:
                        default, setter = setter._over
                    _default, _setter = default, weakref.ref(setter) if setter is not None else None
        self._outer.append(self._around or _override.get())
        self._around = None
        _override.set(self.backend)
        return self.backend

    def __exit__(self, *exception: object) -> None:
        _override.set(self._outer.pop())

    def __repr__(self) -> str:
        return f"use_backend({self.backend.name!r})"


def get_backend(name: str) -> Backend:
    """The engine called `name` ("numba", "cupy:1"): made at the first call, the same object ever after.

    Raises:
        ValueError: the name is unknown, or the engine has no such device.
        BackendUnavailableError: it cannot run here; the message says why and which engines can.
    """
    backend = _instances.get(name)
    if backend is not None:
        return backend
    with _lock:
        return _instances.get(name) or _make(name)


def available_backends() -> list[str]:
    """Names of the engines that run here, the preferred first."""
    return [name for name, reason in backend_status().items() if reason is None]


def backend_status() -> dict[str, str | None]:
    """Every known engine, plug-ins included: the reason why it cannot run here, or None if it can."""
    plug_ins = sorted(set(_entry_points()) - set(_BUILT_IN))
    return {name: _answer(name) for name in (*_PREFERENCE, *plug_ins)}


def coverage() -> dict[str, dict[str, str]]:
    """Primitive -> engine -> "native", "fallback" (the reference kernel runs instead) or "—" (engine unavailable)."""
    engines: dict[str, Backend | None] = {}
    for name in backend_status():
        try:
            engines[name] = get_backend(name)
        except (BackendUnavailableError, SettingError):
            engines[name] = None
    return {
        op: {
            name: "—" if engine is None else "native" if op in engine.native else "fallback"
            for name, engine in engines.items()
        }
        for op in PRIMITIVES
    }


def _activate(choice: str | Backend) -> Backend:
    if isinstance(choice, Backend):
        return _strict(choice)
    if not isinstance(choice, str):
        raise TypeError(f"name must be the name of an engine or a Backend, got {type(choice).__name__}")
    names = [part.strip() for part in choice.split(",") if part.strip()]
    if not names:
        raise ValueError(f"name must name an engine, got {choice!r}; available here: {_listed()}")
    if len(names) == 1:
        return _strict(get_backend(names[0]))
    return _first(names, f"none of the engines in {choice!r} can be used:")


def _first(names: list[str] | tuple[str, ...], complaint: str) -> Backend:
    problems = []
    for name in names:
        try:
            reason = _reason(name.partition(":")[0])
            if reason is None:
                return _strict(get_backend(name))
        except (BackendUnavailableError, ValueError) as error:
            reason = str(error)
        problems.append(f"\n  {name}: {reason}")
    raise BackendUnavailableError(complaint + "".join(problems))


def _resolve_default() -> Backend:
    global _default
    with _lock:
        if _default is None:
            choice = os.environ.get("DLCORE_BACKEND", "").strip()
            if not choice:
                _default = _first(_PREFERENCE, "no engine can be used:")
            else:
                try:
                    _default = _activate(choice)
                except (BackendUnavailableError, ValueError) as error:
                    raise type(error)(f"DLCORE_BACKEND={choice}: {error}") from None
        return _default


def _strict(backend: Backend) -> Backend:
    if backend.fallbacks and os.environ.get("DLCORE_STRICT", "") not in ("", "0"):
        missing = ", ".join(sorted(backend.fallbacks))
        raise BackendUnavailableError(
            f"DLCORE_STRICT is set, and engine {backend.name!r} has no kernel of its own for: {missing}. "
            "Unset DLCORE_STRICT to let reference kernels stand in."
        )
    return backend


def _make(spec: str) -> Backend:
    name, colon, device = spec.partition(":")
    reason = _reason(name)
    if reason is not None:
        raise BackendUnavailableError(f"engine {name!r} is not available: {reason}. Available here: {_listed()}")
    engine = _load(name)
    arguments = {}
    if colon:
        import inspect

        if "device" not in inspect.signature(engine).parameters:
            raise ValueError(f"engine {name!r} has no devices to choose from, got {spec!r}; use {name!r}")
        if not device.isdecimal():
            raise ValueError(f"the device in {spec!r} must be a number, as in '{name}:0'")
        arguments["device"] = int(device)
    threads = num_threads()
    convolution_way()
    try:
        backend = engine(**arguments)
    except (BackendUnavailableError, SettingError):
        raise
    except Exception as error:
        raise BackendUnavailableError(
            f"engine {name!r} could not be started: {_say(error)}. Available here: {_listed(but=name)}"
        ) from error
    if threads is not None:
        backend.set_num_threads(threads)
    backend.asked_as = spec
    _instances[spec] = backend
    return backend


def _load(name: str) -> type[Backend]:
    """The class of an engine, imported at the first call. Raises ValueError for an unknown name."""
    engine = _classes.get(name)
    if engine is None:
        if name in _BUILT_IN:
            module, _, attribute = _BUILT_IN[name].partition(":")
            engine = getattr(import_module(module), attribute)
        else:
            entry = _entry_points().get(name)
            if entry is None:
                raise _unknown(name)
            engine = entry.load()
        if not (isinstance(engine, type) and issubclass(engine, Backend)):
            raise TypeError(f"entry point {name!r} must name a subclass of dlcore.backends.Backend, got {engine!r}")
        _classes[name] = engine
    return engine


def _reason(name: str) -> str | None:
    if name not in _BUILT_IN and name not in _entry_points():
        raise _unknown(name)
    try:
        reason = _load(name).unavailable_reason()
    except SettingError:
        raise
    except Exception as error:
        return f"it could not be loaded: {_say(error)}"
    return None if reason is None else reason.rstrip(".")


def _answer(name: str) -> str | None:
    try:
        return _reason(name)
    except SettingError as error:
        return str(error)


def _entry_points() -> dict:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=_ENTRY_POINTS)}


def _unknown(name: str) -> ValueError:
    import difflib

    known = [*_PREFERENCE, *sorted(set(_entry_points()) - set(_BUILT_IN))]
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ValueError(f"unknown engine {name!r}.{hint} Available here: {_listed()}; known: {', '.join(known)}")


def _listed(but: str = "") -> str:
    return ", ".join(name for name in available_backends() if name != but) or "none"


def _say(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
