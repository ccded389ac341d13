"""Keras's `saving`: whole models in files, and objects as JSON and back."""

from __future__ import annotations

from typing import Any

from .io.keras_config import deserialize_keras_object, serialize_keras_object
from .io.serialization import (
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from .models import load_model, save_model

__all__ = [
    "CustomObjectScope", "custom_object_scope", "deserialize_keras_object", "get_custom_objects", "get_registered_name",
    "get_registered_object", "load_model", "load_weights", "register_keras_serializable", "save_model", "save_weights",
    "serialize_keras_object",
]  # fmt: skip

CustomObjectScope = custom_object_scope


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """`model.save_weights(filepath)`."""
    model.save_weights(filepath, overwrite=overwrite)


def load_weights(model: Any, filepath: Any, skip_mismatch: bool = False) -> None:
    """`model.load_weights(filepath)`."""
    model.load_weights(filepath, skip_mismatch=skip_mismatch)


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("saving", name, __all__)
