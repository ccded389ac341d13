"""Keras's `utils`: names under which scripts look for helpers that live elsewhere here."""

from __future__ import annotations

from typing import Any

from .batches import unpack_x_y_sample_weight
from .io.serialization import custom_object_scope
from .preprocessing import to_categorical
from .random import set_seed as set_random_seed

__all__ = ["CustomObjectScope", "custom_object_scope", "set_random_seed", "to_categorical", "unpack_x_y_sample_weight"]

CustomObjectScope = custom_object_scope


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("utils", name, __all__)
