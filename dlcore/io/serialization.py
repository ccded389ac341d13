"""Objects as JSON and back: layers and what their configs hold.

A config holds plain JSON values, and `{"class_name", "config"}` where an object stood. Classes are found among the
library's own and the custom objects of the load; a name never makes anything be imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..naming import unknown_name

_registered: dict[str, Any] = {}  # "package>name" -> class or function
_custom: ContextVar[dict[str, Any]] = ContextVar("dlcore_custom_objects", default={})  # noqa: B039  (never changed)


@contextmanager
def custom_object_scope(custom_objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Within it, configs may name these classes and functions."""
    token = _custom.set({**_custom.get(), **(custom_objects or {})})
    try:
        yield
    finally:
        _custom.reset(token)


def custom_object(name: str) -> Any:
    """The custom object of this name in the innermost scopes, or a registered one of this name, or None."""
    found = _custom.get().get(name) or _registered.get(name)
    if found is None and ">" not in name:
        named = ((value, (key.partition(">")[2], value.__name__)) for key, value in _registered.items())
        found = next((value for value, names in named if name in names), None)
    return found


def named_custom_objects() -> dict[str, Any]:
    """All custom objects that are known here and now, by their own names."""
    return {**{key.partition(">")[2]: value for key, value in _registered.items()}, **_custom.get()}


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[Any], Any]:
    """Decorator for a class or function of your own: files that name it are loaded without custom_objects.

    Args:
        package, name: what files call it, `package>name`; its own name by default.

    Raises:
        ValueError: a class without get_config().
    """

    def register(found: Any) -> Any:
        if isinstance(found, type) and not hasattr(found, "get_config"):
            raise ValueError(f"{found.__name__} must define get_config() to be registered")
        _registered[f"{package}>{name or found.__name__}"] = found
        return found

    return register


def get_custom_objects() -> dict[str, Any]:
    """What is registered, `package>name` -> class or function: a dict that may be changed."""
    return _registered


def get_registered_name(obj: Any) -> str:
    """The name under which files call a class or function: its own, unless it is registered under another."""
    registered = next((key for key, value in _registered.items() if value is obj), None)
    return registered or getattr(obj, "__name__", obj)


def get_registered_object(
    name: str, custom_objects: Mapping[str, Any] | None = None, module_objects: Mapping[str, Any] | None = None
) -> Any:
    """The class or function of this name among the custom objects, those registered and module_objects, or None."""
    return (custom_objects or {}).get(name) or custom_object(name) or (module_objects or {}).get(name)


def restore(kind: str, config: Any, known: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The object that a config `{"class_name", "config"}` describes; a function if its class_name is "function".

    Raises:
        ValueError: the config is malformed, or its name is unknown.
    """
    if config is None:
        return None
    if isinstance(config, str):
        config = {"class_name": config, "config": {}}
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise ValueError(f"config of {kind} must be a name or a dict with 'class_name' and 'config', got {config!r}")
    is_function = config["class_name"] == "function"
    name = config["config"] if is_function else config["class_name"]
    found = (custom_objects or {}).get(name) or custom_object(name) or known.get(name)
    if found is None:
        error = unknown_name(kind, name, [*known, *_custom.get(), *(custom_objects or {})])
        raise ValueError(f"{error} A class or function of your own must be passed in custom_objects.")
    if is_function:
        return found() if isinstance(found, type) else found
    arguments = decode(config.get("config") or {})
    return found.from_config(arguments) if hasattr(found, "from_config") else found(**arguments)


def resolve(kind: str, identifier: Any, base: type, names: dict[str, Any]) -> Any:
    """The object that a name, a class, a config or a callable stands for; None for None.

    Raises:
        ValueError: nothing has this name.
    """
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return restore(kind, identifier, names)
    if isinstance(identifier, str):
        if identifier not in names:
            raise unknown_name(kind, identifier, names)
        return names[identifier]()
    if isinstance(identifier, type) and issubclass(identifier, base):
        return identifier()
    if callable(identifier):
        return identifier
    raise ValueError(f"a {kind} must be a name, a {base.__name__} or a callable, got {identifier!r}")


def describe(kind: str, value: Any, base: type) -> dict[str, Any] | None:
    """A config that `restore` turns back into the object; None for None.

    Raises:
        ValueError: it is a function without a name.
    """
    if value is None:
        return None
    if isinstance(value, base):
        return {"class_name": type(value).__name__, "config": value.get_config()}  # type: ignore[attr-defined]
    name = getattr(value, "__name__", "")
    if name and name != "<lambda>":
        return {"class_name": "function", "config": name}
    raise ValueError(f"{kind} {value!r} cannot be saved: use a class with get_config() or a named function")


def encode(value: Any, owner: str) -> Any:
    """A config value as JSON. `owner` says in the error whose it is.

    Raises:
        ValueError: there is no JSON for it.
    """
    from .. import constraints, initializers, layers, regularizers

    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, np.ndarray):
        return {"class_name": "__array__", "config": {"value": value.tolist(), "dtype": value.dtype.name}}
    if isinstance(value, list):
        return [encode(part, owner) for part in value]
    if isinstance(value, tuple):
        return {"class_name": "__tuple__", "config": [encode(part, owner) for part in value]}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError(f"{owner} cannot be saved: its config has a dict with keys that are no strings: {value!r}")
        return {key: encode(part, owner) for key, part in value.items()}
    if isinstance(value, slice):
        return {"class_name": "__slice__", "config": [value.start, value.stop, value.step]}
    if value is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    for kind, base, module in (
        ("__layer__", layers.Layer, layers),
        ("__initializer__", initializers.Initializer, initializers),
        ("__regularizer__", regularizers.Regularizer, regularizers),
        ("__constraint__", constraints.Constraint, constraints),
    ):
        if isinstance(value, base):
            return {"class_name": kind, "config": encode(module.serialize(value), owner)}
    if isinstance(value, type) and issubclass(value, np.generic):
        return np.dtype(value).name
    name = getattr(value, "__name__", "")
    if callable(value) and name and name != "<lambda>":
        return {"class_name": "__function__", "config": name}
    raise ValueError(
        f"{owner} cannot be saved: its config holds {value!r} of type {type(value).__name__}, which is not JSON; "
        "give the class a get_config() and a from_config() that speak JSON"
    )


def decode(value: Any) -> Any:
    """What `encode` was given."""
    from .. import activations, constraints, initializers, layers, regularizers

    if isinstance(value, list):
        return [decode(part) for part in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("class_name")
    if not (isinstance(kind, str) and kind.startswith("__")):
        return {key: decode(part) for key, part in value.items()}
    content = value.get("config")
    made: dict[str, Callable[[], Any]] = {
        "__array__": lambda: np.array(content["value"], content["dtype"]),
        "__tuple__": lambda: tuple(decode(part) for part in content),
        "__slice__": lambda: slice(*content),
        "__ellipsis__": lambda: Ellipsis,
        "__layer__": lambda: layers.deserialize(content),
        "__initializer__": lambda: initializers.deserialize(content),
        "__regularizer__": lambda: regularizers.deserialize(content),
        "__constraint__": lambda: constraints.deserialize(content),
        "__function__": lambda: custom_object(content) or activations.get(content),
    }
    if kind not in made:
        raise ValueError(f"config holds an object of unknown kind {kind!r}")
    return made[kind]()
